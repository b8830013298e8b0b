"""The CUDA filters, executed on the CPU: golden numbers, specification, noise, bits, checker, launches."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from fastddsp.autograd import dispatch, filters, filters_cuda
from fastddsp.kernels import fir as rules
from fastddsp.kernels.cuda import fir, launch
from fastddsp.kernels.cuda.fir import Filter, Source
from fastddsp.kernels.reference import fir as reference
from fastddsp.kernels.reference.noise import noise as reference_noise
from tests.autograd.test_filters import DESIGN_AND_FILTER, NOISE
from tests.cuda_on_cpu import nvrtc
from tests.cuda_on_cpu.conftest import executor_of
from tests.cuda_on_cpu.launching import QUEUE, Executor, from_ptx
from tests.golden.compare import check
from tests.kernels.test_fir import problems, tolerances

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
OVERLAP = pytest.mark.parametrize("overlap", [False, True], ids=["jumping", "overlapping"])


def run_all(audio, g, magnitudes, window_size, overlap, source=None, needs_magnitudes=True):
    """Output and both gradients, as arrays; without audio, of `source` and without its gradient."""
    audio, g, magnitudes = (None if x is None else torch.from_numpy(x) for x in (audio, g, magnitudes))
    n_samples = audio.shape[1] if source is None else g.shape[1]
    kernels = Filter(source or Source(audio), magnitudes.shape, n_samples, window_size, overlap, g, QUEUE)
    out, d_magnitudes = torch.full_like(g, torch.nan), torch.full_like(magnitudes, torch.nan)
    d_magnitudes = d_magnitudes if needs_magnitudes else None
    d_audio = None if source else torch.full_like(audio, torch.nan)
    kernels.render(magnitudes, out)
    kernels.gradients(g, magnitudes if d_audio is not None else None, d_audio, d_magnitudes)
    return [x.numpy() for x in (out, d_audio, d_magnitudes) if x is not None]


def assert_equals_specification(results, audio, g, magnitudes, window_size, overlap):
    for b in range(len(audio)):
        x, v, bands = (array[b].astype(float) for array in (audio, g, magnitudes))
        expected = (
            reference.filter_audio(x, bands, window_size, len(v), overlap),
            *reference.gradients(v, x, bands, window_size, overlap),
        )
        allowed = tolerances(x, v, bands, window_size, results[0].dtype)
        for actual, wanted, atol in zip(results, expected, allowed, strict=True):
            np.testing.assert_allclose(actual[b], wanted, rtol=0, atol=atol)


# ------------------------------------------------------------------------------------------------------------- numbers


@DTYPES
@OVERLAP
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems())
def test_kernels_equal_their_specification(executor, dtype, overlap, problem):
    *arrays, window_size = problem
    arrays = [x.astype(dtype) for x in arrays]
    assert_equals_specification(run_all(*arrays, window_size, overlap), *arrays, window_size, overlap)


def problem_of(dtype, n_samples, n_frames, n_bands, tail=0):
    """Two rows of audio, cotangents, magnitudes."""
    rng = np.random.default_rng(n_samples + n_bands)
    shapes = (2, n_samples), (2, n_samples + tail), (2, n_frames, n_bands)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


# Odd sizes on purpose: frames of less than STEPS samples and of none, more bands than are staged at a time.
PROBLEMS = {
    "frames of 5": ((np.float32, 33, 7, 9, 15), 0),
    "odd window": ((np.float32, 50, 3, 12, 9), 11),
    "a tap or two": ((np.float64, 13, 2, 2), 1),
    "fewer samples than frames": ((np.float32, 5, 9, 5), 0),
    "many bands": ((np.float32, 40, 2, 150), 40),
    "a long frame": ((np.float32, 333, 1, 9), 0),
    "double": ((np.float64, 60, 4, 17), 0),
    "terms one beyond a turn": ((np.float32, 18, 2, 6), 0),  # so that sums reach as far as they can
}
# What the host chooses: taps in tiles, frames in pieces, few frames at a time.
TILED, CUT, FEW = {"TAPS": 8}, {"PIECE": 16}, {"MOST_FRAMES": 2, "OWN": 2}


def choose(monkeypatch, **choices):
    for name, value in choices.items():
        monkeypatch.setattr(fir, name, value)


@OVERLAP
@pytest.mark.parametrize("choice", [{}, TILED, CUT, TILED | CUT | FEW], ids=str)
@pytest.mark.parametrize("name", PROBLEMS)
def test_tiles_and_pieces_add_up_to_the_specification(executor, monkeypatch, name, choice, overlap):
    choose(monkeypatch, **choice)
    problem, window_size = problem_of(*PROBLEMS[name][0]), PROBLEMS[name][1]
    assert_equals_specification(run_all(*problem, window_size, overlap), *problem, window_size, overlap)


@DTYPES
@pytest.mark.parametrize(
    ("n_bands", "window_size"), [(2, 0), (2, 1), (3, 1), (3, 3), (9, 15), (9, 14), (9, 2), (9, 5), (150, 0), (150, 99)]
)
def test_taps_are_windowed_cosines_to_a_few_roundings(executor, dtype, n_bands, window_size):
    """Of each band alone, filtering a single sample; what comes before the delay is cut off."""
    n, (first_lag, window) = n_bands - 1, rules.taps(2 * (n_bands - 1), window_size)
    lags, delay = first_lag + np.arange(len(window)), rules.delay(len(window))
    share = np.where(np.arange(n_bands) % n == 0, 0.5, 1)[:, None] / n
    taps = share * window * np.cos(np.pi / n * (np.outer(np.arange(n_bands), lags) % (2 * n)))
    audio, magnitudes = np.ones((n_bands, 1), dtype), np.eye(n_bands, dtype=dtype)[:, None]
    out, *_ = run_all(audio, np.zeros((n_bands, len(window)), dtype), magnitudes, window_size, False)
    heard, expected = (out[:, 1:], taps[:, :-1]) if delay < 0 else (out[:, : len(window) - delay], taps[:, delay:])
    # The 15th turn after an exact cosine: each of them off by an eps, at the most.
    np.testing.assert_allclose(heard, expected, rtol=0, atol=16 * np.finfo(dtype).eps / n)


@pytest.fixture
def cuda_filters(executor, monkeypatch):
    """Public functions on CPU tensors run the CUDA implementations of their ops, through the executor."""
    monkeypatch.setattr(dispatch, "queue", lambda tensor: QUEUE)
    monkeypatch.setattr(filters, "_filter_op", filters_cuda.frequency_filter)
    monkeypatch.setattr(filters, "_filter_backward_op", filters_cuda.frequency_filter_backward)
    monkeypatch.setattr(filters, "_noise_op", filters_cuda.filtered_noise)
    monkeypatch.setattr(filters, "_noise_backward_op", filters_cuda.filtered_noise_backward)
    return executor


FILTER = [case for case in DESIGN_AND_FILTER if case.function == "core.frequency_filter"]


@pytest.mark.parametrize("case", FILTER, ids=str)
def test_values_and_gradients_are_magentas(cuda_filters, case):
    for dtype in (torch.float32, torch.float64):
        check(case, filters.frequency_filter, dtype=dtype, rtol=1e-5)  # magenta is float32
    assert {"fir_forward", "fir_backward"} <= set(cuda_filters.launched)


@pytest.mark.parametrize("case", NOISE, ids=str)
def test_filtered_noise_is_magentas_on_its_noise(cuda_filters, case):
    init, noise = case.meta["init"], torch.tensor(case.noise[0])
    settings = init["n_samples"], init.get("window_size", 257)
    check(case, lambda magnitudes: filters.filtered_noise(magnitudes, *settings, noise=noise))


@OVERLAP
def test_derivatives_of_any_order_are_those_of_finite_differences(cuda_filters, overlap):
    audio, _, magnitudes = (torch.from_numpy(x).requires_grad_() for x in problem_of(np.float64, 7, 2, 3))
    assert torch.autograd.gradgradcheck(
        lambda *inputs: filters.frequency_filter(*inputs, padding="valid", overlap=overlap), (audio, magnitudes)
    )
    assert torch.autograd.gradgradcheck(
        lambda x: filters.filtered_noise(x, 9, 0, seed=3, offset=5, overlap=overlap), (magnitudes,)
    )


# --------------------------------------------------------------------------------------------------------------- noise


def assert_same_bits(actual, expected):
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(x, y)


@DTYPES
@OVERLAP
@pytest.mark.parametrize("offset", [0, 1, 4_000_000_003, 2**34 + 2])
def test_noise_is_the_cpus_bit_for_bit(executor, monkeypatch, dtype, overlap, offset):
    """Filtered as the specification's noise would be if it were given, the gradient as well."""
    choose(monkeypatch, MOST_FRAMES=2)
    seeds = np.array([3, 2**62 + 5])
    _, g, magnitudes = problem_of(dtype, 41, 6, 9)
    audio = np.stack([reference_noise(int(seed), b, offset, 41) for b, seed in enumerate(seeds)]).astype(dtype)
    noise = run_all(None, g, magnitudes, 0, overlap, Source(seeds=torch.from_numpy(seeds), offset=offset))
    out, _, d_magnitudes = run_all(audio, g, magnitudes, 0, overlap)
    assert_same_bits(noise, [out, d_magnitudes])


