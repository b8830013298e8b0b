"""Intervals between frames, as the loops over them see them: how f0 sweeps, what is audible, the phases of a tile."""

import numpy as np
from numba import njit

from fastddsp.kernels.cpu.phase import frame_of, increments, interval_start, tile_phases


@njit
def last_below(f, nyquist):
    """How many harmonics of f lie below Nyquist, as a float; no limit where f <= 0."""
    return np.ceil(nyquist / f) - 1 if f > 0 else np.inf


@njit
def audible_harmonics(a, c, nyquist, n_harmonics):
    """Harmonics below Nyquist throughout an interval whose f0 goes from a to c, and somewhere in it."""
    throughout = max(min(last_below(max(a, c), nyquist), np.float64(n_harmonics)), 0.0)
    somewhere = max(min(last_below(min(a, c), nyquist), np.float64(n_harmonics)), 0.0)
    return np.int64(throughout), np.int64(somewhere)


@njit
def interval(f0, n_frames, i, n_harmonics, timeline):
    """What one interval is: (f0 at its ends, phase increments), audible harmonics, first and last sample.

    f0: pointer to the batch item's frames.
    """
    n_samples, n_intervals, first_frame, sample_rate, nyquist = timeline
    a = np.float64(f0[frame_of(first_frame + i, n_frames)])
    c = np.float64(f0[frame_of(first_frame + i + 1, n_frames)])
    samples = interval_start(i, n_samples, n_intervals), interval_start(i + 1, n_samples, n_intervals)
    base, slope = increments(a, c, i, samples[0], n_samples, n_intervals, sample_rate)
    audible = audible_harmonics(a, c, nyquist, n_harmonics)
    return (a, c, base, slope), audible, samples


@njit
def fill_tile(sweep, phase, i, sample, first, audible, timeline, drop, lanes, phases, limits):
    """Phases of a tile from `sample` on, in interval i that begins at `first`, and where its harmonics cross Nyquist.

    limits[l]: how many harmonics are below Nyquist at the tile's sample l.
    """
    a, c, base, slope = sweep
    n_samples, n_intervals, _, _, nyquist = timeline
    tile_phases(phase, base, slope, sample - first, drop, lanes, phases)
    if audible[0] < audible[1]:
        fraction, step = (sample * n_intervals - i * n_samples) / n_samples, n_intervals / n_samples
        for l in range(lanes):
            limits[l] = last_below(a + (c - a) * (fraction + l * step), nyquist)
