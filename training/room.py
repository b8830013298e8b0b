"""Rooms: leave the learnt one out, write it down, put one on other audio.

An instrument that was trained on a recording in a room has learnt two things apart: the dry sound x of its synthesizers
and the room's impulse response h. Its sound is y = x + h * x, "*" being convolution and h[0] = 0.

    dereverb       a recording's pitch and loudness, and its gains (fit.py) -> x, without the room
    extract_room   1, h[1], h[2], ...: the response with its direct sound, as a float WAV
    apply_room     any response * any audio

Source: Engel et al., DDSP, ICLR 2020, section 4.4, "Dereverberation and acoustic transfer".
"""

import os
from pathlib import Path

import numpy as np

from fastddsp.training.audio import check_writable, read_audio, resample_response, sample_rate_of, write_audio
from fastddsp.training.fit import fit_gains
from fastddsp.training.instrument import load_instrument, play, room_response
from fastddsp.training.resynthesize import listen_to

__all__ = ["apply_room", "convolve_room", "dereverb", "extract_room"]


def dereverb(
    run: str | os.PathLike,
    audio: str | os.PathLike,
    out: str | os.PathLike,
    *,
    sample_rate: int | None = None,
    tracker: str | None = None,
    fmin: float | None = None,
    fmax: float | None = None,
    fit_steps: int = 0,
    seed: int = 0,
) -> Path:
    """Play a recording again without the room that it was made in.

    The instrument must have been trained with a reverb on recordings from that room, best on this one among them. With
    fit_steps it is first turned up and down until in its room it sounds more like the recording.

    Args:
      run: folder of the run that trained the instrument.
      audio: recording; any format and sample rate.
      out: sound file to write; its suffix names the format.
      sample_rate: rate of the output in Hz; that of training by default, beyond whose Nyquist there is nothing.
      tracker: pitch tracker; by default that of training.
      fmin: lowest pitch of the recording in Hz; the tracker's limit by default.
      fmax: highest pitch of the recording in Hz.
      fit_steps: steps of `fit_gains`, a third of a second each for a minute of sound; 45 are enough. 0: the instrument
        plays what pitch and level alone tell.
      seed: of the noise.

    Returns:
      The file written.

    Raises:
      FileNotFoundError: the run or the recording does not exist.
      ValueError: the instrument has learnt no room, the recording cannot be read or holds no pitch, or a setting is out
        of range.
    """
    check_writable(out)
    instrument = load_instrument(run)
    room_response(instrument)  # says so if there is none
    curves = listen_to(instrument, audio, tracker=tracker, fmin=fmin, fmax=fmax)
    recording = read_audio(audio, instrument.config.sample_rate)
    gains_db = fit_gains(instrument, recording, curves, steps=fit_steps, seed=seed) if fit_steps else None
    played = play(instrument, **curves, gains_db=gains_db, sample_rate=sample_rate, room=False, seed=seed)
    write_audio(out, played, sample_rate or instrument.config.sample_rate)
    return Path(out)


def extract_room(
    run: str | os.PathLike,
    out: str | os.PathLike,
    *,
    sample_rate: int | None = None,
    normalize: bool = False,
    direct: bool = True,
    seed: int = 0,
) -> Path:
    """Write the impulse response of the room that an instrument has learnt, as 32-bit float.

    Args:
      run: folder of the run that trained the instrument.
      out: .wav file to write.
      sample_rate: rate of the file in Hz; that of training by default.
      normalize: scale the response so that its largest sample is 1 or -1; else its levels are those that were learnt.
      direct: begin with the direct sound, 1 in the first sample; False: 0 there.
      seed: of the noise that a response of filtered noise is made of.

    Returns:
      The file written.

    Raises:
      FileNotFoundError: the run does not exist.
      ValueError: the instrument has learnt no room, sample_rate is below 1, or out is not a .wav file.
    """
    check_writable(out, exact=True)
    if sample_rate is not None and sample_rate < 1:
        raise ValueError(f"sample_rate must be at least 1 Hz, got {sample_rate}")
    instrument = load_instrument(run)
    response = room_response(instrument, sample_rate, seed=seed)
    response[0] = float(direct)
    peak = float(np.abs(response).max())
    if normalize and peak:
        response /= peak
    write_audio(out, response, sample_rate or instrument.config.sample_rate, exact=True)
    return Path(out)


def apply_room(
    response: str | os.PathLike,
    audio: str | os.PathLike,
    out: str | os.PathLike,
    *,
    mix: float = 1.0,
    tail: bool = True,
) -> Path:
    """Put a room on a recording.

    Args:
      response: sound file of an impulse response with its direct sound, such as `extract_room` writes, or a measured
        one; any sample rate. Channels are averaged, as those of the recording.
      audio: recording; any sample rate, which the output has too.
      out: sound file to write; its suffix names the format. What would be above full scale is turned down as a whole.
      mix: share of the sound in the room: (1 - mix) recording + mix (response * recording).
      tail: let the room ring out; False: end with the recording.

    Returns:
      The file written.

    Raises:
      FileNotFoundError: the response or the recording does not exist.
      ValueError: a file cannot be read, or mix is not in [0, 1].
    """
    check_writable(out)
    rate, response_rate = sample_rate_of(audio), sample_rate_of(response)
    impulse = read_audio(response, response_rate)
    wet = convolve_room(read_audio(audio, rate), impulse, rate, response_rate, mix=mix, tail=tail)
    write_audio(out, wet, rate)
    return Path(out)


def convolve_room(
    audio: np.ndarray,
    response: np.ndarray,
    sample_rate: int,
    response_rate: int | None = None,
    *,
    mix: float = 1.0,
    tail: bool = True,
) -> np.ndarray:
    """Audio in a room.

    Args:
      audio: [n_samples] at sample_rate.
      response: impulse response, [n_response] at response_rate.
      sample_rate: of the audio in Hz.
      response_rate: of the response in Hz; None: that of the audio. Otherwise the response is resampled, all but its
        first sample: the direct sound of a response that begins with it keeps its full bandwidth and its place.
      mix: share of the sound in the room, 0 to 1.
      tail: let the room ring out.

    Returns:
      (1 - mix) audio + mix (response * audio), float32, as long as audio, or with tail n_response - 1 samples longer,
      counted at the audio's rate.

    Raises:
      ValueError: mix is not in [0, 1], or audio or response is not [n_samples] or empty.
    """
    from scipy.signal import fftconvolve

    if not 0.0 <= mix <= 1.0:
        raise ValueError(f"mix must be from 0 to 1, got {mix}")
    for name, samples in {"audio": audio, "response": response}.items():
        if np.ndim(samples) != 1 or not np.size(samples):
            raise ValueError(f"{name} must be [n_samples] and not empty, got {list(np.shape(samples))}")
    audio = np.asarray(audio, dtype=np.float32)
    later = np.array(response, dtype=np.float32)
    direct, later[0] = float(later[0]), 0.0
    later = resample_response(later, response_rate or sample_rate, sample_rate)
    length = len(audio) + len(later) - 1
    dry = np.pad(audio.astype(np.float64), (0, length - len(audio)))
    wet = direct * dry + fftconvolve(audio.astype(np.float64), later)
    mixed = ((1.0 - mix) * dry + mix * wet).astype(np.float32)
    return mixed if tail else mixed[: len(audio)]
