"""The kernels of sample-wise oscillators against the specification of partials, with a frame for every sample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastddsp.kernels.cpu.oscillator_bank import Bank
from fastddsp.kernels.phase import Timeline
from fastddsp.kernels.reference.partials import sines

SAMPLE_RATE, NYQUIST = 16000.0, 8000.0


@st.composite
def controls(draw):
    """Frequencies from below 0 to beyond Nyquist; sizes below, at and above those of vectors and groups."""
    n_samples = draw(st.sampled_from([1, 2, 15, 16, 17, 64, 103]))
    n_partials = draw(st.sampled_from([1, 2, 15, 16, 17, 63, 64, 65, 131]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (2, n_samples, n_partials)
    frequencies = rng.uniform(-500, 1.2 * NYQUIST, shape).astype(np.float32)
    return frequencies, *(rng.standard_normal(shape).astype(np.float32) for _ in range(2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=40, deadline=None)
@given(problem=controls(), quarter_turns=st.integers(0, 3))
def test_kernels_equal_their_specification(dtype, problem, quarter_turns):
    frequencies, amplitudes, g = (x.astype(dtype) for x in problem)
    one, total, d_frequencies, d_amplitudes = (np.full_like(x, np.nan) for x in (g, g[..., 0], g, g))
    bank = Bank(frequencies, SAMPLE_RATE, NYQUIST, quarter_turns)
    bank.render(amplitudes, one)
    bank.render_sum(amplitudes, total)
    timeline = Timeline(g.shape[1], g.shape[1])
    for cotangent in (g, g[..., :1].copy()):
        bank.gradient(cotangent, amplitudes, d_frequencies, d_amplitudes)
        for b in range(2):
            a, v = amplitudes[b].astype(float), cotangent[b].astype(float)
            s, c = (
                sines(frequencies[b].astype(float), timeline, SAMPLE_RATE, NYQUIST, np.zeros(g.shape[2]), psi)
                for psi in (quarter_turns * np.pi / 2, (quarter_turns + 1) * np.pi / 2)
            )
            # The polynomial, the rounding of the phase and of two products: 8 eps; the specification's own phase.
            limit = 8 * np.finfo(dtype).eps + 2 * np.pi * g.shape[1] * 2.0**-52
            np.testing.assert_allclose(one[b], a * s, rtol=0, atol=limit * np.abs(a).max())
            np.testing.assert_allclose(d_amplitudes[b], v * s, rtol=0, atol=limit * np.abs(v).max())
            summed = limit + np.finfo(dtype).eps / 2 * g.shape[2]  # and half an eps for every addition
            np.testing.assert_allclose(total[b], (a * s).sum(1), rtol=0, atol=summed * np.abs(a).sum(1).max())
            expected = 2 * np.pi / SAMPLE_RATE * np.cumsum((v * a * c)[::-1], 0)[::-1]
            scale = 2 * np.pi / SAMPLE_RATE * np.abs(v * a).sum(0).max()
            np.testing.assert_allclose(d_frequencies[b], expected, rtol=0, atol=limit * scale)


def test_results_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(1)
    frequencies, amplitudes = (rng.random((3, 200, 150)).astype(np.float32) for _ in range(2))
    results = []
    for n_threads in (1, 3):
        bank = Bank(frequencies * 8000, SAMPLE_RATE, NYQUIST, 0, n_threads)
        audio, d_frequencies, d_amplitudes = np.empty((3, 200), np.float32), *(np.empty_like(amplitudes) for _ in "fa")
        bank.render_sum(amplitudes, audio)
        bank.gradient(audio[..., None], amplitudes, d_frequencies, d_amplitudes)
        results.append((audio, d_frequencies, d_amplitudes))
    for x, y in zip(*results, strict=True):
        np.testing.assert_array_equal(x, y)


def test_phases_do_not_drift_over_minutes():
    sample_rate, f = 48000, 1234.5
    n_samples = sample_rate * 120
    bank = Bank(np.full((1, n_samples, 1), f, np.float32), sample_rate, sample_rate / 2)
    audio = np.empty((1, n_samples), np.float32)
    bank.render_sum(np.ones((1, n_samples, 1), np.float32), audio)
    last = np.arange(n_samples - 1000, n_samples) + 1
    turns = np.fmod(last * f, sample_rate) / sample_rate  # exact: f is a multiple of 1/2
    np.testing.assert_allclose(audio[0, -1000:], np.sin(2 * np.pi * turns), rtol=0, atol=4e-7)


def test_a_frequency_that_is_not_finite_spoils_only_its_sample():
    frequencies = np.full((1, 5, 2), 440.0, np.float32)
    frequencies[0, 2, 1] = np.inf
    audio = np.empty((1, 5), np.float32)
    Bank(frequencies, SAMPLE_RATE, NYQUIST).render_sum(np.ones_like(frequencies), audio)
    np.testing.assert_array_equal(np.isnan(audio[0]), [False, False, True, False, False])
