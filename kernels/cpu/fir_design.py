"""From magnitudes to taps on the CPU, and back, one filter in every lane (see fir_transform).

    r[m] = sum''_{k <= n} X_k cos(pi k m / n),   h[l] = window[l] r[|lag of l|]            (fastddsp.kernels.fir)

An even n halves the sum, since cos(pi k m / n) at m and at n - m differs by the sign (-1)^k, and halves it again:

    r[m] = E[m] + O[m],   r[n - m] = E[m] - O[m],   m <= n / 2,   E, O: the sum over even and over odd k

E is r of the even magnitudes, with n / 2 for n. So as often as n is even there is a product with a matrix for O, n / 2
numbers square, and one at the end for what is left: 1400 multiply-adds for 65 bands, not 4200. The adjoint is the
transpose: fold, multiply by the same matrices.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastddsp.kernels import fir
from fastddsp.kernels.cpu.copies import clear_rows
from fastddsp.kernels.cpu.fir_transform import Registers
from fastddsp.kernels.cpu.simd import REGISTER_BYTES, _fma, fma, load_register, pointer, register_width, store

SUMS = 16 if REGISTER_BYTES == 64 else 8
"""Sums at a time, in registers; more than the 8 that two multiply-adds a cycle need. Matrices are padded with zeros."""


class Design(NamedTuple):
    """From magnitudes to taps."""

    n: int  # bands - 1
    n_halvings: int
    n_taps: int
    before: int  # taps of negative lag
    matrices: object  # pointer: for O of every halving [n / 2, n / 2], and what is left [n + 1, n + 1], padded
    window: object  # pointer: the weight of every tap; with 1/n, and the transform's 1/M


N_NUMBERS = 4  # of Design, before the tables


def padded(n: int) -> int:
    """The next multiple of SUMS."""
    return -(-n // SUMS) * SUMS


@lru_cache(maxsize=64)
def make_design(n_bands: int, window_size: int, scale: float) -> tuple[tuple[int, ...], np.ndarray]:
    """The numbers of a Design, and its tables one after the other, float64."""
    n, n_halvings, tables = n_bands - 1, 0, []
    while n % 2 == 0:
        i, m = np.arange(n // 2)[:, None], np.arange(n // 2)
        tables.append(np.cos(np.pi / n * ((2 * i + 1) * m % (2 * n))))
        n, n_halvings = n // 2, n_halvings + 1
    k = np.arange(n + 1)
    tables.append(np.where(k % n == 0, 0.5, 1)[:, None] * np.cos(np.pi / n * (np.outer(k, k) % (2 * n))))
    squares = [np.pad(table, (0, padded(len(table)) - len(table))).ravel() for table in tables]
    first_lag, window = fir.taps(2 * (n_bands - 1), window_size)
    numbers = n_bands - 1, n_halvings, len(window), -first_lag
    return numbers, np.concatenate([*squares, window * (scale / (n_bands - 1))])


@njit(error_model="numpy")
def design_of(numbers, tables):
    """The Design of numbers and tables, and where the tables end."""
    n, n_halvings, n_taps, before = numbers[0], numbers[1], numbers[2], numbers[3]
    left, window = n, 0
    for _ in range(n_halvings):
        left //= 2
        window += _rows(left) * _rows(left)
    window += _rows(left + 1) * _rows(left + 1)
    return Design(n, n_halvings, n_taps, before, tables, pointer(tables, window)), window + n_taps


@njit(forceinline=True)
def _rows(n):
    return (n + SUMS - 1) // SUMS * SUMS


@intrinsic
def _multiply_some(typingctx, x, step, n_terms, matrix, at, by_term, by_sum, out, o):
    """Row s of out[o :] = sum over t < n_terms of row t step of x times matrix[at + t by_term + s by_sum], s < SUMS."""

    def codegen(context, builder, signature, args):
        registers = Registers(context, builder, signature, args)
        lanes, (step, n_terms, at, by_term, by_sum, o) = registers.lanes, map(registers.index, (1, 2, 4, 5, 6, 8))
        step = builder.mul(step, step.type(lanes))
        slots = [cgutils.alloca_once_value(builder, registers.constant(0.0)) for _ in range(SUMS)]
        with cgutils.for_range(builder, n_terms) as terms:
            row = registers.row(0, builder.mul(terms.index, step))
            first = builder.add(at, builder.mul(terms.index, by_term))
            for s, slot in enumerate(slots):
                number = registers.number(3, builder.add(first, builder.mul(by_sum, by_sum.type(s))))
                builder.store(_fma(builder, row, number, builder.load(slot)), slot)
        for s, slot in enumerate(slots):
            registers.store(builder.load(slot), 7, builder.add(o, o.type(s * lanes)))
        return context.get_dummy_value()

    return types.void(x, step, n_terms, matrix, at, by_term, by_sum, out, o), codegen


@njit(error_model="numpy")
def _multiply(x, step, n_terms, matrix, by_term, by_sum, n_sums, out):
    """Row s of out = sum over t < n_terms of row t step of x times matrix[t by_term + s by_sum], s < n_sums, padded."""
    for s in range(0, n_sums, SUMS):
        _multiply_some(x, step, n_terms, matrix, s * by_sum, by_term, by_sum, out, s * register_width(x))


@njit(error_model="numpy")
def taps_of_bands(bands, design, sums, r, h):
    """Rows of taps from rows of magnitudes; sums, r: room for padded rows of n / 2 and n + 1 numbers, at least SUMS."""
    width, n, matrix = register_width(bands), design.n, design.matrices
    for _ in range(design.n_halvings):
        n //= 2
        matrix = pointer(matrix, _rows(n) * _rows(n))
    step = design.n // n
    _multiply(bands, step, n + 1, matrix, _rows(n + 1), 1, n + 1, r)
    while n < design.n:
        matrix = pointer(matrix, -_rows(n) * _rows(n))
        _multiply(pointer(bands, step // 2 * width), step, n, matrix, _rows(n), 1, n, sums)
        for m in range(n):
            even, odd = load_register(r, m * width), load_register(sums, m * width)
            store(r, m * width, even + odd)
            store(r, (2 * n - m) * width, even - odd)
        n, step = 2 * n, step // 2
    for l in range(design.n_taps):
        store(h, l * width, load_register(r, abs(l - design.before) * width) * design.window[l])


@njit(error_model="numpy")
def bands_of_taps(dh, design, sums, r, bands):
    """The adjoint: rows of the magnitudes' gradients from rows of the taps'."""
    width, n, step, matrix = register_width(bands), design.n, 1, design.matrices
    clear_rows(r, 0, n + 1)
    for l in range(design.n_taps):
        m = abs(l - design.before) * width
        store(r, m, fma(load_register(dh, l * width), design.window[l], load_register(r, m)))
    for _ in range(design.n_halvings):
        n, step = n // 2, 2 * step
        for m in range(n):
            low, high = load_register(r, m * width), load_register(r, (2 * n - m) * width)
            store(r, m * width, low + high)
            store(r, (2 * n - m) * width, low - high)  # O in reverse, from row n + 1 on
        _multiply(pointer(r, 2 * n * width), -1, n, matrix, 1, _rows(n), n, sums)
        for i in range(n):
            store(bands, (2 * i + 1) * (step // 2) * width, load_register(sums, i * width))
        matrix = pointer(matrix, _rows(n) * _rows(n))
    _multiply(r, 1, n + 1, matrix, 1, _rows(n + 1), n + 1, sums)
    for k in range(n + 1):
        store(bands, k * step * width, load_register(sums, k * width))
