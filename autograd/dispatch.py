"""How an op reaches its kernels: torch.library registration, backends, vmap.

Every kernel op is a `torch.autograd.Function` (with `setup_context`) around ops defined here with a fake for tracing:
7 us a call, where `custom_op` with `register_autograd` costs 17. The dispatcher picks the kernel by device.

An op is defined twice. Programs of torch.export hold ops, not Functions, and must find derivatives; but what has them
passes by Python on the way to its kernel, 10 us a call, which Functions, that bring their own, need not.
"""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch

BACKENDS = ("auto", "cpu", "cuda")
_library = torch.library.Library("fastddsp", "DEF")


class Op(NamedTuple):
    """What a Function calls: the op with derivatives where a program is being made of it, else its twin without."""

    differentiable: Any  # fastddsp::name
    plain: Any  # fastddsp::_name

    def __call__(self, *args: Any) -> Any:
        """The op's results."""
        return (self.differentiable if torch.compiler.is_compiling() else self.plain)(*args)


def register(name: str, schema: str, *, cpu: Callable, fake: Callable) -> Op:
    """Define `fastddsp::name` and its twin, their CPU kernel and their fake.

    Args:
      name: the op's name.
      schema: its arguments and results, in torch's schema language.
      cpu: implementation on contiguous CPU tensors; it allocates its results.
      fake: the same on fake tensors: shapes, dtypes and contiguous strides of the results.
    """
    for twin in (name, f"_{name}"):
        _library.define(f"{twin}{schema}", tags=torch.Tag.pt2_compliant_tag)
        _library.impl(twin, cpu, "CPU")
        torch.library.register_fake(f"fastddsp::{twin}", fake)
    return Op(*(getattr(torch.ops.fastddsp, twin).default for twin in (name, f"_{name}")))


def differentiate(op: Op, function: type[torch.autograd.Function]) -> None:
    """Give an op the derivative of its Function, for callers that have only the op: programs of torch.export.

    Also keep the signature of the Function's `forward`, by which torch binds the arguments of every `apply`: working it
    out anew costs 18 us of a small call of 110, and binding by inspect's rules another 7.
    """
    parameters = inspect.signature(function.forward).parameters.values()
    function.forward.__signature__ = _Positional(list(parameters))  # type: ignore[attr-defined]
    context = function.setup_context
    torch.library.register_autograd(op.differentiable, function.backward, setup_context=context, lib=_library)


def gradients_by(function: type[torch.autograd.Function], op: Any) -> Callable:
    """What computes gradients: the Function that differentiates `op` where a second derivative may be asked for.

    Else the op alone, which saves 15 us, a tenth of a small call.
    """
    return function.apply if torch.is_grad_enabled() else op


def backward(ctx: Any, g: torch.Tensor, function: type[torch.autograd.Function], op: Any) -> tuple:
    """Backward of a Function of two tensors and settings, which it keeps as ctx.settings.

    `function` differentiates `op`, (g, both tensors, settings, which gradients are needed) -> both gradients.
    """
    needs = ctx.needs_input_grad[:2]
    gradients = gradients_by(function, op)(g, *ctx.saved_tensors, *ctx.settings, *needs)
    return *(d if need else None for d, need in zip(gradients, needs, strict=True)), *[None] * len(ctx.settings)


class _Positional(inspect.Signature):
    """A signature that has nothing to bind where all arguments are given, in their order."""

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """What torch takes `args` and `kwargs` from, after apply_defaults()."""
        return _Bound(args) if not kwargs and len(args) == len(self.parameters) else super().bind(*args, **kwargs)


class _Bound:
    """All arguments, as they came."""

    def __init__(self, args: tuple):
        self.args = args
        self.kwargs: dict[str, Any] = {}

    def apply_defaults(self) -> None:
        """There are none left to apply."""


def implement_cuda(name: str, function: Callable) -> None:
    """Give `fastddsp::name` its implementation on CUDA tensors; it takes and returns what the CPU's does."""
    for twin in (name, f"_{name}"):
        _library.impl(twin, function, "CUDA")


def queue(tensor: torch.Tensor) -> Any:
    """Where kernels on a CUDA tensor run: its device and torch's current stream there, asked for at every call."""
    from fastddsp.kernels.cuda.launch import Queue

    device = tensor.device
    return Queue(device.index, torch.cuda.current_stream(device).cuda_stream, _makes_few_doubles(device.index))


@lru_cache
def _makes_few_doubles(device: int) -> bool:
    """Whether a GPU is not one of those that are made for float64: V100's, A100's, H100's and B200's kind."""
    return torch.cuda.get_device_capability(device) not in ((7, 0), (8, 0), (9, 0), (10, 0))


def check_backend(backend: str, device: torch.device, *, cuda: bool = False) -> None:
    """Raise unless `backend` can run on `device`: nothing is copied to another device silently.

    Args:
      backend: what the caller asked for, one of BACKENDS.
      device: of the tensors.
      cuda: whether the function has CUDA kernels.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
    if backend == "auto" and device.type == "cpu":
        return
    if device.type not in ("cpu", "cuda"):
        raise NotImplementedError(f"no kernels for device {device}: move the tensors to the CPU")
    chosen = device.type if backend == "auto" else backend
    if chosen == "cuda" and not cuda:
        raise NotImplementedError("backend 'cuda': this function has no CUDA kernels yet; move the tensors to the CPU")
    if chosen == "cuda" and (reason := cuda_missing()):
        raise RuntimeError(f"backend 'cuda' is not available: {reason}")
    if chosen != device.type:
        raise ValueError(f"backend {backend!r} must be given tensors on {backend}, got tensors on {device}")


def cuda_missing() -> str | None:
    """What the CUDA backend lacks here and how to get it, or None."""
    from fastddsp.kernels.cuda import launch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA: install a build with it, see https://pytorch.org"
    return launch.missing()


class Backends(dict[str, str]):
    """Name -> state in words; shown as a table."""

    def __repr__(self) -> str:
        return "\n".join(f"{name:6}{state}" for name, state in self.items())


def backends() -> Backends:
    """Which backends exist, what `auto` chooses, and what is missing for the others and how to get it.

    Returns:
      Name -> state in words; prints as a table.
    """
    reason = cuda_missing()
    return Backends(
        cpu="Numba kernels; `auto` chooses them for CPU tensors",
        cuda=f"not available: {reason}" if reason else "CUDA C kernels; `auto` chooses them for CUDA tensors",
    )


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
