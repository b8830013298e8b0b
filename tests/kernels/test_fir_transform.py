"""Products of polynomials in lanes against numpy.convolve; the way into lanes and back against a transposed copy."""

import numpy as np
import pytest
from numba import njit

from fastddsp.kernels.cpu.fir_transform import Transform, forward, make_transform, multiply, transform_sizes
from fastddsp.kernels.cpu.lanes import add_lanes, load_lanes, store_lanes
from fastddsp.kernels.cpu.simd import REGISTER_BYTES, pointer

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
SIZES = [32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536]


@njit
def _product(a, is_real, b, direction, radices, twiddles):
    transform = Transform(len(a) // 2, len(radices), pointer(radices, 0), pointer(twiddles, 0))
    forward(pointer(b, 0), transform)
    multiply(pointer(a, 0), is_real, pointer(b, 0), direction, transform)


@njit
def _there_and_back(sequences, lanes, n_rows, stage, rows, back, sums, starts):
    load_lanes(pointer(sequences, 0), pointer(lanes, 0), n_rows, pointer(stage, 0), pointer(rows, 0))
    store_lanes(pointer(rows, 0), n_rows, pointer(back, 0))
    add_lanes(pointer(rows, 0), n_rows, pointer(sums, 0), pointer(starts, 0))


def product(a: np.ndarray, b: np.ndarray, size: int, direction: int = 1, is_real: bool = False) -> np.ndarray:
    """The kernel's product of polynomials [numbers, lanes], [size, lanes]."""
    radices, twiddles = make_transform(size)
    padded = [np.concatenate([x, np.zeros((size - len(x), x.shape[1]), x.dtype)]) for x in (a, b)]
    _product(padded[0], is_real, padded[1], direction, np.array(radices), twiddles.astype(a.dtype))
    return padded[0] / (size // 2)


def noise(dtype, *lengths: int) -> list[np.ndarray]:
    """Rows of noise, one register each."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal((n, REGISTER_BYTES // np.dtype(dtype).itemsize)).astype(dtype) for n in lengths]


@DTYPES
@pytest.mark.parametrize("size", SIZES)
def test_values_multiply_to_the_convolution(dtype, size):
    a, b = noise(dtype, size // 3, size - size // 3 + 1)
    actual = product(a, b, size)
    for lane in range(a.shape[1]):
        expected = np.convolve(a[:, lane].astype(float), b[:, lane].astype(float))
        atol = 4 * np.log2(size) * np.finfo(dtype).eps * np.linalg.norm(a[:, lane]) * np.linalg.norm(b[:, lane])
        np.testing.assert_allclose(actual[:, lane], expected, rtol=0, atol=atol)


@DTYPES
@pytest.mark.parametrize("size", SIZES)
def test_conjugates_multiply_to_the_correlation(dtype, size):
    (a, b), kept = noise(dtype, size // 4, size), size - size // 4 + 1
    actual = product(a, b, size, -1)[:kept]
    for lane in range(a.shape[1]):
        expected = np.correlate(b[:, lane].astype(float), a[:, lane].astype(float), "valid")
        atol = 4 * np.log2(size) * np.finfo(dtype).eps * np.linalg.norm(a[:, lane]) * np.linalg.norm(b[:, lane])
        np.testing.assert_allclose(actual[:, lane], expected, rtol=0, atol=atol)


@DTYPES
@pytest.mark.parametrize("size", SIZES)
def test_half_of_the_rows_may_be_left_out(dtype, size):
    a, b = noise(dtype, size, size // 2)
    expected = product(np.concatenate([a[: size // 2], np.zeros_like(a[size // 2 :])]), b, size)
    atol = 4 * np.log2(size) * np.finfo(dtype).eps * size
    np.testing.assert_allclose(product(a, b, size, is_real=True), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("least", [1, 33, 97, 191, 192, 193, 500])
def test_sizes_are_the_smallest_that_suffice(least):
    for size in transform_sizes(least):
        assert size >= least
        assert size == min(transform_sizes(1)) or size // 2 < max(least, 32)
        assert np.prod(make_transform(size)[0]) == size // 2


@DTYPES
@pytest.mark.parametrize("inside", [True, False])
def test_sequences_go_into_lanes_and_back(dtype, inside):
    width = REGISTER_BYTES // np.dtype(dtype).itemsize
    n_rows, rng = 3 * width, np.random.default_rng(1)
    array = rng.standard_normal(500 + n_rows).astype(dtype)
    starts = rng.permutation(500)[:width]
    lows, highs = starts - 1, starts + n_rows + 1
    if not inside:
        lows, highs = starts + rng.integers(-3, 4, width), starts + n_rows - rng.integers(-3, n_rows, width)
    stage, rows, back = (np.full(n_rows * width, np.nan, dtype) for _ in range(3))
    sums, places = np.zeros(1000, dtype), np.sort(rng.permutation(900)[:width])
    lanes = np.concatenate([starts, lows, highs]).astype(np.int64)
    _there_and_back(array, lanes, n_rows, stage, rows, back, sums, places.astype(np.int64))
    at = starts[:, None] + np.arange(n_rows)
    expected = np.where((at >= lows[:, None]) & (at < highs[:, None]), array[at], 0)
    np.testing.assert_array_equal(rows.reshape(n_rows, width), expected.T)
    np.testing.assert_array_equal(back.reshape(width, n_rows), expected)
    added = np.zeros(1000)
    for place, sequence in zip(places, expected, strict=True):
        added[place : place + n_rows] += sequence
    np.testing.assert_allclose(sums, added, rtol=0, atol=width * np.finfo(dtype).eps * 4)
