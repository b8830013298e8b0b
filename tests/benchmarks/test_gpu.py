"""The benchmark of the CUDA kernels, run to its end without a GPU: on the CPU in its place, and on made-up figures."""

import json
import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from fastddsp.benchmarks import bench_gpu
from fastddsp.benchmarks import report as readme
from fastddsp.benchmarks.gpu import __main__ as command
from fastddsp.benchmarks.gpu import cases, device, measure, report
from fastddsp.benchmarks.gpu.cases import CASES
from tests import fake_cuda

SHORT = {"n_samples": 400}, {"n_frames": 3}


@pytest.fixture
def gpu(monkeypatch):
    """device.Gpu on a CUDA device that is the CPU."""
    monkeypatch.setattr(measure, "ENOUGH_S", 1e-9)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # inductor takes 10 s a function
    with fake_cuda.installed(monkeypatch):
        yield device.Gpu()


def small(case: cases.Case) -> cases.Case:
    lengths = {"n_samples": 400} if "n_samples" in case.short else {"n_frames": 3}
    return replace(case, problem=replace(case.problem, batch=2, **lengths), short=lengths)


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_checked_and_measured(gpu, name):
    figures = measure.measure(small(CASES[name]), gpu, rounds=1)
    assert figures["error"] < 1e-5
    for part in measure.PASSES:
        assert list(figures["seconds"][part]) == ["fastddsp, CUDA graph", "fastddsp", "torch", "torch.compile"]
        assert figures["peak_bytes"][part] == dict.fromkeys(("fastddsp", "torch", "torch.compile"), 2000)
        assert figures["failures"][part] == {}


@pytest.mark.parametrize("name", CASES)
def test_plain_torch_computes_the_same(name):
    case = small(CASES[name])
    controls, cotangent = case.inputs(torch.device("cpu"), torch.float64)
    plain = case.truth or case.plain
    for x, y in zip(*(cases.with_gradients(f, controls, cotangent) for f in (case.ours, plain)), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-9 * float(y.abs().max()))


def test_a_graph_computes_anew(gpu):
    case = small(CASES["filter, 65 bands"])
    controls, cotangent = case.inputs(gpu.device)
    replay = gpu.captured(measure.run_of("forward + backward", case.ours, controls, cotangent))
    with torch.no_grad():
        controls[1].mul_(0.5)
    for x, y in zip(replay(), cases.with_gradients(case.ours, controls, cotangent), strict=True):
        torch.testing.assert_close(x, y)


def test_what_plain_torch_cannot_do_is_told_and_left_out(gpu):
    def too_large(*_, n_samples):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 4 GiB")

    case = replace(small(CASES["partials, K=100"]), plain=too_large, truth=CASES["partials, K=100"].plain)
    figures = measure.measure(case, gpu, rounds=1)
    assert list(figures["seconds"]["forward"]) == ["fastddsp, CUDA graph", "fastddsp"]
    assert figures["failures"]["forward"]["torch"] == "OutOfMemoryError: CUDA out of memory."
    table = report.tables({"gpu": gpu.describe(), "cases": {"partials": figures}})
    assert "- partials, forward, torch: OutOfMemoryError: CUDA out of memory." in table


# -------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def root(tmp_path):
    """As much of the repository as the command writes to."""
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    (tmp_path / command.PAGE).write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    return tmp_path


def test_figures_and_page_are_written(gpu, root, monkeypatch):
    monkeypatch.setattr(command, "CASES", {"delay": small(CASES["delay up to 400 samples"])})
    monkeypatch.setattr(measure, "ROUNDS", 1)
    assert command.main([], gpu, root) == 0
    figures = json.loads((root / command.RESULTS).read_text())
    assert figures["gpu"]["card"] == "Made Up 100"
    page = (root / command.PAGE).read_text()
    assert page == f"before\n{readme.BEGIN}\n{report.tables(figures)}\n{readme.END}\nafter\n"


def test_a_wrong_kernel_gets_no_figure(gpu, root, monkeypatch):
    case = small(CASES["delay up to 400 samples"])
    wrong = replace(case, ours=lambda *controls, n_samples: 1.01 * case.ours(*controls, n_samples=n_samples))
    monkeypatch.setattr(command, "CASES", {"delay": wrong})
    assert command.main([], gpu, root) == 1
    assert "| delay | wrong answer: relative error 1.0e-02 against float64 |" in (root / command.PAGE).read_text()


def test_part_of_the_cases_is_shown_and_not_written(gpu, root, monkeypatch, capsys):
    monkeypatch.setattr(command, "CASES", {"delay": small(CASES["delay up to 400 samples"]), "more": None})
    assert command.main(["del"], gpu, root) == 0
    assert "| delay, forward |" in capsys.readouterr().out
    assert not (root / command.RESULTS).exists()
    assert "old" in (root / command.PAGE).read_text()


