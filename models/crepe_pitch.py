"""Pitch from CREPE's activities: decoding, and the tracker under the names of magenta/ddsp's spectral_ops.

    f0 = 10 Hz 2^(c / 1200),   c = sum_b p[b] cents(b) / sum_b p[b]   over the nine bins b around the center
    cents(b) = 20 b + 1997.379,   confidence = max_b p[b]

The center is the highest bin of each frame or, by Viterbi, the most probable path through all frames: pitch moves by
less than 12 bins a frame, and activity p[b] counts as that many sightings of bin b, a sighting of the true bin being
1 - 0.9 * 359 / 360 probable.

Source: Kim et al., "CREPE", ICASSP 2018, section 2.3; Viterbi as in the crepe package.
"""

import math
from functools import lru_cache

import torch
from torch import nn

from fastddsp.autograd import checks, spectral
from fastddsp.models.crepe import FRAME_SIZE, N_BINS, SAMPLE_RATE, load_crepe, normalize_frames
from fastddsp.models.hmm import viterbi

CENTS_PER_BIN = 20.0
FIRST_BIN_CENTS = 1997.3794084376191
NEIGHBOURS = 4  # bins on either side of the center that count
REACH = 12  # bins by which the pitch stays below moving in a frame
IMPROBABLE = 1e-5  # weight of a wider move, where a neighbouring one has REACH - 1
SELF_EMISSION = 0.1
# The two blocks of a frame batch that are alive at once stay near 100 MB for the full network.
FRAMES_AT_ONCE = 256


