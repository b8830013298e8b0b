"""From magnitudes to taps on the CPU, and back: one filter in every lane (fastddsp.kernels.cpu.rows).

    r[m] = sum''_{k <= n} X_k cos(pi k m / n),   h[l] = window[l] r[|lag of l|]            (fastddsp.kernels.fir)

The cosine transform halves itself. The even terms of one of size 2 s are one of size s, the odd ones mirror, and what
is left of those folds once more, since cos(pi k m / 2 s) at k and at 2 s - k differs by the sign (-1)^m:

    r[m] = E[m] + O[m],   r[2 s - m] = E[m] - O[m],   m = 0..s
    O[m] = sum_{odd k < s} (X_k + (-1)^m X_{2 s - k}) cos(pi k m / 2 s)

1000 multiply-adds and additions remain of 4200 for 65 bands. Without the fold: 1500. The matrix is symmetric, so the
transform is its own transpose, and serves backward too.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from fastddsp.kernels import fir
from fastddsp.kernels.cpu.rows import TILE_ROWS, accumulator, spread
from fastddsp.kernels.cpu.simd import load_register, pointer, register_width, store


class Design(NamedTuple):
    """From magnitudes to taps."""

    n: int  # bands - 1
    cosines: np.ndarray  # of all stages of the transform, in the order of their use
    base: int  # size of the first stage: a plain matrix
    window: np.ndarray  # of every tap, with the transform's 1/n
    n_taps: int
    first_lag: int


def padded(n: int) -> int:
    """Rows of as many accumulators as hold n rows."""
    return -(-n // TILE_ROWS) * TILE_ROWS


@lru_cache(maxsize=64)
def make_design(n_bands: int, window_size: int, dtype: str) -> Design:
    """Tables for that many bands, that window and "float32" or "float64"."""
    n = n_bands - 1
    base = n
    while base % 2 == 0 and base >= TILE_ROWS:  # below that a stage does not fill an accumulator
        base //= 2
    stages = [np.cos(np.pi / base * np.outer(range(base + 1), range(padded(base + 1))))]
    size = base
    while size < n:
        for odd in (0, 1):
            k = np.arange(1, size + 1 - odd * (size % 2), 2)  # the middle term, k = size, is for even m alone
            m = odd + 2 * np.arange(padded((size + 1 - odd) // 2))
            stages.append(np.cos(np.pi / (2 * size) * np.outer(k, m)))
        size *= 2
    cosines = np.concatenate([stage.ravel() for stage in stages]).astype(dtype)
    first_lag, window = fir.taps(2 * n, window_size)
    return Design(n, cosines, base, (window / n).astype(dtype), len(window), first_lag)


@njit(forceinline=True, error_model="numpy")
def _multiply(z, first, stride, n_terms, cosines, at, n_sums, out):
    """out[m] = sum_{k < n_terms} cosines[k, m] z[first + k stride], m < n_sums, and more up to whole tiles.

    Returns where the matrix ends; it begins at `at`.
    """
    columns = (n_sums + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
    for m in range(0, columns, TILE_ROWS):
        acc = accumulator(z)
        for k in range(n_terms):
            acc = spread(acc, z, first + k * stride, cosines, at + k * columns + m)
        store(out, m * register_width(z), acc)
    return at + n_terms * columns


@njit(forceinline=True, error_model="numpy")
def cosine_transform(z, design, odd, fold, r):
    """r[m] = sum_{k <= n} z[k] cos(pi k m / n), m = 0..n. Scratch: odd, n + TILE_ROWS rows; fold, n / 2 + 1 rows."""
    width, size = register_width(z), design.base
    stride = design.n // size
    at = _multiply(z, 0, stride, size + 1, design.cosines, 0, size + 1, r)
    while size < design.n:
        stride //= 2
        n_even, n_odd = (size + 1) // 2, size // 2
        second = (n_even + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
        for j in range(n_odd):
            low = load_register(z, (2 * j + 1) * stride * width)
            high = load_register(z, (2 * (size - j) - 1) * stride * width)
            store(fold, j * width, low + high)
            store(fold, (n_even + j) * width, low - high)
        if n_odd < n_even:
            store(fold, n_odd * width, load_register(z, size * stride * width))
        at = _multiply(fold, 0, 1, n_even, design.cosines, at, n_even, odd)
        at = _multiply(fold, n_even, 1, n_odd, design.cosines, at, n_odd, pointer(odd, second * width))
        for m in range(size):
            even_m = load_register(r, m * width)
            odd_m = load_register(odd, (m % 2 * second + m // 2) * width)
            store(r, (2 * size - m) * width, even_m - odd_m)
            store(r, m * width, even_m + odd_m)
        size *= 2


@njit(forceinline=True, error_model="numpy")
def halve_ends(z, n):
    """The first and the last magnitude count half."""
    width = register_width(z)
    store(z, 0, load_register(z, 0) * 0.5)
    store(z, n * width, load_register(z, n * width) * 0.5)


@njit(forceinline=True, error_model="numpy")
def taps_from_lags(r, design, h, at):
    """h[at + l] = window[l] r[|lag of l|]."""
    width = register_width(r)
    for l in range(design.n_taps):
        lag = abs(design.first_lag + l)
        store(h, (at + l) * width, load_register(r, lag * width) * design.window[l])


@njit(forceinline=True, error_model="numpy")
def lags_from_taps(dh, design, dr):
    """The transpose: dr[m] = sum of window[l] dh[l] over the taps at lags m and -m."""
    width = register_width(dh)
    for i in range((design.n + 1) * width):
        dr[i] = 0
    for l in range(design.n_taps):
        at = abs(design.first_lag + l) * width
        store(dr, at, load_register(dr, at) + load_register(dh, l * width) * design.window[l])
