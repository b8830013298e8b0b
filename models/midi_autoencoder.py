"""An autoencoder with notes in the middle, around one that plays f0 and loudness.

    f0, loudness -> synthcoder -> controls -> synth_audio
    f0, controls -> midi_encoder -> notes -> midi_decoder -> f0, controls -> midi_audio

Without a midi_encoder the notes are those of a score. The model learns to play; `midi_to_audio` plays what is written.

Source: magenta/ddsp `models.MidiAutoencoder` and `ZMidiAutoencoder`; Wu et al., MIDI-DDSP, ICLR 2022.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from fastddsp.autograd.scaling import amplitude_to_db, hz_to_midi
from fastddsp.models.autoencoder import with_length
from fastddsp.models.consistency import ParamLoss
from fastddsp.models.convolutions import DilatedConvStack
from fastddsp.models.decoders import DilatedConvDecoder
from fastddsp.models.effects import FilteredNoiseReverb
from fastddsp.models.losses import LossGroup, SpectralLoss
from fastddsp.models.midi import HarmonicToMidiEncoder, MidiToHarmonicDecoder
from fastddsp.models.notes import get_note_mask, pool_over_notes, straight_through_int_quantization
from fastddsp.models.preprocessing import F0LoudnessPreprocessor
from fastddsp.models.processors import Add, ProcessorGroup
from fastddsp.models.synths import FilteredNoise, Harmonic

__all__ = ["MidiAutoencoder", "MidiConfig", "midi_ae", "midi_processor_group", "reconstruction_losses"]

N_NOTES = 128  # of a piano roll
LOWEST_NOTE = 20.0  # of a piano roll made of pitches; what is below is a rest
WRONG_NOTE = 2.0  # semitones between f0 and the score, beyond which they are not about the same note


def midi_processor_group(
    n_samples: int = 64000, sample_rate: int = 16000, reverb_length: int = 24000
) -> ProcessorGroup:
    """Harmonics, noise and a reverb whose response is filtered noise, under the names that MIDI decoders give.

    Args:
        n_samples: Length of the audio, unless given per call.
        sample_rate: Hz.
        reverb_length: Samples; 0: no reverb.

    Returns:
        Reads "amplitudes", "harmonic_distribution", "f0_hz" and "magnitudes".
    """
    dag: list[list[Any]] = [
        [Harmonic(n_samples, sample_rate), ["amplitudes", "harmonic_distribution", "f0_hz"]],
        [FilteredNoise(n_samples), ["magnitudes"]],
        [Add(), ["filtered_noise/signal", "harmonic/signal"]],
    ]
    if reverb_length:
        reverb = FilteredNoiseReverb(True, reverb_length, n_frames=500, n_filter_banks=32, name="reverb")
        dag.append([reverb, ["add/signal"]])
    return ProcessorGroup(dag)


def reconstruction_losses() -> LossGroup:
    """What magenta/ddsp's `midiae.gin` compares: audio of the synthcoder, and f0 and controls of the notes.

    Differences of controls pull at both sides: the synthcoder learns to be sayable in notes.
    """
    f0, amps, hd, noise = (
        ParamLoss(weight, kind, f"{name}_reconstruction")
        for name, weight, kind in (
            ("f0", 50.0, "L2"),
            ("amplitude", 0.5, "L1"),
            ("harmonic_distribution", 500.0, "L1"),
            ("noise", 0.5, "L1"),
        )
    )
    return LossGroup(
        [
            [SpectralLoss(logmag_weight=1.0, name="spectral_loss_synth"), ["audio", "synth_audio"]],
            [f0, ["f0_midi", "f0_midi_pred", "f0_loss_weights"]],
            [amps, ["amps", "amps_pred"]],
            [hd, ["hd", "hd_pred"]],
            [noise, ["noise", "noise_pred"]],
        ]
    )


class MidiAutoencoder(nn.Module):
    """Plays f0 and loudness, and plays the same from notes alone.

    Args:
        synthcoder: Decoder from scaled features (and z) to "amplitudes", "harmonic_distribution" and "magnitudes".
        midi_decoder: A `MidiToHarmonicDecoder`.
        midi_encoder: A `HarmonicToMidiEncoder`; None: notes of features["note_active_velocities"].
        preprocessor: Makes f0_hz and the scaled features.
        processor_group: See `midi_processor_group`, which is the default.
        losses: Of the outputs by name; see `reconstruction_losses`.
        z_synth_encoder: Features -> z of the synthcoder.
        z_global_encoder: Features and controls ("amps_scaled", "hd_scaled", "noise_scaled") -> z of the midi_decoder.
        z_note_encoder: The same, averaged over each note and laid beside it.
        z_preconditioning_stack: What both of these go through.
        sg_before_midiae: What is learnt about notes through the midi_encoder does not change the synthcoder.
        mask_f0_loss: f0 does not count where it is 2 semitones or more off the score.
        hop_size: Samples of audio per frame, for calls that give neither n_samples nor audio.
    """

    def __init__(
        self,
        synthcoder: nn.Module,
        midi_decoder: nn.Module,
        midi_encoder: nn.Module | None = None,
        preprocessor: nn.Module | None = None,
        processor_group: nn.Module | None = None,
        losses: nn.Module | None = None,
        z_synth_encoder: nn.Module | None = None,
        z_global_encoder: nn.Module | None = None,
        z_note_encoder: nn.Module | None = None,
        z_preconditioning_stack: nn.Module | None = None,
        sg_before_midiae: bool = True,
        mask_f0_loss: bool = True,
        hop_size: int | None = None,
    ):
        super().__init__()
        self.synthcoder: Any = synthcoder
        self.midi_decoder: Any = midi_decoder
        self.midi_encoder: Any = midi_encoder
        self.preprocessor: Any = preprocessor
        self.processor_group: Any = processor_group or midi_processor_group()
        self.losses: Any = losses
        self.z_synth_encoder: Any = z_synth_encoder
        self.z_global_encoder: Any = z_global_encoder
        self.z_note_encoder: Any = z_note_encoder
        self.z_preconditioning_stack: Any = z_preconditioning_stack
        self.sg_before_midiae = sg_before_midiae
        self.mask_f0_loss = mask_f0_loss
        self.hop_size = hop_size

    def forward(self, features: Mapping[str, Any], return_losses: bool = False, **options: Any) -> Any:
        """Audio from features, audio from notes, and everything on the way.

        Args:
            features: What the preprocessor and the encoders read; without a midi_encoder also
                "note_active_velocities" [batch, frames, 128], a piano roll of one voice. Not modified.
            return_losses: Also compute the losses.
            **options: Settings of the processors for this call. n_samples is by default as long as
                features["audio"], or frames x hop_size.

        Returns:
            Dictionary of the features and "synth_audio", "midi_audio", "q_pitch", "q_vel", "f0_midi", "f0_midi_pred",
            "f0_loss_weights", "pianoroll", the controls "amps" (dB), "hd" and "noise" (dB) and the same of the notes
            ("amps_pred", ...), "synth_params" and "midi_synth_params"; "z_pitch" with a midi_encoder, "z_global" and
            "z_notes" with theirs. With return_losses a pair of it and a dictionary of scalar losses, "total_loss"
            their sum.
        """
        o = dict(features)
        if self.preprocessor is not None:
            o.update(self.preprocessor(o))
        o["f0_midi"] = hz_to_midi(o["f0_hz"])
        options = with_length(options, o, self.hop_size)
        o.update(self._synthesize(o, options))
        o.update(self._notes(o))
        z = self._z_of_notes(o)
        o.update({f"z_{name}": value for name, value in z.items() if name != "all"})
        raw = self.midi_decoder({"z_pitch": o["q_pitch"], "z_vel": o["q_vel"], "z": z.get("all")})
        o["f0_midi_pred"], o["f0_hz_pred"] = raw["f0_midi"], raw["f0_hz"]
        o["midi_synth_params"] = self.processor_group.get_controls(raw, **options)
        o["midi_audio"] = self.processor_group.get_signal(o["midi_synth_params"])
        o.update({f"{name}_pred": value for name, value in _levels(o["midi_synth_params"]).items()})
        o["pianoroll"] = self.midi_to_pianoroll(o["q_pitch"])
        if not return_losses:
            return o
        losses = {} if self.losses is None else dict(self.losses(o))
        losses["total_loss"] = sum(losses.values(), start=o["midi_audio"].new_zeros(()))
        return o, losses

    def midi_to_audio(
        self,
        q_pitch: torch.Tensor,
        q_vel: torch.Tensor | None = None,
        z: torch.Tensor | None = None,
        **options: Any,
    ) -> torch.Tensor:
        """Audio [batch, n_samples] of notes.

        Args:
            q_pitch: MIDI notes, 0 for a rest, [batch, frames, 1].
            q_vel: Velocities, [batch, frames, 1], if the decoder reads them.
            z: Conditioning of the decoder, [batch, frames or 1, channels], if it has one.
            **options: Settings of the processors for this call (n_samples, sample_rate, noise, ...).
        """
        raw = self.midi_decoder({"z_pitch": q_pitch, "z_vel": q_vel, "z": z})
        return self.processor_group(raw, **with_length(options, raw, self.hop_size))

    def get_audio_from_outputs(self, outputs: Mapping[str, Any]) -> torch.Tensor:
        """The audio [batch, n_samples] that was played from notes."""
        return outputs["midi_audio"]

    @staticmethod
    def pianoroll_to_midi(pianoroll: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The loudest note of each frame and its velocity, [batch, frames, 1], of a piano roll [batch, frames, 128]."""
        velocities, notes = pianoroll.max(dim=-1, keepdim=True)
        return notes.to(pianoroll.dtype), velocities

    @staticmethod
    def midi_to_pianoroll(q_pitch: torch.Tensor, threshold: float = LOWEST_NOTE) -> torch.Tensor:
        """A piano roll [batch, frames, 128] of pitches [batch, frames, 1]; up to the threshold it shows note 0."""
        notes = torch.where(q_pitch > threshold, q_pitch, 0.0).round().clamp(0, N_NOTES - 1)
        return nn.functional.one_hot(notes[..., 0].long(), N_NOTES).to(q_pitch.dtype)

    def _synthesize(self, features: Mapping[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        """The synthcoder's controls and audio."""
        if self.z_synth_encoder is not None:
            features = {**features, **self.z_synth_encoder(features)}
        params = self.processor_group.get_controls({**features, **self.synthcoder(features)}, **options)
        levels = _levels(params)
        scaled = {f"{name}_scaled": value for name, value in levels.items()}
        return {"synth_params": params, "synth_audio": self.processor_group.get_signal(params), **levels, **scaled}

    def _notes(self, o: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Notes of the encoder or of the score, and where f0 counts."""
        if self.midi_encoder is None:
            pitch, velocity = self.pianoroll_to_midi(o["note_active_velocities"])
            near = ((o["f0_midi"] - pitch).abs() < WRONG_NOTE).to(pitch.dtype)
            weights = near if self.mask_f0_loss else torch.ones_like(near)
            return {"q_pitch": pitch, "q_vel": velocity, "f0_loss_weights": weights}
        inputs = {name: o[name] for name in ("f0_midi", "amps", "hd", "noise")}
        if self.sg_before_midiae:
            inputs = {name: x.detach() for name, x in inputs.items()}
        made = self.midi_encoder(inputs)
        return {
            "z_pitch": made["z_pitch"],
            "q_pitch": straight_through_int_quantization(made["z_pitch"]),
            "q_vel": made["z_vel"],
            "f0_loss_weights": torch.ones_like(o["f0_midi"]),
        }

    def _z_of_notes(self, o: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Latents of the midi_decoder by name: "global", "notes", and "all" that there are."""
        z = {}
        if self.z_global_encoder is not None:
            z["global"] = self.z_global_encoder(o)["z"]
        if self.z_note_encoder is not None:
            mask = get_note_mask(o["q_pitch"].detach())
            z["notes"] = pool_over_notes(self.z_note_encoder(o)["z"], mask, return_std=False)
        if z:
            frames = max(x.shape[1] for x in z.values())
            together = torch.cat([x.expand(-1, frames, -1) for x in z.values()], dim=-1)
            z["all"] = together if self.z_preconditioning_stack is None else self.z_preconditioning_stack(together)
        return z


def _levels(params: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Controls as they are compared: amplitudes and noise in dB."""
    harmonic, noise = params["harmonic"]["controls"], params["filtered_noise"]["controls"]
    return {
        "amps": amplitude_to_db(harmonic["amplitudes"]),
        "hd": harmonic["harmonic_distribution"],
        "noise": amplitude_to_db(noise["magnitudes"]),
    }


def midi_ae(
    encoder: bool = False,
    ch: int = 128,
    n_harmonics: int = 60,
    n_noise_bands: int = 65,
    n_samples: int = 64000,
    sample_rate: int = 16000,
    frame_rate: int = 250,
    reverb_length: int = 24000,
    compute_loudness: bool = True,
) -> MidiAutoencoder:
    """The model with the sizes of magenta/ddsp's `midiae.gin`, its losses, and fresh weights.

    Args:
        encoder: Learn the notes; else they are those of a score.
        ch: Channels of every convolution.
        n_harmonics: Of the harmonic synthesizer.
        n_noise_bands: Of the noise.
        n_samples: Length of the audio, unless given per call.
        sample_rate: Hz.
        frame_rate: Hz.
        reverb_length: Samples; 0: no reverb.
        compute_loudness: Compute loudness from the audio at each call instead of taking the feature.

    Returns:
        A model that reads f0, loudness and, without an encoder, "note_active_velocities".
    """
    controls = (("amplitudes", 1), ("harmonic_distribution", n_harmonics), ("magnitudes", n_noise_bands))
    n_controls = sum(channels for _, channels in controls)

    def net(n_inputs: int) -> DilatedConvStack:
        return DilatedConvStack(n_inputs, ch, layers_per_stack=5, stacks=4)

    return MidiAutoencoder(
        DilatedConvDecoder(ch, layers_per_stack=9, stacks=2, output_splits=controls, conditioning_keys=()),
        MidiToHarmonicDecoder(net(1), output_splits=(("f0_midi", 1), *controls)),
        HarmonicToMidiEncoder(net(1 + n_controls)) if encoder else None,
        F0LoudnessPreprocessor(None, frame_rate, sample_rate, compute_loudness),
        midi_processor_group(n_samples, sample_rate, reverb_length),
        reconstruction_losses(),
        hop_size=sample_rate // frame_rate,
    )


@dataclass(frozen=True)
class MidiConfig:
    """Settings of `midi_ae`, as a preset holds them.

    Args:
        encoder: Learn the notes; else they are those of a score, or what `pianoroll_of_pitch` reads off the curves.
        ch: Channels of every convolution.
        n_harmonics: Of the harmonic synthesizer.
        n_noise_bands: Of the noise.
        n_samples: Length of a training excerpt; a multiple of sample_rate / frame_rate.
        sample_rate: Hz.
        frame_rate: Hz; divides sample_rate.
        reverb_length: Samples; 0: no reverb.
        compute_loudness: Compute loudness from the audio at each call instead of taking the feature.

    Raises:
        ValueError: A setting is out of range.
    """

    encoder: bool = False
    ch: int = 128
    n_harmonics: int = 60
    n_noise_bands: int = 65
    n_samples: int = 64000
    sample_rate: int = 16000
    frame_rate: int = 250
    reverb_length: int = 24000
    compute_loudness: bool = True

    kind: ClassVar[str] = "midi_autoencoder"
    # As a ModelConfig would say it.
    level: ClassVar[str] = "loudness"
    f0_encoder: ClassVar[str] = "none"
    z_dims: ClassVar[int] = 0

    def __post_init__(self):
        for name, least in {"ch": 1, "n_harmonics": 1, "n_noise_bands": 2, "frame_rate": 1, "reverb_length": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.sample_rate < 1 or self.sample_rate % self.frame_rate:
            raise ValueError(f"frame_rate must divide sample_rate ({self.sample_rate}), got {self.frame_rate}")
        if self.n_samples < 1 or self.n_samples % self.hop_size:
            raise ValueError(f"n_samples must be a multiple of the hop, {self.hop_size} samples, got {self.n_samples}")

    @property
    def hop_size(self) -> int:
        """Samples of audio per frame."""
        return self.sample_rate // self.frame_rate

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, with the kind of model as "model"."""
        return {"model": self.kind, **asdict(self)}
