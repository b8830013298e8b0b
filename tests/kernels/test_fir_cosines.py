"""Cosine transforms in registers, and their transposes, against products with their matrices."""

import numpy as np
import pytest
from numba import njit

from fastddsp.kernels.cpu.fir_cosines import SIZE, WHOLE, odd, odd_transposed, quarter, r, r_transposed
from fastddsp.kernels.cpu.simd import REGISTER_BYTES, pointer


def _matrix(size: int, rows: int, columns: int, half_turns: int) -> np.ndarray:
    """cos(pi row column / half_turns); rows and columns: 1 for 0, 1, 2, ..., 2 for 1, 3, 5, ..."""
    k = np.arange(size)
    return np.cos(np.pi / half_turns * (np.outer(rows * k + rows - 1, columns * k + columns - 1) % (2 * half_turns)))


def _r(n: int) -> np.ndarray:
    return _matrix(n + 1, 1, 1, n) * np.where(np.arange(n + 1) % n == 0, 0.5, 1)


SUMS = {
    **{f"r of {n}": (r, _r(n)) for n in WHOLE},
    **{f"r of {n} transposed": (r_transposed, _r(n).T) for n in WHOLE},
    "odd": (odd, _matrix(SIZE, 1, 2, 2 * SIZE)),
    "odd transposed": (odd_transposed, _matrix(SIZE, 2, 1, 2 * SIZE)),
    "quarter": (quarter, _matrix(SIZE, 2, 2, 4 * SIZE)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("step", [1, -3])
def test_sums_are_products_with_their_matrices(name, dtype, step):
    sums, matrix = SUMS[name]
    size, lanes, out_step = len(matrix), REGISTER_BYTES // np.dtype(dtype).itemsize, 2

    @njit
    def transform(x, first, out):
        sums(pointer(x, first), step, size, pointer(out, 0), out_step, None)

    x = np.random.default_rng(0).standard_normal((abs(step) * size, lanes)).astype(dtype)
    out = np.full((out_step * size, lanes), np.nan, dtype)
    first = 0 if step > 0 else len(x) - 1
    transform(x, first * lanes, out)
    expected = matrix @ x[first::step][:size].astype(float)
    norms = np.linalg.norm(matrix, 2) * np.linalg.norm(x, axis=0).max()
    atol = np.log2(size) * np.finfo(dtype).eps * norms
    np.testing.assert_allclose(out[::out_step], expected, rtol=0, atol=atol)
    assert np.isnan(out[1::out_step]).all()


@pytest.mark.parametrize("n", WHOLE)
def test_rows_are_weighed_in_place(n):
    @njit
    def transform(x, weights):
        r(pointer(x, 0), 1, n + 1, pointer(x, 0), 1, pointer(weights, 0))

    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((n + 1, REGISTER_BYTES // 8)), rng.standard_normal(n + 1)
    expected = weights[:, None] * (_r(n) @ x)
    transform(x, weights)
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-13)
