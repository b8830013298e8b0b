"""From magnitudes to taps on the CPU, and back, one filter in every lane (see fir_transform).

    r[m] = sum''_{k <= n} X_k cos(pi k m / n),   h[l] = window[l] r[|lag of l|]            (fastddsp.kernels.fir)

Where n is even, cos(pi k m / n) at m and at n - m differs by the sign (-1)^k. So even k make r of n / 2, and odd k O:

    r[m] = E[m] + O[m],   r[n - m] = E[m] - O[m],   m <= n / 2
    O[m] = sum_{i < N} x_i cos(pi (2 i + 1) m / 2N),   x_i = X_{2i+1},   N = n / 2

Where N is even, the same cosine at i and at N - 1 - i differs by the sign (-1)^m. So even m are O of the sums
x_i + x_{N-1-i}, half as many, and odd m, of the differences d_i, are a product with a symmetric matrix:

    O[2 p + 1] = sum_{i < K} d_i cos(pi (2 i + 1) (2 p + 1) / 4K),   K = N / 2

Both go on until n or N is odd or SMALL, and end in products with matrices; all K in between share theirs. That leaves
700 multiply-adds of 4200 for 65 bands. The adjoint is the transpose of every step, in reverse.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastddsp.kernels import fir
from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.copies import clear_rows
from fastddsp.kernels.cpu.fir_transform import Registers
from fastddsp.kernels.cpu.simd import _fma, fma, load_register, pointer, register_width, store

SUMS = 8
"""Sums at a time, in registers, as two multiply-adds a cycle need. Matrices are padded to a multiple, with zeros."""
SMALL = 8
"""Not worth halving: products of fewer sums than SUMS at a time."""


class Design(NamedTuple):
    """From magnitudes to taps. Matrices are square, padded."""

    n: int  # bands - 1
    least: int  # n after all halvings
    n_taps: int
    before: int  # taps of negative lag
    of_r: object  # pointer: matrix of r of the least n
    of_odd: object  # pointer: of O of the least n, by row i and column m
    of_differences: object  # pointer: one after the other, of K = least n, 2 K, ... n / 4
    window: object  # pointer: the weight of every tap; with 1/n, and the transform's 1/M


N_NUMBERS = 4  # of Design, before the tables


@helper(forceinline=True)
def padded(n):
    """The next multiple of SUMS."""
    return (n + SUMS - 1) // SUMS * SUMS


@lru_cache(maxsize=64)
def make_design(n_bands: int, window_size: int, scale: float) -> tuple[tuple[int, ...], np.ndarray]:
    """The numbers of a Design, and its tables one after the other, float64."""
    n = least = n_bands - 1
    while least % 2 == 0 and least > SMALL:
        least //= 2

    def cosines(rows: np.ndarray, columns: np.ndarray, half_turns: int) -> np.ndarray:
        return np.cos(np.pi / half_turns * (np.outer(rows, columns) % (2 * half_turns)))

    k, i = np.arange(least + 1), np.arange(least)
    tables = [np.where(k % least == 0, 0.5, 1)[:, None] * cosines(k, k, least), cosines(2 * i + 1, i, 2 * least)]
    size = least
    while 4 * size <= n:
        odd = 2 * np.arange(size) + 1
        tables.append(cosines(odd, odd, 4 * size))
        size *= 2
    squares = [np.pad(table, (0, padded(len(table)) - len(table))).ravel() for table in tables]
    first_lag, window = fir.taps(2 * n, window_size)
    return (n, least, len(window), -first_lag), np.concatenate([*squares, window * (scale / n)])


@helper
def design_of(numbers, tables):
    """The Design of numbers and tables, and where the tables end."""
    n, least, n_taps, before = numbers[0], numbers[1], numbers[2], numbers[3]
    odd = padded(least + 1) ** 2
    differences = odd + padded(least) ** 2
    window, size = differences, least
    while 4 * size <= n:
        window += padded(size) ** 2
        size *= 2
    pointers = (
        pointer(tables, 0), pointer(tables, odd), pointer(tables, differences), pointer(tables, window)
    )  # fmt: skip
    return Design(n, least, n_taps, before, *pointers), window + n_taps


@intrinsic
def _multiply_some(typingctx, x, step, n_terms, matrix, at, by_term, by_sum, out, o):
    """Row s of out[o :] = sum over t < n_terms of row t step of x times matrix[at + t by_term + s by_sum], s < SUMS."""

    def codegen(context, builder, signature, args):
        registers = Registers(context, builder, signature, args)
        lanes, (step, n_terms, at, by_term, by_sum, o) = registers.lanes, map(registers.index, (1, 2, 4, 5, 6, 8))
        step = builder.mul(step, step.type(lanes))
        slots = [cgutils.alloca_once_value(builder, registers.constant(0.0)) for _ in range(SUMS)]
        with cgutils.for_range(builder, n_terms) as terms:
            row = registers.load(registers.address(0, builder.mul(terms.index, step)))
            first = builder.add(at, builder.mul(terms.index, by_term))
            for s, slot in enumerate(slots):
                number = registers.number(3, builder.add(first, builder.mul(by_sum, by_sum.type(s))))
                builder.store(_fma(builder, row, number, builder.load(slot)), slot)
        for s, slot in enumerate(slots):
            registers.save(builder.load(slot), registers.address(7, builder.add(o, o.type(s * lanes))))
        return context.get_dummy_value()

    return types.void(x, step, n_terms, matrix, at, by_term, by_sum, out, o), codegen


@helper
def _multiply(x, step, n_terms, matrix, by_term, by_sum, n_sums, out):
    """Row s of out = sum over t < n_terms of row t step of x times matrix[t by_term + s by_sum], s < n_sums, padded."""
    for s in range(0, n_sums, SUMS):
        _multiply_some(x, step, n_terms, matrix, s * by_sum, by_term, by_sum, out, s * register_width(x))


@helper
def _multiply_differences(x, step, size, design, out):
    """out = the product of `size` rows of x, `step` apart, with their matrix."""
    matrix, before = design.of_differences, design.least
    while before < size:
        matrix = pointer(matrix, padded(before) * padded(before))
        before *= 2
    _multiply(x, step, size, matrix, padded(size), 1, size, out)


def rows_of_taps(n_bands: int, design: tuple[int, ...]) -> int:
    """Rows of taps, and of room after them, that taps_of_bands and bands_of_taps want; design: its numbers."""
    _, _, n_taps, before = design
    return max(n_taps, before + n_bands) + 2 * padded(n_bands)


@helper(forceinline=True)
def _rooms(taps, design):
    """r, whose m is where the tap of lag m is; after the taps, rooms for n / 2 rows, for n / 4, and for a product's."""
    width = register_width(taps)
    first = max(design.n_taps, design.before + design.n + 1)
    second = first + padded(design.n // 2)
    third = second + padded(design.n // 4)
    rooms = pointer(taps, first * width), pointer(taps, second * width), pointer(taps, third * width)
    return pointer(taps, design.before * width), *rooms


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
def taps_of_bands(bands, design, h):
    """Rows of taps from rows of magnitudes; h: rows_of_taps."""
    width, n = register_width(bands), design.least
    step = design.n // n
    r, sums, differences, out = _rooms(h, design)
    _multiply(bands, step, n + 1, design.of_r, padded(n + 1), 1, n + 1, r)
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
        _multiply(x, x_step, size, design.of_odd, padded(size), 1, size, out)
        _add_odd(r, n, out, size, 0, spread)
        n, step = 2 * n, step // 2
    before, window = design.before, design.window
    for m in range(1, before + 1):
        _put(h, before - m, _row(r, m) * window[before - m])
    for l in range(before, design.n_taps):
        _put(h, l, _row(h, l) * window[l])


@helper
def bands_of_taps(dh, design, bands):
    """The adjoint: rows of the magnitudes' gradients from rows of the taps', rows_of_taps, which are overwritten."""
    width, n, step = register_width(bands), design.n, 1
    r, x, differences, _ = _rooms(dh, design)
    before, window = design.before, design.window
    for l in range(before, design.n_taps):
        _put(dh, l, _row(dh, l) * window[l])
    clear_rows(dh, design.n_taps, before + n + 1)
    for m in range(1, before + 1):
        _put(r, m, fma(_row(dh, before - m), window[before - m], _row(r, m)))
    while n > design.least:
        n, step = n // 2, 2 * step
        for m in range(n):
            low, high = _row(r, m), _row(r, 2 * n - m)
            _put(r, m, low + high)
            _put(r, 2 * n - m, low - high)  # O in reverse: m is at row 2 n - m
        size, spread = design.least, n // design.least
        _multiply(pointer(r, 2 * n * width), -spread, size, design.of_odd, 1, padded(size), size, x)
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
    _multiply(r, 1, n + 1, design.of_r, 1, padded(n + 1), n + 1, x)
    for k in range(n + 1):
        _put(bands, k * step, _row(x, k))
