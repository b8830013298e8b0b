"""Weights in and out: arrays of a magenta/ddsp model, and safetensors files.

Keras and torch lay the same weights out differently (u units):

    Dense kernel [in, out]                          Linear.weight [out, in]
    LayerNormalization gamma, beta [ch]             LayerNorm.weight, bias
    Normalize scale, shift [1, 1, 1, ch]            GroupNorm.weight, bias [ch]
    GRU kernel, recurrent_kernel [in, 3u], z r h    GRU.weight_ih_l0, weight_hh_l0 [3u, in], r z n
    GRU bias [2, 3u]                                GRU.bias_ih_l0, bias_hh_l0 [3u]
    LSTM kernel, recurrent_kernel [in, 4u]          LSTM.weight_ih_l0, weight_hh_l0 [4u, in], the same gates
    LSTM bias [4u]                                  LSTM.bias_ih_l0 [4u] and bias_hh_l0, their sum counts
    Conv2D kernel [h, w, in, out]                   Conv2d.weight [out, in, h, w]
    Conv2D kernel [k, 1, in, out]                   Conv1d.weight [out, in, k]
    Conv2DTranspose kernel [k, 1, out, in]          ConvTranspose1d.weight [in, out, k]
    Embedding embeddings [ids, dims]                Embedding.weight
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

__all__ = ["load_magenta_arrays", "load_weights", "save_weights", "to_magenta_arrays"]

FORMAT = "fastddsp weights"
FORMAT_VERSION = "1"
OF_LOSSES = "loss_objs."  # beginning of the names of what an Autoencoder's losses hold
Layout = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class KerasWeight:
    """One weight of a Keras layer, and the parameters of ours (names within the layer) that it corresponds to."""

    name: str
    parameters: tuple[str, ...]
    to_keras: Callable[..., torch.Tensor] = lambda x: x
    from_keras: Callable[[torch.Tensor], tuple[torch.Tensor, ...]] = lambda array: (array,)


def load_magenta_arrays(model: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Copies the weights of a magenta/ddsp model into ours.

    Args:
        model: An Autoencoder, or a part of one.
        arrays: Keras layout, by magenta's names, such as "decoder.rnn.kernel" or "reverb.ir".

    Raises:
        ValueError: Names are missing or unknown, or an array has the wrong shape; the model is unchanged then.
    """
    expected = to_magenta_arrays(model)
    given = {_without_underscore(name): np.asarray(array) for name, array in arrays.items()}
    if missing := sorted(expected.keys() - given.keys()):
        raise ValueError(f"arrays must hold {missing}, got {sorted(given)}")
    if unknown := sorted(given.keys() - expected.keys()):
        raise ValueError(f"the model has no {unknown}; it has {sorted(expected)}")
    for name, array in expected.items():
        if given[name].shape != array.shape:
            raise ValueError(f"{name} must be {list(array.shape)}, got {list(given[name].shape)}")
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, path, weight in _keras_weights(model):
            values = weight.from_keras(torch.tensor(given[name]))
            for parameter, value in zip(weight.parameters, values, strict=True):
                parameters[path + parameter].copy_(value)


def to_magenta_arrays(model: nn.Module, values: Mapping[str, torch.Tensor] | None = None) -> dict[str, np.ndarray]:
    """Weights in Keras' layout by magenta's names.

    Args:
        model: An Autoencoder, or a part of one.
        values: Tensors by the names of the model's parameters; default: the parameters. Gradients, say.

    Returns:
        Arrays, copied.
    """
    values = dict(model.named_parameters()) if values is None else values
    return {
        name: weight.to_keras(*(values[path + parameter].detach() for parameter in weight.parameters))
        .cpu()
        .numpy()
        .copy()
        for name, path, weight in _keras_weights(model)
    }


