"""What is compared: for each case the inputs, our op, its rivals, the work it needs, and the check that comes first.

A new kernel joins by an entry in CASES.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch

from fastddsp.autograd.filters import frequency_filter
from fastddsp.autograd.harmonic_bank import harmonic_bank
from fastddsp.autograd.partials import sinusoidal_bank
from fastddsp.benchmarks import rivals
from fastddsp.benchmarks.readings import VariableDelay, Wavetable
from fastddsp.benchmarks.sources import FilteredNoise, SampleOscillators
from fastddsp.benchmarks.spectral_losses import SpectralLosses
from fastddsp.benchmarks.voices import Voices


class Case(Protocol):
    """What a comparison offers."""

    def small(self) -> "Case":
        """The same, small: for compiling and warming up."""

    def rivals(self) -> dict[str, Callable[[], tuple]]:
        """Ours first; each call computes the same."""

    def check(self) -> float:
        """The error of ours against independent truth; raises if it is wrong."""

    def multiply_adds(self) -> int:
        """Multiply-adds that the computation needs."""

    def data_bytes(self) -> int:
        """Bytes of its inputs, outputs and gradients."""


class Backward:
    """A backward pass that can be called again and again; its forward pass runs once, before the first call."""

    def __init__(self, forward: Callable[..., torch.Tensor], leaves: tuple, cotangent: torch.Tensor):
        self.forward, self.leaves, self.cotangent = forward, leaves, cotangent
        self.output: torch.Tensor | None = None

    def __call__(self) -> tuple:
        """Gradients of the leaves."""
        if self.output is None:
            self.output = self.forward(*self.leaves)
        return torch.autograd.grad(self.output, self.leaves, self.cotangent, retain_graph=True)


@dataclass(frozen=True)
class Harmonic:
    """Harmonic synthesis, forward and backward, gradients of f0 and of all amplitudes.

    f0 wanders 10 % about `f0_hz`, every frame anew. Multiply-adds: 2 a harmonic-sample forward (one for each of two
    frames), 4 backward (the same for the amplitudes and for the phase), for harmonics below Nyquist.
    """

    batch: int
    n_harmonics: int
    f0_hz: float
    n_frames: int = 1000
    hop_size: int = 64
    sample_rate: int = 16000
    part: str = "both"  # or "forward", "backward"

    def small(self) -> "Harmonic":
        """See Case."""
        return replace(self, batch=1, n_frames=max(2, self.n_frames // 10))

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """f0_hz [B, F, 1], amplitudes [B, F, K], cotangent of the audio [B, N]."""
        generator = torch.Generator().manual_seed(0)
        f0_hz = self.f0_hz * (0.9 + 0.2 * torch.rand(self.batch, self.n_frames, 1, generator=generator))
        amplitudes = torch.rand(self.batch, self.n_frames, self.n_harmonics, generator=generator) / self.n_harmonics
        cotangent = torch.randn(self.batch, self.n_frames * self.hop_size, generator=generator)
        return f0_hz, amplitudes, cotangent

    def rivals(self) -> dict[str, Callable[[], tuple]]:
        """Ours first; each call returns audio and gradients."""
        f0_hz, amplitudes, cotangent = self.inputs()
        n_samples = cotangent.shape[1]

        def leaves() -> tuple[torch.Tensor, torch.Tensor]:
            return f0_hz.detach().requires_grad_(), amplitudes.detach().requires_grad_()

        def call(synthesize) -> Callable[[], tuple]:
            synthesize = partial(synthesize, n_samples=n_samples, sample_rate=self.sample_rate)
            if self.part == "forward":
                return torch.no_grad()(lambda: (synthesize(f0_hz, amplitudes),))
            if self.part == "backward":
                return Backward(synthesize, leaves(), cotangent)
            return partial(both, synthesize)

        def both(synthesize) -> tuple:
            f0, a = leaves()
            audio = synthesize(f0, a)
            audio.backward(cotangent)
            return audio.detach(), f0.grad, a.grad

        return {
            "fastddsp": call(partial(harmonic_bank, amp_resample_method="linear")),
            "torch, magenta's way": call(rivals.magenta_harmonic),
            "torch, ddsp_pytorch's way": call(rivals.ddsp_pytorch_harmonic),
        }

    def check(self) -> float:
        """Largest error against the float64 specification, on the first frames of the first item; raises if wrong."""
        from fastddsp.kernels.phase import Timeline
        from fastddsp.kernels.reference import harmonic as reference

        n_frames = min(self.n_frames, 8)
        f0_hz, amplitudes, _ = self.inputs()
        few = f0_hz[:1, : n_frames + 1], amplitudes[:1, : n_frames + 1]
        n_samples = n_frames * self.hop_size
        audio = harmonic_bank(*few, n_samples, self.sample_rate, "linear", n_intervals=n_frames)[0]
        f0, a = few[0][0, :, 0].double().numpy(), few[1][0].double().numpy()
        truth = reference.bank(f0, a, Timeline(n_samples, n_frames), self.sample_rate, "linear")
        error = float(np.abs(audio.numpy() - truth).max())
        if error > 2e-6:
            raise AssertionError(f"wrong answer: error {error:.1e} against the specification")
        return error

    def multiply_adds(self) -> int:
        """See the class."""
        audible = min(self.n_harmonics, int(self.sample_rate / 2 / self.f0_hz))
        per_sample = {"forward": 2, "backward": 4, "both": 6}[self.part]
        return per_sample * self.batch * self.n_frames * self.hop_size * audible

    def data_bytes(self) -> int:
        """Inputs, outputs and gradients."""
        controls = self.batch * self.n_frames * (self.n_harmonics + 1)
        return 4 * (2 * controls + 2 * self.batch * self.n_frames * self.hop_size)


@dataclass(frozen=True)
class Partials:
    """Partials with frequencies of their own, forward and backward, gradients of frequencies and amplitudes.

    Multiply-adds a partial-sample: forward a sine (8) and a product for each of two frames; backward sine and cosine
    (13) and two products for each.
    """

    batch: int = 4
    n_partials: int = 100
    n_frames: int = 1000
    hop_size: int = 64
    sample_rate: int = 16000

    def small(self) -> "Partials":
        """See Case."""
        return replace(self, batch=1, n_frames=max(2, self.n_frames // 10))

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Frequencies in Hz and amplitudes [B, F, K], cotangent [B, N]."""
        generator = torch.Generator().manual_seed(0)
        shape = self.batch, self.n_frames, self.n_partials
        frequencies = 50 + 7000 * torch.rand(self.batch, 1, self.n_partials, generator=generator)
        frequencies = frequencies * (0.99 + 0.02 * torch.rand(shape, generator=generator))
        amplitudes = torch.rand(shape, generator=generator) / self.n_partials
        return frequencies, amplitudes, torch.randn(self.batch, self.n_frames * self.hop_size, generator=generator)

    def rivals(self) -> dict[str, Callable[[], tuple]]:
        """See Case."""
        frequencies, amplitudes, cotangent = self.inputs()

        def run(synthesize) -> tuple:
            f, a = frequencies.detach().requires_grad_(), amplitudes.detach().requires_grad_()
            audio = synthesize(f, a, cotangent.shape[1], self.sample_rate)
            audio.backward(cotangent)
            return audio.detach(), f.grad, a.grad

        return {
            "fastddsp": partial(run, partial(sinusoidal_bank, amp_resample_method="linear")),
            "torch": partial(run, rivals.torch_partials),
        }

    def check(self) -> float:
        """Largest error of the audio against plain torch in float64, on a few frames."""
        short = replace(self, batch=1, n_frames=8)
        frequencies, amplitudes, cotangent = short.inputs()
        audio = next(iter(short.rivals().values()))()[0]
        truth = rivals.torch_partials(frequencies.double(), amplitudes.double(), cotangent.shape[1], self.sample_rate)
        error = float((audio - truth).abs().max())
        if error > 2e-6:
            raise AssertionError(f"wrong answer: error {error:.1e} against float64")
        return error

    def multiply_adds(self) -> int:
        """See the class."""
        return (2 + 8 + 4 + 13) * self.batch * self.n_frames * self.hop_size * self.n_partials

    def data_bytes(self) -> int:
        """See Case."""
        return 4 * self.batch * self.n_frames * (4 * self.n_partials + 2 * self.hop_size)