def test_one_seed_serves_all_rows(executor):
    _, g, magnitudes = problem_of(np.float32, 41, 6, 9)
    one, two = (run_all(None, g, magnitudes, 0, False, Source(seeds=torch.full((n,), 7))) for n in (1, 2))
    assert_same_bits(one, two)


def test_the_same_seed_is_the_same_noise_on_the_cpu(cuda_filters, monkeypatch):
    magnitudes = torch.rand(2, 4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    on_cuda = filters.filtered_noise(magnitudes, 60, 0, seed=11, offset=3)
    monkeypatch.undo()
    torch.testing.assert_close(on_cuda, filters.filtered_noise(magnitudes, 60, 0, seed=11, offset=3))


# ---------------------------------------------------------------------------------------------------------------- bits


@OVERLAP
@pytest.mark.parametrize("name", PROBLEMS)
def test_results_do_not_depend_on_the_grid(executor, monkeypatch, name, overlap):
    problem, window_size = problem_of(*PROBLEMS[name][0]), PROBLEMS[name][1]
    expected = run_all(*problem, window_size, overlap)
    for choice in (FEW, {"ENOUGH_BLOCKS": 1}, {"SHARED_BYTES": 24 * 1024}):
        with monkeypatch.context() as patch:
            choose(patch, **choice)
            assert_same_bits(run_all(*problem, window_size, overlap), expected)


@OVERLAP
def test_what_is_computed_alone_is_what_is_computed_together(executor, monkeypatch, overlap):
    choose(monkeypatch, **TILED)
    audio, g, magnitudes = problem_of(np.float32, 50, 4, 9)
    out, d_audio, d_magnitudes = run_all(audio, g, magnitudes, 0, overlap)
    assert_same_bits(run_all(audio, g, magnitudes, 0, overlap, needs_magnitudes=False), [out, d_audio])
    given = Source(torch.from_numpy(audio))
    assert_same_bits(run_all(None, g, magnitudes, 0, overlap, given), [out, d_magnitudes])


# ------------------------------------------------------------------------------------------------------------- checker

SCHEDULES = [("forward", 1, 0), ("reverse", 1, 0), ("random", 1, 8), ("random", 2, 8)]
CHECKED = {
    "frames of 5": {"ENOUGH_BLOCKS": 1},
    "odd window": TILED,
    "fewer samples than frames": FEW,
    "many bands": {},
    "a long frame": CUT,
    "double": TILED | CUT | FEW,
    "terms one beyond a turn": {},
}


@pytest.mark.parametrize(
    ("build", "name"),
    [*(("CUDA C", name) for name in CHECKED), pytest.param("PTX sm_90", "frames of 5", marks=pytest.mark.needs_nvrtc)],
)
@pytest.mark.needs_compiler
def test_no_schedule_shows_a_race_or_a_stray_access(monkeypatch, build, name):
    choose(monkeypatch, **CHECKED[name])
    problem, window_size = problem_of(*PROBLEMS[name][0]), PROBLEMS[name][1]
    noise = Source(seeds=torch.tensor([1, 2]), offset=3)
    checked = executor_of(build, check=True)
    monkeypatch.setattr(launch, "launch", checked)
    results = []
    for order, seed, preempt in SCHEDULES:
        monkeypatch.setattr(checked, "settings", {"order": order, "seed": seed, "preempt": preempt})
        result = run_all(*problem, window_size, True) + run_all(None, *problem[1:], window_size, False, noise)
        results.append(result + run_all(*problem, window_size, False, needs_magnitudes=False))
    for result in results[1:]:
        assert_same_bits(result, results[0])


# ---------------------------------------------------------------------------------------------------------------- cost


@pytest.mark.needs_compiler
@pytest.mark.needs_nvrtc
@pytest.mark.parametrize(
    ("what", "forward", "backward"), [("audio", 592, 985), ("noise", 627, 590), ("gliding", 865, 1890)]
)
def test_instructions_of_whole_kernels_for_a_sample(monkeypatch, record_property, what, forward, backward):
    """Sums, design, staging and idle threads: 90 frames of 64 samples, 65 bands, 128 taps."""
    counted = Executor(from_ptx("90", count=True))
    monkeypatch.setattr(launch, "launch", counted)
    choose(monkeypatch, ENOUGH_BLOCKS=1)
    audio, g, magnitudes = (x[:1] for x in problem_of(np.float32, 90 * 64, 90, 65))
    noise = Source(seeds=torch.tensor([1]))
    run_all(
        None if what == "noise" else audio, g, magnitudes, 257, what == "gliding", noise if what == "noise" else None
    )
    executed = {kernel: counts["instructions"] / (90 * 64) for kernel, counts in counted.counts.items()}
    record_property(f"instructions a sample, {what}", executed)
    assert executed["fir_forward"] <= nvrtc.slack() * forward
    assert executed["fir_backward"] <= nvrtc.slack() * backward
