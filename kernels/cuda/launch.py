"""The one way to launch a CUDA kernel: CuPy's RawModule on the memory of torch's tensors, on torch's current stream.

    launch("harmonic.cu", "harmonic_bank", grid, block, (f0, audio, np.int64(n_samples), ...), queue, float64=False)

A launch is asynchronous and allocates nothing, so a CUDA graph can capture it. CuPy is imported, and a kernel compiled,
when it is first launched; CuPy keeps the compiled kernel on disk, and one loaded copy for each device.

Tensors are anything with `data_ptr`: torch stays outside. Tests put an executor in place of `launch`, or a recorder in
place of CuPy (docs/cuda_on_cpu.md).
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).parent


class Queue(NamedTuple):
    """Where kernels run: the device's number and the stream's handle. CuPy takes it for a stream."""

    device: int
    ptr: int
    slow_doubles: bool = False  # whether the device makes few doubles: a 32nd or 64th of its floats


def launch(
    file: str, kernel: str, n_blocks: int, n_threads: int, args: tuple[Any, ...], queue: Queue, *, float64: bool,
    shared_bytes: int = 0,
) -> None:  # fmt: skip
    """Start a kernel; returns before it has run. Without blocks nothing is started: CuPy would make one of none.

    Args:
      file: source, in this folder.
      kernel: its name.
      n_blocks: of the grid, in one dimension.
      n_threads: of a block.
      args: contiguous tensors for pointers, None for a null pointer, NumPy scalars of the parameter's very type for the
        rest (CuPy passes a Python float as a double).
      queue: device and stream.
      float64: whether `real` is double.
      shared_bytes: of dynamic shared memory.
    """
    if n_blocks < 1:
        return
    pointers = tuple(_argument(kernel, i, argument) for i, argument in enumerate(args))
    with _cupy().cuda.Device(queue.device):
        function = _function(file, kernel, float64)
        function((n_blocks,), (n_threads,), pointers, shared_mem=shared_bytes, stream=queue)


def _argument(kernel: str, i: int, argument: Any) -> Any:
    if argument is None:
        return 0
    if isinstance(argument, np.generic):
        return argument
    if not hasattr(argument, "data_ptr"):
        raise TypeError(f"{kernel}: argument {i} must be a tensor or a NumPy scalar, got {type(argument).__name__}")
    if not argument.is_contiguous():
        raise ValueError(f"{kernel}: argument {i} must be contiguous")
    return argument.data_ptr()


def options(float64: bool) -> tuple[str, ...]:
    """Compiler options."""
    return ("--std=c++17", *(["-DFLOAT64"] if float64 else []))


@lru_cache
def source(file: str) -> str:
    """A source with the headers of this folder in place of their #include: CuPy's cache knows its text alone."""
    included: set[str] = set()

    def inline(name: str) -> str:
        included.add(name)
        lines = [f'#line 1 "{name}"']
        for number, line in enumerate((HERE / name).read_text("utf-8").splitlines(), 1):
            header = re.match(r'#include "(\w+\.cuh)"', line)
            if header is None:
                lines.append(line if line != "#pragma once" else "")
            elif header.group(1) not in included:
                lines += [inline(header.group(1)), f'#line {number + 1} "{name}"']
            else:
                lines.append("")
        return "\n".join(lines)

    return inline(file)


@lru_cache
def _function(file: str, kernel: str, float64: bool) -> Any:
    """A kernel; loaded for the device that is current, and by CuPy for every other one that it is launched on."""
    return _module(file, float64).get_function(kernel)


@lru_cache
def _module(file: str, float64: bool) -> Any:
    return _cupy().RawModule(code=source(file), options=options(float64))


def _cupy() -> Any:
    reason = missing()
    if reason is not None:
        raise RuntimeError(reason)
    import cupy

    return cupy


@lru_cache
def missing() -> str | None:
    """What CUDA kernels lack on this machine and how to get it, or None."""
    try:
        import cupy
    except ImportError as error:
        if error.name == "cupy":
            return (
                "CuPy is not installed: pip install 'fastddsp[cuda13]', or [cuda12], whichever torch.version.cuda says"
            )
        return f"CuPy is installed but cannot be imported, install it anew: {error}"
    try:
        n_devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return (
            f"no CUDA driver that works, or no device: {error}; `nvidia-smi`, which NVIDIA's driver brings, lists both"
        )
    if not n_devices:
        return "no CUDA device: `nvidia-smi` must list one, and CUDA_VISIBLE_DEVICES must not hide it"
    return None
