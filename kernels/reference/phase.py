"""Specification of phase and envelopes, in float64. The equations stand in fastddsp.kernels.phase."""

import numpy as np

from fastddsp.kernels.phase import Timeline


def sample_position(n: int, timeline: Timeline) -> tuple[int, float]:
    """Interval of sample n and the fraction of it that has passed, from exact integers."""
    interval, rest = divmod(n * timeline.n_intervals, timeline.n_samples)
    return interval, rest / timeline.n_samples


def held(frames: np.ndarray, j: int) -> np.ndarray:
    """Frame j of [frames, ...], the first or last one beyond the ends."""
    return frames[min(max(j, 0), len(frames) - 1)]


def envelope(frames: np.ndarray, timeline: Timeline, method: str) -> np.ndarray:
    """[frames, channels] -> [n_samples, channels] by `nearest`, `linear`, `window` or `cubic` blending."""
    out = np.zeros((timeline.n_samples, frames.shape[1]))
    for n in range(timeline.n_samples):
        i, x = sample_position(n, timeline)
        j = timeline.first_frame + i
        for frame, weight in taps(j, x, method):
            out[n] += weight * held(frames, frame)
    return out


def taps(j: int, x: float, method: str) -> list[tuple[int, float]]:
    """Frames and weights that blend at fraction x of the way from frame j to frame j + 1."""
    if method == "nearest":
        return [(j, 1.0)]
    if method == "linear":
        return [(j, 1 - x), (j + 1, x)]
    if method == "window":
        return [(j, np.cos(np.pi / 2 * x) ** 2), (j + 1, np.sin(np.pi / 2 * x) ** 2)]
    if method == "cubic":
        x = round(x * 1024) / 1024  # half to even, as TensorFlow's table of weights
        return [(j + d, keys(abs(d - x))) for d in (-1, 0, 1, 2)]
    raise ValueError(method)


def keys(d: float, a: float = -0.75) -> float:
    """Keys' cubic convolution kernel at distance d <= 2."""
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a


def frequency(f0_hz: np.ndarray, timeline: Timeline) -> np.ndarray:
    """[frames] -> [n_samples]: f0 between frames, linear."""
    return envelope(f0_hz[:, None], timeline, "linear")[:, 0]


def phase(f0_hz: np.ndarray, timeline: Timeline, sample_rate: float, initial_phase: float = 0.0) -> np.ndarray:
    """[frames] Hz -> [n_samples] radians, whole turns dropped sample by sample so that float64 keeps its digits."""
    turns = (initial_phase / (2 * np.pi)) % 1.0
    out = np.zeros(timeline.n_samples)
    for n, f in enumerate(frequency(f0_hz, timeline)):
        turns = (turns + f / sample_rate) % 1.0
        out[n] = 2 * np.pi * turns
    return out
