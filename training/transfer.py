"""Timbre transfer: another recording's tune in an instrument's own register and dynamics.

    recording -> f0, confidence, level -> notes -> moved to where the training data's notes are -> the instrument

With the notes of the recording found as in training/statistics.py, and m, L their pitch and level (R: the recording's,
T: the training data's; M the median, Q the quantile function, F its inverse):

    register   m' = m + 12 floor((M_T - M_R) / 12 + 1/2)                             the nearest whole octave
    level      L' = Q_T(F_R(L)), and beyond the ends of F_R with slope 1             on every frame, then
               L' - quiet (1 - r) on frames outside notes                            r: likeness to a note, below 1
    auto-tune  m'' = m' + amount (n + tuning_T - m')     n: the nearest note of the scale in the recording's own tuning

magenta/ddsp does the same with these differences: it rounds octaves up (or down above 1.5), compares means, leaves
frames outside notes at the recording's own level before it quietens them, so that they can end above the notes, and
tunes to A = 440 Hz. Digital silence stays silent.
"""

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from fastddsp.training.audio import check_writable, read_audio, write_audio
from fastddsp.training.dataset import SILENCE_DB, Settings, SoundWindows
from fastddsp.training.instrument import Instrument, level_name, listen, load_instrument, play, power, shift_loudness
from fastddsp.training.metrics import hz_to_semitones
from fastddsp.training.prepare import extract_features
from fastddsp.training.resynthesize import mix_z
from fastddsp.training.statistics import (
    Statistics,
    compute_statistics,
    compute_z_mean,
    detect_notes,
    load_statistics,
    tuning_of,
)

__all__ = ["Transfer", "auto_tune", "match_curves", "match_level", "match_octaves", "transfer"]

Scale = Literal["chromatic", "major"]
MAJOR = np.array([0, 2, 4, 5, 7, 9, 11])


@dataclass(frozen=True)
class Transfer:
    """What `transfer` did.

    Args:
      path: the sound file written.
      octaves: by which the pitch was moved, the octaves asked for included.
      level_db: by which the median level of the notes was moved.
      note_share: share of the recording's frames that belong to notes; NaN if nothing was matched.
    """

    path: Path
    octaves: int
    level_db: float
    note_share: float

    def __str__(self) -> str:
        notes = "" if math.isnan(self.note_share) else f"; notes in {100 * self.note_share:.0f} % of the frames"
        return f"{self.path}: moved by {self.octaves:+d} octaves and {self.level_db:+.1f} dB{notes}"


def match_octaves(pitch: np.ndarray, statistics: Statistics) -> int:
    """Octaves from the median of pitches [n], in MIDI semitones, to the training data's, to the nearest whole one."""
    return math.floor((statistics.pitch_median - float(np.median(pitch))) / 12.0 + 0.5)


def match_level(level_db: np.ndarray, on: np.ndarray, quantiles_db: np.ndarray) -> np.ndarray:
    """Give the notes of a recording the distribution of levels that the training data have.

    Args:
      level_db: level of all frames in dB, [n_frames].
      on: which belong to notes, bool [n_frames], at least one.
      quantiles_db: equally spaced quantiles of the training data's notes, rising, [n].

    Returns:
      Level in dB, [n_frames]. Frames that are equal stay so, a louder one is never quieter than another, and frames
      beyond the notes' loudest and quietest keep their distance to them.
    """
    level_db = np.asarray(level_db, dtype=np.float64)
    notes = np.sort(level_db[on])
    rank = 0.5 * (np.searchsorted(notes, level_db, "left") + np.searchsorted(notes, level_db, "right")) / len(notes)
    matched = np.interp(rank, np.linspace(0.0, 1.0, len(quantiles_db)), quantiles_db)
    return matched + np.minimum(level_db - notes[0], 0.0) + np.maximum(level_db - notes[-1], 0.0)


def auto_tune(
    f0_hz: np.ndarray,
    on: np.ndarray,
    weights: np.ndarray,
    amount: float,
    tuning: float | None = None,
    scale: Scale = "chromatic",
) -> np.ndarray:
    """Pull pitch towards the nearest notes of a scale, frame by frame.

    Args:
      f0_hz: pitch in Hz, above 0, [n_frames].
      on: frames that belong to notes, bool [n_frames]: they tell the recording's tuning and key.
      weights: how much each frame counts for the tuning, [n_frames].
      amount: 0 leaves pitch as it is, 1 leaves nothing but the notes of the scale: no vibrato either.
      tuning: semitones above A = 440 Hz to tune to; None: the recording's own tuning.
      scale: "chromatic", or "major": the notes of the major (or its parallel minor) scale nearest to the recording's.

    Returns:
      Pitch in Hz, [n_frames].
    """
    pitch = hz_to_semitones(f0_hz)
    own = tuning_of(pitch[on], np.asarray(weights)[on])
    note = _nearest(pitch - own, on, scale)
    tuned = pitch + amount * (note + (own if tuning is None else tuning) - pitch)
    return 440.0 * 2.0 ** ((tuned - 69.0) / 12.0)


