"""Delay of variable length: magenta's numbers, whole and broken delays, both ends."""

import pytest
import torch

from fastddsp.autograd.delay import variable_length_delay
from tests.golden import load
from tests.golden.compare import check

CASES = load("core_wavetable.npz", "core.variable_length_delay")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_magenta(case):
    check(case, variable_length_delay)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("delay", [0, 1, 7, 31])
def test_a_whole_number_of_samples_only_shifts(delay, dtype):
    audio = torch.randn(2, 100, dtype=dtype)
    out = variable_length_delay(torch.full((2, 100), delay / 32, dtype=dtype), audio, 32)
    assert torch.equal(out[:, delay:], audio[:, : 100 - delay])
    assert not out[:, :delay].any()


def test_between_two_samples_it_is_their_blend():
    audio = torch.arange(20.0)[None]
    out = variable_length_delay(torch.full((1, 20), 2.25 / 8), audio, 8)
    torch.testing.assert_close(out[0, 3:], torch.arange(3.0, 20.0) - 2.25)


def test_the_last_step_turns_back_as_magentas_does_or_goes_on():
    audio, phase = torch.randn(1, 50), torch.full((1, 50, 1), 1.0)
    assert torch.equal(variable_length_delay(phase, audio, 16), audio)
    straight = variable_length_delay(phase, audio, 16, wrap=False)
    assert torch.equal(straight[:, 16:], audio[:, :-16]) and not straight[:, :16].any()
    before = torch.full((1, 50), 14.5 / 16)  # before the last step both are one
    expected = variable_length_delay(before, audio, 16)
    assert torch.equal(variable_length_delay(before, audio, 16, wrap=False), expected)


def test_a_delay_may_be_longer_than_the_audio():
    audio = torch.randn(1, 10, requires_grad=True)
    out = variable_length_delay(torch.full((1, 10), 4 / 1000), audio, 1000)
    torch.testing.assert_close(out[:, 4:], audio[:, :6], rtol=0, atol=1e-4)  # 500 eps: a phase of 1000 samples
    assert torch.autograd.grad(out.sum(), audio)[0][:, 7:].abs().max() < 1e-4


def test_lengths_that_make_no_sense_are_named():
    with pytest.raises(ValueError, match="max_length must be > 0, got 0"):
        variable_length_delay(torch.zeros(1, 3), torch.zeros(1, 3), 0)
