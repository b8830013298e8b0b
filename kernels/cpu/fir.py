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
    slide,
    spread,
)
from fastddsp.kernels.cpu.simd import REGISTER_BYTES, load_register, pointer, register_width, store

MAX_BLOCK = (
    96  # samples: the rows of a group of blocks (x, h, g and results for 128 taps: 43 kB) stay in the first cache
)
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
    n_taps: int
    first_lag: int


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
    dh: object  # over r and odd
    tile: object  # TILE_ROWS rows of y or dx
    staged: object  # what goes into lanes or comes from them: samples, magnitudes; backward: g
    ring: object  # the group's samples and what follows them: y; backward: dx
    begins: object  # int64 [lanes]: where a lane's numbers begin in one of these
    lengths: object  # int64 [lanes]: samples in a lane's block


# ------------------------------------------------------------------------------------------------------------- the plan


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
    return Design(n, np.concatenate(stages).astype(dtype), base, (window / n).astype(dtype), len(window), first_lag)


@lru_cache(maxsize=64)
def _layout(n_samples: int, n_frames: int, n_taps: int) -> tuple[Layout, list[tuple[int, int]]]:
    """The blocks of a row, and its chunks: the first block and the one after the last of each.

    Chunks are whole frames and whole groups where possible, about WORK_PER_CHUNK. They depend on the problem alone,
    and so do the results, to the last bit.
    """
    borders = fir.frame_borders(n_samples, n_frames)
    lengths = np.diff(borders)
    longest = int(lengths.max())
    pieces = -(-longest // MAX_BLOCK)
    block_size = longest if pieces == 1 else _padded(-(-longest // pieces))
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
        shared,
        TILE_ROWS,
        staged,
        ring,
    )


def _workspace(design: Design, layout: Layout, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Memory for Scratch, zeros: numbers, indices, and the sizes."""
    n_lanes = REGISTER_BYTES // dtype.itemsize
    sizes = _sizes(design, layout, n_lanes)
    return np.zeros((sum(sizes) + 1) * n_lanes, dtype), np.zeros(2 * n_lanes, np.int64), sizes


@njit(forceinline=True, error_model="numpy")
def _scratch(workspace, n_bands):
    numbers, indices, sizes = workspace
    width = register_width(numbers)
    at = (-numbers.ctypes.data // numbers.itemsize) % width
    x = pointer(numbers, at)
    h = pointer(x, sizes[0] * width)
    g = pointer(h, sizes[1] * width)
    z = pointer(g, sizes[2] * width)
    shared = pointer(z, sizes[3] * width)
    odd = pointer(shared, (n_bands + TILE_ROWS) * width)
    tile = pointer(shared, sizes[4] * width)
    staged = pointer(tile, sizes[5] * width)
    ring = pointer(staged, sizes[6] * width)
    begins, lengths = pointer(indices, 0), pointer(indices, width)
    return Scratch(x, h, g, z, shared, odd, shared, tile, staged, ring, begins, lengths)


@njit(forceinline=True, error_model="numpy")
def _pointers(design, layout):
    """The same with pointers for arrays."""
    cosines, window = pointer(design.cosines, 0), pointer(design.window, 0)
    starts, frames = pointer(layout.starts, 0), pointer(layout.frames, 0)
    return (
        Design(design.n, cosines, design.base, window, design.n_taps, design.first_lag),
        Layout(starts, frames, layout.block_size, layout.n_samples, layout.n_frames),
    )


# --------------------------------------------------------------------------------------------------- arithmetic on rows


@njit(forceinline=True)
def _correlate(a, i, first, last, b, j):
    """TILE_ROWS rows of sum_{first <= c < last} a[i + c] b[j + r + c], the range widened to multiples of TAPS."""
    acc = accumulator(a)
    for c in range(first // TAPS * TAPS, last, TAPS):
        acc = slide(acc, a, i + c, b, j + c)
    return acc


@njit(forceinline=True, error_model="numpy")
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


@njit(forceinline=True, error_model="numpy")
def _halve_ends(z, n):
    """The first and the last magnitude count half."""
    width = register_width(z)
    store(z, 0, load_register(z, 0) * 0.5)
    store(z, n * width, load_register(z, n * width) * 0.5)


@njit(forceinline=True, error_model="numpy")
def _taps_from_lags(r, design, h):
    """h[l] = window[l] r[|lag of l|]."""
    width = register_width(r)
    for l in range(design.n_taps):
        lag = abs(design.first_lag + l)
        store(h, (LEAD + l) * width, load_register(r, lag * width) * design.window[l])


@njit(forceinline=True, error_model="numpy")
def _lags_from_taps(dh, design, dr):
    """The transpose: dr[m] = sum of window[l] dh[l] over the taps at lags m and -m."""
    width = register_width(dh)
    _zero(dr, 0, (design.n + 1) * width)
    for l in range(design.n_taps):
        at = abs(design.first_lag + l) * width
        store(dr, at, load_register(dr, at) + load_register(dh, l * width) * design.window[l])


# ----------------------------------------------------------------------------------------------------- in and out again


@njit(forceinline=True)
def _zero(target, i, n):
    for k in range(i, i + n):
        target[k] = 0


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


@njit(forceinline=True, error_model="numpy")
def _copy_window(source, low, high, begin, end, target):
    """target = source[begin:end], with zeros before index `low` and from `high` on.

    Lanes are read from such a copy, even where they could be read from the source: 16 of them at once defeat the
    prefetcher, and waiting for memory took 20 ns a frame of 64 samples; the copy takes 2.
    """
    first, last = min(max(low, begin), end), max(min(high, end), begin)
    _zero(target, 0, first - begin)
    _copy(source, first, target, first - begin, last - first)
    _zero(target, max(last, first) - begin, end - max(last, first))


@njit(forceinline=True, error_model="numpy")
def _point_at_blocks(layout, group, at, scratch):
    """Lanes begin where their blocks do, in a signal that has the group's first sample at index `at`."""
    first, stop = group
    for lane in range(register_width(scratch.x)):
        block = min(first + lane, stop - 1)
        scratch.begins[lane] = at + layout.starts[block] - layout.starts[first]
        # No samples in a lane without a block.
        scratch.lengths[lane] = layout.starts[block + 1] - layout.starts[block] if first + lane < stop else 0


@njit(forceinline=True, error_model="numpy")
def _point_at_bands(n_bands, scratch):
    """Lanes begin where their magnitudes do: one lane after the other."""
    for lane in range(register_width(scratch.x)):
        scratch.begins[lane] = lane * n_bands


@njit(forceinline=True, error_model="numpy")
def _clear_after_ends(block, i, n, scratch):
    """Zeros where n rows, the first of them sample i of every lane, lie after a lane's last sample."""
    width = register_width(block)
    for lane in range(width):
        for row in range(max(scratch.lengths[lane] - i, 0), n):
            block[row * width + lane] = 0


@njit(forceinline=True, error_model="numpy")
def _read_lanes(source, n, scratch, block):
    """n rows: lane p gets source[begins[p] :][:n]."""
    for i in range(0, n, QUAD):
        gather_rows(block, i, source, scratch.begins, i)


@njit(forceinline=True, error_model="numpy")
def _read_samples(source, b, layout, group, scratch):
    """Rows of x: the samples of each lane's block, then zeros."""
    first, last, at = layout.starts[group[0]], layout.starts[group[1]], 0
    if source.seeds.size == 0:
        _copy(source.audio, b * layout.n_samples + first, scratch.staged, 0, last - first)
    else:
        at = (source.offset + first) % QUAD
        n = (at + last - first + QUAD - 1) // QUAD * QUAD
        fill(source.seeds[b], b, source.offset + first - at, n, scratch.staged)
    _point_at_blocks(layout, group, at, scratch)
    _read_lanes(scratch.staged, layout.block_size, scratch, scratch.x)
    _clear_after_ends(scratch.x, 0, (layout.block_size + QUAD - 1) // QUAD * QUAD, scratch)


# --------------------------------------------------------------------------------------- groups: one block in each lane


@njit(forceinline=True, error_model="numpy")
def _design_taps(magnitudes, b, layout, group, design, scratch):
    """Rows of h: the taps of each lane's frame."""
    n_bands, n_frames = design.n + 1, layout.n_frames
    for lane in range(register_width(scratch.x)):
        frame = layout.frames[min(group[0] + lane, group[1] - 1)]
        _copy(magnitudes, (b * n_frames + frame) * n_bands, scratch.staged, lane * n_bands, n_bands)
    _point_at_bands(n_bands, scratch)
    _read_lanes(scratch.staged, n_bands, scratch, scratch.z)
    _halve_ends(scratch.z, design.n)
    _cosine_transform(scratch.z, design, scratch.odd, scratch.r)
    _taps_from_lags(scratch.r, design, scratch.h)


@njit(forceinline=True, error_model="numpy")
def _add_tile(i, scratch, target):
    """target[begins[p] + i :][:TILE_ROWS] += lane p of the tile."""
    for e in range(0, TILE_ROWS, QUAD):
        add_rows(scratch.tile, e, target, scratch.begins, i + e)


@njit(forceinline=True, error_model="numpy")
def _convolve(layout, design, scratch, y):
    """y[begin + q] += sum_i x[i] h[q - i] of every lane, as a correlation with x reversed."""
    size, n_taps, width = layout.block_size, design.n_taps, register_width(scratch.x)
    for i in range(size):
        store(scratch.g, (size - 1 - i) * width, load_register(scratch.x, i * width))
    _zero(scratch.g, size * width, TAPS * width)
    for q in range(0, size + n_taps - 1, TILE_ROWS):
        first, last = max(0, size - TILE_ROWS - q), min(size, size + n_taps - 1 - q)
        store(scratch.tile, 0, _correlate(scratch.g, 0, first, last, scratch.h, LEAD + q - (size - 1)))
        _add_tile(q, scratch, y)


@njit(forceinline=True, error_model="numpy")
def _audio_gradient(layout, design, scratch, dx):
    """dx[begin + i] += sum_l h[l] g[i + l] of every lane."""
    for i in range(0, layout.block_size, TILE_ROWS):
        store(scratch.tile, 0, _correlate(scratch.h, LEAD, 0, design.n_taps, scratch.g, i))
        _clear_after_ends(scratch.tile, i, TILE_ROWS, scratch)
        _add_tile(i, scratch, dx)


@njit(forceinline=True, error_model="numpy")
def _magnitude_gradient(layout, design, scratch):
    """Rows of dX into r, from rows of dh[l] = sum_i x[i] g[l + i]; QUAD - 1 rows of zeros after them."""
    width = register_width(scratch.x)
    for l in range(0, design.n_taps, TILE_ROWS):
        store(scratch.dh, l * width, _correlate(scratch.x, 0, 0, layout.block_size, scratch.g, l))
    _lags_from_taps(scratch.dh, design, scratch.z)
    _cosine_transform(scratch.z, design, scratch.odd, scratch.r)
    _halve_ends(scratch.r, design.n)
    _zero(scratch.r, (design.n + 1) * width, (QUAD - 1) * width)


# ------------------------------------------------------------------------------------ chunks: one call of a thread each


@njit(nogil=True, cache=True, error_model="numpy")
def _filter_chunk(source, magnitudes, layout_arrays, design_arrays, workspace, delay, b, blocks, tail, n_out, out):
    """Filter some blocks of row b: their samples of `out`, and in `tail` what rings on after them."""
    design, layout = _pointers(design_arrays, layout_arrays)
    scratch, n_lanes = _scratch(workspace, design.n + 1), register_width(out)
    y, n_tail = scratch.ring, design.n_taps - 1
    for first in range(blocks[0], blocks[1], n_lanes):
        group = first, min(first + n_lanes, blocks[1])
        origin, end = layout.starts[group[0]], layout.starts[group[1]]
        _design_taps(magnitudes, b, layout, group, design, scratch)
        _read_samples(source, b, layout, group, scratch)
        _point_at_blocks(layout, group, 0, scratch)
        _convolve(layout, design, scratch, y)
        low, high = max(origin, delay), min(end, n_out + delay)
        if low < high:
            _copy(y, low - origin, out, b * n_out + low - delay, high - low)
        _copy(y, end - origin, y, 0, n_tail)
        _zero(y, n_tail, end - origin + layout.block_size + TILE_ROWS)  # also what only a NaN could have reached
    _copy(y, 0, tail, 0, n_tail)


@njit(nogil=True, cache=True, error_model="numpy")
def _add_tails(tails, ends, n_samples, delay, out):
    """Add what rings on after every chunk to what follows it, in order; zeros where no block reaches.

    tails: [batch, chunks, n_taps - 1]; ends: the sample after each chunk.
    """
    n_out = out.shape[1]
    for b in range(out.shape[0]):
        out[b, : min(max(-delay, 0), n_out)] = 0
        out[b, min(max(n_samples - delay, 0), n_out) :] = 0
        for chunk in range(tails.shape[1]):
            begin = ends[chunk] - delay
            for i in range(max(0, -begin), min(tails.shape[2], n_out - begin)):
                out[b, begin + i] += tails[b, chunk, i]


@njit(nogil=True, cache=True, error_model="numpy")
def _gradient_chunk(
    g,
    n_out,
    source,
    magnitudes,
    layout_arrays,
    design_arrays,
    workspace,
    delay,
    b,
    blocks,
    needs,
    d_audio,
    d_magnitudes,
):
    """Gradients of some blocks of row b; `needs` says which to write, d_audio or d_magnitudes (which holds zeros)."""
    design, layout = _pointers(design_arrays, layout_arrays)
    scratch, n_lanes = _scratch(workspace, design.n + 1), register_width(g)
    n_bands = design.n + 1
    for first in range(blocks[0], blocks[1], n_lanes):
        group = first, min(first + n_lanes, blocks[1])
        origin, end = layout.starts[group[0]], layout.starts[group[1]]
        begin = b * n_out - delay + origin
        _copy_window(g, b * n_out, (b + 1) * n_out, begin, begin + end - origin + design.n_taps - 1, scratch.staged)
        _point_at_blocks(layout, group, 0, scratch)
        _read_lanes(scratch.staged, layout.block_size + design.n_taps - 1, scratch, scratch.g)
        if needs[0]:
            _design_taps(magnitudes, b, layout, group, design, scratch)
            _zero(scratch.ring, 0, end - origin)
            _point_at_blocks(layout, group, 0, scratch)
            _audio_gradient(layout, design, scratch, scratch.ring)
            _copy(scratch.ring, 0, d_audio, b * layout.n_samples + origin, end - origin)
        if needs[1]:
            _read_samples(source, b, layout, group, scratch)
            _magnitude_gradient(layout, design, scratch)
            _point_at_bands(n_bands, scratch)
            _zero(scratch.staged, 0, n_bands * n_lanes)
            for k in range(0, n_bands, QUAD):
                add_rows(scratch.r, k, scratch.staged, scratch.begins, k)
            for block in range(group[0], group[1]):
                at = (b * layout.n_frames + layout.frames[block]) * n_bands
                _add(scratch.staged, (block - group[0]) * n_bands, d_magnitudes, at, n_bands)


# ----------------------------------------------------------------------------------------------------- public functions


def audio_source(audio: np.ndarray) -> Source:
    """Filter this audio, [batch, n_samples]."""
    return Source(audio.reshape(-1), np.empty(0, np.int64), 0)


def noise_source(seeds: np.ndarray, offset: int, dtype: np.dtype) -> Source:
    """Filter the noise of seeds, int64 [batch], from sample `offset` of its stream on."""
    return Source(np.empty(0, dtype), seeds, offset)


def filter_source(source: Source, magnitudes, n_samples: int, window_size: int, out, n_threads: int = 1) -> None:
    """out [batch, n_out] = the source filtered by magnitudes [batch, frames, bands], after the delay."""
    batch, n_frames, n_bands = magnitudes.shape
    design = _design(n_bands, window_size, out.dtype.name)
    layout, chunks = _layout(n_samples, n_frames, design.n_taps)
    delay = fir.delay(design.n_taps)
    tails = np.empty((batch, len(chunks), design.n_taps - 1), out.dtype)
    flat, flat_out = magnitudes.reshape(-1), out.reshape(-1)

    def work(i: int) -> None:
        b, chunk = divmod(i, len(chunks))
        place = b, chunks[chunk], tails[b, chunk]
        workspace = _workspace(design, layout, out.dtype)
        _filter_chunk(source, flat, layout, design, workspace, delay, *place, out.shape[1], flat_out)

    threads.run(work, batch * len(chunks), n_threads)
    ends = layout.starts[[last for _, last in chunks]]
    _add_tails(tails, ends, n_samples, delay, out)


def gradients(
    g, source: Source, magnitudes, n_samples: int, window_size: int, d_audio, d_magnitudes, n_threads: int = 1
) -> None:
    """d_audio = the gradient of sum(g * out), and d_magnitudes, which holds zeros, too; None for one not needed.

    magnitudes may be None if d_audio is.
    """
    batch, n_frames, n_bands = (magnitudes if magnitudes is not None else d_magnitudes).shape
    design = _design(n_bands, window_size, g.dtype.name)
    layout, chunks = _layout(n_samples, n_frames, design.n_taps)
    delay, needs, n_out = fir.delay(design.n_taps), (d_audio is not None, d_magnitudes is not None), g.shape[1]
    nothing = np.empty(0, g.dtype)
    flat_g, flat, *results = (nothing if x is None else x.reshape(-1) for x in (g, magnitudes, d_audio, d_magnitudes))

    def work(i: int) -> None:
        b, chunk = divmod(i, len(chunks))
        workspace = _workspace(design, layout, g.dtype)
        place = b, chunks[chunk], needs
        _gradient_chunk(flat_g, n_out, source, flat, layout, design, workspace, delay, *place, *results)

    threads.run(work, batch * len(chunks), n_threads)
