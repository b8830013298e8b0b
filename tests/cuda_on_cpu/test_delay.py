"""The CUDA delay, executed on the CPU: magenta's numbers, specification, order of sums, checker."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastddsp.autograd import delay, delay_cuda, dispatch
from fastddsp.kernels.cuda import launch
from fastddsp.kernels.cuda.delay import Delay
from fastddsp.kernels.reference import delay as reference
from tests.autograd.test_delay import CASES
from tests.cuda_on_cpu.conftest import executor_of
from tests.cuda_on_cpu.launching import QUEUE
from tests.golden.compare import check
from tests.kernels.test_delay import problems


@pytest.fixture
def cuda_ops(executor, monkeypatch):
    """The public function on CPU tensors runs the CUDA implementations of its ops, through the executor."""
    monkeypatch.setattr(dispatch, "queue", lambda tensor: QUEUE)
    monkeypatch.setattr(delay, "_delay_op", delay_cuda.delay)
    monkeypatch.setattr(delay, "_delay_backward_op", delay_cuda.delay_backward)
    return executor


def run_all(phase, audio, g, max_length, wrap, order=0):
    """Delayed audio and the gradients of phase and audio."""
    phase, audio, g = (torch.from_numpy(x) for x in (phase, audio, g))
    out, d_phase, d_audio = (torch.full_like(g, torch.nan) for _ in range(3))
    line = Delay(phase, max_length, wrap, order, QUEUE)
    line.render(audio, out)
    line.gradients(g, audio, d_phase, d_audio)
    return [x.numpy() for x in (out, d_phase, d_audio)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems(), wrap=st.booleans())
def test_kernels_equal_their_specification(executor, dtype, problem, wrap):
    *arrays, max_length, _ = problem
    phase, audio, g = (x.astype(dtype) for x in arrays)
    out, d_phase, d_audio = run_all(phase, audio, g, max_length, wrap)
    slopes, none, d_audio_of_slopes = run_all(phase, audio, g, max_length, wrap, 1)
    assert not none.any()
    eps = 8 * np.finfo(dtype).eps  # of sums of products of three numbers that are rounded once each
    for b in range(2):
        exact = phase[b].astype(float), audio[b].astype(float)
        x, v = np.abs(audio[b]).max(), g[b].astype(float)
        expected = reference.delay_gradients(v, *exact, max_length, wrap)
        np.testing.assert_allclose(out[b], reference.delay(*exact, max_length, wrap), rtol=0, atol=eps * x)
        np.testing.assert_allclose(d_phase[b], expected[0], rtol=0, atol=eps * 2 * max_length * x * np.abs(v).max())
        np.testing.assert_allclose(d_audio[b], expected[1], rtol=0, atol=eps * np.abs(v).sum())
        matrix = reference.slopes(exact[0], max_length, wrap)
        bound = eps * 2 * max_length * np.abs(v).sum()
        np.testing.assert_allclose(slopes[b], matrix @ exact[1], rtol=0, atol=eps * 2 * max_length * x)
        np.testing.assert_allclose(d_audio_of_slopes[b], matrix.T @ v, rtol=0, atol=bound)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_magenta(cuda_ops, case):
    check(case, delay.variable_length_delay)
    assert set(cuda_ops.launched) >= {"delay_read", "delay_write"}


def test_second_derivatives_are_those_of_finite_differences(cuda_ops):
    rng = torch.Generator().manual_seed(0)
    phase, audio = (torch.rand(2, 9, generator=rng, dtype=torch.float64).requires_grad_() for _ in range(2))
    assert torch.autograd.gradgradcheck(lambda p, x: delay.variable_length_delay(p, x, 7), (phase, audio))


def problem_of(dtype, n_samples, max_length, moves):
    """A delay that moves so many samples a sample: where it moves by 1 all samples read the same."""
    rng = np.random.default_rng(n_samples)
    audio, g = rng.standard_normal((2, 2, n_samples)).astype(dtype)
    length = (3.3 + moves * np.arange(n_samples) + 5 * np.array([[0], [1]])) % max_length
    return (length / max_length).astype(dtype), audio, g, max_length


# Odd sizes on purpose: no whole tiles, several tiles and warps, delays longer than a tile and than the audio.
PROBLEMS = {
    "two tiles": (np.float32, 700, 40, 0.1),
    "all read one": (np.float32, 90, 64, 1),
    "long delay": (np.float32, 1100, 600, 0.7),
    "longer than the audio": (np.float64, 33, 1000, 20),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients_are_the_adjoint_whatever_the_tiles(executor, name):
    phase, audio, g, max_length = problem_of(*PROBLEMS[name])
    out, _, d_audio = (x.astype(float) for x in run_all(phase, audio, g, max_length, True))
    bound = 8 * np.finfo(phase.dtype).eps * np.abs(g).sum(1) * np.abs(audio).max()
    assert (np.abs((out * g).sum(1) - (audio * d_audio).sum(1)) <= bound).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_phase_that_is_not_finite_spoils_at_most_its_sample(executor, bad):
    phase, audio, g, max_length = problem_of(np.float32, 60, 8, 0.3)
    clean = run_all(phase, audio, g, max_length, True)[0]
    phase[0, 30] = bad
    out = run_all(phase, audio, g, max_length, True)[0]
    assert np.isnan(out[0, 30]) if np.isnan(bad) else out[0, 30] == 0
    clean[0, 30] = out[0, 30]
    np.testing.assert_array_equal(out, clean)


SCHEDULES = [("forward", 1, 0), ("reverse", 1, 0), ("random", 1, 8), ("random", 2, 8)]


@pytest.mark.parametrize("build", ["CUDA C", pytest.param("PTX sm_90", marks=pytest.mark.needs_nvrtc)])
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.needs_compiler
def test_no_schedule_shows_a_race_or_a_stray_access(monkeypatch, build, name):
    problem = problem_of(*PROBLEMS[name])
    results = []
    for order, seed, preempt in SCHEDULES:
        monkeypatch.setattr(launch, "launch", executor_of(build, check=True, order=order, seed=seed, preempt=preempt))
        results += [run_all(*problem, wrap) for wrap in (True, False)]
    for i, result in enumerate(results):
        for x, y in zip(result, results[i % 2], strict=True):
            np.testing.assert_array_equal(x, y)