def test_without_a_gpu_nothing_is_written(root, monkeypatch, capsys):
    monkeypatch.setattr(command, "cuda_missing", lambda: "CuPy is not installed: pip install 'fastddsp[cuda13]'")
    assert command.main([], root=root) == 2
    assert capsys.readouterr().err == "Nothing measured: CuPy is not installed: pip install 'fastddsp[cuda13]'\n"
    monkeypatch.setattr(command, "cuda_missing", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main([], root=root) == 2
    assert "torch finds no CUDA device" in capsys.readouterr().err
    assert not (root / command.RESULTS).exists()


# ----------------------------------------------------------------------------------------------------------- the page

MADE_UP = {
    "gpu": {
        "card": "Made Up 100",
        "capability": "9.0",
        "multiprocessors": 100,
        "memory_bytes": 80 * 10**9,
        "clock_hz": 1e9,
        "instructions_per_second": 128 * 100 * 1e9,
        "driver": "580.65",
        "cuda": "13.0",
        "torch": "2.13.0",
        "cupy": "13.6",
    },
    "cases": {
        "bank": {
            "error": 3e-7,
            "executed": {"forward": 128 * 100 * 1e9 * 0.7 * 40e-6},
            "seconds": {"forward": {"fastddsp, CUDA graph": 5e-5, "fastddsp": 1e-4, "torch": 2e-3}},
            "peak_bytes": {"forward": {"fastddsp": 4_000_000, "torch": 3_300_000_000}},
            "failures": {"forward": {"torch.compile": "InductorError: no"}},
        },
        "filter": {"wrong": "wrong answer: relative error 1.0e+00 against float64"},
    },
}


def test_a_row_tells_prediction_measurement_rivals_memory_and_error():
    lines = report.tables(MADE_UP).splitlines()
    assert lines[2] == "| bank, forward | 40 us | 50 us | 100 us | 2000 us (20.0 x) | - | 4 MB; 3300 MB; - | 3e-07 |"
    assert lines[3] == "| filter | wrong answer: relative error 1.0e+00 against float64 | | | | | | |"
    assert "- bank, forward, torch.compile: InductorError: no" in lines
    assert {line.count("|") for line in lines[:4]} == {9}
    assert lines[-1].startswith(
        "Made Up 100 (sm_90, 100 multiprocessors at up to 1000 MHz, 80 GB), driver 580.65, CUDA"
    )


def test_without_a_clock_nothing_is_predicted():
    unknown = {**MADE_UP["gpu"], "clock_hz": None, "instructions_per_second": None}
    text = report.tables({**MADE_UP, "gpu": unknown})
    assert "| bank, forward | - | 50 us |" in text
    assert "at up to an unknown clock" in text


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5", "550.54.15"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65  Release Build", "580.65"),
        ("", "unknown"),
    ],
)
def test_the_driver_is_named(tmp_path, monkeypatch, text, version):
    (tmp_path / "version").write_text(text)
    monkeypatch.setattr(device, "DRIVER", tmp_path / "version")
    assert device.driver() == version


def test_the_model_is_that_of_the_page():
    """The counts behind the predictions are those of docs/performance_cuda.md."""
    page = (readme.ROOT / command.PAGE).read_text()

    def counted(column: int, *rows: str) -> tuple[float, ...]:
        """The last number of a cell of each row."""
        lines = [re.findall(rf"^\| {row}.*$", page, re.MULTILINE) for row in rows]
        return tuple(float(re.findall(r"[\d.]+", line.split("|")[column + 1])[-1]) for (line,) in lines)

    bank = r"forward \| \d", "gradients of amplitudes and f0"  # its loop, K = 1000, K = 100
    partials = "partials, a partial-sample, forward", "gradients of amplitudes and frequencies"
    for column, n in ((2, 1000), (3, 100)):
        assert CASES[f"harmonic bank, K={n}"].instructions == counted(column, *bank)
        assert CASES[f"partials, K={n}"].instructions == counted(column, *partials)
    for columns, name, row in (
        ((1, 2), "filter, 65 bands", "filter, 128 taps"),
        ((1, 2), "filtered noise, 65 bands", "the same on noise"),
        ((2, 3), "20 oscillators, a frequency a sample", "oscillators, sample-wise, a"),
        ((2, 3), "wavetables of 512 points", "wavetable synthesis, a sample"),
        ((2, 3), "delay up to 400 samples", "delay, a sample"),
    ):
        assert CASES[name].instructions == sum((counted(column, row) for column in columns), ())


def test_the_page_says_what_was_measured_or_that_nothing_was():
    page, results = (readme.ROOT / command.PAGE).read_text(), readme.ROOT / command.RESULTS
    section = page.split(readme.BEGIN)[1].split(readme.END)[0].strip()
    assert section == report.tables(json.loads(results.read_text())) if results.exists() else report.NOTHING in section


def test_the_benchmark_for_pytest_runs_to_its_end(gpu, monkeypatch):
    name = "delay up to 400 samples"
    monkeypatch.setitem(CASES, name, small(CASES[name]))
    monkeypatch.setattr(measure, "ROUNDS", 1)
    benchmark = SimpleNamespace(extra_info={}, pedantic=lambda run, **_: run())
    bench_gpu.bench_on_a_device(name, benchmark)
    assert benchmark.extra_info["error"] < 1e-5
