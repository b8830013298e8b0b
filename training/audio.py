"""Sound files in and out: any format that libsndfile reads, any sample rate, mixed to mono.

Audio is float32 [n_samples], full scale 1. Channels are averaged; sample rates are converted by soxr at its
very high quality setting.
"""

import os
from pathlib import Path

import numpy as np

from fastddsp.training.extras import needs_extra
from fastddsp.training.files import atomic_path

with needs_extra():
    import soundfile
    import soxr


def read_audio(path: str | os.PathLike, sample_rate: int) -> np.ndarray:
    """Read a sound file as mono at `sample_rate`.

    Args:
      path: any file that soundfile reads (WAV, FLAC, OGG, MP3, AIFF, ...).
      sample_rate: wanted rate in Hz.

    Returns:
      Audio, float32 [n_samples].

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file cannot be decoded, is empty, or holds values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such sound file: {path}")
    try:
        channels, file_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless formats, which have no rate to read
        reason = getattr(error, "error_string", str(error))
        raise ValueError(f"{path} cannot be read as sound: {reason}") from error
    audio = channels.mean(axis=1)
    if not audio.size:
        raise ValueError(f"{path} holds no samples")
    if not np.isfinite(audio).all():
        raise ValueError(f"{path} holds samples that are not finite")
    return resample_audio(audio, file_rate, sample_rate)


def resample_audio(audio: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Convert `audio`, [n_samples] at `from_rate` Hz, to `to_rate` Hz; float32."""
    if from_rate == to_rate:
        return np.ascontiguousarray(audio, dtype=np.float32)
    return soxr.resample(np.asarray(audio, dtype=np.float32), from_rate, to_rate, quality="VHQ")


def resample_response(response: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Convert an impulse response, [n_samples] at `from_rate` Hz, to `to_rate` Hz; float32.

    A convolution sums to_rate / from_rate times as many samples, so the response shrinks by as much.
    """
    return resample_audio(response, from_rate, to_rate) * np.float32(from_rate / to_rate)


def sample_rate_of(path: str | os.PathLike) -> int:
    """The sample rate of a sound file in Hz.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file cannot be decoded.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such sound file: {path}")
    try:
        return soundfile.info(path).samplerate
    except (soundfile.SoundFileError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as sound: {getattr(error, 'error_string', error)}") from error


def write_audio(path: str | os.PathLike, audio: np.ndarray, sample_rate: int, *, exact: bool = False) -> float:
    """Write mono audio, atomically; what is louder than full scale is turned down as a whole, never clipped.

    Args:
      path: file to write; its suffix names the format (.wav, .flac, .ogg, ...).
      audio: [n_samples], full scale 1.
      sample_rate: rate in Hz.
      exact: write 32-bit float, every sample as it is, above full scale too.

    Returns:
      The gain that was applied, linear: 1 unless the peak was above full scale.

    Raises:
      ValueError: the suffix names no format that can be written, or the audio is not finite.
    """
    kind = check_writable(path, exact=exact)
    audio = np.asarray(audio, dtype=np.float32)
    if not np.isfinite(audio).all():
        raise ValueError(f"the audio for {path} holds samples that are not finite")
    gain = 1.0 if exact else 1.0 / max(1.0, float(np.abs(audio).max(initial=0.0)))
    with atomic_path(path) as partial:
        soundfile.write(partial, audio * np.float32(gain), sample_rate, "FLOAT" if exact else None, format=kind)
    return gain


def check_writable(path: str | os.PathLike, *, exact: bool = False) -> str:
    """The sound format that the suffix of `path` names; ValueError if it names none, or none of floats for `exact`."""
    suffix = Path(path).suffix
    kind = suffix.lstrip(".").upper()
    if kind not in soundfile.available_formats():
        raise ValueError(f"{path} must end in the name of a sound format, such as .wav or .flac, got '{suffix}'")
    if exact and not soundfile.check_format(kind, "FLOAT"):
        raise ValueError(f"{path} must end in the name of a format of 32-bit floats, such as .wav, got '{suffix}'")
    return kind
