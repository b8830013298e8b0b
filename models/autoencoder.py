"""Autoencoder: features of a recording -> controls -> audio -> losses against the recording.

    features -> preprocessor -> encoder -> decoder -> processor_group -> audio_synth

Each part reads tensors by key out of one dictionary and adds its own to it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["Autoencoder"]


def as_modules(modules: nn.Module | Iterable[nn.Module] | None) -> nn.ModuleList:
    """One module, several or none as a list."""
    if isinstance(modules, nn.Module) and not isinstance(modules, nn.ModuleList):
        modules = (modules,)
    return nn.ModuleList(modules or ())


def with_length(options: Mapping[str, Any], features: Mapping[str, Any], hop_size: int | None) -> dict[str, Any]:
    """Settings of a call with n_samples: by default that of features["audio"], or of the frames of f0_hz."""
    if "n_samples" in options or ("audio" not in features and hop_size is None):
        return dict(options)
    n_samples = features["audio"].shape[-1] if "audio" in features else features["f0_hz"].shape[1] * hop_size
    return {**options, "n_samples": n_samples}


class Autoencoder(nn.Module):
    """A model whose parts read what they need by key out of one growing dictionary, and add what they make.

    Args:
        preprocessor: Scales features; None: features are ready.
        encoder: Adds latents; None: there are none.
        decoder: Adds the raw controls that the processors read.
        processor_group: Makes audio.
        losses: One loss or several, each called with (target audio, audio).
        hop_size: Samples of audio per frame, for calls that give neither n_samples nor audio; None: the processors'
            own n_samples.
    """

    def __init__(
        self,
        preprocessor: nn.Module | None = None,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        processor_group: nn.Module | None = None,
        losses: nn.Module | Iterable[nn.Module] | None = None,
        hop_size: int | None = None,
    ):
        super().__init__()
        self.preprocessor = preprocessor
        self.encoder = encoder
        self.decoder: Any = decoder
        self.processor_group: Any = processor_group
        self.loss_objs = as_modules(losses)
        self.hop_size = hop_size

    def encode(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """Features with what the preprocessor and the encoder make of them; the given dictionary stays as it is."""
        features = dict(features)
        if self.preprocessor is not None:
            features.update(self.preprocessor(features))
        if self.encoder is not None:
            features.update(self.encoder(features))
        return features

    def decode(self, features: Mapping[str, Any], **options: Any) -> torch.Tensor:
        """Audio [batch, n_samples] of encoded features.

        Args:
            features: What `encode` returned.
            **options: Settings of the processors for this call (n_samples, sample_rate, noise, ...).
        """
        return self._synthesize(features, options)["signal"]

    def forward(
        self, features: Mapping[str, Any], return_losses: bool = False, *, loss_from: int = 0, **options: Any
    ) -> Any:
        """Audio and everything on the way to it.

        Args:
            features: Dictionary of tensors: "f0_hz" and "loudness_db" [batch, frames] or [batch, frames, 1], "audio"
                [batch, n_samples], as far as the parts of the model and the losses need them. Not modified.
            return_losses: Also compute the losses against features["audio"].
            loss_from: Sample from which on they count. What sounds before is rendered all the same: a reverb needs it,
                since what it adds to an excerpt's beginning comes from sound before the excerpt.
            **options: Settings of the processors for this call (n_samples, sample_rate, noise, ...). n_samples is by
                default as long as features["audio"], or frames x hop_size.

        Returns:
            Nested dictionary of outputs, "audio_synth" [batch, n_samples] among them; with return_losses a pair of
            it and a dictionary of scalar losses, "total_loss" their sum.

        Raises:
            KeyError: return_losses without features["audio"].
            ValueError: No sample is left for the losses.
        """
        if return_losses and "audio" not in features:
            raise KeyError(f'losses need features["audio"], but there are {sorted(features)}')
        if return_losses and not 0 <= loss_from < features["audio"].shape[-1]:
            raise ValueError(f"loss_from must be 0 to {features['audio'].shape[-1] - 1}, got {loss_from}")
        synthesis = self._synthesize(self.encode(features), options)
        outputs = {**synthesis["controls"], "audio_synth": synthesis["signal"]}
        if not return_losses:
            return outputs
        losses: dict[str, torch.Tensor] = {}
        loss: Any
        for loss in self.loss_objs:
            audio, audio_synth = outputs["audio"][..., loss_from:], outputs["audio_synth"][..., loss_from:]
            losses.update(loss.get_losses_dict(audio, audio_synth))
        losses["total_loss"] = sum(losses.values(), start=synthesis["signal"].new_zeros(()))
        return outputs, losses

    def get_audio_from_outputs(self, outputs: Mapping[str, Any]) -> torch.Tensor:
        """The audio [batch, n_samples] among the outputs of a call."""
        return outputs["audio_synth"]

    def _synthesize(self, features: Mapping[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        features = {**features, **self.decoder(features)}
        options = with_length(options, features, self.hop_size)
        return self.processor_group(features, return_outputs_dict=True, **options)
