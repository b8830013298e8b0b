"""Frequency-sampled time-varying filter on the CPU: forward, and backward to audio and magnitudes, in one pass each.

    h_t = window * cosine transform of X_t                      (fastddsp.kernels.fir has the equations)
    y[n + l] += x[n] h_t[l]
    dx[n]    = sum_l h_t[l] g[n + l],   dh_t[l] = sum_n x[n] g[n + l],   dX_t = transposed transform of window * dh_t

y, g: before the delay is cut. x may be noise, made on the way (fastddsp.kernels.cpu.noise). With overlap every frame
is filtered twice: faded out by its own h_t, and faded in by h_{t+1}.

Every lane of a register filters a unit of its own, a frame or a piece of one, by products of polynomials
(fastddsp.kernels.cpu.fir_transform) with the response of its taps (fir_response, fir_design). Responses and transforms
live in the cache only. Cost of a unit of H samples and L taps, N >= H + L - 1: two and a half transforms of N real
numbers forward, four backward, where windows are as long as responses are, else three and five; and in all three cosine
transforms; with overlap twice that. Frames that are as long as responses reach go a shorter way (fir_halves).
"""

import numpy as np
from numba import njit

from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.copies import add, add_tails, claim_run, clear, copy, negate_rows, zero
from fastddsp.kernels.cpu.fir_design import bands_of_taps, taps_of_bands, weigh_sums, weigh_taps
from fastddsp.kernels.cpu.fir_halves import filter_halves, gradients_by_halves
from fastddsp.kernels.cpu.fir_layout import (
    WORK_PER_THREAD,
    Plan,
    group_at,
    make_plan,
    parts_of,
    place_bands,
    place_heard,
    place_sound,
    rooms_of,
    scratch_of,
)
from fastddsp.kernels.cpu.fir_response import response_of_taps, stays, taps_of_response
from fastddsp.kernels.cpu.fir_source import Source, fade, samples
from fastddsp.kernels.cpu.fir_transform import correlated, filtered, forward, n_parts, response_rows, unfiltered
from fastddsp.kernels.cpu.lanes import add_lanes, load_lanes, load_overlaps, overlap_lanes, store_lanes
from fastddsp.kernels.cpu.simd import borrowed, pointer, register_width
from fastddsp.kernels.cpu.team import enter_on_team, next_chunk, next_place

# ------------------------------------------------------------------------------------------- rows of a group's units


@helper
def _rooms(part, odd, layout, scratch):
    """Where a response's part is; and three rooms for its way from magnitudes, and back to them.

    The first holds magnitudes, then taps; the second r. Steps from taps to response go to and fro between it and the
    third, to end where the response is: so the first is that place, or x, by their number.
    """
    response = pointer(scratch.h, part * response_rows(layout.transform.half) * register_width(scratch.h))
    first, second = (response, scratch.x) if stays(layout.transform) else (scratch.x, response)
    return response, first, second if odd is None else scratch.stage, second


@njit(inline="always")
def _responses(magnitudes, b, layout, design, odd, phase, scratch):
    """h: responses of the units' frames, in phase 1 of the frames after them. Overwrites x."""
    width, n_bands, row, half = register_width(scratch.h), design.n + 1, b * layout.n_frames, layout.transform.half
    place_bands(scratch.lanes, scratch.units, width, phase, layout.n_frames, row, n_bands, magnitudes.size)
    _, bands, r, _ = _rooms(0, odd, layout, scratch)
    load_lanes(pointer(magnitudes, 0), scratch.lanes, layout.band_rows, scratch.stage, bands)
    taps_of_bands(bands, design, r)
    for part in range(n_parts(odd)):
        _, taps, r, other = _rooms(part, odd, layout, scratch)
        weigh_taps(r, part, design, half, taps)
        response_of_taps(taps, other, layout.transform)


@njit(inline="always")
def _bands(layout, design, odd, scratch):
    """Rows of the units' magnitudes' gradients, from h: the responses of their taps'; and a room. Overwrites x."""
    for part in range(n_parts(odd)):
        response, taps, r, _ = _rooms(part, odd, layout, scratch)
        taps_of_response(response, scratch.x, layout.transform)
        weigh_sums(taps, part, design, layout.transform.half, r)
    _, bands, r, _ = _rooms(0, odd, layout, scratch)
    bands_of_taps(r, design, bands)
    return bands, r


# -------------------------------------------------------------------------------- kernels: rows are chunks of all items


