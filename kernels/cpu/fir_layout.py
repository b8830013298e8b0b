"""Time-varying filters, cut into chunks of frames, and these into units; the memory that a chunk needs.

A unit is what one lane filters: a frame, or if that is long one of its `blocks` equal pieces, of `block` samples at
most. A group is as many units as a register has lanes. A chunk, what a thread takes at a time, is whole frames. Chunks
do not depend on the number of threads, and so neither do results, to the last bit.

Frames of whole registers that are as long as a response reaches, and whose transforms would be longer than twice that,
are filtered by halves (see fir_halves). Their plan is that of 2 M + 1 taps, M of them before lag 0.
"""

import math
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastddsp.kernels import fir
from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.fir_design import N_NUMBERS, design_of, design_rows, make_design, window_parts
from fastddsp.kernels.cpu.fir_transform import (
    SMALLEST,
    Transform,
    has_real_step,
    make_transform,
    response_rows,
    transform_sizes,
    twiddles_of,
)
from fastddsp.kernels.cpu.simd import (
    REGISTER_BYTES,
    TILE_REGISTERS,
    cache_line,
    out_of_line,
    pointer,
    register_width,
)
from fastddsp.kernels.cpu.team import bytes_apart

ROWS_PER_CHUNK = 2048  # of its groups' transforms, half as many by halves: 15 us forward, long beside a chunk's 1 us
WORK_PER_THREAD = 2**18  # rows times lanes: about 60 us forward, long beside waking a thread
QUAD = 4  # samples that the noise makes at a time
N_LAYOUT, N_SIZES = 14, 4  # numbers of Layout and of the sizes in a plan


class Plan(NamedTuple):
    """All that depends on the shape of a problem alone.

    Two flat arrays hold what kernels want of it: a tuple with their parts costs 10 us a call.
    """

    by_halves: bool
    odd: bool | None  # None where taps are symmetric: kernels are compiled without their antisymmetric part then
    tables: np.ndarray  # Design's, the transform's twiddles, then fades
    numbers: np.ndarray  # int64: Design's, Layout's, the sizes of the buffers in Scratch, where frames start
    chunks: np.ndarray  # int64 [chunks, 2]: the first frame of each and the one after its last
    ends: np.ndarray  # int64 [chunks]: the number of the output after each
    delay: int
    n_taps: int
    work: int  # rows times lanes of one item of the batch
    room_bytes: int  # of a thread's Scratch


class Layout(NamedTuple):
    """Which samples each unit holds, the same for every row of the batch; and how units are transformed."""

    n_samples: int
    n_frames: int
    n_taps: int
    before: int  # taps of negative lag
    delay: int  # samples cut from the start of y
    overlap: int  # 0 or 1
    longest: int  # samples in the longest frame
    blocks: int  # units of a frame
    block: int  # samples in the longest unit
    block_rows: int  # the same, up to whole registers
    sound_rows: int  # numbers that it sounds, up to whole registers
    band_rows: int  # bands, up to whole registers
    is_even: bool  # whether all units have the same number of samples, and that is whole registers
    is_real: bool  # whether units have no more than M samples, half of their rows are empty, and steps make use of it
    transform: object  # Transform
    fades: object  # pointer; for overlap [5, longest]: a frame's weights, out and in, those of a shorter one, zeros
    starts: object  # pointer to int64 [n_frames + 1]


class Scratch(NamedTuple):
    """Pointers to the buffers of a chunk. Rows are registers, one lane a unit.

    What is on its way between magnitudes and responses, or to where it is stored, lies in whichever of x and h holds
    nothing else then: with g, tables and y they fill the first cache.
    """

    x: object  # 2 M rows or more: samples
    h: object  # responses, of two parts where taps are not symmetric
    g: object  # the output's gradient
    fades: object  # rows of weights, where frames overlap
    stage: object  # for load_lanes, as many numbers as h has
    noise: object  # of a group
    y: object  # what a group's units sound, and what rings on after them
    y_size: int
    lanes: object  # pointer to int64 starts, lows and highs of all lanes (see load_lanes)
    units: object  # pointer to int64: see group_at


# ------------------------------------------------------------------------------------------------------------- the plan


