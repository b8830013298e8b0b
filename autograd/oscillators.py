"""Harmonic oscillators by magenta's names: amplitude and distribution, streaming, sample-wise controls.

All are the bank of harmonics (fastddsp.autograd.harmonic_bank), or of partials where harmonics are shifted. Phases are
exact, so `use_angular_cumsum`, which magenta needs against float32 drift, changes nothing here.
"""

import math
from collections.abc import Callable
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

    Several fundamentals at once, a chord: give every input an axis of voices after the batch, [batch, voices, frames,
    ...]; the voices are added up as they are computed.

    Args:
      frequencies: fundamental frequency in Hz, [batch, frames, 1] or [batch, voices, frames, 1].
      amplitudes: linear amplitude, [batch, (voices,) frames, 1]; frames may be other than those of `frequencies`.
      harmonic_shifts: how far each harmonic is off its place, as a fraction of its frequency: harmonic k sounds at
        k f0 (1 + shift), [batch, (voices,) frames, harmonics] with the frames of `frequencies`. None: nowhere.
      harmonic_distribution: share of each harmonic, used as it is (not normalized), [batch, (voices,) frames,
        harmonics] with the frames of `amplitudes`; one harmonic if None.
      n_samples: length of the audio; any, frames need not divide it.
      sample_rate: samples a second; harmonics at or above half of it are silent, sample by sample.
      amp_resample_method: `window`, `linear`, `nearest` or `cubic`.
      use_angular_cumsum: has no effect: the phase is always exact.
      initial_phase: of the fundamental before the first sample, radians, [batch, (voices,) 1, 1]; with shifts of every
        harmonic, [batch, (voices,) 1, harmonics]; 0 if None.
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
    _check_amplitudes(frequencies, amplitudes, harmonic_distribution, harmonic_shifts)
    if harmonic_shifts is not None:
        n_harmonics = "harmonics" if harmonic_distribution is None else harmonic_distribution.shape[-1]
        checks.shape("harmonic_shifts", harmonic_shifts, (*frequencies.shape[:-1], n_harmonics))
    checks.same_kind(
        frequencies=frequencies, amplitudes=amplitudes, harmonic_shifts=harmonic_shifts,
        harmonic_distribution=harmonic_distribution,
    )  # fmt: skip
    harmonic_amplitudes = amplitudes if harmonic_distribution is None else amplitudes * harmonic_distribution
    bank: Callable[..., Any] = harmonic_bank
    if harmonic_shifts is not None:
        bank = _bank_of_shifted
        frequencies = get_harmonic_frequencies(frequencies, harmonic_shifts.shape[-1]) * (1 + harmonic_shifts)
        harmonic_amplitudes = harmonic_amplitudes.expand(*amplitudes.shape[:-1], harmonic_shifts.shape[-1])
    return _at_any_frame_rates(
        bank, frequencies, harmonic_amplitudes, n_samples, sample_rate, amp_resample_method,
        initial_phase=initial_phase, return_final_phase=return_final_phase, backend=backend,
    )  # fmt: skip


def _check_amplitudes(frequencies, amplitudes, harmonic_distribution, harmonic_shifts=None) -> None:
    """Raise unless all have voices or none, and the shapes of the first three fit."""
    voices = checks.voices(
        frequencies=frequencies, amplitudes=amplitudes, harmonic_shifts=harmonic_shifts,
        harmonic_distribution=harmonic_distribution,
    )  # fmt: skip
    checks.shape("frequencies", frequencies, ("batch", *voices, "frames", 1))
    checks.shape("amplitudes", amplitudes, (*frequencies.shape[:-2], "frames", 1))
    if harmonic_distribution is not None:
        checks.shape("harmonic_distribution", harmonic_distribution, (*amplitudes.shape[:-1], "harmonics"))


def _bank_of_shifted(frequencies, amplitudes, *settings, initial_phase=None, return_final_phase=False, **options):
    """sinusoidal_bank of [batch, (voices,) frames, harmonics]: the harmonics of all voices are its partials."""
    *items, _, n_harmonics = frequencies.shape
    if initial_phase is not None:
        checks.shape("initial_phase", initial_phase, (*items, 1, n_harmonics))

    def partials(x):
        return x.movedim(1, 2).flatten(2) if x is not None and len(items) > 1 else x

    audio, final_phase = sinusoidal_bank(
        partials(frequencies), partials(amplitudes), *settings,
        initial_phase=partials(initial_phase), return_final_phase=True, **options,
    )  # fmt: skip
    if len(items) > 1:
        final_phase = final_phase.unflatten(2, (items[1], n_harmonics)).movedim(2, 1)
    return (audio, final_phase) if return_final_phase else audio


