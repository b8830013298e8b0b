"""The filter's kernels against their float64 specification, and the specification's parts against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastddsp.kernels import fir as rules
from fastddsp.kernels.cpu import fir as kernel
from fastddsp.kernels.cpu.fir_layout import make_plan
from fastddsp.kernels.cpu.fir_source import audio_source, noise_source
from fastddsp.kernels.reference import fir as reference
from fastddsp.kernels.reference.noise import noise as reference_noise

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)


@pytest.fixture(autouse=True, scope="module")
def scratch_of_nan():
    """Memory as bad as it may come: every number in it NaN."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "rooms_of", lambda plan, n: np.full((n, plan.room_bytes), 255, np.uint8))
        yield


@st.composite
def problems(draw):
    """Primes, 1 frame, 1 sample a frame, fewer samples than frames, several blocks a frame, every kind of window.

    Frames of whole registers are among them, which are added up in another way.
    """
    n_frames = draw(st.sampled_from([1, 2, 5, 17, 37]))
    n_samples = draw(st.sampled_from([1, 2, n_frames, 13, 97, 16 * n_frames, 128 * n_frames, 211]))
    n_bands = draw(st.sampled_from([2, 3, 4, 9, 12, 17, 33, 36, 41, 65, 73]))
    window_size = draw(st.sampled_from([0, 1, 2, 3, 4, 7, 10, 31, 2 * n_bands - 3, 2 * n_bands - 2, 257]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_out = n_samples + draw(st.sampled_from([0, rules.n_taps(n_bands, window_size) - 1]))
    audio, g = rng.standard_normal((2, n_samples)), rng.standard_normal((2, n_out))
    magnitudes = rng.random((2, n_frames, n_bands))
    return *(x.astype(np.float32) for x in (audio, g, magnitudes)), window_size


def tolerances(audio, g, magnitudes, window_size, dtype) -> list[float]:
    """Errors that rounding explains, of the output and of both gradients.

    A result is a sum of products, each of a few factors and sums; k roundings at random make an error of sqrt(k) eps
    relative to the sum of the absolute values. k: bands and taps, and samples of a frame for the last gradient.
    """
    matrix = np.abs(reference.design_matrix(magnitudes.shape[1], window_size))
    taps = (np.abs(magnitudes) @ matrix).sum(1).max()
    longest = np.diff(rules.frame_borders(len(audio), len(magnitudes))).max()
    sums = (
        taps * np.abs(audio).max(),
        taps * np.abs(g).max(),
        matrix.sum(1).max() * longest * np.abs(audio).max() * np.abs(g).max(),
    )
    eps = 4 * np.finfo(dtype).eps * np.sqrt(sum(matrix.shape) + longest)
    return [eps * x + np.finfo(dtype).tiny for x in sums]


OVERLAP = pytest.mark.parametrize("overlap", [False, True], ids=["jumping", "overlapping"])


@DTYPES
@OVERLAP
@settings(max_examples=40, deadline=None)
@given(problem=problems())
def test_kernels_equal_their_specification(dtype, overlap, problem):
    *arrays, window_size = problem
    audio, g, magnitudes = (x.astype(dtype) for x in arrays)
    out = np.full_like(g, np.nan)
    d_audio, d_magnitudes = np.full_like(audio, np.nan), np.full_like(magnitudes, np.nan)
    source = audio_source(audio)
    kernel.filter_source(source, magnitudes, audio.shape[1], window_size, out, overlap=overlap)
    results = d_audio, d_magnitudes
    kernel.gradients(g, source, magnitudes, audio.shape[1], window_size, *results, overlap=overlap)
    for b in range(2):
        x, v, bands = (array[b].astype(float) for array in (audio, g, magnitudes))
        expected = (
            reference.filter_audio(x, bands, window_size, len(v), overlap),
            *reference.gradients(v, x, bands, window_size, overlap),
        )
        allowed = tolerances(x, v, bands, window_size, dtype)
        for actual, wanted, atol in zip((out, d_audio, d_magnitudes), expected, allowed, strict=True):
            np.testing.assert_allclose(actual[b], wanted, rtol=0, atol=atol)


@DTYPES
@pytest.mark.parametrize(("n_samples", "n_frames"), [(120, 15), (150, 3), (41, 41)])
@pytest.mark.parametrize("offset", [0, 1, 4_000_000_003])
def test_noise_is_filtered_as_given_audio_is(dtype, n_samples, n_frames, offset):
    seeds = np.array([3, 2**62 + 5])
    magnitudes = np.random.default_rng(0).random((2, n_frames, 9)).astype(dtype)
    audio = np.stack([reference_noise(int(seed), b, offset, n_samples) for b, seed in enumerate(seeds)]).astype(dtype)
    g = audio[::-1].copy()
    results = []
    for source in (noise_source(seeds, offset, np.dtype(dtype)), audio_source(audio)):
        out, d_magnitudes = np.empty_like(audio), np.full_like(magnitudes, np.nan)
        kernel.filter_source(source, magnitudes, n_samples, 0, out)
        kernel.gradients(g, source, None, n_samples, 0, None, d_magnitudes)
        results.append((out, d_magnitudes))
    for noise, given_audio in zip(*results, strict=True):
        np.testing.assert_array_equal(noise, given_audio)


@pytest.fixture(params=[60_000, 64 * 940], ids=["frames of two lengths", "even frames"])
def long_problem(request):
    """Enough work for several chunks a row."""
    rng = np.random.default_rng(1)
    audio, g = rng.standard_normal((2, 2, request.param), dtype=np.float32)
    return audio, g, rng.random((2, 940, 65), dtype=np.float32)


@OVERLAP
def test_bits_do_not_depend_on_the_number_of_threads(long_problem, overlap):
    audio, g, magnitudes = long_problem
    source = audio_source(audio)
    results = []
    for n_threads in (1, 2, 3):
        out, d_audio, d_magnitudes = (np.full_like(x, np.nan) for x in (audio, audio, magnitudes))
        kernel.filter_source(source, magnitudes, audio.shape[1], 0, out, n_threads, overlap)
        kernel.gradients(g, source, magnitudes, audio.shape[1], 0, d_audio, d_magnitudes, n_threads, overlap)
        results.append((out, d_audio, d_magnitudes))
    for other in results[1:]:
        for actual, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(actual, expected)


@OVERLAP
def test_chunks_leave_no_seams(long_problem, overlap):
    audio, g, magnitudes = long_problem
    out, d_audio, d_magnitudes = (np.empty_like(x) for x in (audio, audio, magnitudes))
    source = audio_source(audio)
    kernel.filter_source(source, magnitudes, audio.shape[1], 0, out, 2, overlap)
    kernel.gradients(g, source, magnitudes, audio.shape[1], 0, d_audio, d_magnitudes, 2, overlap)
    for b in range(2):
        x, bands = audio[b].astype(float), magnitudes[b].astype(float)
        wanted = reference.filter_audio(x, bands, 0, len(x), overlap), *reference.gradients(g[b], x, bands, 0, overlap)
        for actual, expected in zip((out, d_audio, d_magnitudes), wanted, strict=True):
            np.testing.assert_allclose(actual[b], expected, rtol=0, atol=1e-5 * np.abs(expected).max())  # 80 eps


@DTYPES
@pytest.mark.parametrize(("n_bands", "hop_size"), [(65, 64), (65, 96), (20, 32), (33, 32), (129, 128)])
@pytest.mark.parametrize("n_frames", [1, 15, 16, 400])
@pytest.mark.parametrize("n_more", [0, 128])
def test_frames_as_long_as_responses_reach_are_filtered_by_halves(dtype, n_bands, hop_size, n_frames, n_more):
    n_samples = n_frames * hop_size
    rng = np.random.default_rng(2)
    audio, magnitudes = rng.standard_normal((1, n_samples)), rng.random((1, n_frames, n_bands))
    g = rng.standard_normal((1, n_samples + min(n_more, 2 * n_bands - 3)))
    arrays = audio, g, magnitudes = [x.astype(dtype) for x in (audio, g, magnitudes)]
    assert make_plan(n_samples, n_frames, n_bands, 0, False, np.dtype(dtype).char).by_halves
    out, d_audio, d_magnitudes = (np.full_like(x, np.nan) for x in (g, audio, magnitudes))
    kernel.filter_source(audio_source(audio), magnitudes, n_samples, 0, out)
    kernel.gradients(g, audio_source(audio), magnitudes, n_samples, 0, d_audio, d_magnitudes)
    x, v, bands = (array[0].astype(float) for array in arrays)
    expected = reference.filter_audio(x, bands, 0, len(v), False), *reference.gradients(v, x, bands, 0, False)
    allowed = tolerances(x, v, bands, 0, dtype)
    for actual, wanted, atol in zip((out, d_audio, d_magnitudes), expected, allowed, strict=True):
        np.testing.assert_allclose(actual[0], wanted, rtol=0, atol=atol)


# ------------------------------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize(("window_size", "n_taps"), [(0, 128), (257, 128), (128, 128), (127, 127), (64, 63), (1, 2)])
def test_a_window_limits_the_taps(window_size, n_taps):
    assert rules.n_taps(65, window_size) == n_taps


def test_equal_magnitudes_make_a_single_tap():
    taps = np.ones(9) @ reference.design_matrix(9, 0)
    np.testing.assert_allclose(taps, np.arange(16) == 8, atol=1e-15)


@pytest.mark.parametrize("window_size", [0, 10, 11])
def test_one_magnitude_makes_a_windowed_cosine(window_size):
    first_lag, window = rules.taps(16, window_size)
    expected = window / 8 * np.cos(np.pi * 3 * (first_lag + np.arange(len(window))) / 8)
    np.testing.assert_allclose(reference.design_matrix(9, window_size)[3], expected, atol=1e-15)


def test_frames_are_as_long_as_the_reference_makes_them():
    np.testing.assert_array_equal(rules.frame_borders(1000, 7), [*range(0, 859, 143), 1000])
    np.testing.assert_array_equal(rules.frame_borders(8, 4), [0, 2, 4, 6, 8])


def test_what_a_frame_fades_in_the_one_before_fades_out():
    rise = rules.fade_in(6)
    np.testing.assert_allclose(rise, [0, *np.sin(np.pi / 12 * np.arange(1, 6)) ** 2])
    np.testing.assert_allclose(rise[1:] + rise[:0:-1], 1)


def test_audio_is_divided_evenly_where_such_frames_would_use_it_up():
    np.testing.assert_array_equal(rules.frame_borders(10, 7), [0, 2, 3, 5, 6, 8, 9, 10])
    np.testing.assert_array_equal(rules.frame_borders(2, 4), [0, 1, 1, 2, 2])
