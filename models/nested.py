"""Nested dictionaries, and keys that reach into them: "a/b" of `d` is `d["a"]["b"]`.

Names and arguments are those of magenta/ddsp's `core`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["leaf_key", "make_iterable", "map_shape", "nested_keys", "nested_lookup", "to_dict"]


def nested_lookup(nested_key: str, nested_dict: Mapping[str, Any], delimiter: str = "/") -> Any:
    """Value at a nested key, such as "reverb/signal", of a dictionary of dictionaries.

    Args:
        nested_key: Keys from the outside in, joined by `delimiter`.
        nested_dict: Dictionary of dictionaries.
        delimiter: What separates the keys.

    Returns:
        The value found there.

    Raises:
        KeyError: No such key; the message lists the keys that there are.
    """
    value: Any = nested_dict
    for part in nested_key.split(delimiter):
        if not isinstance(value, Mapping) or part not in value:
            there = sorted(value) if isinstance(value, Mapping) else type(value).__name__
            raise KeyError(f"no {part!r} of {nested_key!r} among {there}")
        value = value[part]
    return value


def nested_keys(nested_dict: Mapping[str, Any], delimiter: str = "/", prefix: str = "") -> list[str]:
    """The nested keys of all values that are no dictionaries.

    Args:
        nested_dict: Dictionary of dictionaries.
        delimiter: What separates the keys, at every level (magenta/ddsp: at the outermost).
        prefix: Put before every key, with a delimiter.

    Returns:
        Keys in the order of the dictionaries.
    """
    keys = []
    for key, value in nested_dict.items():
        path = f"{prefix}{delimiter}{key}" if prefix else key
        keys += nested_keys(value, delimiter, path) if isinstance(value, Mapping) else [path]
    return keys


def leaf_key(nested_key: str, delimiter: str = "/") -> str:
    """The innermost key of a nested key: "signal" of "reverb/signal"."""
    return nested_key.split(delimiter)[-1]


def make_iterable(x: Any) -> Iterable[Any]:
    """A list of x, unless it is a list or the like already; an empty one of None. Tensors and arrays count as one."""
    if x is None:
        return []
    is_collection = isinstance(x, Iterable) and not isinstance(x, (torch.Tensor, np.ndarray))
    return x if is_collection else [x]


def to_dict(x: Any, keys: Sequence[str]) -> dict[str, Any]:
    """Values by name.

    Args:
        x: A value, a list or tuple of values, or a dictionary, which is returned as it is.
        keys: A name for each value.

    Returns:
        {key: value}.

    Raises:
        ValueError: There are more or fewer keys than values.
    """
    if isinstance(x, dict):
        return x
    values = list(make_iterable(x))
    if len(keys) != len(values):
        raise ValueError(f"keys must be as many as the values, {len(values)}, got {list(keys)}")
    return dict(zip(keys, values, strict=True))


def map_shape(x: Any) -> Any:
    """Shapes, as lists, in place of the tensors of a nested dictionary."""
    if isinstance(x, Mapping):
        return {key: map_shape(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(map_shape(value) for value in x)
    return list(x.shape)
