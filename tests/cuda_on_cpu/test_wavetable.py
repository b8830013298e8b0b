"""The CUDA wavetables, executed on the CPU: magenta's numbers, specification, the CPU's bits, checker."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastddsp.autograd import dispatch, wavetable, wavetable_cuda
from fastddsp.kernels.cpu.wavetable import Oscillator as CpuOscillator
from fastddsp.kernels.cuda import launch
from fastddsp.kernels.cuda import wavetable as cuda_wavetable
from fastddsp.kernels.cuda.wavetable import Lookup, Oscillator
from fastddsp.kernels.reference import wavetable as reference
from tests.autograd.test_wavetable import SYNTHESIS
from tests.cuda_on_cpu.conftest import executor_of
from tests.cuda_on_cpu.launching import QUEUE, Executor, from_ptx
from tests.golden import load
from tests.golden.compare import check
from tests.kernels.test_wavetable import RATE, assert_close, problems, rounded

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
FEW_EXAMPLES = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
LOOKUPS = [case for case in load("core_wavetable.npz") if case.function == "core.linear_lookup"]


@pytest.fixture
def cuda_ops(executor, monkeypatch):
    """Public functions on CPU tensors run the CUDA implementations of the ops of wavetables, through the executor."""
    monkeypatch.setattr(dispatch, "queue", lambda tensor: QUEUE)
    for name in ("lookup", "lookup_backward", "oscillator", "oscillator_backward"):
        monkeypatch.setattr(wavetable, f"_{name}_op", getattr(wavetable_cuda, name))
    return executor


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(x)) for x in arrays]


def synthesize(f0, amplitudes, wavetables, g, initial, final, order=0, segment=0):
    """Audio, final phase, and gradients of f0, amplitudes, tables and initial phase."""
    f0, amplitudes, wavetables, g, initial, final = tensors(f0, amplitudes, wavetables, g, initial, final)
    results = [torch.full_like(x, torch.nan) for x in (g, initial, f0, amplitudes, wavetables, initial)]
    oscillator = Oscillator(f0, wavetables, initial, g.shape[1], RATE, order, QUEUE, segment)
    oscillator.play(amplitudes, *results[:2])
    oscillator.pull_back(g, amplitudes, final, *results[2:])
    return [x.numpy() for x in results]


def look_up(phase, wavetables, g, order=0):
    """Readings, and gradients of phase and tables."""
    phase, wavetables, g = tensors(phase, wavetables, g)
    results = [torch.full_like(x, torch.nan) for x in (g, phase, wavetables)]
    lookup = Lookup(phase, wavetables, order, QUEUE)
    lookup.render(results[0])
    lookup.gradients(g, *results[1:])
    return [x.numpy() for x in results]


# ------------------------------------------------------------------------------------------------------------- numbers


@DTYPES
@FEW_EXAMPLES
@given(problem=problems())
def test_synthesizer_equals_its_specification_and_its_phase_the_cpus(executor, dtype, problem):
    *arrays, initial, final, _ = problem
    f0, amplitudes, wavetables, g = rounded(arrays, dtype)
    audio, final_phase, *results = synthesize(f0, amplitudes, wavetables, g, initial, final)
    cpu = CpuOscillator(f0, wavetables, initial, g.shape[1], RATE)
    np.testing.assert_array_equal(final_phase, cpu.final_phase)
    # The tolerances are those of the CPU's kernels: tests/kernels/test_wavetable.py.
    eps = 8 * np.finfo(dtype).eps + g.shape[1] * wavetables.shape[2] * 2.0**-50
    for b in range(2):
        one = [x[b].astype(float) for x in (f0, amplitudes, wavetables)]
        a, w, v = (np.abs(x).max() for x in (amplitudes[b], wavetables[b], g[b]))
        assert_close(audio[b], reference.synthesis(*one, g.shape[1], RATE, initial[b]), eps, a * w)
        gradients = reference.synthesis_gradients(g[b].astype(float), *one, RATE, initial[b], final[b])
        slope = 2 * w * wavetables.shape[2] / (2 * np.pi) * a * np.abs(g[b]).sum() + abs(final[b])
        scales = slope * 2 * np.pi / RATE * g.shape[1], v * w * g.shape[1], v * a * g.shape[1], slope
        for actual, wanted, scale in zip(results, gradients, scales, strict=True):
            assert_close(actual[b], wanted, eps, scale)


@DTYPES
@FEW_EXAMPLES
@given(problem=problems(), order=st.integers(0, 1), on_points=st.booleans())
def test_lookup_equals_its_specification(executor, dtype, problem, order, on_points):
    wavetables, g = rounded(problem[2:4], dtype)
    n_points = wavetables.shape[2]
    rng = np.random.default_rng(len(g[0]))
    phase = rng.uniform(-1.5 / n_points, 1 + 1.5 / n_points, g.shape).astype(np.float32).astype(dtype)
    if on_points:
        phase = np.rint(phase * 8) / 8  # exactly on points of some tables, and on both ends
    audio, d_phase, d_wavetables = look_up(phase, wavetables, g, order)
    weights, slopes = reference.weights_of_points, reference.slopes_of_points
    points, next_points = ((weights, slopes), (slopes, lambda phase, n: np.zeros(n)))[order]
    eps = 8 * np.finfo(dtype).eps  # of sums of products of three numbers that are rounded once each
    for b in range(2):
        exact = phase[b].astype(float), wavetables[b].astype(float)
        v, scale = g[b].astype(float), np.abs(wavetables[b]).max() * (2 * n_points if order else 1)
        assert_close(audio[b], reference.lookup(*exact, points), eps, scale)
        assert_close(d_phase[b], v * reference.lookup(*exact, next_points), eps, np.abs(v).max() * scale * 2 * n_points)
        expected = reference.lookup_adjoint(v, exact[0], *wavetables.shape[1:], points)
        assert_close(d_wavetables[b], expected, eps, np.abs(v).sum() * (n_points if order else 1))


@pytest.mark.parametrize("case", LOOKUPS, ids=str)
def test_lookup_is_that_of_magenta(cuda_ops, case):
    check(case, wavetable.linear_lookup)
    assert set(cuda_ops.launched) >= {"wavetable_read", "wavetable_gradients"}


@pytest.mark.parametrize("case", [case for case in SYNTHESIS if case.true64], ids=str)
def test_synthesis_is_that_of_float64(cuda_ops, case):
    check(case, wavetable.wavetable_synthesis, truth="true64")
    check(case, wavetable.wavetable_synthesis, truth="true64", dtype=torch.float64)
    assert set(cuda_ops.launched) >= {"wavetable_read", "wavetable_gradients", "wavetable_finish"}


def test_second_derivatives_are_those_of_finite_differences(cuda_ops):
    rng = torch.Generator().manual_seed(1)
    f0, a = 40 + 100 * torch.rand(1, 3, 1, generator=rng).double(), torch.rand(1, 2, 1, generator=rng).double()
    tables, phase = torch.rand(1, 2, 5, generator=rng).double(), torch.ones(1, 1, 1).double()
    inputs = [x.requires_grad_() for x in (f0, a, tables, phase)]

    def audio(f0, a, tables, phase):
        return wavetable.wavetable_synthesis(f0, a, tables, 11, 1000, initial_phase=phase)

    assert torch.autograd.gradgradcheck(audio, inputs)


# ---------------------------------------------------------------------------------------------------------------- bits


def problem_of(dtype, n_samples, n_f0, n_amplitudes, n_tables, n_points, top=700.0):
    rng = np.random.default_rng(n_samples + n_points)
    f0 = rng.uniform(-top / 4, top, (2, n_f0)).astype(dtype)
    amplitudes, wavetables, g = (
        rng.standard_normal((2, *shape)).astype(dtype)
        for shape in ((n_amplitudes,), (n_tables, n_points), (n_samples,))
    )
    return f0, amplitudes, wavetables, g, rng.uniform(-9, 9, 2), rng.standard_normal(2)


# Odd sizes on purpose: more frames than the scan has threads, tables of several tiles, stretches of several pieces,
# blocks of many warps, frames of one sample and of none, a low tone whose samples meet at the same points.
PROBLEMS = {
    "many frames of f0": problem_of(np.float32, 300, 530, 3, 2, 33),
    "one table, in pieces": problem_of(np.float32, 1100, 2, 1, 1, 16),
    "large tables": problem_of(np.float32, 50, 4, 5, 2, 2100),
    "a table a sample": problem_of(np.float64, 40, 7, 40, 40, 5),
    "a low tone": problem_of(np.float64, 700, 1, 2, 3, 7, 0.2),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_phases_are_the_cpus_bit_for_bit_however_they_are_added_up(executor, name):
    f0, _, wavetables, g, initial, _ = PROBLEMS[name]
    results = synthesize(*PROBLEMS[name])
    np.testing.assert_array_equal(results[1], CpuOscillator(f0, wavetables, initial, g.shape[1], RATE).final_phase)
    for x, y in zip(results, synthesize(*PROBLEMS[name], segment=3), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_is_computed_alone_is_what_is_computed_together(executor, name):
    f0, amplitudes, wavetables, g, initial, final = PROBLEMS[name]
    together = synthesize(*PROBLEMS[name])[2:]
    f0, amplitudes, wavetables, g, initial, final = tensors(*PROBLEMS[name])
    oscillator = Oscillator(f0, wavetables, initial, g.shape[1], RATE, 0, QUEUE)
    alone = [torch.full_like(x, torch.nan) for x in (f0, amplitudes, wavetables, initial)]
    oscillator.pull_back(g, amplitudes, final, alone[0], None, None, alone[3])
    oscillator.pull_back(g, amplitudes, final, None, alone[1])
    oscillator.pull_back(g, amplitudes, final, None, None, alone[2])
    for x, y in zip(alone, together, strict=True):
        np.testing.assert_array_equal(x, y)


def test_pieces_add_up_to_the_whole(executor, monkeypatch):
    expected = synthesize(*PROBLEMS["a low tone"])
    monkeypatch.setattr(cuda_wavetable, "PIECE", 50)
    for x, y in zip(synthesize(*PROBLEMS["a low tone"]), expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-11)


def test_a_frequency_that_is_not_finite_spoils_its_intervals_alone(executor):
    f0, amplitudes, wavetables, g, initial, final = problem_of(np.float32, 40, 4, 4, 1, 8)
    for bad in (np.nan, np.inf):
        f0[0, 2] = bad
        audio, *_ = synthesize(f0, amplitudes, wavetables, g, initial, final)
        np.testing.assert_array_equal(np.isnan(audio[0]), np.repeat([False, True, True, False], 10))
        assert np.isfinite(audio[1]).all()


# ------------------------------------------------------------------------------------------------------------- checker

SCHEDULES = [("forward", 1, 0), ("reverse", 1, 0), ("random", 1, 8), ("random", 2, 8)]
FOR_PTX = ("many frames of f0", "a low tone")


@pytest.mark.parametrize(
    ("build", "name"),
    [
        *(("CUDA C", name) for name in PROBLEMS),
        *(pytest.param("PTX sm_90", name, marks=pytest.mark.needs_nvrtc) for name in FOR_PTX),
    ],
)
@pytest.mark.needs_compiler
def test_no_schedule_shows_a_race_or_a_stray_access(monkeypatch, build, name):
    _, _, wavetables, g, *_ = PROBLEMS[name]
    phase = np.random.default_rng(0).uniform(-0.1, 1.1, g.shape).astype(g.dtype)
    phase[:, :4] = np.array([-0.25, 2047.25, 2047.75, 2048.25]) / 2100  # on both sides of a tile's border
    results, checked = [], executor_of(build, check=True)
    monkeypatch.setattr(launch, "launch", checked)
    for order, seed, preempt in SCHEDULES:
        monkeypatch.setattr(checked, "settings", {"order": order, "seed": seed, "preempt": preempt})
        results.append([*synthesize(*PROBLEMS[name], segment=4), *look_up(phase, wavetables, g)])
    for result in results:
        for x, y in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(x, y)


# ---------------------------------------------------------------------------------------------------------------- cost


@pytest.mark.needs_compiler
@pytest.mark.needs_nvrtc
def test_instructions_of_all_launches_for_a_sample(monkeypatch, record_property):
    """64 intervals of 64 samples; one table, and one for each interval."""
    counted = Executor(from_ptx("90", count=True))
    monkeypatch.setattr(launch, "launch", counted)
    for n_tables, backward in ((1, 760), (64, 1280)):
        f0, a, wavetables, g, initial, final = tensors(*problem_of(np.float32, 64 * 64, 64, 64, n_tables, 64))
        oscillator = Oscillator(f0, wavetables, initial, 64 * 64, RATE, 0, QUEUE)
        oscillator.play(a, g.clone(), final)
        oscillator.pull_back(g, a, final, f0.clone(), a.clone(), wavetables.clone(), initial.clone())
        executed = {kernel: counts["instructions"] / g.numel() for kernel, counts in counted.counts.items()}
        record_property(f"instructions a sample, {n_tables} tables", executed)
        assert executed["wavetable_read"] <= 265
        assert executed["wavetable_gradients"] + executed["wavetable_finish"] <= backward
