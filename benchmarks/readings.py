"""Comparisons of what reads a table or past audio at a phase, and against magenta's way: weights for all of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from fastddsp.autograd.delay import variable_length_delay
from fastddsp.autograd.wavetable import wavetable_synthesis
from fastddsp.benchmarks import rivals


def _both_ways(function: Callable[..., torch.Tensor], inputs: tuple, cotangent: torch.Tensor) -> tuple:
    """Output, and gradients of all inputs."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    out = function(*leaves)
    out.backward(cotangent)
    return out.detach(), *(x.grad for x in leaves)


def _error(function, truth, inputs: tuple, cotangent: torch.Tensor) -> float:
    """Largest error of output and gradients against `truth` in float64, each over its maximum; raises if wrong."""
    ours = _both_ways(function, inputs, cotangent)
    exact = _both_ways(truth, tuple(x.double() for x in inputs), cotangent.double())
    error = max(float((x - y).abs().max() / y.abs().max()) for x, y in zip(ours, exact, strict=True))
    if error > 1e-5:
        raise AssertionError(f"wrong answer: relative error {error:.1e} against float64")
    return error


@dataclass(frozen=True)
class Wavetable:
    """Wavetable synthesis with a table for every frame, forward and backward, gradients of f0, amplitudes and tables.

    Multiply-adds a sample: forward 4 for the points of two tables, 1 to blend them, 2 for the amplitude; backward 10 to
    read values and slopes, 6 to write into two tables, 3 for amplitude and phase.
    """

    batch: int = 1
    n_points: int = 512
    n_frames: int = 1000
    hop_size: int = 64
    sample_rate: int = 16000

    def small(self) -> "Wavetable":
        """See Case."""
        return replace(self, n_frames=max(2, self.n_frames // 50))

    def inputs(self) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """(f0_hz and amplitudes [B, F, 1], wavetables [B, F, points]), cotangent [B, N]."""
        generator = torch.Generator().manual_seed(0)
        frames = self.batch, self.n_frames
        f0_hz = 110 + 40 * torch.rand(*frames, 1, generator=generator)
        amplitudes = torch.rand(*frames, 1, generator=generator)
        wavetables = torch.randn(*frames, self.n_points, generator=generator)
        return (f0_hz, amplitudes, wavetables), torch.randn(self.batch, frames[1] * self.hop_size, generator=generator)

    def rivals(self) -> dict[str, Callable[[], tuple]]:
        """See Case."""
        inputs, cotangent = self.inputs()
        ours, magentas = self.ways(cotangent.shape[1])
        return {
            "fastddsp": partial(_both_ways, ours, inputs, cotangent),
            "torch, magenta's way": partial(_both_ways, magentas, inputs, cotangent),
        }

    def ways(self, n_samples: int) -> tuple[Callable[..., torch.Tensor], Callable[..., torch.Tensor]]:
        """Ours and magenta's, functions of the inputs."""
        ours = partial(wavetable_synthesis, n_samples=n_samples, sample_rate=self.sample_rate)
        return ours, partial(rivals.magenta_wavetable, n_samples=n_samples, sample_rate=self.sample_rate)

    def check(self) -> float:
        """Largest error against magenta's way in float64, on a few frames."""
        inputs, cotangent = replace(self, n_frames=4).inputs()
        ours, magentas = self.ways(cotangent.shape[1])
        return _error(ours, magentas, inputs, cotangent)

    def multiply_adds(self) -> int:
        """See the class."""
        return (7 + 19) * self.batch * self.n_frames * self.hop_size

    def data_bytes(self) -> int:
        """See Case."""
        return 4 * self.batch * self.n_frames * (2 * self.n_points + 4 + 2 * self.hop_size)


@dataclass(frozen=True)
class VariableDelay:
    """Delay of variable length, forward and backward, gradients of phase and audio: 25 ms, as in a chorus.

    Multiply-adds a sample: 2 forward; backward 3 for the phase, 2 for the audio.
    """

    batch: int = 1
    n_samples: int = 64000
    max_length: int = 400

    def small(self) -> "VariableDelay":
        """See Case."""
        return replace(self, n_samples=max(500, self.n_samples // 50))

    def inputs(self) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        """(phase and audio [B, N]), cotangent [B, N]."""
        generator = torch.Generator().manual_seed(0)
        turns = torch.linspace(0, 9 * self.n_samples / 64000, self.n_samples).expand(self.batch, -1)
        phase = 0.8 + 0.19 * torch.sin(6.28 * turns)
        audio, cotangent = (torch.randn(phase.shape, generator=generator) for _ in range(2))
        return (phase, audio), cotangent

    def rivals(self) -> dict[str, Callable[[], tuple]]:
        """See Case."""
        ways = {"fastddsp": variable_length_delay, "torch, magenta's way": rivals.magenta_delay}
        inputs, cotangent = self.inputs()
        return {
            name: partial(_both_ways, partial(way, max_length=self.max_length), inputs, cotangent)
            for name, way in ways.items()
        }

    def check(self) -> float:
        """Largest error against magenta's way in float64, on a short piece."""
        inputs, cotangent = replace(self, n_samples=1000).inputs()
        ours = partial(variable_length_delay, max_length=self.max_length)
        return _error(ours, partial(rivals.magenta_delay, max_length=self.max_length), inputs, cotangent)

    def multiply_adds(self) -> int:
        """See the class."""
        return (2 + 5) * self.batch * self.n_samples

    def data_bytes(self) -> int:
        """See Case."""
        return 4 * 6 * self.batch * self.n_samples