def decode(
    activations: torch.Tensor,
    centers: torch.Tensor | None = None,
    fmin: float | None = None,
    fmax: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pitch and confidence of bin activities.

    Args:
        activations: [..., 360], 0 to 1.
        centers: bins around which to look, [...]; the highest ones if None.
        fmin: lowest pitch considered, in Hz; None for the lowest bin.
        fmax: highest pitch considered, in Hz.

    Returns:
        f0_hz and confidence, both [...].

    Raises:
        ValueError: the range leaves no bin.
    """
    bins = torch.arange(N_BINS, device=activations.device)
    f0_of_bin = 10.0 * 2.0 ** ((FIRST_BIN_CENTS + CENTS_PER_BIN * bins) / 1200.0)
    allowed = (f0_of_bin >= (fmin or 0.0)) & (f0_of_bin <= (fmax or math.inf))
    if not allowed.any():
        raise ValueError(f"fmin and fmax must leave a pitch between 32 and 1975 Hz, got {fmin} and {fmax}")
    activations = torch.where(allowed, activations, 0.0)
    centers = activations.argmax(-1) if centers is None else centers
    offset = bins - centers.unsqueeze(-1)
    weights = torch.where(offset.abs() <= NEIGHBOURS, activations, 0.0)
    mean_offset = (weights * offset).sum(-1) / weights.sum(-1).clamp(min=1e-30)
    mean_cents = FIRST_BIN_CENTS + CENTS_PER_BIN * (centers + mean_offset)
    return 10.0 * 2.0 ** (mean_cents / 1200.0), activations.amax(-1)


def smooth_centers(activations: torch.Tensor) -> torch.Tensor:
    """Bins of the most probable path, [batch, frames], of activities [batch, frames, 360]."""
    bins = torch.arange(N_BINS, dtype=torch.float64, device=activations.device)
    transition = (REACH - (bins[:, None] - bins).abs()).clamp(min=IMPROBABLE)
    transition = transition / transition.sum(1, keepdim=True)
    elsewhere = (1.0 - SELF_EMISSION) / N_BINS
    sighting = math.log((SELF_EMISSION + elsewhere) / elsewhere)
    return viterbi(torch.zeros_like(bins), transition.log(), sighting * activations.double())


class PretrainedCREPE(nn.Module):
    """CREPE as a pitch tracker; `losses.PretrainedCREPE` is the same network as an embedding.

    Args:
        model_size_or_path: "tiny" or "full", or the path of a file of weights, see `crepe.load_crepe`.
        hop_size: samples from frame to frame, at 16 kHz.

    Raises:
        ImportError: the weights are not installed.
    """

    def __init__(self, model_size_or_path: str, hop_size: int = 160):
        super().__init__()
        self.model_size_or_path = model_size_or_path
        self.hop_size = hop_size
        self.frame_size = FRAME_SIZE
        self.sample_rate = SAMPLE_RATE
        self.core_model = load_crepe(model_size_or_path).requires_grad_(False)

    def train(self, mode: bool = True) -> "PretrainedCREPE":
        """Keeps the network in evaluation mode: its batch statistics are part of the trained weights."""
        return super().train(False)

    @staticmethod
    def activations_to_f0_and_confidence(
        activations: torch.Tensor, centers: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pitch and confidence, [n] and [n, 1], of activities [n, 360].

        Nine bins count, as in the crepe package; magenta/ddsp has a tenth on the upper side, and counts the first or
        last bin more than once at the ends.
        """
        f0_hz, confidence = decode(activations, centers)
        return f0_hz, confidence.unsqueeze(-1)

    def batch_frames(self, audio: torch.Tensor) -> torch.Tensor:
        """Frames [batch * frames, 1024] of audio [batch, n_samples]; audio of one frame is taken as frames."""
        if audio.shape[-1] == self.frame_size:
            return audio
        return audio.unfold(-1, self.frame_size, self.hop_size).reshape(-1, self.frame_size)

    def normalize_frames(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames with mean 0 and deviation 1; silence stays silent."""
        return normalize_frames(frames)

    @staticmethod
    def viterbi_decode(acts: torch.Tensor) -> torch.Tensor:
        """Bins of the most probable path, int64 [batch, frames], of activities [batch, frames, 360]."""
        return smooth_centers(acts)

    def predict_f0_and_confidence(
        self, audio: torch.Tensor, viterbi: bool = False, padding: str = "center"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pitch of audio, frame by frame.

        Args:
            audio: [batch, n_samples] or [n_samples] at 16 kHz.
            viterbi: look around the most probable path, and not around the highest bin of each frame.
            padding: "center", "same" or "valid", see `spectral_ops.pad`.

        Returns:
            f0_hz and confidence, both [batch, frames].

        Raises:
            ValueError: audio is shorter than a frame and not padded.
        """
        audio = audio.unsqueeze(0) if audio.ndim == 1 else audio
        checks.shape("audio", audio, ("batch", "n_samples"))
        audio = spectral.pad(audio, self.frame_size, self.hop_size, padding)
        if audio.shape[1] < self.frame_size:
            raise ValueError(f"audio must have at least {self.frame_size} samples, got {audio.shape[1]}")
        parts = self.normalize_frames(self.batch_frames(audio)).split(FRAMES_AT_ONCE)
        activations = torch.cat([self.core_model(part) for part in parts]).unflatten(0, (audio.shape[0], -1))
        return decode(activations, smooth_centers(activations) if viterbi else None)


@lru_cache(maxsize=1)
def _full_network(hop_size: int) -> PretrainedCREPE:
    return PretrainedCREPE("full", hop_size)


@torch.no_grad()
def compute_f0(
    audio: torch.Tensor, frame_rate: int, viterbi: bool = True, padding: str = "center"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fundamental frequency by the full CREPE network; without gradients.

    Args:
        audio: [n_samples] or [batch, n_samples] at 16 kHz.
        frame_rate: frames a second.
        viterbi: smooth the pitch over time, see `PretrainedCREPE`. (The crepe package, which magenta/ddsp calls, sees
            only the highest bin of each frame there; this one sees all activities.)
        padding: "center", "same" or "valid".

    Returns:
        f0_hz and confidence (0 to 1), both float32 [frames] or [batch, frames].

    Raises:
        ImportError: the weights are not installed.
    """
    network = _full_network(SAMPLE_RATE // frame_rate).to(audio.device)
    found = network.predict_f0_and_confidence(audio.float(), viterbi, padding)
    f0_hz, confidence = (x[0] for x in found) if audio.ndim == 1 else found
    return f0_hz, confidence
