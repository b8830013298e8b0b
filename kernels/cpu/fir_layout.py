"""Time-varying filters, cut into chunks of frames; the memory that a chunk needs; copies.

A chunk, one call of a thread, is whole frames, and these are taken in groups of FRAMES, whose impulse responses are
made together. Chunks depend on the problem alone, and so do results, to the last bit.
"""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import njit

from fastddsp.kernels import fir
from fastddsp.kernels.cpu.fir_design import FRAMES, N_NUMBERS, ROOM, design_of, make_design
from fastddsp.kernels.cpu.fir_tiles import SAMPLES, reach
from fastddsp.kernels.cpu.simd import REGISTER_BYTES, load_register, pointer, register_width, store
from fastddsp.kernels.cpu.team import rooms_apart

WORK_PER_CHUNK = 2**22  # multiply-adds forward: 40 us, long beside the 3 us of a call
QUAD = 4  # samples that the noise makes at a time
N_LAYOUT, N_SIZES = 5, 12  # numbers of Layout and of the sizes in a plan


class Plan(NamedTuple):
    """All that depends on the shape of a problem alone.

    Two flat arrays hold what kernels want of it: a tuple with their parts costs 10 us a call.
    """

    tables: np.ndarray  # Design's, then Layout's
    numbers: np.ndarray  # int64: Design's, Layout's, the sizes of the buffers in Scratch, where frames start
    chunks: np.ndarray  # int64 [chunks, 2]: the first frame of each and the one after its last
    ends: np.ndarray  # int64 [chunks]: the sample after each
    delay: int
    n_taps: int


class Layout(NamedTuple):
    """Which samples each frame holds, the same for every row of the batch."""

    n_samples: int
    n_frames: int
    longest: int  # samples in the longest frame
    delay: int  # samples cut from the start of y
    overlap: int  # 0 or 1
    fades: object  # pointer; for overlap [2, 2, longest]: a frame's weights, out and in, and those of a shorter one
    starts: object  # pointer to int64 [n_frames + 1]


class Scratch(NamedTuple):
    """Pointers to the buffers of a chunk, and some of their sizes."""

    x: object  # samples of a block, zeros after them
    g: object  # what a block sees of g, where that reaches beyond the ends
    dx: object  # gradients of a block's samples
    even: object  # FRAMES rows of E; so the next three
    odd: object
    even_bands: object
    odd_bands: object
    bands: object  # magnitudes of FRAMES frames, or their gradients
    noise: object  # of a group
    y: object  # of a group, and what follows it
    dh: object  # gradients of a frame's taps, zeros around them
    h: object  # FRAMES rows of taps, zeros around them
    h_row: int
    g_size: int
    y_size: int


# ------------------------------------------------------------------------------------------------------------- the plan


@lru_cache(maxsize=64)
def make_plan(n_samples: int, n_frames: int, n_bands: int, window_size: int, overlap: bool, dtype: str) -> Plan:
    """The plan for n_samples > 0 samples of "float32" or "float64"."""
    design, tables = make_design(n_bands, window_size, dtype)
    n_taps, starts = design[3], fir.frame_borders(n_samples, n_frames)
    longest = int(np.diff(starts).max())
    frames_of_work = WORK_PER_CHUNK * n_frames // (n_samples * n_taps * (1 + overlap))
    firsts = range(0, n_frames, max(frames_of_work // FRAMES, 1) * FRAMES)
    chunks = np.array([*pairwise([*firsts, n_frames])])
    groups = starts[np.minimum(np.arange(0, n_frames + FRAMES, FRAMES), n_frames)]
    sizes = _sizes(design, int(np.diff(groups).max()), REGISTER_BYTES // np.dtype(dtype).itemsize)
    layout = n_samples, n_frames, longest, fir.delay(n_taps), int(overlap)
    if overlap:
        rises = [np.pad(fir.fade_in(size), (0, longest - size)) for size in (longest, longest - 1)]
        tables = np.concatenate([tables, *(weights.astype(dtype) for rise in rises for weights in (1 - rise, rise))])
    numbers = np.array([*design, *layout, *sizes, *starts], np.int64)
    return Plan(tables, numbers, chunks, starts[chunks[:, 1]], fir.delay(n_taps), n_taps)


def _sizes(design: tuple[int, ...], longest_group: int, lanes: int) -> list[int]:
    """Numbers before the first tap in a row of taps, then those in each buffer of Scratch; whole registers."""
    n, _, room, n_taps, before, row_even, row_odd = design
    block, beyond = SAMPLES[-1] * lanes, reach(n_taps, lanes)
    lead = n + 2 * room - before  # lags that the window leaves out, and what a tile reads there
    row = lead + max(beyond, before + n + 2 * room)
    sizes = [lead, block, block + beyond, block, *2 * (FRAMES * row_even, FRAMES * row_odd)]
    sizes += [FRAMES * (n + 1) + room, longest_group + 2 * QUAD, longest_group + block + beyond, row]
    return [-(-size // lanes) * lanes for size in sizes]


@njit(forceinline=True, error_model="numpy")
def parts_of(plan):
    """Design, Layout and a pointer to the sizes, of the tables and numbers of a plan."""
    tables, numbers = plan
    design, end = design_of(numbers, tables)
    at, fades = pointer(numbers, N_NUMBERS), pointer(tables, end)
    sizes, starts = pointer(at, N_LAYOUT), pointer(at, N_LAYOUT + N_SIZES)
    return design, Layout(at[0], at[1], at[2], at[3], at[4], fades, starts), sizes


def rooms_of(plan: Plan, n_threads: int) -> np.ndarray:
    """Memory for the Scratch of every thread, [n_threads, numbers], zeros."""
    sizes = plan.numbers[N_NUMBERS + N_LAYOUT :][:N_SIZES]
    return rooms_apart(n_threads, int(sizes[1:].sum()) + FRAMES * int(sizes[-1]) + ROOM, plan.tables.dtype)


@njit(forceinline=True, error_model="numpy")
def scratch_of(workspace, sizes):
    """Scratch inside a workspace, buffers aligned to registers."""
    x = pointer(workspace, (-workspace.ctypes.data // workspace.itemsize) % register_width(workspace))
    g = pointer(x, sizes[1])
    dx = pointer(g, sizes[2])
    even = pointer(dx, sizes[3])
    odd = pointer(even, sizes[4])
    even_bands = pointer(odd, sizes[5])
    odd_bands = pointer(even_bands, sizes[6])
    bands = pointer(odd_bands, sizes[7])
    noise = pointer(bands, sizes[8])
    y = pointer(noise, sizes[9])
    dh = pointer(y, sizes[10] + sizes[0])
    h = pointer(dh, sizes[11])
    sums = even, odd, even_bands, odd_bands
    return Scratch(x, g, dx, *sums, bands, noise, y, dh, h, sizes[11], sizes[2], sizes[10])


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


@njit(forceinline=True)
def multiply(source, i, target, n):
    """target[:n] *= source[i : i + n]."""
    width = register_width(source)
    whole = n // width * width
    for k in range(0, whole, width):
        store(target, k, load_register(target, k) * load_register(source, i + k))
    for k in range(whole, n):
        target[k] *= source[i + k]


@njit(forceinline=True, error_model="numpy")
def copy_window(source, low, high, begin, end, target):
    """target = source[begin:end], with zeros before index `low` and from `high` on."""
    first, last = min(max(low, begin), end), max(min(high, end), begin)
    zero(target, 0, first - begin)
    copy(source, first, target, first - begin, last - first)
    zero(target, max(last, first) - begin, end - max(last, first))
