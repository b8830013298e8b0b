"""The reference's oscillators with their float32 phase, rounding errors and all.

Their phase is a sequential float32 sum over samples, so its audio, and every loss and gradient that follows from it,
holds an error that exact phases cannot reproduce. Tests put this in place of our synthesis to compare the rest tightly.
"""

import math

import numpy as np
import torch

from fastddsp.autograd.resampling import resample
from fastddsp.autograd.wavetable import linear_lookup

TURN = float(np.float32(2 * math.pi))


class SequentialSum(torch.autograd.Function):
    """Cumulative sum over axis 1, one float32 addition after the other, forward and (from the end) backward."""

    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(np.cumsum(x.numpy(), axis=1, dtype=np.float32))

    @staticmethod
    def backward(ctx, grad):
        flipped = np.flip(grad.numpy(), axis=1)
        return torch.from_numpy(np.flip(np.cumsum(flipped, axis=1, dtype=np.float32), axis=1).copy())


def stretch(frames, n_samples):
    """Linear interpolation of [batch, frames, channels] to n_samples, at positions rounded to float32."""
    n_frames = frames.shape[1]
    position = np.arange(n_samples, dtype=np.float32) * (np.float32(n_frames) / np.float32(n_samples))
    lower = torch.from_numpy(np.floor(position).astype(np.int64))
    lerp = torch.from_numpy(position - np.floor(position))[:, None]
    left, right = frames[:, lower], frames[:, (lower + 1).clamp(max=n_frames - 1)]
    return left + (right - left) * lerp


def harmonic_synthesis(
    frequencies,
    amplitudes,
    harmonic_shifts=None,
    harmonic_distribution=None,
    n_samples=64000,
    sample_rate=16000,
    amp_resample_method="window",
    use_angular_cumsum=False,
):
    """Audio [batch, n_samples] of harmonics that each sum up their own phase in float32."""
    # Up to 1000 samples the reference's angular_cumsum sums in one chunk.
    assert harmonic_shifts is None and not (use_angular_cumsum and n_samples > 1000)
    harmonic = torch.arange(1, harmonic_distribution.shape[-1] + 1, dtype=frequencies.dtype)
    partials = frequencies * harmonic, amplitudes * harmonic_distribution
    return sinusoidal_bank(*partials, n_samples, sample_rate, amp_resample_method, TURN if use_angular_cumsum else None)


def sinusoidal_bank(frequencies_hz, amplitudes, n_samples, sample_rate, amp_resample_method, modulo=None):
    """Audio [batch, n_samples] of partials that each sum up their own phase in float32."""
    frequency = stretch(frequencies_hz, n_samples)
    amplitude = resample(amplitudes, n_samples, amp_resample_method)
    amplitude = torch.where(frequency >= sample_rate / 2, torch.zeros_like(amplitude), amplitude)
    phase = SequentialSum.apply(frequency * TURN / sample_rate)
    phase = phase if modulo is None else phase % modulo
    return (amplitude * torch.sin(phase)).sum(dim=-1)


def wavetable_synthesis(frequencies, amplitudes, wavetables, n_samples=64000, sample_rate=16000):
    """Audio [batch, n_samples] of a wavetable oscillator that sums its phase in float32."""
    advances = stretch(frequencies, n_samples)[..., 0] / sample_rate
    phase = torch.nn.functional.pad(SequentialSum.apply(advances)[:, :-1], (1, 0)) % 1.0
    if wavetables.ndim == 3:
        wavetables = stretch(wavetables, n_samples)
    return linear_lookup(phase, wavetables) * resample(amplitudes, n_samples, "window")[..., 0]
