"""From magnitudes to taps on the CPU, and back, one filter in every lane (see fir_transform).

    r[m] = sum''_{k <= n} X_k cos(pi k m / n),   h[l] = w[l] r[|lag of l|]            (fastddsp.kernels.fir)

Taps are made as their symmetric part s and, where the window has one, their antisymmetric part o (see fir_response):

    s[m] = r[m] (w[m] + w[-m]) / 2,   o[m] = r[m] (w[m] - w[-m]) / 2        w here by lag

Where n is even, cos(pi k m / n) at m and at n - m differs by the sign (-1)^k. So even k make r of n / 2, and odd k O:

    r[m] = E[m] + O[m],   r[n - m] = E[m] - O[m],   m <= n / 2
    O[m] = sum_{i < N} x_i cos(pi (2 i + 1) m / 2N),   x_i = X_{2i+1},   N = n / 2

Where N is even, the same cosine at i and at N - 1 - i differs by the sign (-1)^m. So even m are O of the sums
x_i + x_{N-1-i}, half as many, and odd m, of the differences d_i, are a product with a symmetric matrix:

    O[2 p + 1] = sum_{i < K} d_i cos(pi (2 i + 1) (2 p + 1) / 4K),   K = N / 2

Both go on until n or N is odd or SIZE, and end in products with matrices; all K in between share theirs. What
fir_cosines has written out ends it earlier: for 17, 33 and 65 bands there is nothing else, and for the last 513
operations instead of 4200 multiply-adds. The adjoint is the transpose of every step, in reverse.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastddsp.kernels import fir
from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.copies import clear_rows
from fastddsp.kernels.cpu.fir_cosines import SIZE, is_whole, odd, odd_transposed, quarter, r_transposed
from fastddsp.kernels.cpu.fir_cosines import r as whole_r
from fastddsp.kernels.cpu.registers import Registers
from fastddsp.kernels.cpu.simd import _fma, fma, load_register, pointer, register_width, store

SUMS = 8
"""Sums at a time, in registers, as two multiply-adds a cycle need. Matrices are padded to a multiple, with zeros."""


class Design(NamedTuple):
    """From magnitudes to taps. Matrices are square, padded."""

    n: int  # bands - 1
    least: int  # n after all halvings
    first: int  # the n of the r that is made first: the largest of n, n / 2, ... that fir_cosines has whole, else least
    n_lags: int  # lags 0, 1, ... that have taps
    of_r: object  # pointer: matrix of r of the least n, by row k and column m; then its transpose
    of_odd: object  # pointer: of O of the least n, by row i and column m; then its transpose
    of_differences: object  # pointer: one after the other, of K = least n, 2 K, ... n / 4, but for SIZE
    window: object  # pointer: see make_design


N_NUMBERS = 4  # of Design, before the tables


@helper(forceinline=True)
def padded(n):
    """The next multiple of SUMS."""
    return (n + SUMS - 1) // SUMS * SUMS


@lru_cache(maxsize=64)
def make_design(
    n_bands: int, window_size: int, scale: float, by_halves: bool = False
) -> tuple[tuple[int, ...], np.ndarray]:
    """The numbers of a Design, and its tables one after the other, float64.

    The window is the weights of every lag in s, with 1/n and `scale`, then those in o; or, by halves, those of lags in
    the half, and zeros beyond.
    """
    n = least = n_bands - 1
    while least % 2 == 0 and least > SIZE:
        least //= 2
    first = least
    while is_whole(2 * first) and n % (2 * first) == 0:
        first *= 2

    def cosines(rows: np.ndarray, columns: np.ndarray, half_turns: int) -> np.ndarray:
        return np.cos(np.pi / half_turns * (np.outer(rows, columns) % (2 * half_turns)))

    k, i = np.arange(least + 1), np.arange(least)
    of_r, of_odd = np.where(k % least == 0, 0.5, 1)[:, None] * cosines(k, k, least), cosines(2 * i + 1, i, 2 * least)
    tables = [of_r, of_r.T, of_odd, of_odd.T]
    size = least
    while 4 * size <= n:
        if size != SIZE:
            odd = 2 * np.arange(size) + 1
            tables.append(cosines(odd, odd, 4 * size))
        size *= 2
    squares = [np.pad(table, (0, padded(len(table)) - len(table))).ravel() for table in tables]
    parts = window_parts(n_bands, window_size) * (scale / n)
    if by_halves:
        parts[0, 0], parts[1] = parts[0, 0] / 2, 0
    return (n, least, first, parts.shape[1]), np.concatenate([*squares, *parts])


def window_parts(n_bands: int, window_size: int) -> np.ndarray:
    """The window's symmetric and antisymmetric part [2, lags] at lags 0, 1, ..., up to the last that has a tap."""
    first_lag, window = fir.taps(2 * (n_bands - 1), window_size)
    by_lag = np.zeros(2 * n_bands + 1)  # from lag -n_bands on
    by_lag[n_bands + first_lag :][: len(window)] = window
    after, before = by_lag[n_bands:], by_lag[n_bands::-1]
    n_lags = np.flatnonzero(after + before).max(initial=0) + 1
    return np.stack([after + before, after - before])[:, :n_lags] / 2


