"""Executors in the place of kernels.cuda.launch.launch: the same calls, on CPU tensors."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from fastddsp.kernels.cuda import launch
from tests.cuda_on_cpu import nvrtc
from tests.cuda_on_cpu.executor import Library, Module
from tests.cuda_on_cpu.ptx import PtxModule

Build = Callable[[str, str, tuple[str, ...], bool], Library]
QUEUE = launch.Queue(0, 0)


def from_c(text: str, name: str, options: tuple[str, ...], check: bool) -> Library:
    """CUDA C through g++."""
    return Module(text, options, check=check, name=name)


def from_ptx(architecture: str, *, count: bool = False) -> Build:
    """NVRTC's PTX for an architecture, through g++; `count`: executed instructions are counted."""

    def build(text: str, name: str, options: tuple[str, ...], check: bool) -> Library:
        # PTX does not tell a pointer to constants from one to results; the C++ of the same source does.
        c = Module(text, options, name=name)
        signatures = {kernel: c.get_function(kernel).signature for kernel in c.kernels}
        code = nvrtc.ptx(text, architecture, options, name=name)
        return PtxModule(code, check=check, count=count, name=name, signatures=signatures)

    return build


class Executor:
    """Called like launch.launch.

    Args:
      build: from_c or from_ptx(...).
      check: whether every access is checked.
      settings: of executor.Kernel: order, seed, preempt.
    """

    def __init__(self, build: Build = from_c, *, check: bool = False, **settings: Any):
        self.build, self.check, self.settings = build, check, settings
        self.launched: list[str] = []
        self.counts: dict[str, dict[str, int]] = {}  # of the last launch of each kernel
        self._module = lru_cache(self._make)

    def _make(self, file: str, float64: bool) -> Library:
        text = launch.source(file)
        return self.build(text, file, launch.options(float64), self.check)

    def __call__(
        self, file: str, kernel: str, n_blocks: int, n_threads: int, args: tuple[Any, ...], queue: launch.Queue, *,
        float64: bool, shared_bytes: int = 0,
    ) -> None:  # fmt: skip
        if n_blocks < 1:
            return
        function = self._module(file, float64).get_function(kernel)
        outputs = tuple(i for i, letter in enumerate(function.signature) if letter == "w")  # a kernel only writes these
        function((n_blocks,), (n_threads,), args, shared_mem=shared_bytes, outputs=outputs, **self.settings)
        self.launched.append(kernel)
        self.counts[kernel] = function.counts
