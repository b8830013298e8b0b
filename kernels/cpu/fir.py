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
    gather_rows,
    rows,
    scatter_rows,
    slide,
    spread,
)
from fastddsp.kernels.cpu.simd import REGISTER_BYTES, load_register, register_width, store

MAX_BLOCK = 96  # samples: the rows of a group of blocks (x, h, g and results for 128 taps: 43 kB) stay in the first cache
LEAD = TILE_ROWS + TAPS  # rows of zeros before and after h, so that its ends need no special case
WORK_PER_CHUNK = 2**22  # multiply-adds forward: 35 us, long beside the 5 us of a call


class Source(NamedTuple):
    """What is filtered: audio, or the noise of seeds (then audio is empty)."""

    audio: np.ndarray  # [batch, n_samples]
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
    """Rows for one group of blocks."""

    x: np.ndarray
    x_reversed: np.ndarray
    h: np.ndarray  # LEAD rows of zeros around it
    z: np.ndarray  # magnitudes
    r: np.ndarray  # lags
    odd: np.ndarray
    dh: np.ndarray
    signal: np.ndarray  # y or g
    stage: np.ndarray  # one lane after the other
    begins: np.ndarray  # int64 [lanes]: where each lane's numbers begin
    lengths: np.ndarray  # int64 [lanes]: how many there are


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


