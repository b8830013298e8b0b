"""Tables of measurements: rows of numbers in, summaries, CSV and text out. A number that is not known is NaN or None.

A row is a dictionary. Over all rows, with x_i the value of row i and w_i the frames behind it, rows without a value
left out:

    mean = sum x_i / rows      median = median of x_i      frame_mean = sum w_i x_i / sum w_i      frames = sum w_i
"""

import csv
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastddsp.training.files import atomic_path

Row = Mapping[str, Any]


def summarize(rows: Sequence[Row], weights: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Mean, median and what stands behind them, for every measurement.

    Args:
      rows: the measurements.
      weights: for every column to summarize, the column that counts the frames behind it.

    Returns:
      For every column: mean and median over rows, frame_mean, frames, and rows, the number of rows with a value.
      Means of no row at all are NaN.
    """
    return {name: _summary(rows, name, weight) for name, weight in weights.items()}


def _summary(rows: Sequence[Row], name: str, weight: str) -> dict[str, float]:
    known = [(row[name], row[weight]) for row in rows if is_known(row[name]) and row[weight]]
    if not known:
        return {"mean": math.nan, "median": math.nan, "frame_mean": math.nan, "frames": 0, "rows": 0}
    values, frames = (np.array(column, dtype=np.float64) for column in zip(*known, strict=True))
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "frame_mean": float((values * frames).sum() / frames.sum()),
        "frames": int(frames.sum()),
        "rows": len(known),
    }


def is_known(value: Any) -> bool:
    """Whether a cell holds something: neither None nor a number that is not finite."""
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def rounded(value: Any, digits: int = 6) -> Any:
    """`value` for JSON, at any depth: floats with as many significant digits, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item, digits) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.{digits}g}") if is_known(float(value)) else None
    return value.item() if isinstance(value, np.generic) else value


def write_csv(path: str | os.PathLike, rows: Sequence[Row]) -> None:
    """Write rows that share their columns as CSV, atomically; an unknown value is an empty cell."""
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rounded(row) for row in rows)


def markdown_table(rows: Sequence[Row], columns: Sequence[str] | None = None, digits: int = 3) -> str:
    """Rows as a Markdown table.

    Args:
      rows: what to show, at least one unless `columns` are given.
      columns: which of its keys, in which order; those of the first row by default.
      digits: significant digits of floats.

    Returns:
      Lines with "|" between cells; an unknown value is a dash.
    """
    columns = list(rows[0]) if columns is None else list(columns)
    lines = [columns, ["---"] * len(columns)]
    lines += [[_cell(row.get(column), digits) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def summary_table(overall: Mapping[str, Mapping[str, float]], digits: int = 3) -> str:
    """What `summarize` returned as a Markdown table, a line for every measurement."""
    return markdown_table([{"metric": name, **summary} for name, summary in overall.items()], digits=digits)


def _cell(value: Any, digits: int) -> str:
    if not is_known(value):
        return "-"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
