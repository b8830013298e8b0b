"""Filters in lanes and their adjoints against numpy.convolve; the way into lanes and back against a transposed copy."""

import numpy as np
import pytest
from numba import njit

from fastddsp.kernels.cpu.fir_response import response_of_taps, stays, taps_of_response
from fastddsp.kernels.cpu.fir_transform import (
    Transform,
    correlated,
    filtered,
    forward,
    has_real_step,
    make_transform,
    response_rows,
    transform_sizes,
    unfiltered,
)
from fastddsp.kernels.cpu.lanes import add_lanes, load_lanes, load_overlaps, store_lanes
from fastddsp.kernels.cpu.simd import REGISTER_BYTES, pointer

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
SIZES = [32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536]
PARTS = pytest.mark.parametrize("odd", [None, True], ids=["symmetric taps", "any taps"])


@njit
def _respond(rows, transform, h, room):
    """h = responses of parts of taps [parts, rows, lanes]."""
    width = rows.shape[2]
    for part in range(len(rows)):
        response = pointer(h, part * response_rows(transform.half) * width)
        first, second = (response, pointer(room, 0)) if stays(transform) else (pointer(room, 0), response)
        for i in range(rows.shape[1] * width):
            first[i] = rows[part].reshape(-1)[i]
        response_of_taps(first, second, transform)


@njit
def _filter(x, is_real, rows, odd, h, half, first, twiddles):
    transform = Transform(half, first, pointer(twiddles, 0))
    _respond(rows, transform, h, x.copy())
    filtered(pointer(x, 0), is_real, pointer(h, 0), odd, transform)


@njit
def _unfilter(g, is_real, rows, odd, h, x, half, first, twiddles):
    transform = Transform(half, first, pointer(twiddles, 0))
    _respond(rows, transform, h, x)
    forward(pointer(g, 0), False, transform)
    unfiltered(pointer(g, 0), pointer(h, 0), odd, is_real, transform, pointer(x, 0))


@njit
def _correlate(x, is_real, g, odd, sums, h, half, first, twiddles):
    transform = Transform(half, first, pointer(twiddles, 0))
    forward(pointer(g, 0), False, transform)
    correlated(pointer(x, 0), is_real, pointer(g, 0), odd, transform, pointer(h, 0))
    for part in range(len(sums)):
        response = pointer(h, part * response_rows(half) * x.shape[1])
        taps_of_response(response, pointer(x, 0), transform)
        for i in range(sums.shape[1] * sums.shape[2]):
            sums[part].reshape(-1)[i] = response[i] if stays(transform) else x.reshape(-1)[i]


@njit
def _there_and_back(sequences, lanes, n_rows, stage, rows, back, sums, starts):
    load_lanes(pointer(sequences, 0), pointer(lanes, 0), n_rows, pointer(stage, 0), pointer(rows, 0))
    store_lanes(pointer(rows, 0), n_rows, pointer(back, 0), n_rows)
    add_lanes(pointer(rows, 0), n_rows, pointer(sums, 0), pointer(starts, 0))


