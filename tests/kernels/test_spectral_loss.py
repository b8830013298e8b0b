"""The spectral loss's kernel against its float64 specification, and the specification against closed forms."""

import math

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from fastddsp.kernels.cpu import spectral_loss as kernel
from fastddsp.kernels.reference import spectral_loss as reference
from fastddsp.kernels.spectral_loss import scale


@njit
def logarithms(x):
    out = np.empty_like(x)
    for i in range(len(x)):
        exponent, out[i] = kernel._log(x[i])
        out[i] += exponent * kernel.LOG_2
    return out


DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)


def irfft(spectra, size):
    return scipy.fft.irfft(spectra, size, norm="forward")


def run(target, audio, sizes, squared=False, weights=(1.0, 0.0), needs=(True, True), n_threads=1):
    """Loss of every row, and the gradients that are needed, from NaN-filled arrays."""
    loss = np.full(len(audio), np.nan, audio.dtype)
    gradients = [np.full_like(audio, np.nan) if need else None for need in needs]
    kernel.losses(target, audio, sizes, squared, weights, scipy.fft.rfft, irfft, loss, *gradients, n_threads)
    return [loss, *(d for d in gradients if d is not None)]


@st.composite
def problems(draw):
    """Odd and prime lengths and frames, signals shorter than a frame, frames longer than the hops they are cut from."""
    n_samples = draw(st.sampled_from([1, 2, 13, 97, 256, 331]))
    sizes = draw(st.lists(st.sampled_from([4, 5, 8, 16, 31, 48, 64, 129]), min_size=1, max_size=3))
    weights = draw(st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.7, 0.3)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    target, audio = rng.standard_normal((2, 2, n_samples)).astype(np.float32)
    return target, audio, sizes, draw(st.booleans()), weights


@settings(max_examples=40, deadline=None)
@given(problem=problems())
def test_the_kernel_in_float64_equals_its_specification(problem):
    target, audio, *rest = problem
    target, audio = target.astype(float), audio.astype(float)
    results = run(target, audio, *rest)
    for b in range(2):
        expected = reference.loss_and_gradients(target[b], audio[b], *rest[:2], *rest[2])
        # The slope of a logarithm is 1 / |X|, and |X| has the rounding of the FFT, 1e-15 of its largest bin or less:
        # a bin of 1e-6 of that is off by 1e-9 of itself.
        for actual, wanted in zip(results, expected, strict=True):
            np.testing.assert_allclose(actual[b], wanted, rtol=0, atol=1e-9 * max(np.abs(wanted).max(), 1e-3))


@settings(max_examples=25, deadline=None)
@given(problem=problems())
def test_the_kernel_in_float32_equals_its_specification(problem):
    target, audio, sizes, squared, _ = problem
    results = run(target, audio, sizes, squared)
    for b in range(2):
        expected = reference.loss_and_gradients(target[b].astype(float), audio[b].astype(float), sizes, squared, 1, 0)
        # 2^-24 for each of some ten operations and of the FFT's seven stages, against the largest.
        for actual, wanted in zip(results, expected, strict=True):
            np.testing.assert_allclose(actual[b], wanted, rtol=0, atol=2e-6 * max(np.abs(wanted).max(), 1e-3))


@DTYPES
def test_stretches_leave_no_seams(dtype, monkeypatch):
    """A stretch that is no multiple of any hop and shorter than a frame, so that tails cross several."""
    rng = np.random.default_rng(1)
    target, audio = rng.standard_normal((2, 2, 1000)).astype(dtype)
    whole = run(target, audio, (256, 40, 7))
    monkeypatch.setattr(kernel, "STRETCH", 101)
    for pieces, expected in zip(run(target, audio, (256, 40, 7)), whole, strict=True):
        np.testing.assert_allclose(pieces, expected, rtol=0, atol=20 * np.finfo(dtype).eps * np.abs(expected).max())


