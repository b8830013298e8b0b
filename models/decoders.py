"""Decoders: scaled features -> raw controls of the processors.

    RnnFcDecoder         x_i = stack_i(input_i);  h = rnn(concat x_i)
                         outputs = split(Linear(out_stack(concat(x_i, h))))
    DilatedConvDecoder   outputs = split(Linear(DilatedConvStack(concat inputs, z)))

All tensors are [batch, frames, channels].
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from fastddsp.models.convolutions import DilatedConvStack
from fastddsp.models.nn import DictLayer, FcStack, dense, rnn, split_to_dict

__all__ = ["DilatedConvDecoder", "RnnFcDecoder"]


def _sizes(keys: Sequence[str | tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Pairs (name, channels); a name alone has one channel."""
    return tuple((key, 1) if isinstance(key, str) else (key[0], key[1]) for key in keys)


def _check_inputs(splits: Sequence[tuple[str, int]], inputs: Sequence[torch.Tensor]) -> None:
    for (key, size), x in zip(splits, inputs, strict=True):
        if x.dim() != 3 or x.shape[-1] != size:
            raise ValueError(f"{key} must be [batch, frames, {size}], got {list(x.shape)}")


class RnnFcDecoder(DictLayer):
    """A stack of Fc layers for each input, a recurrent layer over all of them, and a stack of Fc layers.

    Args:
        rnn_channels: Channels of the recurrent layer.
        rnn_type: "gru" or "lstm".
        ch: Channels of the Fc layers.
        layers_per_stack: Fc layers in each stack; 0 for none.
        stateless: Take the recurrent state as the last input, "state" [batch, rnn_channels], and return the new one
            as the output "state", for playing block by block. Only "gru".
        input_keys: Names of the inputs; one that has more than one channel is a pair (name, channels).
        output_splits: Pairs (name, channels) of the outputs.

    Source: Engel et al., ICLR 2020, appendix on model details.
    """

    def __init__(
        self,
        rnn_channels: int = 512,
        rnn_type: str = "gru",
        ch: int = 512,
        layers_per_stack: int = 3,
        stateless: bool = False,
        input_keys: Sequence[str | tuple[str, int]] = ("ld_scaled", "f0_scaled", ("z", 32)),
        output_splits: Sequence[tuple[str, int]] = (("amps", 1), ("harmonic_distribution", 40)),
    ):
        if stateless and rnn_type != "gru":
            raise ValueError(f'a stateless RnnFcDecoder needs rnn_type "gru", got {rnn_type!r}')
        self.input_splits = _sizes(input_keys)
        super().__init__([key for key, _ in self.input_splits] + ["state"] * stateless)
        self.stateless = stateless
        self.output_splits = tuple((name, size) for name, size in output_splits)
        stacks = [FcStack(size, ch, layers_per_stack) for _, size in self.input_splits]
        n_latents = sum(stack.n_outputs for stack in stacks)
        self.input_stacks = nn.ModuleList(stacks)
        self.rnn = rnn(n_latents, rnn_channels, rnn_type)
        self.out_stack = FcStack(n_latents + rnn_channels, ch, layers_per_stack)
        self.dense_out = dense(self.out_stack.n_outputs, sum(size for _, size in self.output_splits))

    def compute(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Raw controls [batch, frames, channels] by the names of output_splits, and "state" if stateless.

        Raises:
            ValueError: An input has the wrong shape.
        """
        state = inputs[-1][None] if self.stateless else None
        inputs = inputs[: len(self.input_splits)]
        _check_inputs(self.input_splits, inputs)
        latents = [stack(x) for stack, x in zip(self.input_stacks, inputs, strict=True)]
        hidden, new_state = self.rnn(torch.cat(latents, dim=-1), state)
        x = self.dense_out(self.out_stack(torch.cat([*latents, hidden], dim=-1)))
        outputs = split_to_dict(x, self.output_splits)
        return {**outputs, "state": new_state[0]} if self.stateless else outputs


class DilatedConvDecoder(DictLayer):
    """A stack of dilated convolutions over all inputs, conditioned at every layer or not; it sees past and future.

    Args:
        ch: Channels of every convolution.
        kernel_size: Taps.
        layers_per_stack: Convolutions in a stack.
        stacks: How many.
        dilation: Factor of the dilation from one layer of a stack to the next.
        norm_type: "layer", "instance" or "group", see `nn.group_norm`.
        resample_stride: Frames out per frame in, at each resampling; 1: none.
        stacks_per_resample: Stacks to a resampling.
        resample_after_convolve: Resample after these stacks instead of before them.
        input_keys: Names of the inputs; one that has more than one channel is a pair (name, channels).
        output_splits: Pairs (name, channels) of the outputs.
        conditioning_keys: Names of the conditioning inputs, as input_keys; they may have one frame for all.
        precondition_stack: Module that the conditioning goes through first, to its n_outputs channels; such as an
            `nn.FcStackOut`.

    Raises:
        ValueError: There is a precondition_stack and nothing to condition on.

    Source: van den Oord et al., WaveNet, 2016; magenta/ddsp `decoders.DilatedConvDecoder`.
    """

    def __init__(
        self,
        ch: int = 256,
        kernel_size: int = 3,
        layers_per_stack: int = 5,
        stacks: int = 2,
        dilation: int = 2,
        norm_type: str = "layer",
        resample_stride: int = 1,
        stacks_per_resample: int = 1,
        resample_after_convolve: bool = True,
        input_keys: Sequence[str | tuple[str, int]] = ("ld_scaled", "f0_scaled"),
        output_splits: Sequence[tuple[str, int]] = (("amps", 1), ("harmonic_distribution", 60)),
        conditioning_keys: Sequence[str | tuple[str, int]] = (("z", 32),),
        precondition_stack: Any = None,
    ):
        if precondition_stack is not None and not conditioning_keys:
            raise ValueError("conditioning_keys must name an input for the precondition_stack, got none")
        self.input_splits, self.conditioning_splits = _sizes(input_keys), _sizes(conditioning_keys)
        super().__init__([key for key, _ in (*self.input_splits, *self.conditioning_splits)])
        self.output_splits = tuple((name, size) for name, size in output_splits)
        self.precondition_stack = precondition_stack
        n_conditioning = sum(size for _, size in self.conditioning_splits)
        self.dilated_conv_stack = DilatedConvStack(
            sum(size for _, size in self.input_splits),
            ch,
            layers_per_stack,
            stacks,
            kernel_size,
            dilation,
            norm_type,
            "upsample" if resample_stride > 1 else None,
            resample_stride,
            stacks_per_resample,
            resample_after_convolve,
            n_conditioning=n_conditioning if precondition_stack is None else precondition_stack.n_outputs,
        )
        self.dense_out = dense(ch, sum(size for _, size in self.output_splits))

    def compute(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Raw controls [batch, frames, channels] by the names of output_splits.

        Raises:
            ValueError: An input has the wrong shape.
        """
        _check_inputs((*self.input_splits, *self.conditioning_splits), inputs)
        n_inputs = len(self.input_splits)
        x, z = torch.cat(inputs[:n_inputs], dim=-1), None
        if self.conditioning_splits:
            frames = max(c.shape[1] for c in inputs[n_inputs:])
            z = torch.cat([c.expand(-1, frames, -1) for c in inputs[n_inputs:]], dim=-1)
            z = z if self.precondition_stack is None else self.precondition_stack(z)
        return split_to_dict(self.dense_out(self.dilated_conv_stack(x, z)), self.output_splits)
