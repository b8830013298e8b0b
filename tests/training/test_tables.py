import csv
import json
import math

import numpy as np
import pytest

from fastddsp.training.tables import markdown_table, rounded, summarize, summary_table, write_csv

ROWS = [
    {"name": "a", "frames": 10, "error": 1.0},
    {"name": "b", "frames": 30, "error": 2.0},
    {"name": "c", "frames": 0, "error": 100.0},
    {"name": "d", "frames": 5, "error": math.nan},
    {"name": "e", "frames": 20, "error": 6.0},
]


def test_a_summary_weighs_rows_alike_or_by_their_frames_and_leaves_out_what_is_unknown():
    found = summarize(ROWS, {"error": "frames"})["error"]
    assert found == {"mean": 3.0, "median": 2.0, "frame_mean": pytest.approx(190 / 60), "frames": 60, "rows": 3}


def test_nothing_known_is_not_a_number_but_counted():
    found = summarize(ROWS[2:4], {"error": "frames"})["error"]
    assert math.isnan(found["mean"])
    assert found["rows"] == found["frames"] == 0


def test_rounded_values_are_json_at_any_depth():
    value = {"a": [np.float64(1.23456789), float("nan")], "b": ({"c": np.int64(3)}, "x", None, -math.inf, True)}
    assert rounded(value, 3) == {"a": [1.23, None], "b": [{"c": 3}, "x", None, None, True]}
    json.dumps(rounded(value), allow_nan=False)


def test_csv_has_a_line_per_row_and_empty_cells_where_nothing_is_known(tmp_path):
    write_csv(tmp_path / "a.csv", ROWS)
    with open(tmp_path / "a.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["name"] for row in read] == list("abcde")
    assert [row["error"] for row in read] == ["1.0", "2.0", "100.0", "", "6.0"]


def test_tables_are_markdown():
    assert markdown_table(ROWS[2:4], ["name", "error"]).splitlines() == [
        "| name | error |",
        "| --- | --- |",
        "| c | 100 |",
        "| d | - |",
    ]
    lines = summary_table(summarize(ROWS, {"error": "frames"})).splitlines()
    assert lines[0] == "| metric | mean | median | frame_mean | frames | rows |"
    assert lines[2] == "| error | 3 | 2 | 3.17 | 60 | 3 |"
