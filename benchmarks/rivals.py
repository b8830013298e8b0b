"""The same computations in plain torch, in the ways that users of magenta/ddsp and ddsp_pytorch have them.

Written for this comparison, as fast as those ways allow: no step that the original needs is left out, none is added.
"""

import math

import torch


def upsample_linear(frames: torch.Tensor, n_samples: int) -> torch.Tensor:
    """[B, F, C] -> [B, n_samples, C], linear between frames, the last frame held."""
    batch, n_frames, channels = frames.shape
    hop = n_samples // n_frames
    later = torch.cat([frames[:, 1:], frames[:, -1:]], 1)
    rising = (torch.arange(hop, dtype=frames.dtype) / hop)[None, None, :, None]
    return (frames[:, :, None] * (1 - rising) + later[:, :, None] * rising).reshape(batch, n_samples, channels)


def magenta_harmonic(f0_hz, amplitudes, n_samples, sample_rate):
    """magenta/ddsp: a frequency envelope, a Nyquist mask and a phase sum for every harmonic."""
    frequencies = upsample_linear(f0_hz, n_samples) * torch.arange(1, amplitudes.shape[-1] + 1, dtype=f0_hz.dtype)
    envelopes = upsample_linear(amplitudes, n_samples) * (frequencies < sample_rate / 2)
    phases = torch.cumsum(2 * math.pi * frequencies / sample_rate, 1)
    return (envelopes * torch.sin(phases)).sum(-1)


def ddsp_pytorch_harmonic(f0_hz, amplitudes, n_samples, sample_rate):
    """ddsp_pytorch: one phase sum, multiplied by the harmonics' numbers."""
    phase = torch.cumsum(2 * math.pi * upsample_linear(f0_hz, n_samples) / sample_rate, 1)
    harmonics = torch.arange(1, amplitudes.shape[-1] + 1, dtype=f0_hz.dtype)
    return (torch.sin(phase * harmonics) * upsample_linear(amplitudes, n_samples)).sum(-1)
