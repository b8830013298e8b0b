"""Oscillators from controls for every sample: magenta's numbers, float64's, the bank of partials, derivatives."""

import pytest
import torch

from fastddsp.autograd.oscillator_bank import oscillator_bank
from fastddsp.autograd.partials import sinusoidal_bank
from tests.golden import load
from tests.golden.compare import check

CASES = load("core_oscillators.npz", "core.oscillator_bank")


def controls(n_samples, n_sinusoids):
    rng = torch.Generator().manual_seed(n_sinusoids)
    shape = 2, n_samples, n_sinusoids
    frequencies = 9000 * torch.rand(shape, generator=rng, dtype=torch.float64)
    return frequencies.requires_grad_(), torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_magenta_and_of_float64(case):
    check(case, oscillator_bank)
    check(case, oscillator_bank, truth="true64")
    check(case, oscillator_bank, truth="true64", dtype=torch.float64)


def test_a_frame_for_every_sample_gives_the_same():
    inputs = controls(60, 18)
    results = []
    for audio in (oscillator_bank(*inputs), sinusoidal_bank(*inputs, 60, amp_resample_method="nearest")):
        results.append([audio, *torch.autograd.grad(audio.square().sum(), inputs)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_the_sum_is_the_sum_of_the_sinusoids():
    inputs = controls(70, 130)
    each = oscillator_bank(*inputs, sum_sinusoids=False)
    torch.testing.assert_close(each.sum(-1), oscillator_bank(*inputs))


@pytest.mark.parametrize("sum_sinusoids", [True, False])
def test_second_derivatives(sum_sinusoids):
    frequencies, amplitudes = controls(5, 3)
    kilohertz = (frequencies.detach() / 1000).requires_grad_()

    def bank(kilohertz, amplitudes):
        return oscillator_bank(1000 * kilohertz, amplitudes, sum_sinusoids=sum_sinusoids)

    assert torch.autograd.gradcheck(bank, (kilohertz, amplitudes), check_batched_grad=True)
    assert torch.autograd.gradgradcheck(bank, (kilohertz, amplitudes), check_batched_grad=True)


def test_sinusoids_apart_pass_opcheck_and_compile():
    inputs = controls(5, 3)
    settings = 16000.0, 8000.0, False, 0
    torch.library.opcheck(torch.ops.fastddsp.oscillator_bank.default, (*inputs, *settings))
    compiled = torch.compile(lambda *x: oscillator_bank(*x, sum_sinusoids=False), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), oscillator_bank(*inputs, sum_sinusoids=False))


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3), (2, 4, 0)])
def test_nothing_in_nothing_out(shape):
    frequencies = torch.ones(shape, requires_grad=True)
    for sum_sinusoids in (True, False):
        audio = oscillator_bank(frequencies, torch.ones(shape), sum_sinusoids=sum_sinusoids)
        assert audio.shape == (shape[:2] if sum_sinusoids else shape)
        assert not audio.any()
        audio.sum().backward()
        assert not frequencies.grad.any()
