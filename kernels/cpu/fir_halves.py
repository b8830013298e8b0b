"""Frequency-sampled filter on the CPU where frames are as long as their responses reach: shorter transforms.

Where fastddsp.kernels.cpu.fir takes N >= 3 M numbers for a frame of M samples and lags -(M - 1) to M - 1, 2 M do. Taps
that are symmetric are a causal half and its mirror image,

    h[l] = s[l] + s[-l],   s[0] = h[0] / 2,   s[l] = 0 for l < 0

and products of M samples with M taps have less than 2 M numbers. With values x and s of polynomials modulo t^M = i,
those of what frame u sounds from its beginning on are x s; and of what it sounds from M samples before, t^M x conj(s).
Both last 2 M samples. So what goes back to samples is, for every two frames that follow each other,

    y of frames u - 1 and u    +=    x_{u-1} s_{u-1} + i x_u conj(s_u)

The adjoint, with g_u the values of g there, a = g_{u+1} from the beginning of u on and b = -i g_u from M before it on:

    dx_u = conj(s_u) a + s_u b,   ds_u = conj(x_u) a + x_u conj(b)

The frame before that in lane j is in lane j - 1. What crosses from one group to the next, a number a row, is its carry.
Chunks end with an empty frame, whose y is their tail. Backward they go from their last group to the first, since lane
j wants g of lane j + 1.

Cost of a frame: three transforms of 2 M numbers forward, five backward, all but one of each with zeros or nothing asked
for in half of its numbers; and in all three cosine transforms.

Source: Wefers, Partitioned convolution algorithms for real-time auralization, 2015, on uniform partitions.
"""

from numba import njit

from fastddsp.kernels.cpu.compile import kernel
from fastddsp.kernels.cpu.copies import claim_run, clear_rows, copy, zero
from fastddsp.kernels.cpu.fir_design import bands_of_half, half_of_bands
from fastddsp.kernels.cpu.fir_layout import group_at, parts_of, place_bands, place_heard, scratch_of
from fastddsp.kernels.cpu.fir_source import Source, samples
from fastddsp.kernels.cpu.fir_transform import LAST, back, for_blocks, forward, last_twiddles, there
from fastddsp.kernels.cpu.lanes import load_lanes, load_overlaps, overlap_lanes, store_lanes
from fastddsp.kernels.cpu.simd import borrowed, pointer, register_width
from fastddsp.kernels.cpu.team import enter_on_team, next_chunk, next_place

# ------------------------------------------------------------------------------------------ a block, in LLVM's language


def _carries(last, which: int, rows_before=None) -> list:
    """Addresses of the carries of a block's values: numbers, real parts and M further on imaginary parts."""
    at, carry = last.registers.at, last.registers.arguments[which][1]
    if rows_before is not None:
        carry = at(carry, last.builder.mul(rows_before, rows_before.type(last.registers.kind.count)))
    first = at(carry, last.builder.mul(last.block, last.block.type(LAST)))
    return [(at(first, k), at(at(first, last.half), k)) for k in range(LAST)]


@for_blocks
def _filtered(last):
    """z: numbers of x, then of y of the units before and these; values: of s; other: carry of x s."""
    registers, builder, end = last.registers, last.builder, last.registers.kind.count - 1
    values = []
    factors = zip(last.there(last.complexes(0)), last.complexes(1), _carries(last, 5), strict=True)
    for x, s, carry in factors:
        after, before = last.numbers.times(x, s, 1), last.numbers.times(x, s, -1)
        moved = [registers.moved_up(part, address) for part, address in zip(after, carry, strict=True)]
        for part, address in zip(after, carry, strict=True):
            registers.save_lane(part, end, address)
        values.append((builder.fsub(moved[0], before[1]), builder.fadd(moved[1], before[0])))
    last.back(values, 0)


def _around(last, which: int) -> list:
    """a + b and b - a of a block; argument `which`: rows of values of g, and then their carry."""
    numbers, rows = last.numbers, last.builder.mul(last.half, last.half.type(2))
    pairs = []
    for g, carry in zip(last.complexes(which), _carries(last, which, rows), strict=True):
        a = tuple(last.registers.moved_down(part, address) for part, address in zip(g, carry, strict=True))
        b = numbers.turned(g, -1)
        pairs.append((numbers.add(a, b), numbers.sub(b, a)))
    return pairs


@for_blocks
def _unfiltered(last):
    """z: numbers of dx; values: of s; other: of g."""
    values = []
    for (real, imaginary), (total, difference) in zip(last.complexes(1), _around(last, 5), strict=True):
        parts = (real, total[0], imaginary, difference[1]), (real, total[1], imaginary, difference[0])
        values.append((last.numbers.minus(*parts[0]), last.numbers.plus(*parts[1])))
    last.back(values, 0)


@for_blocks
def _correlated(last):
    """z: numbers of x; values: of g; other: numbers of ds."""
    values = []
    for (real, imaginary), (total, difference) in zip(last.there(last.complexes(0)), _around(last, 1), strict=True):
        parts = (real, total[0], imaginary, total[1]), (imaginary, difference[0], real, difference[1])
        values.append((last.numbers.plus(*parts[0]), last.numbers.minus(*parts[1])))
    last.back(values, 5)


# ------------------------------------------------------------------------------------------- rows of a group's units


@njit(inline="always")
def _halves(magnitudes, b, layout, design, scratch):
    """h: values of s of the units' frames. Overwrites x."""
    width, n_bands, row, half = register_width(scratch.h), design.n + 1, b * layout.n_frames, layout.transform.half
    place_bands(scratch.lanes, scratch.units, width, 0, layout.n_frames, row, n_bands, magnitudes.size)
    load_lanes(pointer(magnitudes, 0), scratch.lanes, layout.band_rows, scratch.stage, scratch.h)
    half_of_bands(scratch.h, design, scratch.x)
    clear_rows(scratch.h, design.n_lags, half * (1 if layout.is_real else 2))
    forward(scratch.h, layout.is_real, layout.transform)


