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

from numba import njit, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.typing.templates import infer_global
from numba.extending import models, register_model

_helpers: list = []  # Numba's types of them hold them by weak references


@lru_cache
def _sources() -> bytes:
    """Digest of every source that a kernel may be made of: this folder's, and the one above."""
    here = Path(__file__).parent
    files = sorted([*here.glob("*.py"), *here.parent.glob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).digest()


def kernel(function: Callable) -> Any:
    """Compile `function` when it is first called: nogil, cached, division by zero as in NumPy."""
    compiled = njit(pipeline_class=_AlignedCompiler, nogil=True, cache=True, error_model="numpy", no_cfunc_wrapper=True)
    dispatcher = compiled(function)
    dispatcher._cache._cache_file._source_stamp = _sources()
    dispatcher._cache.load_overload = _forgiving(dispatcher._cache)
    dispatcher.compile = _without_collector(dispatcher.compile)
    return dispatcher


def _forgiving(cache: Any) -> Callable:
    """Load a kernel from `cache`, or have it compiled anew where its files were cut off or overwritten."""
    load = cache.load_overload

    @wraps(load)
    def wrapper(*args: Any) -> Any:
        try:
            return load(*args)
        except Exception:  # whatever unpickling makes of it
            cache.flush()
            return None

    return wrapper


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


class _Helper(types.Dispatcher):
    """Type of a helper: compiled for types of arguments, not for every constant that a caller gives."""

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        """The signature that is called."""
        kws = {name: types.unliteral(kind) for name, kind in dict(kws).items()}
        return super().get_call_type(context, tuple(map(types.unliteral, args)), kws)


register_model(_Helper)(models.OpaqueModel)


class _Aligned(JITCodeLibrary):
    """Code that begins with the stack where a whole register can be put without straddling two cache lines.

    LLVM finds out too late that it has vectors to put there, and then leaves the stack as it comes, at a multiple of 16
    bytes: one process ran a bank's tile in 237 ns, the next one in 285, by the size of its environment; its gradients
    in 365 or 440. The price are two registers for addresses, 3 % of the gradients of a hundred harmonics.
    """

    def add_ir_module(self, ir_module: Any) -> None:
        """Add functions."""
        for function in ir_module.functions:
            if function.blocks:
                set.add(function.attributes, '"stackrealign"')  # llvmlite's own `add` knows other attributes only
        super().add_ir_module(ir_module)


class _Inlined(_Aligned):
    """A helper's code: optimized and made machine code where kernels contain it, and not by itself as well.

    Numba would do both for every helper, and again for all that it calls: a fifth of the time that compiling takes.
    """

    @property
    def codegen(self) -> "_Inlined":
        """Who places the environment (`set_env`), by which code knows its Python module; a helper needs none."""
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """There is no machine code that would look for it."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


class _AlignedCompiler(Compiler):
    """Numba's compiler, except that the code goes into an _Aligned."""

    library: type[_Aligned] = _Aligned

    def define_pipelines(self) -> list:
        """The passes; called first of all."""
        self.state.library = self.library(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        self.state.library.enable_object_caching()  # as Numba does with its own
        return super().define_pipelines()


class _HelperCompiler(_AlignedCompiler):
    """The same, for helpers."""

    library = _Inlined


def helper(function: Callable | None = None, **options: Any) -> Any:
    """Let kernels call `function`, which stays a Python function elsewhere; options: Numba's.

    As `njit` it would be compiled to machine code, with entries for Python and for C that nobody uses. As
    `register_jitable` it would be compiled once for every set of options that a caller has. Of the options, none comes
    from whichever calls it first.
    """
    options = {"error_model": "numpy", "fastmath": False, "forceinline": False} | options

    def register(function: Callable) -> Callable:
        no_entries = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        compiled = njit(pipeline_class=_HelperCompiler, **no_entries, **options)(function)
        infer_global(function, _Helper(compiled))
        _helpers.append(compiled)
        return function

    return register if function is None else register(function)
