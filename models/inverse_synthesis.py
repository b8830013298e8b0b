"""Inverse synthesis: audio -> sinusoids -> harmonics -> sinusoids -> audio, learnt without a pitch tracker.

    sinusoids   a_i, f_i, noise = scaled(sinusoidal_encoder(audio));  sin_audio  = synthesizers(a, f, noise)
    harmonics   A, d_k, f0      = harmonic_encoder(f, a);             harm_audio = synthesizers(A d_k, k f0, noise)

Sounds made of known controls are examples for which both encoders can be told the answer.

Source: Engel et al., Self-supervised pitch detection by inverse audio synthesis, ICML 2020 workshop.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn

from fastddsp.autograd.frequency_scaling import frequencies_softmax
from fastddsp.autograd.harmonics import get_harmonic_frequencies
from fastddsp.autograd.scaling import exp_sigmoid
from fastddsp.models.autoencoder import as_modules
from fastddsp.models.consistency import (
    FilteredNoiseConsistencyLoss,
    HarmonicConsistencyLoss,
    KDEConsistencyLoss,
)
from fastddsp.models.control_encoders import ResnetSinusoidalEncoder, SinusoidalToHarmonicEncoder
from fastddsp.models.convolutions import RESNET_SIZES
from fastddsp.models.effects import FilteredNoiseReverb
from fastddsp.models.losses import SpectralLoss
from fastddsp.models.nn import RnnSandwich
from fastddsp.models.processors import Add, ProcessorGroup
from fastddsp.models.synths import FilteredNoise, Sinusoidal

__all__ = ["InverseConfig", "InverseSynthesis", "ddsp_inv"]

REVERB_SECONDS, REVERB_FRAMES, REVERB_BANDS = 2, 500, 16
F0_DEPTH = 64
HOP_SIZE = 512  # of the encoder of `ddsp_inv`: a quarter of its spectrogram's 2048 samples
Losses = nn.Module | Iterable[nn.Module] | None


class InverseSynthesis(nn.Module):
    """Finds sinusoids, noise and harmonics in audio, and plays them.

    Args:
        sinusoidal_encoder: Audio -> raw "frequencies", "amplitudes" and "noise_magnitudes".
        harmonic_encoder: Sinusoids -> "harm_amp", "harm_dist" and "f0_hz"; None: sinusoids only.
        losses: Compare audio, both as sinusoids and as harmonics play it.
        sinusoidal_consistency_losses: Compare sinusoids (amps_a, freqs_a, amps_b, freqs_b): those found against the
            harmonics', and against the known ones of synthetic sounds.
        harmonic_consistency_losses: Compare harmonics with the known ones of synthetic sounds.
        filtered_noise_consistency_loss: Compares noise magnitudes with known ones.
        twm_loss: Two-way mismatch of f0 and sinusoids (f0, freqs, amps).
        harmonic_distribution_prior: Loss of the harmonic distribution alone.
        freq_scale_fn: Raw frequencies -> Hz; None: a softmax over 64 channels for each sinusoid.
        reverb: Learn a reverb too.
        n_samples: Length of synthetic sounds, unless given per call.
        sample_rate: Hz.
        stop_gradient: What is learnt about harmonics does not change the sinusoids.
    """

    def __init__(
        self,
        sinusoidal_encoder: nn.Module,
        harmonic_encoder: nn.Module | None = None,
        losses: Losses = None,
        sinusoidal_consistency_losses: Losses = None,
        harmonic_consistency_losses: Losses = None,
        filtered_noise_consistency_loss: Losses = None,
        twm_loss: Losses = None,
        harmonic_distribution_prior: Losses = None,
        freq_scale_fn: Callable[[torch.Tensor], torch.Tensor] | None = None,
        reverb: bool = True,
        n_samples: int = 64000,
        sample_rate: int = 16000,
        stop_gradient: bool = True,
    ):
        super().__init__()
        self.sinusoidal_encoder: Any = sinusoidal_encoder
        self.harmonic_encoder: Any = harmonic_encoder
        self.audio_losses = as_modules(losses)
        self.sinusoidal_losses = as_modules(sinusoidal_consistency_losses)
        self.harmonic_losses = as_modules(harmonic_consistency_losses)
        self.noise_losses = as_modules(filtered_noise_consistency_loss)
        self.twm_losses = as_modules(twm_loss)
        self.priors = as_modules(harmonic_distribution_prior)
        self.freq_scale_fn = freq_scale_fn or partial(frequencies_softmax, depth=F0_DEPTH)
        self.n_samples = n_samples
        self.stop_gradient = stop_gradient
        sinusoids = Sinusoidal(n_samples, sample_rate, amp_scale_fn=None, freq_scale_fn=None)
        dag: list[list[Any]] = [
            [sinusoids, ["amplitudes", "frequencies"]],
            [FilteredNoise(n_samples, window_size=0, scale_fn=None), ["noise_magnitudes"]],
            [Add(), ["filtered_noise/signal", "sinusoidal/signal"]],
        ]
        if reverb:
            length = REVERB_SECONDS * sample_rate
            room = FilteredNoiseReverb(True, length, 257, REVERB_FRAMES, REVERB_BANDS, name="reverb")
            dag.append([room, ["add/signal"]])
        self.processor_group: Any = ProcessorGroup(dag)

    def generate_synthetic_audio(self, features: Mapping[str, Any], **options: Any) -> torch.Tensor:
        """Audio [batch, n_samples] of "sin_amps", "sin_freqs" (Hz) and "noise_magnitudes", at frame rate."""
        return self._play(features["sin_amps"], features["sin_freqs"], features["noise_magnitudes"], options)

    def forward(
        self,
        features: Mapping[str, Any],
        synthetic: Mapping[str, Any] | None = None,
        return_losses: bool = False,
        **options: Any,
    ) -> Any:
        """What was found in audio, and how it sounds.

        Args:
            features: "audio" [batch, n_samples]; or a synthetic sound, known by "sin_amps", "sin_freqs" and
                "noise_magnitudes" (and "harm_amp", "harm_dist", "f0_hz", if the losses compare them), at the frames of
                the encoder. Its audio is made of these.
            synthetic: A synthetic sound to learn from besides, with return_losses.
            return_losses: Also compute the losses.
            **options: Settings of the processors for this call (n_samples, sample_rate, noise, ...).

        Returns:
            Dictionary of outputs: "audio", "sin_audio", "sin_amps", "sin_freqs", "noise_magnitudes", and with a
            harmonic_encoder "harm_audio", "harm_amp", "harm_dist", "f0_hz", "harm_freqs", "harm_amps"; with
            return_losses a pair of it and a dictionary of scalar losses, "total_loss" their sum.
        """
        outputs = self._analyze(features, options)
        if not return_losses:
            return outputs
        losses = self._losses(outputs)
        if "sin_amps" in features:
            losses.update(self._losses_of_known(outputs, features))
        if synthetic is not None:
            losses.update(self._losses_of_known(self._analyze(synthetic, options), synthetic))
        losses["total_loss"] = sum(losses.values(), start=outputs["sin_audio"].new_zeros(()))
        return outputs, losses

    def get_audio_from_outputs(self, outputs: Mapping[str, Any]) -> torch.Tensor:
        """The audio [batch, n_samples] of the harmonics; of the sinusoids, if there are no harmonics."""
        return outputs["sin_audio" if self.harmonic_encoder is None else "harm_audio"]

    def _play(
        self, amplitudes: torch.Tensor, frequencies: torch.Tensor, noise: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        controls = {"amplitudes": amplitudes, "frequencies": frequencies, "noise_magnitudes": noise}
        return self.processor_group(controls, **options)

    def _analyze(self, features: Mapping[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        audio = features["audio"] if "audio" in features else self.generate_synthetic_audio(features, **options)
        options = {"n_samples": audio.shape[-1], **options}
        raw = self.sinusoidal_encoder({**features, "audio": audio})
        freqs = self.freq_scale_fn(raw["frequencies"])
        amps, noise = exp_sigmoid(raw["amplitudes"]), exp_sigmoid(raw["noise_magnitudes"])
        outputs = {"audio": audio, "sin_amps": amps, "sin_freqs": freqs, "noise_magnitudes": noise}
        outputs["sin_audio"] = self._play(amps, freqs, noise, options)
        if self.harmonic_encoder is None:
            return outputs
        if self.stop_gradient:
            amps, freqs, noise = amps.detach(), freqs.detach(), noise.detach()
        harmonics = self.harmonic_encoder({"sin_freqs": freqs, "sin_amps": amps})
        outputs.update(harmonics)
        outputs["harm_amps"] = harmonics["harm_amp"] * harmonics["harm_dist"]
        outputs["harm_freqs"] = get_harmonic_frequencies(harmonics["f0_hz"], harmonics["harm_dist"].shape[-1])
        outputs["harm_audio"] = self._play(outputs["harm_amps"], outputs["harm_freqs"], noise, options)
        return outputs

    def _losses(self, o: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Losses that need no known controls."""
        losses = _values(self.audio_losses, "sin_", o["audio"], o["sin_audio"])
        if self.harmonic_encoder is not None:
            losses.update(_values(self.priors, "", o["harm_dist"]))
            losses.update(_values(self.audio_losses, "harm_", o["audio"], o["harm_audio"]))
            amps, freqs = o["sin_amps"], o["sin_freqs"]
            if self.stop_gradient:
                amps, freqs = amps.detach(), freqs.detach()
            losses.update(_values(self.sinusoidal_losses, "", amps, freqs, o["harm_amps"], o["harm_freqs"]))
        candidates = o["sin_freqs"] if self.harmonic_encoder is None else o["f0_hz"]
        losses.update(_values(self.twm_losses, "", candidates, o["sin_freqs"], o["sin_amps"]))
        return losses

    def _losses_of_known(self, o: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Losses against the controls of which a synthetic sound was made."""
        losses = _values(
            self.sinusoidal_losses, "ss_", o["sin_amps"], o["sin_freqs"], known["sin_amps"], known["sin_freqs"]
        )
        losses.update(_values(self.noise_losses, "ss_", o["noise_magnitudes"], known["noise_magnitudes"]))
        for loss in self.harmonic_losses if self.harmonic_encoder is not None else ():
            if isinstance(loss, HarmonicConsistencyLoss):
                pairs = [x[name] for name in ("harm_amp", "harm_dist", "f0_hz") for x in (o, known)]
                losses.update(_values([loss], "ss_", *pairs))
            else:
                controls = [x[name] for x in (o, known) for name in ("harm_amp", "f0_hz")]
                losses.update(_values([loss], "ss_harm_", *controls))
        return losses


def _values(losses: Iterable[Any], prefix: str, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    return {prefix + name: value for loss in losses for name, value in loss.get_losses_dict(*inputs).items()}


def ddsp_inv(
    finetune: bool = False,
    size: str | tuple[int, Sequence[int]] = "small",
    n_sinusoids: int = 100,
    n_harmonics: int = 100,
    n_noise_bands: int = 65,
    n_samples: int = 64000,
    sample_rate: int = 16000,
) -> InverseSynthesis:
    """The model of the paper, with the sizes and weights of magenta/ddsp's icml2020 settings and fresh weights.

    Args:
        finetune: Weights of the losses for recordings beside synthetic sounds; else for synthetic sounds alone, whose
            audio is not compared.
        size: Of the ResNet, see `ResNet`.
        n_sinusoids: That are found.
        n_harmonics: That are made of them.
        n_noise_bands: Of the noise.
        n_samples: Length of synthetic sounds, unless given per call.
        sample_rate: Hz.

    Returns:
        A model whose encoder gives a frame every 512 samples, and which has no reverb.
    """
    controls = (
        ("frequencies", n_sinusoids * F0_DEPTH),
        ("amplitudes", n_sinusoids),
        ("noise_magnitudes", n_noise_bands),
    )
    of_audio, of_partials, of_noise = (1.0, 0.1, 100.0) if finetune else (0.0, 1.0, 1.0)
    of_amp, of_distribution = (10.0, 100.0) if finetune else (1.0, 1.0)
    return InverseSynthesis(
        ResnetSinusoidalEncoder(controls, size, sample_rate=sample_rate),
        SinusoidalToHarmonicEncoder(RnnSandwich(2 * n_sinusoids), n_harmonics, F0_DEPTH, sample_rate=sample_rate),
        losses=SpectralLoss(mag_weight=of_audio, logmag_weight=of_audio, sample_rate=sample_rate),
        sinusoidal_consistency_losses=KDEConsistencyLoss(of_partials, of_partials, of_partials),
        harmonic_consistency_losses=HarmonicConsistencyLoss(of_amp, of_distribution, 1.0),
        filtered_noise_consistency_loss=FilteredNoiseConsistencyLoss(of_noise),
        reverb=False,
        n_samples=n_samples,
        sample_rate=sample_rate,
    )


@dataclass(frozen=True)
class InverseConfig:
    """Settings of `ddsp_inv`, as a preset holds them.

    Args:
        sample_rate: Hz.
        n_samples: Length of a training excerpt; a multiple of 512.
        n_sinusoids: That are found.
        n_harmonics: That are made of them.
        n_noise_bands: Of the noise.
        size: Of the ResNet: "tiny", "small", "medium" or "large".
        finetune: Learn from recordings beside synthetic sounds; else from synthetic sounds alone.

    Raises:
        ValueError: A setting is out of range.
    """

    sample_rate: int = 16000
    n_samples: int = 64000
    n_sinusoids: int = 100
    n_harmonics: int = 100
    n_noise_bands: int = 65
    size: str = "small"
    finetune: bool = True

    kind: ClassVar[str] = "inverse_synthesis"
    hop_size: ClassVar[int] = HOP_SIZE
    # As a ModelConfig would say it.
    level: ClassVar[str] = "loudness"
    z_dims: ClassVar[int] = 0

    def __post_init__(self):
        if self.size not in RESNET_SIZES:
            raise ValueError(f"size must be one of {list(RESNET_SIZES)}, got {self.size!r}")
        for name, least in {"sample_rate": 1, "n_sinusoids": 1, "n_harmonics": 1, "n_noise_bands": 2}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.n_samples < 1 or self.n_samples % HOP_SIZE:
            raise ValueError(
                f"n_samples must be a multiple of the encoder's hop, {HOP_SIZE} samples, got {self.n_samples}"
            )

    @property
    def frame_rate(self) -> float:
        """Frames of the encoder in Hz."""
        return self.sample_rate / HOP_SIZE

    @property
    def f0_encoder(self) -> str:
        """What hears f0: the ResNet."""
        return self.size

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, with the kind of model as "model"."""
        return {"model": self.kind, **asdict(self)}