# -------------------------------------------------------------------------------- kernels: rows are chunks of all items


@kernel
def filter_halves(
    audio, seeds, offset, magnitudes, tables, numbers, chunks, rooms, tails, n_out, out,
    tickets, n_rows, n_chunks, n_threads, team,
):  # fmt: skip
    """Filter all chunks of all rows; tails [batch, chunks, 2 M]: what is left of the last two units of each."""
    if enter_on_team(n_threads, team):
        return
    audio, seeds, magnitudes, tables, numbers, rooms, tails, out = borrowed(
        (audio, seeds, magnitudes, tables, numbers, rooms, tails, out)
    )
    source, parts = Source(audio, seeds, offset), parts_of((tables, numbers))
    (design, layout, _), scratch = parts, scratch_of(rooms, next_place(tickets), parts, tables)
    width, units, x, y, carry = register_width(out), scratch.units, scratch.x, scratch.y, scratch.g
    delay, transform, half = layout.delay, layout.transform, layout.transform.half
    i, end = next_chunk(tickets, n_rows, n_chunks)
    while i < end:
        b, frames = i // len(chunks), (chunks[i % len(chunks), 0], chunks[i % len(chunks), 1])
        last, tail = frames[1], pointer(tails, i * 2 * half)
        rings_on = pointer(tail, half)
        zero(carry, 0, 2 * half)
        zero(rings_on, 0, half)
        for first in range(frames[0], last + 1, width):
            n_units = group_at(layout, first, last, width, units)
            begin, low, high = units[0], max(units[0], delay), min(units[n_units], n_out + delay)
            _halves(magnitudes, b, layout, design, scratch)
            samples(source, b, layout, n_units, 0, scratch, x)
            there(x, layout.is_real, transform)
            _filtered(x, scratch.h, None, half, last_twiddles(transform), carry)
            back(x, False, transform)
            claim_run(out, b * n_out + low - delay, high - low)
            overlap_lanes(x, half, 2 * half, min(n_units + 1, width), rings_on)
            if n_units < width:
                for k in range(half):
                    tail[k] = x[k * width + n_units]
            target, whole = pointer(out, b * n_out + low - delay), high - low == width * half
            store_lanes(x, half, target if whole else y, half)
            if low < high and not whole:
                copy(y, low - begin, target, 0, high - low)
        i, end = next_chunk(tickets, n_rows, n_chunks)


@kernel
def gradients_by_halves(
    g, n_out, audio, seeds, offset, magnitudes, tables, numbers, chunks, rooms, needs,
    d_audio, d_magnitudes, tickets, n_rows, n_chunks, n_threads, team,
):  # fmt: skip
    """Gradients of all chunks of all rows; `needs` says which to write, d_audio or d_magnitudes."""
    if enter_on_team(n_threads, team):
        return
    g, audio, seeds, magnitudes, tables, numbers, rooms, d_audio, d_magnitudes = borrowed(
        (g, audio, seeds, magnitudes, tables, numbers, rooms, d_audio, d_magnitudes)
    )
    source, parts = Source(audio, seeds, offset), parts_of((tables, numbers))
    (design, layout, _), scratch = parts, scratch_of(rooms, next_place(tickets), parts, tables)
    width, n_bands, units, x, h, heard = register_width(g), design.n + 1, scratch.units, scratch.x, scratch.h, scratch.g
    delay, transform, half = layout.delay, layout.transform, layout.transform.half
    twiddles, carry = last_twiddles(transform), pointer(heard, 2 * half * width)
    i, end = next_chunk(tickets, n_rows, n_chunks)
    while i < end:
        b, frames = i // len(chunks), (chunks[i % len(chunks), 0], chunks[i % len(chunks), 1])
        begin, last, row = frames[0], frames[1], b * layout.n_frames
        zero(carry, 0, 2 * half)
        for first in range(begin + (last - begin) // width * width, begin - 1, -width):
            n_units = group_at(layout, first, last, width, units)
            is_full = n_units == width
            place_heard(scratch.lanes, units, width, delay, b * n_out, n_out)
            if is_full and delay <= units[0] and units[width] + half <= n_out + delay:
                load_overlaps(pointer(g, 0), scratch.lanes, half, 2 * half, heard)
            else:
                load_lanes(pointer(g, 0), scratch.lanes, 2 * half, scratch.stage, heard)
            forward(heard, False, transform)
            if needs[0]:
                _halves(magnitudes, b, layout, design, scratch)
                _unfiltered(x, h, None, half, twiddles, heard)
                back(x, layout.is_real, transform)
                target = pointer(d_audio, b * layout.n_samples + units[0])
                store_lanes(x, half, target if is_full else h, half)
                if not is_full:
                    copy(h, 0, target, 0, n_units * half)
            if needs[1]:
                samples(source, b, layout, n_units, 0, scratch, x)
                there(x, layout.is_real, transform)
                _correlated(x, heard, None, half, twiddles, h)
                back(h, layout.is_real, transform)
                bands_of_half(h, design, x)
                target, in_place = pointer(d_magnitudes, (row + first) * n_bands), is_full and width <= n_bands
                store_lanes(h, max(n_bands, width), target if in_place else x, n_bands)
                if not in_place:
                    copy(x, 0, target, 0, n_units * n_bands)
            for k in range(2 * half):
                carry[k] = heard[k * width]
        i, end = next_chunk(tickets, n_rows, n_chunks)
