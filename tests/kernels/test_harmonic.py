"""The harmonic kernels against their float64 specification."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastddsp.kernels.cpu.harmonic import Bank
from fastddsp.kernels.phase import METHODS, Timeline
from fastddsp.kernels.reference import harmonic as reference

FREQUENCIES = st.sampled_from(["voice", "silent", "across Nyquist", "above Nyquist", "tiny", "leaps", "negative"])


def draw_f0(kind: str, rng, n_frames: int, sample_rate: float, n_harmonics: int) -> np.ndarray:
    """Frames of f0 of one kind, on a grid of float32 so that both precisions see the same numbers."""
    u = rng.random(n_frames)
    f0 = {
        "voice": 0.4 * sample_rate / n_harmonics * (0.9 + 0.2 * u),
        "silent": np.zeros(n_frames),
        "across Nyquist": sample_rate / 2 / np.ceil(n_harmonics / 2) * (0.5 + u),
        "above Nyquist": sample_rate * (0.5 + u),
        "tiny": 1e-3 * u,
        "leaps": sample_rate * 4 * u * (u > 0.5),
        "negative": -300.0 * u,
    }[kind]
    return f0.astype(np.float32)


def tolerance(dtype, amplitudes, n_harmonics: int, n_samples: int, turns: float = 0.25) -> float:
    """Error that the arithmetic explains, for a sum of sines weighted by `amplitudes`.

    Relative to the sum of |amplitude|: cosines and sines of j theta, j <= 12, come from those of 4 theta (two
    doublings, 4 eps) by at most two steps of a recurrence, which counts the rounding of its factor up to 3^2 times:
    13 eps. A block's center has been turned at most 8 times, 2 eps each: 16 eps; folding and products 3: 32 eps. The
    phase is off by half a unit of its integer (float32: 2^-33 turns), and the kernel's increments and what the
    specification adds up by half a unit of `turns` as a float64, the most that a sample turns, for every sample; both
    count times the harmonic's number.
    """
    eps = np.finfo(dtype).eps
    phase = 2 * np.pi * ((2.0**-33 if dtype == np.float32 else 2.0**-50) + n_samples * np.spacing(turns)) * n_harmonics
    return (32 * eps + phase) * max(np.abs(amplitudes).sum(-1).max(), 1e-30)


def most_turns(f0, sample_rate) -> float:
    """Turns a sample, for `tolerance`."""
    return max(float(np.abs(f0).max()) / sample_rate, 0.25)


@st.composite
def problems(draw):
    """Shapes odd and prime on purpose: one frame, one sample a frame, fewer samples than frames, blocks of a run."""
    n_frames = draw(st.sampled_from([1, 2, 3, 7]))
    n_samples = draw(st.sampled_from([1, 5, n_frames, 13, 64 * n_frames, 97, 131 * n_frames]))
    n_harmonics = draw(st.sampled_from([1, 2, 4, 5, 8, 9, 12, 13, 14, 37, 38, 63, 101, 150, 1001]))
    method = draw(st.sampled_from(METHODS))
    first_frame, n_intervals = draw(
        st.sampled_from([(0, n_frames), (1, max(1, n_frames - 2)), (0, max(1, n_frames - 1))])
    )
    kind, seed = draw(FREQUENCIES), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    sample_rate = float(draw(st.sampled_from([16000, 44100, 48000])))
    f0 = np.stack([draw_f0(kind, rng, n_frames, sample_rate, n_harmonics) for _ in range(2)])
    amplitudes = rng.standard_normal((2, n_frames, n_harmonics)).astype(np.float32) / n_harmonics
    g = rng.standard_normal((2, n_samples)).astype(np.float32)
    return f0, amplitudes, g, Timeline(n_samples, n_intervals, first_frame), sample_rate, method, rng.uniform(-9, 9, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=60, deadline=None)
@given(problem=problems(), quarter_turns=st.integers(0, 3))
def test_kernels_equal_their_specification(dtype, problem, quarter_turns):
    f0, amplitudes, g, timeline, sample_rate, method, initial = problem
    f0, amplitudes, g = (x.astype(dtype) for x in (f0, amplitudes, g))
    bank = Bank(f0, initial, timeline, sample_rate, sample_rate / 2, method, quarter_turns)
    audio, d_amplitudes = np.full_like(g, np.nan), np.full_like(amplitudes, np.nan)
    d_f0, d_initial = np.full_like(f0, np.nan), np.full(2, np.nan)
    bank.render(amplitudes, audio)
    bank.analyse(g, d_amplitudes)
    if quarter_turns == 0:
        bank.phase_gradient(g, amplitudes, np.array([0.5, 0.0]), d_f0, d_initial)
        together = np.full_like(amplitudes, np.nan), np.full_like(f0, np.nan), np.full(2, np.nan)
        bank.gradients(g, amplitudes, np.array([0.5, 0.0]), *together)
        np.testing.assert_array_equal(together[0], d_amplitudes)

    for b in range(2):
        args = (timeline, sample_rate, method, initial[b])
        sums = amplitudes.shape[2], timeline.n_samples, most_turns(f0[b], sample_rate)
        one = tolerance(dtype, amplitudes[b], *sums)
        psi = quarter_turns * np.pi / 2
        expected = reference.bank(f0[b].astype(float), amplitudes[b].astype(float), *args, psi)
        np.testing.assert_allclose(audio[b], expected, rtol=0, atol=2 * one)  # 2: cubic weights add up to 1.5
        expected = reference.analysis(g[b].astype(float), f0[b].astype(float), amplitudes.shape[2], *args, psi)
        unit = tolerance(dtype, np.ones(1), *sums)
        np.testing.assert_allclose(d_amplitudes[b], expected, rtol=0, atol=2 * unit * np.abs(g[b]).sum())
        if quarter_turns == 0:
            final = 0.5 if b == 0 else 0.0
            expected_f0, expected_initial = reference.phase_gradient(
                g[b].astype(float), f0[b].astype(float), amplitudes[b].astype(float), *args, final
            )
            slope = amplitudes[b] * np.arange(1, amplitudes.shape[2] + 1)
            bound = 2 * tolerance(dtype, slope, *sums) * np.abs(g[b]).sum()
            np.testing.assert_allclose(d_initial[b], expected_initial, rtol=1e-9, atol=bound)
            scale = 2 * np.pi / sample_rate * timeline.n_samples
            np.testing.assert_allclose(d_f0[b], expected_f0, rtol=1e-6, atol=bound * scale)
            np.testing.assert_allclose(together[1][b], expected_f0, rtol=1e-6, atol=bound * scale)
            np.testing.assert_allclose(together[2][b], expected_initial, rtol=1e-9, atol=bound)