@njit
def _cosine_transform(z, design, odd, r):
    """r[m] = sum_{k <= n} z[k] cos(pi k m / n), m = 0..n; `odd` is scratch."""
    n, width = design.n, register_width(z)
    at, size = 0, design.base
    columns = (size // TILE_ROWS + 1) * TILE_ROWS
    for m in range(0, columns, TILE_ROWS):
        acc = accumulator(z)
        for k in range(size + 1):
            acc = spread(acc, z, k * (n // size), design.cosines, at + k * columns + m)
        store(r, m * width, acc)
    at += (size + 1) * columns
    while size < n:
        columns = (size + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
        stride = n // (2 * size)
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


@njit
def _halve_ends(z, n):
    """The first and the last magnitude count half."""
    width = register_width(z)
    store(z, 0, load_register(z, 0) * 0.5)
    store(z, n * width, load_register(z, n * width) * 0.5)


@njit
def _taps_from_lags(r, design, h):
    """h[l] = window[l] r[|lag of l|]."""
    width = register_width(r)
    for l in range(design.window.size):
        lag = abs(design.first_lag + l)
        store(h, (LEAD + l) * width, load_register(r, lag * width) * design.window[l])


@njit
def _lags_from_taps(dh, design, dr):
    """The transpose: dr[m] = sum of window[l] dh[l] over the taps at lags m and -m."""
    width = register_width(dh)
    dr[: (design.n + 1) * width] = 0
    for l in range(design.window.size):
        at = abs(design.first_lag + l) * width
        store(dr, at, load_register(dr, at) + load_register(dh, l * width) * design.window[l])


# ------------------------------------------------------------------------------------------------------ in and out again


@njit
def _scratch(design, layout, like):
    n_taps, size, n_lanes = design.window.size, layout.block_size, register_width(like)
    long = size + n_taps + 2 * TILE_ROWS + TAPS
    n_bands = design.n + 1 + TILE_ROWS
    return Scratch(
        rows(size + TILE_ROWS, like),
        rows(size + TILE_ROWS, like),
        rows(n_taps + 2 * LEAD, like),
        rows(n_bands, like),
        rows(n_bands, like),
        rows(n_bands, like),
        rows(n_taps + TILE_ROWS, like),
        rows(long, like),
        rows(max(long, n_bands), like),
        np.zeros(n_lanes, np.int64),
        np.zeros(n_lanes, np.int64),
    )


@njit
def _lanes_of_blocks(layout, first, last, origin, scratch):
    """Point each lane at its block, in a signal that begins at sample `origin`; no samples in lanes without a block."""
    scratch.begins[:] = 0
    scratch.lengths[:] = 0
    for block in range(first, last):
        scratch.begins[block - first] = layout.starts[block] - origin
        scratch.lengths[block - first] = layout.starts[block + 1] - layout.starts[block]


@njit
def _lanes_of_frames(layout, first, last, n_bands, scratch):
    """Point each lane at the magnitudes of its block's frame."""
    scratch.begins[:] = 0
    scratch.lengths[:] = 0
    for block in range(first, last):
        scratch.begins[block - first] = layout.frames[block] * n_bands
        scratch.lengths[block - first] = n_bands


@njit
def _read_lanes(source, n, scratch, block):
    """n rows of source[begins[lane] :][: lengths[lane]], zeros after that."""
    n_lanes, stage = scratch.begins.size, scratch.stage
    pitch = (n + QUAD - 1) // QUAD * QUAD
    for lane in range(n_lanes):
        begin, length, at = scratch.begins[lane], scratch.lengths[lane], lane * pitch
        for i in range(length):
            stage[at + i] = source[begin + i]
        for i in range(length, pitch):
            stage[at + i] = 0
    slots = np.arange(n_lanes) * pitch
    for i in range(0, pitch, QUAD):
        gather_rows(block, i, stage, slots, i)


@njit
def _stage_lanes(block, n, scratch):
    """n rows into the staging area, one lane after the other. Returns the distance between lanes."""
    pitch = (n + QUAD - 1) // QUAD * QUAD
    slots = np.arange(scratch.begins.size) * pitch
    for i in range(0, pitch, QUAD):
        scatter_rows(block, i, scratch.stage, slots, i)
    return pitch


@njit
def _add_lanes(block, n, scratch, target):
    """target[begins[lane] :][: lengths[lane]] += the lanes of n rows, lane by lane."""
    pitch = _stage_lanes(block, n, scratch)
    for lane in range(scratch.begins.size):
        begin, at = scratch.begins[lane], lane * pitch
        for i in range(scratch.lengths[lane]):
            target[begin + i] += scratch.stage[at + i]


@njit
def _design_lanes(magnitudes, layout, first, last, design, scratch):
    """Rows of taps for the frames of the blocks first..last."""
    n_bands = design.n + 1
    _lanes_of_frames(layout, first, last, n_bands, scratch)
    _read_lanes(magnitudes, n_bands, scratch, scratch.z)
    _halve_ends(scratch.z, design.n)
    _cosine_transform(scratch.z, design, scratch.odd, scratch.r)
    _taps_from_lags(scratch.r, design, scratch.h)


@njit
def _samples(source, b, first, last):
    """Samples first..last of row b of the source."""
    if source.seeds.size == 0:
        return source.audio[b, first:last]
    begin = source.offset + first
    lead = begin % 4
    noise = np.empty((lead + last - first + 3) // 4 * 4, source.audio.dtype)
    fill(source.seeds[b], b, begin - lead, noise)
    return noise[lead : lead + last - first]


# ------------------------------------------------------------------------------------- chunks: one call of a thread each


@njit
def _convolve_blocks(layout, design, scratch):
    """y[q] = sum_i x[i] h[q - i] in every lane, as a correlation with x reversed."""
    size, n_taps, width = layout.block_size, design.window.size, register_width(scratch.x)
    for i in range(size):
        store(scratch.x_reversed, (size - 1 - i) * width, load_register(scratch.x, i * width))
    for q in range(0, size + n_taps - 1, TILE_ROWS):
        first, last = max(0, size - TILE_ROWS - q), min(size, size + n_taps - 1 - q)
        y = _correlate(scratch.x_reversed, 0, first, last, scratch.h, LEAD + q - (size - 1))
        store(scratch.signal, q * width, y)


@njit(nogil=True, cache=True)
def _filter_chunk(source, magnitudes, layout, design, delay, b, first_frame, last_frame, tail, out):
    """Filter some frames of row b: their samples of `out`, and in `tail` what rings on after them.

    magnitudes: [batch, frames * bands].
    """
    first, last = layout.first_block[first_frame], layout.first_block[last_frame]
    origin, end = layout.starts[first], layout.starts[last]
    x = _samples(source, b, origin, end)
    y = np.zeros(end - origin + layout.block_size + tail.size, out.dtype)
    scratch = _scratch(design, layout, out)
    n_lanes, n_y = scratch.begins.size, layout.block_size + tail.size
    for block in range(first, last, n_lanes):
        stop = min(block + n_lanes, last)
        _design_lanes(magnitudes[b], layout, block, stop, design, scratch)
        _lanes_of_blocks(layout, block, stop, origin, scratch)
        _read_lanes(x, layout.block_size, scratch, scratch.x)
        _convolve_blocks(layout, design, scratch)
        scratch.lengths[:] += tail.size
        scratch.lengths[stop - block :] = 0
        _add_lanes(scratch.signal, n_y, scratch, y)
    for p in range(max(origin - delay, 0), min(end - delay, out.shape[1])):
        out[b, p] = y[p + delay - origin]
    tail[:] = y[end - origin : end - origin + tail.size]


@njit(nogil=True, cache=True)
def _add_tails(tails, ends, chunks_per_row, n_samples, delay, out):
    """Add what rings on after every chunk to what follows it, in order."""
    for b in range(out.shape[0]):
        for p in range(min(max(n_samples - delay, 0), out.shape[1]), out.shape[1]):
            out[b, p] = 0
        for p in range(min(-delay, out.shape[1])):
            out[b, p] = 0
        for chunk in range(chunks_per_row):
            begin = ends[chunk] - delay
            for i in range(max(0, -begin), min(tails.shape[1], out.shape[1] - begin)):
                out[b, begin + i] += tails[b * chunks_per_row + chunk, i]


@njit
def _gradients_of_blocks(layout, design, needs, scratch):
    """From x, h and g: rows of dx into x_reversed, and rows of dX into r."""
    size, n_taps, width = layout.block_size, design.window.size, register_width(scratch.x)
    if needs[0]:
        for i in range(0, size, TILE_ROWS):
            store(scratch.x_reversed, i * width, _correlate(scratch.h, LEAD, 0, n_taps, scratch.signal, i))
    if needs[1]:
        for l in range(0, n_taps, TILE_ROWS):
            store(scratch.dh, l * width, _correlate(scratch.x, 0, 0, size, scratch.signal, l))
        _lags_from_taps(scratch.dh, design, scratch.z)
        _cosine_transform(scratch.z, design, scratch.odd, scratch.r)
        _halve_ends(scratch.r, design.n)


@njit(nogil=True, cache=True)
def _gradient_chunk(
    g_out, source, magnitudes, layout, design, delay, b, first_frame, last_frame, needs, d_audio, d_magnitudes
):
    """Gradients of some frames of row b; d_audio and d_magnitudes are zeros, needs says which of them to fill.

    magnitudes, d_magnitudes: [batch, frames * bands].
    """
    first, last = layout.first_block[first_frame], layout.first_block[last_frame]
    origin, end = layout.starts[first], layout.starts[last]
    size, n_g = layout.block_size, layout.block_size + design.window.size - 1
    x = _samples(source, b, origin, end) if needs[1] else g_out[b, :0]
    g = np.zeros(end - origin + n_g + QUAD, g_out.dtype)
    for p in range(max(origin - delay, 0), min(end + n_g - size - delay, g_out.shape[1])):
        g[p + delay - origin] = g_out[b, p]
    scratch = _scratch(design, layout, g_out)
    n_lanes = scratch.begins.size
    for block in range(first, last, n_lanes):
        stop = min(block + n_lanes, last)
        if needs[0]:
            _design_lanes(magnitudes[b], layout, block, stop, design, scratch)
        _lanes_of_blocks(layout, block, stop, origin, scratch)
        for i in range(0, n_g, QUAD):
            gather_rows(scratch.signal, i, g, scratch.begins, i)
        if needs[1]:
            _read_lanes(x, size, scratch, scratch.x)
        _gradients_of_blocks(layout, design, needs, scratch)
        if needs[0]:
            scratch.begins[:] += origin
            _add_lanes(scratch.x_reversed, size, scratch, d_audio[b])
        if needs[1]:
            _lanes_of_frames(layout, block, stop, design.n + 1, scratch)
            _add_lanes(scratch.r, design.n + 1, scratch, d_magnitudes[b])


# ------------------------------------------------------------------------------------------------------- public functions


def audio_source(audio: np.ndarray) -> Source:
    """Filter this audio, [batch, n_samples]."""
    return Source(audio, np.empty(0, np.int64), 0)


def noise_source(seeds: np.ndarray, offset: int, dtype: np.dtype) -> Source:
    """Filter the noise of seeds, int64 [batch], from sample `offset` of its stream on."""
    return Source(np.empty((len(seeds), 0), dtype), seeds, offset)


def _chunks(n_rows: int, n_samples: int, n_frames: int, n_taps: int) -> np.ndarray:
    """Borders of the chunks of a row, in frames: they depend on the problem alone, and so do the results."""
    lanes = REGISTER_BYTES // 4
    frames_of_chunk = WORK_PER_CHUNK * n_frames // max(n_samples * n_taps, 1)
    frames_of_chunk = max(lanes, frames_of_chunk // lanes * lanes)
    return np.append(np.arange(0, n_frames, frames_of_chunk), n_frames)


def filter_source(source: Source, magnitudes, n_samples: int, window_size: int, out, n_threads: int = 1) -> None:
    """out [batch, n_out] = the source filtered by magnitudes [batch, frames, bands], after the delay."""
    batch, n_frames, n_bands = magnitudes.shape
    layout, design = _layout(n_samples, n_frames), _design(n_bands, window_size, out.dtype.name)
    n_taps = len(design.window)
    delay, borders = fir.delay(n_taps), _chunks(batch, n_samples, n_frames, n_taps)
    per_row = len(borders) - 1
    tails = np.empty((batch * per_row, n_taps - 1), out.dtype)
    flat = magnitudes.reshape(batch, -1)

    def work(chunk: int) -> None:
        b, i = divmod(chunk, per_row)
        _filter_chunk(source, flat, layout, design, delay, b, borders[i], borders[i + 1], tails[chunk], out)

    threads.run(work, batch * per_row, n_threads)
    ends = layout.starts[layout.first_block[borders[1:]]]
    _add_tails(tails, ends, per_row, n_samples, delay, out)


def gradients(
    g, source: Source, magnitudes, n_samples: int, window_size: int, d_audio, d_magnitudes, n_threads: int = 1
) -> None:
    """Add to d_audio and d_magnitudes the gradients of sum(g * out); None for a gradient that is not needed.

    magnitudes may be None if d_audio is.
    """
    needs = (d_audio is not None, d_magnitudes is not None)
    batch, n_frames, n_bands = (magnitudes if magnitudes is not None else d_magnitudes).shape
    layout, design = _layout(n_samples, n_frames), _design(n_bands, window_size, g.dtype.name)
    n_taps = len(design.window)
    delay, borders = fir.delay(n_taps), _chunks(batch, n_samples, n_frames, n_taps)
    per_row = len(borders) - 1
    nothing = np.empty((batch, 0), g.dtype)
    flat, d_flat = (nothing if m is None else m.reshape(batch, -1) for m in (magnitudes, d_magnitudes))
    d_audio = nothing if d_audio is None else d_audio

    def work(chunk: int) -> None:
        b, i = divmod(chunk, per_row)
        _gradient_chunk(g, source, flat, layout, design, delay, b, borders[i], borders[i + 1], needs, d_audio, d_flat)

    threads.run(work, batch * per_row, n_threads)
