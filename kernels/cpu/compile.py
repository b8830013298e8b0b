"""`kernel`: a loop compiled by Numba, that releases the GIL and is cached on disk. `helper`: what kernels call.

Numba takes a cached kernel for good as long as the file that it stands in has not changed. Ours inline helpers from
other files, and after an upgrade would go on running the old ones: so every kernel's cache is stamped with a digest of
all the sources here instead.
"""

import gc
import hashlib
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

from numba import njit
from numba.extending import register_jitable


@lru_cache
def _sources() -> bytes:
    """Digest of every source that a kernel may be made of: this folder's, and the one above."""
    here = Path(__file__).parent
    files = sorted([*here.glob("*.py"), *here.parent.glob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).digest()


def kernel(function: Callable) -> Any:
    """Compile `function` when it is first called: nogil, cached, division by zero as in NumPy."""
    dispatcher = njit(nogil=True, cache=True, error_model="numpy", no_cfunc_wrapper=True)(function)
    dispatcher._cache._cache_file._source_stamp = _sources()
    dispatcher.compile = _without_collector(dispatcher.compile)
    return dispatcher


def _without_collector(compile_: Callable) -> Callable:
    """Compiling makes objects by the million, hardly any of them garbage: looking for it takes a tenth of the time."""

    @wraps(compile_)
    def wrapper(*args: Any) -> Any:
        enabled = gc.isenabled()
        gc.disable()
        try:
            return compile_(*args)
        finally:
            if enabled:
                gc.enable()

    return wrapper


def helper(function: Callable | None = None, **options: Any) -> Any:
    """Let kernels call `function`, which stays a Python function elsewhere; options: Numba's.

    As `njit` it would be compiled with entries for Python and for C that nobody uses: a quarter of the wait before the
    first training step.
    """
    wrap = register_jitable(no_cfunc_wrapper=True, **options)
    return wrap if function is None else wrap(function)
