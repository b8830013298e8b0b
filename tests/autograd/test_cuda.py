"""CUDA kernels on a device: magenta's numbers, the CPU's numbers and phases, bits, graphs, streams, memory.

Runs by itself where there is a device; tests/cuda_on_cpu/test_gpu_tests.py runs it on the CPU where there is none.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch

from fastddsp.autograd import delay, filters, oscillator_bank, partials, wavetable
from fastddsp.autograd.dispatch import cuda_missing
from fastddsp.autograd.harmonic_bank import METHODS, harmonic_bank
from fastddsp.autograd.oscillators import harmonic_synthesis
from fastddsp.kernels.reference.noise import noise as reference_noise
from tests.autograd import (
    test_delay,
    test_filters,
    test_oscillator_bank,
    test_oscillators,
    test_partials,
    test_wavetable,
)
from tests.golden import Case
from tests.golden.compare import check

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(cuda_missing() is not None, reason=str(cuda_missing()))]


# -------------------------------------------------------------------------------------------------- magenta's numbers


def on_device(function):
    """A function on CUDA tensors, from and to the CPU's."""

    def call(*inputs, **args):
        with torch.device("cuda"):  # where it makes tensors of its own
            outputs = function(*(x.cuda() for x in inputs), **args)
        return tuple(y.cpu() for y in outputs) if isinstance(outputs, tuple) else outputs.cpu()

    return call


def shifted(case: Case) -> Callable:
    return lambda *inputs, **args: harmonic_synthesis(**dict(zip(case.inp, inputs, strict=True)), **args)


def on_given_noise(case: Case) -> Callable:
    init, noise = case.meta["init"], torch.tensor(case.noise[0])
    settings = init["n_samples"], init.get("window_size", 257)
    return lambda magnitudes: filters.filtered_noise(magnitudes, *settings, noise=noise.to(magnitudes.device))


def golden() -> Iterator[tuple[Case, Callable, list[dict]]]:
    """Cases, our function, and how it is compared: settings of `check`. Tolerances are those of the CPU's tests."""
    float64 = {"truth": "true64", "dtype": torch.float64}
    for case in test_oscillators.COMPARED:
        of_gradients = 2e-5 if "initial_phase" in case.inp else test_oscillators.FLOAT32
        float32 = {"truth": "true64", "rtol": test_oscillators.FLOAT32, "grad_rtol": of_gradients}
        yield case, test_oscillators.port(case), [float32, float64, {}]
    for case in test_partials.SHIFTED:
        yield case, shifted(case), [float64, {"rtol": test_partials.SHIFTED_FLOAT32}]
    for case in test_oscillator_bank.CASES:
        yield case, oscillator_bank.oscillator_bank, [{}, float64]
    for case in test_filters.DESIGN_AND_FILTER:
        function = getattr(filters, case.function.removeprefix("core."))
        yield case, function, [{"dtype": dtype, "rtol": 1e-5} for dtype in (torch.float32, torch.float64)]
    for case in test_filters.NOISE:
        yield case, on_given_noise(case), [{}]
    for case in test_delay.CASES:
        yield case, delay.variable_length_delay, [{}]
    for case in test_wavetable.CASES:
        if case.function == "core.linear_lookup":
            yield case, wavetable.linear_lookup, [{}]
        elif case.function == "core.wavetable_synthesis" and case.true64:
            yield case, wavetable.wavetable_synthesis, [{"truth": "true64"}, float64]


@pytest.mark.parametrize(("case", "function", "checks"), [pytest.param(*x, id=str(x[0])) for x in golden()])
def test_values_and_gradients_are_those_of_magenta_and_of_float64(case, function, checks):
    for settings in checks:
        check(case, on_device(function), **settings)


# ------------------------------------------------------------------------------------------------- the CPU's numbers

BATCH, FRAMES, N = 3, 40, 64 * 40


class Play(NamedTuple):
    """A function of tensors, and these: shape, least and largest value.

    Args:
      function: to a tuple of outputs, audio first.
      inputs: of it.
      has_phase: whether the second output is a phase, the same on every device.
      smooth: whether float32's roundings move results a little; a reading's slope jumps from point to point.
    """

    function: Callable[..., tuple]
    inputs: list[tuple[tuple[int, ...], float, float]]
    has_phase: bool = False
    smooth: bool = True

    def make(self, dtype: torch.dtype = torch.float32, device: str = "cuda") -> list[torch.Tensor]:
        """The same numbers in every dtype and on every device."""
        rng = torch.Generator().manual_seed(0)
        given = (low + (high - low) * torch.rand(shape, generator=rng) for shape, low, high in self.inputs)
        return [x.to(device, dtype).requires_grad_() for x in given]


