"""Scaling and units: the golden values, closed forms in double precision, and the corners."""

import math

import numpy as np
import pytest
import torch

from fastddsp.autograd import scaling
from tests.golden import load
from tests.golden.compare import check

CASES = [case for case in load("core_scale.npz") if hasattr(scaling, case.function.removeprefix("core."))]
CASES += load("core_harmonic_utils.npz", "core.diff")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_magenta(case):
    check(case, getattr(scaling, case.function.removeprefix("core.")))


CONVERSIONS = {
    "midi_to_hz": (scaling.midi_to_hz, lambda x: 440.0 * 2.0 ** ((x - 69.0) / 12.0)),
    "hz_to_midi": (scaling.hz_to_midi, lambda x: 69.0 + 12.0 * math.log2(x / 440.0)),
    "unit_to_midi": (scaling.unit_to_midi, lambda x: 20.0 + 70.0 * x),
    "midi_to_unit": (scaling.midi_to_unit, lambda x: (x - 20.0) / 70.0),
    "unit_to_hz": (lambda x: scaling.unit_to_hz(x, 20.0, 8000.0), lambda x: 20.0 * 400.0**x),
    "hz_to_unit": (lambda x: scaling.hz_to_unit(x, 20.0, 8000.0), lambda x: math.log(x / 20.0) / math.log(400.0)),
    "power_to_db": (scaling.power_to_db, lambda x: max(10.0 * math.log10(x), -80.0)),
    "amplitude_to_db": (scaling.amplitude_to_db, lambda x: max(20.0 * math.log10(x), -80.0)),
    "db_to_power": (scaling.db_to_power, lambda x: 10.0 ** (x / 10.0)),
    "db_to_amplitude": (scaling.db_to_amplitude, lambda x: 10.0 ** (x / 20.0)),
    "safe_log": (scaling.safe_log, math.log),
    "log10": (scaling.log10, math.log10),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_numbers_and_float64_tensors_are_converted_in_double_precision(name):
    convert, expected = CONVERSIONS[name]
    for x in (1e-5, 0.3, 17.25, 69.0, 100.0):
        tensor = convert(torch.tensor([x], dtype=torch.float64))
        assert isinstance(convert(x), float) and tensor.dtype == torch.float64
        assert convert(x) == pytest.approx(expected(x), rel=1e-13, abs=1e-12)
        assert tensor.item() == pytest.approx(expected(x), rel=1e-13, abs=1e-12)


@pytest.mark.parametrize("function", [scaling.midi_to_hz, scaling.hz_to_midi, scaling.exp_sigmoid, scaling.safe_log])
def test_dtype_and_shape_are_kept(function):
    for dtype in (torch.float32, torch.float64):
        out = function(torch.ones(2, 0, 3, dtype=dtype))
        assert out.dtype == dtype and out.shape == (2, 0, 3)


ELEMENTWISE = [
    scaling.safe_log,
    scaling.logb,
    scaling.soft_limit,
    scaling.exp_sigmoid,
    scaling.sym_exp_sigmoid,
    scaling.midi_to_hz,
    scaling.hz_to_midi,
    scaling.power_to_db,
    scaling.db_to_amplitude,
    lambda x: scaling.log_scale(x, 20.0, 8000.0),
    lambda x: scaling.safe_divide(x, x**2),
    lambda x: scaling.unit_to_hz(x, 20.0, 8000.0, clip=True),
]


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_first_and_second_derivatives_are_right(function):
    x = torch.tensor([0.1, 0.37, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)


@pytest.mark.parametrize("exponent", [1.5, 10.0])
def test_exp_sigmoid_has_finite_gradients_where_the_sigmoid_underflows(exponent):
    x = torch.tensor([-1e4, -200.0, -90.0, 90.0, 1e4], requires_grad=True)
    out = scaling.exp_sigmoid(x, exponent=exponent)
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert torch.isfinite(out).all() and torch.isfinite(grad).all()
    assert out[0] == 1e-7 and out[-1] == 2.0


def test_logarithms_and_quotients_are_finite_at_zero():
    zero = torch.zeros(1, requires_grad=True)
    for function in (scaling.safe_log, scaling.hz_to_midi, scaling.amplitude_to_db, scaling.power_to_db):
        (grad,) = torch.autograd.grad(function(zero).sum(), zero)
        assert grad.item() == 0.0
    assert scaling.safe_divide(zero, zero).item() == 0.0
    assert scaling.hz_to_midi(0.0) == scaling.hz_to_midi(-3.0) == 0.0
    assert scaling.safe_log(0.0) == math.log(1e-5)
    assert scaling.safe_divide(1.0, 0.0) == 1e7


def test_units_and_hertz_are_inverse():
    unit = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)
    hz = scaling.unit_to_hz(unit, 20.0, 8000.0)
    np.testing.assert_allclose(hz[[0, -1]], [20.0, 8000.0], rtol=1e-13)
    np.testing.assert_allclose(scaling.hz_to_unit(hz, 20.0, 8000.0), unit, atol=1e-13)


def test_clipping_passes_the_gradient_at_its_bounds_and_none_beyond():
    unit = torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.1], requires_grad=True)
    (grad,) = torch.autograd.grad(scaling.unit_to_midi(unit, 0.0, 1.0, clip=True).sum(), unit)
    assert grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_diff_names_an_axis_that_is_not_there():
    with pytest.raises(ValueError, match="axis must be one of the 2 axes of x, got 2"):
        scaling.diff(torch.ones(3, 4), axis=2)
