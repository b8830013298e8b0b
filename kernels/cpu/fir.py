"""Frequency-sampled time-varying filter on the CPU: forward, and backward to audio and magnitudes, in one pass each.

    h_t = window * cosine transform of X_t                      (fastddsp.kernels.fir has the equations)
    y[n + l] += x[n] h_t[l]
    dx[n]    = sum_l h_t[l] g[n + l],   dh_t[l] = sum_n x[n] g[n + l],   dX_t = transposed transform of window * dh_t

y, g: before the delay is cut. x may be noise, made on the way (fastddsp.kernels.cpu.noise). With overlap every frame
is filtered twice: faded out by its own h_t, and faded in by h_{t+1}.

Every lane of a register filters a unit of its own, a frame or a piece of one, by products of polynomials
(fastddsp.kernels.cpu.fir_transform): x and h, then g with either in reverse. Impulse responses and transforms live in
the cache only. Cost of a unit of H samples and L taps, N >= H + L - 1: three transforms of N real numbers forward, five
backward, and in all three cosine transforms (fastddsp.kernels.cpu.fir_design); with overlap twice that.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.copies import add, add_tails, claim_run, clear, clear_rows, copy, weigh, zero
from fastddsp.kernels.cpu.fir_design import bands_of_taps, taps_of_bands
from fastddsp.kernels.cpu.fir_layout import (
    QUAD,
    WORK_PER_THREAD,
    Plan,
    group_at,
    make_plan,
    parts_of,
    place_bands,
    place_fades,
    place_heard,
    place_samples,
    place_sound,
    rooms_of,
    scratch_of,
)
from fastddsp.kernels.cpu.fir_transform import forward, multiply
from fastddsp.kernels.cpu.lanes import add_lanes, load_lanes, overlap_lanes, store_lanes
from fastddsp.kernels.cpu.noise import fill
from fastddsp.kernels.cpu.simd import borrowed, pointer, register_width
from fastddsp.kernels.cpu.team import enter_on_team, next_chunk, next_place


class Source(NamedTuple):
    """What is filtered: audio, or the noise of seeds (then audio is empty)."""

    audio: np.ndarray  # [batch * n_samples]
    seeds: np.ndarray  # int64 [batch]
    offset: int  # of the first sample in the noise's stream


# ------------------------------------------------------------------------------------------- rows of a group's units


@helper
def _samples(source, b, layout, n_units, phase, scratch, rows):
    """rows: the units' samples, of the audio or of noise that is made now; weighted where frames overlap."""
    width, units = register_width(rows), scratch.units
    samples, offset = pointer(source.audio, 0), b * layout.n_samples
    if source.seeds.size > 0:
        at = (source.offset + units[0]) % QUAD
        n = (at + units[n_units] - units[0] + QUAD - 1) // QUAD * QUAD
        fill(source.seeds[b], b, source.offset + units[0] - at, n, scratch.noise)
        samples, offset = scratch.noise, at - units[0]
    place_samples(scratch.lanes, units, width, offset)
    load_lanes(samples, scratch.lanes, layout.block_rows, scratch.stage, rows)
    if layout.overlap:
        _fade(layout, phase, scratch, rows)
    clear_rows(rows, layout.block_rows, layout.transform.half * (1 if layout.is_real else 2))


@helper
def _fade(layout, phase, scratch, rows):
    """Weigh the units' samples, in rows."""
    width = register_width(rows)
    place_fades(scratch.lanes, scratch.units, width, layout, phase)
    load_lanes(layout.fades, scratch.lanes, layout.block_rows, scratch.stage, scratch.fades)
    weigh(scratch.fades, rows, layout.block_rows * width)


@helper
def _taps(magnitudes, b, layout, design, phase, scratch):
    """h: taps of the units' frames, in phase 1 of the frames after them. Overwrites x."""
    width, n_bands, row = register_width(scratch.h), design.n + 1, b * layout.n_frames
    place_bands(scratch.lanes, scratch.units, width, phase, layout.n_frames, row, n_bands, magnitudes.size)
    load_lanes(pointer(magnitudes, 0), scratch.lanes, layout.band_rows, scratch.stage, scratch.x)
    taps_of_bands(scratch.x, design, scratch.h)
    clear_rows(scratch.h, design.n_taps, 2 * layout.transform.half)


# ------------------------------------------------------------------------------------------------------------- chunks


