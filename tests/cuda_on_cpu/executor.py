"""Run CUDA C on the CPU: build a source with g++, load it with ctypes, launch its kernels as CuPy would.

    module = Module(source, check=True)
    kernel = module.get_function("harmonic_bank")
    kernel(grid, block, (f0, amplitudes, audio, np.int64(n)), outputs=(2,))

With `check` every access is checked (runtime/checker.h) and findings raise KernelError, with the line of the source:
bounds, alignment, uninitialised reads, races, undefined behaviour; and when the grid is done, outputs that were not
written. Divergent barriers, collectives that do not meet, and deadlock are always found.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

RUNTIME = Path(__file__).parent / "runtime"
SHARED_MEMORY = 227 * 1024
CXX = os.environ.get("CXX", "g++")
COMMON = ["-std=c++17", "-fPIC", "-g1", "-w", "-fno-strict-aliasing", "-march=native"]
CONTRACT = ["-ffp-contract=fast"]  # as NVRTC contracts; the text of PTX says itself what is contracted
UNDEFINED = "alignment,bounds,shift,signed-integer-overflow,float-cast-overflow,integer-divide-by-zero"
CHECKED = ["-O1", "-fsanitize=thread", "--param", "tsan-distinguish-volatile=1", f"-fsanitize={UNDEFINED}"]
ORDERS = {"forward": 0, "reverse": 1, "random": 2}
TYPES = {"f": np.float32, "d": np.float64, "i": np.int32, "I": np.uint32, "l": np.int64, "L": np.uint64, "b": np.int8}
KERNEL = re.compile(
    r"__global__\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\("
)


class KernelError(AssertionError):
    """A kernel did what it must not, or was launched in a way that it cannot be."""


def compiler_missing() -> str | None:
    """Why nothing can be executed here, or None: for skips."""
    if os.uname().machine != "x86_64":
        return "the executor switches fibers in x86-64 assembly"
    return None if shutil.which(CXX) else f"no C++ compiler {CXX!r}"


def translate(source: str, name: str = "kernel.cu") -> tuple[str, list[str], list[str]]:
    """CUDA C -> (C++ with the same lines, names of its kernels, names of its dynamic shared arrays)."""
    kernels = KERNEL.findall(source)
    dynamic = sorted(set(re.findall(r"extern\s+__shared__[^;\[]*?(\w+)\s*\[\s*\]", source)))
    body = re.sub(r"\bextern\s+__shared__\b", "CS_DYN_SHARED", source)
    body = re.sub(r"\b__shared__\b", "CS_SHARED", body)
    tail = "".join(f"CS_KERNEL({kernel})\n" for kernel in kernels)
    return f'#include "cuda.h"\n#line 1 "{name}"\n{body}\n#line 1 "kernels"\n{tail}', kernels, dynamic


def compile_shared(files: dict[str, str], flags: list[str]) -> Path:
    """A shared object of the generated `files` and the runtime; made once for the same text."""
    path = _cached(".so", files, flags)
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        objects = [_runtime_object()]
        for file, content in files.items():
            Path(folder, file).write_text(content, "utf-8")
            own = [] if file == "shared.cpp" else flags
            _run([CXX, *COMMON, *own, f"-I{RUNTIME}", "-x", "c++", "-c", file, "-o", f"{file}.o"], folder)
            objects.append(f"{file}.o")
        _run([CXX, "-shared", "-Wl,-Bsymbolic", "-o", "out.so", *objects], folder)
        os.replace(Path(folder, "out.so"), path)
    return path


def _cached(suffix: str, *made_of: object) -> Path:
    """Where something compiled is kept: a name that depends on all that it is made of."""
    root = Path(os.environ.get("CUDA_ON_CPU_CACHE") or Path(tempfile.gettempdir()) / f"cuda_on_cpu-{os.getuid()}")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = repr((made_of, CXX, COMMON, os.uname(), [path.read_text("utf-8") for path in sorted(RUNTIME.iterdir())]))
    return root / (hashlib.sha256(text.encode()).hexdigest()[:24] + suffix)


@lru_cache
def _runtime_object() -> str:
    path = _cached(".o")
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            _run([CXX, *COMMON, "-O2", "-c", str(RUNTIME / "executor.cpp"), "-o", "executor.o"], folder)
            os.replace(Path(folder, "executor.o"), path)
    return str(path)


def _run(command: list[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(" ".join(command) + "\n" + done.stderr[:6000])


def shared_memory(size: int, more: str = "") -> str:
    """C++ that holds `size` bytes of dynamic shared memory."""
    return f"""#include <cstddef>
