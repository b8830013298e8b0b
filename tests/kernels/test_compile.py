"""A kernel on disk is good only as long as no source that it was made of has changed."""

import subprocess
import sys
from pathlib import Path

from fastddsp.kernels import cpu

PROGRAM = """
from numba import njit
from pathlib import Path
from fastddsp.kernels.cpu import compile
compile._sources = lambda: {stamp!r}
import answer
print(answer.answer(), sum(answer.answer.stats.cache_hits.values()))
"""

ANSWER = """
from numba import njit
from fastddsp.kernels.cpu.compile import kernel
from helper import helper

@kernel
def answer():
    return helper()
"""

HELPER = """
from numba import njit

@njit
def helper():
    return {value}
"""


def run(folder, stamp: bytes) -> str:
    program = PROGRAM.format(stamp=stamp)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_changed_helper_in_another_file_compiles_the_kernel_anew(tmp_path):
    (tmp_path / "answer.py").write_text(ANSWER)
    (tmp_path / "helper.py").write_text(HELPER.format(value=1))
    assert run(tmp_path, b"sources") == "1 0"
    assert run(tmp_path, b"sources") == "1 1"  # from the cache
    (tmp_path / "helper.py").write_text(HELPER.format(value=2))
    assert run(tmp_path, b"other sources") == "2 0"


def test_every_cached_function_is_a_kernel():
    sources = sorted(Path(cpu.__file__).parent.glob("*.py"))
    assert len(sources) > 5
    assert [file.name for file in sources if "cache=True" in file.read_text()] == ["compile.py"]
