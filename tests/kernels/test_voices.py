"""Voices of the harmonic kernels: a row's voices are added in order, and read one cotangent."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastddsp.kernels.cpu import harmonic_nufft
from fastddsp.kernels.cpu.harmonic import Bank
from fastddsp.kernels.cpu.harmonic_nufft import NufftBank
from fastddsp.kernels.nufft import alias_bound
from fastddsp.kernels.phase import METHODS, Timeline
from fastddsp.kernels.reference import harmonic as reference
from tests.kernels.test_harmonic import FREQUENCIES, draw_f0, most_turns, tolerance

RATE = 48000.0
ALGORITHMS = [(Bank, np.float32), (Bank, np.float64), (NufftBank, np.float32)]


@pytest.fixture(autouse=True)
def tables_for_any_number_of_harmonics(monkeypatch):
    """So that small problems test them."""
    monkeypatch.setattr(harmonic_nufft, "least_harmonics", lambda n_harmonics, hop: 1)


@st.composite
def problems(draw):
    """Two rows of some voices, each of a kind of its own, side by side."""
    n_voices, n_frames = draw(st.sampled_from([1, 2, 3, 5])), draw(st.sampled_from([1, 2, 7]))
    n_samples = draw(st.sampled_from([1, 5, 97, 131 * n_frames]))
    n_harmonics = draw(st.sampled_from([1, 9, 38, 101]))
    first_frame, n_intervals = draw(st.sampled_from([(0, n_frames), (1, max(1, n_frames - 2))]))
    kinds = draw(st.lists(FREQUENCIES, min_size=2 * n_voices, max_size=2 * n_voices))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    f0 = np.stack([draw_f0(kind, rng, n_frames, RATE, n_harmonics) for kind in kinds])
    amplitudes = rng.standard_normal((len(f0), n_frames, n_harmonics)).astype(np.float32) / n_harmonics
    g = rng.standard_normal((2, n_samples)).astype(np.float32)
    return f0, amplitudes, g, rng.uniform(-9, 9, len(f0)), Timeline(n_samples, n_intervals, first_frame)


def results(algorithm, f0, amplitudes, g, initial_phase, timeline, method):
    """Audio, gradients of amplitudes, f0 and initial phase, the same three by two calls, and the final phase."""
    bank = algorithm(f0, initial_phase, timeline, RATE, RATE / 2, method)
    audio, d_amplitudes, d_f0 = (np.full_like(x, np.nan) for x in (g, amplitudes, f0))
    d_initial, final = np.full(len(f0), np.nan), np.linspace(0, 1, len(f0))
    again = np.full_like(amplitudes, np.nan), np.full_like(f0, np.nan), np.full(len(f0), np.nan)
    bank.render(amplitudes, audio)
    bank.gradients(g, amplitudes, final, d_amplitudes, d_f0, d_initial)
    bank.analyse(g, again[0])
    bank.phase_gradient(g, amplitudes, final, *again[1:])
    return audio, (d_amplitudes, d_f0, d_initial, *again, bank.final_phase)


@pytest.mark.parametrize(("algorithm", "dtype"), ALGORITHMS)
@settings(max_examples=30, deadline=None)
@given(problem=problems(), method=st.sampled_from(METHODS))
def test_voices_are_banks_of_their_own_added_up(algorithm, dtype, problem, method):
    f0, amplitudes, g, initial, timeline = problem
    f0, amplitudes, g = (x.astype(dtype) for x in (f0, amplitudes, g))
    audio, gradients = results(algorithm, f0, amplitudes, g, initial, timeline, method)
    n_voices = len(f0) // len(g)
    alone, gradients_alone = results(algorithm, f0, amplitudes, g.repeat(n_voices, 0), initial, timeline, method)

    expected = alone[::n_voices].copy()
    for voice in range(1, n_voices):
        expected += alone[voice::n_voices]
    np.testing.assert_array_equal(audio, expected)
    for of_voices, of_one in zip(gradients, gradients_alone, strict=True):
        np.testing.assert_array_equal(of_voices, of_one)


@pytest.mark.parametrize(("algorithm", "dtype"), ALGORITHMS)
@settings(max_examples=30, deadline=None)
@given(problem=problems(), method=st.sampled_from(METHODS))
def test_kernels_equal_the_sum_of_their_specifications(algorithm, dtype, problem, method):
    f0, amplitudes, g, initial, timeline = problem
    audio, (d_amplitudes, *_) = results(
        algorithm, *(x.astype(dtype) for x in (f0, amplitudes, g)), initial, timeline, method
    )
    n_voices, n_harmonics = len(f0) // len(g), amplitudes.shape[2]
    images = alias_bound() if algorithm is NufftBank else 0.0
    of_sines = tolerance(dtype, np.ones(1), n_harmonics, timeline.n_samples, most_turns(f0, RATE)) + images
    exact = [x.astype(np.float64) for x in (f0, amplitudes, g)]
    for row in range(2):
        items = range(row * n_voices, (row + 1) * n_voices)
        total = sum(reference.bank(exact[0][b], exact[1][b], timeline, RATE, method, initial[b]) for b in items)
        loudness = sum(np.abs(amplitudes[b]).sum(-1).max() for b in items)
        # 2: cubic weights add up to 1.5; and half an eps of the sum so far for each voice that is added
        bound = 2 * (of_sines + n_voices * np.finfo(dtype).eps) * loudness
        np.testing.assert_allclose(audio[row], total, rtol=0, atol=bound)
        for b in items:
            expected = reference.analysis(exact[2][row], exact[0][b], n_harmonics, timeline, RATE, method, initial[b])
            np.testing.assert_allclose(d_amplitudes[b], expected, rtol=0, atol=2 * of_sines * np.abs(g[row]).sum())


@pytest.mark.parametrize(("algorithm", "dtype"), ALGORITHMS)
def test_any_number_of_threads_gives_the_same_bits(algorithm, dtype):
    rng = np.random.default_rng(0)
    n_voices, n_frames, hop, n_harmonics = 3, 260, 97, 120  # several chunks
    f0 = rng.uniform(50, 600, (n_voices, n_frames)).astype(dtype)
    amplitudes = rng.standard_normal((n_voices, n_frames, n_harmonics)).astype(dtype)
    g = rng.standard_normal((1, n_frames * hop)).astype(dtype)

    def with_threads(n_threads):
        bank = algorithm(f0, np.zeros(n_voices), Timeline(g.shape[1], n_frames), RATE, RATE / 2, "window", 0, n_threads)
        out = [np.full_like(x, np.nan) for x in (g, amplitudes, f0)]
        bank.render(amplitudes, out[0])
        bank.gradients(g, amplitudes, np.zeros(n_voices), *out[1:], np.empty(n_voices))
        return out

    for one, three in zip(with_threads(1), with_threads(3), strict=True):
        np.testing.assert_array_equal(one, three)
