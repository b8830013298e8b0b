"""The CUDA bank of partials, executed on the CPU: golden numbers, specification, the CPU's bits, checker."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastddsp.autograd import dispatch, partials, partials_cuda
from fastddsp.autograd.oscillators import harmonic_synthesis
from fastddsp.kernels.cpu.partials import Bank as CpuBank
from fastddsp.kernels.cuda import launch
from fastddsp.kernels.cuda import partials as cuda_partials
from fastddsp.kernels.cuda.partials import Bank, shares
from fastddsp.kernels.phase import METHODS, Timeline
from fastddsp.kernels.reference import partials as reference
from tests.autograd.test_partials import SHIFTED, SHIFTED_FLOAT32
from tests.cuda_on_cpu import nvrtc
from tests.cuda_on_cpu.conftest import executor_of
from tests.cuda_on_cpu.launching import QUEUE, Executor, from_ptx
from tests.golden.compare import check
from tests.kernels.test_partials import problems, tolerance, turns_a_sample

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
FEW_EXAMPLES = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def cuda_ops(executor, monkeypatch):
    """Public functions on CPU tensors run the CUDA implementations of the ops of partials, through the executor."""
    monkeypatch.setattr(dispatch, "queue", lambda tensor: QUEUE)
    monkeypatch.setattr(partials, "_bank_op", partials_cuda.bank)
    monkeypatch.setattr(partials, "_bank_backward_op", partials_cuda.bank_backward)
    return executor


def run_all(problem, settings, cotangent=0.5):
    """Audio, final phase, and gradients of amplitudes, frequencies and initial phases; arrays of NaN before."""
    frequencies, amplitudes, g, initial = (torch.from_numpy(np.ascontiguousarray(x)) for x in problem)
    bank = Bank(frequencies, initial, *settings, QUEUE)
    results = [torch.full_like(x, torch.nan) for x in (g, initial, amplitudes, frequencies, initial)]
    audio, final, d_amplitudes, d_frequencies, d_initial = results
    bank.render(amplitudes, audio, final)
    bank.gradient(g, amplitudes, torch.full_like(initial, cotangent), d_amplitudes, d_frequencies, d_initial)
    return [x.numpy() for x in results]


def assert_same_bits(actual, expected):
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(x, y)


# ------------------------------------------------------------------------------------------------------------- numbers


@DTYPES
@FEW_EXAMPLES
@given(problem=problems(), quarter_turns=st.integers(0, 3))
def test_kernels_equal_their_specification(executor, dtype, problem, quarter_turns):
    frequencies, amplitudes, g, timeline, sample_rate, method, initial = problem
    frequencies, amplitudes, g = (x.astype(dtype) for x in (frequencies, amplitudes, g))
    settings = timeline, sample_rate, sample_rate / 2, method, quarter_turns
    audio, _, d_amplitudes, d_frequencies, d_initial = run_all((frequencies, amplitudes, g, initial), settings)

    # Of tests/kernels/test_partials.py; the longest chain of additions is a tile of samples and the sums of all tiles.
    one = tolerance(dtype, timeline.n_samples, turns_a_sample(frequencies, sample_rate))
    chain = one + np.finfo(dtype).eps * (8 + timeline.longest_interval / 16)
    for b in range(2):
        f, a, gb = (x[b].astype(float) for x in (frequencies, amplitudes, g))
        args = (timeline, sample_rate, sample_rate / 2, method, initial[b], quarter_turns * np.pi / 2)
        largest = np.abs(a).max(0)
        limit = 1.5 * (one + np.finfo(dtype).eps * len(largest)) * largest.sum()
        np.testing.assert_allclose(audio[b], reference.bank(f, a, *args), rtol=0, atol=limit)
        expected = reference.analysis(gb, f, *args)
        np.testing.assert_allclose(d_amplitudes[b], expected, rtol=0, atol=1.5 * chain * np.abs(gb).sum())
        expected, expected_initial = reference.phase_gradient(gb, f, a, *args, 0.5)
        limit = 1.5 * chain * largest.max() * np.abs(gb).sum()
        np.testing.assert_allclose(d_initial[b], expected_initial, rtol=1e-9, atol=limit)
        scale = 2 * np.pi / sample_rate * timeline.n_samples
        np.testing.assert_allclose(d_frequencies[b], expected, rtol=4 * np.finfo(dtype).eps, atol=limit * scale)


@DTYPES
@pytest.mark.parametrize("method", METHODS)
def test_envelopes_are_those_of_the_specification(executor, dtype, method):
    frequencies = np.full((1, 4, 1), 100.0, dtype)
    amplitudes, g = np.array([3.0, -1, 4, 1.5], dtype)[None, :, None], np.ones((1, 4 * 7), dtype)
    settings = Timeline(28, 4), 16000.0, 8000.0, method
    audio, _, d_amplitudes, *_ = run_all((frequencies, amplitudes, g, np.zeros((1, 1))), (*settings, 1))
    f, rest = frequencies[0].astype(float), (*settings, np.zeros(1), np.pi / 2)
    expected = reference.bank(f, amplitudes[0], *rest), reference.analysis(g[0], f, *rest)
    for actual, wanted in zip((audio[0], d_amplitudes[0]), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=40 * tolerance(dtype, 28))  # amplitudes, samples


@pytest.mark.parametrize("case", SHIFTED, ids=str)
def test_shifted_harmonics_are_those_of_magenta_and_of_float64(cuda_ops, case):
    def port(*inputs, **args):
        return harmonic_synthesis(**dict(zip(case.inp, inputs, strict=True)), **args)

    # The tolerances are those of the CPU's kernels: tests/autograd/test_partials.py.
    check(case, port, truth="true64", dtype=torch.float64)
    check(case, port, rtol=SHIFTED_FLOAT32)
    assert {"partials_bank", "partials_frames"} <= set(cuda_ops.launched)


@pytest.mark.parametrize("method", METHODS)
def test_second_derivatives_are_those_of_finite_differences(cuda_ops, method):
    rng = torch.Generator().manual_seed(0)
    frequencies = 40 + 400 * torch.rand(1, 3, 2, generator=rng, dtype=torch.float64)
    amplitudes, phase = torch.rand(2, 1, 3, 2, generator=rng, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (frequencies, amplitudes, phase[:, :1])]

    def audio(frequencies, amplitudes, phase):
        return partials.sinusoidal_bank(frequencies, amplitudes, 10, 1000, method, initial_phase=phase)

    assert torch.autograd.gradgradcheck(audio, inputs)


# ---------------------------------------------------------------------------------------------------------------- bits


@DTYPES
@pytest.mark.parametrize("few", [0, 1000])
@FEW_EXAMPLES
@given(problem=problems())
def test_phases_are_the_cpus_bit_for_bit(executor, monkeypatch, dtype, few, problem):
    frequencies, _, g, timeline, sample_rate, method, initial = problem
    frequencies, g = frequencies.astype(dtype), g.astype(dtype)
    settings = timeline, sample_rate, np.inf, method, 0
    monkeypatch.setattr(cuda_partials, "FEW_INTERVALS", few)  # laid out by a launch before, or added up where needed
    bank = Bank(*(torch.from_numpy(np.ascontiguousarray(x)) for x in (frequencies, initial)), *settings, QUEUE)
    audio, final = torch.empty(g.shape, dtype=bank.frequencies.dtype), torch.full(initial.shape, torch.nan).double()
    bank.render(torch.zeros_like(bank.frequencies), audio, final)
    cpu = CpuBank(np.ascontiguousarray(frequencies), initial, *settings)
    np.testing.assert_array_equal(final, cpu.final_phase)
    if bank.phases is not None:
        np.testing.assert_array_equal(bank.phases.view(torch.int64), cpu.phases[:, :-1])
    assert not audio.any()


def problem_of(dtype, n_samples, n_frames, n_partials, top=9000.0, *, n_intervals=None, first_frame=0):
    """Two items with frequencies up to beyond Nyquist, and settings but for the method."""
    rng = np.random.default_rng(n_samples + n_partials)
    frequencies = rng.uniform(-500, top, (2, n_frames, n_partials)).astype(dtype)
    amplitudes = rng.standard_normal((2, n_frames, n_partials)).astype(dtype)
    g, initial = rng.standard_normal((2, n_samples)).astype(dtype), rng.uniform(-9, 9, (2, n_partials))
    return (frequencies, amplitudes, g, initial), (Timeline(n_samples, n_intervals or n_frames, first_frame), 16000.0)


# Odd sizes on purpose: several rounds of samples, chunks of partials and tiles, many intervals, intervals of one sample
# or none, held frames.
PROBLEMS = {
    "one frame": problem_of(np.float32, 37, 1, 5),
    "many partials": problem_of(np.float32, 2 * 17, 2, 131),
    "long hop": problem_of(np.float32, 2 * 600, 2, 3),
    "a sample an interval": problem_of(np.float32, 41, 41, 9),
    "fewer samples than frames": problem_of(np.float64, 5, 19, 14),
    "double, long hop": problem_of(np.float64, 300, 1, 34),
    "held": problem_of(np.float32, 80, 4, 6, n_intervals=40, first_frame=-3),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_is_computed_alone_is_what_is_computed_together(executor, name):
    problem, rest = PROBLEMS[name]
    settings = *rest, 8000.0, "cubic", 0
    *_, d_amplitudes, d_frequencies, d_initial = run_all(problem, settings)
    frequencies, amplitudes, g, initial = (torch.from_numpy(x) for x in problem)
    alone = [torch.full_like(x, torch.nan) for x in (amplitudes, frequencies, initial)]
    bank, cotangent = Bank(frequencies, initial, *settings, QUEUE), torch.full_like(initial, 0.5)
    bank.gradient(g, amplitudes, cotangent, alone[0])
    bank.gradient(g, amplitudes, cotangent, None, *alone[1:])
    assert_same_bits(alone, [d_amplitudes, d_frequencies, d_initial])


@pytest.mark.parametrize("name", ["a sample an interval", "held", "fewer samples than frames"])
def test_results_do_not_depend_on_how_phases_are_added_up(executor, monkeypatch, name):
    problem, rest = PROBLEMS[name]
    results = []
    for few in (0, 1000):
        monkeypatch.setattr(cuda_partials, "FEW_INTERVALS", few)
        results.append(run_all(problem, (*rest, 8000.0, "window", 1)))
    assert_same_bits(*results)


@pytest.mark.parametrize("method", METHODS)
def test_blocks_are_the_whole_bit_for_bit(executor, method):
    (frequencies, amplitudes, g, initial), _ = problem_of(np.float32, 12 * 20, 12, 7)
    whole, final, *_ = run_all((frequencies, amplitudes, g, initial), (Timeline(240, 12), 16000.0, 8000.0, method, 0))
    before, after = (1, 2) if method == "cubic" else (0, 1)
    for start, length in ((0, 1), (1, 4), (5, 7)):
        first = max(start - before, 0)
        controls = (x[:, first : start + length + after] for x in (frequencies, amplitudes))
        timeline = Timeline(20 * length, length, start - first)
        block, initial, *_ = run_all((*controls, g[:, : 20 * length], initial), (timeline, 16000, 8000, method, 0))
        np.testing.assert_array_equal(block, whole[:, 20 * start : 20 * (start + length)])
    np.testing.assert_array_equal(initial, final)


# ---------------------------------------------------------------------------------------------------------- odd inputs


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_results_are_nan_only_around_a_frequency_that_is_not_finite(executor, bad):
    problem, rest = problem_of(np.float32, 90, 9, 3)
    settings = *rest, 8000.0, "window", 0
    clean = run_all(problem, settings)
    problem[0][0, 4, 1] = bad
    audio, _, d_amplitudes, d_frequencies, d_initial = run_all(problem, settings)
    assert np.isnan(audio[0, 30:50]).all()  # frame 4 is at sample 40; frequencies are linear between frames
    np.testing.assert_array_equal(audio[0, :30], clean[0][0, :30])
    assert np.isfinite(audio[0, 50:]).all()
    assert np.isnan(d_amplitudes[0, 3:6, 1]).all()
    assert np.isfinite(d_amplitudes[0, [0, 1, 2, 6, 7, 8], 1]).all()
    assert np.isnan(d_frequencies[0, :6, 1]).all()  # all that comes before shifts the phase there
    for x, y in zip((d_amplitudes, d_frequencies, d_initial), clean[2:], strict=True):
        np.testing.assert_array_equal(x[0, ..., [0, 2]], y[0, ..., [0, 2]])
        np.testing.assert_array_equal(x[1], y[1])


def test_threads_are_shared_so_that_few_idle():
    for n_partials in range(1, 1100):
        width, n_threads = shares(n_partials)
        assert width <= min(n_partials, 128) and n_threads in range(128, 257, 32)
        assert n_threads // width * width >= 0.75 * n_threads
        assert -(-n_partials // width) == -(-n_partials // 128)


# ------------------------------------------------------------------------------------------------------------- checker

FOR_PTX = ("a sample an interval", "double, long hop")
SCHEDULES = [("forward", 1, 0), ("reverse", 1, 0), ("random", 1, 8), ("random", 2, 8)]


@pytest.mark.parametrize(
    ("build", "name"),
    [
        *(("CUDA C", name) for name in PROBLEMS),
        *(pytest.param("PTX sm_90", name, marks=pytest.mark.needs_nvrtc) for name in FOR_PTX),
    ],
)
@pytest.mark.needs_compiler
def test_no_schedule_shows_a_race_or_a_stray_access(monkeypatch, build, name):
    problem, rest = PROBLEMS[name]
    results = []
    for order, seed, preempt in SCHEDULES:
        monkeypatch.setattr(launch, "launch", executor_of(build, check=True, order=order, seed=seed, preempt=preempt))
        results += [run_all(problem, (*rest, 8000.0, method, 0)) for method in ("window", "cubic")]
    for i, result in enumerate(results):
        assert_same_bits(result, results[i % 2])


# ---------------------------------------------------------------------------------------------------------------- cost


@pytest.mark.needs_compiler
@pytest.mark.needs_nvrtc
@pytest.mark.parametrize(("n_partials", "forward", "backward"), [(100, 28.5, 72), (1000, 27.5, 58)])
def test_instructions_of_all_launches_for_a_partial_sample(monkeypatch, record_property, n_partials, forward, backward):
    """Loops, what a partial costs once in an interval of 64 samples, idle threads, and the scans over intervals."""
    counted = Executor(from_ptx("90", count=True))
    monkeypatch.setattr(launch, "launch", counted)
    problem, rest = problem_of(np.float32, 32 * 64, 32, n_partials, 7900.0)
    run_all(problem, (*rest, 8000.0, "window", 0))
    executed = {kernel: counts["instructions"] for kernel, counts in counted.counts.items()}
    record_property("instructions", executed)
    units = 2 * 32 * 64 * n_partials  # phases are laid out before each of the two
    assert (executed["partial_phases"] + executed["partials_bank"]) / units <= nvrtc.slack() * forward
    rest = executed["partials_gradients"] + executed["partials_frames"]
    assert (executed["partial_phases"] + rest) / units <= nvrtc.slack() * backward
