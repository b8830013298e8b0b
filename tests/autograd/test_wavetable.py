"""Wavetables: magenta's numbers, float64's numbers, phases that stay exact for an hour, any frames, memory."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastddsp.autograd import wavetable
from fastddsp.autograd.resampling import resample
from fastddsp.autograd.wavetable import harmonic_distribution_to_wavetable, linear_lookup, wavetable_synthesis
from tests.golden import load
from tests.golden.compare import check
from tests.models import float32_phase

CASES = [case for case in load("core_wavetable.npz") if case.function != "core.variable_length_delay"]
SYNTHESIS = [case for case in CASES if case.function == "core.wavetable_synthesis"]
TURN = 2 * math.pi


# -------------------------------------------------------------------------------------------------- magenta's numbers


@pytest.mark.parametrize("case", [case for case in CASES if case not in SYNTHESIS], ids=str)
def test_tables_and_lookup_are_those_of_magenta(case):
    check(case, getattr(wavetable, case.function.removeprefix("core.")))


@pytest.mark.parametrize("case", SYNTHESIS, ids=str)
def test_synthesis_is_that_of_magenta_where_phases_are(case):
    check(case, float32_phase.wavetable_synthesis)


@pytest.mark.parametrize("case", [case for case in SYNTHESIS if case.true64], ids=str)
def test_synthesis_is_that_of_float64(case):
    check(case, wavetable_synthesis, truth="true64")
    check(case, wavetable_synthesis, truth="true64", dtype=torch.float64)


@pytest.mark.parametrize("case", SYNTHESIS, ids=str)
def test_synthesis_equals_lookup_at_float64_phases(case):
    def by_lookup(frequencies, amplitudes, wavetables, n_samples=64000, sample_rate=16000):
        after = resample(frequencies, n_samples)[..., 0].cumsum(1) / sample_rate
        before = torch.nn.functional.pad(after[:, :-1], (1, 0)) % 1.0
        return linear_lookup(before, wavetables) * resample(amplitudes, n_samples, "window")[..., 0]

    inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in case.inp.values()]
    cotangent = torch.tensor(case.cot["out"]).double()
    results = []
    for function in (wavetable_synthesis, by_lookup):
        audio = function(*inputs, **case.args)
        results.append([audio, *torch.autograd.grad(audio, inputs, cotangent)])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-11 * expected.abs().max().item())


# -------------------------------------------------------------------------------------------------------- exact phases


def cosine(n_points=2048, dtype=torch.float32):
    return harmonic_distribution_to_wavetable(torch.ones(1, 1, 1, dtype=dtype), n_points)[:, 0]


def test_phases_do_not_drift_over_ten_minutes():
    frames, hop, rate = 600 * 250, 64, 16000
    f0_hz, table = torch.full((1, frames, 1), 440.0), cosine()
    audio, phase = wavetable_synthesis(f0_hz, torch.ones(1, 1, 1), table, frames * hop, rate, return_final_phase=True)
    period = torch.arange(400, dtype=torch.float64) * 11 % 400 / 400  # 440 / 16000 = 11 / 400
    expected = linear_lookup(period[None], table.double())[0]
    assert (audio.reshape(-1, 400).double() - expected).abs().max() < 2e-7  # an eps of 1 and one of the table's slope
    assert math.remainder(phase.item(), TURN) == pytest.approx(0, abs=TURN * frames * 2**-51)


def test_blocks_are_the_whole_bit_for_bit():
    table, rate, hop = torch.randn(2, 50), 16000, 37
    f0_hz, amplitudes = torch.full((2, 1, 1), 441.3), torch.ones(2, 1, 1)
    whole, final = wavetable_synthesis(f0_hz.expand(2, 9, 1), amplitudes, table, 9 * hop, rate, return_final_phase=True)
    phase, blocks = None, []
    for length in (1, 5, 3):
        block, phase = wavetable_synthesis(
            f0_hz.expand(2, length, 1), amplitudes, table, length * hop, rate,
            initial_phase=phase, return_final_phase=True,
        )  # fmt: skip
        blocks.append(block)
    assert torch.equal(torch.cat(blocks, 1), whole) and torch.equal(phase, final)


def test_a_table_of_harmonics_sounds_like_its_harmonics():
    distribution = torch.rand(1, 6, 5).double()
    f0_hz = 200 + 50 * torch.rand(1, 6, 1).double()
    first = torch.tensor([[[0.4]]]).double()
    n_points = 2**14
    tables = harmonic_distribution_to_wavetable(distribution, n_points)
    audio = wavetable_synthesis(f0_hz, torch.ones_like(f0_hz), tables, 480, initial_phase=first)
    advances = TURN * resample(f0_hz, 480) / 16000
    phases = first + torch.nn.functional.pad(advances.cumsum(1)[:, :-1], (0, 0, 1, 0))  # a sample's own comes after it
    k = torch.arange(1.0, 6.0).double()
    expected = (resample(distribution, 480) * torch.cos(k * phases)).sum(-1)
    chords_below_arcs = ((TURN * k / n_points) ** 2 / 8).sum().item()  # for amplitudes of 1
    torch.testing.assert_close(audio, expected, rtol=0, atol=chords_below_arcs)


def test_a_tone_that_always_falls_on_points_has_a_gradient_all_the_same():
    f0_hz = torch.full((1, 4, 1), 500.0, requires_grad=True)  # 32 samples a turn
    audio = wavetable_synthesis(f0_hz, torch.ones(1, 1, 1), cosine(32), 256)
    (gradient,) = torch.autograd.grad(audio.square().sum() + audio.sum() + audio[0, 9::32].sum(), f0_hz)
    assert gradient.abs().min() > 1e-4


# ----------------------------------------------------------------------------------------------------- any controls


@pytest.mark.parametrize(
    ("n_f0", "n_amplitude", "n_table"), [(1, 7, 3), (12, 4, 6), (97, 97, 97), (3, 1, 97), (200, 2, 150)]
)
def test_every_control_has_a_frame_rate_of_its_own(n_f0, n_amplitude, n_table):
    f0_hz, amplitudes = 300 * torch.rand(2, n_f0, 1).double(), torch.rand(2, n_amplitude, 1).double()
    tables = torch.randn(2, n_table, 9).double()
    audio = wavetable_synthesis(f0_hz, amplitudes, tables, 97)
    a = resample(amplitudes, 97, "window") if n_amplitude < 97 else amplitudes
    expected = wavetable_synthesis(resample(f0_hz, 97), a, resample(tables, 97), 97)
    torch.testing.assert_close(audio, expected, rtol=0, atol=1e-11)


def test_one_table_serves_a_batch_and_gets_the_gradient_of_all():
    f0_hz, ones = 100 + 50 * torch.rand(3, 5, 1), torch.ones(3, 5, 1)
    table = torch.randn(1, 16, requires_grad=True)
    tables = table.detach().expand(3, -1).clone().requires_grad_()
    wavetable_synthesis(f0_hz, ones, table, 100).square().sum().backward()
    wavetable_synthesis(f0_hz, ones, tables, 100).square().sum().backward()
    torch.testing.assert_close(table.grad, tables.grad.sum(0, keepdim=True))


def test_third_derivatives():
    f0_hz, a = 40 + 60 * torch.rand(1, 2, 1).double(), torch.rand(1, 2, 1).double()
    inputs = [x.requires_grad_() for x in (f0_hz / 100, a, torch.randn(1, 2, 4).double())]

    def slopes(f0, a, tables):
        audio = wavetable_synthesis(100 * f0, a, tables, 9, 1000)
        return torch.autograd.grad(audio.square().sum(), (f0, a, tables), create_graph=True)

    assert torch.autograd.gradgradcheck(slopes, inputs)


def test_phases_outside_of_a_turn_fade_within_a_point():
    table = torch.tensor([[2.0, 5.0, 7.0, 11.0]])
    phase = torch.tensor([[-0.25, -0.125, 0.0, 1.0, 1.125, 1.25, math.inf]])
    torch.testing.assert_close(linear_lookup(phase, table), torch.tensor([[0.0, 1.0, 2.0, 2.0, 1.0, 0.0, 0.0]]))
    assert linear_lookup(torch.tensor([[math.nan]]), table).isnan().all()


# ------------------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize(("n_harmonics", "n_points"), [(3, 32), (4, 9), (4, 8), (1, 2), (8, 17)])
def test_tables_hold_cosines_whatever_the_number_of_points(n_harmonics, n_points):
    d = torch.rand(2, 3, n_harmonics).double()
    k, c = torch.arange(1, n_harmonics + 1.0).double(), torch.arange(n_points).double()
    expected = d @ torch.cos(TURN * k[:, None] * c / n_points)
    torch.testing.assert_close(harmonic_distribution_to_wavetable(d, n_points), expected)


def test_numbers_that_make_no_sense_are_named():
    with pytest.raises(ValueError, match="n_wavetable must be >= 20 for 10 harmonics, got 19"):
        harmonic_distribution_to_wavetable(torch.ones(1, 1, 10), 19)
    f0_hz = torch.ones(1, 3, 1)
    with pytest.raises(ValueError, match="sample_rate must be > 0, got 0"):
        wavetable_synthesis(f0_hz, f0_hz, torch.ones(1, 4), 10, 0)
    with pytest.raises(ValueError, match="n_wavetable must be > 0, got 0"):
        wavetable_synthesis(f0_hz, f0_hz, torch.ones(1, 0), 10)
    with pytest.raises(ValueError, match="frames must be > 0, got 0"):
        linear_lookup(torch.ones(1, 3), torch.ones(1, 0, 4))


# ------------------------------------------------------------------------------------------------------------- memory

MEASURE = """
import torch
from fastddsp.autograd.wavetable import wavetable_synthesis

def peak():  # not getrusage: its maximum is the parent's, if that was larger when it started this process
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))

def run(batch, frames, n_points):
    shapes = (batch, frames, 1), (batch, frames, 1), (batch, frames, n_points)
    inputs = [torch.full(shape, 110.0).requires_grad_() for shape in shapes]
    before = peak()
    audio = wavetable_synthesis(*inputs, frames * 64)
    audio.backward(torch.ones(()).expand_as(audio))
    return peak() - before, sum(x.nbytes for x in (*inputs, audio, *(x.grad for x in inputs)))

run(2, 200, 64)
print(*run(2, 20_000, 128))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read as Linux tells it")
def test_memory_is_that_of_a_few_controls():
    wavetable_synthesis(*(torch.ones(1, 2, 1, requires_grad=True),) * 3, 8).sum().backward()  # compiles, for the other
    output = subprocess.run([sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True).stdout
    extra, own = map(int, output.split())
    assert extra > 0.3 * own  # audio and gradients alone: the measurement sees something
    assert extra < 3 * own, f"{extra / 1e6:.0f} MB for {own / 1e6:.0f} MB of inputs, outputs and gradients"
