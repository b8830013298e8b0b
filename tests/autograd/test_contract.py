"""What every kernel op owes to torch, tested op by op (tests/autograd/contract.py)."""

import copy
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.func import grad, vmap

from tests.autograd.contract import (
    LARGE,
    OPS,
    SMALL,
    Module,
    Renderings,
    Size,
    distributed_worker,
    gradients,
    library_calls,
    mean_energy,
)

every_op = pytest.mark.parametrize("op", OPS, ids=str)
every_op_of_alike_rows = pytest.mark.parametrize("op", [op for op in OPS if op.alike_rows], ids=str)


@pytest.fixture
def threads():
    """torch.set_num_threads, undone after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def assert_equal(actual, expected):
    for x, y in zip(actual, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0)


# ------------------------------------------------------------------------------------------------------- derivatives


@every_op
@pytest.mark.parametrize("size", [SMALL, Size(1, 1, 7)], ids=str)
def test_gradients_are_those_of_finite_differences(op, size):
    inputs = op.make(size, torch.float64)
    assert torch.autograd.gradcheck(lambda *x: op(x, size.samples), inputs, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(lambda *x: op(x, size.samples), inputs, check_batched_grad=True)


@every_op
def test_float32_gradients_are_those_of_float64(op):
    exact = gradients(op(x := op.make(dtype=torch.float64)), x)
    for actual, expected in zip(gradients(op(x := op.make()), x), exact, strict=True):
        assert actual.dtype == torch.float32
        # 36 terms a sample and 12 samples an inner product, each of 2^-23, against the largest: 4e-6 at the worst.
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=4e-6 * expected.abs().max().item())


@every_op
def test_gradients_come_only_where_they_are_asked_for(op):
    every = gradients(op(x := op.make()), x)
    for i, expected in enumerate(every):
        inputs = [t.detach().requires_grad_(i == j) for j, t in enumerate(op.make())]
        outputs = [y for y in op(inputs) if y.requires_grad]
        assert_equal(gradients(outputs, [inputs[i]]), [expected])


# --------------------------------------------------------------------------------------------------- torch's compilers


@every_op
def test_library_ops_pass_opcheck(op):
    calls = library_calls(op)
    assert calls
    for function, arguments in calls:
        torch.library.opcheck(function, arguments)


def test_every_library_op_is_tried():
    registered = {
        name.partition("::")[2] for name in torch._C._dispatch_get_all_op_names() if name.startswith("fastddsp::")
    }
    tried = {function._opname for op in OPS for function, _ in library_calls(op)}
    assert tried == registered


# Inductor takes 10 s where aot_eager takes 1 and sees the same graph: once.
@pytest.mark.parametrize(
    ("op", "backend"),
    [*((op, "aot_eager") for op in OPS), (OPS[1], "inductor")],
    ids=str,
)
def test_compiled_equals_eager_whatever_the_sizes(op, backend):
    torch._dynamo.reset()
    compiled = torch.compile(lambda n_samples, *inputs: op(inputs, n_samples), fullgraph=True, backend=backend)
    for size in (SMALL, Size(3, 4, 17), Size(1, 5, 40)):
        expected = op(x := op.make(size), size.samples)
        actual = compiled(size.samples, *(y := op.make(size)))
        torch.testing.assert_close(actual, expected)
        torch.testing.assert_close(gradients(actual, y), gradients(expected, x))


@every_op
def test_exported_equals_eager(op):
    inputs = tuple(x.detach() for x in op.make())
    module = Module(op)
    program = torch.export.export(module, inputs).module()
    expected, actual = module(*inputs), program(*inputs)
    assert_equal(actual, expected)
    assert_equal(gradients(actual, list(program.parameters())), gradients(expected, list(module.parameters())))


@every_op
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=lambda mode: mode.__name__)
def test_without_gradients(op, mode):
    expected = op(op.make())
    with mode():
        outputs = op(op.make())
    assert not any(y.requires_grad for y in outputs)
    assert_equal(outputs, expected)


# ------------------------------------------------------------------------------------------------- torch's transforms


@every_op
def test_vmap_equals_a_larger_batch(op):
    batch = [x.detach() for x in op.make(SMALL._replace(batch=8))]
    actual = vmap(lambda *x: op(x))(*(x.unflatten(0, (4, 2)) for x in batch))
    assert_equal([y.flatten(0, 1) for y in actual], op(batch))


@every_op_of_alike_rows
def test_vmap_equals_a_loop(op):
    one = [x.detach() for x in op.make()]
    many = [torch.stack([x.detach() for x in xs]) for xs in zip(*(op.make(seed=i) for i in range(4)), strict=True)]
    for mapped in [set(range(len(one))), *({i} for i in range(len(one)))]:
        inputs = [many[i] if i in mapped else x for i, x in enumerate(one)]
        in_dims = tuple(0 if i in mapped else None for i in range(len(one)))
        actual = vmap(lambda *x: op(x), in_dims)(*inputs)
        loop = [op([x[s] if i in mapped else x for i, x in enumerate(inputs)]) for s in range(4)]
        assert_equal(actual, [torch.stack(ys) for ys in zip(*loop, strict=True)])


@every_op_of_alike_rows
def test_gradients_of_every_sample_by_vmap(op):
    samples = [op.make(seed=i) for i in range(3)]
    stacked = [torch.stack(xs).detach() for xs in zip(*samples, strict=True)]
    every = tuple(range(len(stacked)))
    actual = vmap(grad(lambda *x: mean_energy(op(x)), argnums=every))(*stacked)
    loop = [torch.autograd.grad(mean_energy(op(x)), x) for x in samples]
    for x, y in zip(actual, zip(*loop, strict=True), strict=True):
        torch.testing.assert_close(x, torch.stack(y))


@every_op
def test_vmap_of_no_samples(op):
    inputs = [torch.stack([x.detach()] * 3) for x in op.make(SMALL._replace(samples=0))]
    assert vmap(lambda *x: op(x, 0))(*inputs)[0].shape == (3, *op.shape(Size(2, 3, 0)))


@every_op
def test_under_autocast_halves_are_computed_in_float32(op):
    halves = [x.detach().bfloat16().requires_grad_() for x in op.make()]
    upcast = [x.detach().float().requires_grad_() for x in halves]
    with torch.autocast("cpu", torch.bfloat16):
        outputs = op(halves)
        same = op(upcast)
    expected = op(upcast)
    assert_equal(outputs, expected)
    assert_equal(same, expected)
    expected = [x.bfloat16() for x in gradients(expected, upcast)]
    assert_equal(gradients(outputs, halves), expected)


# ----------------------------------------------------------------------------------------------- any layout, any size


@every_op
def test_layout_does_not_matter(op):
    expected = op(x := op.make())
    expected = expected, gradients(expected, x)
    transposed = [t.detach().mT.contiguous().mT.requires_grad_() if t.ndim > 2 else t for t in op.make()]
    strided = [torch.stack([t.detach(), -t.detach()], -1)[..., 0].requires_grad_() for t in op.make()]
    for inputs in (transposed, strided):
        outputs = op(inputs)
        assert_equal(outputs, expected[0])
        assert_equal(gradients(outputs, inputs), expected[1])


@every_op
def test_expanded_inputs_and_cotangents(op):
    one = op.make(SMALL._replace(batch=1))
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
    inputs = op.make(size)
    outputs = op(inputs, size.samples)
    assert outputs[0].shape == op.shape(size)
    for x, dx in zip(inputs, gradients(outputs[:1], inputs), strict=True):
        assert dx.shape == x.shape
        assert not dx.any()


# ----------------------------------------------------------------------------------------------------------- errors


def call_with(op, name, tensor):
    return op([tensor if n == name else x for n, x in zip(op.inputs, op.make(), strict=True)])


@every_op
def test_a_wrong_shape_is_named(op):
    for i, (name, x) in enumerate(zip(op.inputs, op.make(), strict=True)):
        wrong = [x[0], x[None]]
        if i > 0 and not op.inputs[name].one_for_all:
            wrong.append(x[:1])  # the batch is that of the first input
        if op.inputs[name].shape[-1] == 1:
            wrong.append(torch.cat([x, x], -1))
        for tensor in wrong:
            with pytest.raises(ValueError, match=rf"\b{name} must be \[.*\], got {re.escape(str(list(tensor.shape)))}"):
                call_with(op, name, tensor)


@every_op
def test_a_wrong_type_is_named(op):
    for name, x in zip(op.inputs, op.make(), strict=True):
        for wrong in (x.half(), x.bfloat16(), x.int()):
            with pytest.raises(TypeError, match=rf"{name} must be .*float.*got {wrong.dtype}"):
                call_with(op, name, wrong)
        with pytest.raises(TypeError, match=f"{name} must be a torch.Tensor, got ndarray"):
            call_with(op, name, x.detach().numpy())


@every_op
def test_mixed_precision_is_named(op):
    names = [name for name in op.inputs if name != "initial_phase"]  # may be the final phase of a call, float64
    for name in names if len(names) > 1 else []:
        wrong = dict(zip(op.inputs, op.make(), strict=True))[name].double()
        others = "|".join(names)
        with pytest.raises(
            TypeError, match=rf"({others}) must be torch.float\d\d like ({others}), got torch.float\d\d"
        ):
            call_with(op, name, wrong)


@every_op
def test_another_device_is_named(op):
    inputs = [x.detach().to("meta") for x in op.make()]
    with pytest.raises(NotImplementedError, match="no kernels for device meta"):
        op(inputs)
    if len(inputs) > 1:
        with pytest.raises(ValueError, match=f"{list(op.inputs)[-1]} must be on cpu like .*, got meta"):
            op([*op.make()[:-1], inputs[-1]])


@every_op
def test_a_backend_that_is_not_there_is_an_error(op):
    with pytest.raises(RuntimeError, match="backend 'cuda'"):  # no kernels for it, or no device
        op(op.make(), backend="cuda")
    with pytest.raises(ValueError, match=r"backend must be one of \('auto', 'cpu', 'cuda'\), got 'tpu'"):
        op(op.make(), backend="tpu")


@pytest.mark.parametrize("op", [op for op in OPS if op.n_samples], ids=str)
def test_a_negative_length_is_an_error(op):
    with pytest.raises(ValueError, match="n_samples must be >= 0, got -1"):
        op(op.make(), -1)


@pytest.mark.parametrize("wrong", [2.5, "5", torch.tensor(5.0)], ids=repr)
@pytest.mark.parametrize("op", [op for op in OPS if op.n_samples], ids=str)
def test_a_length_that_is_no_whole_number_is_named(op, wrong):
    with pytest.raises(TypeError, match=re.escape(f"n_samples must be a whole number, got {wrong!r}")):
        op(op.make(), wrong)


# ------------------------------------------------------------------------------------------------ threads and processes


@every_op
def test_results_do_not_depend_on_the_number_of_threads(op, threads):
    results = []
    for n in (1, 2):
        threads(n)
        outputs = op(inputs := op.make(LARGE), LARGE.samples)
        results.append([*outputs, *gradients(outputs, inputs)])
        assert torch.get_num_threads() == n
    assert_equal(*results)


@every_op
def test_two_threads_may_call_at_once(op, threads):
    threads(2)
    size = Size(1, 70, 14000)

    def render(seed):
        outputs = op(inputs := op.make(size, seed=seed), size.samples)
        return [*outputs, *gradients(outputs, inputs)]

    expected = [render(seed) for seed in range(4)]
    with ThreadPoolExecutor(2) as pool:
        for seed, result in enumerate(pool.map(render, [0, 1, 2, 3] * 3)):
            assert_equal(result, expected[seed % 4])


@every_op
def test_forked_workers_of_a_data_loader(op, threads):
    threads(2)
    renderings = Renderings(op, LARGE)
    expected = [renderings[i] for i in range(4)]  # this process has used the kernels and their threads
    loader = torch.utils.data.DataLoader(
        renderings, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    for actual, wanted in zip(loader, expected, strict=True):
        assert_equal(actual, wanted)


@pytest.fixture(scope="module")
def distributed(tmp_path_factory):
    """What two spawned processes of a gloo group computed (contract.distributed_worker)."""
    folder = tmp_path_factory.mktemp("distributed")
    torch.multiprocessing.spawn(distributed_worker, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@every_op
def test_two_processes_average_their_gradients(op, distributed):
    module = Module(op)
    inputs = op.make(SMALL._replace(batch=4))
    for rank, results in enumerate(distributed):
        outputs = module(*(x.detach().chunk(2)[rank] for x in inputs))
        assert_equal(results[op.name][0], outputs)
        (mean_energy(outputs) / 2).backward()  # adds to the other half's
    for results in distributed:
        torch.testing.assert_close(results[op.name][1], module.factors.grad)


def test_a_fresh_process_keeps_torchs_threads(distributed):
    for results in distributed:
        before, after = results["threads"]
        assert before == after


@every_op
def test_modules_that_hold_an_op_are_copied_and_pickled(op):
    module = Module(op)
    inputs = op.make()
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert_equal(twin(*inputs), module(*inputs))
