"""Play a tune on a trained instrument: that of a recording, or curves of pitch and level drawn by hand.

recording -> f0, level, z -> replaced by curves -> shifted -> the instrument's sound
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastddsp.training.audio import check_writable, read_audio, write_audio
from fastddsp.training.curves import n_frames_of, pitch_at_frames, read_curve, values_at_frames
from fastddsp.training.instrument import Instrument, level_name, listen, load_instrument, play, shift_loudness

__all__ = ["Instrument", "listen", "listen_to", "load_instrument", "mix_z", "play", "resynthesize", "shift_loudness"]

CSV = str | os.PathLike | None


def resynthesize(
    run: str | os.PathLike,
    audio: str | os.PathLike | None,
    out: str | os.PathLike,
    *,
    f0_csv: CSV = None,
    loudness_csv: CSV = None,
    pitch_shift: float = 0.0,
    loudness_shift: float = 0.0,
    z_from: CSV = None,
    z_mix: float = 1.0,
    n_harmonics: int | None = None,
    sample_rate: int | None = None,
    room: bool = True,
    tracker: str | None = None,
    fmin: float | None = None,
    fmax: float | None = None,
    seed: int = 0,
) -> Path:
    """Play a recording, or curves of pitch and loudness, on a trained instrument.

    Args:
      run: folder of the run that trained the instrument.
      audio: recording whose tune is played; any format and sample rate. None if curves say everything.
      out: sound file to write; its suffix names the format.
      f0_csv: pitch in place of the recording's: lines of time in seconds and f0 in Hz, 0 where there is none.
      loudness_csv: level in place of the recording's: lines of time in seconds and A-weighted loudness in dB; power
        in dB for an instrument that plays power (presets vst_*).
      pitch_shift: semitones to add to the pitch.
      loudness_shift: decibels to add to the loudness.
      z_from: another recording, towards whose z (timbre) the instrument's z goes; for instruments with z.
      z_mix: how far: 0 is the z of the recording, 1 that of z_from.
      n_harmonics: keep only so many of the instrument's harmonics; all by default.
      sample_rate: rate of the output in Hz; that of training by default, beyond whose Nyquist there is nothing.
      room: with the room that was learnt, if one was; False: the instrument alone.
      tracker: pitch tracker; by default that of training.
      fmin: lowest pitch of the recording in Hz; the tracker's limit by default.
      fmax: highest pitch of the recording in Hz.
      seed: of the noise, and of a room made of noise.

    Returns:
      The file written.

    Raises:
      FileNotFoundError: the run, the recording or a CSV file does not exist.
      ValueError: the recording cannot be read or holds no pitch, a CSV file holds no curve, something is missing that
        the instrument plays, or a setting is out of range.
    """
    check_writable(out)
    instrument = load_instrument(run)
    heard_by: dict[str, Any] = {"tracker": tracker, "fmin": fmin, "fmax": fmax}
    curves: dict[str, Any] = {} if audio is None else listen_to(instrument, audio, **heard_by)
    curves |= _drawn(instrument, f0_csv, loudness_csv, len(curves["f0_hz"]) if curves else None)
    if z_from is not None:
        other = listen_to(instrument, z_from, **heard_by)
        curves["z"] = mix_z(curves.get("z"), other, z_mix)
    _check_complete(instrument, curves)
    curves = _shifted(curves, pitch_shift, loudness_shift)
    rendered = play(instrument, **curves, n_harmonics=n_harmonics, sample_rate=sample_rate, room=room, seed=seed)
    write_audio(out, rendered, sample_rate or instrument.config.sample_rate)
    return Path(out)


def mix_z(z: np.ndarray | None, other: Mapping[str, np.ndarray], mix: float) -> np.ndarray:
    """z on its way to another recording's.

    Args:
      z: of the tune, [n_frames, z_dims]; None only with mix 1.
      other: what `listen` heard in the other recording. Its z counts as one for all frames: the mean, weighted by
        amplitude, 10^(level / 20), so that its silences do not count.
      mix: 0: z as it is; 1: the other's.

    Returns:
      (1 - mix) z + mix other, [n_frames, z_dims], or [z_dims] with mix 1.

    Raises:
      ValueError: mix is not in [0, 1], the instrument has no z, or z is missing.
    """
    if not 0.0 <= mix <= 1.0:
        raise ValueError(f"z_mix must be from 0 to 1, got {mix}")
    if "z" not in other:
        raise ValueError("z_from needs an instrument with z, such as one of preset nsynth_ae; this one has none")
    weights = 10.0 ** (other["power_db" if "power_db" in other else "loudness_db"] / 20.0)
    mean = np.average(other["z"], axis=0, weights=weights).astype(np.float32)
    if mix == 1.0:
        return mean
    if z is None:
        raise ValueError(f"audio must be given to take its z, or z_mix be 1, got {mix}")
    return (1.0 - mix) * z + mix * mean


def _shifted(curves: Mapping[str, Any], semitones: float, decibels: float) -> dict[str, Any]:
    """Curves with pitch and level moved; controls that were heard get louder by a gain."""
    shifted = {**curves, "f0_hz": curves["f0_hz"] * np.float32(2.0 ** (semitones / 12.0))}
    for level in curves.keys() & {"loudness_db", "power_db"}:
        shifted[level] = shift_loudness(curves[level], decibels)
    if "controls" in curves:
        gain = np.float32(10.0 ** (decibels / 20.0))
        gains = {"amplitudes": gain, "harmonic_distribution": 1.0, "magnitudes": gain}
        shifted["controls"] = {name: gains[name] * x for name, x in curves["controls"].items()}
    return shifted


def listen_to(instrument: Instrument, path: str | os.PathLike, **settings: Any) -> dict[str, Any]:
    """Curves of a file: what `listen` hears in it, with its settings; errors name the file."""
    audio = read_audio(path, instrument.config.sample_rate)
    try:
        return listen(instrument, audio, **settings)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _drawn(instrument: Instrument, f0_csv: CSV, loudness_csv: CSV, n_frames: int | None) -> dict[str, np.ndarray]:
    """Curves of CSV files at n_frames, or, without a recording, at as many as the longer of them has."""
    rate, level = instrument.config.frame_rate, level_name(instrument)
    if loudness_csv is not None and level is None:
        raise ValueError("loudness_csv must not be given: inverse synthesis plays the controls that it hears")
    files = {"f0_csv": f0_csv, "loudness_csv": loudness_csv}
    read = {name: read_curve(path, name) for name, path in files.items() if path is not None}
    n_frames = n_frames or max((n_frames_of(times, rate) for times, _ in read.values()), default=0)
    curves = {}
    if f0_csv is not None:
        try:
            curves["f0_hz"] = pitch_at_frames(*read["f0_csv"], n_frames, rate)
        except ValueError as error:
            raise ValueError(f"f0_csv: {error}, in {f0_csv}") from error
    if level is not None and loudness_csv is not None:
        curves[level] = values_at_frames(*read["loudness_csv"], n_frames, rate)
    return curves


def _check_complete(instrument: Instrument, curves: Mapping[str, Any]) -> None:
    """Say what has to be given when there is no recording."""
    level = level_name(instrument)
    if level is None:
        if "controls" not in curves:
            raise ValueError("audio must be given: inverse synthesis plays the controls that it hears")
        return
    needed = {"f0_csv": "f0_hz", "loudness_csv": level}
    if instrument.config.z_dims:
        needed["z_from"] = "z"
    missing = [argument for argument, name in needed.items() if name not in curves]
    if missing:
        raise ValueError(f"audio must be given, or else {', '.join(missing)} too: this instrument plays from all of it")
