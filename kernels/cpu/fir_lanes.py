"""The samples of time-varying filters in lanes: which block of samples is in which lane, and the way in and out.

A frame is a block, or several if it is longer than MAX_BLOCK. As many consecutive blocks as there are lanes are a
group. A chunk, one call of a thread, is whole frames and, where possible, whole groups.

Lanes are filled from small copies of the group's samples, with room after them, so that no lane reads out of bounds.
"""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import njit

from fastddsp.kernels import fir
from fastddsp.kernels.cpu.fir_design import Design, padded
from fastddsp.kernels.cpu.rows import QUAD, TAPS, TILE_ROWS, add_rows, gather_rows
from fastddsp.kernels.cpu.simd import REGISTER_BYTES, load_register, pointer, register_width, store

MAX_BLOCK = 96  # samples: the rows of a group of blocks stay in the first cache
LEAD = TILE_ROWS + TAPS  # rows of zeros before and after h, so that its ends need no special case
WORK_PER_CHUNK = 2**22  # multiply-adds forward: 35 us, long beside the 5 us of a call


class Layout(NamedTuple):
    """Which samples each block holds, the same for every row of the batch."""

    starts: np.ndarray  # int64 [n_blocks + 1]
    frames: np.ndarray  # int64 [n_blocks]: the frame of each block
    block_size: int  # samples in the longest block
    n_samples: int
    n_frames: int


class Scratch(NamedTuple):
    """Pointers to buffers for one group of blocks, one block a lane. Some share their place.

    All of it, 50 kB for 64 samples and 128 taps, is in use once a group: every kB less is one less to fetch from the
    second cache.
    """

    x: object  # rows of samples
    h: object  # rows of taps, LEAD rows of zeros around them
    g: object  # rows of g; forward: x reversed
    z: object  # rows of magnitudes, or of lags
    r: object  # the other of the two
    odd: object
    fold: object
    dh: object  # over r and odd
    tile: object  # TILE_ROWS rows of y or dx
    staged: object  # what goes into lanes or comes from them: samples, magnitudes; backward: g
    ring: object  # the group's samples and what follows them: y; backward: dx
    begins: object  # int64 [lanes]: where a lane's numbers begin in one of these
    lengths: object  # int64 [lanes]: samples in a lane's block


# ------------------------------------------------------------------------------------------------------------- the plan


