"""How many launches an op takes: one forward, one or two backward, but for those that say why."""

import pytest
import torch

from fastddsp.autograd import dispatch
from tests.autograd.contract import OPS, Op, Size, library_calls
from tests.cuda_on_cpu.test_launch import QUEUE, cupy  # noqa: F401

WITHOUT_KERNELS = {"spectral_loss"}
MORE = {
    "partials_bank": 2,  # the prefix sums of all partials' phases go before, from 17 intervals on
    "partials_bank_backward": 3,
    "oscillator_bank": 2,  # groups of 8 partials are added up afterwards
    "oscillator_bank_backward": 1,
}
TYPICAL = Size(2, 40, 640)  # frames, samples: enough of each that sums over blocks are needed


def most_launches(name: str) -> int:
    return MORE.get(name, 2 if name.endswith("_backward") else 1)


@pytest.mark.parametrize("op", OPS, ids=str)
def test_an_op_is_one_launch_and_its_gradients_two(cupy, monkeypatch, op: Op):  # noqa: F811
    monkeypatch.setattr(dispatch, "queue", lambda tensor: QUEUE)
    cuda = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    for function, arguments in library_calls(op, op.make(TYPICAL), TYPICAL.samples):
        name = function._opname.removeprefix("_")
        if name in WITHOUT_KERNELS:
            continue
        cupy.calls.clear()
        function.redispatch(cuda, *arguments)  # what the op does on CUDA tensors, on the CPU's
        assert 1 <= len(cupy.calls) <= most_launches(name), name