extern "C" {{
alignas(1024) char cs_dynamic_smem[{size}] = {{0}};
extern const size_t cs_dynamic_smem_size;
const size_t cs_dynamic_smem_size = {size};
}}
{more}"""


class Library:
    """A loaded shared object with kernels; `check`: built for the checker, `counted`: to count instructions."""

    def __init__(self, path: Path, kernels: list[str], check: bool, counted: bool = False):
        self.path, self.kernels, self.check = path, kernels, check
        self.library = ctypes.CDLL(str(path))
        self.library.cs_report.restype = ctypes.c_char_p
        self.library.cs_counts.restype = ctypes.POINTER(ctypes.c_uint64)
        self.counter = ctypes.c_uint64.in_dll(self.library, "cs_instructions") if counted else ctypes.c_uint64()

    def get_function(self, name: str) -> "Kernel":
        return Kernel(self, name)

    def findings(self) -> str:
        """What the checker found, addresses turned into lines of the source."""
        report = self.library.cs_report().decode(errors="replace")
        addresses = sorted(set(re.findall(r"@pc:([0-9a-f]+)", report)))
        if not addresses or not shutil.which("addr2line"):
            return report
        command = ["addr2line", "-s", "-e", str(self.path), *(hex(int(a, 16) - 1) for a in addresses)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
        places = {a: line.split(" (")[0] for a, line in zip(addresses, lines, strict=False)}
        return re.sub(r"@pc:([0-9a-f]+)", lambda found: "@" + places[found.group(1)], report)


class Module(Library):
    """CUDA C, compiled by g++. `options` as for NVRTC: -D and -U count."""

    def __init__(self, code: str, options: tuple[str, ...] = (), *, check: bool = False, name: str = "kernel.cu"):
        text, kernels, dynamic = translate(code, name)
        defines = [option for option in options if option.startswith(("-D", "-U"))]
        aliases = "".join(f'asm(".globl {array}\\n.set {array}, cs_dynamic_smem");\n' for array in dynamic)
        files = {name: text, "shared.cpp": shared_memory(SHARED_MEMORY, aliases)}
        super().__init__(compile_shared(files, CONTRACT + (CHECKED if check else ["-O1"]) + defines), kernels, check)


class _Settings(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("order", "seed", "ftz", "check", "preempt")]


class Kernel:
    """One kernel, called like CuPy's, on NumPy arrays or CPU tensors."""

    def __init__(self, module: Library, name: str):
        self.module, self.name = module, name
        self.function = getattr(module.library, "cs_invoke_" + name)
        signature = getattr(module.library, "cs_sig_" + name)
        signature.restype = ctypes.c_char_p
        self.signature = signature().decode()
        self.counts: dict[str, int] = {}

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple[Any, ...],
        *,
        shared_mem: int = 0,
        outputs: tuple[int, ...] = (),
        order: str = "forward",
        seed: int = 1,
        preempt: int = 0,
        ftz: bool = True,
    ) -> None:
        """Run the grid.

        Args:
          grid: blocks.
          block: threads of a block.
          args: arrays for pointers (None for a null pointer), NumPy scalars of the parameter's very type for the rest.
          shared_mem: bytes of dynamic shared memory.
          outputs: which arguments are pure outputs: filled with NaN bytes first, must be written, never read before.
          order: of threads and blocks: `forward`, `reverse` or `random`.
          seed: of the random order and of preemption.
          preempt: also switch threads after one in so many accesses; 0: only where a thread must wait. Needs `check`.
          ftz: flush float32 denormals to zero, as CuPy's compiler option does.
        """
        self._refuse(grid, block, args, shared_mem)
        arrays = {i: _array(self.name, i, a) for i, (a, c) in enumerate(zip(args, self.signature, strict=True))
                  if c in "rw" and a is not None}  # fmt: skip
        buffers = _arena(arrays, outputs) if self.module.check else arrays
        for i in set(outputs) & set(arrays):
            buffers[i].reshape(-1).view(np.uint8)[...] = 0xFF
        addresses = {i: np.uint64(x.ctypes.data) for i, x in buffers.items()}
        null = np.uint64(0)
        values = [np.array(addresses.get(i, null if a is None else a)) for i, a in enumerate(args)]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        table = [number for i, x in buffers.items() for number in (x.ctypes.data, x.nbytes, int(i in outputs))]
        three = ctypes.c_uint * 3
        settings = _Settings(ORDERS[order], seed, int(ftz), int(self.module.check), preempt)
        library = self.module.library
        self.module.counter.value = 0
        failed = library.cs_launch(
            self.function, three(*grid, *[1] * (3 - len(grid))), three(*block, *[1] * (3 - len(block))),
            ctypes.c_size_t(shared_mem), pointers, (ctypes.c_uint64 * len(table))(*table), len(buffers),
            ctypes.byref(settings),
        )  # fmt: skip
        names = ("global reads", "global writes", "shared reads", "shared writes", "atomics", "switches")
        self.counts = dict(zip(names, library.cs_counts()[:6], strict=True))
        self.counts["instructions"] = self.module.counter.value
        for i, x in arrays.items():
            if buffers[i] is not x and self.signature[i] == "w":
                x[...] = buffers[i]
        if failed:
            raise KernelError(f"{self.name}{grid}{block}:\n{self._named(self.module.findings(), list(arrays))}")

    def _refuse(self, grid, block, args, shared_mem) -> None:
        """Raise for launches that a GPU, or CuPy, would refuse or get wrong without a word."""
        if len(args) != len(self.signature):
            raise KernelError(f"{self.name}: takes {len(self.signature)} arguments, got {len(args)}")
        if shared_mem > 48 * 1024:
            raise KernelError(f"{self.name}: {shared_mem} bytes of dynamic shared memory, more than a launch has")
        if min(*grid, *block) < 1:
            raise KernelError(f"{self.name}: empty launch {grid} {block}, of which CuPy makes one block")
        for i, (a, c) in enumerate(zip(args, self.signature, strict=True)):
            if c not in "rw" and type(a) is not TYPES[c]:
                raise KernelError(f"{self.name}: argument {i} must be {TYPES[c].__name__}, got {type(a).__name__}")

    @staticmethod
    def _named(report: str, arguments: list[int]) -> str:
        report = re.sub(r"arg/region (\d+)", lambda found: f"argument {arguments[int(found.group(1))]}", report)
        return report.replace("arg/region -1", "static __shared__").replace("arg/region -2", "dynamic __shared__")


def _array(kernel: str, i: int, argument: Any) -> np.ndarray:
    array = argument.detach().numpy() if hasattr(argument, "detach") else argument
    if not isinstance(array, np.ndarray):
        raise KernelError(f"{kernel}: argument {i} must be an array, got {type(argument).__name__}")
    if not array.flags.c_contiguous:
        raise KernelError(f"{kernel}: argument {i} is not contiguous")
    return array


def _arena(arrays: dict[int, np.ndarray], outputs: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Copies with a mebibyte between them, so that stray indices hit nothing."""
    gap = 1 << 20
    arena = np.empty(sum(x.nbytes + gap + 512 for x in arrays.values()) + gap, np.uint8)
    at = -arena.ctypes.data % 256 + gap
    copies = {}
    for i, x in arrays.items():
        copies[i] = arena[at : at + x.nbytes].view(x.dtype).reshape(x.shape)
        if i not in outputs:
            copies[i][...] = x
        at += -(-x.nbytes // 256) * 256 + gap
    return copies
