"""Frequency-sampled time-varying filter on the CPU: forward, and backward to audio and magnitudes, in one pass each.

    h_t = window * cosine transform of X_t                      (fastddsp.kernels.fir has the equations)
    y[n + l] += x[n] h_t[l]
    dx[n]    = sum_l h_t[l] g[n + l],   dh_t[l] = sum_n x[n] g[n + l],   dX_t = transposed transform of window * dh_t

y, g: before the delay is cut. x may be noise, made on the way (fastddsp.kernels.cpu.noise).

Lanes are blocks (fastddsp.kernels.cpu.rows): a frame is a block, or several if it is longer than MAX_BLOCK, and every
lane filters its own block with its own h. So odd hops and odd numbers of taps waste little, and all three sums above
are one loop, `_correlate`. Impulse responses live in the cache only.

The cosine transform halves itself: the even terms of a transform of size 2 s are one of size s, the odd ones mirror,

    r[m] = E[m] + O[m],   r[2 s - m] = E[m] - O[m],   O[m] = sum_{odd k} X_k cos(pi k m / 2 s),   m = 0..s

which leaves 1500 multiply-adds of 4200 for 65 bands. Its matrix is symmetric, so backward runs it too.

Cost in multiply-adds per frame of H samples and L taps: H L forward, 2 H L backward, and three cosine transforms.
"""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import njit

from fastddsp.kernels import fir
from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.noise import fill
from fastddsp.kernels.cpu.rows import (
    QUAD,
    TAPS,
    TILE_ROWS,
    accumulator,
    add_rows,
    gather_rows,
    rows,
    slide,
    spread,
)
from fastddsp.kernels.cpu.simd import REGISTER_BYTES, load_register, register_width, store

MAX_BLOCK = 96  # samples: the rows of a group of blocks (x, h, g and results for 128 taps: 43 kB) stay in the first cache
LEAD = TILE_ROWS + TAPS  # rows of zeros before and after h, so that its ends need no special case
WORK_PER_CHUNK = 2**22  # multiply-adds forward: 35 us, long beside the 5 us of a call


class Source(NamedTuple):
    """What is filtered: audio, or the noise of seeds (then audio is empty)."""

    audio: np.ndarray  # [batch * n_samples]
    seeds: np.ndarray  # int64 [batch]
    offset: int  # of the first sample in the noise's stream


class Design(NamedTuple):
    """From magnitudes to taps."""

    n: int  # bands - 1
    cosines: np.ndarray  # of all stages of the transform, in the order of their use
    base: int  # size of the first stage: a plain matrix
    window: np.ndarray  # of every tap, with the transform's 1/n
    first_lag: int


class Layout(NamedTuple):
    """Which samples each block holds, the same for every row of the batch."""

    starts: np.ndarray  # int64 [n_blocks + 1]
    frames: np.ndarray  # int64 [n_blocks]: the frame of each block
    first_block: np.ndarray  # int64 [n_frames + 1]: of each frame
    block_size: int  # samples in the longest block


class Scratch(NamedTuple):
    """Buffers for one group of blocks, one block a lane. What is not needed at the same time shares its place.

    All of it, 50 kB for 64 samples and 128 taps, is in use once a group: every kB less is one less to fetch from the
    second cache.
    """

    x: np.ndarray  # rows of samples
    h: np.ndarray  # rows of taps, LEAD rows of zeros around them
    g: np.ndarray  # rows of g; forward: x reversed
    z: np.ndarray  # rows of magnitudes, or of lags
    r: np.ndarray  # the other of the two
    odd: np.ndarray
    dh: np.ndarray  # over r and odd
    tile: np.ndarray  # TILE_ROWS rows of y or dx
    staged: np.ndarray  # what goes into lanes or comes from them: samples, magnitudes; backward: g
    ring: np.ndarray  # the group's samples and what follows them: y; backward: dx
    begins: np.ndarray  # int64 [lanes]: where a lane's numbers begin in one of these
    lengths: np.ndarray  # int64 [lanes]: samples in a lane's block


# ------------------------------------------------------------------------------------------------------------ the plan


