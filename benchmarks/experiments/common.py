"""The form of an experiment's result, and the command that makes it.

An experiment is a module with `run(work, quick) -> Outcome` and, as its last line, `main(run)`. Its command sets one
thread, calls `run`, and writes NAME.json and the pictures. A folder given by --work keeps data sets and trainings, so
that a second call only measures; by default it is a temporary one.
"""

import argparse
import dataclasses
import importlib.metadata
import math
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from fastddsp.training.extras import needs_extra
from fastddsp.training.figures import save_figure
from fastddsp.training.files import write_json

with needs_extra():
    from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/experiments"
PICTURES = ROOT / "docs/experiments"  # below the pages that show them, since a site holds no file from elsewhere
SEED = 0
FORMAT = 1
PACKAGES = ("fastddsp", "torch", "numpy", "swift-f0")


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured figure.

    Args:
        what: What it says, in a few words; with the definition's name where there are several.
        value: The figure; NaN and None where nothing could be measured.
        unit: "semitones", "dB", "cents", "%", "x" or "".
        count: How many samples it is made of.
        of: What they are: "frames", "notes".
        at_most: What was asked for; None: nothing, the figure is reported.
        at_least: The same from below.
        spread: 5th and 95th percentile over the samples.
        paper: What the paper reports, on its own data.
    """

    what: str
    value: float | None
    unit: str
    count: int
    of: str
    at_most: float | None = None
    at_least: float | None = None
    spread: tuple[float, float] | None = None
    paper: str = ""

    def met(self) -> bool | None:
        """Whether it is within its bounds; None without any."""
        if self.at_most is None and self.at_least is None:
            return None
        if self.value is None or not math.isfinite(self.value):
            return False
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )


@dataclasses.dataclass(frozen=True)
class Training:
    """One training that an experiment rests on: `weights` numbers, `steps` steps in `seconds` of the processor."""

    name: str
    steps: int
    seconds: float
    weights: int
    last_loss: float
    settings: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an experiment found.

    Args:
        title: Heading of its section.
        text: What was trained on what and how it was measured, as Markdown; enough to read the rows by.
        rows: The figures.
        trainings: What they rest on.
        remarks: What falls short, what was tried with which outcome; a Markdown sentence or more each.
        pictures: matplotlib figures by file name without suffix, each with its caption. Two at most, small.
        details: Anything else worth keeping, as plain values.
    """

    title: str
    text: str
    rows: Sequence[Row]
    trainings: Sequence[Training] = ()
    remarks: Sequence[str] = ()
    pictures: dict[str, tuple[Figure, str]] = dataclasses.field(default_factory=dict)
    details: dict[str, Any] = dataclasses.field(default_factory=dict)


def main(run: Callable[[Path, bool], Outcome], argv: Sequence[str] | None = None) -> None:
    """The command of an experiment.

    Args:
        run: Of (folder for data sets and trainings, whether a minute must do).
        argv: Arguments; those of the process by default.
    """
    name = Path(sys.modules[run.__module__].__file__ or "").stem
    parser = argparse.ArgumentParser(prog=f"python -m fastddsp.benchmarks.experiments.{name}")
    parser.add_argument("--out", type=Path, help="folder for results and pictures; by default where they are committed")
    parser.add_argument("--work", type=Path, help="folder that keeps data sets and trainings, to go on from")
    parser.add_argument("--quick", action="store_true", help="a minute, on little data: tells whether it runs")
    args = parser.parse_args(argv)
    if args.quick and args.out is None:
        parser.error("--quick needs --out: its figures are no results")
    torch.set_num_threads(1)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        outcome = run(args.work or Path(temporary), args.quick)
    save(name, outcome, args.quick, time.perf_counter() - started, args.out)
    for row in outcome.rows:
        print(f"{row.what}: {row.value} {row.unit} ({row.count} {row.of})")


def save(name: str, outcome: Outcome, quick: bool, seconds: float, out: Path | None = None) -> None:
    """Write the result and the pictures of an experiment.

    Args:
        name: Of the experiment.
        outcome: What it found.
        quick: Whether it was only tried.
        seconds: It took; less than its trainings did where those were found in --work.
        out: Folder; None for where results are committed.
    """
    pictures = []
    for stem, (figure, caption) in outcome.pictures.items():
        save_figure(figure, (out or PICTURES) / f"{stem}.png")
        pictures.append({"file": f"{stem}.png", "caption": caption})
    write_json(
        (out or RESULTS) / f"{name}.json",
        _plain(
            {
                "format": FORMAT,
                "name": name,
                "title": outcome.title,
                "text": outcome.text,
                "rows": [dataclasses.asdict(row) | {"met": row.met()} for row in outcome.rows],
                "trainings": [dataclasses.asdict(training) for training in outcome.trainings],
                "remarks": list(outcome.remarks),
                "pictures": pictures,
                "details": outcome.details,
                "quick": quick,
                "seed": SEED,
                "seconds": round(seconds, 1),
                "threads": torch.get_num_threads(),
                "processor": _processor(),
                "versions": {"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
            }
        ),
    )


def _plain(value: Any) -> Any:
    """Plain values of a nested one: five significant digits of a float; None, which JSON has, for NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    value = float(value)  # NumPy's and torch's numbers too
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        names = [line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
