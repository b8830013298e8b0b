"""The kernels of partials against their float64 specification."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastddsp.kernels.cpu.partials import Bank
from fastddsp.kernels.phase import METHODS, Timeline
from fastddsp.kernels.reference import partials as reference

FREQUENCIES = st.sampled_from(["inharmonic", "silent", "across Nyquist", "above Nyquist", "tiny", "leaps", "negative"])


def draw_frequencies(kind: str, rng, shape: tuple[int, ...], sample_rate: float) -> np.ndarray:
    """Frequencies of one kind, on a grid of float32 so that both precisions see the same numbers."""
    u = rng.random(shape)
    frequencies = {
        "inharmonic": 0.45 * sample_rate * u,
        "silent": np.zeros(shape),
        "across Nyquist": sample_rate / 2 * (0.6 + 0.8 * u),
        "above Nyquist": sample_rate * (0.5 + u),
        "tiny": 1e-3 * u,
        "leaps": sample_rate * 4 * u * (u > 0.5),
        "negative": -300.0 * u,
    }[kind]
    return frequencies.astype(np.float32)


def tolerance(dtype, n_samples: int, turns: float = 0.5) -> float:
    """Error of one partial of amplitude 1, that makes so many turns a sample at most, that the arithmetic explains.

    Polynomial, fold, mask and envelope: 8 eps. Phase: float32 takes 18.5 units of 2^-32 turns (see
    kernels.cpu.partial_phases); float64 the grid of 2^-50 turns; the specification adds up roundings of float64 turns.

    Above Nyquist, beyond half a turn a sample, the kernel rounds more than that. A is off by four roundings, each by up
    to 2^-53 of the turns a sample, which stay the same for a whole interval (frequency at its first sample: two;
    1 / sample_rate; their product), and D by three of its turns an interval, of which the phase collects half: 5.5.
    """
    phase = 18.5 * 2.0**-32 if dtype == np.float32 else 2.0**-50
    beyond = 5.5 * max(0.0, turns - 0.5) * 2.0**-53
    return 8 * np.finfo(dtype).eps + 2 * np.pi * (phase + n_samples * (2.0**-54 + beyond))


def turns_a_sample(frequencies, sample_rate: float) -> float:
    """The most that any partial makes."""
    return np.abs(frequencies).max() / sample_rate


@st.composite
def problems(draw):
    """Shapes odd and prime on purpose: one frame, one sample a frame, fewer samples than frames, blocks of a run."""
    n_frames = draw(st.sampled_from([1, 2, 3, 7]))
    n_samples = draw(st.sampled_from([1, 5, n_frames, 13, 64 * n_frames, 97, 131 * n_frames]))
    n_partials = draw(st.sampled_from([1, 2, 15, 16, 17, 31, 33, 101]))
    method = draw(st.sampled_from(METHODS))
    first_frame, n_intervals = draw(
        st.sampled_from([(0, n_frames), (1, max(1, n_frames - 2)), (-1, n_frames + 3), (0, max(1, n_frames - 1))])
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sample_rate = float(draw(st.sampled_from([16000, 44100, 48000])))
    kinds = [draw(FREQUENCIES), draw(FREQUENCIES)]
    frequencies = np.concatenate([draw_frequencies(k, rng, (2, n_frames, n_partials), sample_rate) for k in kinds], 2)
    frequencies = frequencies[:, :, rng.permutation(2 * n_partials)[:n_partials]]
    amplitudes = rng.standard_normal((2, n_frames, n_partials)).astype(np.float32)
    g = rng.standard_normal((2, n_samples)).astype(np.float32)
    timeline, initial_phase = Timeline(n_samples, n_intervals, first_frame), rng.uniform(-9, 9, (2, n_partials))
    return frequencies, amplitudes, g, timeline, sample_rate, method, initial_phase


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=60, deadline=None)
@given(problem=problems(), quarter_turns=st.integers(0, 3))
def test_kernels_equal_their_specification(dtype, problem, quarter_turns):
    frequencies, amplitudes, g, timeline, sample_rate, method, initial = problem
    frequencies, amplitudes, g = (x.astype(dtype, order="C") for x in (frequencies, amplitudes, g))
    nyquist = sample_rate / 2
    bank = Bank(frequencies, initial, timeline, sample_rate, nyquist, method, quarter_turns)
    audio, d_amplitudes, d_frequencies = (
        np.full_like(g, np.nan),
        np.zeros_like(amplitudes),
        np.full_like(frequencies, np.nan),
    )
    d_initial, final = np.full_like(initial, np.nan), np.zeros_like(initial)
    final[0] = 0.5
    bank.render(amplitudes, audio)
    bank.gradient(g, amplitudes, final, d_amplitudes, d_frequencies, d_initial)

    # A sum of products in float32 adds its own rounding: eps a step along the longest chain, one lane's samples.
    one = tolerance(dtype, timeline.n_samples, turns_a_sample(frequencies, sample_rate))
    chain = one + np.finfo(dtype).eps * (8 + timeline.longest_interval / 16)
    for b in range(2):
        f, a, gb = (x[b].astype(float) for x in (frequencies, amplitudes, g))
        args = (timeline, sample_rate, nyquist, method, initial[b], quarter_turns * np.pi / 2)
        largest = np.abs(a).max(0)
        expected = reference.bank(f, a, *args)
        # 1.5: cubic weights add up to as much; eps a partial that is added.
        limit = 1.5 * (one + np.finfo(dtype).eps * len(largest)) * largest.sum()
        np.testing.assert_allclose(audio[b], expected, rtol=0, atol=limit)
        expected = reference.analysis(gb, f, *args)
        np.testing.assert_allclose(d_amplitudes[b], expected, rtol=0, atol=1.5 * chain * np.abs(gb).sum())
        expected, expected_initial = reference.phase_gradient(gb, f, a, *args, final[b])
        limit = 1.5 * chain * largest.max() * np.abs(gb).sum()
        np.testing.assert_allclose(d_initial[b], expected_initial, rtol=1e-9, atol=limit)
        scale = 2 * np.pi / sample_rate * timeline.n_samples
        np.testing.assert_allclose(d_frequencies[b], expected, rtol=4 * np.finfo(dtype).eps, atol=limit * scale)


def random_bank(n_samples, n_frames, n_partials=19, n_threads=1, dtype=np.float32, first_frame=0, n_intervals=None):
    rng = np.random.default_rng(5)
    frequencies = rng.uniform(0, 9000, (2, n_frames, n_partials)).astype(dtype)
    amplitudes = rng.standard_normal((2, n_frames, n_partials)).astype(dtype)
    timeline = Timeline(n_samples, n_intervals or n_frames, first_frame)
    return Bank(frequencies, np.zeros((2, n_partials)), timeline, 16000, 8000, "window", 0, n_threads), amplitudes


def all_results(bank, amplitudes, n_samples):
    g = np.random.default_rng(6).standard_normal((2, n_samples)).astype(amplitudes.dtype)
    audio, d_amplitudes, d_frequencies = np.empty_like(g), np.zeros_like(amplitudes), np.empty_like(amplitudes)
    d_initial = np.empty((2, amplitudes.shape[2]))
    bank.render(amplitudes, audio)
    bank.gradient(g, amplitudes, d_initial * 0, d_amplitudes, d_frequencies, d_initial)
    return audio, d_amplitudes, d_frequencies, d_initial


def test_results_do_not_depend_on_the_number_of_threads():
    one, three = (all_results(*random_bank(64 * 601, 601, n_threads=n), 64 * 601) for n in (1, 3))
    for x, y in zip(one, three, strict=True):
        np.testing.assert_array_equal(x, y)


def test_gradients_do_not_depend_on_what_else_is_asked_for():
    bank, amplitudes = random_bank(500, 9)
    _, d_amplitudes, d_frequencies, d_initial = all_results(bank, amplitudes, 500)
    g = np.random.default_rng(6).standard_normal((2, 500)).astype(np.float32)
    alone, other, initial = np.zeros_like(d_amplitudes), np.empty_like(d_frequencies), np.empty_like(d_initial)
    bank.gradient(g, amplitudes, d_initial * 0, alone)
    bank.gradient(g, amplitudes, d_initial * 0, None, other, initial)
    for x, y in ((alone, d_amplitudes), (other, d_frequencies), (initial, d_initial)):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_of_frames_equal_the_whole_bit_for_bit(dtype):
    hop, n_frames = 50, 23
    whole, amplitudes = random_bank(hop * n_frames, n_frames, dtype=dtype)
    expected = np.empty((2, hop * n_frames), dtype)
    whole.render(amplitudes, expected)
    phase, parts = np.zeros((2, 19)), []
    for first, last in ((0, 1), (1, 8), (8, 23)):
        timeline = Timeline(hop * (last - first), last - first, first)
        block = Bank(whole.frequencies, phase, timeline, 16000, 8000, "window")
        parts.append(np.empty((2, timeline.n_samples), dtype))
        block.render(amplitudes, parts[-1])
        phase = block.final_phase
    np.testing.assert_array_equal(np.concatenate(parts, 1), expected)
    np.testing.assert_array_equal(phase, whole.final_phase)


def test_phases_do_not_drift_over_minutes():
    frequencies = np.array([[[440.0, 1234.5, 7777.25]]], np.float32)
    n_samples, sample_rate = 48000 * 600, 48000
    bank = Bank(frequencies, np.zeros((1, 3)), Timeline(n_samples, 75000), sample_rate, 24000, "linear")
    turns = frequencies[0, 0].astype(float) * 600 % 1
    error = bank.final_phase[0] / (2 * np.pi) - turns
    # 2^-53 of the whole phase for the reciprocal of the rate, half a step of the grid for every interval.
    assert np.abs(error - np.rint(error)).max() < 7777.25 * 600 * 2.0**-52 + 75000 * 2.0**-51


def test_a_frequency_that_is_not_finite_spoils_only_what_depends_on_it():
    bank, amplitudes = random_bank(300, 6)
    bank.frequencies[0, 3, 4] = np.nan
    bank = Bank(bank.frequencies, np.zeros((2, 19)), Timeline(300, 6), 16000, 8000, "window")
    audio, d_amplitudes, _, _ = all_results(bank, amplitudes, 300)
    assert np.isnan(audio[0, 100:200]).all() and np.isfinite(audio[0, :100]).all() and np.isfinite(audio[1]).all()
    assert np.isfinite(np.delete(d_amplitudes[0], 4, 1)).all() and np.isnan(d_amplitudes[0, 3, 4])
