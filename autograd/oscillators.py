"""Harmonic oscillators by magenta's names: amplitude and distribution, streaming, sample-wise controls.

All are the bank of harmonics (fastddsp.autograd.harmonic_bank), or of partials where harmonics are shifted. Phases are
exact, so `use_angular_cumsum`, which magenta needs against float32 drift, changes nothing here.
"""

import math
from typing import Any

import torch

from fastddsp.autograd import checks
from fastddsp.autograd.harmonic_bank import harmonic_bank
from fastddsp.autograd.harmonics import get_harmonic_frequencies, normalize_harmonics
from fastddsp.autograd.partials import sinusoidal_bank
from fastddsp.autograd.resampling import resample
from fastddsp.autograd.segments import render_in_segments

__all__ = ["harmonic_oscillator_bank", "harmonic_synthesis", "streaming_harmonic_synthesis"]


def harmonic_synthesis(
    frequencies: torch.Tensor,
    amplitudes: torch.Tensor,
    harmonic_shifts: torch.Tensor | None = None,
    harmonic_distribution: torch.Tensor | None = None,
    n_samples: int = 64000,
    sample_rate: float = 16000,
    amp_resample_method: str = "window",
    use_angular_cumsum: bool = False,
    *,
    initial_phase: torch.Tensor | None = None,
    return_final_phase: bool = False,
    backend: str = "auto",
) -> torch.Tensor | Any:  # a pair with return_final_phase, which only the caller knows
    """Audio of a harmonic oscillator bank: one amplitude and a distribution over the harmonics, frame by frame.

    Args:
      frequencies: fundamental frequency in Hz, [batch, frames, 1].
      amplitudes: linear amplitude, [batch, frames, 1]; frames may be other than those of `frequencies`.
      harmonic_shifts: how far each harmonic is off its place, as a fraction of its frequency: harmonic k sounds at
        k f0 (1 + shift), [batch, frames, harmonics] with the frames of `frequencies`. None: nowhere.
      harmonic_distribution: share of each harmonic, used as it is (not normalized), [batch, frames, harmonics] with
        the frames of `amplitudes`; one harmonic if None.
      n_samples: length of the audio; any, frames need not divide it.
      sample_rate: samples a second; harmonics at or above half of it are silent, sample by sample.
      amp_resample_method: `window`, `linear`, `nearest` or `cubic`.
      use_angular_cumsum: has no effect: the phase is always exact.
      initial_phase: of the fundamental before the first sample, radians, [batch, 1, 1]; with shifts of every harmonic,
        [batch, 1, harmonics]; 0 if None.
      return_final_phase: also return the phase after the last sample.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Audio [batch, n_samples]; with `return_final_phase` also the final phase, float64 radians, of the shape of the
      initial phase.

    Raises:
      ValueError, TypeError: for shapes, dtypes, devices or numbers that do not fit.

    Source: Engel et al., DDSP, ICLR 2020; magenta/ddsp `core.harmonic_synthesis`.
    """
    frequencies, amplitudes, harmonic_shifts, harmonic_distribution = checks.computed_in_float32(
        frequencies, amplitudes, harmonic_shifts, harmonic_distribution
    )
    checks.shape("frequencies", frequencies, ("batch", "frames", 1))
    checks.shape("amplitudes", amplitudes, (frequencies.shape[0], "frames", 1))
    n_harmonics: int | str = "harmonics"
    if harmonic_distribution is not None:
        checks.shape("harmonic_distribution", harmonic_distribution, (*amplitudes.shape[:2], n_harmonics))
        n_harmonics = harmonic_distribution.shape[-1]
    if harmonic_shifts is not None:
        checks.shape("harmonic_shifts", harmonic_shifts, (*frequencies.shape[:2], n_harmonics))
    checks.same_kind(
        frequencies=frequencies, amplitudes=amplitudes, harmonic_shifts=harmonic_shifts,
        harmonic_distribution=harmonic_distribution,
    )  # fmt: skip
    harmonic_amplitudes = amplitudes if harmonic_distribution is None else amplitudes * harmonic_distribution
    if harmonic_shifts is not None:
        n_harmonics = harmonic_shifts.shape[-1]
        frequencies = get_harmonic_frequencies(frequencies, n_harmonics) * (1 + harmonic_shifts)
        harmonic_amplitudes = harmonic_amplitudes.expand(-1, -1, n_harmonics)
    bank = harmonic_bank if harmonic_shifts is None else sinusoidal_bank
    return _at_any_frame_rates(
        bank, frequencies, harmonic_amplitudes, n_samples, sample_rate, amp_resample_method,
        initial_phase=initial_phase, return_final_phase=return_final_phase, backend=backend,
    )  # fmt: skip


