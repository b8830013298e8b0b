"""Arguments of public ops, checked in one place, before any kernel runs.

Errors name the argument, what was expected and what came.
"""

from operator import index
from typing import TypeGuard

import torch

Shape = tuple[int | str, ...]
_WHOLE = (int, torch.SymInt)
_NUMBERS = (*_WHOLE, float)


def shape(name: str, tensor: torch.Tensor, expected: Shape) -> None:
    """Raise unless `tensor` has the expected shape: ints are sizes, words name free axes."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if not _fits(tensor.shape, expected):
        wanted = ", ".join(str(axis) for axis in expected)
        raise ValueError(f"{name} must be [{wanted}], got {list(tensor.shape)}")


def _fits(sizes: torch.Size, expected: Shape) -> bool:
    if len(sizes) != len(expected):
        return False
    # A generator would take twice the time.
    for want, got in zip(expected, sizes, strict=True):  # noqa: SIM110
        if not (isinstance(want, str) or want == got):
            return False
    return True


def voices(**tensors: torch.Tensor | None) -> tuple[str, ...]:
    """The axis between batch and frames, as words of a shape: ("voices",) where tensors have one, else ().

    Raise unless all of them do or none: which of them is wrong, only the caller knows.
    """
    n_axes = {tensor.ndim for tensor in tensors.values() if isinstance(tensor, torch.Tensor)}
    if 4 not in n_axes:
        return ()
    if 3 in n_axes:
        either = "must be [batch, frames, ...] or all [batch, voices, frames, ...], got"
        given = ((name, tensor) for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor))
        raise ValueError(", ".join(f"{name} {either} {list(tensor.shape)}" for name, tensor in given))
    return ("voices",)


def one_channel(name: str, tensor: torch.Tensor, expected: Shape) -> torch.Tensor:
    """`tensor`, less its last axis where it has one more than expected, of size 1; raise where it does not fit."""
    has_channel = isinstance(tensor, torch.Tensor) and tensor.ndim == len(expected) + 1
    shape(name, tensor, (*expected, 1) if has_channel else expected)
    return tensor.squeeze(-1) if has_channel else tensor


def same_kind(**tensors: torch.Tensor | None) -> None:
    """Raise unless all given tensors are float32 or all float64, and on one device."""
    first_name, first = "", None
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{name} must be float32 or float64, got {tensor.dtype}")
        if first is None:
            first_name, first = name, tensor
        if tensor.dtype != first.dtype:
            raise TypeError(f"{name} must be {first.dtype} like {first_name}, got {tensor.dtype}")
        if tensor.device != first.device:
            same_device(**{first_name: first, name: tensor})


def same_device(**tensors: torch.Tensor) -> None:
    """Raise unless all tensors are on one device."""
    first_name, first = next(iter(tensors.items()))
    for name, tensor in tensors.items():
        if tensor.device != first.device:
            raise ValueError(f"{name} must be on {first.device} like {first_name}, got {tensor.device}")


def positive(**numbers: float) -> None:
    """Raise unless every number is > 0."""
    for name, number in numbers.items():
        _number(name, number)
        if not number > 0:
            raise ValueError(f"{name} must be > 0, got {number}")


def not_negative(**numbers: float) -> None:
    """Raise unless every number is >= 0."""
    for name, number in numbers.items():
        _number(name, number)
        if not number >= 0:
            raise ValueError(f"{name} must be >= 0, got {number}")


def _number(name: str, number: object) -> None:
    if not isinstance(number, _NUMBERS) and not hasattr(number, "__float__"):
        raise TypeError(f"{name} must be a number, got {type(number).__name__}")


def whole(**numbers: int) -> None:
    """Raise unless every number is a whole one."""
    for name, number in numbers.items():
        if isinstance(number, _WHOLE):
            continue
        try:
            index(number)  # also what NumPy and torch have
        except TypeError:
            raise TypeError(f"{name} must be a whole number, got {number!r}") from None


def count(**numbers: int) -> None:
    """Raise unless every number is a whole one >= 0."""
    whole(**numbers)
    not_negative(**numbers)


def one_of(name: str, value: object, choices: tuple) -> None:
    """Raise unless `value` is among `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}")


def computed_in_float32(*tensors: torch.Tensor | None) -> tuple:
    """Under autocast, half-precision tensors as float32 (phases and filters need it); else what came."""
    for tensor in tensors:
        if _is_half(tensor):
            return tuple(t.float() if _is_half(t) and _is_autocast(t) else t for t in tensors)
    return tensors


def _is_half(tensor: torch.Tensor | None) -> TypeGuard[torch.Tensor]:
    return isinstance(tensor, torch.Tensor) and tensor.dtype in (torch.float16, torch.bfloat16)


def _is_autocast(tensor: torch.Tensor) -> bool:
    device = tensor.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
