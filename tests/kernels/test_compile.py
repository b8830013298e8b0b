"""A kernel on disk is good only as long as no source that it was made of has changed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    command = [sys.executable, "-c", PROGRAM.format(stamp=stamp)]
    own_cache = {**os.environ, "NUMBA_CACHE_DIR": ""}  # beside the sources
    return subprocess.run(command, cwd=folder, env=own_cache, check=True, capture_output=True, text=True).stdout.strip()


def test_a_changed_helper_in_another_file_compiles_the_kernel_anew(tmp_path):
    (tmp_path / "answer.py").write_text(ANSWER)
    (tmp_path / "helper.py").write_text(HELPER.format(value=1))
    assert run(tmp_path, b"sources") == "1 0"
    assert run(tmp_path, b"sources") == "1 1"  # from the cache
    (tmp_path / "helper.py").write_text(HELPER.format(value=2))
    assert run(tmp_path, b"other sources") == "2 0"


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"cut off", bytes(range(256))], ids=["empty", "text", "bytes"])
def test_a_corrupt_cache_compiles_the_kernel_anew(tmp_path, suffix, content):
    (tmp_path / "answer.py").write_text(ANSWER)
    (tmp_path / "helper.py").write_text(HELPER.format(value=1))
    assert run(tmp_path, b"sources") == "1 0"
    (file,) = tmp_path.glob(f"__pycache__/answer*.{suffix}")
    for corrupt in (content, file.read_bytes()[:-10]):
        file.write_bytes(corrupt)
        assert run(tmp_path, b"sources") == "1 0"
        assert run(tmp_path, b"sources") == "1 1"


KERNEL_AND_HELPER = """
from fastddsp.kernels.cpu import compile

@compile.helper
def twice(x):
    return 2 * x

@compile.kernel
def four_times(x):
    return twice(twice(x))
"""

HELPER_ALONE = """
from four import compile, four_times
print(four_times(3))
(result,) = compile._helpers[-1].overloads.values()
print(result.library._codegen._engine.is_symbol_defined(result.fndesc.llvm_func_name))
"""


def test_a_helper_becomes_machine_code_only_where_a_kernel_contains_it(tmp_path):
    (tmp_path / "four.py").write_text(KERNEL_AND_HELPER)
    command = [sys.executable, "-c", HELPER_ALONE]
    printed = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["12", "False"]


def test_every_cached_function_is_a_kernel():
    sources = sorted(Path(cpu.__file__).parent.glob("*.py"))
    assert len(sources) > 5
    assert [file.name for file in sources if "cache=True" in file.read_text()] == ["compile.py"]


def test_a_kernel_that_puts_registers_on_the_stack_aligns_it_for_them(tmp_path):
    many = range(40)  # more than any processor has
    loads = "".join(f"    a{i} = load_register(x, {i} * width)\n" for i in many)
    stores = "".join(f"    store(x, {i} * width, a{i} + total)\n" for i in many)
    text = f"{IMPORTS}\n@kernel\ndef spill(x):\n    width = register_width(x)\n{loads}    total = "
    (tmp_path / "spilling.py").write_text(text + " + ".join(f"a{i}" for i in many) + f"\n{stores}")
    command = [sys.executable, "-c", SPILL]
    printed = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["780.0", "True"]


IMPORTS = """
from fastddsp.kernels.cpu.compile import kernel
from fastddsp.kernels.cpu.simd import load_register, register_width, store
"""

SPILL = """
import re
import numpy as np
from fastddsp.kernels.cpu.simd import REGISTER_BYTES
from spilling import spill
x = np.repeat(np.arange(40, dtype=np.float32), REGISTER_BYTES // 4)
spill(x)
(assembly,) = spill.inspect_asm().values()
print(x[0], bool(re.search(rf"and[lq]?\\s+\\$-{REGISTER_BYTES}, %rsp", assembly)))
"""
