"""Frequency-sampled time-varying filter on the CPU: forward, and backward to audio and magnitudes, in one pass each.

    h_t = window * cosine transform of X_t                      (fastddsp.kernels.fir has the equations)
    y[n + l] += x[n] h_t[l]
    dx[n]    = sum_l h_t[l] g[n + l],   dh_t[l] = sum_n x[n] g[n + l],   dX_t = transposed transform of window * dh_t

y, g: before the delay is cut. x may be noise, made on the way (fastddsp.kernels.cpu.noise). With overlap every frame
is filtered twice: faded out by its own h_t, and faded in by h_{t+1}.

Frames are taken in blocks of a few registers of samples (fastddsp.kernels.cpu.fir_tiles); impulse responses live in the
cache only. Cost in multiply-adds per frame of H samples and L taps: H L forward, 2 H L backward, and three cosine
transforms; with overlap twice that.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.compile import kernel
from fastddsp.kernels.cpu.fir_design import FRAMES, bands_of_folds, fold_taps, taps_of_bands
from fastddsp.kernels.cpu.fir_layout import (
    QUAD,
    WORK_PER_CHUNK,
    Plan,
    add,
    copy,
    copy_window,
    make_plan,
    multiply,
    parts_of,
    rooms_of,
    scratch_of,
    zero,
)
from fastddsp.kernels.cpu.fir_tiles import SAMPLES, convolve, correlate
from fastddsp.kernels.cpu.noise import fill
from fastddsp.kernels.cpu.simd import borrowed, pointer, register_width
from fastddsp.kernels.cpu.team import enter_on_team, next_chunk, next_place


class Source(NamedTuple):
    """What is filtered: audio, or the noise of seeds (then audio is empty)."""

    audio: np.ndarray  # [batch * n_samples]
    seeds: np.ndarray  # int64 [batch]
    offset: int  # of the first sample in the noise's stream


# ------------------------------------------------------------------------------------------- groups and their parts


@njit(forceinline=True, error_model="numpy")
def _samples_of_group(source, b, layout, group, scratch):
    """Pointer to the group's samples, of the audio or of noise that is made now."""
    first, last = layout.starts[group[0]], layout.starts[group[1]]
    if source.seeds.size == 0:
        return pointer(source.audio, b * layout.n_samples + first)
    at = (source.offset + first) % QUAD
    n = (at + last - first + QUAD - 1) // QUAD * QUAD
    fill(source.seeds[b], b, source.offset + first - at, n, scratch.noise)
    return pointer(scratch.noise, at)


@njit(forceinline=True, error_model="numpy")
def _design_group(magnitudes, b, layout, group, phase, design, scratch):
    """Rows of h: the taps of the group's frames, or with phase 1 of the frames after them; the last one's are held."""
    n_bands, first = design.n + 1, group[0] + phase
    if first + FRAMES <= layout.n_frames:
        taps_of_bands(pointer(magnitudes, (b * layout.n_frames + first) * n_bands), design, scratch)
        return
    for f in range(FRAMES):
        t = min(first + f, layout.n_frames - 1)
        copy(magnitudes, (b * layout.n_frames + t) * n_bands, scratch.bands, f * n_bands, n_bands)
    taps_of_bands(scratch.bands, design, scratch)


@njit(forceinline=True, error_model="numpy")
def _fade(layout, t, begin, phase):
    """Where the weights of frame t's samples from `begin` on are in the fades: out in phase 0, in in phase 1."""
    start = layout.starts[t]
    shorter = 1 if layout.starts[t + 1] - start == layout.longest - 1 else 0  # of other lengths is the last alone
    return (2 * shorter + phase) * layout.longest + begin - start


@njit(forceinline=True, error_model="numpy")
def _read_block(samples, i, size, layout, fade, scratch):
    """`size` samples from number i on, weighted if frames overlap; zeros up to a whole register."""
    width = register_width(scratch.x)
    copy(samples, i, scratch.x, 0, size)
    zero(scratch.x, size, (-size) % width)
    if layout.overlap:
        multiply(layout.fades, fade, scratch.x, size)


# ------------------------------------------------------------------------------------------------------------- chunks


@njit(inline="always")
def _filter_chunk(source, magnitudes, parts, scratch, b, frames, tail, n_out, out):
    """Filter some frames of row b: their samples of `out`, and in `tail` what rings on after them."""
    design, layout, _ = parts
    block = SAMPLES[-1] * register_width(out)
    delay, n_tail, y = layout.delay, design.n_taps - 1, scratch.y
    zero(y, 0, scratch.y_size)
    for first in range(frames[0], frames[1], FRAMES):
        group = first, min(first + FRAMES, frames[1])
        origin, end = layout.starts[group[0]], layout.starts[group[1]]
        samples = _samples_of_group(source, b, layout, group, scratch)
        for phase in range(1 + layout.overlap):
            _design_group(magnitudes, b, layout, group, phase, design, scratch)
            for t in range(group[0], group[1]):
                h = pointer(scratch.h, (t - first) * scratch.h_row)
                for begin in range(layout.starts[t], layout.starts[t + 1], block):
                    size = min(block, layout.starts[t + 1] - begin)
                    fade = _fade(layout, t, begin, phase)
                    _read_block(samples, begin - origin, size, layout, fade, scratch)
                    convolve(scratch.x, size, h, design.n_taps, pointer(y, begin - origin))
        low, high = max(origin, delay), min(end, n_out + delay)
        if low < high:
            copy(y, low - origin, out, b * n_out + low - delay, high - low)
        copy(y, end - origin, y, 0, n_tail)
        zero(y, n_tail, scratch.y_size - n_tail)  # also what only a NaN could have reached
    copy(y, 0, tail, 0, n_tail)


