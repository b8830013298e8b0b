"""Random melodies with what players do: swells, vibrato, slides, rests.

A walk over the notes of a scale, in steps that are mostly small and lean towards the middle of the range. A note
swells, grows, fades or waves (expression); long ones have vibrato that sets in after a moment; some slide in from the
note before.
"""

import numpy as np

from fastddsp.training.score import CONTROL_RATE, Note, Score

MAJOR = (0, 2, 4, 5, 7, 9, 11)
SECONDS = (0.25, 0.4, 0.6, 1.0, 1.6, 2.5)
SECONDS_ODDS = (0.15, 0.25, 0.25, 0.15, 0.12, 0.08)
REST_SECONDS = (0.0, 0.0, 0.0, 0.15, 0.5)
VIBRATO_CENTS = (0.0, 15.0, 30.0, 50.0)
WIDEST_STEP, WIDEST_SLIDE = 9, 7  # semitones
NEW_KEY_ODDS, SLIDE_ODDS = 0.08, 0.2
LEAST_EXPRESSION = 0.12  # below it, a sampled instrument is hardly heard


def random_melody(rng: np.random.Generator, keys: tuple[int, int], seconds: float) -> Score:
    """A melody of `seconds`, of which the last half second is silent.

    Args:
      rng: source of chance.
      keys: lowest and highest MIDI note.
      seconds: length, at least 2.

    Returns:
      The score, its curves [round(seconds * CONTROL_RATE)].

    Raises:
      ValueError: seconds or keys are out of range.
    """
    low, high = keys
    if not 0 <= low < high <= 127:
        raise ValueError(f"keys must be two rising MIDI notes, 0 to 127, got {low} and {high}")
    if seconds < 2:
        raise ValueError(f"seconds must be at least 2, got {seconds}")
    n_steps = round(seconds * CONTROL_RATE)
    last = n_steps - CONTROL_RATE // 2
    expression, bend = np.zeros(n_steps), np.zeros(n_steps)
    notes: list[Note] = []
    begin, tonic, pitch, before = CONTROL_RATE // 4, int(rng.integers(12)), int(rng.integers(low, high + 1)), None
    while begin < last - CONTROL_RATE // 4:
        long = rng.choice(SECONDS, p=SECONDS_ODDS) * rng.uniform(0.9, 1.1)
        end = min(begin + round(long * CONTROL_RATE), last)
        loudest = rng.uniform(0.35, 1.0)
        expression[begin:end] = np.clip(loudest * _swell(rng, end - begin), LEAST_EXPRESSION, 1.0)
        bend[begin:end] = _vibrato(rng, end - begin)
        if before is not None and abs(before - pitch) <= WIDEST_SLIDE and rng.random() < SLIDE_ODDS:
            bend[begin:end] += (before - pitch) * np.clip(1.0 - _times(end - begin) / 0.12, 0.0, 1.0)
        notes.append(Note(begin / CONTROL_RATE, end / CONTROL_RATE, pitch, round(50 + 75 * loudest)))
        begin = end + round(rng.choice(REST_SECONDS) * CONTROL_RATE)
        tonic = int(rng.integers(12)) if rng.random() < NEW_KEY_ODDS else tonic
        before, pitch = pitch, _next_pitch(rng, pitch, tonic, low, high)
    return Score(notes, expression, bend)


def _times(n_steps: int) -> np.ndarray:
    """Seconds since the beginning of a note, in the middle of every step."""
    return (np.arange(n_steps) + 0.5) / CONTROL_RATE


def _swell(rng: np.random.Generator, n_steps: int) -> np.ndarray:
    u = (np.arange(n_steps) + 0.5) / n_steps
    shapes = (np.sqrt(np.sin(np.pi * u)), 0.35 + 0.65 * u, 1.0 - 0.7 * u, 0.6 + 0.4 * np.sin(4 * np.pi * u))
    return shapes[rng.integers(len(shapes))]


def _vibrato(rng: np.random.Generator, n_steps: int) -> np.ndarray:
    """Semitones; none on notes of half a second or less."""
    cents, rate_hz, phase = rng.choice(VIBRATO_CENTS), rng.uniform(4.8, 6.2), rng.uniform(0.0, 2 * np.pi)
    if n_steps <= CONTROL_RATE // 2:
        return np.zeros(n_steps)
    time = _times(n_steps)
    return cents / 100.0 * np.clip((time - 0.15) / 0.25, 0.0, 1.0) * np.sin(2 * np.pi * rate_hz * time + phase)


def _next_pitch(rng: np.random.Generator, pitch: int, tonic: int, low: int, high: int) -> int:
    near = np.arange(max(low, pitch - WIDEST_STEP), min(high, pitch + WIDEST_STEP) + 1)
    in_scale = near[np.isin((near - tonic) % 12, MAJOR) & (near != pitch)]
    if not len(in_scale):  # a range of a few notes
        in_scale = near[near != pitch]
    towards_middle = np.sign((low + high) / 2 - pitch) == np.sign(in_scale - pitch)
    odds = np.exp(-np.abs(in_scale - pitch) / 3.0) * (1.0 + 0.5 * towards_middle)
    return int(rng.choice(in_scale, p=odds / odds.sum()))
