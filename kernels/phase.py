"""Phase: exact by construction, the same everywhere.

The equation. An instantaneous frequency f(n) that is linear between frames gives the phase, in turns,

    phi(n) = phi_0 + sum_{m <= n} f(m) / sample_rate.

n_samples samples are divided evenly into n_intervals intervals. Sample n lies in interval i = floor(n I / N) at the
fraction (n I - i N) / N of its way to the next frame; N need not be a multiple of I. Inside the interval, sample m
(counted from the interval's first) has

    f(m) = a + (c - a) (o + m I) / N        a, c: f0 at the interval's two ends; o = n_i I - i N, n_i = ceil(i N / I)
    phi(n_i + m) = P_i + (m + 1) A + (m (m + 1) / 2) D,    A = (a + (c - a) o / N) / sample_rate
                                                           D = (c - a) I / (N sample_rate)

so only the advances of whole intervals need a prefix sum, and every interval can be rendered on its own.

The number. A phase is a 64-bit unsigned fraction of a turn: wrapping is free and addition is associative, so neither
chunks nor threads nor devices change a bit. A and D are rounded to 2^-63 turns once per interval; P_i lies on a grid of
2^-50 turns, on which a phase in radians survives the trip through a float64: `from_radians(to_radians(P)) == P`.
That is what makes rendering in blocks equal rendering whole, bit for bit. The price is at most 2^-51 turns an interval:
4e-10 turns after an hour of 250 intervals a second.

Harmonic k's phase is k times the integer, wrapped; never k times a rounded float.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

GRID_BITS = 14
"""Interval phases are multiples of 2^14 / 2^64 = 2^-50 turns."""

METHODS = ("nearest", "linear", "window", "cubic")


@dataclass(frozen=True)
class Timeline:
    """How `n_samples` samples are laid over `n_intervals` intervals between frames.

    Interval i starts at frame `first_frame + i`; frames beyond either end are the nearest frame, held.
    """

    n_samples: int
    n_intervals: int
    first_frame: int = 0

    @property
    def period(self) -> int:
        """Samples after which the fractions repeat: the hop size where intervals divide the samples."""
        return self.n_samples // math.gcd(self.n_samples, self.n_intervals) if self.n_samples else 1

    @property
    def longest_interval(self) -> int:
        """Samples in the longest interval."""
        return -(-self.n_samples // self.n_intervals) if self.n_intervals else 0


def to_radians(phase: np.ndarray) -> np.ndarray:
    """uint64 fractions of a turn on the grid -> float64 radians in [0, 2 pi)."""
    return (phase >> np.uint64(GRID_BITS)).astype(np.float64) * 2.0**-50 * (2 * np.pi)


def from_radians(radians: np.ndarray) -> np.ndarray:
    """Float radians, any number of turns -> uint64 fractions of a turn, rounded to the grid. Not finite: 0."""
    turns = np.asarray(radians, np.float64) / (2 * np.pi)
    turns = np.where(np.isfinite(turns), turns, 0.0)
    steps = np.rint((turns - np.floor(turns)) * 2.0**50).astype(np.uint64)
    return steps << np.uint64(GRID_BITS)


@lru_cache(maxsize=64)
def envelope_weights(method: str, timeline: Timeline, dtype: str, padding: int = 0) -> np.ndarray:
    """Weights of the frames that a sample's amplitude blends, for one period of the timeline.

    Row r belongs to frame `first_frame + i + r + tap_offset(method)`. `padding` zeros follow the period, so that a
    vector may be loaded from any sample of it.

    Returns [n_taps, period + padding], n_taps = 2, or 4 for cubic. The array is shared: do not write to it.
    """
    fraction = (np.arange(timeline.period) * timeline.n_intervals % max(timeline.n_samples, 1)) / max(
        timeline.n_samples, 1
    )
    weights = np.zeros((len(_WEIGHTS[method](np.zeros(1))), timeline.period + padding), dtype)
    weights[:, : timeline.period] = _WEIGHTS[method](fraction)
    weights.setflags(write=False)
    return weights


def tap_offset(method: str) -> int:
    """Frame of the first weight, relative to the frame at the interval's start."""
    return -1 if method == "cubic" else 0


def _linear(fraction):
    return np.stack([1 - fraction, fraction])


def _window(fraction):
    """Overlapping periodic Hann windows of two hops: cos^2 and sin^2 of a quarter turn."""
    rising = np.sin(np.pi / 2 * fraction) ** 2
    return np.stack([1 - rising, rising])


def _nearest(fraction):
    return np.stack([np.ones_like(fraction), np.zeros_like(fraction)])


def _cubic(fraction):
    """Keys' kernel with a = -0.75, its argument rounded to 1/1024 as in TensorFlow's legacy resize."""
    a, x = -0.75, np.rint(fraction * 1024) / 1024

    def inner(d):  # |d| <= 1
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def outer(d):  # 1 <= |d| <= 2
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return np.stack([outer(1 + x), inner(x), inner(1 - x), outer(2 - x)])


_WEIGHTS = {"nearest": _nearest, "linear": _linear, "window": _window, "cubic": _cubic}