def test_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(2)
    target, audio = rng.standard_normal((2, 3, 40_000), dtype=np.float32)
    one, two, three = (run(target, audio, (2048, 192), False, (1.0, 1.0), n_threads=n) for n in (1, 2, 3))
    for a, b, c in zip(one, two, three, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_bits_do_not_depend_on_which_gradients_are_needed():
    target, audio = np.random.default_rng(3).standard_normal((2, 2, 300), dtype=np.float32)
    loss, d_target, d_audio = run(target, audio, (64,), False, (1.0, 1.0))
    np.testing.assert_array_equal(run(target, audio, (64,), False, (1.0, 1.0), (False, False)), [loss])
    np.testing.assert_array_equal(run(target, audio, (64,), False, (1.0, 1.0), (True, False))[1], d_target)
    np.testing.assert_array_equal(run(target, audio, (64,), False, (1.0, 1.0), (False, True))[1], d_audio)


@pytest.mark.parametrize("exponent", [-50, -20, 60, 80])
@pytest.mark.parametrize("squared", [False, True], ids=["L1", "L2"])
def test_loudness_does_not_matter_to_precision(exponent, squared):
    """float32 holds squares of 2^-63 to 2^63 only; a loss of signals times 2^e is known from that of the signals."""
    exponent = exponent // 2 if squared else exponent  # or the loss itself would leave the range
    target, audio = np.random.default_rng(4).standard_normal((2, 1, 300), dtype=np.float32)
    factor = np.float32(2.0**exponent)
    mag, d_mag = run(target, audio, (64,), squared, (1.0, 0.0), (False, True))
    loud_mag, d_loud_mag = run(factor * target, factor * audio, (64,), squared, (1.0, 0.0), (False, True))
    np.testing.assert_array_equal(loud_mag, mag * factor ** (2 if squared else 1))
    np.testing.assert_array_equal(d_loud_mag, d_mag * (factor if squared else 1))
    log, d_log = run(target, audio, (64,), squared, (0.0, 1.0), (False, True))
    loud_log, d_loud_log = run(factor * target, factor * audio, (64,), squared, (0.0, 1.0), (False, True))
    np.testing.assert_array_equal(loud_log, log)
    np.testing.assert_array_equal(d_loud_log * factor, d_log)


@DTYPES
def test_silence_has_a_loss_and_no_gradient(dtype):
    audio = np.random.default_rng(5).standard_normal((2, 200)).astype(dtype)
    loss, d_audio, d_silence = run(audio, np.zeros_like(audio), (64,), False, (1.0, 1.0))
    for b in range(2):
        expected = reference.loss_and_gradients(audio[b].astype(float), np.zeros(200), (64,), False, 1.0, 1.0)
        np.testing.assert_allclose(loss[b], expected[0], rtol=1e-6)
    assert not d_silence.any() and np.isfinite(d_audio).all()
    nothing = run(np.zeros_like(audio), np.zeros_like(audio), (64,), False, (1.0, 1.0))
    assert not any(x.any() for x in nothing)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_what_is_not_finite_is_not_hidden(value, weights):
    audio = np.random.default_rng(6).standard_normal((2, 200), dtype=np.float32)
    broken = audio.copy()
    broken[1, 100] = value
    loss, d_audio = run(audio, broken, (64,), False, weights, (False, True))
    assert np.isfinite(loss[0]) and not np.isfinite(loss[1])
    assert np.isfinite(d_audio[0]).all() and not np.isfinite(d_audio[1]).all()


@pytest.mark.parametrize("frame_size", [4, 5, 7, 100, 192, 2048])
def test_scales_are_those_of_the_stft(frame_size):
    torch = pytest.importorskip("torch")
    from fastddsp.autograd.spectral import stft

    expected = stft(torch.zeros(1, 1000), frame_size)
    assert (scale(frame_size, 1000).n_frames, scale(frame_size, 1000).n_bins) == expected.shape[1:]


def test_the_logarithm_is_exact_to_rounding():
    x = np.float32(2.0) ** np.linspace(-126, 127, 20_001, dtype=np.float32)
    x = np.concatenate([x, np.linspace(0.5, 2, 20_001, dtype=np.float32)])
    actual = logarithms(x)
    exact = np.log(x.astype(float))
    assert np.abs(actual - exact).max() <= 8e-6  # half a unit in the last place of 88
    assert np.abs(actual - exact)[np.abs(exact) < 0.3].max() <= 1e-7 * 0.3


def test_specification_of_twice_the_amplitude():
    """Magnitudes differ by |X|, their logarithms by log 2.

    Of noise, which fills every bin: where a bin is empty but for rounding, the slope of its logarithm is rounding too.
    """
    audio = np.random.default_rng(0).standard_normal(640)
    mag, _, d_mag = reference.loss_and_gradients(audio, 2 * audio, (64,), False, 1.0, 0.0)
    np.testing.assert_allclose(d_mag @ audio, mag, rtol=1e-12)  # it is linear along `audio`
    log, _, d_log = reference.loss_and_gradients(audio, 2 * audio, (64,), False, 0.0, 1.0)
    np.testing.assert_allclose(log, math.log(2), rtol=1e-12)
    np.testing.assert_allclose(d_log @ (2 * audio), 1.0, rtol=1e-9)  # the slope of log along itself