@njit(inline="always")
def _filter_chunk(source, magnitudes, parts, scratch, b, frames, tail, n_out, out):
    """Filter some frames of row b: their samples of `out`, and in `tail` what rings on after them."""
    design, layout, _ = parts
    width, units = register_width(out), scratch.units
    delay, n_tail, y, block = layout.delay, design.n_taps - 1, scratch.y, layout.block
    last, in_rows = frames[1] * layout.blocks, layout.is_even and not layout.overlap
    if in_rows:
        zero(tail, 0, n_tail)
    else:
        clear(y, 0, scratch.y_size)
    for first in range(frames[0] * layout.blocks, last, width):
        n_units = group_at(layout, first, last, width, units)
        origin, end = units[0], units[n_units]
        low, high = max(origin, delay), min(end, n_out + delay)
        for phase in range(1 + layout.overlap):
            _taps(magnitudes, b, layout, design, phase, scratch)
            forward(scratch.h, layout.transform)
            _samples(source, b, layout, n_units, phase, scratch, scratch.x)
            multiply(scratch.x, layout.is_real, scratch.h, 1, layout.transform)
            if not in_rows:
                place_sound(scratch.lanes, units, width)
                add_lanes(scratch.x, block + n_tail, y, scratch.lanes)
        whole = in_rows and high - low == width * block
        if in_rows:
            claim_run(out, b * n_out + low - delay, high - low)
            overlap_lanes(scratch.x, block, block + n_tail, n_units, tail)
            store_lanes(scratch.x, block, pointer(out, b * n_out + low - delay) if whole else y)
        if low < high and not whole:
            copy(y, low - origin, out, b * n_out + low - delay, high - low)
        if not in_rows:
            copy(y, end - origin, y, 0, n_tail)
            clear(y, n_tail, scratch.y_size)
    if not in_rows:
        copy(y, 0, tail, 0, n_tail)


@njit(inline="always")
def _gradient_chunk(g, n_out, source, magnitudes, parts, scratch, b, frames, needs, d_audio, d_magnitudes, carry):
    """Gradients of some frames of row b; `needs` says which to write, d_audio or d_magnitudes.

    carry: with overlap, what the last frame adds to the magnitudes of the frame after the chunk.
    """
    design, layout, _ = parts
    width, n_bands, row, units = register_width(g), design.n + 1, b * layout.n_frames, scratch.units
    last = frames[1] * layout.blocks
    if needs[1] and layout.overlap:
        zero(d_magnitudes, (row + frames[0]) * n_bands, (frames[1] - frames[0]) * n_bands)
    for first in range(frames[0] * layout.blocks, last, width):
        n_units = group_at(layout, first, last, width, units)
        place_heard(scratch.lanes, units, width, layout.delay, b * n_out, n_out)
        load_lanes(pointer(g, 0), scratch.lanes, 2 * layout.transform.half, scratch.stage, scratch.g)
        forward(scratch.g, layout.transform)
        for phase in range(1 + layout.overlap):
            if needs[0]:
                _taps(magnitudes, b, layout, design, phase, scratch)
                multiply(scratch.h, False, scratch.g, -1, layout.transform)
                if layout.overlap:
                    _fade(layout, phase, scratch, scratch.h)
                if phase == 0 and layout.is_even and n_units == width:
                    store_lanes(scratch.h, layout.block, pointer(d_audio, b * layout.n_samples + units[0]))
                else:
                    store_lanes(scratch.h, layout.block_rows, scratch.x)
                    for j in range(n_units):
                        at, target = j * layout.block_rows, b * layout.n_samples + units[j]
                        if phase == 0:
                            copy(scratch.x, at, d_audio, target, units[j + 1] - units[j])
                        else:
                            add(scratch.x, at, d_audio, target, units[j + 1] - units[j])
            if needs[1]:
                _samples(source, b, layout, n_units, phase, scratch, scratch.h)
                multiply(scratch.h, layout.is_real, scratch.g, -1, layout.transform)
                bands_of_taps(scratch.h, design, scratch.x)
                store_lanes(scratch.x, layout.band_rows, scratch.h)
                for j in range(n_units):
                    frame = min(units[width + 1 + j] + phase, layout.n_frames - 1)
                    at, target = j * layout.band_rows, (row + frame) * n_bands
                    if not layout.overlap and (first + j) % layout.blocks == 0:
                        copy(scratch.h, at, d_magnitudes, target, n_bands)
                    elif frame < frames[1]:
                        add(scratch.h, at, d_magnitudes, target, n_bands)
                    else:
                        add(scratch.h, at, carry, 0, n_bands)


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
    scratch = scratch_of(rooms, next_place(tickets), parts, tables)
    i, end = next_chunk(tickets, n_rows, n_chunks)
    while i < end:
        b, chunk = i // len(chunks), i % len(chunks)
        frames, tail = (chunks[chunk, 0], chunks[chunk, 1]), pointer(tails, i * tails.shape[2])
        _filter_chunk(source, magnitudes, parts, scratch, b, frames, tail, n_out, out)
        i, end = next_chunk(tickets, n_rows, n_chunks)