@dataclass(frozen=True)
class FrequencyFilter:
    """Frequency-sampled filter, forward and backward, gradients of audio and magnitudes.

    Multiply-adds a sample: taps for each of the convolution and its two adjoints; for the cosine transform of a frame
    and its adjoint, bands^2 over the hop each (half the taps follow from the other half).
    """

    batch: int = 4
    n_bands: int = 65
    n_frames: int = 1000
    hop_size: int = 64
    window_size: int = 257

    def small(self) -> "FrequencyFilter":
        """See Case."""
        return replace(self, batch=1, n_frames=max(2, self.n_frames // 10))

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Audio [B, N], magnitudes [B, F, bands], cotangent [B, N]."""
        generator = torch.Generator().manual_seed(0)
        n_samples = self.n_frames * self.hop_size
        audio = 2 * torch.rand(self.batch, n_samples, generator=generator) - 1
        magnitudes = torch.rand(self.batch, self.n_frames, self.n_bands, generator=generator)
        return audio, magnitudes, torch.randn(self.batch, n_samples, generator=generator)

    def rivals(self) -> dict[str, Callable[[], tuple]]:
        """See Case."""
        audio, magnitudes, cotangent = self.inputs()

        def run(filter_audio) -> tuple:
            x, m = audio.detach().requires_grad_(), magnitudes.detach().requires_grad_()
            out = filter_audio(x, m)
            out.backward(cotangent)
            return out.detach(), x.grad, m.grad

        return {
            "fastddsp": partial(run, partial(frequency_filter, window_size=self.window_size)),
            "torch, magenta's way": partial(run, rivals.magenta_filter),
            "torch, ddsp_pytorch's way": partial(run, rivals.ddsp_pytorch_filter),
        }

    def check(self) -> float:
        """Largest error against magenta's way in float64: audio and both gradients, over their maximum."""
        short = replace(self, batch=1, n_frames=8)
        audio, magnitudes, cotangent = (x.double() for x in short.inputs())
        audio.requires_grad_()
        magnitudes.requires_grad_()
        truth = rivals.magenta_filter(audio, magnitudes)
        truth.backward(cotangent)
        ours = next(iter(short.rivals().values()))()
        pairs = zip(ours, (truth.detach(), audio.grad, magnitudes.grad), strict=True)
        error = max(float((mine - true).abs().max() / true.abs().max()) for mine, true in pairs)
        if error > 1e-5:
            raise AssertionError(f"wrong answer: relative error {error:.1e} against float64 FFT convolution")
        return error

    def multiply_adds(self) -> int:
        """See the class."""
        n_taps = 2 * (self.n_bands - 1)
        return self.batch * self.n_frames * (3 * self.hop_size * n_taps + 2 * self.n_bands**2)

    def data_bytes(self) -> int:
        """See Case."""
        return 4 * self.batch * self.n_frames * (2 * self.n_bands + 4 * self.hop_size)


CASES: dict[str, Case] = {
    "harmonic 70 Hz, B=4 K=100": Harmonic(4, 100, 70),
    "harmonic 70 Hz, B=4 K=100, forward": Harmonic(4, 100, 70, part="forward"),
    "harmonic 70 Hz, B=4 K=100, backward": Harmonic(4, 100, 70, part="backward"),
    "harmonic 17 Hz, B=1 K=400": Harmonic(1, 400, 17),
    "harmonic 17 Hz, B=4 K=400, forward": Harmonic(4, 400, 17, part="forward"),
    "harmonic 17 Hz, B=4 K=400, backward": Harmonic(4, 400, 17, part="backward"),
    "harmonic 440 Hz, B=4 K=100": Harmonic(4, 100, 440),
    "harmonic 21 Hz, 48 kHz, hop 192, K=1000": Harmonic(1, 1000, 21, 250, 192, 48000),
    "harmonic 21 Hz, 48 kHz, hop 960, K=1000": Harmonic(1, 1000, 21, 50, 960, 48000),
    "8 voices, 60 to 140 Hz, B=1 K=50": Voices(),
    "frequency filter, 65 bands, B=4": FrequencyFilter(),
    "filtered noise, 65 bands, B=4": FilteredNoise(),
    "100 partials of their own, B=4": Partials(),
    "20 oscillators, a frequency a sample, B=1": SampleOscillators(),
    "wavetables of 512 points, B=1": Wavetable(),
    "delay up to 400 samples, B=1": VariableDelay(),
    "spectral loss, 6 sizes, B=16": SpectralLosses(),
}


def sweep_name(n_harmonics: int) -> str:
    """Name of the case with so many harmonics, all audible, 1 s at 16 kHz."""
    return f"{n_harmonics} harmonics"


def case(name: str) -> Case:
    """The case of that name: one of CASES, or of the sweep over harmonics."""
    if name in CASES:
        return CASES[name]
    n_harmonics = int(name.split()[0])
    return Harmonic(1, n_harmonics, 7000 / n_harmonics, n_frames=250)
