"""The CUDA oscillators with controls for every sample, executed on the CPU: golden numbers, specification, checker."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastddsp.autograd import dispatch, oscillator_bank, oscillator_bank_cuda
from fastddsp.kernels.cuda import launch
from fastddsp.kernels.cuda.oscillator_bank import Bank
from fastddsp.kernels.phase import Timeline
from fastddsp.kernels.reference.partials import sines
from tests.autograd import test_oscillator_bank
from tests.cuda_on_cpu.conftest import executor_of
from tests.cuda_on_cpu.launching import QUEUE, Executor, from_ptx
from tests.golden.compare import check
from tests.kernels.test_oscillator_bank import NYQUIST, SAMPLE_RATE, controls

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@pytest.fixture
def cuda_ops(executor, monkeypatch):
    """The public function on CPU tensors runs the CUDA implementations of its ops, through the executor."""
    monkeypatch.setattr(dispatch, "queue", lambda tensor: QUEUE)
    monkeypatch.setattr(oscillator_bank, "_bank_op", oscillator_bank_cuda.bank)
    monkeypatch.setattr(oscillator_bank, "_bank_backward_op", oscillator_bank_cuda.bank_backward)
    return executor


def run_all(frequencies, amplitudes, g, quarter_turns=0):
    """Every oscillator, their sum, and gradients of frequencies and amplitudes: of g for each, of g's first for all."""
    frequencies, amplitudes, g = (torch.from_numpy(np.ascontiguousarray(x)) for x in (frequencies, amplitudes, g))
    bank = Bank(frequencies, SAMPLE_RATE, NYQUIST, quarter_turns, QUEUE)
    one, total = (torch.full_like(x, torch.nan) for x in (g, g[..., 0]))
    gradients = [torch.full_like(g, torch.nan) for _ in range(4)]
    bank.render(amplitudes, one)
    bank.render_sum(amplitudes, total)
    bank.gradient(g, amplitudes, *gradients[:2])
    bank.gradient(g[..., 0].contiguous(), amplitudes, *gradients[2:])
    return [x.numpy() for x in (one, total, *gradients)]


# ------------------------------------------------------------------------------------------------------------- numbers


@DTYPES
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(problem=controls(), quarter_turns=st.integers(0, 3))
def test_kernels_equal_their_specification(executor, dtype, problem, quarter_turns):
    frequencies, amplitudes, g = (x.astype(dtype) for x in problem)
    one, total, *gradients = run_all(frequencies, amplitudes, g, quarter_turns)
    timeline, phases = Timeline(g.shape[1], g.shape[1]), np.zeros(g.shape[2])
    # The tolerances are those of the CPU's kernels: tests/kernels/test_oscillator_bank.py.
    limit = 8 * np.finfo(dtype).eps + 2 * np.pi * g.shape[1] * 2.0**-52
    for b in range(2):
        a, f = amplitudes[b].astype(float), frequencies[b].astype(float)
        s, c = (
            sines(f, timeline, SAMPLE_RATE, NYQUIST, phases, psi)
            for psi in (quarter_turns * np.pi / 2, (quarter_turns + 1) * np.pi / 2)
        )
        np.testing.assert_allclose(one[b], a * s, rtol=0, atol=limit * np.abs(a).max())
        summed = limit + np.finfo(dtype).eps / 2 * g.shape[2]
        np.testing.assert_allclose(total[b], (a * s).sum(1), rtol=0, atol=summed * np.abs(a).sum(1).max())
        for v, (d_frequencies, d_amplitudes) in zip((g, g[..., :1]), (gradients[:2], gradients[2:]), strict=True):
            v = v[b].astype(float)
            np.testing.assert_allclose(d_amplitudes[b], v * s, rtol=0, atol=limit * np.abs(v).max())
            expected = 2 * np.pi / SAMPLE_RATE * np.cumsum((v * a * c)[::-1], 0)[::-1]
            scale = 2 * np.pi / SAMPLE_RATE * np.abs(v * a).sum(0).max()
            np.testing.assert_allclose(d_frequencies[b], expected, rtol=0, atol=limit * scale)


@pytest.mark.parametrize("case", test_oscillator_bank.CASES, ids=str)
def test_values_and_gradients_are_those_of_magenta_and_of_float64(cuda_ops, case):
    test_oscillator_bank.test_values_and_gradients_are_those_of_magenta_and_of_float64(case)
    check(case, oscillator_bank.oscillator_bank)
    assert {"oscillator_bank", "oscillator_gradients"} <= set(cuda_ops.launched)