def _at_any_frame_rates(
    bank, frequencies, amplitudes, n_samples, sample_rate, method, *, return_final_phase, **options
):
    """A bank from controls of two frame counts: at that of the amplitudes where that is exact, else in segments."""
    n_frequency, n_amplitude = frequencies.shape[1], amplitudes.shape[1]
    if n_frequency != n_amplitude and 0 not in (n_frequency, n_amplitude, n_samples) and n_amplitude % n_frequency:
        return render_in_segments(
            bank, frequencies, amplitudes, n_samples, sample_rate, method,
            return_final_phase=return_final_phase, **options,
        )  # fmt: skip
    if n_frequency != n_amplitude and n_frequency and n_amplitude:
        frequencies = resample(frequencies, n_amplitude)
    return bank(
        frequencies, amplitudes, n_samples, sample_rate, method, return_final_phase=return_final_phase, **options
    )


def harmonic_oscillator_bank(
    frequency: torch.Tensor,
    amplitude_envelopes: torch.Tensor,
    initial_phase: torch.Tensor | None = None,
    sample_rate: float = 16000,
    use_angular_cumsum: bool = True,
    *,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Audio of a harmonic bank from sample-wise controls, with the phase handed from call to call.

    Harmonics above Nyquist are not removed, as in magenta.

    Args:
      frequency: fundamental frequency in Hz, [batch, samples, 1].
      amplitude_envelopes: linear amplitudes of harmonics 1, 2, ..., [batch, samples, harmonics].
      initial_phase: of the fundamental before the first sample, radians, [batch, 1, 1]; 0 if None.
      sample_rate: samples a second.
      use_angular_cumsum: has no effect: the phase is always exact.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Audio [batch, samples], and the phase after the last sample, float64 radians in [0, 2 pi), [batch, 1, 1]
      (magenta's is not wrapped).

    Source: magenta/ddsp `core.harmonic_oscillator_bank`.
    """
    frequency, amplitude_envelopes = checks.computed_in_float32(frequency, amplitude_envelopes)
    checks.shape("frequency", frequency, ("batch", "samples", 1))
    checks.shape("amplitude_envelopes", amplitude_envelopes, (*frequency.shape[:2], "harmonics"))
    checks.same_kind(frequency=frequency, amplitude_envelopes=amplitude_envelopes)
    return harmonic_bank(
        frequency, amplitude_envelopes, frequency.shape[1], sample_rate, "nearest",
        initial_phase=initial_phase, nyquist=math.inf, return_final_phase=True, backend=backend,
    )  # fmt: skip


def streaming_harmonic_synthesis(
    frequencies: torch.Tensor,
    amplitudes: torch.Tensor,
    harmonic_distribution: torch.Tensor | None = None,
    initial_phase: torch.Tensor | None = None,
    n_samples: int = 64000,
    sample_rate: float = 16000,
    amp_resample_method: str = "linear",
    *,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Audio of a harmonic bank, block by block: the distribution normalized below Nyquist, the phase handed on.

    Args:
      frequencies: fundamental frequency in Hz, [batch, frames, 1].
      amplitudes: linear amplitude, [batch, frames, 1]; frames may be other than those of `frequencies`.
      harmonic_distribution: share of each harmonic, normalized here over those below Nyquist,
        [batch, frames, harmonics] with the frames of `amplitudes`; one harmonic if None.
      initial_phase: of the fundamental before the first sample, radians, [batch, 1, 1]; 0 if None.
      n_samples: length of the audio.
      sample_rate: samples a second.
      amp_resample_method: `window`, `linear`, `nearest` or `cubic`.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Audio [batch, n_samples], and the phase after the last sample, float64 radians in [0, 2 pi), [batch, 1, 1].

    Source: magenta/ddsp `core.streaming_harmonic_synthesis`.
    """
    frequencies, amplitudes, harmonic_distribution = checks.computed_in_float32(
        frequencies, amplitudes, harmonic_distribution
    )
    checks.shape("frequencies", frequencies, ("batch", "frames", 1))
    checks.shape("amplitudes", amplitudes, (frequencies.shape[0], "frames", 1))
    if harmonic_distribution is not None:
        checks.shape("harmonic_distribution", harmonic_distribution, (*amplitudes.shape[:2], "harmonics"))
    checks.same_kind(frequencies=frequencies, amplitudes=amplitudes, harmonic_distribution=harmonic_distribution)
    harmonic_amplitudes = amplitudes
    if harmonic_distribution is not None:
        n_amplitude = amplitudes.shape[1]
        at_amplitudes = frequencies if frequencies.shape[1] == n_amplitude else resample(frequencies, n_amplitude)
        harmonic_amplitudes = amplitudes * normalize_harmonics(harmonic_distribution, at_amplitudes, sample_rate)
    return _at_any_frame_rates(
        harmonic_bank, frequencies, harmonic_amplitudes, n_samples, sample_rate, amp_resample_method,
        initial_phase=initial_phase, nyquist=math.inf, return_final_phase=True, backend=backend,
    )  # fmt: skip
