"""MIDI encoders and decoders: curves of pitch and sound <-> pitch and velocity of notes.

    encoder   z_pitch, z_vel = Linear(norm(net(f0, ...))),   z_pitch += f0 if f0_residual
    decoder   f0, ...        = Linear(norm(net(z_pitch, z))), f0 += z_pitch if f0_residual

Pitches are in MIDI notes (69 is A4); all tensors are [batch, frames, channels]. A net is a module from
[batch, frames, channels] (and z, if it is conditioned) to [batch, frames, net.n_outputs], such as a `DilatedConvStack`.

Source: magenta/ddsp `encoders` and `decoders`; Wu et al., MIDI-DDSP, ICLR 2022.
"""

from collections.abc import Sequence
from typing import Any

import torch

from fastddsp.autograd.scaling import midi_to_hz
from fastddsp.models.nn import DictLayer, Normalize, dense, split_to_dict

__all__ = ["HarmonicToMidiEncoder", "MidiDecoder", "MidiEncoder", "MidiToHarmonicDecoder"]

# Loudness of a decoder whose linear layer gives 0, and of one more, in dB.
LOUDNESS_CENTER, LOUDNESS_SCALE = -70.0, 30.0


class _ToMidi(DictLayer):
    """What encoders to MIDI share; see the module."""

    def __init__(self, net: Any, f0_residual: bool = True):
        super().__init__()
        self.net = net
        self.f0_residual = f0_residual
        self.norm = Normalize(net.n_outputs, "layer")
        self.dense_out = dense(net.n_outputs, 2)

    def encode(self, f0_midi: torch.Tensor, *others: torch.Tensor) -> dict[str, torch.Tensor]:
        """Pitch "z_pitch" and velocity "z_vel" [batch, frames, 1], not quantized, of curves side by side."""
        x = self.dense_out(self.norm(self.net(torch.cat([f0_midi, *others], dim=-1))))
        z_pitch, z_vel = x.split(1, dim=-1)
        return {"z_pitch": z_pitch + f0_midi if self.f0_residual else z_pitch, "z_vel": z_vel}


class MidiEncoder(_ToMidi):
    """Pitch and velocity of f0 and loudness.

    Args:
        net: From 2 channels.
        f0_residual: The network gives what is to be added to f0.
    """

    def compute(self, f0_midi: torch.Tensor, loudness: torch.Tensor) -> dict[str, torch.Tensor]:
        """Pitch "z_pitch" and velocity "z_vel" of f0_midi (notes) and loudness (dB), all [batch, frames, 1]."""
        return self.encode(f0_midi, loudness)


