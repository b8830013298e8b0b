"""From network outputs to frequencies in Hz, along the scales of the ear.

A network's output x of any size becomes one frequency per sinusoid. Each of the three maps below takes `depth` numbers
per sinusoid, `[batch, frames, n_sinusoids * depth]` or `[batch, frames, n_sinusoids, depth]`, and returns
`[batch, frames, n_sinusoids]`:

    frequencies_softmax          log frequency = mean of `depth` bins, weighted by softmax(x)
    frequencies_sigmoid          sum of `depth` log-scaled sigmoids, each for a smaller part of the range
    frequencies_critical_bands   center of a critical band + its bandwidth * sum_d tanh(x_d) * depth_scale^-d

The conversions between hertz and the Bark, mel and ERB scales take tensors and Python numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastddsp.autograd import checks
from fastddsp.autograd.scaling import Number, logb, soft_limit, unit_to_hz

__all__ = [
    "bark_to_hz",
    "frequencies_critical_bands",
    "frequencies_sigmoid",
    "frequencies_softmax",
    "hz_to_bark",
    "hz_to_erb",
    "hz_to_mel",
    "mel_to_hz",
]


def hz_to_bark(hz: Number) -> Number:
    """Convert Hz to critical-band rate in Bark.

    Source: Traunmüller, Analytical expressions for the tonotopic sensory scale, JASA 88, 1990.
    """
    return 26.81 * hz / (1960.0 + hz) - 0.53


def bark_to_hz(bark: Number) -> Number:
    """Convert critical-band rate in Bark to Hz: the inverse of `hz_to_bark`."""
    return 1960.0 * (bark + 0.53) / (26.28 - bark)


def hz_to_mel(hz: Number) -> Number:
    """Convert Hz to mel.

    Source: Young et al., The HTK Book, section 5.4.
    """
    return 2595.0 * logb(1.0 + hz / 700.0, 10.0)


def mel_to_hz(mel: Number) -> Number:
    """Convert mel to Hz: the inverse of `hz_to_mel`."""
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def hz_to_erb(hz: Number) -> Number:
    """Width in Hz of the critical band (equivalent rectangular bandwidth) around a frequency in Hz.

    Source: Moore and Glasberg, A revision of Zwicker's loudness model, Acustica 82, 1996.
    """
    return 0.108 * hz + 24.7


def frequencies_softmax(freqs: Tensor, depth: int = 1, hz_min: float = 20.0, hz_max: float = 8000.0) -> Tensor:
    """Choose each frequency as the mean of `depth` log-spaced bins, weighted by a softmax.

    Args:
        freqs: network output [batch, frames, n_sinusoids * depth] or [batch, frames, n_sinusoids, depth].
        depth: bins per sinusoid, when `freqs` has three axes. One bin gives `hz_min` everywhere.
        hz_min: frequency of the first bin in Hz.
        hz_max: frequency of the last bin in Hz.

    Returns:
        Frequencies in Hz [batch, frames, n_sinusoids].

    Raises:
        ValueError: `freqs` has neither shape.
    """
    freqs = _with_depth_axis(freqs, depth)
    bins = torch.linspace(0.0, 1.0, freqs.shape[-1], dtype=freqs.dtype, device=freqs.device)
    return unit_to_hz((torch.softmax(freqs, dim=-1) * bins).sum(dim=-1), hz_min, hz_max)


def frequencies_sigmoid(freqs: Tensor, depth: int = 1, hz_min: float = 0.0, hz_max: float = 8000.0) -> Tensor:
    """Add up `depth` log-scaled sigmoids, of which each covers a smaller part of the range than the one before.

    Args:
        freqs: network output [batch, frames, n_sinusoids * depth] or [batch, frames, n_sinusoids, depth].
        depth: sigmoids per sinusoid, when `freqs` has three axes.
        hz_min: lowest frequency in Hz. 0 acts as MIDI note 0, which is 8.18 Hz, once per sigmoid.
        hz_max: highest frequency in Hz.

    Returns:
        Frequencies in Hz [batch, frames, n_sinusoids].

    Raises:
        ValueError: `freqs` has neither shape.
    """
    freqs = _with_depth_axis(freqs, depth)
    depth = freqs.shape[-1]
    remainder = hz_max - hz_min
    part = 1.0 - remainder ** (-1.0 / depth)  # of the remaining range that each sigmoid but the last takes
    limits = []
    for _ in range(depth - 1):
        limits.append((0.0, remainder * part))
        remainder -= remainder * part
    limits.append((hz_min, remainder))
    position = torch.sigmoid(freqs)
    hz = [unit_to_hz(position[..., d], low, high) for d, (low, high) in enumerate(limits)]
    return torch.stack(hz, dim=-1).sum(dim=-1)


def frequencies_critical_bands(
    freqs: Tensor,
    depth: int = 1,
    depth_scale: float = 10.0,
    bandwidth_scale: float = 1.0,
    hz_min: float = 20.0,
    hz_max: float = 8000.0,
    scale: str = "bark",
) -> Tensor:
    """Let each sinusoid move within a critical band, whose centers are evenly spaced on the Bark or mel scale.

    Args:
        freqs: network output [batch, frames, n_sinusoids * depth] or [batch, frames, n_sinusoids, depth].
        depth: numbers per sinusoid, when `freqs` has three axes.
        depth_scale: each further number counts this many times less.
        bandwidth_scale: how far a sinusoid may move, in equivalent rectangular bandwidths.
        hz_min: lowest center and soft limit in Hz.
        hz_max: highest center and soft limit in Hz.
        scale: "bark" or "mel".

    Returns:
        Frequencies in Hz [batch, frames, n_sinusoids].

    Raises:
        ValueError: `freqs` has neither shape, or there is no such scale.
    """
    checks.one_of("scale", scale, ("bark", "mel"))
    freqs = _with_depth_axis(freqs, depth)
    to_scale, to_hz = (hz_to_bark, bark_to_hz) if scale == "bark" else (hz_to_mel, mel_to_hz)
    n_sinusoids, depth = freqs.shape[-2:]
    low, high = to_scale(hz_min), to_scale(hz_max)
    center = to_hz(torch.linspace(low, high, n_sinusoids, dtype=torch.float64, device=freqs.device))
    weights = torch.tensor([depth_scale**-d for d in range(depth)], dtype=freqs.dtype, device=freqs.device)
    offset = (torch.tanh(freqs) * weights).sum(dim=-1)  # in bandwidths
    bandwidth = bandwidth_scale * hz_to_erb(center)
    return soft_limit(center.to(freqs) + bandwidth.to(freqs) * offset, hz_min, hz_max)


def _with_depth_axis(freqs: Tensor, depth: int) -> Tensor:
    """[batch, frames, n_sinusoids * depth] to [batch, frames, n_sinusoids, depth]; four axes stay as they are."""
    if freqs.ndim == 4:
        return freqs
    if freqs.ndim != 3 or depth < 1 or freqs.shape[-1] % depth:
        raise ValueError(
            f"freqs must be [batch, frames, n_sinusoids * depth] with depth {depth}, "
            f"or [batch, frames, n_sinusoids, depth], got {list(freqs.shape)}"
        )
    return freqs.unflatten(-1, (-1, depth))
