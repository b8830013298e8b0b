"""Harmonic controls: frequencies of harmonics, their distribution below Nyquist, and the sinusoids they stand for.

    f_k = k f0,  k = 1 ... K                     [batch, frames, K]
    normalized distribution d_k / sum_j d_j      over the harmonics with f_k < sample_rate / 2
    phase(n) = sum_{m <= n} omega(m)  mod 2 pi

Frequencies are in Hz, amplitudes linear. No gradient reaches a frequency through the comparison with Nyquist.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastddsp.autograd import checks
from fastddsp.autograd.resampling import pad_axis
from fastddsp.autograd.scaling import safe_divide

__all__ = [
    "angular_cumsum",
    "get_harmonic_frequencies",
    "harmonic_to_sinusoidal",
    "normalize_harmonics",
    "remove_above_nyquist",
    "sinusoidal_to_harmonic",
]


def get_harmonic_frequencies(frequencies: Tensor, n_harmonics: int) -> Tensor:
    """Multiply fundamental frequencies by 1, 2, ... n_harmonics.

    Args:
        frequencies: fundamental in Hz, [batch, frames, 1].
        n_harmonics: number of harmonics.

    Returns:
        Frequencies in Hz [batch, frames, n_harmonics].
    """
    return frequencies * torch.arange(1, n_harmonics + 1, dtype=frequencies.dtype, device=frequencies.device)


def remove_above_nyquist(
    frequency_envelopes: Tensor, amplitude_envelopes: Tensor, sample_rate: float = 16000
) -> Tensor:
    """Silence oscillators at and above half the sample rate.

    Args:
        frequency_envelopes: in Hz, [batch, samples or frames, sinusoids].
        amplitude_envelopes: of the same or a broadcastable shape.
        sample_rate: in Hz.

    Returns:
        Amplitudes, 0 where the frequency is at least sample_rate / 2.
    """
    return torch.where(frequency_envelopes >= sample_rate / 2.0, 0.0, amplitude_envelopes)


def normalize_harmonics(
    harmonic_distribution: Tensor, f0_hz: Tensor | None = None, sample_rate: float | None = None
) -> Tensor:
    """Scale the harmonics of each frame to a sum of 1, those above Nyquist left out.

    Args:
        harmonic_distribution: [batch, frames, harmonics], 0 and more.
        f0_hz: fundamental in Hz, [batch, frames, 1]. Without it or the sample rate all harmonics count.
        sample_rate: in Hz.

    Returns:
        [batch, frames, harmonics]; all 0 where nothing lies below Nyquist.
    """
    if f0_hz is not None and sample_rate is not None:
        frequencies = get_harmonic_frequencies(f0_hz, harmonic_distribution.shape[-1])
        harmonic_distribution = remove_above_nyquist(frequencies, harmonic_distribution, sample_rate)
    return safe_divide(harmonic_distribution, harmonic_distribution.sum(dim=-1, keepdim=True))


def sinusoidal_to_harmonic(
    sin_amps: Tensor,
    sin_freqs: Tensor,
    f0_hz: Tensor,
    harmonic_width: float = 0.1,
    n_harmonics: int = 100,
    sample_rate: float = 16000,
    normalize: bool = False,
) -> tuple[Tensor, Tensor]:
    """Assign sinusoids to the harmonics that they are near to.

    Sinusoid s counts for harmonic k with weight exp(-((f_s - k f0) / (harmonic_width f0))^2).

    Args:
        sin_amps: linear amplitudes [batch, frames, sinusoids].
        sin_freqs: frequencies in Hz [batch, frames, sinusoids].
        f0_hz: fundamental in Hz, [batch, frames, 1].
        harmonic_width: width of the Gaussian, as a fraction of the fundamental.
        n_harmonics: number of harmonics.
        sample_rate: in Hz.
        normalize: limit the weights of a harmonic to a sum of 1.

    Returns:
        Amplitude [batch, frames, 1] and harmonic distribution [batch, frames, n_harmonics].
    """
    checks.shape("f0_hz", f0_hz, (*sin_freqs.shape[:2], 1))
    harmonic_freqs = get_harmonic_frequencies(f0_hz, n_harmonics)
    distance = safe_divide(sin_freqs.unsqueeze(2) - harmonic_freqs.unsqueeze(3), f0_hz.unsqueeze(3))
    weights = torch.exp(-((distance / harmonic_width) ** 2))  # [batch, frames, harmonics, sinusoids]
    if normalize:
        weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1.0)
    harmonic_amps = remove_above_nyquist(harmonic_freqs, (weights * sin_amps.unsqueeze(2)).sum(dim=-1), sample_rate)
    harm_amp = harmonic_amps.sum(dim=-1, keepdim=True)
    return harm_amp, safe_divide(harmonic_amps, harm_amp)


def harmonic_to_sinusoidal(
    harm_amp: Tensor, harm_dist: Tensor, f0_hz: Tensor, sample_rate: float = 16000
) -> tuple[Tensor, Tensor]:
    """Turn the controls of a harmonic synthesizer into those of a sinusoidal one.

    Args:
        harm_amp: linear amplitude [batch, frames, 1].
        harm_dist: harmonic distribution [batch, frames, harmonics], normalized here below Nyquist.
        f0_hz: fundamental in Hz, [batch, frames, 1].
        sample_rate: in Hz.

    Returns:
        Amplitudes and frequencies in Hz, both [batch, frames, harmonics].
    """
    amps = harm_amp * normalize_harmonics(harm_dist, f0_hz, sample_rate)
    return amps, get_harmonic_frequencies(f0_hz, harm_dist.shape[-1])


def angular_cumsum(angular_frequency: Tensor, chunk_size: int = 1000) -> Tensor:
    """Accumulate angular frequencies to phases, modulo one turn.

    Sums are taken in double precision and wrapped after each chunk, so that they stay small: after ten minutes at
    48 kHz the phase is still right to 1e-6 rad. magenta does the same in single precision.

    Args:
        angular_frequency: radians per sample, [batch, samples, ...].
        chunk_size: samples to add up before wrapping, at least 1.

    Returns:
        Phases in radians from 0 to 2 pi, of the same shape and dtype. The gradient is the reversed cumulative sum.

    Raises:
        ValueError: there is no axis of samples, or chunk_size is not positive.
        TypeError: chunk_size is not a whole number.
    """
    checks.whole(chunk_size=chunk_size)
    checks.positive(chunk_size=chunk_size)
    if angular_frequency.ndim < 2:
        raise ValueError(f"angular_frequency must be [batch, samples, ...], got {list(angular_frequency.shape)}")
    turn, n_samples = 2.0 * math.pi, angular_frequency.shape[1]
    padded = pad_axis(angular_frequency, (0, -n_samples % chunk_size), axis=1)
    phase = torch.cumsum(padded.unflatten(1, (-1, chunk_size)), dim=2, dtype=torch.float64)
    advance = torch.remainder(phase[:, :-1, -1:], turn)  # of every chunk but the last
    offset = pad_axis(torch.cumsum(advance, dim=1), (1, 0), axis=1)
    phase = torch.remainder(phase + torch.remainder(offset, turn), turn)
    return phase.flatten(1, 2)[:, :n_samples].to(angular_frequency.dtype)
