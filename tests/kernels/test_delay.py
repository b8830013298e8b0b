"""The delay's kernels against their specification."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastddsp.kernels.cpu import delay
from fastddsp.kernels.cpu.delay import Delay
from fastddsp.kernels.reference import delay as reference


@st.composite
def problems(draw):
    """(phase, audio, g [B, N], longest delay, samples of a chunk); phases on whole samples and outside [0, 1] too."""
    n_samples, max_length = draw(st.sampled_from([1, 2, 17, 60])), draw(st.sampled_from([1, 2, 5, 16, 100]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    phase = rng.uniform(-1.5 / max_length, 1 + 1.5 / max_length, (2, n_samples))
    if draw(st.booleans()):
        phase = np.rint(phase * 8) / 8
    arrays = (x.astype(np.float32) for x in (phase, *rng.standard_normal((2, 2, n_samples))))
    return *arrays, max_length, draw(st.sampled_from([7, 2**14]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(problem=problems(), wrap=st.booleans())
@settings(max_examples=100, deadline=None)
def test_delay_equals_its_specification(dtype, problem, wrap):
    *arrays, max_length, chunk = problem
    phase, audio, g = (x.astype(dtype) for x in arrays)
    out, d_phase, d_audio = (np.full_like(g, np.nan) for _ in range(3))
    before, delay.SAMPLES_PER_CHUNK = delay.SAMPLES_PER_CHUNK, chunk
    try:
        line = Delay(phase, max_length, wrap)
        line.render(audio, out)
        line.gradients(g, audio, d_phase, d_audio)
    finally:
        delay.SAMPLES_PER_CHUNK = before
    eps = 8 * np.finfo(dtype).eps  # of sums of products of three numbers that are rounded once each
    for b in range(2):
        exact = phase[b].astype(float), audio[b].astype(float)
        x, v = np.abs(audio[b]).max(), g[b].astype(float)
        expected = reference.delay_gradients(v, *exact, max_length, wrap)
        np.testing.assert_allclose(out[b], reference.delay(*exact, max_length, wrap), rtol=0, atol=eps * x)
        np.testing.assert_allclose(d_phase[b], expected[0], rtol=0, atol=eps * 2 * max_length * x * np.abs(v).max())
        np.testing.assert_allclose(d_audio[b], expected[1], rtol=0, atol=eps * np.abs(v).sum())


def test_results_do_not_depend_on_the_number_of_threads():
    phase, audio, g = np.random.default_rng(0).random((3, 2, 50_000)).astype(np.float32)
    results = []
    for n_threads in (1, 3):
        line, arrays = Delay(phase, 300, True, 0, n_threads), [np.empty_like(g) for _ in range(3)]
        line.render(audio, arrays[0])
        line.gradients(g, audio, *arrays[1:])
        results.append(arrays)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
