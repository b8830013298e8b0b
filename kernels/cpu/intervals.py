"""Intervals between frames, as the loops over them see them: how f0 sweeps, what is audible and where."""

import numpy as np
from numba.core import types

from fastddsp.kernels.cpu.blocks import block_lanes, load_block, top_bits
from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.phase import frame_of, increments, interval_start
from fastddsp.kernels.cpu.simd import store

WIDTH = block_lanes(types.int64)  # shorter vectors would be stored in pieces, which a load of the tile waits for
STEPS = np.arange(WIDTH)
TRIANGLES = STEPS * (STEPS + 1) // 2


@helper
def last_below(f, nyquist):
    """How many harmonics of f lie below Nyquist, as a float; no limit where f <= 0."""
    return np.ceil(nyquist / f) - 1 if f > 0 else np.inf


@helper
def audible_harmonics(a, c, nyquist, n_harmonics):
    """Harmonics below Nyquist throughout an interval whose f0 goes from a to c, and somewhere in it."""
    throughout = max(min(last_below(max(a, c), nyquist), np.float64(n_harmonics)), 0.0)
    somewhere = max(min(last_below(min(a, c), nyquist), np.float64(n_harmonics)), 0.0)
    return np.int64(throughout), np.int64(somewhere)


@helper
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


@helper
def fill_phases(phase, base, slope, start, count, phases):
    """Phases of `count` samples, an interval's from `start` on, rounded to as many bits as the integers of `phases`.

    Sample start + l has e + l b + l (l + 1) / 2 slope, with e the phase at `start` and b the increment there. One
    block of 64-bit lanes after the other follows by sums: second differences are constant. The last block is written
    whole.
    """
    b = base + start * slope
    e = phase + (start + 1) * base + ((start * (start + 1)) >> 1) * slope
    steps = load_block(STEPS, 0)
    exact = steps * b + load_block(TRIANGLES, 0) * slope + e
    rise = steps * (WIDTH * slope) + (WIDTH * b + (WIDTH * (WIDTH + 1) // 2) * slope)
    for l in range(0, count, WIDTH):
        store(phases, l, top_bits(exact, phases))
        exact = exact + rise
        rise = rise + (WIDTH * WIDTH) * slope


@helper
def sweep_of_tile(ends, i, sample, timeline):
    """What `crossing` needs of the tile from `sample` on in interval i: f0's course over it, and Nyquist.

    And what it needs to say where that is: lane `scale` / h - `shift`, with one division for each harmonic.
    """
    n_samples, n_intervals, _, _, nyquist = timeline
    a, rise = ends[0], ends[1] - ends[0]
    fraction, step = (sample * n_intervals - i * n_samples) / n_samples, n_intervals / n_samples
    by_lane = 1 / (rise * step)
    return a, rise, fraction, step, nyquist, nyquist * by_lane, (a + rise * fraction) * by_lane


@helper
def _is_audible(h, sweep, l):
    a, rise, fraction, step, nyquist, _, _ = sweep
    return h * (a + rise * (fraction + l * step)) < nyquist


@helper
def crossing(h, sweep, lanes):
    """Where in a tile harmonic h is below Nyquist: at the lanes l with slope * l + offset >= 0.

    f0 rises or falls throughout an interval, so these are the first lanes or the last ones: where they end is
    estimated, then settled by looking at the lanes around.
    """
    rise, scale, shift = sweep[1], sweep[5], sweep[6]
    estimate = scale / h - shift
    before = np.int64(np.ceil(min(max(estimate, 0.0), np.float64(lanes)))) if np.isfinite(estimate) else np.int64(0)
    is_rising = rise > 0
    while before > 0 and _is_audible(h, sweep, before - 1) != is_rising:
        before -= 1
    while before < lanes and _is_audible(h, sweep, before) == is_rising:
        before += 1
    return (-1.0, before - 1.0) if is_rising else (1.0, -np.float64(before))
