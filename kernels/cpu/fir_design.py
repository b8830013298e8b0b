"""From magnitudes to taps on the CPU, and back, some frames at a time.

    r[m] = sum''_{k <= n} X_k cos(pi k m / n),   h[l] = window[l] r[|lag of l|]            (fastddsp.kernels.fir)

The sum is a product with a matrix, whose numbers are shared by the frames of a group and stay in registers. An even n
halves it, since cos(pi k m / n) at m and at n - m differs by the sign (-1)^k:

    r[m] = E[m] + O[m],   r[n - m] = E[m] - O[m],   m <= n / 2,   E, O: the sum over even and over odd k

and 2100 multiply-adds remain of 4200 for 65 bands. The adjoint is the transpose: fold, multiply, interleave.
"""

from functools import lru_cache
from typing import NamedTuple

import llvmlite.ir as ir
import numpy as np
from numba import njit
from numba.core import types
from numba.core.extending import intrinsic

from fastddsp.kernels import fir
from fastddsp.kernels.cpu.fir_tiles import Registers
from fastddsp.kernels.cpu.simd import (
    REGISTER_BYTES,
    _fma,
    _registers,
    load_register,
    pointer,
    register_width,
    store,
)

FRAMES = 12 if REGISTER_BYTES == 64 else 4
"""Frames of a group: two registers of sums each, which with the factors fill the registers there are."""
ROOM = REGISTER_BYTES // 4


class Design(NamedTuple):
    """From magnitudes to taps. Matrices lie row by row, columns padded to whole registers: those of lags with more."""

    n: int  # bands - 1
    step: int  # 2 if even and odd bands are apart, else 1
    room: int  # numbers in the largest register
    n_taps: int
    before: int  # taps of negative lag
    row_even: int  # columns of the matrices
    row_odd: int
    even: object  # [n / step + 1 bands, lags from 0 to n / step], pointers
    odd: object  # [n / 2 bands, lags below n / 2], or empty
    even_back: object  # their transposes
    odd_back: object
    window: object  # at lag 0; of the lags from -n - room to n + room, zeros where there is no tap; with 1/n
    window_back: object  # the same, but half at lag 0, its own mirror image


N_NUMBERS = 7  # of Design, before the tables