def noise(dtype, *lengths: int) -> list[np.ndarray]:
    """Rows of noise, one register each."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal((n, REGISTER_BYTES // np.dtype(dtype).itemsize)).astype(dtype) for n in lengths]


class Problem:
    """Samples x [size / 2, lanes], and taps of lags -size / 4..size / 4, as the kernels want them."""

    def __init__(self, size: int, odd, dtype):
        self.half, (self.first, self.twiddles) = size // 2, make_transform(size)
        self.twiddles, self.before = self.twiddles.astype(dtype), size // 4
        self.x, self.g, after, before = noise(dtype, self.half, size, self.before, self.before)
        self.taps = np.concatenate([before[::-1] if odd else after[::-1], noise(dtype, 1)[0], after])
        earlier, later = self.taps[self.before :: -1], self.taps[self.before :]
        self.rows = np.zeros((2 if odd else 1, self.half + 1, self.x.shape[1]), dtype)
        self.rows[0, : self.before + 1] = (later + earlier) / 2
        if odd:
            self.rows[1, self.half - self.before :][: self.before + 1] = ((later - earlier) / 2)[::-1]
        self.h = np.full((len(self.rows) * response_rows(self.half), self.x.shape[1]), np.nan, dtype)
        self.is_real, self.plan = has_real_step(self.first), (self.half, self.first, self.twiddles)

    def padded(self, x: np.ndarray) -> np.ndarray:
        """x, then zeros where kernels read them."""
        room = np.full((2 * self.half, x.shape[1]), np.nan, x.dtype)
        room[: self.half * (1 if self.is_real else 2)] = 0
        room[: len(x)] = x
        return room

    def moved(self, rows: np.ndarray, back: bool = False) -> np.ndarray:
        """Numbers from -before on, as rows M up, modulo t^N + 1; or back."""
        signs = np.repeat([1, -1], [self.half + self.before, self.half - self.before])[:, None].astype(rows.dtype)
        shift = self.half - self.before
        return np.roll(rows, -shift, 0) * signs if back else np.roll(rows * signs, shift, 0)

    def close(self, actual, expected, *factors) -> None:
        """Whether errors are those of rounding; factors: of the products that were summed."""
        eps = 4 * np.log2(4 * self.half) * np.finfo(actual.dtype).eps
        atol = eps * np.prod([np.linalg.norm(factor) for factor in factors])
        np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


@DTYPES
@PARTS
@pytest.mark.parametrize("size", SIZES)
def test_what_is_filtered_is_the_convolution_with_the_taps(dtype, odd, size):
    problem = Problem(size, odd, dtype)
    x = problem.padded(problem.x)
    _filter(x, problem.is_real, problem.rows, odd, problem.h, *problem.plan)
    actual = problem.moved(x / problem.half, back=True)
    for lane in range(x.shape[1]):
        samples, taps = problem.x[:, lane].astype(float), problem.taps[:, lane].astype(float)
        problem.close(actual[:, lane], np.convolve(samples, taps)[: len(actual)], samples, taps)


@DTYPES
@PARTS
@pytest.mark.parametrize("size", SIZES)
def test_what_is_unfiltered_is_the_correlation_with_the_taps(dtype, odd, size):
    problem = Problem(size, odd, dtype)
    g, x = problem.moved(problem.g), np.full((2 * size, problem.g.shape[1]), np.nan, dtype)
    _unfilter(g, problem.is_real, problem.rows, odd, problem.h, x, *problem.plan)
    for lane in range(g.shape[1]):
        heard, taps = problem.g[:, lane].astype(float), problem.taps[:, lane].astype(float)
        expected = np.correlate(heard, taps, "valid")[: problem.half]
        problem.close(x[: len(expected), lane] / problem.half, expected, heard, taps)


@DTYPES
@PARTS
@pytest.mark.parametrize("size", SIZES)
def test_what_is_correlated_are_the_gradients_of_both_parts(dtype, odd, size):
    problem = Problem(size, odd, dtype)
    x, g, sums = problem.padded(problem.x), problem.moved(problem.g), np.zeros_like(problem.rows)
    _correlate(x, problem.is_real, g, odd, sums, problem.h, *problem.plan)
    sums /= problem.half
    for lane in range(x.shape[1]):
        samples, heard = problem.x[:, lane].astype(float), problem.g[:, lane].astype(float)
        of_taps = np.correlate(heard, samples, "valid")[: 2 * problem.before + 1]
        earlier, later = of_taps[problem.before :: -1], of_taps[problem.before :]
        problem.close(sums[0, : len(later), lane], (later + earlier) / 2, samples, heard)
        if odd:
            actual = sums[1, problem.half - problem.before : problem.half, lane][::-1]
            problem.close(actual, ((later - earlier) / 2)[1:], samples, heard)


@pytest.mark.parametrize("least", [1, 33, 97, 191, 192, 193, 500])
def test_sizes_are_the_smallest_that_suffice(least):
    for size in transform_sizes(least):
        assert size >= least
        assert size == min(transform_sizes(1)) or size // 2 < max(least, 32)
        assert (size // 2 // make_transform(size)[0]).bit_count() == 1


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


@njit
def _overlapping(array, starts, block, n_rows, rows, back):
    load_overlaps(pointer(array, 0), pointer(starts, 0), block, n_rows, pointer(rows, 0))
    store_lanes(pointer(rows, 0), n_rows, pointer(back, 0), n_rows + 1)


@DTYPES
@pytest.mark.parametrize("more", [1, 2])
def test_sequences_that_overlap_are_loaded_once(dtype, more):
    width = REGISTER_BYTES // np.dtype(dtype).itemsize
    block, n_rows = more * width, 3 * width - 1
    array = np.random.default_rng(2).standard_normal(7 + width * block + n_rows).astype(dtype)
    starts = 7 + block * np.arange(width)
    rows, back = np.full((3 * width, width), np.nan, dtype), np.zeros((width, n_rows + 1), dtype)
    _overlapping(array, starts.astype(np.int64), block, n_rows, rows, back)
    expected = array[starts[:, None] + np.arange(n_rows)]
    np.testing.assert_array_equal(rows[:n_rows], expected.T)
    np.testing.assert_array_equal(back, np.pad(expected, ((0, 0), (0, 1))))
