"""Small layers with Keras' constants and initial values, made of torch's own.

    Fc   Linear -> LayerNorm(eps 1e-3) -> leaky ReLU(slope 0.2), on the last axis
    rnn  torch's GRU, which is Keras' reset_after=True form (two biases), or LSTM

Weights start Glorot-uniform, recurrent ones orthogonal, biases 0 (an LSTM's forget bias 1).
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from fastddsp.models.nested import nested_lookup

LAYER_NORM_EPS = 1e-3
NORM_EPS = 1e-5
LEAKY_RELU_SLOPE = 0.2


class DictLayer(nn.Module):
    """A module that picks its inputs by key out of dictionaries and returns a dictionary.

    Subclasses write `compute(a, b, c=None) -> dict`. The module is called as layer({"a": ..., "b": ...}), or
    layer(a, b), or with keywords; dictionaries may hold other things too.

    Args:
        input_keys: Keys of the inputs in the order in which `compute` takes them; default: the names of its arguments.
    """

    compute: Callable[..., dict[str, torch.Tensor]]

    def __init__(self, input_keys: Sequence[str] | None = None):
        super().__init__()
        parameters = inspect.signature(self.compute).parameters.values()
        self.by_name = input_keys is None
        self.input_keys = tuple(p.name for p in parameters) if input_keys is None else tuple(input_keys)
        self.optional_keys = tuple(p.name for p in parameters if p.default is not inspect.Parameter.empty)

    def forward(self, *inputs: torch.Tensor | Mapping[str, Any], **named: torch.Tensor) -> dict[str, torch.Tensor]:
        """Outputs by name; see the class for the ways to call.

        Raises:
            KeyError: An input is missing.
            TypeError: There are more tensors than inputs.
        """
        features: dict[str, Any] = {}
        for dictionary in (x for x in inputs if isinstance(x, Mapping)):
            features.update(dictionary)
        features.update(named)
        tensors = [x for x in inputs if not isinstance(x, Mapping)]
        if len(tensors) > len(self.input_keys):
            raise TypeError(f"{type(self).__name__} takes {list(self.input_keys)}, got {len(tensors)} tensors")
        values = dict(zip(self.input_keys, tensors, strict=False))
        for key in self.input_keys[len(tensors) :]:
            try:
                values[key] = nested_lookup(key, features)
            except KeyError:
                if key not in self.optional_keys:
                    raise KeyError(f"{type(self).__name__} needs {key!r}, but was given {sorted(features)}") from None
        return self.compute(**values) if self.by_name else self.compute(*values.values())


def split_to_dict(tensor: torch.Tensor, tensor_splits: Sequence[tuple[str, int]]) -> dict[str, torch.Tensor]:
    """Splits the last axis into named parts.

    Args:
        tensor: [..., channels].
        tensor_splits: Pairs (name, channels) in order; together all the channels.

    Returns:
        Tensors [..., channels of the part] by name.
    """
    names = [name for name, _ in tensor_splits]
    return dict(zip(names, tensor.split([size for _, size in tensor_splits], dim=-1), strict=True))


def dense(n_inputs: int, n_outputs: int) -> nn.Linear:
    """Linear layer with Keras' initial values."""
    layer = nn.Linear(n_inputs, n_outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Fc(nn.Module):
    """Linear, LayerNorm, leaky ReLU: [..., n_inputs] -> [..., ch]."""

    def __init__(self, n_inputs: int, ch: int = 128):
        super().__init__()
        self.dense = dense(n_inputs, ch)
        self.norm = nn.LayerNorm(ch, eps=LAYER_NORM_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activations [..., ch]."""
        return nn.functional.leaky_relu(self.norm(self.dense(x)), LEAKY_RELU_SLOPE)


class FcStack(nn.Sequential):
    """`layers` Fc in a row; none of them leaves its input as it is.

    Args:
        n_inputs: Channels in.
        ch: Channels of every layer.
        layers: How many.
    """

    def __init__(self, n_inputs: int, ch: int = 256, layers: int = 2):
        super().__init__(*(Fc(n_inputs if i == 0 else ch, ch) for i in range(layers)))
        self.n_outputs = ch if layers else n_inputs


class FcStackOut(nn.Module):
    """An FcStack and a linear layer: [..., n_inputs] -> [..., n_out].

    Args:
        n_inputs: Channels in.
        ch: Channels of every Fc layer.
        layers: Fc layers.
        n_out: Channels out.
    """

    def __init__(self, n_inputs: int, ch: int, layers: int, n_out: int):
        super().__init__()
        self.stack = FcStack(n_inputs, ch, layers)
        self.dense_out = dense(self.stack.n_outputs, n_out)
        self.n_outputs = n_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Channels [..., n_out]."""
        return self.dense_out(self.stack(x))


class RnnSandwich(nn.Module):
    """A recurrent layer between two FcStacks: [batch, frames, n_inputs] -> [batch, frames, fc_stack_ch].

    Args:
        n_inputs: Channels in.
        fc_stack_ch: Channels of the Fc layers.
        fc_stack_layers: Fc layers in each stack.
        rnn_ch: Channels of the recurrent layer.
        rnn_type: "gru" or "lstm".
    """

    def __init__(
        self,
        n_inputs: int,
        fc_stack_ch: int = 256,
        fc_stack_layers: int = 2,
        rnn_ch: int = 512,
        rnn_type: str = "gru",
    ):
        super().__init__()
        self.stack_in = FcStack(n_inputs, fc_stack_ch, fc_stack_layers)
        self.rnn = rnn(self.stack_in.n_outputs, rnn_ch, rnn_type)
        self.stack_out = FcStack(rnn_ch, fc_stack_ch, fc_stack_layers)
        self.n_outputs = self.stack_out.n_outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Channels [batch, frames, fc_stack_ch]."""
        hidden, _ = self.rnn(self.stack_in(x))
        return self.stack_out(hidden)


def group_norm(channels: int, norm_type: str = "layer", affine: bool = True) -> nn.GroupNorm:
    """Normalization over all of an example's frames, for channels first.

    Args:
        channels: Size of the second axis of the input [batch, channels, ...].
        norm_type: "layer" (all channels together), "instance" (each by itself) or "group" (32 groups).
        affine: Learn a scale and a shift per channel.

    Returns:
        torch's layer.

    Raises:
        ValueError: norm_type is none of these.
    """
    return nn.GroupNorm(_n_groups(channels, norm_type), channels, eps=NORM_EPS, affine=affine)


def _n_groups(channels: int, norm_type: str) -> int:
    groups = {"layer": 1, "instance": channels, "group": 32}
    if norm_type not in groups:
        raise ValueError(f"norm_type must be one of {list(groups)}, got {norm_type!r}")
    return groups[norm_type]


class Normalize(nn.GroupNorm):
    """Normalization over time, with a learnt scale and shift per channel, for channels last.

    Args:
        channels: Size of the last axis of the input [batch, ..., channels].
        norm_type: "layer" (all channels together), "instance" (each by itself) or "group" (32 groups).
    """

    def __init__(self, channels: int, norm_type: str = "layer"):
        super().__init__(_n_groups(channels, norm_type), channels, eps=NORM_EPS)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalized input, shaped as it came."""
        # Time as one axis: on four axes with channels last, torch 2.13 crashes when only the weights want gradients.
        flat = input.movedim(-1, 1).flatten(2) if input.dim() > 2 else input
        return super().forward(flat).view(input.movedim(-1, 1).shape).movedim(1, -1)


def rnn(n_inputs: int, dims: int, rnn_type: str = "gru") -> nn.GRU | nn.LSTM:
    """Recurrent layer with Keras' initial values: [batch, frames, n_inputs] -> [batch, frames, dims].

    Args:
        n_inputs: Channels in.
        dims: Channels out.
        rnn_type: "gru" or "lstm".

    Returns:
        torch's layer, batch first.

    Raises:
        ValueError: rnn_type is neither.
    """
    layers = {"gru": nn.GRU, "lstm": nn.LSTM}
    if rnn_type not in layers:
        raise ValueError(f"rnn_type must be one of {list(layers)}, got {rnn_type!r}")
    layer = layers[rnn_type](n_inputs, dims, batch_first=True)
    nn.init.xavier_uniform_(layer.weight_ih_l0)
    nn.init.orthogonal_(layer.weight_hh_l0)
    nn.init.zeros_(layer.bias_ih_l0)
    nn.init.zeros_(layer.bias_hh_l0)
    if rnn_type == "lstm":
        nn.init.ones_(layer.bias_ih_l0[dims : 2 * dims])
    return layer
