"""Places in a table: which points sound at a phase and how much of each, for a tile of samples.

A table has W points, and straight lines between them. At the phase phi, in turns, x = W phi lies between points c and
c + 1, c = floor(x), at u = x - c: the points weigh 1 - u and u, and their slopes are -W and W a turn.

    reads[0], reads[1]    weights of points c and c + 1
    reads[2], reads[3]    their slopes, times `unit`

A reading of order 1, the derivative of a reading, has the slopes for weights, and none for slopes. Points are numbered
up to W + 1; what stands there (the first point again, say) is the reader's.

What is called for every tile takes pointers (see fastddsp.kernels.cpu.simd); reads are rows of TILE numbers.
"""

import numpy as np

from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.intervals import FIELDS, ends_of, fill_phases, samples_of
from fastddsp.kernels.cpu.simd import pointer

MASK, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
TILE = 256
"""Samples that are read at a time: what is known of them stays in the first-level cache."""


def workspace(dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Room for a tile: phases (and some more, for whole blocks), cells, and rows, the first four the reads."""
    return np.empty(TILE + 16, np.int64), np.empty(TILE, np.int32), np.empty((8, TILE), dtype)


@helper
def place_given(phase, order, n_points, unit, size, cells, reads):
    """Places of given phases; outside [0, 1] they fade within a point, exactly on a point they are flat."""
    width = np.float64(n_points)
    low, high, d_low, d_high = reads, pointer(reads, TILE), pointer(reads, 2 * TILE), pointer(reads, 3 * TILE)
    for l in range(size):
        x = np.float64(phase[l]) * width
        inside = x > -1.0 and x < width + 1.0
        c = np.floor(x) if inside else 0.0
        u = x - c if inside else (0.0 if x == x else x)
        slope = width * unit if inside and u > 0.0 else 0.0
        cells[l] = np.int32(max(c, 0.0))
        low[l] = (1.0 - u if inside else u) if c >= 0.0 else u
        high[l] = u if c >= 0.0 and c < width else 0.0
        d_low[l] = -slope if c >= 0.0 else slope
        d_high[l] = slope if c >= 0.0 and c < width else 0.0
    _differentiate(order, size, reads)


@helper
def start_exact(order, n_points, unit, reads):
    """What place_exact leaves as it is from tile to tile: the slopes, and if they are the weights, the weights."""
    for l in range(TILE):
        reads[2 * TILE + l], reads[3 * TILE + l] = -n_points * unit, n_points * unit
    _differentiate(order, TILE, reads)


@helper
def place_exact(clock, order, n_points, n, size, phases, cells, reads):
    """Places of the phases that f0 sums up before the samples n to n + size; weights are NaN where f0 is not finite.

    clock: f0 of the frames in Hz, rows of the intervals (fastddsp.kernels.cpu.intervals), n_frames, n_samples.
    """
    f0, intervals, n_frames, n_samples = clock
    target = reads if order == 0 else pointer(reads, 4 * TILE)
    i, at = n * n_frames // n_samples, n
    while at < n + size:
        row = pointer(intervals, i * FIELDS)
        start, stop = samples_of(row)
        (a, c), end = ends_of(f0, n_frames, i), min(stop, n + size)
        # One sample back: a sample's own advance comes after it.
        fill_phases(row, at - start - 1, end - at, phases)
        _cells(phases, n_points, 0.0 * (a + c), end - at, pointer(cells, at - n), pointer(target, at - n))
        i, at = i + 1, end


@helper
def _cells(phases, n_points, spoiled, count, cells, reads):
    """Cells and weights: phase times points is a 96-bit integer, its upper 32 bits the cell, the rest the part."""
    width, high = np.uint64(n_points), pointer(reads, TILE)
    for l in range(count):
        turns = np.uint64(phases[l])
        upper = (turns >> HALF) * width + (((turns & MASK) * width) >> HALF)
        part = np.float64(np.int64((turns * width) >> np.uint64(11))) * 2.0**-53 + spoiled
        cells[l] = np.int32(upper >> HALF)
        reads[l] = 1.0 - part
        high[l] = part


@helper
def _differentiate(order, size, reads):
    """Slopes for weights, as often as the order says."""
    for _ in range(order):
        for l in range(size):
            reads[l], reads[TILE + l] = reads[2 * TILE + l], reads[3 * TILE + l]
            reads[2 * TILE + l], reads[3 * TILE + l] = 0.0, 0.0
