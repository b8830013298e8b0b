"""Frequency-sampled time-varying filter on the CPU: forward, and backward to audio and magnitudes, in one pass each.

    h_t = window * cosine transform of X_t                      (fastddsp.kernels.fir has the equations)
    y[n + l] += x[n] h_t[l]
    dx[n]    = sum_l h_t[l] g[n + l],   dh_t[l] = sum_n x[n] g[n + l],   dX_t = transposed transform of window * dh_t

y, g: before the delay is cut. x may be noise, made on the way (fastddsp.kernels.cpu.noise).

Lanes are blocks (fastddsp.kernels.cpu.rows): a frame is a block, or several if it is longer than MAX_BLOCK, and every
lane filters its own block with its own h. So odd hops and odd numbers of taps waste little, and all three sums above
are one loop, `_correlate`. Impulse responses live in the cache only.

Cost in multiply-adds per frame of H samples and L taps: H L forward, 2 H L backward, and three cosine transforms.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from fastddsp.kernels import fir
from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.compile import kernel
from fastddsp.kernels.cpu.fir_design import (
    Design,
    cosine_transform,
    halve_ends,
    lags_from_taps,
    make_design,
    taps_from_lags,
)
from fastddsp.kernels.cpu.fir_lanes import (
    LEAD,
    WORK_PER_CHUNK,
    Layout,
    add,
    add_tile,
    clear_after_ends,
    copy,
    copy_window,
    make_layout,
    make_workspace,
    point_at_bands,
    point_at_blocks,
    read_lanes,
    scratch_of,
    zero,
)
from fastddsp.kernels.cpu.noise import fill
from fastddsp.kernels.cpu.rows import QUAD, TAPS, TILE_ROWS, accumulator, add_rows, slide
from fastddsp.kernels.cpu.simd import load_register, pointer, register_width, store


class Source(NamedTuple):
    """What is filtered: audio, or the noise of seeds (then audio is empty)."""

    audio: np.ndarray  # [batch * n_samples]
    seeds: np.ndarray  # int64 [batch]
    offset: int  # of the first sample in the noise's stream


@njit(forceinline=True, error_model="numpy")
def _pointers(design, layout):
    """The same with pointers for arrays."""
    cosines, window = pointer(design.cosines, 0), pointer(design.window, 0)
    starts, frames = pointer(layout.starts, 0), pointer(layout.frames, 0)
    return (
        Design(design.n, cosines, design.base, window, design.n_taps, design.first_lag),
        Layout(starts, frames, layout.block_size, layout.n_samples, layout.n_frames),
    )


# --------------------------------------------------------------------------------------- groups: one block in each lane


@njit(forceinline=True)
def _correlate(a, i, first, last, b, j):
    """TILE_ROWS rows of sum_{first <= c < last} a[i + c] b[j + r + c], the range widened to multiples of TAPS."""
    acc = accumulator(a)
    for c in range(first // TAPS * TAPS, last, TAPS):
        acc = slide(acc, a, i + c, b, j + c)
    return acc


@njit(forceinline=True, error_model="numpy")
def _read_samples(source, b, layout, group, scratch):
    """Rows of x: the samples of each lane's block, then zeros."""
    first, last, at = layout.starts[group[0]], layout.starts[group[1]], 0
    if source.seeds.size == 0:
        copy(source.audio, b * layout.n_samples + first, scratch.staged, 0, last - first)
    else:
        at = (source.offset + first) % QUAD
        n = (at + last - first + QUAD - 1) // QUAD * QUAD
        fill(source.seeds[b], b, source.offset + first - at, n, scratch.staged)
    point_at_blocks(layout, group, at, scratch)
    read_lanes(scratch.staged, layout.block_size, scratch, scratch.x)
    clear_after_ends(scratch.x, 0, (layout.block_size + QUAD - 1) // QUAD * QUAD, scratch)


@njit(forceinline=True, error_model="numpy")
def _design_taps(magnitudes, b, layout, group, design, scratch):
    """Rows of h: the taps of each lane's frame."""
    n_bands, n_frames = design.n + 1, layout.n_frames
    for lane in range(register_width(scratch.x)):
        frame = layout.frames[min(group[0] + lane, group[1] - 1)]
        copy(magnitudes, (b * n_frames + frame) * n_bands, scratch.staged, lane * n_bands, n_bands)
    point_at_bands(n_bands, scratch)
    read_lanes(scratch.staged, n_bands, scratch, scratch.z)
    halve_ends(scratch.z, design.n)
    cosine_transform(scratch.z, design, scratch.odd, scratch.fold, scratch.r)
    taps_from_lags(scratch.r, design, scratch.h, LEAD)


@njit(forceinline=True, error_model="numpy")
def _convolve(layout, design, scratch, y):
    """y[begin + q] += sum_i x[i] h[q - i] of every lane, as a correlation with x reversed."""
    size, n_taps, width = layout.block_size, design.n_taps, register_width(scratch.x)
    for i in range(size):
        store(scratch.g, (size - 1 - i) * width, load_register(scratch.x, i * width))
    zero(scratch.g, size * width, TAPS * width)
    for q in range(0, size + n_taps - 1, TILE_ROWS):
        first, last = max(0, size - TILE_ROWS - q), min(size, size + n_taps - 1 - q)
        store(scratch.tile, 0, _correlate(scratch.g, 0, first, last, scratch.h, LEAD + q - (size - 1)))
        add_tile(q, scratch, y)


@njit(forceinline=True, error_model="numpy")
def _audio_gradient(layout, design, scratch, dx):
    """dx[begin + i] += sum_l h[l] g[i + l] of every lane."""
    for i in range(0, layout.block_size, TILE_ROWS):
        store(scratch.tile, 0, _correlate(scratch.h, LEAD, 0, design.n_taps, scratch.g, i))
        clear_after_ends(scratch.tile, i, TILE_ROWS, scratch)
        add_tile(i, scratch, dx)


@njit(forceinline=True, error_model="numpy")
def _magnitude_gradient(layout, design, scratch):
    """Rows of dX into r, from rows of dh[l] = sum_i x[i] g[l + i]; zeros after them."""
    width = register_width(scratch.x)
    for l in range(0, design.n_taps, TILE_ROWS):
        store(scratch.dh, l * width, _correlate(scratch.x, 0, 0, layout.block_size, scratch.g, l))
    lags_from_taps(scratch.dh, design, scratch.z)
    cosine_transform(scratch.z, design, scratch.odd, scratch.fold, scratch.r)
    halve_ends(scratch.r, design.n)
    zero(scratch.r, (design.n + 1) * width, (QUAD - 1) * width)


# ------------------------------------------------------------------------------------ chunks: one call of a thread each


@kernel
def _filter_chunk(source, magnitudes, layout_arrays, design_arrays, workspace, delay, b, blocks, tail, n_out, out):
    """Filter some blocks of row b: their samples of `out`, and in `tail` what rings on after them."""
    design, layout = _pointers(design_arrays, layout_arrays)
    scratch, n_lanes = scratch_of(workspace, design.n + 1), register_width(out)
    y, n_tail = scratch.ring, design.n_taps - 1
    for first in range(blocks[0], blocks[1], n_lanes):
        group = first, min(first + n_lanes, blocks[1])
        origin, end = layout.starts[group[0]], layout.starts[group[1]]
        _design_taps(magnitudes, b, layout, group, design, scratch)
        _read_samples(source, b, layout, group, scratch)
        point_at_blocks(layout, group, 0, scratch)
        _convolve(layout, design, scratch, y)
        low, high = max(origin, delay), min(end, n_out + delay)
        if low < high:
            copy(y, low - origin, out, b * n_out + low - delay, high - low)
        copy(y, end - origin, y, 0, n_tail)
        zero(y, n_tail, end - origin + layout.block_size + TILE_ROWS)  # also what only a NaN could have reached
    copy(y, 0, tail, 0, n_tail)


@kernel
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


@kernel
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
    scratch, n_lanes = scratch_of(workspace, design.n + 1), register_width(g)
    n_bands = design.n + 1
    for first in range(blocks[0], blocks[1], n_lanes):
        group = first, min(first + n_lanes, blocks[1])
        origin, end = layout.starts[group[0]], layout.starts[group[1]]
        begin = b * n_out - delay + origin
        copy_window(g, b * n_out, (b + 1) * n_out, begin, begin + end - origin + design.n_taps - 1, scratch.staged)
        point_at_blocks(layout, group, 0, scratch)
        read_lanes(scratch.staged, layout.block_size + design.n_taps - 1, scratch, scratch.g)
        if needs[0]:
            _design_taps(magnitudes, b, layout, group, design, scratch)
            zero(scratch.ring, 0, end - origin)
            point_at_blocks(layout, group, 0, scratch)
            _audio_gradient(layout, design, scratch, scratch.ring)
            copy(scratch.ring, 0, d_audio, b * layout.n_samples + origin, end - origin)
        if needs[1]:
            _read_samples(source, b, layout, group, scratch)
            _magnitude_gradient(layout, design, scratch)
            point_at_bands(n_bands, scratch)
            zero(scratch.staged, 0, n_bands * n_lanes)
            for k in range(0, n_bands, QUAD):
                add_rows(scratch.r, k, scratch.staged, scratch.begins, k)
            for block in range(group[0], group[1]):
                at = (b * layout.n_frames + layout.frames[block]) * n_bands
                add(scratch.staged, (block - group[0]) * n_bands, d_magnitudes, at, n_bands)


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
    design = make_design(n_bands, window_size, out.dtype.name)
    layout, chunks = make_layout(n_samples, n_frames, design.n_taps)
    delay = fir.delay(design.n_taps)
    tails = np.empty((batch, len(chunks), design.n_taps - 1), out.dtype)
    flat, flat_out = magnitudes.reshape(-1), out.reshape(-1)

    def work(i: int) -> None:
        b, chunk = divmod(i, len(chunks))
        place = b, chunks[chunk], tails[b, chunk]
        workspace = make_workspace(design, layout, out.dtype)
        _filter_chunk(source, flat, layout, design, workspace, delay, *place, out.shape[1], flat_out)

    threads.run(work, batch * len(chunks), n_threads if batch * n_samples * design.n_taps > WORK_PER_CHUNK else 1)
    ends = layout.starts[[last for _, last in chunks]]
    _add_tails(tails, ends, n_samples, delay, out)


def gradients(
    g, source: Source, magnitudes, n_samples: int, window_size: int, d_audio, d_magnitudes, n_threads: int = 1
) -> None:
    """d_audio = the gradient of sum(g * out), and d_magnitudes, which holds zeros, too; None for one not needed.

    magnitudes may be None if d_audio is.
    """
    batch, n_frames, n_bands = (magnitudes if magnitudes is not None else d_magnitudes).shape
    design = make_design(n_bands, window_size, g.dtype.name)
    layout, chunks = make_layout(n_samples, n_frames, design.n_taps)
    delay, needs, n_out = fir.delay(design.n_taps), (d_audio is not None, d_magnitudes is not None), g.shape[1]
    nothing = np.empty(0, g.dtype)
    flat_g, flat, *results = (nothing if x is None else x.reshape(-1) for x in (g, magnitudes, d_audio, d_magnitudes))

    def work(i: int) -> None:
        b, chunk = divmod(i, len(chunks))
        workspace = make_workspace(design, layout, g.dtype)
        place = b, chunks[chunk], needs
        _gradient_chunk(flat_g, n_out, source, flat, layout, design, workspace, delay, *place, *results)

    threads.run(work, batch * len(chunks), n_threads if batch * n_samples * design.n_taps > WORK_PER_CHUNK else 1)
