"""Static cost of a cubin, without a GPU: the instructions of every innermost loop, by kind.

An instruction is one issue slot of a warp. How many units of work a loop's body does (harmonic-samples, say) is for the
caller to say: it knows how far its source is unrolled.
"""

import re
import shutil
import site
import subprocess
import tempfile
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

KINDS = {
    "float32": "FFMA FADD FMUL FSEL FSETP FMNMX FSET FFMA2 FADD2 FMUL2",
    "float64": "DFMA DADD DMUL DSETP",
    "shared": "LDS LDSM STS",
    "global": "LDG LD STG ST",
    "constant": "LDC LDCU ULDC",
    "shuffle": "SHFL",
    "atomic": "ATOM ATOMG ATOMS RED REDG",
    "barrier": "BAR WARPSYNC BSSY BSYNC",
    "convert": "I2F F2I F2F FRND I2FP",
    "special": "MUFU",
    "local": "LDL STL",
}
KIND_OF = {operation: kind for kind, operations in KINDS.items() for operation in operations.split()}


class Instruction(NamedTuple):
    """One SASS instruction; places: (file, line) of its source, and of the calls that it was inlined through."""

    operation: str
    arguments: str
    places: frozenset[tuple[str, int]]


class Loop(NamedTuple):
    """An innermost loop; places: of all its instructions."""

    places: frozenset[tuple[str, int]]
    instructions: int
    kinds: Counter


@lru_cache
def disassembler() -> str | None:
    """Path of nvdisasm, or None where its wheel is not installed."""
    for folder in site.getsitepackages():
        for path in Path(folder).glob("nvidia/*/bin/nvdisasm"):
            return str(path)
    return shutil.which("nvdisasm")


def functions(cubin: bytes) -> dict[str, tuple[list[Instruction], dict[str, int]]]:
    """Kernel -> (its instructions, labels as indices into them)."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(disassembler()), "-c", "-gi", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, tuple[list[Instruction], dict[str, int]]] = {}
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    places: set[tuple[str, int]] = set()
    is_new = False
    for row in text.splitlines():
        if match := re.match(r"\s*\.section\s+\.text\.([\w$]+)", row):
            instructions, labels = found.setdefault(match.group(1), ([], {}))
        elif match := re.search(r'//## File "([^"]*)", line (\d+)', row):
            places = {*({} if is_new else places), (Path(match.group(1)).name, int(match.group(2)))}
            is_new = False
        elif match := re.match(r"(\.L_x?_?\d+):", row):
            labels[match.group(1)] = len(instructions)
        elif match := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\d+\s+)?([A-Z][\w.]*)([^;]*);", row):
            instructions.append(Instruction(match.group(1).split(".")[0], match.group(2), frozenset(places)))
            is_new = True
    return found


def innermost_loops(instructions: list[Instruction], labels: dict[str, int]) -> list[Loop]:
    """The loops that hold no other: backward branches whose bodies hold none."""
    spans = []
    for i, instruction in enumerate(instructions):
        target = re.search(r"\(?(\.L_x?_?\d+)\)?", instruction.arguments)
        if instruction.operation == "BRA" and target and labels.get(target.group(1), len(instructions)) < i:
            spans.append((labels[target.group(1)], i))
    inner = [span for span in spans if not any(o != span and span[0] <= o[0] and o[1] <= span[1] for o in spans)]
    loops = []
    for first, last in inner:
        body = instructions[first : last + 1]
        places = frozenset(place for instruction in body for place in instruction.places)
        kinds = Counter(KIND_OF.get(instruction.operation, "integer, control") for instruction in body)
        loops.append(Loop(places, len(body), kinds))
    return loops
