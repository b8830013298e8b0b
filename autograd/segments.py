"""Banks of oscillators whose frequencies and amplitudes come at frame rates of which neither divides the other.

Samples are cut where an interval of either control begins. On segment s, from sample n_s on, every frequency is a line
and every amplitude a blend of the frames of one interval i(s):

    f_k(n_s + m) = f_k(n_s) + m slope_k(s)
    a_k(n) = sum_t w_t(n) A[i(s) + t, k]           t = 0; 0, 1; or -1 ... 2, by the method of interpolation
    theta_k(n_s - 1) = theta_k,0 + (2 pi / sample_rate) sum_{r < s} [L_r f_k(n_r) + slope_k(r) L_r (L_r - 1) / 2]

L_r is the length of segment r. So each segment is an interval of a bank of its own, with amplitudes held and an initial
phase: all are rendered as one batch, once for each t, weighted by w_t, and joined. Tensors have the size of segments x
harmonics, with at most as many segments as frames of both controls together; none is of size samples x harmonics.
Gradients are those of the bank and of plain operations.

All is reckoned in float64, the bank too: a segment's frequencies are no longer numbers that the caller gave, and
rounded to float32 they would put the phase off by 3e-5 after a thousand samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastddsp.autograd import checks, dispatch
from fastddsp.autograd.resampling import RESAMPLING_METHODS, blending_weights


def render_in_segments(
    bank: Callable[..., Any],
    frequencies: Tensor,
    amplitudes: Tensor,
    n_samples: int,
    sample_rate: float,
    method: str,
    *,
    initial_phase: Tensor | None = None,
    nyquist: float | None = None,
    return_final_phase: bool = False,
    backend: str = "auto",
) -> Any:  # Tensor, or a pair of them with return_final_phase
    """Audio of a bank from controls at two frame rates.

    Args:
      bank: `harmonic_bank` or `sinusoidal_bank`.
      frequencies: Hz, [batch, frames, 1 or partials], or [batch, voices, frames, 1].
      amplitudes: linear, [batch, (voices,) other frames, harmonics].
      n_samples: length of the audio, at least 1.
      sample_rate: samples a second.
      method: of interpolating amplitudes: `window`, `linear`, `nearest` or `cubic`.
      initial_phase: radians, [batch, (voices,) 1, 1 or partials]; 0 if None.
      nyquist: where harmonics fall silent, Hz; sample_rate / 2 if None, infinity for never.
      return_final_phase: also return the phase after the last sample.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Audio [batch, n_samples]; with `return_final_phase` also the final phase, float64 radians in [0, 2 pi), shaped as
      the initial phase.
    """
    *items, n_frequency, n_phases = frequencies.shape
    n_amplitude, device = amplitudes.shape[-2], frequencies.device
    checks.one_of("amp_resample_method", method, RESAMPLING_METHODS)
    checks.positive(sample_rate=sample_rate)
    checks.count(n_samples=n_samples)
    dispatch.check_backend(backend, device, cuda=True)  # the bank knows whether it has them
    if initial_phase is not None:
        checks.shape("initial_phase", initial_phase, (*items, 1, n_phases))
        checks.same_kind(initial_phase=initial_phase)
        checks.same_device(frequencies=frequencies, initial_phase=initial_phase)
    starts = starts_of_segments(n_samples, n_frequency, n_amplitude)
    lengths = [end - start for start, end in zip(starts, [*starts[1:], n_samples], strict=True)]
    n_segments, longest = len(starts), max(lengths)
    start, length = (torch.tensor(x, device=device) for x in (starts, lengths))

    ends, phases, final_phase = _lines(frequencies, start, length, longest, n_samples, sample_rate, initial_phase)
    interval = _position(start, n_samples, n_amplitude)[0]
    sample = torch.arange(n_samples, device=device)
    of_sample = torch.repeat_interleave(torch.arange(n_segments, device=device), length)
    place = of_sample * longest + sample - start[of_sample]
    audio = ends.new_zeros(items[0], n_samples)
    for offset, weight in blending_weights(_position(sample, n_samples, n_amplitude)[1], method):
        held = amplitudes[..., (interval + offset).clamp(0, n_amplitude - 1), :].double().unsqueeze(-2)
        blocks = bank(
            ends, _segments_as_batch(held.expand(*held.shape[:-2], 2, -1)), longest, sample_rate, "nearest",
            initial_phase=phases, n_intervals=1, nyquist=nyquist, backend=backend,
        )  # fmt: skip
        audio = audio + blocks.view(items[0], n_segments * longest)[:, place] * weight
    audio = audio.to(amplitudes.dtype)
    return (audio, final_phase) if return_final_phase else audio


def _segments_as_batch(x: Tensor) -> Tensor:
    """[batch, (voices,) segments, 1 or 2, partials] -> [batch * segments, (voices,) 1 or 2, partials]."""
    return x.movedim(-3, 1).flatten(0, 1)


def starts_of_segments(n_samples: int, *n_frames: int) -> list[int]:
    """The samples with which an interval between frames of any of the rates begins, rising."""
    return sorted({-(-i * n_samples // n) for n in n_frames for i in range(n)} - {n_samples})


def _lines(
    frequencies: Tensor,
    start: Tensor,
    length: Tensor,
    longest: int,
    n_samples: int,
    sample_rate: float,
    initial_phase: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Every segment's frequencies at its start and `longest` samples on, [batch * segments, (voices,) 2, partials], the
    phases before its first sample, [batch * segments, (voices,) 1, partials], and those after the last of all,
    [batch, (voices,) 1, partials].
    """
    n_frames = frequencies.shape[-2]
    frame, step = _position(start, n_samples, n_frames)
    f = frequencies.double()
    here, there = f[..., frame, :], f[..., (frame + 1).clamp(max=n_frames - 1), :]
    slope = (there - here) * (n_frames / n_samples)
    f_start = here + (there - here) * step[:, None]
    ends = torch.stack([f_start, f_start + slope * longest], -2)

    n = length[:, None].double()
    advance = (n * f_start + n * (n - 1) / 2 * slope) * (2 * math.pi / sample_rate)
    advance = torch.where(advance.isfinite(), advance, 0.0)  # audio is NaN there, but not after it
    phase = advance.cumsum(-2) if initial_phase is None else advance.cumsum(-2) + initial_phase.double()
    before = _segments_as_batch((phase - advance).unsqueeze(-2))
    return _segments_as_batch(ends), before, torch.remainder(phase[..., -1:, :], 2 * math.pi)


def _position(sample: Tensor, n_samples: int, n_frames: int) -> tuple[Tensor, Tensor]:
    """The interval between frames that samples lie in, and how far, 0 to 1, they lie from its beginning."""
    scaled = sample * n_frames
    return scaled // n_samples, (scaled % n_samples).double() / n_samples
