"""The CUDA harmonic bank, executed on the CPU: golden numbers, specification, bits, checker."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastddsp.kernels.cpu.harmonic import Bank as CpuBank
from fastddsp.kernels.cuda import harmonic, launch
from fastddsp.kernels.cuda.harmonic import Bank
from fastddsp.kernels.phase import METHODS, Timeline
from fastddsp.kernels.reference import harmonic as reference
from tests.autograd import test_voices
from tests.autograd.test_oscillators import COMPARED, FLOAT32, port
from tests.cuda_on_cpu import nvrtc
from tests.cuda_on_cpu.conftest import executor_of
from tests.cuda_on_cpu.launching import QUEUE, Executor, from_ptx
from tests.golden.compare import check
from tests.kernels.test_harmonic import most_turns, problems, tolerance

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(x)) for x in arrays]


def empty(*arrays):
    """NaN in the place of results."""
    return [torch.full(x.shape, torch.nan, dtype=torch.from_numpy(x).dtype) for x in arrays]


def bank_of(f0, initial, *settings, **more) -> Bank:
    return Bank(*tensors(f0, initial), *settings, QUEUE, **more)


# ------------------------------------------------------------------------------------------------------------- numbers


@DTYPES
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems(), quarter_turns=st.integers(0, 3))
def test_kernels_equal_their_specification(executor, dtype, problem, quarter_turns):
    f0, amplitudes, g, timeline, sample_rate, method, initial = problem
    f0, amplitudes, g = (x.astype(dtype) for x in (f0, amplitudes, g))
    bank = bank_of(f0, initial, timeline, sample_rate, sample_rate / 2, method, quarter_turns)
    audio, final_phase, d_amplitudes, d_f0, d_initial = empty(g, initial, amplitudes, f0, initial)
    bank.render(*tensors(amplitudes), audio, final_phase)
    cotangent = np.array([0.5, 0.0])
    bank.gradients(*tensors(g, amplitudes, cotangent), d_amplitudes, d_f0, d_initial)

    n_harmonics = amplitudes.shape[2]
    for b in range(2):
        args = (timeline, sample_rate, method, initial[b])
        sums = n_harmonics, timeline.n_samples, most_turns(f0[b], sample_rate)
        one = tolerance(dtype, amplitudes[b], *sums)
        psi = quarter_turns * np.pi / 2
        expected = reference.bank(f0[b].astype(float), amplitudes[b].astype(float), *args, psi)
        np.testing.assert_allclose(audio[b], expected, rtol=0, atol=2 * one)  # 2: cubic weights add up to 1.5
        expected = reference.analysis(g[b].astype(float), f0[b].astype(float), n_harmonics, *args, psi)
        unit = tolerance(dtype, np.ones(1), *sums)
        np.testing.assert_allclose(d_amplitudes[b], expected, rtol=0, atol=2 * unit * np.abs(g[b]).sum())
        if quarter_turns == 0:
            expected_f0, expected_initial = reference.phase_gradient(
                g[b].astype(float), f0[b].astype(float), amplitudes[b].astype(float), *args, cotangent[b]
            )
            slope = amplitudes[b] * np.arange(1, n_harmonics + 1)
            bound = 2 * tolerance(dtype, slope, *sums) * np.abs(g[b]).sum()
            np.testing.assert_allclose(d_initial[b], expected_initial, rtol=1e-9, atol=bound)
            scale = 2 * np.pi / sample_rate * timeline.n_samples
            np.testing.assert_allclose(d_f0[b], expected_f0, rtol=1e-6, atol=bound * scale)


def test_a_thousand_harmonics_are_as_exact_as_a_hundred(executor):
    rng = np.random.default_rng(0)
    amplitudes = (rng.standard_normal((1, 2, 1000)) / 1000).astype(np.float32)
    f0, initial, timeline = np.array([[7.5, 7.6]], np.float32), np.array([0.3]), Timeline(26, 2)
    audio, final_phase = torch.empty(1, 26), torch.empty(1, dtype=torch.float64)
    bank_of(f0, initial, timeline, 16000.0, 8000.0, "linear", 0).render(*tensors(amplitudes), audio, final_phase)
    expected = reference.bank(f0[0].astype(float), amplitudes[0].astype(float), timeline, 16000.0, "linear", 0.3)
    bound = tolerance(np.float32, amplitudes[0], 1000, 26)
    # The bound is for errors that all add up; a thousand of random sign add up to a 30th of that.
    np.testing.assert_allclose(audio[0], expected, rtol=0, atol=bound / 10)


@pytest.mark.parametrize("case", COMPARED, ids=str)
def test_values_and_gradients_are_those_of_magenta_and_of_float64(cuda_ops, case):
    # The tolerances are those of the CPU's kernels: tests/autograd/test_oscillators.py.
    check(case, port(case), truth="true64", rtol=FLOAT32, grad_rtol=2e-5 if "initial_phase" in case.inp else FLOAT32)
    check(case, port(case), truth="true64", dtype=torch.float64)
    check(case, port(case))
    assert set(cuda_ops.launched) >= {"harmonic_bank"}


@pytest.mark.parametrize("method", METHODS)
def test_second_derivatives_are_those_of_finite_differences(cuda_ops, method):
    from fastddsp.autograd.harmonic_bank import harmonic_bank

    rng = torch.Generator().manual_seed(0)
    f0_hz = 40 + 100 * torch.rand(1, 3, 1, generator=rng, dtype=torch.float64)
    inputs = [f0_hz, torch.rand(1, 3, 3, generator=rng, dtype=torch.float64), torch.ones(1, 1, 1, dtype=torch.float64)]

    def audio(f0_hz, amplitudes, phase):
        return harmonic_bank(f0_hz, amplitudes, 12, 1000, method, initial_phase=phase)

    assert torch.autograd.gradgradcheck(audio, [x.requires_grad_() for x in inputs])


# ---------------------------------------------------------------------------------------------------------------- bits


@DTYPES
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems(), segment=st.sampled_from([1, 3, 1024]))
def test_phase_is_the_cpus_bit_for_bit(executor, dtype, problem, segment):
    f0, _, g, timeline, sample_rate, method, initial = problem
    settings = (timeline, sample_rate, np.inf, method, 0)
    expected = CpuBank(f0.astype(dtype), initial, *settings).final_phase
    final_phase = torch.full((2,), torch.nan, dtype=torch.float64)
    silence, audio = (
        torch.zeros(2, f0.shape[1], 1, dtype=torch.from_numpy(g.astype(dtype)).dtype),
        empty(g.astype(dtype))[0],
    )
    bank_of(f0.astype(dtype), initial, *settings, segment=segment).render(silence, audio, final_phase)
    np.testing.assert_array_equal(final_phase, expected)


def problem_of(dtype, n_samples, n_frames, n_harmonics, f0, *, n_intervals=None, first_frame=0, batch=2):
    """Two items whose f0 lies in [f0 / 2, f0] and moves."""
    rng = np.random.default_rng(n_samples + n_harmonics)
    f0 = (f0 * (0.5 + 0.5 * rng.random((batch, n_frames)))).astype(dtype)
    amplitudes = rng.standard_normal((batch, n_frames, n_harmonics)).astype(dtype)
    g, initial = rng.standard_normal((batch, n_samples)).astype(dtype), rng.uniform(-9, 9, batch)
    return f0, amplitudes, g, initial, Timeline(n_samples, n_intervals or n_frames, first_frame)


# Odd sizes on purpose: several rounds of samples, several blocks of harmonics, more than one batch of intervals,
# intervals of one sample or none, held frames, harmonics that cross Nyquist in the middle of an interval.
PROBLEMS = {
    "one frame": (np.float32, 37, 1, 20, 300.0),
    "harmonics cross Nyquist": (np.float32, 3 * 70, 3, 40, 500.0),
    "many harmonics": (np.float32, 2 * 33, 2, 460, 15.0),
    "long hop": (np.float32, 2 * 700, 2, 15, 400.0),
    "a sample an interval": (np.float32, 41, 41, 9, 900.0),
    "fewer samples than frames": (np.float64, 5, 9, 14, 300.0),
    "double": (np.float64, 5 * 29, 5, 31, 400.0),
    "double, long hop": (np.float64, 520, 1, 8, 900.0),
}
# More intervals than a block looks at together, whose frames are held at both ends: f0.
HELD = {"held": 900.0, "held, nothing audible": 20000.0}


def held(dtype, f0):
    return problem_of(dtype, 100, 4, 6, f0, n_intervals=80, first_frame=-3)


def chord(problem):
    """The two items as voices of one."""
    f0, amplitudes, g, initial, timeline = problem
    return f0, amplitudes, g[:1], initial, timeline


def run_all(problem, method, quarter_turns=0, **more):
    """Everything that a bank computes, as arrays."""
    f0, amplitudes, g, initial, timeline = problem
    bank = bank_of(f0, initial, timeline, 16000.0, 8000.0, method, quarter_turns, **more)
    audio, final, d_a, d_f0, d_initial, analysed, again, same = empty(
        g, initial, amplitudes, f0, initial, amplitudes, f0, initial
    )
    a, cotangent, g = *tensors(amplitudes), torch.tensor([0.5, 0.0], dtype=torch.float64)[: len(f0)], *tensors(g)
    bank.render(a, audio, final)
    bank.gradients(g, a, cotangent, d_a, d_f0, d_initial)
    bank.analyse(g, analysed)
    bank.phase_gradient(g, a, cotangent, again, same)
    return [x.numpy() for x in (audio, final, d_a, d_f0, d_initial, analysed, again, same)]


def assert_same_bits(actual, expected):
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_is_computed_alone_is_what_is_computed_together(executor, name):
    *_, d_a, d_f0, d_initial, analysed, again, same = run_all(problem_of(*PROBLEMS[name]), "window")
    assert_same_bits([analysed, again, same], [d_a, d_f0, d_initial])


@pytest.mark.parametrize("method", METHODS)
def test_results_do_not_depend_on_the_grid(executor, monkeypatch, method):
    problem = problem_of(np.float32, 19 * 23, 19, 33, 700.0)
    expected = run_all(problem, method)
    for own in (3, 7, 19):
        monkeypatch.setattr(harmonic, "ENOUGH_BLOCKS", 1)
        monkeypatch.setattr(harmonic, "MOST_FRAMES", own)
        assert_same_bits(run_all(problem, method, segment=own + 1), expected)


@pytest.mark.parametrize("name", ["harmonics cross Nyquist", "long hop", "double"])
def test_voices_are_added_up_and_hear_the_same_signal(executor, name):
    f0, amplitudes, g, initial, timeline = problem_of(*PROBLEMS[name])
    alone = run_all((f0, amplitudes, g[:1].repeat(2, 0), initial, timeline), "cubic")
    audio, *others = run_all(chord((f0, amplitudes, g, initial, timeline)), "cubic")
    assert_same_bits(others, alone[1:])
    # Two numbers added in another order: an eps of the terms, which cubic weights may scale by 1.5.
    bound = 2 * np.finfo(f0.dtype).eps * 1.5 * np.abs(amplitudes).sum(2).max()
    np.testing.assert_allclose(audio[0], alone[0].sum(0), rtol=0, atol=bound)


@pytest.mark.parametrize("method", METHODS)
def test_blocks_are_the_whole_bit_for_bit(executor, method):
    f0, amplitudes, g, initial, _ = problem_of(np.float32, 12 * 20, 12, 25, 900.0, batch=1)
    whole, final = empty(g, initial)
    bank_of(f0, initial, Timeline(240, 12), 16000, 8000, method, 0).render(*tensors(amplitudes), whole, final)
    before, after = (1, 2) if method == "cubic" else (0, 1)
    phase = initial
    for start, length in ((0, 1), (1, 4), (5, 7)):
        first = max(start - before, 0)
        context = slice(first, start + length + after)
        timeline = Timeline(20 * length, length, start - first)
        block, last = empty(g[:, : 20 * length], initial)
        bank = bank_of(f0[:, context], phase, timeline, 16000, 8000, method, 0)
        bank.render(*tensors(amplitudes[:, context]), block, last)
        assert torch.equal(block, whole[:, 20 * start : 20 * (start + length)])
        phase = last.numpy()
    assert_same_bits([phase], [final.numpy()])


def test_voices_through_their_functions_are_those_of_the_cpu(cuda_ops, monkeypatch):
    voices = test_voices.controls(3, dtype=torch.float64)
    outputs = test_voices.bank(voices)
    results = [*outputs, *test_voices.gradients(outputs, voices)]
    monkeypatch.undo()
    outputs = test_voices.bank(voices)
    expected = [*outputs, *test_voices.gradients(outputs, voices)]
    assert torch.equal(results[1], expected[1])
    for x, y in zip(results, expected, strict=True):
        assert x is y is None or torch.allclose(x, y, rtol=1e-9, atol=1e-9 * y.abs().max().item())


def test_no_voices_are_silence(cuda_ops):
    test_voices.test_no_voices_are_silence()


# ---------------------------------------------------------------------------------------------------------- odd inputs


@pytest.mark.parametrize("method", METHODS)
def test_frames_at_the_ends_are_held(executor, method):
    f0, amplitudes, g, initial, timeline = held(np.float64, 900.0)
    audio, _, d_a, d_f0, d_initial, *_ = run_all((f0, amplitudes, g, initial, timeline), method)
    for b in range(2):
        args = timeline, 16000.0, method, initial[b]
        np.testing.assert_allclose(audio[b], reference.bank(f0[b], amplitudes[b], *args), rtol=0, atol=1e-11)
        np.testing.assert_allclose(d_a[b], reference.analysis(g[b], f0[b], 6, *args), rtol=0, atol=1e-11)
        expected, initial_expected = reference.phase_gradient(g[b], f0[b], amplitudes[b], *args, 0.5 * (b == 0))
        np.testing.assert_allclose(d_f0[b], expected, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(d_initial[b], initial_expected, rtol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_results_are_nan_only_around_a_frequency_that_is_not_finite(executor, bad):
    f0, amplitudes, g, initial, timeline = problem_of(np.float32, 90, 9, 20, 200.0)
    clean = run_all((f0, amplitudes, g, initial, timeline), "window")
    f0[0, 4] = bad
    audio, _, d_a, d_f0, *_ = run_all((f0, amplitudes, g, initial, timeline), "window")
    assert np.isnan(audio[0, 30:50]).all()  # frame 4 is at sample 40; f0 is linear between frames
    np.testing.assert_array_equal(audio[0, :30], clean[0][0, :30])
    assert np.isfinite(audio[0, 50:]).all()
    assert np.isfinite(d_a[0, [0, 1, 2, 6, 7, 8]]).all()
    assert np.isnan(d_f0[0, :6]).all()  # all that comes before shifts the phase there
    for x, y in zip((audio, d_a, d_f0), (clean[0], clean[2], clean[3]), strict=True):
        np.testing.assert_array_equal(x[1], y[1])


def test_no_harmonics_are_silence_that_keeps_its_phase(executor):
    f0, amplitudes, g, initial, timeline = problem_of(np.float32, 30, 3, 1, 200.0)
    expected = run_all((f0, amplitudes, g, initial, timeline), "linear")[1]
    audio, final, *_ = run_all((f0, amplitudes[..., :0], g, initial, timeline), "linear")
    assert not audio.any()
    assert_same_bits([final], [expected])


def test_a_harmonic_at_nyquist_itself_is_silent(executor):
    amplitudes = np.eye(20, dtype=np.float32)[None, 7:8].repeat(4, 1)  # the eighth
    g, initial = np.ones((1, 64), np.float32), np.zeros(1)
    for f0, sounds in ((1000.0, False), (999.5, True)):
        f0 = np.full((1, 4), f0, np.float32)
        audio, _, d_amplitudes, *_ = run_all((f0, amplitudes, g, initial, Timeline(64, 4)), "linear")
        assert audio.any() == sounds
        assert d_amplitudes[:, :, 7].any() == sounds


# ------------------------------------------------------------------------------------------------------------- checker

SCHEDULES = [("forward", 1, 0), ("reverse", 1, 0), ("random", 1, 8), ("random", 2, 8)]


@pytest.mark.parametrize("build", ["CUDA C", pytest.param("PTX sm_90", marks=pytest.mark.needs_nvrtc)])
@pytest.mark.parametrize("name", [*PROBLEMS, *HELD, "voices"])
@pytest.mark.needs_compiler
def test_no_schedule_shows_a_race_or_a_stray_access(monkeypatch, build, name):
    if name == "voices":
        problem = chord(problem_of(*PROBLEMS["harmonics cross Nyquist"]))
    else:
        problem = problem_of(*PROBLEMS[name]) if name in PROBLEMS else held(np.float32, HELD[name])
    checked = executor_of(build, check=True)
    monkeypatch.setattr(launch, "launch", checked)
    results = []
    for order, seed, preempt in SCHEDULES:
        monkeypatch.setattr(checked, "settings", {"order": order, "seed": seed, "preempt": preempt})
        results += [run_all(problem, method, segment=4) for method in ("window", "cubic")]
    for i, result in enumerate(results):
        assert_same_bits(result, results[i % 2])


# ---------------------------------------------------------------------------------------------------------------- cost


@pytest.mark.needs_compiler
@pytest.mark.needs_nvrtc
@pytest.mark.parametrize(
    ("n_harmonics", "forward", "backward"), [(18, 19.5, 44.6), (100, 6.1, 18.5), (1000, 4.0, 14.4)]
)
def test_instructions_of_whole_kernels_for_a_harmonic_sample(
    monkeypatch, record_property, n_harmonics, forward, backward
):
    """Loops, starts, staging and idle threads: 64 intervals of 64 samples, all harmonics audible."""
    counted = Executor(from_ptx("90", count=True))
    monkeypatch.setattr(launch, "launch", counted)
    monkeypatch.setattr(harmonic, "ENOUGH_BLOCKS", 9)  # blocks own 7 frames, as they do where there are many
    problem = problem_of(np.float32, 64 * 64, 64, n_harmonics, 7000.0 / n_harmonics, batch=1)
    run_all(problem, "window")
    units = 64 * 64 * n_harmonics
    executed = {kernel: counts["instructions"] / units for kernel, counts in counted.counts.items()}
    record_property("instructions a harmonic-sample", executed)
    assert executed["harmonic_bank"] <= nvrtc.slack() * forward
    assert executed["harmonic_gradients"] <= nvrtc.slack() * backward