def frames(channels: int, low: float = 0.0, high: float = 1.0, count: int = FRAMES):
    return (BATCH, count, channels), low, high


AUDIO = (BATCH, N), -1.0, 1.0


def play_bank(method, f0, amplitudes):
    return harmonic_bank(f0, amplitudes, N, 16000, method, return_final_phase=True)


def play_partials(frequencies, amplitudes):
    return partials.sinusoidal_bank(frequencies, amplitudes, N, return_final_phase=True)


def oscillate(frequencies, amplitudes):
    return (oscillator_bank.oscillator_bank(frequencies, amplitudes),)


def play_filter(overlap, audio, magnitudes):
    return (filters.frequency_filter(audio, magnitudes, 257, overlap=overlap),)


def play_noise(overlap, magnitudes):
    return (filters.filtered_noise(magnitudes, N, seed=7, overlap=overlap),)


def play_tables(f0, amplitudes, tables):
    return wavetable.wavetable_synthesis(f0, amplitudes, tables, N, return_final_phase=True)


def play_table(f0, amplitudes, table):  # one table for all samples, whose gradient is cut into pieces
    return play_tables(f0, amplitudes, table[:, 0])


def look_up(phase, tables):
    return (wavetable.linear_lookup(phase, tables),)


def delay_by(phase, audio):
    return (delay.variable_length_delay(phase, audio, 300),)


F0, PHASE = frames(1, 60, 900), ((BATCH, N), 0.0, 1.0)
PLAYS = {
    **{f"bank, {m}": Play(partial(play_bank, m), [frames(1, 60, 460), frames(70)], True) for m in METHODS},
    "voices": Play(
        partial(play_bank, "window"), [((BATCH, 4, FRAMES, 1), 60, 460), ((BATCH, 4, FRAMES, 30), 0, 1)], True
    ),
    "oscillators": Play(oscillate, [((BATCH, 3000, 21), 0, 9000), ((BATCH, 3000, 21), 0, 1)], smooth=False),
    "partials": Play(play_partials, [frames(70, 0, 7900), frames(70)], True),
    **{
        f"filter, {bands} bands, {count} frames, {overlap=}": Play(
            partial(play_filter, overlap), [AUDIO, frames(bands, count=count)]
        )
        for bands, count in ((65, FRAMES), (65, 1), (700, 7), (65, 3000))
        for overlap in (False, True)
    },
    **{f"noise, {overlap=}": Play(partial(play_noise, overlap), [frames(65)]) for overlap in (False, True)},
    "tables": Play(play_tables, [F0, frames(1), frames(2100, count=7)], True, False),
    "one table": Play(play_table, [F0, frames(1), frames(64, count=1)], True, False),
    "lookup": Play(look_up, [PHASE, frames(100, count=5)], smooth=False),
    "delay": Play(delay_by, [PHASE, AUDIO], smooth=False),
}
every_play = pytest.mark.parametrize("play", PLAYS.values(), ids=list(PLAYS))