@kernel
def _filter_chunks(
    audio, seeds, offset, magnitudes, tables, numbers, chunks, rooms, tails, n_out, out,
    odd, tickets, n_rows, n_chunks, n_threads, team,
):  # fmt: skip
    """Filter all chunks of all rows; tails [batch, chunks, n_taps - 1]: what rings on after each."""
    if enter_on_team(n_threads, team):
        return
    audio, seeds, magnitudes, tables, numbers, rooms, tails, out = borrowed(
        (audio, seeds, magnitudes, tables, numbers, rooms, tails, out)
    )
    source, parts = Source(audio, seeds, offset), parts_of((tables, numbers))
    (design, layout, _), scratch = parts, scratch_of(rooms, next_place(tickets), parts, tables)
    width, units, y, half, block = register_width(out), scratch.units, scratch.y, layout.transform.half, layout.block
    delay, n_tail, in_rows = layout.delay, layout.n_taps - 1, layout.is_even and not layout.overlap
    sound = pointer(scratch.x, (half - layout.before) * width)  # the row where a filtered unit begins
    i, end = next_chunk(tickets, n_rows, n_chunks)
    while i < end:
        b, frames = i // len(chunks), (chunks[i % len(chunks), 0], chunks[i % len(chunks), 1])
        last, tail = frames[1] * layout.blocks, pointer(tails, i * n_tail)
        if in_rows:
            zero(tail, 0, n_tail)
        else:
            clear(y, 0, scratch.y_size)
        for first in range(frames[0] * layout.blocks, last, width):
            n_units = group_at(layout, first, last, width, units)
            begin, after = units[0], units[n_units]
            low, high = max(begin, delay), min(after, n_out + delay)
            for phase in range(1 + layout.overlap):
                _responses(magnitudes, b, layout, design, odd, phase, scratch)
                samples(source, b, layout, n_units, phase, scratch, scratch.x)
                filtered(scratch.x, layout.is_real, scratch.h, odd, layout.transform)
                negate_rows(scratch.x, 0, layout.sound_rows - half - layout.before, 2 * half)
                if not in_rows:
                    place_sound(scratch.lanes, units, width)
                    add_lanes(sound, block + n_tail, y, scratch.lanes)
            whole = in_rows and high - low == width * block
            if in_rows:
                claim_run(out, b * n_out + low - delay, high - low)
                overlap_lanes(sound, block, block + n_tail, n_units, tail)
                store_lanes(sound, block, pointer(out, b * n_out + low - delay) if whole else y, block)
            if low < high and not whole:
                copy(y, low - begin, out, b * n_out + low - delay, high - low)
            if not in_rows:
                copy(y, after - begin, y, 0, n_tail)
                clear(y, n_tail, scratch.y_size)
        if not in_rows:
            copy(y, 0, tail, 0, n_tail)
        i, end = next_chunk(tickets, n_rows, n_chunks)


