"""Partials, oscillators, wavetables and delays on a device: the numbers and phases of the CPU, bits, CUDA graphs."""

import pytest
import torch

from fastddsp.autograd import delay, oscillator_bank, partials, wavetable
from fastddsp.autograd.dispatch import cuda_missing
from fastddsp.autograd.oscillators import harmonic_synthesis
from tests.autograd import test_delay, test_oscillator_bank, test_partials, test_wavetable
from tests.golden.compare import check

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(cuda_missing() is not None, reason=str(cuda_missing()))]


def on_device(function):
    """A function on CUDA tensors, from and to the CPU's."""
    return lambda *inputs, **args: function(*(x.cuda() for x in inputs), **args).cpu()


@pytest.mark.parametrize("case", test_partials.SHIFTED, ids=str)
def test_shifted_harmonics_are_those_of_magenta_and_of_float64(case):
    def port(*inputs, **args):
        return harmonic_synthesis(**dict(zip(case.inp, inputs, strict=True)), **args)

    check(case, on_device(port), truth="true64", dtype=torch.float64)
    check(case, on_device(port), rtol=test_partials.SHIFTED_FLOAT32)


@pytest.mark.parametrize("case", test_oscillator_bank.CASES, ids=str)
def test_oscillators_are_those_of_magenta_and_of_float64(case):
    check(case, on_device(oscillator_bank.oscillator_bank))
    check(case, on_device(oscillator_bank.oscillator_bank), truth="true64", dtype=torch.float64)


@pytest.mark.parametrize("case", test_delay.CASES, ids=str)
def test_delays_are_those_of_magenta(case):
    check(case, on_device(delay.variable_length_delay))


@pytest.mark.parametrize("case", [case for case in test_wavetable.SYNTHESIS if case.true64], ids=str)
def test_wavetable_synthesis_is_that_of_float64(case):
    check(case, on_device(wavetable.wavetable_synthesis), truth="true64")
    check(case, on_device(wavetable.wavetable_synthesis), truth="true64", dtype=torch.float64)


N_SAMPLES, FRAMES = 64 * 40, 40


def play_partials(frequencies, amplitudes):
    return partials.sinusoidal_bank(frequencies, amplitudes, N_SAMPLES, return_final_phase=True)


def oscillate(frequencies, amplitudes):
    return (oscillator_bank.oscillator_bank(frequencies, amplitudes),)


def play_tables(f0, amplitudes, tables):
    return wavetable.wavetable_synthesis(f0, amplitudes, tables, N_SAMPLES, return_final_phase=True)


def play_table(f0, amplitudes, table):  # one table for all samples, whose gradient is cut into pieces
    return play_tables(f0, amplitudes, table[:, 0])


def look_up(phase, tables):
    return (wavetable.linear_lookup(phase, tables),)


def delay_by(phase, audio):
    return (delay.variable_length_delay(phase, audio, 300),)


# What is played, and its inputs: shape and largest value.
INPUTS = {
    play_partials: [((3, FRAMES, 70), 7900.0), ((3, FRAMES, 70), 1.0)],
    oscillate: [((3, 3000, 21), 9000.0), ((3, 3000, 21), 1.0)],
    play_tables: [((3, FRAMES, 1), 900.0), ((3, FRAMES, 1), 1.0), ((3, 7, 2100), 1.0)],
    play_table: [((3, FRAMES, 1), 900.0), ((3, FRAMES, 1), 1.0), ((3, 1, 64), 1.0)],
    look_up: [((3, N_SAMPLES), 1.0), ((3, 5, 100), 1.0)],
    delay_by: [((3, N_SAMPLES), 1.0), ((3, N_SAMPLES), 1.0)],
}
FUNCTIONS = pytest.mark.parametrize("function", INPUTS, ids=lambda f: f.__name__)


def inputs_of(function, dtype=torch.float32, device="cuda"):
    rng = torch.Generator().manual_seed(0)
    inputs = (top * torch.rand(shape, generator=rng, dtype=dtype) for shape, top in INPUTS[function])
    return [x.to(device).requires_grad_() for x in inputs]


def step(function, inputs):
    """Outputs and gradients."""
    outputs = function(*inputs)
    g = torch.linspace(-1, 1, outputs[0].numel(), device=outputs[0].device, dtype=outputs[0].dtype)
    gradients = torch.autograd.grad((outputs[0] * g.view_as(outputs[0])).sum(), inputs)
    return [x.detach() for x in (*outputs, *gradients)]


@FUNCTIONS
def test_device_and_cpu_agree_and_their_phases_bit_for_bit(function):
    actual, expected = (step(function, inputs_of(function, torch.float64, device)) for device in ("cuda", "cpu"))
    for x, y in zip(actual, expected, strict=True):
        # Sums of thousands of products in another order. Executed on the CPU: 1e-15.
        torch.testing.assert_close(x.cpu(), y, rtol=0, atol=1e-12 * y.abs().max().item())
    if function in (play_partials, play_tables, play_table):
        for dtype in (torch.float32, torch.float64):
            phases = [function(*inputs_of(function, dtype, device))[1].cpu() for device in ("cuda", "cpu")]
            assert torch.equal(*phases)


@FUNCTIONS
def test_every_run_gives_the_same_bits(function):
    inputs = inputs_of(function)
    first = step(function, inputs)
    for _ in range(5):
        assert all(torch.equal(x, y) for x, y in zip(step(function, inputs), first, strict=True))


@FUNCTIONS
def test_nothing_waits_for_the_device(function):
    inputs = inputs_of(function)
    step(function, inputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(function, inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@FUNCTIONS
def test_a_cuda_graph_captures_forward_and_backward(function):
    inputs = inputs_of(function)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step(function, inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(function, inputs)
    with torch.no_grad():
        inputs[0].mul_(0.9)
    graph.replay()
    for x, y in zip(captured, step(function, inputs), strict=True):
        assert torch.equal(x, y)


def test_memory_is_that_of_a_few_controls():
    inputs = [torch.rand(4, 2000, 200, device="cuda", requires_grad=True) for _ in range(2)]

    def play(frequencies, amplitudes):
        return (partials.sinusoidal_bank(1000 * frequencies, amplitudes, 2000 * 64),)

    step(play, inputs)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(play, inputs)
    control = inputs[0].nbytes
    # Backward: 5 products and 2 sides an interval, phases in 64 bits, gradients, and what autograd keeps.
    assert torch.cuda.max_memory_allocated() - before < 16 * control