def _cheapest_transform(longest: int, n_taps: int) -> tuple[int, int]:
    """N of the transform, and units of a frame: those that take the fewest operations for the longest frame."""
    choices = {}
    for pieces in {1, *(2**p for p in range(1, max(longest, 1).bit_length()))}:
        for size in transform_sizes(-(-longest // pieces) + n_taps - 1):
            blocks = max(-(-longest // (size - n_taps + 1)), 1)
            choices[size, blocks] = blocks * size * math.log2(size)
    return min(choices, key=lambda choice: choices[choice])


@lru_cache(maxsize=64)
def make_plan(n_samples: int, n_frames: int, n_bands: int, window_size: int, overlap: bool, dtype: str) -> Plan:
    """The plan for n_samples > 0 samples; dtype: its `char`, as its name takes 4 us to find."""
    lanes = REGISTER_BYTES // np.dtype(dtype).itemsize
    first_lag, window = fir.taps(2 * (n_bands - 1), window_size)
    n_taps, starts = len(window), fir.frame_borders(n_samples, n_frames)
    delay = fir.delay(n_taps)
    longest = int(np.diff(starts).max())
    size, blocks = _cheapest_transform(longest, n_taps)
    parts = window_parts(n_bands, window_size)
    odd = True if np.abs(parts[1]).max() > 1e-15 else None  # else rounding
    are_equal = n_samples == n_frames * longest and longest % lanes == 0 and longest > SMALLEST
    by_halves = are_equal and not overlap and odd is None and parts.shape[1] <= longest and 2 * longest < size * blocks
    by_halves &= 2 * longest in transform_sizes(2 * longest)
    if by_halves:
        size, blocks = 2 * longest, 1
        delay += longest + first_lag
        first_lag, n_taps = -longest, size + 1
    block = -(-longest // blocks)
    block_rows = -(-block // lanes) * lanes
    design, tables = make_design(n_bands, window_size, 2 / size, by_halves)
    first_radix, twiddles = make_transform(size)
    fades = np.empty(0)
    if overlap:
        rises = [np.pad(fir.fade_in(length), (0, longest - length)) for length in (longest, longest - 1)]
        fades = np.concatenate([*(weights for rise in rises for weights in (1 - rise, rise)), np.zeros(longest)])
    if by_halves:  # whole groups of frames and an empty one
        frames_per_chunk = max(ROWS_PER_CHUNK // (2 * size), 1) * lanes - 1
    else:
        whole_groups = lanes // math.gcd(lanes, blocks)  # frames
        frames_per_chunk = max(ROWS_PER_CHUNK * lanes // (size * blocks * whole_groups), 1) * whole_groups
    chunks = np.array([*pairwise([*range(0, n_frames, frames_per_chunk), n_frames])])
    band_rows = -(-n_bands // lanes) * lanes
    layout = (
        n_samples, n_frames, n_taps, -first_lag, delay, int(overlap), longest, blocks, block, block_rows,
        -(-(block + n_taps - 1) // lanes) * lanes, band_rows, size // 2, first_radix,
    )  # fmt: skip
    carry_rows = size // lanes
    rows = (
        size + size // 2 + first_lag + carry_rows,
        band_rows,
        design_rows(n_bands),
        (2 if odd else 1) * response_rows(size // 2),
    )
    sizes = [
        (max(rows) + TILE_REGISTERS) * lanes,
        block_rows * lanes,
        lanes * block + size + TILE_REGISTERS * lanes,
        lanes * block + 2 * QUAD,
    ]
    numbers = np.array([*design, *layout, *sizes, *starts], np.int64)
    flat = np.concatenate([tables, twiddles, fades]).astype(dtype)
    work = n_frames * blocks * size * (1 + overlap)
    room_bytes = (4 * sizes[0] + sum(sizes[1:])) * flat.itemsize + (5 * lanes + 2) * numbers.itemsize
    ends = starts[chunks[:, 1]] - delay
    return Plan(by_halves, odd, flat, numbers, chunks, ends, delay, n_taps, work, bytes_apart(room_bytes))


@helper(forceinline=True)
def parts_of(plan):
    """Design, Layout and a pointer to the sizes, of the tables and numbers of a plan."""
    tables, numbers = plan
    design, end = design_of(numbers, pointer(tables, 0))
    at = pointer(numbers, N_NUMBERS)
    sizes, starts = pointer(at, N_LAYOUT), pointer(at, N_LAYOUT + N_SIZES)
    transform = Transform(at[N_LAYOUT - 2], at[N_LAYOUT - 1], pointer(tables, end))
    fades = twiddles_of(transform, transform.half)
    is_even = at[8] == at[9] and at[0] == at[1] * at[7] * at[8]
    return design, Layout(
        at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8], at[9], at[10], at[11], is_even,
        at[9] <= transform.half and has_real_step(transform.first), transform, fades, starts,
    ), sizes  # fmt: skip


def rooms_of(plan: Plan, n_threads: int) -> np.ndarray:
    """Memory for the Scratch of every thread, a row each.

    Nothing is read that has not been written: clearing it would cost 10 us a call.
    """
    return np.empty((n_threads, plan.room_bytes), np.uint8)


@helper(forceinline=True)
def scratch_of(rooms, own, parts, like):
    """Scratch in row `own` of rooms, of numbers like those of `like`; buffers but for noise begin with registers."""
    _, layout, sizes = parts
    x = cache_line(rooms, own * rooms.shape[1], like)
    h = pointer(x, sizes[0])
    g = pointer(h, sizes[0])
    stage = pointer(g, sizes[0])
    fades = pointer(stage, sizes[0])
    y = pointer(fades, sizes[1])
    noise = pointer(y, sizes[2])
    lanes = cache_line(noise, sizes[3], layout.starts)
    return Scratch(x, h, g, fades, stage, noise, y, sizes[2], lanes, pointer(lanes, 3 * register_width(like)))


# ---------------------------------------------------------------------------------------------------------------- units


@helper
def group_at(layout, first, last, width, units):
    """Units first, first + 1, ... of a group, but none from `last` on: how many there are.

    units: pointer to int64, filled with where each lane's samples begin, and end; then with their frames.
    """
    out_of_line()
    if layout.is_even and layout.blocks == 1:  # a vector loop
        for j in range(width + 1):
            units[width + 1 + j] = min(first + j, last)
            units[j] = min(first + j, last) * layout.block
        return min(width, last - first)
    frame, piece = first // layout.blocks, first % layout.blocks
    for j in range(width + 1):
        inside = frame < layout.n_frames
        units[j] = min(layout.starts[frame] + piece * layout.block, layout.starts[frame + inside])
        units[width + 1 + j] = frame
        if first + j < last:  # the lanes that are left are empty, where the last unit ends
            piece += 1
            if piece == layout.blocks:
                frame, piece = frame + 1, 0
    return min(width, last - first)


@helper
def place_samples(lanes, units, width, offset):
    """Lanes of the samples of a group's units; offset: where sample 0 is in their array."""
    out_of_line()
    for j in range(width):
        lanes[j] = lanes[width + j] = offset + units[j]
        lanes[2 * width + j] = offset + units[j + 1]


@helper
def place_heard(lanes, units, width, delay, row, n_out):
    """Lanes of what is heard of a group's units, and beyond: of n_out numbers from `row` on."""
    out_of_line()
    for j in range(width):
        lanes[j] = row + units[j] - delay
        lanes[width + j] = row
        lanes[2 * width + j] = row + n_out


@helper
def place_sound(lanes, units, width):
    """Where what a group's units sound begins, counted from the first."""
    out_of_line()
    for j in range(width):
        lanes[j] = units[j] - units[0]


@helper
def place_bands(lanes, units, width, phase, n_frames, row, n_bands, n_numbers):
    """Lanes of the magnitudes of a group's units; in phase 1 of the frames after theirs, the last one held.

    Frames follow each other, `row` before the n_frames of this item, in an array of n_numbers.
    """
    out_of_line()
    for j in range(width):
        lanes[j] = (row + min(units[width + 1 + j] + phase, n_frames - 1)) * n_bands
        lanes[width + j] = 0
        lanes[2 * width + j] = n_numbers


@helper
def place_fades(lanes, units, width, layout, phase):
    """Lanes of the weights of the samples of a group's units: fading out in phase 0, in in phase 1."""
    out_of_line()
    for j in range(width):
        frame = min(units[width + 1 + j], layout.n_frames - 1)
        start = layout.starts[frame]
        shorter = 1 if layout.starts[frame + 1] - start == layout.longest - 1 else 0  # of other lengths the last alone
        lanes[j] = (2 * shorter + phase) * layout.longest + min(units[j] - start, layout.longest)
        lanes[width + j] = 0
        lanes[2 * width + j] = 5 * layout.longest
