"""What the benchmark on a GPU checks before it measures, of the kernels' CUDA C as it is executed on the CPU."""

from dataclasses import replace

import pytest
import torch
from torch._C import DispatchKey, DispatchKeySet
from torch.utils._python_dispatch import TorchDispatchMode

from fastddsp.autograd import dispatch
from fastddsp.benchmarks.gpu.cases import CASES, with_gradients
from fastddsp.benchmarks.sources import relative_error
from fastddsp.kernels.cuda import launch
from tests.cuda_on_cpu.conftest import executor_of
from tests.cuda_on_cpu.launching import QUEUE

CPU = torch.device("cpu")


class OnCuda(TorchDispatchMode):
    """Library ops take their CUDA implementations, whatever the device of their tensors."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "fastddsp":
            return function.redispatch(DispatchKeySet(DispatchKey.CUDA), *args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


@pytest.mark.needs_compiler
@pytest.mark.parametrize("name", CASES)
def test_kernels_pass_the_check_that_comes_before_their_figures(monkeypatch, name):
    executor = executor_of("CUDA C")
    monkeypatch.setattr(dispatch, "queue", lambda tensor: QUEUE)
    monkeypatch.setattr(launch, "launch", executor)
    case, launched = CASES[name], len(executor.launched)
    short = replace(case, problem=replace(case.problem, batch=2, **case.short))
    exact = with_gradients(case.truth or case.plain, *short.inputs(CPU, torch.float64))
    with OnCuda():
        ours = with_gradients(case.ours, *short.inputs(CPU))
    assert len(executor.launched) >= launched + 2
    relative_error(ours, exact, 5e-6)  # half of what is allowed on a GPU
