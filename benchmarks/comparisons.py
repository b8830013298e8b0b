"""What is compared: for each case the inputs, our op, its rivals, the work it needs, and the check that comes first.

A new kernel joins by an entry in CASES.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch

from fastddsp.autograd.oscillators import harmonic_bank
from fastddsp.benchmarks import rivals


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


@dataclass(frozen=True)
class Harmonic:
    """Harmonic synthesis, forward and backward, gradients of f0 and of all amplitudes.

    f0 wanders 10 % about `f0_hz`, every frame anew. Multiply-adds: 3 a harmonic-sample forward, 6 backward (a step of
    the recurrence and a product for each of two frames; backward for the amplitudes and for the phase), for harmonics
    below Nyquist.
    """

    batch: int
    n_harmonics: int
    f0_hz: float
    n_frames: int = 1000
    hop_size: int = 64
    sample_rate: int = 16000
    forward_only: bool = False

    def small(self) -> "Harmonic":
        """The same on a tenth of the frames and one item, for warming up."""
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

        def run(synthesize) -> tuple:
            if self.forward_only:
                with torch.no_grad():
                    return (synthesize(f0_hz, amplitudes, n_samples, self.sample_rate),)
            f0, a = f0_hz.clone().requires_grad_(), amplitudes.clone().requires_grad_()
            audio = synthesize(f0, a, n_samples, self.sample_rate)
            audio.backward(cotangent)
            return audio.detach(), f0.grad, a.grad

        return {
            "fastddsp": partial(run, partial(harmonic_bank, amp_resample_method="linear")),
            "torch, magenta's way": partial(run, rivals.magenta_harmonic),
            "torch, ddsp_pytorch's way": partial(run, rivals.ddsp_pytorch_harmonic),
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
        return (3 if self.forward_only else 9) * self.batch * self.n_frames * self.hop_size * audible

    def data_bytes(self) -> int:
        """Inputs, outputs and gradients."""
        controls = self.batch * self.n_frames * (self.n_harmonics + 1)
        return 4 * (2 * controls + 2 * self.batch * self.n_frames * self.hop_size)


CASES: dict[str, Case] = {
    "harmonic 70 Hz, B=4 K=100": Harmonic(4, 100, 70),
    "harmonic 70 Hz, B=4 K=100, forward": Harmonic(4, 100, 70, forward_only=True),
    "harmonic 17 Hz, B=1 K=400": Harmonic(1, 400, 17),
    "harmonic 440 Hz, B=4 K=100": Harmonic(4, 100, 440),
    "harmonic 23 Hz, 48 kHz, hop 192, K=1000": Harmonic(1, 1000, 21, 250, 192, 48000),
    "harmonic 23 Hz, 48 kHz, hop 960, K=1000": Harmonic(1, 1000, 21, 50, 960, 48000),
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
