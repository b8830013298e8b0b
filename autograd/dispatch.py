"""How an op reaches its kernels: torch.library registration, backends, vmap.

Every kernel op is a `torch.autograd.Function` (with `setup_context`) around ops defined here with a fake for tracing:
7 us a call, where `custom_op` with `register_autograd` costs 17. The dispatcher picks the kernel by device.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch

BACKENDS = ("auto", "cpu", "cuda")
_library = torch.library.Library("fastddsp", "DEF")


def register(name: str, schema: str, *, cpu: Callable, fake: Callable) -> Callable:
    """Define `fastddsp::name`, its CPU kernel and its fake; returns the op.

    Args:
      name: the op's name.
      schema: its arguments and results, in torch's schema language.
      cpu: implementation on contiguous CPU tensors; it allocates its results.
      fake: the same on fake tensors: shapes, dtypes and contiguous strides of the results.
    """
    _library.define(f"{name}{schema}", tags=torch.Tag.pt2_compliant_tag)
    _library.impl(name, cpu, "CPU")
    torch.library.register_fake(f"fastddsp::{name}", fake)
    return getattr(torch.ops.fastddsp, name).default


def differentiate(op: Any, function: type[torch.autograd.Function]) -> None:
    """Give an op the derivative of its Function, for callers that have only the op: programs of torch.export.

    Also keep the signature of the Function's `forward`, by which torch binds the arguments of every `apply`: working it
    out anew costs 18 us of a small call of 110.
    """
    function.forward.__signature__ = inspect.signature(function.forward)  # type: ignore[attr-defined]
    torch.library.register_autograd(op, function.backward, setup_context=function.setup_context, lib=_library)


def check_backend(backend: str, device: torch.device) -> None:
    """Raise unless `backend` can run on `device`: nothing is copied to another device silently."""
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
    if backend == "cuda" or (backend == "auto" and device.type == "cuda"):
        raise NotImplementedError(
            "backend 'cuda': this version of fastddsp has no CUDA kernels; move the tensors to the CPU"
        )
    if device.type != "cpu":
        raise NotImplementedError(f"no kernels for device {device}: move the tensors to the CPU")


def backends() -> dict[str, str]:
    """Which backends exist and what `auto` chooses: name -> state in words."""
    return {
        "cpu": "Numba kernels; `auto` chooses them for CPU tensors",
        "cuda": "not available: this version has no CUDA kernels",
    }


def fold_vmap(function: type[torch.autograd.Function], batch_size: int, in_dims: tuple, args: tuple) -> tuple:
    """Vmap rule of a Function whose tensors all lead with a batch axis: fold the mapped axis into it, one call.

    Returns (outputs, out_dims) as `Function.vmap` must.
    """

    def fold(arg, dim):
        if not isinstance(arg, torch.Tensor):
            return arg
        arg = arg.movedim(dim, 0) if dim is not None else arg.expand(batch_size, *arg.shape)
        return arg.flatten(0, 1)

    outputs = function.apply(*(fold(arg, dim) for arg, dim in zip(args, in_dims, strict=True)))
    if isinstance(outputs, torch.Tensor):
        return outputs.unflatten(0, (batch_size, -1)), 0
    unfolded = tuple(None if y is None else y.unflatten(0, (batch_size, -1)) for y in outputs)
    return unfolded, tuple(None if y is None else 0 for y in unfolded)