def _resampled(controls, n_frames: int):
    """[batch, (voices,) frames, channels] at another number of frames."""
    return resample(controls.flatten(0, -3), n_frames).unflatten(0, controls.shape[:-2])


def _at_any_frame_rates(
    bank, frequencies, amplitudes, n_samples, sample_rate, method, *, return_final_phase, **options
):
    """A bank from controls of two frame counts: at that of the amplitudes where that is exact, else in segments."""
    n_frequency, n_amplitude = frequencies.shape[-2], amplitudes.shape[-2]
    if n_frequency != n_amplitude and 0 not in (n_frequency, n_amplitude, n_samples) and n_amplitude % n_frequency:
        return render_in_segments(
            bank, frequencies, amplitudes, n_samples, sample_rate, method,
            return_final_phase=return_final_phase, **options,
        )  # fmt: skip
    if n_frequency != n_amplitude and n_frequency and n_amplitude:
        frequencies = _resampled(frequencies, n_amplitude)
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
      frequency: fundamental frequency in Hz, [batch, samples, 1], or [batch, voices, samples, 1] as all inputs then
        are: the voices are added up.
      amplitude_envelopes: linear amplitudes of harmonics 1, 2, ..., [batch, (voices,) samples, harmonics].
      initial_phase: of the fundamental before the first sample, radians, [batch, (voices,) 1, 1]; 0 if None.
      sample_rate: samples a second.
      use_angular_cumsum: has no effect: the phase is always exact.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Audio [batch, samples], and the phase after the last sample, float64 radians in [0, 2 pi), [batch, (voices,) 1, 1]
      (magenta's is not wrapped).

    Source: magenta/ddsp `core.harmonic_oscillator_bank`.
    """
    frequency, amplitude_envelopes = checks.computed_in_float32(frequency, amplitude_envelopes)
    voices = checks.voices(frequency=frequency, amplitude_envelopes=amplitude_envelopes)
    checks.shape("frequency", frequency, ("batch", *voices, "samples", 1))
    checks.shape("amplitude_envelopes", amplitude_envelopes, (*frequency.shape[:-1], "harmonics"))
    checks.same_kind(frequency=frequency, amplitude_envelopes=amplitude_envelopes)
    return harmonic_bank(
        frequency, amplitude_envelopes, frequency.shape[-2], sample_rate, "nearest",
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
      frequencies: fundamental frequency in Hz, [batch, frames, 1], or [batch, voices, frames, 1] as all inputs then
        are: the voices are added up.
      amplitudes: linear amplitude, [batch, (voices,) frames, 1]; frames may be other than those of `frequencies`.
      harmonic_distribution: share of each harmonic, normalized here over those below Nyquist,
        [batch, (voices,) frames, harmonics] with the frames of `amplitudes`; one harmonic if None.
      initial_phase: of the fundamental before the first sample, radians, [batch, (voices,) 1, 1]; 0 if None.
      n_samples: length of the audio.
      sample_rate: samples a second.
      amp_resample_method: `window`, `linear`, `nearest` or `cubic`.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Audio [batch, n_samples], and the phase after the last sample, float64 radians in [0, 2 pi),
      [batch, (voices,) 1, 1].

    Source: magenta/ddsp `core.streaming_harmonic_synthesis`.
    """
    frequencies, amplitudes, harmonic_distribution = checks.computed_in_float32(
        frequencies, amplitudes, harmonic_distribution
    )
    _check_amplitudes(frequencies, amplitudes, harmonic_distribution)
    checks.same_kind(frequencies=frequencies, amplitudes=amplitudes, harmonic_distribution=harmonic_distribution)
    harmonic_amplitudes = amplitudes
    if harmonic_distribution is not None:
        n_amplitude = amplitudes.shape[-2]
        at_amplitudes = frequencies if frequencies.shape[-2] == n_amplitude else _resampled(frequencies, n_amplitude)
        harmonic_amplitudes = amplitudes * normalize_harmonics(harmonic_distribution, at_amplitudes, sample_rate)
    return _at_any_frame_rates(
        harmonic_bank, frequencies, harmonic_amplitudes, n_samples, sample_rate, amp_resample_method,
        initial_phase=initial_phase, nyquist=math.inf, return_final_phase=True, backend=backend,
    )  # fmt: skip
