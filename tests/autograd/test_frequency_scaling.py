"""Network outputs to frequencies: the golden values, scales and their inverses, limits, errors."""

import pytest
import torch

from fastddsp.autograd import frequency_scaling
from tests.golden import load
from tests.golden.compare import check

NAMES = frequency_scaling.__all__
CASES = [
    case
    for case in (*load("core_freq_scale.npz"), *load("core_scale.npz"))
    if case.function.removeprefix("core.") in NAMES
]
MAPS = [
    frequency_scaling.frequencies_softmax,
    frequency_scaling.frequencies_sigmoid,
    frequency_scaling.frequencies_critical_bands,
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_magenta(case):
    check(case, getattr(frequency_scaling, case.function.removeprefix("core.")))


@pytest.mark.parametrize("scale", ["bark", "mel"])
def test_scales_and_hertz_are_inverse_down_to_zero(scale):
    there, back = (getattr(frequency_scaling, name) for name in (f"hz_to_{scale}", f"{scale}_to_hz"))
    hz = torch.tensor([0.0, 30.0, 440.0, 8000.0], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(back(there(hz)), hz, rtol=1e-12, atol=1e-10)
    assert back(there(440.0)) == pytest.approx(440.0, rel=1e-12)
    assert torch.isfinite(torch.autograd.grad(there(hz).sum(), hz)[0]).all()


@pytest.mark.parametrize("frequencies", MAPS)
def test_depth_may_be_an_axis_of_its_own(frequencies):
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    out = frequencies(x, depth=4)
    assert out.shape == (2, 3, 2) and out.dtype == torch.float64
    torch.testing.assert_close(out, frequencies(x.view(2, 3, 2, 4)), rtol=0, atol=0)


@pytest.mark.parametrize("frequencies", MAPS)
def test_gradients_are_right_and_an_empty_batch_stays_empty(frequencies):
    x = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: frequencies(x, depth=2), x)
    assert frequencies(torch.zeros(0, 3, 4), depth=2).shape == (0, 3, 2)


@pytest.mark.parametrize("frequencies", MAPS)
def test_depth_must_divide_the_last_axis(frequencies):
    with pytest.raises(ValueError, match=r"freqs must be .* with depth 3.*, got \[2, 3, 8\]"):
        frequencies(torch.zeros(2, 3, 8), depth=3)


def test_critical_bands_names_the_scales_it_knows():
    with pytest.raises(ValueError, match=r"scale must be one of .*, got 'erb'"):
        frequency_scaling.frequencies_critical_bands(torch.zeros(1, 1, 2), scale="erb")
