"""Perceptual losses: the distance of two sounds as a pretrained network hears them.

    loss = weight * d(network(target), network(audio)),   d of `losses.mean_difference`

CREPE's layers are trained to find the pitch of any sound, so this loss asks for harmonic structure where a spectral
loss is content with energy in the right places. Frames of 1024 samples side by side, the first centered at the first
sample; the network's weights stay as they are, and gradients reach the audio through them.
"""

from collections.abc import Callable

import torch
from torch import nn

from fastddsp.autograd import checks
from fastddsp.models.crepe import FRAME_SIZE, LAYERS, load_crepe, normalize_frames
from fastddsp.models.losses import Loss, mean_difference

__all__ = ["EmbeddingLoss", "PretrainedCREPE", "PretrainedCREPEEmbeddingLoss"]

DEVIATION_FLOOR = 1e-5
# magenta/ddsp's factors, which bring the losses of all layers to one size.
LAYER_SCALES = {
    "conv1-BN": 1.3,
    "conv1-maxpool": 1.0,
    "conv2-BN": 1.4,
    "conv2-maxpool": 1.1,
    "conv3-BN": 1.9,
    "conv3-maxpool": 1.6,
    "conv4-BN": 1.5,
    "conv4-maxpool": 1.4,
    "conv5-BN": 1.9,
    "conv5-maxpool": 1.7,
    "conv6-BN": 30.0,
    "conv6-maxpool": 25.0,
    "classifier": 130.0,
}


class EmbeddingLoss(Loss):
    """Difference of two sounds in what a pretrained model makes of them.

    Args:
        weight: Of the loss; at 0 the model does not run.
        loss_type: "L1", "L2" or "COSINE".
        pretrained_model: Callable, audio [batch, n_samples] -> embedding.
        name: Key of the loss.
    """

    def __init__(
        self,
        weight: float = 1.0,
        loss_type: str = "L1",
        pretrained_model: Callable[[torch.Tensor], torch.Tensor] | None = None,
        name: str = "embedding_loss",
    ):
        super().__init__(name)
        if weight > 0.0 and pretrained_model is None:
            raise ValueError("pretrained_model must be given: a callable from audio to its embedding")
        self.weight = weight
        self.loss_type = loss_type
        self.pretrained_model = pretrained_model

    def forward(self, target_audio: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        """Value of the loss.

        Args:
            target_audio: [batch, n_samples].
            audio: [batch, n_samples].

        Returns:
            Scalar.
        """
        if self.pretrained_model is None or self.weight <= 0.0:
            return audio.new_zeros(())
        target, value = self.pretrained_model(target_audio), self.pretrained_model(audio)
        return self.weight * mean_difference(target, value, self.loss_type)


class PretrainedCREPE(nn.Module):
    """CREPE up to one of its layers, as an embedding; `spectral_ops.PretrainedCREPE` is the network as a tracker.

    Args:
        model_capacity: "tiny" or "full", or the path of a file of weights, see `crepe.load_crepe`.
        activation_layer: "conv1", "conv1-BN", "conv1-maxpool", ... "conv6-maxpool" or "classifier".
        name: For a node of a graph.
        trainable: Let an optimizer change the network too.

    Raises:
        ImportError: The weights are not installed.
        ValueError: No such layer.
    """

    def __init__(
        self,
        model_capacity: str = "tiny",
        activation_layer: str = "conv5-maxpool",
        name: str = "pretrained_crepe",
        trainable: bool = False,
    ):
        super().__init__()
        checks.one_of("activation_layer", activation_layer, LAYERS)
        self.name = name
        self.activation_layer = activation_layer
        self.network = load_crepe(model_capacity).requires_grad_(trainable)

    def train(self, mode: bool = True) -> "PretrainedCREPE":
        """Keeps the network in evaluation mode: its batch statistics are part of the trained weights."""
        return super().train(False)

    def frame_audio(self, audio: torch.Tensor, hop_length: int = 1024, center: bool = True) -> torch.Tensor:
        """Normalized frames.

        Args:
            audio: [batch, n_samples] at 16 kHz.
            hop_length: Samples from frame to frame.
            center: Center the first frame at the first sample, and not begin it there.

        Returns:
            [batch, frames, 1024]; silent frames are 0, with finite gradients (magenta/ddsp's are NaN).

        Raises:
            ValueError: The audio has another shape, or not a single frame.
        """
        checks.shape("audio", audio, ("batch", "n_samples"))
        if center:
            audio = nn.functional.pad(audio, (FRAME_SIZE // 2, FRAME_SIZE // 2))
        if audio.shape[1] < FRAME_SIZE:
            raise ValueError(f"audio must have at least one frame of {FRAME_SIZE} samples, got {audio.shape[1]}")
        return normalize_frames(audio.unfold(-1, FRAME_SIZE, hop_length), DEVIATION_FLOOR)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Embedding [batch, frames, depth] of audio [batch, n_samples] at 16 kHz, a frame every 1024 samples."""
        frames = self.frame_audio(audio)
        return self.network(frames.flatten(0, 1), self.activation_layer).unflatten(0, frames.shape[:2])


class PretrainedCREPEEmbeddingLoss(EmbeddingLoss):
    """Difference of two sounds in a layer of CREPE.

    Args:
        weight: Of the loss, beside a factor that brings all layers to one size.
        loss_type: "L1", "L2" or "COSINE".
        model_capacity: "tiny" or "full", or the path of a file of weights.
        activation_layer: "conv1-BN", "conv1-maxpool", ... "conv6-maxpool" or "classifier".
        name: Key of the loss.

    Raises:
        ImportError: The weights are not installed; the message says how to install them.
        ValueError: No such layer.
    """

    def __init__(
        self,
        weight: float = 1.0,
        loss_type: str = "L1",
        model_capacity: str = "tiny",
        activation_layer: str = "classifier",
        name: str = "pretrained_crepe_embedding_loss",
    ):
        checks.one_of("activation_layer", activation_layer, tuple(LAYER_SCALES))
        super().__init__(
            weight=20.0 * LAYER_SCALES[activation_layer] * weight,
            loss_type=loss_type,
            pretrained_model=PretrainedCREPE(model_capacity, activation_layer),
            name=name,
        )