def _nearest(pitch: np.ndarray, on: np.ndarray, scale: Scale) -> np.ndarray:
    """The nearest note of the scale to each pitch, in MIDI semitones."""
    if scale == "chromatic":
        return np.floor(pitch + 0.5)
    if scale != "major":
        raise ValueError(f"scale must be 'chromatic' or 'major', got '{scale}'")
    keys = (MAJOR + np.arange(12)[:, None]) % 12  # [key, degree]
    tempered = np.arange(12)
    from_key = np.abs((tempered - keys[:, :, None] + 6) % 12 - 6).min(axis=1)  # semitones from [key, pitch class]
    heard = np.bincount(np.floor(pitch[on] + 0.5).astype(np.int64) % 12, minlength=12)
    key = int(np.argmin(from_key @ heard))
    distance = (keys[key] - pitch[:, None] + 6.0) % 12.0 - 6.0
    return pitch + np.take_along_axis(distance, np.abs(distance).argmin(axis=1)[:, None], axis=1)[:, 0]


def match_curves(
    f0_hz: np.ndarray,
    level_db: np.ndarray,
    confidence: np.ndarray,
    statistics: Statistics,
    settings: Settings,
    *,
    threshold: float = 1.0,
    quiet: float = 20.0,
    autotune: float = 0.0,
    scale: Scale = "chromatic",
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Move a recording's pitch and level to the training data's.

    Args:
      f0_hz: pitch in Hz, above 0, [n_frames].
      level_db: loudness (or power, as the statistics) in dB, [n_frames].
      confidence: in the pitch, [n_frames].
      statistics: of the training data.
      settings: frame rate and tracker of the curves.
      threshold: of note detection: above 1 finds fewer notes.
      quiet: decibels to take from frames that are nothing like a note.
      autotune: 0 to 1, see `auto_tune`; tunes to the training data's tuning.
      scale: of auto-tuning.

    Returns:
      f0_hz and level_db, [n_frames]; which frames belong to notes, bool [n_frames]; octaves moved.

    Raises:
      ValueError: no frame belongs to a note.
    """
    on, likeness = detect_notes(level_db, confidence, settings.frame_rate, settings.tracker, threshold)
    if not on.any():
        raise ValueError(f"no note was found at threshold {threshold:g}: lower it, or match nothing (--no-adjust)")
    octaves = match_octaves(hz_to_semitones(f0_hz[on]), statistics)
    matched = match_level(level_db, on, statistics.quantiles_db)
    matched = matched - quiet * np.where(on, 0.0, np.clip(1.0 - likeness / threshold, 0.0, 1.0))
    matched = np.where(level_db <= SILENCE_DB, SILENCE_DB, np.maximum(matched, SILENCE_DB))
    f0_hz = f0_hz * 2.0**octaves
    if autotune:
        f0_hz = auto_tune(f0_hz, on, confidence, autotune, statistics.tuning, scale)
    return f0_hz, matched, on, octaves


def transfer(
    run: str | os.PathLike,
    audio: str | os.PathLike,
    out: str | os.PathLike,
    *,
    data: str | os.PathLike | None = None,
    adjust: bool = True,
    octave: int = 0,
    loudness_shift: float = 0.0,
    threshold: float = 1.0,
    quiet: float = 20.0,
    autotune: float = 0.0,
    scale: Scale = "chromatic",
    z_from: str | os.PathLike | None = None,
    n_harmonics: int | None = None,
    sample_rate: int | None = None,
    tracker: str | None = None,
    fmin: float | None = None,
    fmax: float | None = None,
    seed: int = 0,
) -> Transfer:
    """Play a recording on a trained instrument, in the register and dynamics that the instrument was trained in.

    Args:
      run: folder of the run that trained the instrument.
      audio: recording whose tune is played; any format and sample rate.
      out: sound file to write; its suffix names the format.
      data: data set to take the statistics from, for runs that keep none.
      adjust: match register and level to the training data's; False: only what is asked for by the other options.
      octave: octaves to move the pitch by, beside those that matching finds.
      loudness_shift: decibels to add to the level.
      threshold: of note detection: above 1 finds fewer notes, below 1 more.
      quiet: decibels to take from the parts between notes.
      autotune: 0 leaves pitch as it is, 1 leaves only notes of the scale.
      scale: of auto-tuning: chromatic, or the major scale that the recording is nearest to.
      z_from: recording whose z (timbre) is played, for an instrument with z; by default the training data's mean z.
      n_harmonics: keep only so many of the instrument's harmonics; all by default.
      sample_rate: rate of the output in Hz; that of training by default, beyond whose Nyquist there is nothing.
      tracker: pitch tracker; by default that of training.
      fmin: lowest pitch of the recording in Hz; the tracker's limit by default.
      fmax: highest pitch of the recording in Hz.
      seed: of the noise.

    Returns:
      The file written, and by how much pitch and level were moved.

    Raises:
      FileNotFoundError: the run, the recording or the data set does not exist.
      ValueError: the recording cannot be read or holds no note, the run keeps no statistics and no data set was given,
        or a setting is out of range.
    """
    check_writable(out)
    _check_knobs(adjust, threshold, autotune)
    instrument = load_instrument(run)
    level = level_name(instrument)
    if level is None:
        raise ValueError(f"{run} is inverse synthesis: it plays what it hears, and has no timbre to transfer")
    needs_z = bool(instrument.config.z_dims) and z_from is None
    statistics = _statistics(run, instrument, data, needs_z) if adjust or needs_z else None
    settings = replace(instrument.settings, tracker=tracker or instrument.settings.tracker, fmin=fmin, fmax=fmax)
    f0_hz, heard_db, confidence = _listen(instrument, audio, settings)

    level_db, on, octaves = heard_db, np.ones(len(heard_db), dtype=bool), 0
    if statistics is not None and adjust:
        knobs: dict[str, Any] = {"threshold": threshold, "quiet": quiet, "autotune": autotune, "scale": scale}
        try:
            f0_hz, level_db, on, octaves = match_curves(f0_hz, heard_db, confidence, statistics, settings, **knobs)
        except ValueError as error:
            raise ValueError(f"{audio}: {error}") from error
    level_db = shift_loudness(level_db, loudness_shift)
    curves: dict[str, Any] = {"f0_hz": f0_hz * 2.0**octave, level: level_db}
    if z_from is not None:
        curves["z"] = mix_z(None, listen(instrument, read_audio(z_from, settings.sample_rate)), 1.0)
    elif statistics is not None and instrument.config.z_dims:
        curves["z"] = statistics.z_mean
    rendered = play(instrument, **curves, n_harmonics=n_harmonics, sample_rate=sample_rate, seed=seed)
    write_audio(out, rendered, sample_rate or settings.sample_rate)
    share = float(on.mean()) if adjust else math.nan
    return Transfer(Path(out), octaves + octave, float(np.median((level_db - heard_db)[on])), share)


def _check_knobs(adjust: bool, threshold: float, autotune: float) -> None:
    if not threshold > 0.0:
        raise ValueError(f"threshold must be above 0, got {threshold}")
    if not 0.0 <= autotune <= 1.0:
        raise ValueError(f"autotune must be from 0 to 1, got {autotune}")
    if autotune and not adjust:
        raise ValueError("autotune tunes to the training data, so it needs adjust")


def _listen(
    instrument: Instrument, path: str | os.PathLike, settings: Settings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pitch, level and confidence of a recording: pitch by the tracker, even where the instrument could hear it."""
    audio = read_audio(path, settings.sample_rate)
    features = extract_features(audio, settings)
    if not features["f0_hz"].any():
        raise ValueError(f"{path} has no pitched frame, says {settings.tracker}")
    level_db = features["loudness_db"]
    if instrument.config.level == "power":
        level_db = power(torch.from_numpy(audio), instrument.config).numpy()
    return features["f0_hz"].astype(np.float64), level_db.astype(np.float64), features["f0_confidence"]


def _statistics(
    run: str | os.PathLike, instrument: Instrument, data: str | os.PathLike | None, needs_z: bool
) -> Statistics:
    """Those of `data`, or else those that the run keeps."""
    if data is None:
        kept = load_statistics(run)
        if kept is None:
            raise ValueError(
                f"{run} keeps no statistics of its training data, since an earlier version wrote it: name the data set "
                f"(--data DIR), or match nothing (--no-adjust)"
            )
        return kept
    windows = SoundWindows(data)
    if windows.settings.sample_rate != instrument.config.sample_rate:
        ours, theirs = instrument.config.sample_rate, windows.settings.sample_rate
        raise ValueError(f"data must have the sample rate of the instrument, {ours} Hz, got {theirs}")
    statistics = compute_statistics(windows, instrument.config)
    if not needs_z:
        return statistics
    return replace(statistics, z_mean=compute_z_mean(instrument.model, instrument.config, windows))
