"""The wavetable kernels against their specification: any sizes, chunks, threads, places in the table."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastddsp.kernels.cpu import wavetable
from fastddsp.kernels.cpu.wavetable import Lookup, Oscillator, chunks_of
from fastddsp.kernels.reference import wavetable as reference

RATE = 1000.0
frames = st.sampled_from([1, 2, 3, 7, 40, 400])


def with_chunks(chunk, make):
    """What `make` makes with chunks of so many samples."""
    before, wavetable.SAMPLES_PER_CHUNK = wavetable.SAMPLES_PER_CHUNK, chunk
    try:
        return make()
    finally:
        wavetable.SAMPLES_PER_CHUNK = before


@st.composite
def problems(draw):
    """(f0 [B, F], amplitudes [B, F'], wavetables [B, F'', W], g [B, N], initial phase, final cotangent [B], chunk)."""
    n_samples = draw(st.sampled_from([1, 2, 13, 64, 255, 257, 600]))
    n_points = draw(st.sampled_from([1, 2, 3, 16, 101]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    f0 = rng.uniform(-200, 700, (2, draw(frames)))  # from below 0 to beyond Nyquist
    amplitudes = rng.standard_normal((2, draw(frames)))
    wavetables = rng.standard_normal((2, draw(frames), n_points))
    rest = rng.standard_normal((2, n_samples)), rng.uniform(-9, 9, 2), rng.standard_normal(2)
    return f0, amplitudes, wavetables, *rest, draw(st.sampled_from([10, 100, 2**14]))


def rounded(problem, dtype):
    """The same numbers in both precisions: those of float32."""
    return [x.astype(np.float32).astype(dtype) for x in problem]


def assert_close(actual, expected, eps, scale):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=eps * max(scale, 1e-30))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(problem=problems())
@settings(max_examples=40, deadline=None)
def test_synthesizer_equals_its_specification(dtype, problem):
    *arrays, initial, final, chunk = problem
    f0, amplitudes, wavetables, g = rounded(arrays, dtype)
    oscillator = with_chunks(chunk, lambda: Oscillator(f0, wavetables, initial, g.shape[1], RATE))
    audio = np.full_like(g, np.nan)
    oscillator.play(amplitudes, audio)
    results = [np.full_like(x, np.nan) for x in (f0, amplitudes, wavetables, initial)]
    oscillator.pull_back(g, amplitudes, final, *results)
    # Sums of products of four numbers that are rounded once each, and of phases: 8 eps of the sum of absolute values;
    # float64's phases, which the specification sums up in floating point, are only known to n_samples eps of a turn.
    eps = 8 * np.finfo(dtype).eps + g.shape[1] * wavetables.shape[2] * 2.0**-50
    for b in range(2):
        one = [x[b].astype(float) for x in (f0, amplitudes, wavetables)]
        expected = reference.synthesis(*one, g.shape[1], RATE, initial[b])
        a, w, v = (np.abs(x).max() for x in (amplitudes[b], wavetables[b], g[b]))
        assert_close(audio[b], expected, eps, a * w)
        gradients = reference.synthesis_gradients(g[b].astype(float), *one, RATE, initial[b], final[b])
        slope = 2 * w * wavetables.shape[2] / (2 * np.pi) * a * np.abs(g[b]).sum() + abs(final[b])
        scales = slope * 2 * np.pi / RATE * g.shape[1], v * w * g.shape[1], v * a * g.shape[1], slope
        for actual, wanted, scale in zip(results, gradients, scales, strict=True):
            assert_close(actual[b], wanted, eps, scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(problem=problems(), order=st.integers(0, 1), on_points=st.booleans())
@settings(max_examples=40, deadline=None)
def test_lookup_equals_its_specification(dtype, problem, order, on_points):
    wavetables, g = rounded(problem[2:4], dtype)
    n_points, chunk = wavetables.shape[2], problem[-1]
    rng = np.random.default_rng(len(g[0]))
    phase = rng.uniform(-1.5 / n_points, 1 + 1.5 / n_points, g.shape).astype(np.float32).astype(dtype)
    if on_points:
        phase = np.rint(phase * 8) / 8  # exactly on points of some tables, and on both ends
    lookup = with_chunks(chunk, lambda: Lookup(phase, wavetables, order))
    audio, d_phase, d_wavetables = (np.full_like(x, np.nan) for x in (g, g, wavetables))
    lookup.render(audio)
    lookup.gradients(g, d_phase, d_wavetables)
    weights, slopes = reference.weights_of_points, reference.slopes_of_points
    points, next_points = ((weights, slopes), (slopes, lambda phase, n: np.zeros(n)))[order]
    eps = 8 * np.finfo(dtype).eps  # of sums of products of three numbers that are rounded once each
    for b in range(2):
        exact = phase[b].astype(float), wavetables[b].astype(float)
        v, scale = g[b].astype(float), np.abs(wavetables[b]).max() * (2 * n_points if order else 1)
        assert_close(audio[b], reference.lookup(*exact, points), eps, scale)
        assert_close(d_phase[b], v * reference.lookup(*exact, next_points), eps, np.abs(v).max() * scale * 2 * n_points)
        expected = reference.lookup_adjoint(v, exact[0], *wavetables.shape[1:], points)
        assert_close(d_wavetables[b], expected, eps, np.abs(v).sum() * (n_points if order else 1))


@given(n_samples=st.integers(1, 300), n_frames=st.integers(1, 400), chunk=st.sampled_from([1, 7, 50, 1000]))
@settings(max_examples=200, deadline=None)
def test_chunks_cover_every_sample_and_every_interval_once(n_samples, n_frames, chunk):
    chunks = chunks_of(n_samples, n_frames, chunk)
    samples = [n for low, high, _, _ in chunks for n in range(low, high)]
    assert samples == list(range(n_samples))
    for low, high, first, end in chunks:
        assert all(first <= n * n_frames // n_samples < end for n in range(low, high))
    assert {i for _, _, first, end in chunks for i in range(first, end)} == set(range(n_frames))


def test_results_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    f0, amplitudes = (rng.uniform(50, 300, (3, 100)).astype(np.float32) for _ in range(2))
    g = rng.standard_normal((3, 40_000)).astype(np.float32)
    for n_frames in (1, 100):
        wavetables = rng.standard_normal((3, n_frames, 64)).astype(np.float32)
        results = []
        for n_threads in (1, 3):
            oscillator = Oscillator(f0, wavetables, np.zeros(3), 40_000, 16000.0, 0, n_threads)
            arrays = [np.empty_like(x) for x in (g, f0, amplitudes, wavetables)]
            oscillator.play(amplitudes, arrays[0])
            oscillator.pull_back(g, amplitudes, np.zeros(3), *arrays[1:], np.empty(3))
            results.append(arrays)
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_frequency_that_is_not_finite_spoils_its_intervals_alone():
    f0 = np.full((1, 4), 10.0, np.float32)
    f0[0, 2] = np.nan
    audio = np.empty((1, 40), np.float32)
    Oscillator(f0, np.ones((1, 1, 8), np.float32), np.zeros(1), 40, RATE).play(np.ones((1, 1), np.float32), audio)
    np.testing.assert_array_equal(np.isnan(audio[0]), np.repeat([False, True, True, False], 10))
