"""CUDA kernels on a device: the cases of the CPU's tests, CUDA graphs, streams. Runs by itself where there is one."""

import pytest
import torch

from fastddsp.autograd.dispatch import cuda_missing
from fastddsp.autograd.harmonic_bank import METHODS, harmonic_bank
from tests.autograd import test_voices
from tests.autograd.test_oscillators import COMPARED, FLOAT32, port
from tests.golden.compare import check

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(cuda_missing() is not None, reason=str(cuda_missing()))]


def port_on_device(case):
    """The case's function on CUDA tensors, from and to the CPU's."""
    function = port(case)

    def call(*inputs, **args):
        with torch.device("cuda"):  # where `port` makes tensors of its own
            outputs = function(*(x.cuda() for x in inputs), **args)
        return tuple(y.cpu() for y in outputs) if isinstance(outputs, tuple) else outputs.cpu()

    return call


@pytest.mark.parametrize("case", COMPARED, ids=str)
def test_values_and_gradients_are_those_of_magenta_and_of_float64(case):
    function = port_on_device(case)
    check(case, function, truth="true64", rtol=FLOAT32, grad_rtol=2e-5 if "initial_phase" in case.inp else FLOAT32)
    check(case, function, truth="true64", dtype=torch.float64)
    check(case, function)


def controls(dtype=torch.float32, batch=3, frames=40, harmonics=70):
    rng = torch.Generator().manual_seed(0)
    f0_hz = 60 + 400 * torch.rand(batch, frames, 1, generator=rng, dtype=dtype)
    amplitudes = torch.rand(batch, frames, harmonics, generator=rng, dtype=dtype)
    return [x.cuda().requires_grad_() for x in (f0_hz, amplitudes)]


def step(f0_hz, amplitudes, method="window", n_samples=64 * 40):
    audio, phase = harmonic_bank(f0_hz, amplitudes, n_samples, 16000, method, return_final_phase=True)
    g = torch.linspace(-1, 1, audio.numel(), device="cuda", dtype=audio.dtype).view_as(audio)
    return [audio.detach(), phase.detach(), *torch.autograd.grad((audio * g).sum(), (f0_hz, amplitudes))]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_device_and_cpu_agree_and_their_phases_bit_for_bit(dtype, method):
    inputs = controls(dtype)
    audio, phase = harmonic_bank(*inputs, 64 * 40, 16000, method, return_final_phase=True)
    expected, expected_phase = harmonic_bank(
        *(x.cpu() for x in inputs), 64 * 40, 16000, method, return_final_phase=True
    )
    assert torch.equal(phase.cpu(), expected_phase)
    bound = 96 * torch.finfo(dtype).eps * 70  # twice the 48 eps of the sum of amplitudes: both sides may err
    torch.testing.assert_close(audio.cpu(), expected, rtol=0, atol=bound)


def test_voices_are_those_of_the_cpu_and_their_phases_bit_for_bit():
    voices = test_voices.controls(3, dtype=torch.float64)
    audio, phase = test_voices.bank({name: x.cuda() for name, x in voices.items()})
    expected, expected_phase = test_voices.bank(voices)
    assert torch.equal(phase.cpu(), expected_phase)
    torch.testing.assert_close(audio.cpu(), expected, rtol=0, atol=1e-12 * expected.abs().max().item())
    for x, y in zip(
        test_voices.gradients((audio.cpu(),), voices), test_voices.gradients((expected,), voices), strict=True
    ):
        assert x is y is None or torch.allclose(x, y, rtol=1e-9, atol=1e-9 * y.abs().max().item())


def test_every_run_gives_the_same_bits():
    inputs = controls()
    first = step(*inputs)
    for _ in range(5):
        assert all(torch.equal(x, y) for x, y in zip(step(*inputs), first, strict=True))


def test_nothing_waits_for_the_device():
    inputs = controls()
    step(*inputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(*inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_cuda_graph_captures_forward_and_backward():
    inputs = controls()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(*inputs)
    with torch.no_grad():
        inputs[0].mul_(1.1)
    graph.replay()
    for x, y in zip(captured, step(*inputs), strict=True):
        assert torch.equal(x, y)


def test_kernels_follow_the_current_stream():
    inputs = controls()
    expected = step(*inputs)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10**7)
        actual = step(*inputs)
    stream.synchronize()
    assert all(torch.equal(x, y) for x, y in zip(actual, expected, strict=True))


def test_second_derivatives_are_those_of_finite_differences():
    f0_hz, amplitudes = controls(torch.float64, 1, 3, 3)
    inputs = (f0_hz.detach() / 5).requires_grad_(), amplitudes
    assert torch.autograd.gradgradcheck(lambda f, a: harmonic_bank(f, a, 12, 1000), inputs, nondet_tol=0)


def test_memory_is_that_of_a_few_controls():
    f0_hz, amplitudes = controls(batch=4, frames=2000, harmonics=200)
    step(f0_hz, amplitudes, n_samples=2000 * 64)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    outputs = step(f0_hz, amplitudes, n_samples=2000 * 64)
    extra = torch.cuda.max_memory_allocated() - before
    own = sum(x.nbytes for x in (f0_hz, amplitudes, *outputs))
    assert extra < 3 * own
