"""What every kernel op owes to torch (contract.py), on CUDA tensors. Runs by itself where there is a device."""

import pytest
import torch
from torch.func import vmap

from fastddsp.autograd.dispatch import cuda_missing
from tests.autograd.contract import OPS, SMALL, Op, Size, gradients, library_calls

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(cuda_missing() is not None, reason=str(cuda_missing()))]

WITHOUT_KERNELS = {"spectral_loss"}
ON_CUDA = [op for op in OPS if op.name not in WITHOUT_KERNELS]
every_op = pytest.mark.parametrize("op", ON_CUDA, ids=str)


def on_device(op: Op, size: Size = SMALL, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """The op's inputs as leaves on the device."""
    return [x.detach().cuda().requires_grad_() for x in op.make(size, dtype)]


def assert_equal(actual, expected):
    for x, y in zip(actual, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0)


@every_op
def test_values_and_gradients_are_the_cpus(op):
    size = Size(2, 5, 40)
    expected = op(x := op.make(size, torch.float64), size.samples)
    actual = op(y := on_device(op, size, torch.float64), size.samples)
    for a, b in zip((*actual, *gradients(actual, y)), (*expected, *gradients(expected, x)), strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=0, atol=1e-12 * b.abs().max().item())


@every_op
def test_gradients_are_those_of_finite_differences(op):
    inputs = on_device(op, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *x: op(x), inputs, check_batched_grad=True, nondet_tol=0)
    assert torch.autograd.gradgradcheck(lambda *x: op(x), inputs, check_batched_grad=True, nondet_tol=0)


@every_op
def test_library_ops_pass_opcheck(op):
    for function, arguments in library_calls(op, on_device(op)):
        torch.library.opcheck(function, arguments)


@pytest.mark.parametrize(("op", "backend"), [*((op, "aot_eager") for op in ON_CUDA), (ON_CUDA[1], "inductor")], ids=str)
def test_compiled_equals_eager_whatever_the_sizes(op, backend):
    torch._dynamo.reset()
    compiled = torch.compile(lambda n_samples, *inputs: op(inputs, n_samples), fullgraph=True, backend=backend)
    for size in (SMALL, Size(3, 4, 17)):
        expected = op(x := on_device(op, size), size.samples)
        actual = compiled(size.samples, *(y := on_device(op, size)))
        torch.testing.assert_close(actual, expected)
        torch.testing.assert_close(gradients(actual, y), gradients(expected, x))


@every_op
def test_vmap_equals_a_larger_batch(op):
    batch = [x.detach() for x in on_device(op, SMALL._replace(batch=8))]
    actual = vmap(lambda *x: op(x))(*(x.unflatten(0, (4, 2)) for x in batch))
    assert_equal([y.flatten(0, 1) for y in actual], op(batch))


@every_op
def test_under_autocast_halves_are_computed_in_float32(op):
    halves = [x.detach().bfloat16().requires_grad_() for x in on_device(op)]
    upcast = [x.detach().float().requires_grad_() for x in halves]
    with torch.autocast("cuda", torch.bfloat16):
        outputs = op(halves)
    assert_equal(outputs, op(upcast))


@every_op
def test_layout_does_not_matter(op):
    expected = op(x := on_device(op))
    expected = expected, gradients(expected, x)
    strided = [torch.stack([t.detach(), -t.detach()], -1)[..., 0].requires_grad_() for t in on_device(op)]
    outputs = op(strided)
    assert_equal(outputs, expected[0])
    assert_equal(gradients(outputs, strided), expected[1])


@every_op
def test_expanded_inputs_and_cotangents(op):
    one = on_device(op, SMALL._replace(batch=1))
    expanded = [x.expand(3, *x.shape[1:]) for x in one]
    copied = [x.detach().clone().requires_grad_() for x in expanded]
    assert_equal(op(expanded), op(copied))
    sum(y.double().sum() for y in op(expanded)).backward()  # sum hands back an expanded number
    sum(y.double().sum() for y in op(copied)).backward()
    for x, y in zip(one, copied, strict=True):
        torch.testing.assert_close(x.grad, y.grad.sum(0, keepdim=True))


@every_op
@pytest.mark.parametrize("size", [Size(0, 3, 12), Size(2, 3, 0)], ids=str)
def test_nothing_in_nothing_out(op, size):
    inputs = on_device(op, size)
    outputs = op(inputs, size.samples)
    assert outputs[0].shape == op.shape(size)
    for x, dx in zip(inputs, gradients(outputs[:1], inputs), strict=True):
        assert dx.shape == x.shape
        assert not dx.any()


@every_op
def test_the_backend_that_is_asked_for_is_the_one_chosen(op):
    inputs = on_device(op)
    assert_equal(op(inputs, backend="cuda"), op(inputs))


# ---------------------------------------------------------------------------------- errors that take two devices to see


@every_op
def test_nothing_is_copied_to_another_device(op):
    with pytest.raises(ValueError, match="backend 'cpu' must be given tensors on cpu, got tensors on cuda:0"):
        op(on_device(op), backend="cpu")
    with pytest.raises(ValueError, match="backend 'cuda' must be given tensors on cuda, got tensors on cpu"):
        op(op.make(), backend="cuda")


@pytest.mark.parametrize("op", [op for op in ON_CUDA if len(op.inputs) > 1], ids=str)
def test_mixed_devices_are_both_named(op):
    (*_, last), on_cpu = op.inputs, op.make()
    with pytest.raises(ValueError, match=f"{last} must be on cuda:0 like .*, got cpu"):
        op([*on_device(op)[:-1], on_cpu[-1]])