class HarmonicToMidiEncoder(_ToMidi):
    """Pitch and velocity of the controls of a harmonic and a noise synthesizer.

    Args:
        net: From 2 + n_harmonics + n_noise_bands channels.
        f0_residual: The network gives what is to be added to f0.
    """

    def compute(
        self, f0_midi: torch.Tensor, amps: torch.Tensor, hd: torch.Tensor, noise: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Pitch and velocity.

        Args:
            f0_midi: Notes, [batch, frames, 1].
            amps: Amplitude in dB, [batch, frames, 1].
            hd: Harmonic distribution, [batch, frames, n_harmonics].
            noise: Noise magnitudes in dB, [batch, frames, n_noise_bands].

        Returns:
            "z_pitch" and "z_vel", [batch, frames, 1], not quantized.
        """
        return self.encode(f0_midi, amps, hd, noise)


class _FromMidi(DictLayer):
    """What decoders of MIDI share; see the module."""

    def __init__(self, net: Any, n_out: int, f0_residual: bool, norm: bool, velocity: bool):
        super().__init__()
        self.net = net
        self.f0_residual = f0_residual
        self.velocity = velocity
        self.norm = Normalize(net.n_outputs, "layer") if norm else None
        self.dense_out = dense(net.n_outputs, n_out)

    def decode(self, z_pitch: torch.Tensor, z_vel: torch.Tensor | None, z: torch.Tensor | None) -> torch.Tensor:
        """Channels [batch, frames, n_out] of notes.

        Raises:
            ValueError: The decoder reads velocities and there are none.
        """
        x = z_pitch
        if self.velocity:
            if z_vel is None:
                raise ValueError("z_vel must be given to a decoder with velocity=True")
            x = torch.cat([z_pitch, z_vel], dim=-1)
        x = self.net(x) if z is None else self.net(x, z)
        return self.dense_out(x if self.norm is None else self.norm(x))


class MidiDecoder(_FromMidi):
    """f0 and loudness of notes.

    Args:
        net: From 1 channel, or 2 with velocity.
        f0_residual: The network gives what is to be added to the pitch.
        center_loudness: What the network gives counts from -70 dB in steps of 30 dB.
        norm: Normalize what the network gives.
        velocity: Read velocities too; magenta/ddsp does not.
    """

    def __init__(
        self,
        net: Any,
        f0_residual: bool = True,
        center_loudness: bool = True,
        norm: bool = True,
        velocity: bool = False,
    ):
        super().__init__(net, 2, f0_residual, norm, velocity)
        self.center_loudness = center_loudness

    def compute(
        self, z_pitch: torch.Tensor, z_vel: torch.Tensor | None = None, z: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Curves of notes.

        Args:
            z_pitch: Notes, [batch, frames, 1].
            z_vel: Velocities, [batch, frames, 1]; only read with velocity.
            z: Conditioning of the network, [batch, frames, channels].

        Returns:
            "f0_midi" (notes) and "loudness" (dB), each [batch, frames, 1].
        """
        f0_midi, loudness = self.decode(z_pitch, z_vel, z).split(1, dim=-1)
        if self.center_loudness:
            loudness = loudness * LOUDNESS_SCALE + LOUDNESS_CENTER
        return {"f0_midi": f0_midi + z_pitch if self.f0_residual else f0_midi, "loudness": loudness}


class MidiToHarmonicDecoder(_FromMidi):
    """Raw controls of a harmonic and a noise synthesizer, of notes.

    Args:
        net: From 1 channel, or 2 with velocity.
        f0_residual: The network gives what is to be added to the pitch.
        norm: Normalize what the network gives.
        output_splits: Pairs (name, channels) of the outputs; "f0_midi" must be one of them.
        midi_zero_silence: Note 0 becomes 0 Hz.
        velocity: Read velocities too; magenta/ddsp does not.
    """

    def __init__(
        self,
        net: Any,
        f0_residual: bool = True,
        norm: bool = True,
        output_splits: Sequence[tuple[str, int]] = (
            ("f0_midi", 1),
            ("amplitudes", 1),
            ("harmonic_distribution", 60),
            ("magnitudes", 65),
        ),
        midi_zero_silence: bool = True,
        velocity: bool = False,
    ):
        self.output_splits = tuple((name, channels) for name, channels in output_splits)
        super().__init__(net, sum(channels for _, channels in self.output_splits), f0_residual, norm, velocity)
        self.midi_zero_silence = midi_zero_silence

    def compute(
        self, z_pitch: torch.Tensor, z_vel: torch.Tensor | None = None, z: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Controls of notes.

        Args:
            z_pitch: Notes, [batch, frames, 1].
            z_vel: Velocities, [batch, frames, 1]; only read with velocity.
            z: Conditioning of the network, [batch, frames, channels].

        Returns:
            [batch, frames, channels] by the names of output_splits, and "f0_hz".
        """
        outputs = split_to_dict(self.decode(z_pitch, z_vel, z), self.output_splits)
        if self.f0_residual:
            outputs["f0_midi"] = outputs["f0_midi"] + z_pitch
        return {**outputs, "f0_hz": midi_to_hz(outputs["f0_midi"], midi_zero_silence=self.midi_zero_silence)}
