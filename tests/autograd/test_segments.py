"""Controls at frame rates of which neither divides the other: float64's numbers, derivatives, phases, memory."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastddsp.autograd.harmonic_bank import METHODS
from fastddsp.autograd.harmonics import normalize_harmonics
from fastddsp.autograd.oscillators import harmonic_synthesis, streaming_harmonic_synthesis
from fastddsp.autograd.resampling import resample
from fastddsp.autograd.segments import starts_of_segments
from tests.autograd.test_oscillators import FLOAT32, controls, direct
from tests.golden.compare import assert_close

TURN = 2 * math.pi
FRAMES = [(3, 2), (9, 10), (10, 4), (4, 14)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n_frequency", "n_amplitude"), FRAMES)
def test_audio_is_that_of_float64(n_frequency, n_amplitude, method):
    f, a, d = controls(n_frequency, n_amplitude, 12)
    expected = direct(*(x.numpy() for x in (f, a, d)), 4001, amp_resample_method=method)
    assert_close(harmonic_synthesis(f, a, None, d, 4001, 16000, method).numpy(), expected, FLOAT32)
    in_float64 = harmonic_synthesis(f.double(), a.double(), None, d.double(), 4001, 16000, method)
    assert_close(in_float64.numpy(), expected, 1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_shifted_harmonics_are_those_of_float64(method):
    f, a, d = (x.double() for x in controls(5, 3, 4))
    shifts = 0.1 * torch.rand(2, 5, 4, dtype=torch.float64)
    frequencies = resample(f * torch.arange(1, 5) * (1 + shifts), 501)
    audible = frequencies < 8000
    amplitudes = resample(a * d, 501, method) * audible
    expected = (amplitudes * torch.sin(TURN / 16000 * frequencies.cumsum(1))).sum(2)
    audio = harmonic_synthesis(f, a, shifts, d, 501, 16000, method)
    torch.testing.assert_close(audio, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_derivatives_are_those_of_finite_differences(method):
    f, a, d = (x[:1].double().requires_grad_() for x in controls(3, 4, 2))
    phase = torch.full((1, 1, 1), 0.3, dtype=torch.float64, requires_grad=True)

    def audio(f, a, d, phase):
        return harmonic_synthesis(f, a, None, d, 23, 16000, method, initial_phase=phase, return_final_phase=True)

    assert torch.autograd.gradcheck(audio, (f, a, d, phase))
    assert torch.autograd.gradgradcheck(lambda *x: audio(*x)[0], (f, a, d, phase))


def test_it_compiles_whole_and_maps():
    f, a, d = controls(3, 4, 5)
    expected = harmonic_synthesis(f, a, None, d, 100)
    compiled = torch.compile(harmonic_synthesis, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(f, a, None, d, 100), expected)
    mapped = torch.vmap(lambda f, a, d: harmonic_synthesis(f[None], a[None], None, d[None], 100)[0])(f, a, d)
    torch.testing.assert_close(mapped, expected, rtol=0, atol=FLOAT32)


def test_the_final_phase_goes_on_where_the_audio_ends():
    f, a, d = (x.double() for x in controls(7, 5, 3))
    audio, phase = harmonic_synthesis(f, a, None, d, 1001, return_final_phase=True)
    total = resample(f, 1001).sum(1, keepdim=True) * (TURN / 16000)
    torch.testing.assert_close(torch.exp(1j * phase), torch.exp(1j * total))
    torch.testing.assert_close(phase, torch.remainder(total, TURN))
    turned = harmonic_synthesis(f, a, None, d, 1001, initial_phase=torch.full((2, 1, 1), 5 * TURN))
    torch.testing.assert_close(turned, audio, rtol=0, atol=1e-5)  # the given phase is float32


@pytest.mark.parametrize("n_amplitude", [4, 6, 9])
def test_streams_take_two_frame_rates_and_normalize_below_nyquist_at_the_amplitudes(n_amplitude):
    f, a, d = (x.double() for x in controls(3, n_amplitude, 8))
    audio, phase = streaming_harmonic_synthesis(f, a, d, n_samples=500)
    shares = normalize_harmonics(d, resample(f, n_amplitude), 16000)
    k = torch.arange(1, 9)
    angle = resample(f, 500).cumsum(1) * (TURN / 16000)
    expected = (resample(a * shares, 500) * torch.sin(k * angle)).sum(2)
    torch.testing.assert_close(audio, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(phase, torch.remainder(angle[:, -1:], TURN))


def test_audio_is_nan_only_around_a_frequency_that_is_not_finite():
    f, a, d = controls(5, 7, 3)
    clean = harmonic_synthesis(f, a, None, d, 350)
    f[0, 2] = math.nan
    audio = harmonic_synthesis(f, a, None, d, 350)
    assert audio[0, 71:210].isnan().all()
    assert torch.equal(audio[0, :70], clean[0, :70])
    assert audio[0, 210:].isfinite().all()
    assert torch.equal(audio[1], clean[1])


def test_arguments_that_make_no_sense_are_named():
    f, a, d = controls(3, 4)
    with pytest.raises(ValueError, match=r"amp_resample_method must be one of .*, got 'spline'"):
        harmonic_synthesis(f, a, None, d, 100, amp_resample_method="spline")
    with pytest.raises(ValueError, match=r"initial_phase must be \[2, 1, 1\], got \[2, 1, 5\]"):
        harmonic_synthesis(f, a, None, d, 100, initial_phase=torch.zeros(2, 1, 5))
    with pytest.raises(ValueError, match="sample_rate must be > 0, got 0"):
        harmonic_synthesis(f, a, None, d, 100, sample_rate=0)


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements that any operation returned."""

    n_elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for x in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(x, torch.Tensor):
                self.n_elements = max(self.n_elements, x.untyped_storage().nbytes() // x.element_size())
        return result


@pytest.mark.parametrize("method", METHODS)
def test_no_tensor_has_the_size_of_samples_by_harmonics(method):
    f, a, d = (x.requires_grad_() for x in controls(21, 20, 50, batch=1))
    with LargestTensor() as largest:
        harmonic_synthesis(f, a, None, d, 6400, 16000, method).sum().backward()
    assert 6400 <= largest.n_elements <= 3 * 6400  # blocks of unequal segments are padded to the longest


def test_segments_begin_where_an_interval_of_either_control_does():
    for n_samples, rates in [(97, (3, 12)), (3, (7, 7)), (100, (1, 9))]:
        samples = np.arange(n_samples)
        intervals = np.stack([samples * n // n_samples for n in rates])
        new = np.r_[True, (np.diff(intervals) != 0).any(0)]
        assert starts_of_segments(n_samples, *rates) == samples[new].tolist()
