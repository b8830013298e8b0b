"""docs/parity.md says what the golden tests find, and they cover every golden case."""

import re
import subprocess
import sys

import pytest

from tests.golden import parity

FIGURE = re.compile(r"(\d(?:\.\de[-+]\d+)?) / (\d\.\de[-+]\d+)")


@pytest.fixture(scope="module")
def made_now(tmp_path_factory):
    """The page as this machine makes it, in a process of its own: the script refuses if a case has no test."""
    out = tmp_path_factory.mktemp("parity") / "parity.md"
    command = [sys.executable, "-m", "tests.golden.parity", "--out", str(out)]
    done = subprocess.run(command, cwd=parity.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out.read_text("utf-8")


def test_every_case_is_compared_and_the_page_has_every_row(made_now):
    committed = parity.PAGE.read_text("utf-8")
    hint = "run python -m tests.golden.parity"
    assert FIGURE.sub("figures", committed) == FIGURE.sub("figures", made_now), hint


def test_errors_on_the_page_are_within_their_tolerances():
    figures = FIGURE.findall(parity.PAGE.read_text("utf-8"))
    assert len(figures) > 100
    assert [pair for pair in figures if float(pair[0]) > float(pair[1])] == []


def test_reasons_are_given_for_cases_that_exist():
    cases = {case.name for path in parity.FOLDER.glob("*.npz") for case in parity.load(path.name)}
    assert {name for difference in parity.DIFFERENCES for name in difference.cases} <= cases