def padded(n: int) -> int:
    """Numbers in as many registers as hold n numbers of the smallest size."""
    return -(-n // ROOM) * ROOM


@lru_cache(maxsize=64)
def make_design(n_bands: int, window_size: int, dtype: str) -> tuple[tuple[int, ...], np.ndarray]:
    """The numbers of a Design, and its tables one after the other, of "float32" or "float64"."""
    n = n_bands - 1
    step = 1 if n % 2 else 2
    n_even, n_odd = n // step + 1, n // 2 * (step - 1)  # bands, and lags
    bands = np.arange(n + 1)
    share = np.where(bands % n == 0, 0.5, 1)

    def cosines(bands: np.ndarray, n_lags: int) -> np.ndarray:
        return share[bands, None] * np.cos(np.pi / n * (np.outer(bands, np.arange(padded(n_lags))) % (2 * n)))

    def transpose(matrix: np.ndarray, size: int) -> np.ndarray:
        return np.pad(matrix[:, :size].T, ((0, 0), (0, padded(size) - size)))

    even, odd = cosines(bands[::step], n_even), cosines(bands[1::2][:n_odd], n_odd)
    first_lag, taps = fir.taps(2 * n, window_size)
    window = np.zeros(2 * (n + ROOM) + 1)
    window[n + ROOM + first_lag :][: len(taps)] = taps / n
    halved = np.where(np.arange(len(window)) == n + ROOM, window / 2, window)
    tables = even, odd, transpose(even, n_even), transpose(odd, n_odd), window, halved
    numbers = n, step, ROOM, len(taps), -first_lag, padded(n_even), padded(n_odd)
    return numbers, np.concatenate([table.ravel() for table in tables]).astype(dtype)


@njit(forceinline=True, error_model="numpy")
def design_of(numbers, tables):
    """The Design of numbers and tables, and where the tables end."""
    n, step, room, row_even, row_odd = numbers[0], numbers[1], numbers[2], numbers[5], numbers[6]
    even, odd = (n // step + 1) * row_even, n // 2 * row_odd
    window = 2 * (even + odd)
    end = window + 2 * (2 * (n + room) + 1)
    return Design(
        n,
        step,
        room,
        numbers[3],
        numbers[4],
        row_even,
        row_odd,
        pointer(tables, 0),
        pointer(tables, even),
        pointer(tables, even + odd),
        pointer(tables, 2 * even + odd),
        pointer(tables, window + n + room),
        pointer(tables, (window + end) // 2 + n + room),
    ), end


# -------------------------------------------------------------------------------------------------------------- vectors


@intrinsic
def reverse(typingctx, vector):
    """The lanes of a register, the last one first."""

    def codegen(context, builder, signature, args):
        order = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), list(range(vector.lanes))[::-1])
        return builder.shuffle_vector(args[0], args[0], order)

    return vector(vector), codegen


@intrinsic
def store_interleaved(typingctx, array, index, a, b):
    """array[index :] = a[0], b[0], a[1], b[1], ..."""

    def codegen(context, builder, signature, args):
        registers = Registers(context, builder, signature, args)
        lanes = registers.lanes
        order = [i // 2 + i % 2 * lanes for i in range(2 * lanes)]
        both = builder.shuffle_vector(args[2], args[3], ir.Constant(ir.VectorType(ir.IntType(32), 2 * lanes), order))
        for e, half in enumerate(_registers(builder, both, lanes)):
            registers.store(half, 0, registers.index(1), e * lanes)
        return context.get_dummy_value()

    return types.void(array, index, a, b), codegen


def _make_multiply(n_columns: int):
    @intrinsic
    def multiply(typingctx, x, i, frame, step, n_terms, table, j, row, out, o, out_frame):
        """out[o + f out_frame + m] = sum_k x[i + f frame + k step] table[j + k row + m] of FRAMES frames f.

        m: n_columns registers.
        """

        def codegen(context, builder, signature, args):
            registers = Registers(context, builder, signature, args)
            lanes = registers.lanes
            i, frame, step, n_terms, j, row, o, out_frame = (registers.index(a) for a in (1, 2, 3, 4, 6, 7, 9, 10))

            def add_term(k, sums):
                at, above = builder.add(i, builder.mul(k, step)), builder.add(j, builder.mul(k, row))
                factors = [registers.row(5, above, c * lanes) for c in range(n_columns)]
                for f in range(FRAMES):
                    number = registers.number(0, builder.add(at, builder.mul(frame, frame.type(f))), 0)
                    for c, factor in enumerate(factors):
                        sums[f * n_columns + c] = _fma(builder, number, factor, sums[f * n_columns + c])

            for s, total in enumerate(registers.sums(FRAMES * n_columns, n_terms, add_term)):
                f, c = divmod(s, n_columns)
                registers.store(total, 8, builder.add(o, builder.mul(out_frame, o.type(f))), c * lanes)
            return context.get_dummy_value()

        return types.void(x, i, frame, step, n_terms, table, j, row, out, o, out_frame), codegen

    return multiply


_multiply_one, _multiply_two = _make_multiply(1), _make_multiply(2)


@njit(error_model="numpy")
def _multiply(x, i, frame, step, n_terms, table, row, out):
    """out[f row + m] = sum_k x[i + f frame + k step] table[k row + m], m < row, of FRAMES frames f."""
    width, m = register_width(x), 0
    while m + 2 * width <= row:
        _multiply_two(x, i, frame, step, n_terms, table, m, row, out, m, row)
        m += 2 * width
    if m < row:
        _multiply_one(x, i, frame, step, n_terms, table, m, row, out, m, row)


# ------------------------------------------------------------------------------------------------------- there and back


@njit(error_model="numpy")
def taps_of_bands(bands, design, scratch):
    """h of FRAMES frames from their magnitudes, one after the other from the pointer `bands` on."""
    n, step, width = design.n, design.step, register_width(bands)
    row_even, row_odd = design.row_even, design.row_odd
    _multiply(bands, 0, n + 1, step, n // step + 1, design.even, row_even, scratch.even)
    if step == 2:
        _multiply(bands, 1, n + 1, 2, n // 2, design.odd, row_odd, scratch.odd)
    w = design.window
    for f in range(FRAMES):
        e, o, h = f * row_even, f * row_odd, pointer(scratch.h, f * scratch.h_row + design.before)
        for m in range(0, n // step + 1 - (step - 1), width):
            low = high = load_register(scratch.even, e + m)
            if step == 2:
                odd = load_register(scratch.odd, o + m)
                low, high = low + odd, low - odd
                store(h, m - n, high * load_register(w, m - n))
                at = n - m - (width - 1)
                store(h, at, reverse(high) * load_register(w, at))
            store(h, m, low * load_register(w, m))
            store(h, -m - (width - 1), reverse(low) * load_register(w, -m - (width - 1)))
        if step == 2:
            middle = scratch.even[e + n // 2]
            at = f * scratch.h_row + design.before  # not by way of h: Numba drops what it takes for writes to a copy
            scratch.h[at + n // 2] = middle * w[n // 2]
            scratch.h[at - n // 2] = middle * w[-n // 2]


@njit(error_model="numpy")
def fold_taps(f, design, scratch):
    """Frame f's rows of E and O from its dh: dr[m], the sum of window[l] dh[l] at the lags m and -m, folded."""
    n, step, width = design.n, design.step, register_width(scratch.h)
    row_even, row_odd = design.row_even, design.row_odd
    e, o, w, dh = f * row_even, f * row_odd, design.window_back, pointer(scratch.dh, design.before)
    for m in range(0, n // step + 1 - (step - 1), width):
        at = -m - (width - 1)
        low = load_register(dh, m) * load_register(w, m) + reverse(load_register(dh, at) * load_register(w, at))
        if step == 1:
            store(scratch.even, e + m, low)
            continue
        at = n - m - (width - 1)
        high = load_register(dh, m - n) * load_register(w, m - n) + reverse(
            load_register(dh, at) * load_register(w, at)
        )
        store(scratch.even, e + m, low + high)
        store(scratch.odd, o + m, low - high)
    if step == 2:
        scratch.even[e + n // 2] = dh[n // 2] * w[n // 2] + dh[-n // 2] * w[-n // 2]


@njit(error_model="numpy")
def bands_of_folds(design, scratch):
    """Gradients of the magnitudes of FRAMES frames, from rows of E and O, one after the other into `bands`."""
    n, step, width = design.n, design.step, register_width(scratch.h)
    row_even, row_odd = design.row_even, design.row_odd
    _multiply(scratch.even, 0, row_even, 1, n // step + 1, design.even_back, row_even, scratch.even_bands)
    if step == 2:
        _multiply(scratch.odd, 0, row_odd, 1, n // 2, design.odd_back, row_odd, scratch.odd_bands)
    for f in range(FRAMES):
        e, o, at = f * row_even, f * row_odd, f * (n + 1)
        if step == 1:
            for k in range(n + 1):
                scratch.bands[at + k] = scratch.even_bands[e + k]
            continue
        whole = n // 2 // width * width
        for k in range(0, whole, width):
            even, odd = load_register(scratch.even_bands, e + k), load_register(scratch.odd_bands, o + k)
            store_interleaved(scratch.bands, at + 2 * k, even, odd)
        for k in range(whole, n // 2):
            scratch.bands[at + 2 * k] = scratch.even_bands[e + k]
            scratch.bands[at + 2 * k + 1] = scratch.odd_bands[o + k]
        scratch.bands[at + n] = scratch.even_bands[e + n // 2]
