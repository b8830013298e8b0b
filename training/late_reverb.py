"""Recordings made in a room: how long the room rings, and the instrument's own dynamics without its ringing.

In a room, sound dies away by 60 dB in rt60 seconds. What it still holds at a time t of all that sounded until t - T is

    R(t, f) = 10^(-6 T / rt60) S(t - T, f)      P: power of the recording's STFT, S: P smoothed in time

and max(1 - R / P, FLOOR)^(1/2) times the recording leaves what is newer than T = 50 ms. While a note is held this
is a constant gain; when it ends, what follows falls by as much more at once, instead of within rt60. S is slow, about
0.1 s behind: a dying sound fluctuates, and what came above its own past would be left.

What is left of the room, its first 50 ms, still comes later than the direct sound. Where the room is louder by e (a
ratio of energies), what is left is late by its centre of energy

    D = e (1/a - (T + 1/a) exp(-a T)) / (1 + e (1 - exp(-a T)))      a = 6 ln 10 / rt60

This is no dereverberation to listen to: it garbles. It is for hearing when notes end: loudness of a wet recording tells
an instrument to play the room's ringing itself, and a room learnt beside it would have nothing left to explain.

Source: Lebart, Boucher and Denbigh, A new method based on spectral subtraction for speech dereverberation, Acta
Acustica united with Acustica 87, 2001.
"""

import math

import numpy as np
import torch
from scipy.signal import lfilter

from fastddsp.autograd.spectral import compute_loudness

__all__ = ["delay_of_early_sound", "estimate_rt60", "suppress_late_reverb"]

FRAME_SECONDS, HOPS_PER_FRAME = 0.064, 4
LATE_SECONDS = 0.05  # what arrives later than this counts as reverberation
FLOOR = 1e-4  # of the power
SMOOTHING = 0.85  # of S, from one hop to the next

FRAME_RATE = 250
FALL_SECONDS = 0.3
FASTEST = 0.03  # share of falls that count as the fastest
HEARD_DB, LEAST_DB = 30.0, -75.0  # a fall begins this much below the loudest at most, and ends above silence


def suppress_late_reverb(audio: np.ndarray, sample_rate: int, rt60: float) -> np.ndarray:
    """What is newer than 50 ms in a recording from a room.

    Args:
      audio: recording, [n_samples].
      sample_rate: Hz.
      rt60: the room's reverberation time in seconds.

    Returns:
      Audio, float32 [n_samples].

    Raises:
      ValueError: rt60 is not above 0.
    """
    if not rt60 > 0:
        raise ValueError(f"rt60 must be above 0 seconds, got {rt60}")
    hop = round(FRAME_SECONDS * sample_rate / HOPS_PER_FRAME)
    size = hop * HOPS_PER_FRAME
    n_late = round(LATE_SECONDS * sample_rate / hop)
    window = torch.hann_window(size)
    samples = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32))
    padded = torch.nn.functional.pad(samples, (0, size))
    spectrum = torch.stft(padded, size, hop, window=window, pad_mode="constant", return_complex=True).numpy()
    power = np.abs(spectrum) ** 2
    smooth = lfilter([1.0 - SMOOTHING], [1.0, -SMOOTHING], power, axis=1)
    late = np.zeros_like(power)
    late[:, n_late:] = 10.0 ** (-6.0 * n_late * hop / sample_rate / rt60) * smooth[:, :-n_late]
    gain = np.sqrt(np.maximum(1.0 - late / np.maximum(power, 1e-20), FLOOR))
    early = torch.from_numpy((spectrum * gain).astype(np.complex64))
    return torch.istft(early, size, hop, window=window, length=len(padded))[: len(audio)].numpy()


def delay_of_early_sound(rt60: float, room_db: float) -> float:
    """By how much `suppress_late_reverb` leaves a sound later than it would arrive without the room.

    Args:
      rt60: the room's reverberation time in seconds.
      room_db: energy of the room over that of the direct sound, in dB: 20 log10 (distance / critical distance).

    Returns:
      D in seconds, at most half of 50 ms.

    Raises:
      ValueError: rt60 is not above 0.
    """
    if not rt60 > 0:
        raise ValueError(f"rt60 must be above 0 seconds, got {rt60}")
    decay = 6.0 * math.log(10.0) / rt60
    gone = math.exp(-decay * LATE_SECONDS)
    energy = 10.0 ** (room_db / 10.0)
    return energy * (1.0 / decay - (LATE_SECONDS + 1.0 / decay) * gone) / (1.0 + energy * (1.0 - gone))


def estimate_rt60(audio: np.ndarray, sample_rate: int) -> float:
    """Reverberation time of the room that a recording was made in, from the recording alone.

    Nothing dies away faster than the room that it is in lets it: of all changes in loudness over 0.3 s, the fastest
    falls are those of the room after an instrument has stopped. In a dry recording they are the instrument's own.

    Args:
      audio: recording with some notes that end, [n_samples]; a minute is enough.
      sample_rate: Hz; a multiple of 250.

    Returns:
      rt60 in seconds.

    Raises:
      ValueError: nothing ever falls silent.
    """
    samples = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32))
    level_db = compute_loudness(samples, sample_rate, FRAME_RATE).numpy()
    n_fall = round(FALL_SECONDS * FRAME_RATE)
    before, after = level_db[:-n_fall], level_db[n_fall:]
    change = (after - before)[(before > level_db.max() - HEARD_DB) & (after > LEAST_DB)]
    fastest = np.quantile(change, FASTEST) if len(change) else 0.0
    if not fastest < 0:
        raise ValueError("the recording never falls silent, so its room cannot be heard alone")
    return float(-60.0 * FALL_SECONDS / fastest)
