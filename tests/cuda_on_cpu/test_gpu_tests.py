"""The tests for a GPU, run on the CPU in its place, so that the first who has one meets no error of theirs.

Of each parameter the first two values, since golden cases and ops have run on the CPU before.
"""

import functools

import pytest
import torch

from tests import fake_cuda
from tests.autograd import test_cuda, test_cuda_contract
from tests.autograd.contract import OPS, library_calls

TAKE_TWO_DEVICES = {
    "test_a_device_that_is_not_the_current_one_computes_the_same",
    "test_mixed_devices_are_both_named",
    "test_nothing_is_copied_to_another_device",
    "test_the_backend_that_is_asked_for_is_the_one_chosen",
    "test_under_autocast_halves_are_computed_in_float32",
}


def shortened(test):
    """The same test with fewer parameters."""

    @functools.wraps(test)
    def same(*args, **kwargs):
        test(*args, **kwargs)

    same.pytestmark = [
        pytest.mark.parametrize(mark.args[0], list(mark.args[1])[:2]) if mark.name == "parametrize" else mark
        for mark in getattr(test, "pytestmark", [])
    ]
    return same


for module in (test_cuda, test_cuda_contract):
    for name, test in list(vars(module).items()):
        if name.startswith("test_") and callable(test) and name not in TAKE_TWO_DEVICES:
            globals()[f"{name}_{module.__name__.rpartition('.')[2]}"] = shortened(test)


@pytest.fixture(autouse=True)
def _cuda_is_the_cpu(request, monkeypatch):
    with fake_cuda.installed(monkeypatch):
        yield


@pytest.mark.parametrize("op", OPS, ids=str)
def test_ops_without_cuda_kernels_are_known(op):
    called = [function.name() for function, _ in library_calls(op)]
    has_kernels = all(torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA") for name in called)
    assert has_kernels == (op.name not in test_cuda_contract.WITHOUT_KERNELS)