def _padded(n: int) -> int:
    return -(-n // TILE_ROWS) * TILE_ROWS


@lru_cache(maxsize=64)
def _design(n_bands: int, window_size: int, dtype: str) -> Design:
    n = n_bands - 1
    base = n
    while base % 2 == 0 and base >= TILE_ROWS:  # below that a stage does not fill an accumulator
        base //= 2
    stages = [np.cos(np.pi / base * np.outer(range(base + 1), range(_padded(base + 1)))).ravel()]
    size = base
    while size < n:
        stages.append(np.cos(np.pi / (2 * size) * np.outer(range(1, 2 * size, 2), range(_padded(size)))).ravel())
        size *= 2
    first_lag, window = fir.taps(2 * n, window_size)
    return Design(n, np.concatenate(stages).astype(dtype), base, (window / n).astype(dtype), first_lag)


@lru_cache(maxsize=64)
def _layout(n_samples: int, n_frames: int) -> Layout:
    borders = fir.frame_borders(n_samples, n_frames)
    lengths = np.diff(borders)
    longest = int(lengths.max())
    pieces = -(-longest // MAX_BLOCK)
    block_size = longest if pieces == 1 else _padded(-(-longest // pieces))
    blocks_of_frame = -(-lengths // block_size)
    first_block = np.concatenate([[0], np.cumsum(blocks_of_frame)])
    frames = np.repeat(np.arange(n_frames), blocks_of_frame)
    starts = borders[frames] + (np.arange(len(frames)) - first_block[frames]) * block_size
    return Layout(np.append(starts, n_samples), frames, first_block, block_size)


# --------------------------------------------------------------------------------------------------- arithmetic on rows


@njit(forceinline=True)
def _correlate(a, i, first, last, b, j):
    """TILE_ROWS rows of sum_{first <= c < last} a[i + c] b[j + r + c], the range widened to multiples of TAPS."""
    acc = accumulator(a)
    for c in range(first // TAPS * TAPS, last, TAPS):
        acc = slide(acc, a, i + c, b, j + c)
    return acc


@njit(error_model="numpy")
def _cosine_transform(z, design, odd, r):
    """r[m] = sum_{k <= n} z[k] cos(pi k m / n), m = 0..n; `odd` is scratch."""
    n, width = design.n, register_width(z)
    at, size = 0, design.base
    stride, columns = n // size, (size // TILE_ROWS + 1) * TILE_ROWS
    for m in range(0, columns, TILE_ROWS):
        acc = accumulator(z)
        for k in range(size + 1):
            acc = spread(acc, z, k * stride, design.cosines, at + k * columns + m)
        store(r, m * width, acc)
    at += (size + 1) * columns
    while size < n:
        stride, columns = stride // 2, (size + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
        for m in range(0, columns, TILE_ROWS):
            acc = accumulator(z)
            for k in range(size):
                acc = spread(acc, z, (2 * k + 1) * stride, design.cosines, at + k * columns + m)
            store(odd, m * width, acc)
        for m in range(size):
            even_m, odd_m = load_register(r, m * width), load_register(odd, m * width)
            store(r, (2 * size - m) * width, even_m - odd_m)
            store(r, m * width, even_m + odd_m)
        at += size * columns
        size *= 2


@njit(error_model="numpy")
def _halve_ends(z, n):
    """The first and the last magnitude count half."""
    width = register_width(z)
    store(z, 0, load_register(z, 0) * 0.5)
    store(z, n * width, load_register(z, n * width) * 0.5)


@njit(error_model="numpy")
def _taps_from_lags(r, design, h):
    """h[l] = window[l] r[|lag of l|]."""
    width = register_width(r)
    for l in range(design.window.size):
        lag = abs(design.first_lag + l)
        store(h, (LEAD + l) * width, load_register(r, lag * width) * design.window[l])


@njit(error_model="numpy")
def _lags_from_taps(dh, design, dr):
    """The transpose: dr[m] = sum of window[l] dh[l] over the taps at lags m and -m."""
    width = register_width(dh)
    dr[: (design.n + 1) * width] = 0
    for l in range(design.window.size):
        at = abs(design.first_lag + l) * width
        store(dr, at, load_register(dr, at) + load_register(dh, l * width) * design.window[l])


# ------------------------------------------------------------------------------------------------------ in and out again


@njit(error_model="numpy")
def _scratch(design, layout, like):
    n_taps, size, n_lanes = design.window.size, layout.block_size, register_width(like)
    n_lags = design.n + 1 + TILE_ROWS
    shared = rows(max(n_lags + design.n + TILE_ROWS, n_taps + TILE_ROWS), like)
    long = size + (n_taps + size + TILE_ROWS) // n_lanes + 2
    return Scratch(
        rows(size + TILE_ROWS, like),
        rows(n_taps + 2 * LEAD, like),
        rows(size + n_taps + 2 * TILE_ROWS + TAPS, like),
        rows(n_lags, like),
        shared,
        shared[n_lags * n_lanes :],
        shared,
        rows(TILE_ROWS, like),
        rows(max(long, design.n + 2), like),
        rows(long, like),
        np.zeros(n_lanes, np.int64),
        np.zeros(n_lanes, np.int64),
    )


@njit(forceinline=True)
def _copy(source, i, target, j, n):
    """target[j : j + n] = source[i : i + n]; the two may overlap if j < i."""
    width = register_width(source)
    whole = n // width * width
    for k in range(0, whole, width):
        store(target, j + k, load_register(source, i + k))
    for k in range(whole, n):
        target[j + k] = source[i + k]


@njit(forceinline=True)
def _add(source, i, target, j, n):
    """target[j : j + n] += source[i : i + n]."""
    width = register_width(source)
    whole = n // width * width
    for k in range(0, whole, width):
        store(target, j + k, load_register(target, j + k) + load_register(source, i + k))
    for k in range(whole, n):
        target[j + k] += source[i + k]


@njit(error_model="numpy")
def _copy_window(source, low, high, begin, end, target):
    """target = source[begin:end], with zeros before index `low` and from `high` on.

    Lanes are read from such a copy, even where they could be read from the source: 16 of them at once defeat the
    prefetcher, and waiting for memory took 20 ns a frame of 64 samples; the copy takes 2.
    """
    first, last = min(max(low, begin), end), max(min(high, end), begin)
    target[: first - begin] = 0
    _copy(source, first, target, first - begin, last - first)
    target[max(last, first) - begin : end - begin] = 0


@njit(error_model="numpy")
def _point_at_blocks(layout, group, at, scratch):
    """Lanes begin where their blocks do, in a signal that has the group's first sample at index `at`."""
    first, stop = group
    for lane in range(scratch.begins.size):
        block = min(first + lane, stop - 1)
        scratch.begins[lane] = at + layout.starts[block] - layout.starts[first]
        # No samples in a lane without a block.
        scratch.lengths[lane] = layout.starts[block + 1] - layout.starts[block] if first + lane < stop else 0


@njit(error_model="numpy")
def _point_at_bands(n_bands, scratch):
    """Lanes begin where their magnitudes do: one lane after the other."""
    for lane in range(scratch.begins.size):
        scratch.begins[lane] = lane * n_bands


@njit(error_model="numpy")
def _clear_after_ends(block, i, n, scratch):
    """Zeros where n rows, the first of them sample i of every lane, lie after a lane's last sample."""
    width = register_width(block)
    for lane in range(width):
        for row in range(max(scratch.lengths[lane] - i, 0), n):
            block[row * width + lane] = 0


@njit(error_model="numpy")
def _read_lanes(source, n, scratch, block):
    """n rows: lane p gets source[begins[p] :][:n]."""
    for i in range(0, n, QUAD):
        gather_rows(block, i, source, scratch.begins, i)


@njit(error_model="numpy")
def _read_samples(source, b, layout, group, scratch):
    """Rows of x: the samples of each lane's block, then zeros."""
    first, last, at = layout.starts[group[0]], layout.starts[group[1]], 0
    if source.seeds.size == 0:
        _copy(source.audio, b * layout.starts[-1] + first, scratch.staged, 0, last - first)
    else:
        at = (source.offset + first) % QUAD
        noise = scratch.staged[: (at + last - first + QUAD - 1) // QUAD * QUAD]
        fill(source.seeds[b], b, source.offset + first - at, noise)
    _point_at_blocks(layout, group, at, scratch)
    _read_lanes(scratch.staged, layout.block_size, scratch, scratch.x)
    _clear_after_ends(scratch.x, 0, (layout.block_size + QUAD - 1) // QUAD * QUAD, scratch)


# ---------------------------------------------------------------------------------------- groups: one block in each lane


@njit(error_model="numpy")
def _design_taps(magnitudes, b, layout, group, design, scratch):
    """Rows of h: the taps of each lane's frame."""
    n_bands, n_frames = design.n + 1, layout.first_block.size - 1
    for lane in range(scratch.begins.size):
        frame = layout.frames[min(group[0] + lane, group[1] - 1)]
        _copy(magnitudes, (b * n_frames + frame) * n_bands, scratch.staged, lane * n_bands, n_bands)
    _point_at_bands(n_bands, scratch)
    _read_lanes(scratch.staged, n_bands, scratch, scratch.z)
    _halve_ends(scratch.z, design.n)
    _cosine_transform(scratch.z, design, scratch.odd, scratch.r)
    _taps_from_lags(scratch.r, design, scratch.h)


@njit(error_model="numpy")
def _add_tile(i, scratch, target):
    """target[begins[p] + i :][:TILE_ROWS] += lane p of the tile."""
    for e in range(0, TILE_ROWS, QUAD):
        add_rows(scratch.tile, e, target, scratch.begins, i + e)


@njit(error_model="numpy")
def _convolve(layout, design, scratch, y):
    """y[begin + q] += sum_i x[i] h[q - i] of every lane, as a correlation with x reversed."""
    size, n_taps, width = layout.block_size, design.window.size, register_width(scratch.x)
    for i in range(size):
        store(scratch.g, (size - 1 - i) * width, load_register(scratch.x, i * width))
    scratch.g[size * width : (size + TAPS) * width] = 0
    for q in range(0, size + n_taps - 1, TILE_ROWS):
        first, last = max(0, size - TILE_ROWS - q), min(size, size + n_taps - 1 - q)
        store(scratch.tile, 0, _correlate(scratch.g, 0, first, last, scratch.h, LEAD + q - (size - 1)))
        _add_tile(q, scratch, y)


@njit(error_model="numpy")
def _audio_gradient(layout, design, scratch, dx):
    """dx[begin + i] += sum_l h[l] g[i + l] of every lane."""
    for i in range(0, layout.block_size, TILE_ROWS):
        store(scratch.tile, 0, _correlate(scratch.h, LEAD, 0, design.window.size, scratch.g, i))
        _clear_after_ends(scratch.tile, i, TILE_ROWS, scratch)
        _add_tile(i, scratch, dx)


@njit(error_model="numpy")
def _magnitude_gradient(layout, design, scratch):
    """Rows of dX into r, from rows of dh[l] = sum_i x[i] g[l + i]; QUAD - 1 rows of zeros after them."""
    width = register_width(scratch.x)
    for l in range(0, design.window.size, TILE_ROWS):
        store(scratch.dh, l * width, _correlate(scratch.x, 0, 0, layout.block_size, scratch.g, l))
    _lags_from_taps(scratch.dh, design, scratch.z)
    _cosine_transform(scratch.z, design, scratch.odd, scratch.r)
    _halve_ends(scratch.r, design.n)
    scratch.r[(design.n + 1) * width : (design.n + QUAD) * width] = 0


# ------------------------------------------------------------------------------------- chunks: one call of a thread each


@njit(nogil=True, cache=True, error_model="numpy")
def _filter_chunk(source, magnitudes, layout, design, delay, b, blocks, tail, out):
    """Filter some blocks of row b: their samples of `out`, and in `tail` what rings on after them."""
    scratch, n_out = _scratch(design, layout, out), out.shape[1]
    y = scratch.ring
    for first in range(blocks[0], blocks[1], scratch.begins.size):
        group = first, min(first + scratch.begins.size, blocks[1])
        origin, end = layout.starts[group[0]], layout.starts[group[1]]
        _design_taps(magnitudes, b, layout, group, design, scratch)
        _read_samples(source, b, layout, group, scratch)
        _point_at_blocks(layout, group, 0, scratch)
        _convolve(layout, design, scratch, y)
        low, high = max(origin, delay), min(end, n_out + delay)
        if low < high:
            _copy(y, low - origin, out[b], low - delay, high - low)
        _copy(y, end - origin, y, 0, tail.size)
        y[tail.size : tail.size + end - origin] = 0
    _copy(y, 0, tail, 0, tail.size)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_tails(tails, ends, chunks_per_row, n_samples, delay, out):
    """Add what rings on after every chunk to what follows it, in order; zeros where no block reaches."""
    n_out = out.shape[1]
    for b in range(out.shape[0]):
        out[b, : min(max(-delay, 0), n_out)] = 0
        out[b, min(max(n_samples - delay, 0), n_out) :] = 0
        for chunk in range(chunks_per_row):
            begin = ends[chunk] - delay
            for i in range(max(0, -begin), min(tails.shape[1], n_out - begin)):
                out[b, begin + i] += tails[b * chunks_per_row + chunk, i]


@njit(nogil=True, cache=True, error_model="numpy")
def _gradient_chunk(g, n_out, source, magnitudes, layout, design, delay, b, blocks, needs, d_audio, d_magnitudes):
    """Gradients of some blocks of row b; `needs` says which of d_audio and d_magnitudes (zeros, all flat) to fill."""
    scratch, n_bands = _scratch(design, layout, g), design.n + 1
    n_samples, n_frames = layout.starts[-1], layout.first_block.size - 1
    n_taps = design.window.size
    for first in range(blocks[0], blocks[1], scratch.begins.size):
        group = first, min(first + scratch.begins.size, blocks[1])
        origin, end = layout.starts[group[0]], layout.starts[group[1]]
        begin = b * n_out - delay + origin
        _copy_window(g, b * n_out, (b + 1) * n_out, begin, begin + end - origin + n_taps - 1, scratch.staged)
        _point_at_blocks(layout, group, 0, scratch)
        _read_lanes(scratch.staged, layout.block_size + n_taps - 1, scratch, scratch.g)
        if needs[0]:
            _design_taps(magnitudes, b, layout, group, design, scratch)
            scratch.ring[: end - origin] = 0
            _point_at_blocks(layout, group, 0, scratch)
            _audio_gradient(layout, design, scratch, scratch.ring)
            _copy(scratch.ring, 0, d_audio, b * n_samples + origin, end - origin)
        if needs[1]:
            _read_samples(source, b, layout, group, scratch)
            _magnitude_gradient(layout, design, scratch)
            _point_at_bands(n_bands, scratch)
            scratch.staged[: n_bands * scratch.begins.size] = 0
            for k in range(0, n_bands, QUAD):
                add_rows(scratch.r, k, scratch.staged, scratch.begins, k)
            for block in range(group[0], group[1]):
                at = (b * n_frames + layout.frames[block]) * n_bands
                _add(scratch.staged, (block - group[0]) * n_bands, d_magnitudes, at, n_bands)


# ------------------------------------------------------------------------------------------------------- public functions


def audio_source(audio: np.ndarray) -> Source:
    """Filter this audio, [batch, n_samples]."""
    return Source(audio.reshape(-1), np.empty(0, np.int64), 0)


def noise_source(seeds: np.ndarray, offset: int, dtype: np.dtype) -> Source:
    """Filter the noise of seeds, int64 [batch], from sample `offset` of its stream on."""
    return Source(np.empty(0, dtype), seeds, offset)


def _chunks(layout: Layout, n_taps: int) -> list[tuple[int, int]]:
    """First and last block of every chunk of a row: whole frames, about WORK_PER_CHUNK, in whole groups where possible.

    They depend on the problem alone, and so do the results, to the last bit.
    """
    n_frames, lanes = len(layout.first_block) - 1, REGISTER_BYTES // 4
    per_chunk = WORK_PER_CHUNK * n_frames // max(int(layout.starts[-1]) * n_taps, 1)
    per_chunk = max(lanes, per_chunk // lanes * lanes)
    borders = [int(layout.first_block[min(t, n_frames)]) for t in range(0, n_frames + per_chunk, per_chunk)]
    return list(pairwise(borders))


def filter_source(source: Source, magnitudes, n_samples: int, window_size: int, out, n_threads: int = 1) -> None:
    """out [batch, n_out] = the source filtered by magnitudes [batch, frames, bands], after the delay."""
    batch, n_frames, n_bands = magnitudes.shape
    layout, design = _layout(n_samples, n_frames), _design(n_bands, window_size, out.dtype.name)
    delay, chunks = fir.delay(len(design.window)), _chunks(layout, len(design.window))
    tails = np.empty((batch * len(chunks), len(design.window) - 1), out.dtype)
    flat = magnitudes.reshape(-1)

    def work(i: int) -> None:
        b, chunk = divmod(i, len(chunks))
        _filter_chunk(source, flat, layout, design, delay, b, chunks[chunk], tails[i], out)

    threads.run(work, len(tails), n_threads)
    ends = layout.starts[[last for _, last in chunks]]
    _add_tails(tails, ends, len(chunks), n_samples, delay, out)


def gradients(
    g, source: Source, magnitudes, n_samples: int, window_size: int, d_audio, d_magnitudes, n_threads: int = 1
) -> None:
    """Add to d_audio and d_magnitudes, which hold zeros, the gradients of sum(g * out); None for one that is not needed.

    magnitudes may be None if d_audio is.
    """
    needs = (d_audio is not None, d_magnitudes is not None)
    batch, n_frames, n_bands = (magnitudes if magnitudes is not None else d_magnitudes).shape
    layout, design = _layout(n_samples, n_frames), _design(n_bands, window_size, g.dtype.name)
    delay, chunks = fir.delay(len(design.window)), _chunks(layout, len(design.window))
    nothing = np.empty(0, g.dtype)
    flat, *results = (nothing if x is None else x.reshape(-1) for x in (magnitudes, d_audio, d_magnitudes))

    def work(i: int) -> None:
        b, chunk = divmod(i, len(chunks))
        _gradient_chunk(g.reshape(-1), g.shape[1], source, flat, layout, design, delay, b, chunks[chunk], needs, *results)

    threads.run(work, batch * len(chunks), n_threads)
