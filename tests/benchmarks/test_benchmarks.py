"""The benchmarks compare right answers, count memory, and write what they measured."""

import json

import pytest
import torch

from fastddsp.benchmarks import comparisons, measure, report, sweep
from fastddsp.benchmarks.rivals import ddsp_pytorch_harmonic, magenta_harmonic
from fastddsp.benchmarks.spectral_losses import SpectralLosses
from fastddsp.cli import main


@pytest.mark.parametrize("name", comparisons.CASES)
def test_every_case_is_right_before_it_is_timed(name):
    assert comparisons.CASES[name].check() < 1e-5


def test_a_wrong_answer_gets_no_figure(monkeypatch):
    monkeypatch.setattr(comparisons, "harmonic_bank", lambda *args, **_: torch.zeros(1, args[2]))
    with pytest.raises(AssertionError, match="wrong answer"):
        comparisons.Harmonic(1, 10, 70).check()


@pytest.mark.parametrize("rival", [magenta_harmonic, ddsp_pytorch_harmonic])
def test_rivals_compute_the_same(rival):
    case = comparisons.Harmonic(1, 10, 70, n_frames=20)
    f0_hz, amplitudes, cotangent = (x.double() for x in case.inputs())
    ours = case.rivals()["fastddsp"]()[0]
    torch.testing.assert_close(rival(f0_hz, amplitudes, cotangent.shape[1], 16000), ours.double(), rtol=0, atol=2e-6)


def test_spectral_losses_are_comparable():
    """auraloss's mean over six sizes is a sixth of our sum, up to what its padding adds at both ends."""
    pytest.importorskip("auraloss")
    ours, *auraloss, magenta = (run()[0].item() for run in SpectralLosses(1, 64000).rivals().values())
    assert [6 * value for value in auraloss] == pytest.approx([ours] * 2, rel=0.02)
    assert magenta == pytest.approx(ours, rel=1e-5)


def test_peak_memory_is_that_of_the_call_alone():
    audio_bytes = 4 * 16000
    torch_way = measure.peak_memory("25 harmonics", "torch, magenta's way")
    assert 25 * audio_bytes < torch_way < 40 * 25 * audio_bytes  # a few tensors of samples x harmonics, not the imports
    assert measure.peak_memory("25 harmonics", "fastddsp") < torch_way / 10


def test_bench_writes_its_figures(tmp_path, monkeypatch, capsys):
    small = {"small": comparisons.Harmonic(1, 10, 70, n_frames=20)}
    monkeypatch.setattr(comparisons, "CASES", small)
    monkeypatch.setattr(measure, "peak_memory", lambda *_: 1)
    assert main(["bench", "--quick", "--out", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert figures["cases"]["small"]["error"] < 2e-6
    assert "small: " in capsys.readouterr().out


def test_the_plot_shows_every_rival(tmp_path):
    result = {"seconds": {"fastddsp": 1e-3, "torch": 1.0}, "peak_bytes": {"fastddsp": 1, "torch": 10}}
    sweep._plot({"25": result, "50": result}, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 1000


def test_the_readme_says_what_the_committed_results_say(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(readme, report.tables())
    written = readme.read_text()
    assert written.startswith("before\n") and written.endswith("\nafter\n") and "old" not in written
    assert report.tables() in (report.ROOT / "README.md").read_text()
    assert report.tables_of_other_machines() in (report.ROOT / "docs/performance.md").read_text()