def test_second_derivatives_are_those_of_finite_differences(cuda_ops):
    frequencies, amplitudes = test_oscillator_bank.controls(5, 3)
    kilohertz = (frequencies.detach() / 1000).requires_grad_()

    def bank(kilohertz, amplitudes):
        return oscillator_bank.oscillator_bank(1000 * kilohertz, amplitudes)

    assert torch.autograd.gradgradcheck(bank, (kilohertz, amplitudes))


def test_phases_do_not_drift(executor):
    f, n_samples = 1234.5, 30000
    frequencies = np.full((1, n_samples, 1), f, np.float32)
    _, audio, *_ = run_all(frequencies, np.ones_like(frequencies), frequencies)
    last = np.arange(n_samples - 500, n_samples) + 1
    turns = np.fmod(last * f, SAMPLE_RATE) / SAMPLE_RATE  # exact: f is a multiple of 1/2
    np.testing.assert_allclose(audio[0, -500:], np.sin(2 * np.pi * turns), rtol=0, atol=4e-7)


def test_a_frequency_that_is_not_finite_spoils_only_its_sample(executor):
    frequencies = np.full((1, 5, 2), 440.0, np.float32)
    frequencies[0, 2, 1] = np.inf
    one, total, *_ = run_all(frequencies, np.ones_like(frequencies), np.ones_like(frequencies))
    np.testing.assert_array_equal(np.isnan(total[0]), [False, False, True, False, False])
    np.testing.assert_array_equal(np.isnan(one[0]), [[False, False]] * 2 + [[False, True]] + [[False, False]] * 2)


def test_only_what_is_asked_for_is_written(cuda_ops):
    frequencies, amplitudes = test_oscillator_bank.controls(70, 9)
    audio = oscillator_bank.oscillator_bank(frequencies, amplitudes).square().sum()
    together = torch.autograd.grad(audio, (frequencies, amplitudes), retain_graph=True)
    apart = [torch.autograd.grad(audio, x, retain_graph=True)[0] for x in (frequencies, amplitudes)]
    assert all(torch.equal(x, y) for x, y in zip(together, apart, strict=True))


# ------------------------------------------------------------------------------------------------------------- checker


def problem_of(dtype, n_samples, n_partials):
    rng = np.random.default_rng(n_samples + n_partials)
    frequencies = rng.uniform(-500, 1.2 * NYQUIST, (2, n_samples, n_partials)).astype(dtype)
    return frequencies, *(rng.standard_normal(frequencies.shape).astype(dtype) for _ in range(2))


# Odd sizes on purpose: one group of partials or several, the last not full; slices without samples, the last not full.
PROBLEMS = {
    "one sample": problem_of(np.float32, 1, 1),
    "several groups": problem_of(np.float32, 21, 19),
    "long slices": problem_of(np.float32, 1100, 3),
    "double": problem_of(np.float64, 530, 9),
}
SCHEDULES = [("forward", 1, 0), ("reverse", 1, 0), ("random", 1, 8), ("random", 2, 8)]


@pytest.mark.parametrize(
    ("build", "name"),
    [
        *(("CUDA C", name) for name in PROBLEMS),
        pytest.param("PTX sm_90", "several groups", marks=pytest.mark.needs_nvrtc),
    ],
)
@pytest.mark.needs_compiler
def test_no_schedule_shows_a_race_or_a_stray_access(monkeypatch, build, name):
    checked = executor_of(build, check=True)
    monkeypatch.setattr(launch, "launch", checked)
    results = []
    for order, seed, preempt in SCHEDULES:
        monkeypatch.setattr(checked, "settings", {"order": order, "seed": seed, "preempt": preempt})
        results.append(run_all(*PROBLEMS[name]))
    for result in results:
        for x, y in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(x, y)


# ---------------------------------------------------------------------------------------------------------------- cost


@pytest.mark.needs_compiler
@pytest.mark.needs_nvrtc
def test_instructions_of_all_launches_for_a_partial_sample(monkeypatch, record_property):
    """Memory moves 13 bytes a partial-sample forward and 28 backward: 115 and 250 instructions of an H100's time."""
    counted = Executor(from_ptx("90", count=True))
    monkeypatch.setattr(launch, "launch", counted)
    frequencies, amplitudes, g = (torch.from_numpy(x) for x in problem_of(np.float32, 1536, 16))
    bank = Bank(frequencies, SAMPLE_RATE, NYQUIST, 0, QUEUE)
    bank.render_sum(amplitudes, g[..., 0].contiguous())
    bank.gradient(g[..., 0].contiguous(), amplitudes, torch.empty_like(g), torch.empty_like(g))
    executed = {kernel: counts["instructions"] / g.numel() for kernel, counts in counted.counts.items()}
    record_property("instructions a partial-sample", executed)
    assert executed["oscillator_bank"] + executed["oscillator_sum"] <= 90
    assert executed["oscillator_gradients"] <= 116