@kernel
def _gradient_chunks(
    g, n_out, audio, seeds, offset, magnitudes, tables, numbers, chunks, rooms, needs,
    d_audio, d_magnitudes, carries, tickets, n_rows, n_chunks, n_threads, team,
):  # fmt: skip
    """Gradients of all chunks of all rows; carries [batch, chunks, bands]: see _gradient_chunk."""
    if enter_on_team(n_threads, team):
        return
    g, audio, seeds, magnitudes, tables, numbers, rooms, d_audio, d_magnitudes, carries = borrowed(
        (g, audio, seeds, magnitudes, tables, numbers, rooms, d_audio, d_magnitudes, carries)
    )
    source, parts = Source(audio, seeds, offset), parts_of((tables, numbers))
    scratch = scratch_of(rooms, next_place(tickets), parts, tables)
    i, end = next_chunk(tickets, n_rows, n_chunks)
    while i < end:
        b, chunk = i // len(chunks), i % len(chunks)
        frames, carry = (chunks[chunk, 0], chunks[chunk, 1]), pointer(carries, i * carries.shape[2])
        _gradient_chunk(g, n_out, source, magnitudes, parts, scratch, b, frames, needs, d_audio, d_magnitudes, carry)
        i, end = next_chunk(tickets, n_rows, n_chunks)


# ----------------------------------------------------------------------------------------------------- public functions


_NO_SEEDS = np.empty(0, np.int64)


def audio_source(audio: np.ndarray) -> Source:
    """Filter this audio, [batch, n_samples]."""
    return Source(audio.reshape(-1), _NO_SEEDS, 0)


def noise_source(seeds: np.ndarray, offset: int, dtype: np.dtype) -> Source:
    """Filter the noise of seeds, int64 [batch], from sample `offset` of its stream on."""
    return Source(np.empty(0, dtype), seeds, offset)


def filter_source(
    source: Source, magnitudes, n_samples: int, window_size: int, out, n_threads: int = 1, overlap: bool = False
) -> None:
    """out [batch, n_out] = the source filtered by magnitudes [batch, frames, bands], after the delay."""
    batch, n_frames, n_bands = magnitudes.shape
    plan = make_plan(n_samples, n_frames, n_bands, window_size, overlap, out.dtype.char)
    tails = np.empty((batch, len(plan.chunks), plan.n_taps - 1), out.dtype)
    n_threads = _worth_threads(plan, n_threads, batch)
    results = tails, out.shape[1], out.reshape(-1)
    args = *source, magnitudes.reshape(-1), plan.tables, plan.numbers, plan.chunks, rooms_of(plan, n_threads), *results
    threads.enter(_filter_chunks, args, batch * len(plan.chunks), batch * len(plan.chunks), n_threads)
    _clear_outside(plan, n_samples, out)
    add_tails(tails, plan.ends, out)


def _clear_outside(plan: Plan, n_samples: int, out) -> None:
    """Zeros where no frame reaches."""
    before, end = -plan.delay, n_samples - plan.delay
    if before > 0:
        out[:, :before] = 0
    if end < out.shape[1]:
        out[:, max(end, 0) :] = 0


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
    plan = make_plan(n_samples, n_frames, n_bands, window_size, overlap, g.dtype.char)
    needs, n_out, nothing = (d_audio is not None, d_magnitudes is not None), g.shape[1], np.empty(0, g.dtype)
    flat_g, flat, *results = (nothing if x is None else x.reshape(-1) for x in (g, magnitudes, d_audio, d_magnitudes))
    carries = np.zeros((batch, len(plan.chunks), n_bands), g.dtype)
    n_threads = _worth_threads(plan, n_threads, batch)
    rooms = rooms_of(plan, n_threads)
    args = flat_g, n_out, *source, flat, plan.tables, plan.numbers, plan.chunks, rooms, needs, *results, carries
    threads.enter(_gradient_chunks, args, batch * len(plan.chunks), batch * len(plan.chunks), n_threads)
    if overlap and d_magnitudes is not None:
        d_magnitudes[:, plan.chunks[1:, 0]] += carries[:, :-1]


def _worth_threads(plan: Plan, n_threads: int, batch: int) -> int:
    """How many threads a batch of items is worth."""
    return min(n_threads, batch * len(plan.chunks)) if batch * plan.work > WORK_PER_THREAD else 1
