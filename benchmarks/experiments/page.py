"""`python -m fastddsp.benchmarks.experiments.page`: the committed results of experiments as docs/experiments.md.

What stands between the results markers is written from benchmarks/results/experiments/*.json; no figure is typed by
hand.
"""

import json
import re
from pathlib import Path
from typing import Any

from fastddsp.benchmarks.experiments.common import PICTURES, RESULTS, ROOT
from fastddsp.benchmarks.report import write

PAGE = ROOT / "docs/experiments.md"
# In the order of the page; others follow by name.
ORDER = ("notes", "control", "dereverberation", "transfer", "sizes", "unsupervised", "high_harmonic")
VERDICTS = {True: "yes", False: "**no**", None: ""}


def results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """The results of a folder, in the order of the page."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    return [found[name] for name in sorted(found, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))]


def markdown(experiments: list[dict[str, Any]]) -> str:
    """What stands between the markers: every figure in one table, then a section for each experiment."""
    lines = [
        "| experiment | figure | measured | asked for | met | made of | paper |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in experiments:
        link = f"[{result['title']}](#{slug(result['title'])})"
        lines += [_row(link if i == 0 else "", row) for i, row in enumerate(result["rows"])]
    for result in experiments:
        lines += ["", *_section(result)]
    return "\n".join(lines)


def _row(link: str, row: dict[str, Any]) -> str:
    unit = row["unit"]
    asked = [f"≤ {quantity(row['at_most'], unit)}"] if row["at_most"] is not None else []
    asked += [f"≥ {quantity(row['at_least'], unit)}"] if row["at_least"] is not None else []
    measured = quantity(row["value"], unit)
    if row["spread"]:
        low, high = (quantity(value, "") for value in row["spread"])
        measured += f" ({low} to {high})"
    return (
        f"| {link} | {row['what']} | {measured} | {', '.join(asked)} | {VERDICTS[row['met']]} "
        f"| {row['count']} {row['of']} | {row['paper']} |"
    )


def slug(title: str) -> str:
    """The anchor that Markdown makes of a heading."""
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def quantity(value: float | None, unit: str) -> str:
    """A figure with three significant digits and its unit."""
    if value is None:
        return "none"
    digits = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".strip()


def _section(result: dict[str, Any]) -> list[str]:
    lines = [f"## {result['title']}", "", result["text"]]
    if result["trainings"]:
        lines += ["", "| training | weights | steps | seconds | last loss |", "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {t['name']} | {t['weights']:,} | {t['steps']} | {t['seconds']:.0f} | {t['last_loss']:.3f} |"
            for t in result["trainings"]
        ]
    if result["remarks"]:
        lines += ["", *(f"- {remark}" for remark in result["remarks"])]
    for picture in result["pictures"]:
        lines += ["", f"![{picture['caption']}]({PICTURES.name}/{picture['file']})", "", f"*{picture['caption']}*"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    command = f"python -m fastddsp.benchmarks.experiments.{result['name']}"
    made = f"`{command}`, seed {result['seed']}, {result['threads']} thread of {result['processor']}; {versions}."
    return [*lines, "", f"Made by {made}"]


def main() -> None:
    """Write the page."""
    write(PAGE, markdown(results()))


if __name__ == "__main__":
    main()
