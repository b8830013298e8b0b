"""Octave errors of pitch trackers, found by the partials that the wrong octave cannot explain.

With P(q) the power of the sound at frequency q, around a frame whose tracked pitch is f:

    too high   the partials of f / 2 that are none of f hold power:   sum_odd m P(m f / 2) > 2    sum_even m P(m f / 2)
    too low    the odd partials of f hold nothing:                    sum_odd m P(m f)     < 0.01 sum_even m P(m f)

for m = 1 ... 12. In the violin, flute, trumpet and saxophone phrases of FluidR3, tracked by swift-f0, frames of the
right pitch have a first ratio of at most 0.85 (0.08 in 99 of 100) and a second of at least 0.019. Frames an octave too
high have a first ratio above 4.6, and the flute's that are an octave too low mostly a second below 0.006.
"""

import numpy as np

TOO_HIGH = 2.0
TOO_LOW = 0.01
N_PARTIALS = 12
WINDOW_SECONDS = 0.064
# Below this the partials of f / 2 stand closer than the window can tell apart: a Hann window's lobe is 4 / 0.064 s
# wide.
LOWEST_HZ = 125.0
FRAMES_AT_ONCE = 2000


def settle_octaves(
    audio: np.ndarray, sample_rate: int, times: np.ndarray, f0_hz: np.ndarray, fmin: float = 0.0, fmax: float = np.inf
) -> np.ndarray:
    """Halve or double the pitch of frames whose partials say so.

    Args:
      audio: mono audio, [n_samples].
      sample_rate: its rate in Hz.
      times: of the frames in seconds, [n_frames].
      f0_hz: tracked pitch in Hz, [n_frames]; frames at 0 stay.
      fmin: no frame is brought below it, in Hz.
      fmax: no frame is brought above it, in Hz.

    Returns:
      Pitch in Hz, [n_frames].
    """
    settled = np.array(f0_hz, dtype=np.float64)
    for start in range(0, len(settled), FRAMES_AT_ONCE):
        part = slice(start, start + FRAMES_AT_ONCE)
        power = _power(audio, sample_rate, times[part])
        f0 = settled[part]
        too_high = _odd_over_even(power, 0.5 * f0, sample_rate) > TOO_HIGH
        too_low = _odd_over_even(power, f0, sample_rate) < TOO_LOW
        may_fall = (f0 >= LOWEST_HZ) & (0.5 * f0 >= fmin)
        may_rise = (f0 >= 0.5 * LOWEST_HZ) & (2.0 * f0 <= fmax)
        settled[part] = np.where(too_high & may_fall, 0.5 * f0, np.where(too_low & may_rise, 2.0 * f0, f0))
    return settled


def _power(audio: np.ndarray, sample_rate: int, times: np.ndarray) -> np.ndarray:
    """Power spectrum around each time, [n_times, bins], four bins to a lobe's quarter."""
    width = round(WINDOW_SECONDS * sample_rate)
    padded = np.pad(np.asarray(audio, dtype=np.float32), width)
    begins = np.clip(np.round(times * sample_rate).astype(np.int64) + width // 2, 0, len(padded) - width)
    frames = np.lib.stride_tricks.sliding_window_view(padded, width)[begins]
    return np.abs(np.fft.rfft(frames * np.hanning(width).astype(np.float32), 4 * width)) ** 2


def _odd_over_even(power: np.ndarray, f0_hz: np.ndarray, sample_rate: int) -> np.ndarray:
    """Power at odd over power at even multiples of f0, below Nyquist, [n_frames]; 1 where there is none."""
    n_bins = power.shape[1]
    bins = np.round(f0_hz[:, None] * np.arange(1, N_PARTIALS + 1) * 2.0 * (n_bins - 1) / sample_rate).astype(np.int64)
    partials = np.where(bins < n_bins, np.take_along_axis(power, np.minimum(bins, n_bins - 1), axis=1), 0.0)
    odd, even = partials[:, 0::2].sum(axis=1), partials[:, 1::2].sum(axis=1)
    return np.where(even > 0, odd / np.where(even > 0, even, 1.0), 1.0)
