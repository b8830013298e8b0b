"""Two more sources of sound: oscillators with a frequency for every sample, and filtered noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from fastddsp.autograd.filters import filtered_noise
from fastddsp.autograd.oscillator_bank import oscillator_bank
from fastddsp.benchmarks import rivals


def torch_oscillators(frequencies, amplitudes, sample_rate):
    """Plain torch: a Nyquist mask and a phase sum for every oscillator."""
    phases = torch.cumsum(2 * math.pi / sample_rate * frequencies, 1)
    return (amplitudes * (frequencies < sample_rate / 2) * torch.sin(phases)).sum(-1)


def relative_error(ours: tuple, truth: tuple, bound: float) -> float:
    """Largest error of any of ours, over the maximum of its truth; raises above `bound`."""
    pairs = zip(ours, truth, strict=True)
    error = max(float((mine - true).abs().max() / true.abs().max()) for mine, true in pairs)
    if error > bound:
        raise AssertionError(f"wrong answer: relative error {error:.1e} against float64")
    return error


@dataclass(frozen=True)
class SampleOscillators:
    """Oscillators whose controls come for every sample, forward and backward, gradients of both.

    Multiply-adds a sample and oscillator: 8 for a sine and its sum, 4 for the phase; backward 8 + 5 for sine and
    cosine, 4 for the phase and 4 for the two products and the sum that goes back in time.
    """

    batch: int = 1
    n_oscillators: int = 20
    n_samples: int = 64000
    sample_rate: int = 16000

    def small(self) -> "SampleOscillators":
        """See Case."""
        return replace(self, n_samples=self.n_samples // 10)

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Frequencies in Hz and amplitudes [B, N, K], cotangent of the audio [B, N]."""
        generator = torch.Generator().manual_seed(0)
        shape = self.batch, self.n_samples, self.n_oscillators
        wander = 1 + 0.01 * torch.rand(*shape, generator=generator)
        frequencies = torch.linspace(100, 7000, self.n_oscillators) * wander
        amplitudes = torch.rand(*shape, generator=generator) / self.n_oscillators
        return frequencies, amplitudes, torch.randn(shape[:2], generator=generator)

    def rivals(self) -> dict[str, Callable[[], tuple]]:
        """See Case."""
        inputs = self.inputs()
        return {
            "fastddsp": partial(_with_gradients, partial(oscillator_bank, sample_rate=self.sample_rate), *inputs),
            "torch, magenta's way": partial(
                _with_gradients, partial(torch_oscillators, sample_rate=self.sample_rate), *inputs
            ),
        }

    def check(self) -> float:
        """Largest error against plain torch in float64, audio and gradients, over their maximum."""
        short = replace(self, n_samples=1000)
        inputs = (x.double() for x in short.inputs())
        truth = _with_gradients(partial(torch_oscillators, sample_rate=self.sample_rate), *inputs)
        return relative_error(next(iter(short.rivals().values()))(), truth, 1e-5)

    def multiply_adds(self) -> int:
        """See the class."""
        return (12 + 21) * self.batch * self.n_samples * self.n_oscillators

    def data_bytes(self) -> int:
        """See Case."""
        return 4 * self.batch * self.n_samples * (4 * self.n_oscillators + 2)


@dataclass(frozen=True)
class FilteredNoise:
    """Noise made and filtered, forward and backward, gradients of the magnitudes.

    Multiply-adds: those of the filter, without the gradient of its audio.
    """

    batch: int = 4
    n_bands: int = 65
    n_frames: int = 1000
    hop_size: int = 64

    def small(self) -> "FilteredNoise":
        """See Case."""
        return replace(self, batch=1, n_frames=max(2, self.n_frames // 10))

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Magnitudes [B, F, bands], cotangent [B, N]."""
        generator = torch.Generator().manual_seed(0)
        magnitudes = torch.rand(self.batch, self.n_frames, self.n_bands, generator=generator)
        return magnitudes, torch.randn(self.batch, self.n_frames * self.hop_size, generator=generator)

    def rivals(self) -> dict[str, Callable[[], tuple]]:
        """See Case."""
        magnitudes, cotangent = self.inputs()

        def in_torch(filter_audio):
            return lambda m: filter_audio(2 * torch.rand(cotangent.shape) - 1, m)

        ways = {
            "fastddsp": lambda m: filtered_noise(m, cotangent.shape[1], seed=0),
            "torch, magenta's way": in_torch(rivals.magenta_filter),
            "torch, ddsp_pytorch's way": in_torch(rivals.ddsp_pytorch_filter),
        }
        return {name: partial(_with_gradients, way, magnitudes, cotangent) for name, way in ways.items()}

    def check(self) -> float:
        """Largest error for given noise, against magenta's way in float64, over the maximum."""
        magnitudes, cotangent = replace(self, batch=1, n_frames=8).inputs()
        noise = 2 * torch.rand(cotangent.shape, generator=torch.Generator().manual_seed(1)) - 1
        ours = _with_gradients(lambda m: filtered_noise(m, noise.shape[1], noise=noise), magnitudes, cotangent)
        in_double = partial(rivals.magenta_filter, noise.double())
        return relative_error(ours, _with_gradients(in_double, magnitudes.double(), cotangent.double()), 1e-5)

    def multiply_adds(self) -> int:
        """See the class."""
        n_taps = 2 * (self.n_bands - 1)
        return self.batch * self.n_frames * (2 * self.hop_size * n_taps + 2 * self.n_bands**2)

    def data_bytes(self) -> int:
        """See Case."""
        return 4 * self.batch * self.n_frames * (2 * self.n_bands + 2 * self.hop_size)


def _with_gradients(synthesize, *controls_and_cotangent: torch.Tensor) -> tuple:
    """Audio of the controls and, for the cotangent, their gradients."""
    *controls, cotangent = controls_and_cotangent
    leaves = [control.detach().detach().requires_grad_() for control in controls]
    audio = synthesize(*leaves)
    audio.backward(cotangent)
    return audio.detach(), *(leaf.grad for leaf in leaves)
