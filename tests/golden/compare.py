"""Run a port on a golden case, compare its values and gradients, and keep what was found for docs/parity.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch

from tests.golden import Case

# Two float32 evaluations of one formula that sum in different orders (the figure is the golden data's own, README.md).
FLOAT32_RTOL = 1e-5
# The float64 answers are stored rounded to float32 (half an ulp is 6e-8) when they have over 2000 elements.
FLOAT64_RTOL = 1e-7


class Comparison(NamedTuple):
    """How far an array of a port is from a golden case's, and how far it may be, relative to the expected array."""

    case: Case
    kind: str  # "value", "gradient" or "refusal"
    truth: str  # "out" or "true64"
    precision: str  # of the port: "float32", ...
    measure: str  # "largest": largest error / largest value; "L2": L2 norm of the error / L2 norm of the array
    error: float
    limit: float


COMPARISONS: list[Comparison] = []  # all that this process made


def check(
    case: Case,
    function: Callable,
    *,
    truth: str = "out",
    dtype: torch.dtype = torch.float32,
    rtol: float | None = None,
    grad_rtol: float | None = None,
    period: float | None = None,
) -> None:
    """Assert that `function` gives the outputs and the gradients of a golden case.

    It is called with the case's inputs as tensors, in order, and with its `args` as keyword arguments. It may return
    a tensor, a tuple, or a dictionary. An error is measured against the largest absolute value of the expected array.

    Args:
        case: what to compare with.
        function: the port.
        truth: "out" compares with the reference, "true64" with the float64 answer. Where a case has both, the
            reference's own error (twice, as it is a maximum over one draw) is allowed for "out".
        dtype: precision in which the port runs.
        rtol: tolerance relative to the largest value; by default 1e-5 in float32 and 1e-7 in float64.
        grad_rtol: the same for gradients; `rtol` by default.
        period: compare values on a circle of this circumference.
    """
    if rtol is None:
        rtol = FLOAT64_RTOL if dtype == torch.float64 else FLOAT32_RTOL
    inputs = tensors(case, dtype)
    outputs = by_name(function(*inputs.values(), **case.args))
    assert outputs.keys() == case.out.keys(), f"outputs {list(outputs)}, expected {list(case.out)}"
    for name, output in outputs.items():
        expected = getattr(case, truth)[name]
        slack = 2 * case.meta.get("tf_minus_true64_maxabs", {}).get(name, 0.0) if truth == "out" else 0.0
        assert_close(output.detach().numpy(), expected, rtol, slack, period, case=case, what=name, truth=truth)
    if case.cot:
        check_gradients(case, inputs, outputs, truth, grad_rtol or rtol)


def check_refusal(case: Case, function: Callable) -> None:
    """Assert that `function` raises ValueError on a golden case for which the reference does."""
    assert case.meta["raises"].startswith("ValueError")
    with pytest.raises(ValueError):
        function(*tensors(case).values(), **case.args)
    COMPARISONS.append(Comparison(case, "refusal", "out", "float32", "largest", 0.0, 0.0))


def check_gradients(case: Case, inputs: dict, outputs: dict, truth: str, rtol: float) -> None:
    """Back-propagate the case's cotangents through `outputs` and compare with its gradients."""
    expected = case.true64_grad if truth == "true64" else case.grad
    leaves = {name: x for name, x in inputs.items() if x.requires_grad}
    objective = sum((out * torch.tensor(case.cot[name]).to(out)).sum() for name, out in outputs.items())
    actual = dict(zip(leaves, torch.autograd.grad(objective, list(leaves.values()), allow_unused=True), strict=True))
    for name, grad in actual.items():
        grad = torch.zeros_like(leaves[name]) if grad is None else grad
        assert torch.isfinite(grad).all(), f"{case.name}: gradient of {name} is not finite"
        if name in case.meta.get("grad_none", []):
            assert not grad.any(), f"{case.name}: {name} should have no gradient"
        elif name in expected:
            own_error = case.meta.get("tf_grad_minus_true64_maxabs_and_scale", {}).get(name, [0.0])[0]
            slack = 2 * own_error if truth == "out" else 0.0
            assert_close(grad.numpy(), expected[name], rtol, slack, case=case, what=name, kind="gradient", truth=truth)


def tensors(case: Case, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Return the inputs of a case as tensors; those of floating point in `dtype`, asking for gradients."""
    return {
        name: torch.tensor(x, dtype=dtype, requires_grad=True) if x.dtype.kind == "f" else torch.tensor(x)
        for name, x in case.inp.items()
    }


def by_name(result: torch.Tensor | tuple | dict) -> dict[str, torch.Tensor]:
    """Name what a function returned as the golden files do: `out`, or `out0`, `out1`, ..."""
    if isinstance(result, dict):
        return result
    if isinstance(result, tuple):
        return {f"out{i}": x for i, x in enumerate(result)}
    return {"out": result}


def assert_close(
    actual: np.ndarray,
    expected: np.ndarray,
    rtol: float,
    slack: float = 0.0,
    period: float | None = None,
    what: str = "array",
    *,
    case: Case | None = None,
    kind: str = "value",
    truth: str = "out",
) -> None:
    """Assert max |actual - expected| <= rtol * max |expected| + slack over the finite values.

    Infinities must be the same; where the reference is NaN the port must be finite.

    Args:
        actual: of the port.
        expected: shaped so.
        rtol: tolerance relative to the largest expected value.
        slack: added to it.
        period: compare on a circle of this circumference.
        what: name of the array.
        case: whose array it is; with it the comparison is kept for docs/parity.md.
        kind: "value" or "gradient".
        truth: what `expected` is: "out" of the reference or "true64".
    """
    what = _described(what, case, kind)
    assert actual.shape == expected.shape, f"{what} has shape {actual.shape}, expected {expected.shape}"
    infinite = np.isinf(expected)
    assert np.array_equal(actual[infinite], expected[infinite]), f"{what} has its infinities elsewhere"
    assert np.isfinite(actual[~infinite]).all(), f"{what} is not finite"
    known = np.isfinite(expected)
    if not known.any():
        return
    error = np.abs(actual[known].astype(np.float64) - expected[known])
    if period is not None:
        error = np.minimum(error, period - error)
    scale = float(np.abs(expected[known]).max())
    limit = rtol * scale + slack
    if case is not None:
        scale = scale or 1.0
        found = float(error.max()) / scale, limit / scale
        COMPARISONS.append(Comparison(case, kind, truth, actual.dtype.name, "largest", *found))
    assert error.max() <= limit, f"{what} is off by {error.max():.3g}, allowed {limit:.3g}"


def assert_close_l2(
    actual: np.ndarray, expected: np.ndarray, limit: float, *, case: Case, what: str, kind: str = "gradient"
) -> None:
    """Assert that the L2 norm of an error is at most `limit` of the norm of the expected array; see `assert_close`."""
    error = float(np.linalg.norm(actual - expected) / (np.linalg.norm(expected) or 1.0))
    COMPARISONS.append(Comparison(case, kind, "out", actual.dtype.name, "L2", error, limit))
    assert error <= limit, f"{_described(what, case, kind)} is off by {error:.3g} in L2, allowed {limit:.3g}"


def _described(what: str, case: Case | None, kind: str) -> str:
    of_kind = f"gradient of {what}" if kind == "gradient" else what
    return f"{case.name}: {of_kind}" if case else of_kind
