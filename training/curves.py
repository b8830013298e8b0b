"""Curves in CSV files: time in seconds and a value, one pair a line, at any spacing, brought to a frame rate.

time,f0_hz          a line of names may come first
0.00,220.0          between two lines pitch is linear in semitones, a level linear in decibels;
0.25,0              f0 0 is no pitch: from the middle between this line and a pitched one, its sound is noise;
1.50,246.9          before the first line and after the last the curve stays as it is there
"""

import csv
import os
from pathlib import Path

import numpy as np

__all__ = ["n_frames_of", "pitch_at_frames", "read_curve", "values_at_frames"]


def read_curve(path: str | os.PathLike, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Times and values of a CSV file; of more than two columns the first two count.

    Args:
      path: the file.
      name: what the curve is, for errors.

    Returns:
      Times in seconds, rising, and values, both float64 [n_points].

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a line does not hold two finite numbers, times do not rise or begin below 0, or there is no line.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{name}: no such file: {path}")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [(i, row) for i, row in enumerate(csv.reader(file), 1) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{name}: {path} is not a CSV file: {error}") from error
    if rows and not _numbers(rows[0][1]):
        rows = rows[1:]
    points = []
    for line, row in rows:
        pair = _numbers(row)
        if pair is None:
            raise ValueError(f"{name}: line {line} of {path} must hold a time and a value, got {','.join(row)!r}")
        points.append(pair)
    if not points:
        raise ValueError(f"{name}: {path} holds no line with a time and a value")
    times, values = np.array(points).T
    if times[0] < 0 or (np.diff(times) <= 0).any():
        raise ValueError(f"{name}: the times in {path} must rise from 0 s or later")
    return times, values


def _numbers(row: list[str]) -> tuple[float, float] | None:
    """The first two cells as finite numbers, or None."""
    try:
        time, value = float(row[0]), float(row[1])
    except (ValueError, IndexError):
        return None
    return (time, value) if np.isfinite(time) and np.isfinite(value) else None


def n_frames_of(times: np.ndarray, frame_rate: float) -> int:
    """Frames up to and with the last of the times in seconds."""
    return int(np.floor(times[-1] * frame_rate + 1e-6)) + 1


def values_at_frames(times: np.ndarray, values: np.ndarray, n_frames: int, frame_rate: float) -> np.ndarray:
    """A curve at frames 0, 1, ... / frame_rate seconds, linear between its points; float32 [n_frames]."""
    return np.interp(np.arange(n_frames) / frame_rate, times, values).astype(np.float32)


def pitch_at_frames(times: np.ndarray, f0_hz: np.ndarray, n_frames: int, frame_rate: float) -> np.ndarray:
    """Pitch at frames 0, 1, ... / frame_rate seconds, linear in semitones; float32 [n_frames].

    Args:
      times: in seconds, rising, [n_points].
      f0_hz: pitch in Hz, 0 where there is none, [n_points].
      n_frames: frames wanted.
      frame_rate: frames a second.

    Returns:
      Pitch in Hz; 0 in frames that are nearer to a point without pitch than to one with it.

    Raises:
      ValueError: a pitch is below 0, or none is above.
    """
    if (f0_hz < 0).any() or not f0_hz.any():
        raise ValueError("f0 must be above 0 Hz somewhere, and 0 where there is no pitch; never below")
    frames = np.arange(n_frames) / frame_rate
    right = np.clip(np.searchsorted(times, frames), 1, len(times) - 1) if len(times) > 1 else np.zeros(n_frames, int)
    left = np.maximum(right - 1, 0)
    nearest = np.where(frames - times[left] <= times[right] - frames, left, right)
    pitched = f0_hz > 0
    # Towards a point without pitch the pitch stays; the points without one stand aside.
    both = pitched[left] & pitched[right]
    between = np.exp(np.interp(frames, times[pitched], np.log(f0_hz[pitched])))
    return np.where(both, between, f0_hz[nearest]).astype(np.float32)