def step(play: Play, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Outputs and gradients."""
    outputs = play.function(*inputs)
    g = torch.linspace(-1, 1, outputs[0].numel(), device=outputs[0].device, dtype=outputs[0].dtype)
    gradients = torch.autograd.grad((outputs[0] * g.view_as(outputs[0])).sum(), inputs)
    return [x.detach() for x in (*outputs, *gradients)]


def assert_same_bits(actual, expected):
    for x, y in zip(actual, expected, strict=True):
        assert torch.equal(x, y)


@every_play
def test_device_and_cpu_agree_in_float64(play):
    actual, expected = (step(play, play.make(torch.float64, device)) for device in ("cuda", "cpu"))
    for x, y in zip(actual, expected, strict=True):
        # Sums of thousands of products in another order. Executed on the CPU: 2e-14 at the most.
        torch.testing.assert_close(x.cpu(), y, rtol=0, atol=1e-12 * y.abs().max().item())


@pytest.mark.parametrize("play", [p for p in PLAYS.values() if p.smooth], ids=[n for n, p in PLAYS.items() if p.smooth])
def test_device_and_cpu_agree_in_float32(play):
    actual, expected = (step(play, play.make(device=device)) for device in ("cuda", "cpu"))
    for x, y in zip(actual, expected, strict=True):
        # Executed on the CPU: 1.1e-5 at the most, f0's gradient, a sum whose terms nearly cancel; 1e-6 of all others.
        assert (x.cpu() - y).norm() <= 5e-5 * y.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "play", [p for p in PLAYS.values() if p.has_phase], ids=[n for n, p in PLAYS.items() if p.has_phase]
)
def test_phases_are_the_cpus_bit_for_bit(play, dtype):
    phases = [play.function(*play.make(dtype, device))[1].cpu() for device in ("cuda", "cpu")]
    assert torch.equal(*phases)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("offset", [0, 4_000_000_003])
def test_noise_is_the_cpus_bit_for_bit(dtype, offset):
    (magnitudes,) = PLAYS["noise, overlap=False"].make(dtype)
    given = [reference_noise(2**62 + 5, b, offset, 500) for b in range(BATCH)]
    expected = filters.frequency_filter(torch.tensor(np.stack(given), dtype=dtype, device="cuda"), magnitudes)
    assert torch.equal(filters.filtered_noise(magnitudes, 500, 0, seed=2**62 + 5, offset=offset), expected)


# ------------------------------------------------------------------------------------------- bits, graphs, streams


@every_play
def test_every_run_gives_the_same_bits(play):
    inputs = play.make()
    first = step(play, inputs)
    for _ in range(5):
        assert_same_bits(step(play, inputs), first)


@every_play
def test_nothing_waits_for_the_device(play):
    inputs = play.make()
    step(play, inputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(play, inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_noise_without_a_seed_does_not_wait_either():
    (magnitudes,) = PLAYS["noise, overlap=False"].make()
    filters.filtered_noise(magnitudes, 100)
    torch.cuda.set_sync_debug_mode("error")
    try:
        filters.filtered_noise(magnitudes, 100)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@every_play
def test_a_cuda_graph_captures_forward_and_backward(play):
    inputs = play.make()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step(play, inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(play, inputs)
    with torch.no_grad():
        inputs[-1].mul_(0.9)
    graph.replay()
    assert_same_bits(captured, step(play, inputs))


@every_play
def test_kernels_follow_the_current_stream(play):
    inputs = play.make()
    expected = step(play, inputs)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.no_grad():
        late = [torch.zeros_like(x) for x in inputs]
        torch.cuda._sleep(10**7)  # what runs elsewhere meanwhile would see the zeros
        for x, y in zip(late, inputs, strict=True):
            x.copy_(y)
    with torch.cuda.stream(stream):
        actual = step(play, [x.requires_grad_() for x in late])
    stream.synchronize()
    assert_same_bits(actual, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one device")
@every_play
def test_a_device_that_is_not_the_current_one_computes_the_same(play):
    with torch.cuda.device(0):
        assert_same_bits(
            [x.cpu() for x in step(play, play.make(device="cuda:1"))], [x.cpu() for x in step(play, play.make())]
        )


# -------------------------------------------------------------------------------------------------------------- memory


def bank_of_200(f0, amplitudes):
    return (harmonic_bank(f0, amplitudes, 2000 * 64),)


def partials_of_200(frequencies, amplitudes):
    return (partials.sinusoidal_bank(frequencies, amplitudes, 2000 * 64),)


def filter_and_noise(audio, magnitudes):
    return (filters.frequency_filter(audio, magnitudes) + filters.filtered_noise(magnitudes, 64000, seed=7),)


@pytest.mark.parametrize(
    ("play", "tensors"),
    [
        (Play(bank_of_200, [((4, 2000, 1), 60, 460), ((4, 2000, 200), 0, 1)]), 3),
        # Backward: 5 products and 2 sides an interval, phases in 64 bits, gradients, and what autograd keeps.
        (Play(partials_of_200, [((4, 2000, 200), 60, 1000), ((4, 2000, 200), 0, 1)]), 4),
        (Play(filter_and_noise, [((4, 64000), -1, 1), ((4, 1000, 65), 0, 1)]), 4),
    ],
    ids=lambda x: x.function.__name__ if isinstance(x, Play) else "",
)
def test_memory_is_that_of_a_few_controls(play, tensors):
    """`tensors`: how many times that of inputs and results."""
    inputs = play.make()
    own = sum(x.nbytes for x in (*inputs, *step(play, inputs)))
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(play, inputs)
    assert torch.cuda.max_memory_allocated() - before < tensors * own
