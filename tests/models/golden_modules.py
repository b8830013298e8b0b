"""Compare a module, its inputs' gradients and its weights' gradients with a golden case."""

import torch

from fastddsp.models.weights import load_magenta_arrays, to_magenta_arrays
from tests.golden import compare


def cases_of(cases, prefix):
    """The cases of functions that begin so, such as "synths.Harmonic"."""
    return [case for case in cases if case.function.startswith(prefix) and "raises" not in case.meta]


def noise_of(case, name="noise"):
    """The noise that the reference drew, as a keyword argument; none if it drew none."""
    return {name: torch.tensor(case.noise[0])} if case.noise else {}


def check_module(case, module, function=None, *, arrays_of=None, rtol=None, grad_rtol=None):
    """Assert that a module with the case's weights has its outputs and gradients.

    Args:
        case: What to compare with.
        module: Holds the weights.
        function: What to call on the inputs; the module itself by default.
        arrays_of: The part of the module whose weights the case holds; the module itself by default.
        rtol: See `compare.check`.
        grad_rtol: See `compare.check`.
    """
    holder = module if arrays_of is None else arrays_of
    function = function or module
    load_magenta_arrays(holder, case.var)
    compare.check(case, function, rtol=rtol, grad_rtol=grad_rtol)
    if not case.var:
        return
    outputs = compare.by_name(function(*compare.tensors(case).values()))
    objective = sum((out * torch.tensor(case.cot[name])).sum() for name, out in outputs.items())
    learnt = {name: p for name, p in holder.named_parameters() if p.requires_grad}
    grads = {name: torch.zeros_like(p) for name, p in holder.named_parameters()}
    grads.update(zip(learnt, torch.autograd.grad(objective, list(learnt.values())), strict=True))
    expected = {name.removeprefix("_"): array for name, array in case.grad.items()}
    for name, grad in to_magenta_arrays(holder, grads).items():
        tolerance = grad_rtol or rtol or compare.FLOAT32_RTOL
        compare.assert_close(grad, expected[name], tolerance, case=case, what=name, kind="gradient")