def save_weights(model: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes the weights to a safetensors file; those of networks inside its losses are left out.

    Args:
        model: Any module.
        path: File to write.
        metadata: Texts to keep with them, such as the settings of the model as JSON.

    Raises:
        ImportError: safetensors is not installed.
    """
    tensors = {name: tensor.detach().contiguous() for name, tensor in _state(model, of_losses=False).items()}
    header = {**(metadata or {}), "format": FORMAT, "format_version": FORMAT_VERSION}
    _safetensors().torch.save_file(tensors, str(path), metadata=header)


def load_weights(model: nn.Module, path: str | Path) -> dict[str, str]:
    """Reads the weights that `save_weights` wrote.

    Args:
        model: A module with the same parameters.
        path: File to read.

    Returns:
        The metadata.

    Raises:
        ValueError: The file is no such file, of a later version, or of another model.
        ImportError: safetensors is not installed.
    """
    with _safetensors().safe_open(str(path), framework="pt") as file:
        metadata = dict(file.metadata() or {})
        if metadata.pop("format", None) != FORMAT:
            raise ValueError(f"{path} must hold fastddsp weights, got metadata {metadata}")
        if (version := metadata.pop("format_version")) != FORMAT_VERSION:
            raise ValueError(f"{path} must be of format version {FORMAT_VERSION}, got {version}")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    try:
        model.load_state_dict({**_state(model, of_losses=True), **tensors})
    except RuntimeError as error:
        raise ValueError(f"{path} holds the weights of another model: {error}") from None
    return metadata


def _state(model: nn.Module, of_losses: bool) -> dict[str, torch.Tensor]:
    """What a model holds outside its losses, or inside: pretrained networks there are not needed to play."""
    return {name: x for name, x in model.state_dict().items() if name.startswith(OF_LOSSES) == of_losses}


def _keras_weights(model: nn.Module) -> Iterator[tuple[str, str, KerasWeight]]:
    """Magenta's name, prefix of our parameters' names, and layout, of every weight."""
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if prefix.startswith(OF_LOSSES):
            continue
        for weight in _layouts(module):
            yield (prefix + weight.name).removeprefix("processor_group."), prefix, weight


def _layouts(module: nn.Module) -> list[KerasWeight]:
    """The Keras weights of one layer, without those of the layers inside it."""
    if isinstance(module, nn.Linear):
        return [_kernel(_transpose, _transpose), KerasWeight("bias", ("bias",))]
    if isinstance(module, nn.Conv2d):
        return [
            _kernel(lambda w: w.permute(2, 3, 1, 0), lambda a: a.permute(3, 2, 0, 1)),
            KerasWeight("bias", ("bias",)),
        ]
    if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):  # transposed: both layouts have in and out the other way
        return [
            _kernel(lambda w: w.permute(2, 1, 0)[:, None], lambda a: a[:, 0].permute(2, 1, 0)),
            KerasWeight("bias", ("bias",)),
        ]
    if isinstance(module, nn.Embedding):
        return [KerasWeight("embeddings", ("weight",))]
    if isinstance(module, nn.LayerNorm):
        return [KerasWeight("gamma", ("weight",)), KerasWeight("beta", ("bias",))]
    if isinstance(module, nn.GroupNorm) and module.affine:
        return [
            KerasWeight(name, (ours,), lambda x: x[None, None, None], lambda a: (a[0, 0, 0],))
            for name, ours in (("scale", "weight"), ("shift", "bias"))
        ]
    kernels = (("kernel", "weight_ih_l0"), ("recurrent_kernel", "weight_hh_l0"))
    biases = ("bias_ih_l0", "bias_hh_l0")
    if isinstance(module, nn.GRU):
        return [
            *(KerasWeight(n, (p,), lambda w: _swap_gates(w).T, lambda a: (_swap_gates(a.T),)) for n, p in kernels),
            KerasWeight(
                "bias",
                biases,
                lambda x, h: torch.stack([_swap_gates(x), _swap_gates(h)]),
                lambda a: (_swap_gates(a[0]), _swap_gates(a[1])),
            ),
        ]
    if isinstance(module, nn.LSTM):
        return [
            *(KerasWeight(n, (p,), _transpose, lambda a: (a.T,)) for n, p in kernels),
            KerasWeight("bias", biases, torch.add, lambda a: (a, torch.zeros_like(a))),
        ]
    return [KerasWeight(name, (name,)) for name, _ in module.named_parameters(recurse=False)]


def _kernel(to_keras: Layout, from_keras: Layout) -> KerasWeight:
    return KerasWeight("kernel", ("weight",), to_keras, lambda array: (from_keras(array),))


def _transpose(x: torch.Tensor) -> torch.Tensor:
    return x.T


def _swap_gates(x: torch.Tensor) -> torch.Tensor:
    """Swaps the first two thirds of the first axis: z r h to r z n and back."""
    first, second, third = x.chunk(3)
    return torch.cat([second, first, third])


def _without_underscore(name: str) -> str:
    """Magenta's name of a processor's own weight begins with an underscore: "_ir", "reverb._ir"."""
    *path, leaf = name.split(".")
    return ".".join([*path, leaf.removeprefix("_")])


def _safetensors():
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise ImportError('weights in a file need safetensors: pip install "fastddsp[train]"') from error
    return safetensors
