"""Compile CUDA C with NVRTC: no GPU, no driver, no CuPy; the wheel nvidia-cuda-nvrtc is enough.

The options are those that CuPy's RawModule gets or adds, so what passes here is what NVRTC is given at run time.
"""

import ctypes
import site
from functools import lru_cache
from pathlib import Path

CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")
"""Added by CuPy itself."""
STRICT = (
    "--ptxas-options=-v",
    "--ptxas-options=-warn-spills",
    "--ptxas-options=-warn-lmem-usage",
    "--ptxas-options=-Werror",
)
"""Of ptxas: spilled registers and local memory are errors; registers are told in the log."""
MEASURED_WITH = (13, 5)
"""The release that the gates of registers and instructions were set with."""
ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")


class NvrtcError(RuntimeError):
    """A source that NVRTC or ptxas refuses; the message is their log."""


@lru_cache
def library() -> ctypes.CDLL | None:
    """NVRTC, or None where its wheel is not installed."""
    for folder in (*site.getsitepackages(), site.getusersitepackages()):
        for path in sorted(Path(folder).glob("nvidia/*/lib/libnvrtc.so.*")):
            for builtins in path.parent.glob("libnvrtc-builtins.so.*"):  # NVRTC 13.0 does not look beside itself
                ctypes.CDLL(str(builtins))
            nvrtc = ctypes.CDLL(str(path))
            nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
            return nvrtc
    return None


@lru_cache
def slack() -> float:
    """How much more than its gate a figure may be: nothing, or a tenth with another release of NVRTC.

    torch's CUDA builds bring the one of their own toolkit; that of 13.0 takes up to 9 % more registers and 6 % more
    instructions for these kernels.
    """
    nvrtc = library()
    if nvrtc is None:
        return 1.0
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return 1.0 if (major.value, minor.value) == MEASURED_WITH else 1.1


def compile_cuda(
    source: str, architecture: str, options: tuple[str, ...] = (), *, name: str = "kernel.cu", kind: str = "cubin"
) -> tuple[bytes, str]:
    """Compile for one architecture.

    Args:
      source: CUDA C.
      architecture: such as `90`.
      options: of NVRTC, besides the architecture.
      name: of the file, in messages.
      kind: `cubin` or `ptx`.

    Returns:
      The image and the log.

    Raises:
      NvrtcError: with the log.
    """
    nvrtc = library()
    if nvrtc is None:
        raise NvrtcError("NVRTC is missing: pip install nvidia-cuda-nvrtc")

    def check(code: int, log: str = "") -> None:
        if code:
            raise NvrtcError(f"{nvrtc.nvrtcGetErrorString(code).decode()} (sm_{architecture})\n{log}")

    def read(what: str) -> bytes:
        size = ctypes.c_size_t()
        check(getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        check(getattr(nvrtc, f"nvrtcGet{what}")(program, buffer))
        return buffer.raw

    program = ctypes.c_void_p()
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None))
    try:
        target = f"-arch={'sm' if kind == 'cubin' else 'compute'}_{architecture}"
        every = [option.encode() for option in (target, *options)]
        failed = nvrtc.nvrtcCompileProgram(program, len(every), (ctypes.c_char_p * len(every))(*every))
        log = read("ProgramLog").rstrip(b"\0").decode()
        check(failed, log)
        return read(kind.upper()), log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


@lru_cache
def ptx(source: str, architecture: str, options: tuple[str, ...] = (), *, name: str = "kernel.cu") -> str:
    """The PTX of a source, with its lines."""
    every = (*options, "-lineinfo", *CUPY_OPTIONS)
    return compile_cuda(source, architecture, every, name=name, kind="ptx")[0].decode().rstrip("\0")
