"""Resampling: the golden values, an exact double-precision model of every method, and what magenta refuses."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch

from fastddsp.autograd import resampling
from fastddsp.autograd.resampling import RESAMPLING_METHODS, center_crop, pad_axis, resample, upsample_with_windows
from tests.golden import load
from tests.golden.compare import assert_close, check, tensors

CASES = [
    case
    for case in (*load("core_resample.npz"), *load("core_harmonic_utils.npz"))
    if case.function.removeprefix("core.") in resampling.__all__
    and "raises" not in case.meta
    and case.name != "cubic_long"  # has a test of its own
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_magenta(case):
    check(case, getattr(resampling, case.function.removeprefix("core.")))


@pytest.mark.parametrize("case", [case for case in CASES if case.true64], ids=str)
def test_values_and_gradients_are_exact(case):
    function = getattr(resampling, case.function.removeprefix("core."))
    check(case, function, truth="true64", dtype=torch.float64)
    # At most four products of rounded weights, and for gradients sums of up to 88 steps.
    check(case, function, truth="true64", rtol=3e-7)


@pytest.mark.golden
def test_long_cubic_is_that_of_magenta_but_where_its_float32_positions_miss_the_nearest_weights():
    (case,) = [case for case in load("core_resample.npz") if case.name == "cubic_long"]
    (inputs,) = tensors(case, torch.float64).values()
    n_frames, n_steps = inputs.shape[1], case.args["n_timesteps"]
    out = resample(inputs, n_steps, "cubic")
    # Weights come from a table of 1024 fractions. Positions near 100 have a float32 spacing of 2^-17, and a step whose
    # fraction lies that close to the middle of two table entries may take the other one.
    in_table = 1024 * ((np.arange(n_steps) * n_frames % n_steps) / n_steps)
    tie = np.abs(in_table % 1 - 0.5) < 1024 * 2.0**-17
    assert tie.mean() < 0.02
    expected = case.true64["out"]
    assert_close(out.detach().numpy()[:, ~tie], expected[:, ~tie], rtol=1e-7, case=case, truth="true64")
    # Keys' kernel with a = -3/4 has slopes below 1.36, and four frames add up.
    one_entry = 1.36 / 1024
    assert_close(out.detach().numpy(), expected, rtol=1e-7, slack=4 * one_entry * np.abs(case.inp["inputs"]).max())
    cotangent = torch.tensor(case.cot["out"]).double()
    (grad,) = torch.autograd.grad((out * cotangent).sum(), inputs)
    slack = one_entry * cotangent.abs().numpy()[:, tie].sum()
    assert_close(grad.numpy(), case.true64_grad["inputs"], rtol=1e-7, slack=slack)


def exact_resample(x: np.ndarray, n_steps: int, method: str, add_endpoint: bool) -> np.ndarray:
    """Frames [frames] to [n_steps], step by step, with positions as fractions."""
    n = len(x)
    if add_endpoint:
        rate = Fraction(n, n_steps)
    else:
        rate = Fraction(n - 1, n_steps if method == "window" else max(n_steps - 1, 1))

    def frame(j):
        return x[min(max(j, 0), n - 1)]

    out = np.empty(n_steps)
    for step in range(n_steps):
        position = step * rate
        j, u = floor(position), float(position - floor(position))
        if method == "nearest":
            out[step] = frame(j if add_endpoint else floor(position + Fraction(1, 2)))
        elif method == "linear":
            out[step] = (1 - u) * frame(j) + u * frame(j + 1)
        elif method == "window":  # a Hann window over [f - 1, f + 1] for each frame f
            out[step] = sum((0.5 + 0.5 * np.cos(np.pi * (u - i))) * frame(j + i) for i in (0, 1))
        else:
            u = np.rint(1024 * u) / 1024
            taps = [-0.75 * u * (1 - u) ** 2, 1.25 * u**3 - 2.25 * u**2 + 1, 0, -0.75 * u**2 * (1 - u)]
            taps[2] = 1 - sum(taps)
            out[step] = sum(tap * frame(j + i) for tap, i in zip(taps, (-1, 0, 1, 2), strict=True))
    return out


@pytest.mark.parametrize("add_endpoint", [True, False])
@pytest.mark.parametrize(
    ("n_frames", "n_steps"), [(1, 1), (1, 7), (2, 2), (5, 33), (6, 36), (7, 7), (13, 101), (31, 32)]
)
@pytest.mark.parametrize("method", RESAMPLING_METHODS)
def test_any_number_of_steps_follows_the_definition(method, n_frames, n_steps, add_endpoint):
    x = np.random.default_rng(n_steps).standard_normal(n_frames)
    expected = exact_resample(x, n_steps, method, add_endpoint)
    np.testing.assert_allclose(resample(torch.tensor(x), n_steps, method, add_endpoint), expected, atol=1e-13)
    single = resample(torch.tensor(x, dtype=torch.float32), n_steps, method, add_endpoint)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, expected, atol=1e-6)


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic"])
def test_fewer_steps_than_frames_pick_from_the_frames(method):
    x = np.random.default_rng(0).standard_normal(23)
    np.testing.assert_allclose(resample(torch.tensor(x), 7, method), exact_resample(x, 7, method, True), atol=1e-13)


def test_window_takes_a_number_of_steps_that_the_frames_do_not_divide_where_magenta_raises():
    (case,) = [case for case in load("core_resample.npz") if case.name == "window_err_not_divisible"]
    (inputs,) = tensors(case, torch.float64).values()
    out = resample(inputs, **case.args).detach()
    expected = exact_resample(case.inp["inputs"][0, :, 0].astype(float), case.args["n_timesteps"], "window", True)
    np.testing.assert_allclose(out[0, :, 0], expected, atol=1e-13)


@pytest.mark.parametrize("method", RESAMPLING_METHODS)
@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 6, 3), (2, 6, 3, 2)])
def test_axes_are_kept_and_channels_do_not_mix(shape, method):
    x = torch.randn(shape, dtype=torch.float64)
    for n_steps in (18, 31):
        out = resample(x, n_steps, method)
        columns = x.movedim(min(x.ndim - 1, 1), -1).reshape(-1, 6)
        expected = torch.stack([resample(column, n_steps, method) for column in columns])
        torch.testing.assert_close(out.movedim(min(x.ndim - 1, 1), -1).reshape(-1, n_steps), expected)


@pytest.mark.parametrize("method", RESAMPLING_METHODS)
@pytest.mark.parametrize("n_steps", [12, 13])
def test_first_and_second_derivatives_are_right(method, n_steps):
    x = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resample(x, n_steps, method), x)
    assert torch.autograd.gradgradcheck(lambda x: resample(x, n_steps, method), x)


def test_an_empty_batch_stays_empty():
    assert resample(torch.zeros(0, 5, 2), 20, "window").shape == (0, 20, 2)


@pytest.mark.parametrize(
    ("inputs", "args", "message"),
    [
        ((5,), {"method": "lanczos"}, "method must be one of .*, got 'lanczos'"),
        ((1, 8, 1), {"n_timesteps": 7, "method": "window"}, 'at least the 8 frames for method "window", got 7'),
        ((1, 0, 1), {}, "at least one frame, got 0 frames and 20 timesteps"),
        ((5,), {"n_timesteps": 0}, "at least one frame, got 5 frames and 0 timesteps"),
        ((1, 2, 3, 4, 5), {}, "inputs must have 1 to 4 axes"),
    ],
)
def test_errors_say_what_was_expected(inputs, args, message):
    with pytest.raises(ValueError, match=message):
        resample(torch.zeros(inputs), **({"n_timesteps": 20} | args))


def test_a_number_of_steps_that_is_not_whole_is_named():
    with pytest.raises(TypeError, match=r"n_timesteps must be a whole number, got 20\.5"):
        resample(torch.zeros(5), 20.5)


def test_upsample_with_windows_wants_three_axes():
    with pytest.raises(ValueError, match=r"inputs must be \[batch, frames, channels\], got \[5\]"):
        upsample_with_windows(torch.zeros(5), 20)


def test_center_crop_takes_off_what_centering_added():
    audio = torch.arange(10.0).view(1, 10)
    for frame_size in (1, 2, 5):
        half = frame_size // 2
        torch.testing.assert_close(center_crop(pad_axis(audio, (half, half), axis=1), frame_size), audio)
    with pytest.raises(ValueError, match="padding of 12 samples, got 10"):
        center_crop(audio, 12)


@pytest.mark.parametrize(("mode", "numpy_mode"), [("CONSTANT", "constant"), ("reflect", "reflect"), ("symmetric",) * 2])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_pad_axis_is_numpys_pad_along_one_axis(mode, numpy_mode, axis):
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    for before, after in ((0, 0), (2, 1), (9, 0)):  # 9: around more than once
        pairs = [(0, 0)] * 3
        pairs[axis] = (before, after)
        padded = pad_axis(torch.tensor(x), (before, after), axis, mode=mode)
        np.testing.assert_array_equal(padded, np.pad(x, pairs, mode=numpy_mode))


def test_pad_axis_says_what_it_can_do():
    with pytest.raises(ValueError, match=r"mode must be one of .*, got 'wrap'"):
        pad_axis(torch.ones(3), (1, 1), mode="wrap")
    with pytest.raises(ValueError, match="axis must be one of the 1 axes of x, got 1"):
        pad_axis(torch.ones(3), (1, 1), axis=1)
    with pytest.raises(ValueError, match="needs at least one element"):
        pad_axis(torch.ones(0), (1, 1), mode="reflect")
