"""Places in a table: which points sound at a phase and how much of each, for a stretch of samples.

A table has W points, and straight lines between them. At the phase phi, in turns, x = W phi lies between points c and
c + 1, c = floor(x), at u = x - c: the points weigh 1 - u and u, and their slopes are -W and W a turn.

    reads[0], reads[1]    weights of points c and c + 1
    reads[2], reads[3]    their slopes, times `unit`

A reading of order 1, the derivative of a reading, has the slopes for weights, and none for slopes. Points are numbered
up to W + 1; what stands there (the first point again, say) is the reader's.
"""

import numpy as np
from numba import njit

from fastddsp.kernels.cpu.phase import frame_of, increments, interval_start, tile_phases

MASK, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
TILE = 256
"""Samples that are read at a time: what is known of them stays in the first-level cache."""


def workspace(dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Room for a tile: phases, cells, and rows of numbers, the first four of them the reads."""
    return np.empty(TILE, np.int64), np.empty(TILE, np.int32), np.empty((8, TILE), dtype)


@njit
def place_given(phase, order, n_points, unit, b, n, size, cells, reads):
    """Places of the phases phase[b, n : n + size]; outside [0, 1] they fade within a point, on one they are flat."""
    width = np.float64(n_points)
    for l in range(size):
        x = np.float64(phase[b, n + l]) * width
        inside = x > -1.0 and x < width + 1.0
        c = np.floor(x) if inside else 0.0
        u = x - c if inside else (0.0 if x == x else x)
        slope = width * unit if inside and u > 0.0 else 0.0
        cells[l] = np.int32(max(c, 0.0))
        reads[0, l] = (1.0 - u if inside else u) if c >= 0.0 else u
        reads[1, l] = u if c >= 0.0 and c < width else 0.0
        reads[2, l] = -slope if c >= 0.0 else slope
        reads[3, l] = slope if c >= 0.0 and c < width else 0.0
    _differentiate(order, size, reads)


@njit
def place_exact(clock, order, n_points, unit, b, n, size, phases, cells, reads):
    """Places of the phases that f0 sums up before the samples n to n + size; weights are NaN where f0 is not finite.

    clock: f0 [batch, frames] Hz, phases at the intervals' starts [batch, frames + 1], n_samples, sample_rate.
    """
    f0, starts, n_samples, sample_rate = clock
    n_frames = f0.shape[1]
    i, at = n * n_frames // n_samples, n
    while at < n + size:
        start, end = interval_start(i, n_samples, n_frames), min(interval_start(i + 1, n_samples, n_frames), n + size)
        a, c = np.float64(f0[b, i]), np.float64(f0[b, frame_of(i + 1, n_frames)])
        base, bend = increments(a, c, i, start, n_samples, n_frames, sample_rate)
        # One sample back: a sample's own advance comes after it.
        tile_phases(starts[b, i], base, bend, at - start - 1, 0, end - at, phases)
        _cells(phases, n_points, 0.0 * (a + c), at - n, end - at, cells, reads)
        i, at = i + 1, end
    slope = reads.dtype.type(n_points * unit)
    for l in range(size):
        reads[2, l], reads[3, l] = -slope, slope
    _differentiate(order, size, reads)


@njit
def _cells(phases, n_points, spoiled, first, count, cells, reads):
    """Cells and weights: phase times points is a 96-bit integer, its upper 32 bits the cell, the rest the part."""
    width = np.uint64(n_points)
    for l in range(count):
        phase = np.uint64(phases[l])
        upper = (phase >> HALF) * width + (((phase & MASK) * width) >> HALF)
        part = np.float64(np.int64((phase * width) >> np.uint64(11))) * 2.0**-53 + spoiled
        cells[first + l] = np.int32(upper >> HALF)
        reads[0, first + l] = 1.0 - part
        reads[1, first + l] = part


@njit
def _differentiate(order, size, reads):
    """Slopes for weights, as often as the order says."""
    for _ in range(order):
        for l in range(size):
            reads[0, l], reads[1, l] = reads[2, l], reads[3, l]
            reads[2, l], reads[3, l] = 0.0, 0.0
