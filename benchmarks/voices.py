"""The case of several fundamentals at once: voices summed in one call, a call a voice, and plain torch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from fastddsp.autograd.harmonic_bank import harmonic_bank
from fastddsp.benchmarks import rivals


def call_a_voice(f0_hz, amplitudes, n_samples, sample_rate):
    """The same op without its axis of voices: audio of each, added up."""
    voices = zip(f0_hz.unbind(1), amplitudes.unbind(1), strict=True)
    return sum(harmonic_bank(f, a, n_samples, sample_rate, "linear") for f, a in voices)


def magenta_voices(f0_hz, amplitudes, n_samples, sample_rate):
    """magenta/ddsp: voices as a larger batch, then their sum."""
    audio = rivals.magenta_harmonic(f0_hz.flatten(0, 1), amplitudes.flatten(0, 1), n_samples, sample_rate)
    return audio.unflatten(0, f0_hz.shape[:2]).sum(1)


@dataclass(frozen=True)
class Voices:
    """A chord of voices from 60 to 140 Hz, all harmonics audible, forward and backward, gradients of all controls.

    Multiply-adds: those of a harmonic bank, 2 a harmonic-sample forward and 4 backward.
    """

    batch: int = 1
    n_voices: int = 8
    n_harmonics: int = 50
    n_frames: int = 1000
    hop_size: int = 64
    sample_rate: int = 16000

    def small(self) -> "Voices":
        """See Case."""
        return replace(self, n_frames=max(2, self.n_frames // 10))

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """f0_hz [B, V, F, 1], amplitudes [B, V, F, K], cotangent of the audio [B, N]."""
        generator = torch.Generator().manual_seed(0)
        shape = self.batch, self.n_voices, self.n_frames
        wander = 0.95 + 0.1 * torch.rand(*shape, 1, generator=generator)
        f0_hz = torch.linspace(60, 140, self.n_voices)[:, None, None] * wander
        amplitudes = torch.rand(*shape, self.n_harmonics, generator=generator) / (self.n_voices * self.n_harmonics)
        return f0_hz, amplitudes, torch.randn(self.batch, self.n_frames * self.hop_size, generator=generator)

    def rivals(self) -> dict[str, Callable[[], tuple]]:
        """Ours first; each call returns audio and gradients."""
        f0_hz, amplitudes, cotangent = self.inputs()

        def run(synthesize) -> tuple:
            f0, a = f0_hz.detach().requires_grad_(), amplitudes.detach().requires_grad_()
            audio = synthesize(f0, a, cotangent.shape[1], self.sample_rate)
            audio.backward(cotangent)
            return audio.detach(), f0.grad, a.grad

        return {
            "fastddsp": partial(run, partial(harmonic_bank, amp_resample_method="linear")),
            "fastddsp, a call a voice": partial(run, call_a_voice),
            "torch, magenta's way": partial(run, magenta_voices),
        }

    def check(self) -> float:
        """Largest error against the specification's sum over voices, on a few frames; raises if wrong."""
        from fastddsp.kernels.phase import Timeline
        from fastddsp.kernels.reference import harmonic as reference

        short = replace(self, n_frames=8)
        f0_hz, amplitudes, cotangent = short.inputs()
        audio = next(iter(short.rivals().values()))()[0][0].numpy()
        timeline = Timeline(cotangent.shape[1], short.n_frames)
        truth = sum(
            reference.bank(f.squeeze(-1).double().numpy(), a.double().numpy(), timeline, self.sample_rate, "linear")
            for f, a in zip(f0_hz[0], amplitudes[0], strict=True)
        )
        error = float(np.abs(audio - truth).max())
        if error > 2e-6:
            raise AssertionError(f"wrong answer: error {error:.1e} against the specification")
        return error

    def multiply_adds(self) -> int:
        """See the class."""
        return 6 * self.batch * self.n_voices * self.n_frames * self.hop_size * self.n_harmonics

    def data_bytes(self) -> int:
        """See Case."""
        controls = self.batch * self.n_voices * self.n_frames * (self.n_harmonics + 1)
        return 4 * (2 * controls + 2 * self.batch * self.n_frames * self.hop_size)