@lru_cache(maxsize=64)
def make_layout(n_samples: int, n_frames: int, n_taps: int) -> tuple[Layout, list[tuple[int, int]]]:
    """The blocks of a row, and its chunks: the first block and the one after the last of each.

    Chunks are whole frames and whole groups where possible, about WORK_PER_CHUNK. They depend on the problem alone,
    and so do the results, to the last bit.
    """
    borders = fir.frame_borders(n_samples, n_frames)
    lengths = np.diff(borders)
    longest = int(lengths.max())
    pieces = -(-longest // MAX_BLOCK)
    block_size = longest if pieces == 1 else padded(-(-longest // pieces))
    blocks_of_frame = -(-lengths // block_size)
    first_block = np.concatenate([[0], np.cumsum(blocks_of_frame)])
    frames = np.repeat(np.arange(n_frames), blocks_of_frame)
    starts = borders[frames] + (np.arange(len(frames)) - first_block[frames]) * block_size
    layout = Layout(np.append(starts, n_samples), frames, block_size, n_samples, n_frames)

    lanes = REGISTER_BYTES // 4
    per_chunk = max(lanes, WORK_PER_CHUNK * n_frames // (n_samples * n_taps) // lanes * lanes)
    ends = [int(first_block[min(t, n_frames)]) for t in range(0, n_frames + per_chunk, per_chunk)]
    return layout, list(pairwise(ends))


def _sizes(design: Design, layout: Layout, n_lanes: int) -> tuple[int, ...]:
    """Rows of each block of Scratch, `r` to `dh` as one."""
    n_lags, size, n_taps = design.n + 1 + TILE_ROWS, layout.block_size, design.n_taps
    shared = max(n_lags + design.n + TILE_ROWS, n_taps + TILE_ROWS)
    # As numbers: all samples of a group, and what a last tile may reach beyond them.
    ring = size + (n_taps + size + TILE_ROWS) // n_lanes + 2
    staged = max(ring, design.n + 1 + QUAD)
    return (
        size + TILE_ROWS,
        n_taps + 2 * LEAD,
        size + n_taps + 2 * TILE_ROWS + TAPS,
        n_lags,
        design.n // 2 + 1,
        shared,
        TILE_ROWS,
        staged,
        ring,
    )


def make_workspace(design: Design, layout: Layout, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Memory for Scratch, zeros: numbers, indices, and the sizes."""
    n_lanes = REGISTER_BYTES // dtype.itemsize
    sizes = _sizes(design, layout, n_lanes)
    return np.zeros((sum(sizes) + 1) * n_lanes, dtype), np.zeros(2 * n_lanes, np.int64), sizes


@njit(forceinline=True, error_model="numpy")
def scratch_of(workspace, n_bands):
    """Scratch inside a workspace, each block of rows aligned to registers."""
    numbers, indices, sizes = workspace
    width = register_width(numbers)
    at = (-numbers.ctypes.data // numbers.itemsize) % width
    x = pointer(numbers, at)
    h = pointer(x, sizes[0] * width)
    g = pointer(h, sizes[1] * width)
    z = pointer(g, sizes[2] * width)
    fold = pointer(z, sizes[3] * width)
    shared = pointer(fold, sizes[4] * width)
    odd = pointer(shared, (n_bands + TILE_ROWS) * width)
    tile = pointer(shared, sizes[5] * width)
    staged = pointer(tile, sizes[6] * width)
    ring = pointer(staged, sizes[7] * width)
    begins, lengths = pointer(indices, 0), pointer(indices, width)
    return Scratch(x, h, g, z, shared, odd, fold, shared, tile, staged, ring, begins, lengths)


# --------------------------------------------------------------------------------------------------------------- copies


@njit(forceinline=True)
def zero(target, i, n):
    """target[i : i + n] = 0."""
    for k in range(i, i + n):
        target[k] = 0


@njit(forceinline=True)
def copy(source, i, target, j, n):
    """target[j : j + n] = source[i : i + n]; the two may overlap if j < i."""
    width = register_width(source)
    whole = n // width * width
    for k in range(0, whole, width):
        store(target, j + k, load_register(source, i + k))
    for k in range(whole, n):
        target[j + k] = source[i + k]


@njit(forceinline=True)
def add(source, i, target, j, n):
    """target[j : j + n] += source[i : i + n]."""
    width = register_width(source)
    whole = n // width * width
    for k in range(0, whole, width):
        store(target, j + k, load_register(target, j + k) + load_register(source, i + k))
    for k in range(whole, n):
        target[j + k] += source[i + k]


@njit(forceinline=True, error_model="numpy")
def copy_window(source, low, high, begin, end, target):
    """target = source[begin:end], with zeros before index `low` and from `high` on."""
    first, last = min(max(low, begin), end), max(min(high, end), begin)
    zero(target, 0, first - begin)
    copy(source, first, target, first - begin, last - first)
    zero(target, max(last, first) - begin, end - max(last, first))


# ---------------------------------------------------------------------------------------------------------------- lanes


@njit(forceinline=True, error_model="numpy")
def point_at_blocks(layout, group, at, scratch):
    """Lanes begin where their blocks do, in a signal that has the group's first sample at index `at`."""
    first, stop = group
    for lane in range(register_width(scratch.x)):
        block = min(first + lane, stop - 1)
        scratch.begins[lane] = at + layout.starts[block] - layout.starts[first]
        # No samples in a lane without a block.
        scratch.lengths[lane] = layout.starts[block + 1] - layout.starts[block] if first + lane < stop else 0


@njit(forceinline=True, error_model="numpy")
def point_at_bands(n_bands, scratch):
    """Lanes begin where their magnitudes do: one lane after the other."""
    for lane in range(register_width(scratch.x)):
        scratch.begins[lane] = lane * n_bands


@njit(forceinline=True, error_model="numpy")
def clear_after_ends(block, i, n, scratch):
    """Zeros where n rows, the first of them sample i of every lane, lie after a lane's last sample."""
    width = register_width(block)
    for lane in range(width):
        for row in range(max(scratch.lengths[lane] - i, 0), n):
            block[row * width + lane] = 0


@njit(forceinline=True, error_model="numpy")
def read_lanes(source, n, scratch, block):
    """n rows: lane p gets source[begins[p] :][:n]."""
    for i in range(0, n, QUAD):
        gather_rows(block, i, source, scratch.begins, i)


@njit(forceinline=True, error_model="numpy")
def add_tile(i, scratch, target):
    """target[begins[p] + i :][:TILE_ROWS] += lane p of the tile."""
    for e in range(0, TILE_ROWS, QUAD):
        add_rows(scratch.tile, e, target, scratch.begins, i + e)
