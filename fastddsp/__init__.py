"""fastddsp: differentiable digital signal processing for PyTorch, on hand-written kernels.

    import fastddsp as ddsp

    audio = ddsp.harmonic_synthesis(f0_hz, amplitudes, harmonic_distribution=distribution, n_samples=64000)
    synth = ddsp.synths.Harmonic(n_samples=64000)

This is the front door, with the names of magenta/ddsp: its modules (`ddsp.core`, `ddsp.synths`, ...), and every
function of `ddsp.core` at the top level too. A room is entered only when something in it is asked for (PEP 562), so
that `import fastddsp` loads nothing and compiles nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastddsp import (
        autograd,
        core,
        dags,
        effects,
        kernels,
        losses,
        models,
        processors,
        spectral_ops,
        synths,
        training,
    )
    from fastddsp.core import *

__version__ = "0.1.0"

_MODULES = (
    "autograd",
    "core",
    "dags",
    "effects",
    "kernels",
    "losses",
    "models",
    "processors",
    "spectral_ops",
    "synths",
    "training",
)


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module 'fastddsp' has no attribute {name!r}")
    if name in _MODULES:
        return import_module(f"fastddsp.{name}")
    core = import_module("fastddsp.core")
    if name not in core.__all__:
        raise AttributeError(f"module 'fastddsp' has no attribute {name!r}")
    return getattr(core, name)


def __dir__() -> list[str]:
    return sorted({"__version__", *_MODULES, *import_module("fastddsp.core").__all__})