@helper(forceinline=True)
def _cells(size):
    """Numbers in the matrix of so many differences: none where fir_cosines transforms them."""
    return 0 if size == SIZE else padded(size) ** 2


@helper
def design_of(numbers, tables):
    """The Design of numbers and tables, and where the tables end."""
    n, least, first, n_lags = numbers[0], numbers[1], numbers[2], numbers[3]
    odd = 2 * padded(least + 1) ** 2
    differences = odd + 2 * padded(least) ** 2
    window, size = differences, least
    while 4 * size <= n:
        window += _cells(size)
        size *= 2
    pointers = (
        pointer(tables, 0), pointer(tables, odd), pointer(tables, differences), pointer(tables, window)
    )  # fmt: skip
    return Design(n, least, first, n_lags, *pointers), window + 2 * n_lags


@intrinsic
def _multiply_some(typingctx, x, step, n_terms, matrix, stride, out):
    """Row s of out = sum over t < n_terms of row t step of x times matrix[t stride + s], s < SUMS."""

    def codegen(context, builder, signature, args):
        registers = Registers(context, builder, signature, args)
        step, n_terms, stride = map(registers.index, (1, 2, 4))
        slots = [cgutils.alloca_once_value(builder, registers.constant(0.0)) for _ in range(SUMS)]
        with cgutils.for_range(builder, n_terms) as terms:
            row = registers.load(registers.at(registers.rows(0), builder.mul(terms.index, step)))
            numbers = registers.at(args[3], builder.mul(terms.index, stride))
            for s, slot in enumerate(slots):
                number = registers.spread(registers.at(numbers, s))
                builder.store(_fma(builder, row, number, builder.load(slot)), slot)
        for s, slot in enumerate(slots):
            registers.save(builder.load(slot), registers.at(registers.rows(5), s))
        return context.get_dummy_value()

    return types.void(x, step, n_terms, matrix, stride, out), codegen


@helper
def _multiply(x, step, n_terms, matrix, n_sums, out):
    """Row s of out = sum over t < n_terms of row t step of x times number s of a square's row t, s < n_sums, padded."""
    for s in range(0, n_sums, SUMS):
        _multiply_some(x, step, n_terms, pointer(matrix, s), padded(n_terms), pointer(out, s * register_width(x)))


@helper
def _multiply_differences(x, step, size, design, out):
    """out = the product of `size` rows of x, `step` apart, with their matrix."""
    if _cells(size) == 0:
        quarter(x, step, size, out, 1, None)
        return
    matrix, before = design.of_differences, design.least
    while before < size:
        matrix = pointer(matrix, _cells(before))
        before *= 2
    _multiply(x, step, size, matrix, size, out)


def design_rows(n_bands: int) -> int:
    """Rows of r, and of room after them, that taps_of_bands and bands_of_taps want."""
    return n_bands + 2 * padded(n_bands)


