"""Harmonic controls and phases: the golden values, frames with nothing audible, long sums."""

import math

import numpy as np
import pytest
import torch

from fastddsp.autograd import harmonics
from fastddsp.autograd.harmonics import (
    angular_cumsum,
    get_harmonic_frequencies,
    harmonic_to_sinusoidal,
    normalize_harmonics,
    remove_above_nyquist,
    sinusoidal_to_harmonic,
)
from tests.golden import load
from tests.golden.compare import check

CASES = [
    case
    for case in (*load("core_harmonic_utils.npz"), *load("core_oscillators.npz"))
    if case.function.removeprefix("core.") in harmonics.__all__
]
TURN = 2 * math.pi


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_magenta(case):
    period = TURN if case.function == "core.angular_cumsum" else None
    check(case, getattr(harmonics, case.function.removeprefix("core.")), period=period)


@pytest.mark.parametrize("case", [case for case in CASES if case.true64], ids=str)
def test_phases_are_exact_on_the_circle(case):
    check(case, angular_cumsum, truth="true64", dtype=torch.float64, period=TURN)
    check(case, angular_cumsum, truth="true64", rtol=2e-7, period=TURN)  # one rounding, of values up to 2 pi


def test_phase_of_a_steady_tone_does_not_drift():
    n_samples = 48000 * 60
    omega = torch.full((1, n_samples), TURN * 440 / 48000)
    expected = math.fmod(omega[0, 0].item() * n_samples, TURN)  # exact: 24 and 22 bits, one rounding at the end
    phase = angular_cumsum(omega)
    assert phase.dtype == torch.float32
    assert phase[0, -1].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(0, 5, 2), (2, 0, 1), (2, 1), (1, 7, 2, 3)])
def test_phase_does_not_depend_on_the_chunks(shape):
    omega = torch.rand(shape, dtype=torch.float64)
    phases = [angular_cumsum(omega, chunk_size) for chunk_size in (1, 3, 1000)]
    assert phases[0].shape == shape
    torch.testing.assert_close(phases[0], phases[2], rtol=0, atol=1e-13)
    torch.testing.assert_close(phases[1], phases[2], rtol=0, atol=1e-13)


def test_gradients_are_right():
    omega = torch.rand(1, 7, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: angular_cumsum(x, 3), omega)
    f0_hz = torch.tensor([[[100.0], [3000.0]]], dtype=torch.float64)
    distribution = torch.rand(1, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: normalize_harmonics(x, f0_hz, 16000), distribution)
    amps, freqs = (torch.rand(1, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(
        lambda a, f: sinusoidal_to_harmonic(a, 400 * f, f0_hz, 0.5, 4, normalize=True), (amps, freqs)
    )


def test_half_the_sample_rate_itself_is_silent():
    frequencies = torch.tensor([[[7999.9, 8000.0, 8000.1]]])
    assert remove_above_nyquist(frequencies, torch.ones(1, 1, 3), 16000).tolist() == [[[1.0, 0.0, 0.0]]]


def test_a_frame_with_nothing_below_nyquist_or_nothing_at_all_is_silent():
    f0_hz = torch.tensor([[[9000.0], [100.0]]])
    distribution = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]], requires_grad=True)
    out = normalize_harmonics(distribution, f0_hz, 16000)
    assert not out.any()
    assert torch.isfinite(torch.autograd.grad(out.sum(), distribution)[0]).all()


def test_harmonics_survive_the_way_to_sinusoids_and_back():
    f0_hz = torch.full((1, 3, 1), 440.0, dtype=torch.float64)
    amplitude = torch.rand(1, 3, 1, dtype=torch.float64)
    distribution = normalize_harmonics(torch.rand(1, 3, 5, dtype=torch.float64))
    amps, freqs = harmonic_to_sinusoidal(amplitude, distribution, f0_hz)
    np.testing.assert_allclose(freqs, get_harmonic_frequencies(f0_hz, 5))
    back_amplitude, back_distribution = sinusoidal_to_harmonic(amps, freqs, f0_hz, n_harmonics=5)
    torch.testing.assert_close(back_amplitude, amplitude)  # neighbours count exp(-100) at a width of 0.1
    torch.testing.assert_close(back_distribution, distribution)


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match="chunk_size must be > 0, got 0"):
        angular_cumsum(torch.zeros(1, 3), chunk_size=0)
    with pytest.raises(ValueError, match=r"angular_frequency must be \[batch, samples, ...\], got \[3\]"):
        angular_cumsum(torch.zeros(3))
    with pytest.raises(ValueError, match=r"f0_hz must be \[2, 3, 1\], got \[2, 3\]"):
        sinusoidal_to_harmonic(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), torch.zeros(2, 3))