@kernel
def _gradient_chunks(
    g, n_out, audio, seeds, offset, magnitudes, tables, numbers, chunks, rooms, needs,
    d_audio, d_magnitudes, carries, odd, tickets, n_rows, n_chunks, n_threads, team,
):  # fmt: skip
    """Gradients of all chunks of all rows; `needs` says which to write, d_audio or d_magnitudes.

    carries [batch, chunks, bands]: with overlap, what a chunk's last frame adds to the magnitudes of the one after it.
    """
    if enter_on_team(n_threads, team):
        return
    g, audio, seeds, magnitudes, tables, numbers, rooms, d_audio, d_magnitudes, carries = borrowed(
        (g, audio, seeds, magnitudes, tables, numbers, rooms, d_audio, d_magnitudes, carries)
    )
    source, parts = Source(audio, seeds, offset), parts_of((tables, numbers))
    (design, layout, _), scratch = parts, scratch_of(rooms, next_place(tickets), parts, tables)
    width, n_bands, units, x, h = register_width(g), design.n + 1, scratch.units, scratch.x, scratch.h
    n_numbers, begin = 2 * layout.transform.half, layout.transform.half - layout.before
    heard = pointer(scratch.g, begin * width)
    i, end = next_chunk(tickets, n_rows, n_chunks)
    while i < end:
        b, frames = i // len(chunks), (chunks[i % len(chunks), 0], chunks[i % len(chunks), 1])
        last, row, carry = frames[1] * layout.blocks, b * layout.n_frames, pointer(carries, i * n_bands)
        if needs[1] and layout.overlap:
            zero(d_magnitudes, (row + frames[0]) * n_bands, (frames[1] - frames[0]) * n_bands)
        for first in range(frames[0] * layout.blocks, last, width):
            n_units = group_at(layout, first, last, width, units)
            in_rows, low, high = layout.is_even and n_units == width, units[0], units[width - 1] + n_numbers
            place_heard(scratch.lanes, units, width, layout.delay, b * n_out, n_out)
            if in_rows and layout.delay <= low and high <= n_out + layout.delay:
                load_overlaps(pointer(g, 0), scratch.lanes, layout.block, n_numbers, heard)
            else:
                load_lanes(pointer(g, 0), scratch.lanes, n_numbers, scratch.stage, heard)
            negate_rows(scratch.g, n_numbers, n_numbers + begin, 0)
            forward(scratch.g, False, layout.transform)
            for phase in range(1 + layout.overlap):
                if needs[0]:
                    _responses(magnitudes, b, layout, design, odd, phase, scratch)
                    unfiltered(scratch.g, h, odd, layout.is_real, layout.transform, x)
                    if layout.overlap:
                        fade(layout, phase, scratch, x)
                    in_place = in_rows and phase == 0
                    if in_place:
                        store_lanes(x, layout.block, pointer(d_audio, b * layout.n_samples + units[0]), layout.block)
                    else:
                        store_lanes(x, layout.block_rows, h, layout.block_rows)
                    for j in range(0 if in_place else n_units):
                        at, target = j * layout.block_rows, b * layout.n_samples + units[j]
                        if phase == 0:
                            copy(h, at, d_audio, target, units[j + 1] - units[j])
                        else:
                            add(h, at, d_audio, target, units[j + 1] - units[j])
                if needs[1]:
                    samples(source, b, layout, n_units, phase, scratch, x)
                    correlated(x, layout.is_real, scratch.g, odd, layout.transform, h)
                    bands, room = _bands(layout, design, odd, scratch)
                    in_place = not layout.overlap and layout.blocks == 1 and n_units == width <= n_bands
                    if in_place:
                        store_lanes(bands, n_bands, pointer(d_magnitudes, (row + first) * n_bands), n_bands)
                    else:
                        store_lanes(bands, layout.band_rows, room, layout.band_rows)
                    for j in range(0 if in_place else n_units):
                        frame = min(units[width + 1 + j] + phase, layout.n_frames - 1)
                        at, target = j * layout.band_rows, (row + frame) * n_bands
                        if not layout.overlap and (first + j) % layout.blocks == 0:
                            copy(room, at, d_magnitudes, target, n_bands)
                        elif frame < frames[1]:
                            add(room, at, d_magnitudes, target, n_bands)
                        else:
                            add(room, at, carry, 0, n_bands)
        i, end = next_chunk(tickets, n_rows, n_chunks)


# ----------------------------------------------------------------------------------------------------- public functions


def filter_source(
    source: Source, magnitudes, n_samples: int, window_size: int, out, n_threads: int = 1, overlap: bool = False
) -> None:
    """out [batch, n_out] = the source filtered by magnitudes [batch, frames, bands], after the delay."""
    batch, n_frames, n_bands = magnitudes.shape
    plan = make_plan(n_samples, n_frames, n_bands, window_size, overlap, out.dtype.char)
    tails = np.empty((batch, len(plan.chunks), plan.n_taps - 1), out.dtype)
    n_threads, n_chunks = _worth_threads(plan, n_threads, batch), batch * len(plan.chunks)
    results = tails, out.shape[1], out.reshape(-1)
    args = *source, magnitudes.reshape(-1), plan.tables, plan.numbers, plan.chunks, rooms_of(plan, n_threads), *results
    if plan.by_halves:
        threads.enter(filter_halves, args, n_chunks, n_chunks, n_threads)
    else:
        threads.enter(_filter_chunks, (*args, plan.odd), n_chunks, n_chunks, n_threads)
    if plan.delay < 0:
        out[:, : -plan.delay] = 0
    add_tails(tails, plan.ends, out)


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
    n_threads, n_chunks = _worth_threads(plan, n_threads, batch), batch * len(plan.chunks)
    fixed = flat_g, n_out, *source, flat, plan.tables, plan.numbers, plan.chunks, rooms_of(plan, n_threads), needs
    if plan.by_halves:
        threads.enter(gradients_by_halves, (*fixed, *results), n_chunks, n_chunks, n_threads)
        return
    carries = np.zeros((batch, len(plan.chunks), n_bands), g.dtype)
    threads.enter(_gradient_chunks, (*fixed, *results, carries, plan.odd), n_chunks, n_chunks, n_threads)
    if overlap and d_magnitudes is not None:
        d_magnitudes[:, plan.chunks[1:, 0]] += carries[:, :-1]


def _worth_threads(plan: Plan, n_threads: int, batch: int) -> int:
    """How many threads a batch of items is worth."""
    return min(n_threads, batch * len(plan.chunks)) if batch * plan.work > WORK_PER_THREAD else 1
