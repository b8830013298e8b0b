"""Processors: network outputs -> controls (bounded, physical) -> signal.

    processor(*inputs) = get_signal(**get_controls(*inputs))

`get_controls` scales raw network outputs into physical controls, `get_signal` makes audio [batch, n_samples] of them.
Keyword-only arguments of either are settings for one call (n_samples, sample_rate, noise, ...), which a ProcessorGroup
passes on to every processor that names them.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from fastddsp.autograd import resampling
from fastddsp.models.dags import DAG, DAGLayer

__all__ = ["Add", "Crop", "Mix", "Processor", "ProcessorGroup"]


def _keyword_only(function: Any) -> frozenset[str]:
    """Names of the keyword-only parameters of a function."""
    parameters = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)


def _to_be_written(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError(f"{type(self).__name__} must define get_controls and get_signal")


class Processor(nn.Module):
    """Base class of synthesizers and effects: subclasses write `get_controls` and `get_signal`.

    Args:
        name: Key of this processor's outputs in a ProcessorGroup.
    """

    get_controls: Callable[..., dict[str, torch.Tensor]] = _to_be_written
    get_signal: Callable[..., torch.Tensor] = _to_be_written
    control_options: frozenset[str] = frozenset()
    signal_options: frozenset[str] = frozenset()

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls.control_options = _keyword_only(cls.get_controls)
        cls.signal_options = _keyword_only(cls.get_signal)

    @property
    def options(self) -> frozenset[str]:
        """Names of the settings that may be given per call."""
        return self.control_options | self.signal_options

    def forward(self, *inputs: torch.Tensor, return_outputs_dict: bool = False, **kwargs: Any) -> Any:
        """Signal of raw inputs.

        Args:
            *inputs: What `get_controls` takes.
            return_outputs_dict: Also return the controls.
            **kwargs: Inputs by name, and settings for this call (see `options`).

        Returns:
            The signal, or {"signal": signal, "controls": controls}.
        """
        for_signal = {key: kwargs[key] for key in self.signal_options & kwargs.keys()}
        only_signal = self.signal_options - self.control_options
        controls = self.get_controls(*inputs, **{k: v for k, v in kwargs.items() if k not in only_signal})
        signal = self.get_signal(**controls, **for_signal)
        return {"signal": signal, "controls": controls} if return_outputs_dict else signal


class ProcessorGroup(DAGLayer):
    """Processors wired by a graph; its signal is the signal of the last one.

    Args:
        dag: List of nodes [processor, input_keys], see `dags.DAGLayer`.
        name: Key of this group's outputs in another graph.
        **processors: Processors by name, for nodes that name them.
    """

    def __init__(self, dag: DAG, *, name: str | None = None, **processors: nn.Module):
        super().__init__(dag, name=name, **processors)
        self.processor_names = self.module_names

    @property
    def processors(self) -> list[nn.Module]:
        """The processors in the order in which they were added."""
        return [getattr(self, name) for name in self.processor_names]

    @property
    def options(self) -> frozenset[str]:
        """Names of the settings that may be given per call: those of all processors."""
        return frozenset().union(*(getattr(processor, "options", ()) for processor in self.processors))

    def forward(self, inputs: Mapping[str, Any], return_outputs_dict: bool = False, **options: Any) -> Any:
        """Signal of a dictionary of inputs.

        Args:
            inputs: Tensors by the names that the graph reads.
            return_outputs_dict: Also return the inputs and the outputs of every processor.
            **options: Settings for this call (n_samples, sample_rate, noise, ...), for each processor that knows them.

        Returns:
            The signal, or {"signal": signal, "controls": nested dictionary of all outputs}.

        Raises:
            TypeError: No processor knows an option.
        """
        controls = self.get_controls(inputs, **options)
        signal = self.get_signal(controls)
        return {"signal": signal, "controls": controls} if return_outputs_dict else signal

    def get_controls(self, inputs: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Runs the graph; returns the nested dictionary of all outputs, "out" being those of the last processor."""
        if unknown := options.keys() - self.options:
            raise TypeError(f"no processor takes {sorted(unknown)}; {self.processor_names} take {sorted(self.options)}")
        return self.run_dag(inputs, **options)

    def get_signal(self, outputs: Mapping[str, Any]) -> torch.Tensor:
        """Signal of the last processor, out of what `get_controls` returned."""
        return outputs["out"]["signal"]


class Add(Processor):
    """Sum of two signals."""

    def __init__(self, name: str = "add"):
        super().__init__(name)

    def get_controls(self, signal_one: torch.Tensor, signal_two: torch.Tensor) -> dict[str, torch.Tensor]:
        """Both signals as they are."""
        return {"signal_one": signal_one, "signal_two": signal_two}

    def get_signal(self, signal_one: torch.Tensor, signal_two: torch.Tensor) -> torch.Tensor:
        """signal_one + signal_two."""
        return signal_one + signal_two


class Mix(Processor):
    """Crossfade of two signals, level m in [0, 1]: sqrt(m) signal_one + (1 - sqrt(1 - m)) signal_two.

    As in magenta/ddsp the two levels are not complementary: both are 0 at m = 0 and both are 1 at m = 1.
    """

    def __init__(self, name: str = "mix"):
        super().__init__(name)

    def get_controls(
        self, signal_one: torch.Tensor, signal_two: torch.Tensor, nn_out_mix_level: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Mix level in [0, 1] at the rate of the signals.

        Args:
            signal_one: [batch, n_samples, channels].
            signal_two: [batch, n_samples, channels].
            nn_out_mix_level: Logits of the level, [batch, frames, 1].

        Returns:
            The signals and "mix_level" [batch, n_samples, 1].

        Raises:
            ValueError: The signals differ in length.
        """
        n_one, n_two = signal_one.shape[1], signal_two.shape[1]
        if n_one != n_two:
            raise ValueError(f"signal_two must be as long as signal_one ({n_one} samples), got {n_two}")
        mix_level = resampling.resample(torch.sigmoid(nn_out_mix_level), n_one)
        return {"signal_one": signal_one, "signal_two": signal_two, "mix_level": mix_level}

    def get_signal(self, signal_one: torch.Tensor, signal_two: torch.Tensor, mix_level: torch.Tensor) -> torch.Tensor:
        """The mixed signal, shaped as the signals."""
        return mix_level.abs().sqrt() * signal_one + (1.0 - (mix_level - 1.0).abs().sqrt()) * signal_two


class Crop(Processor):
    """Removes what padding of frame_size samples added: all in front, all at the back, or half at each end.

    Args:
        frame_size: Samples of padding; an odd one counts as one less.
        crop_location: "front", "center" or "back".
        name: Name of the processor.

    Raises:
        ValueError: crop_location is none of these.
    """

    def __init__(self, frame_size: int, crop_location: str = "back", name: str = "crop"):
        super().__init__(name)
        if crop_location not in ("front", "center", "back"):
            raise ValueError(f'crop_location must be "front", "center" or "back", got {crop_location!r}')
        self.frame_size = frame_size
        self.crop_location = crop_location

    def get_controls(self, audio: torch.Tensor) -> dict[str, torch.Tensor]:
        """The audio as it is."""
        return {"audio": audio}

    def get_signal(self, audio: torch.Tensor) -> torch.Tensor:
        """Audio [batch, n_samples] without its padding."""
        half = self.frame_size // 2
        front = {"front": 2 * half, "center": half, "back": 0}[self.crop_location]
        return audio[:, front : audio.shape[1] - (2 * half - front)]