@kernel
def _add_tails(tails, ends, n_samples, delay, out):
    """Add what rings on after every chunk to what follows it, in order; zeros where no frame reaches.

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


@njit(forceinline=True, error_model="numpy")
def _g_of_block(g, b, n_out, begin, scratch):
    """Pointer to g_size numbers of row b of g from number `begin` on, zeros beyond its ends."""
    reach = scratch.g_size
    if begin >= 0 and begin + reach <= n_out:
        return pointer(g, b * n_out + begin)
    copy_window(g, b * n_out, (b + 1) * n_out, b * n_out + begin, b * n_out + begin + reach, scratch.g)
    return pointer(scratch.g, 0)


@njit(inline="always")
def _gradient_chunk(g, n_out, source, magnitudes, parts, scratch, b, frames, needs, d_audio, d_magnitudes, carry):
    """Gradients of some frames of row b; `needs` says which to write, d_audio or d_magnitudes.

    carry: with overlap, what the last frame adds to the magnitudes of the frame after the chunk.
    """
    design, layout, _ = parts
    block, n_bands, row = SAMPLES[-1] * register_width(g), design.n + 1, b * layout.n_frames
    if layout.overlap and needs[1]:
        zero(d_magnitudes, (row + frames[0]) * n_bands, (frames[1] - frames[0]) * n_bands)
    for first in range(frames[0], frames[1], FRAMES):
        group = first, min(first + FRAMES, frames[1])
        origin = layout.starts[first]
        samples = pointer(g, 0)
        if needs[1]:
            samples = _samples_of_group(source, b, layout, group, scratch)
        for phase in range(1 + layout.overlap):
            if needs[0]:
                _design_group(magnitudes, b, layout, group, phase, design, scratch)
            for t in range(group[0], group[1]):
                h = pointer(scratch.h, (t - first) * scratch.h_row)
                zero(scratch.dh, 0, scratch.g_size - block)
                for begin in range(layout.starts[t], layout.starts[t + 1], block):
                    size = min(block, layout.starts[t + 1] - begin)
                    fade = _fade(layout, t, begin, phase)
                    if needs[1]:
                        _read_block(samples, begin - origin, size, layout, fade, scratch)
                    seen = _g_of_block(g, b, n_out, begin - layout.delay, scratch)
                    zero(scratch.dx, 0, block)
                    correlate(scratch.x, size, h, design.n_taps, seen, needs[0], scratch.dh, scratch.dx)
                    if needs[0]:
                        at = b * layout.n_samples + begin
                        if layout.overlap:
                            multiply(layout.fades, fade, scratch.dx, size)
                        if phase == 0:
                            copy(scratch.dx, 0, d_audio, at, size)
                        else:
                            add(scratch.dx, 0, d_audio, at, size)
                if needs[1]:
                    fold_taps(t - first, design, scratch)
            if needs[1]:
                bands_of_folds(design, scratch)
                for t in range(group[0], group[1]):
                    at, target = (t - first) * n_bands, min(t + phase, layout.n_frames - 1)
                    if not layout.overlap:
                        copy(scratch.bands, at, d_magnitudes, (row + target) * n_bands, n_bands)
                    elif target < frames[1]:
                        add(scratch.bands, at, d_magnitudes, (row + target) * n_bands, n_bands)
                    else:
                        copy(scratch.bands, at, carry, 0, n_bands)


# -------------------------------------------------------------------------------- kernels: rows are chunks of all items


@kernel
def _filter_chunks(
    audio, seeds, offset, magnitudes, tables, numbers, chunks, rooms, tails, n_out, out,
    tickets, n_rows, n_chunks, n_threads, team,
):  # fmt: skip
    """Filter all chunks of all rows; tails [batch, chunks, n_taps - 1]: what rings on after each."""
    if enter_on_team(n_threads, team):
        return
    audio, seeds, magnitudes, tables, numbers, rooms, tails, out = borrowed(
        (audio, seeds, magnitudes, tables, numbers, rooms, tails, out)
    )
    source, parts = Source(audio, seeds, offset), parts_of((tables, numbers))
    scratch = scratch_of(rooms[next_place(tickets)], parts[2])
    i, end = next_chunk(tickets, n_rows, n_chunks)
    while i < end:
        b, chunk = i // len(chunks), i % len(chunks)
        frames, tail = (chunks[chunk, 0], chunks[chunk, 1]), pointer(tails, i * tails.shape[2])
        _filter_chunk(source, magnitudes, parts, scratch, b, frames, tail, n_out, out)
        i, end = next_chunk(tickets, n_rows, n_chunks)


@kernel
def _gradient_chunks(
    g, n_out, audio, seeds, offset, magnitudes, tables, numbers, chunks, rooms, needs, d_audio, d_magnitudes, carries,
    tickets, n_rows, n_chunks, n_threads, team,
):  # fmt: skip
    """Gradients of all chunks of all rows; carries [batch, chunks, bands]: see _gradient_chunk."""
    if enter_on_team(n_threads, team):
        return
    g, audio, seeds, magnitudes, tables, numbers, rooms, d_audio, d_magnitudes, carries = borrowed(
        (g, audio, seeds, magnitudes, tables, numbers, rooms, d_audio, d_magnitudes, carries)
    )
    source, parts = Source(audio, seeds, offset), parts_of((tables, numbers))
    scratch = scratch_of(rooms[next_place(tickets)], parts[2])
    i, end = next_chunk(tickets, n_rows, n_chunks)
    while i < end:
        b, chunk = i // len(chunks), i % len(chunks)
        frames, carry = (chunks[chunk, 0], chunks[chunk, 1]), pointer(carries, i * carries.shape[2])
        _gradient_chunk(g, n_out, source, magnitudes, parts, scratch, b, frames, needs, d_audio, d_magnitudes, carry)
        i, end = next_chunk(tickets, n_rows, n_chunks)


# ----------------------------------------------------------------------------------------------------- public functions


def audio_source(audio: np.ndarray) -> Source:
    """Filter this audio, [batch, n_samples]."""
    return Source(audio.reshape(-1), np.empty(0, np.int64), 0)


def noise_source(seeds: np.ndarray, offset: int, dtype: np.dtype) -> Source:
    """Filter the noise of seeds, int64 [batch], from sample `offset` of its stream on."""
    return Source(np.empty(0, dtype), seeds, offset)


def filter_source(
    source: Source, magnitudes, n_samples: int, window_size: int, out, n_threads: int = 1, overlap: bool = False
) -> None:
    """out [batch, n_out] = the source filtered by magnitudes [batch, frames, bands], after the delay."""
    batch, n_frames, n_bands = magnitudes.shape
    plan = make_plan(n_samples, n_frames, n_bands, window_size, overlap, out.dtype.name)
    tails = np.empty((batch, len(plan.chunks), plan.n_taps - 1), out.dtype)
    n_threads = _worth_threads(plan, batch * n_samples, n_threads, batch)
    rooms, results = rooms_of(plan, n_threads), (tails, out.shape[1], out.reshape(-1))
    args = *source, magnitudes.reshape(-1), plan.tables, plan.numbers, plan.chunks, rooms, *results
    threads.enter(_filter_chunks, args, batch * len(plan.chunks), batch * len(plan.chunks), n_threads)
    _add_tails(tails, plan.ends, n_samples, plan.delay, out)


def gradients(
    g,
    source: Source,
    magnitudes,
    n_samples: int,
    window_size: int,
    d_audio,
    d_magnitudes,
    n_threads: int = 1,
    overlap: bool = False,
) -> None:
    """d_audio and d_magnitudes = the gradients of sum(g * out); None for one not needed.

    magnitudes may be None if d_audio is.
    """
    batch, n_frames, n_bands = (magnitudes if magnitudes is not None else d_magnitudes).shape
    plan = make_plan(n_samples, n_frames, n_bands, window_size, overlap, g.dtype.name)
    needs, n_out, nothing = (d_audio is not None, d_magnitudes is not None), g.shape[1], np.empty(0, g.dtype)
    flat_g, flat, *results = (nothing if x is None else x.reshape(-1) for x in (g, magnitudes, d_audio, d_magnitudes))
    carries = np.zeros((batch, len(plan.chunks), n_bands), g.dtype)
    n_threads = _worth_threads(plan, batch * n_samples, n_threads, batch)
    rooms = rooms_of(plan, n_threads)
    args = flat_g, n_out, *source, flat, plan.tables, plan.numbers, plan.chunks, rooms, needs, *results, carries
    threads.enter(_gradient_chunks, args, batch * len(plan.chunks), batch * len(plan.chunks), n_threads)
    if overlap and d_magnitudes is not None:
        d_magnitudes[:, plan.chunks[1:, 0]] += carries[:, :-1]


def _worth_threads(plan: Plan, n_samples: int, n_threads: int, batch: int) -> int:
    """How many threads n_samples are worth."""
    return min(n_threads, batch * len(plan.chunks)) if n_samples * plan.n_taps > WORK_PER_CHUNK else 1