@helper(forceinline=True)
def _rooms(r, n):
    """After r, rooms for n / 2 rows, for n / 4, and for a product's."""
    width = register_width(r)
    first = n + 1
    second = first + padded(n // 2)
    third = second + padded(n // 4)
    return pointer(r, first * width), pointer(r, second * width), pointer(r, third * width)


@helper(forceinline=True)
def _row(rows, i):
    return load_register(rows, i * register_width(rows))


@helper(forceinline=True)
def _put(rows, i, value):
    store(rows, i * register_width(rows), value)


@helper
def _add_odd(r, n, odd, count, first, step):
    """r of 2 n at m and 2 n - m from its E at m, for m = first, first + step, ...; odd: O there."""
    for p in range(count):
        m = first + p * step
        even, o = _row(r, m), _row(odd, p)
        _put(r, m, even + o)
        _put(r, 2 * n - m, even - o)


@helper
def taps_of_bands(bands, design, r):
    """r, design_rows, from rows of magnitudes."""
    width, n = register_width(bands), design.first
    step = design.n // n
    sums, differences, out = _rooms(r, design.n)
    if is_whole(n):
        whole_r(bands, step, n + 1, r, 1, None)
    else:
        _multiply(bands, step, n + 1, design.of_r, n + 1, r)
    while n < design.n:
        x, x_step, size, spread = pointer(bands, step // 2 * width), step, n, 1
        while size > design.least:
            size //= 2
            for i in range(size):
                top, bottom = _row(x, i * x_step), _row(x, (2 * size - 1 - i) * x_step)
                _put(sums, i, top + bottom)
                _put(differences, i, top - bottom)
            _multiply_differences(differences, 1, size, design, out)
            _add_odd(r, n, out, size, spread, 2 * spread)
            x, x_step, spread = sums, 1, 2 * spread
        if size == SIZE:
            odd(x, x_step, size, out, 1, None)
        else:
            _multiply(x, x_step, size, design.of_odd, size, out)
        _add_odd(r, n, out, size, 0, spread)
        n, step = 2 * n, step // 2


@helper
def weigh_taps(r, part, design, half, s):
    """s = rows of taps for response_of_taps: of the symmetric part 0, or of the antisymmetric part 1, in reverse."""
    window = pointer(design.window, part * design.n_lags)
    if part == 0:
        clear_rows(s, design.n_lags, half + 1)
        for m in range(design.n_lags):
            _put(s, m, _row(r, m) * window[m])
    else:
        clear_rows(s, 0, half + 1)
        for m in range(1, design.n_lags):
            _put(s, half - m, _row(r, m) * window[m])


@helper
def weigh_sums(s, part, design, half, dr):
    """The adjoint, s being sums of cosines as from taps_of_response: dr = their share of r's gradient, or += it."""
    window = pointer(design.window, part * design.n_lags)
    if part == 0:
        clear_rows(dr, design.n_lags, design.n + 1)
        _put(dr, 0, _row(s, 0) * window[0])
        for m in range(1, design.n_lags):
            _put(dr, m, _row(s, m) * (2 * window[m]))
    else:
        for m in range(1, design.n_lags):
            _put(dr, m, fma(_row(s, half - m), 2 * window[m], _row(dr, m)))


@helper
def bands_of_taps(r, design, bands):
    """The adjoint: rows of the magnitudes' gradients from rows of r's, design_rows, which are overwritten."""
    width, n, step = register_width(bands), design.n, 1
    x, differences, _ = _rooms(r, n)
    while n > design.first:
        n, step = n // 2, 2 * step
        for m in range(n):
            low, high = _row(r, m), _row(r, 2 * n - m)
            _put(r, m, low + high)
            _put(r, 2 * n - m, low - high)  # O in reverse: m is at row 2 n - m
        size, spread = design.least, n // design.least
        if size == SIZE:
            odd_transposed(pointer(r, 2 * n * width), -spread, size, x, 1, None)
        else:
            of_odd = pointer(design.of_odd, padded(size) * padded(size))
            _multiply(pointer(r, 2 * n * width), -spread, size, of_odd, size, x)
        while size < n:
            spread //= 2
            _multiply_differences(pointer(r, (2 * n - spread) * width), -2 * spread, size, design, differences)
            for i in range(size):
                top, bottom = _row(x, i), _row(differences, i)
                _put(x, i, top + bottom)
                _put(x, 2 * size - 1 - i, top - bottom)
            size *= 2
        for i in range(n):
            _put(bands, (2 * i + 1) * (step // 2), _row(x, i))
    if is_whole(n):
        r_transposed(r, 1, n + 1, bands, step, None)
    else:
        of_r = pointer(design.of_r, padded(n + 1) * padded(n + 1))
        _multiply(r, 1, n + 1, of_r, n + 1, x)
        for k in range(n + 1):
            _put(bands, k * step, _row(x, k))


# The half of symmetric taps that fir_halves takes. Where r is whole, the window is a part of it; but not of the
# adjoint, where it would take registers that are needed: 750 cycles instead of 670.


@helper
def half_of_bands(bands, design, room):
    """Rows of the half, in the place of the magnitudes'; room: design_rows."""
    n = design.n
    if design.first == n and is_whole(n):
        whole_r(bands, 1, n + 1, bands, 1, design.window)
    else:
        taps_of_bands(bands, design, room)
        _weigh(room, design, bands)


@helper
def bands_of_half(half, design, room):
    """The adjoint: rows of the magnitudes' gradients, in the place of the half's."""
    clear_rows(half, design.n_lags, design.n + 1)
    _weigh(half, design, room)
    bands_of_taps(room, design, half)


@helper
def _weigh(rows, design, out):
    for m in range(design.n + 1):
        _put(out, m, _row(rows, m) * design.window[m])
