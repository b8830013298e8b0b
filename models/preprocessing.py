"""Preprocessors: features of a recording -> features at frame rate, in their units and scaled for a network.

    f0_scaled = midi(f0_hz) / 127      ld_scaled = loudness_db / 80 + 1

Features come as [batch, any number of frames] and leave as [batch, frames, 1].
"""

import math

import torch

from fastddsp.autograd import spectral
from fastddsp.autograd.resampling import resample
from fastddsp.autograd.scaling import DB_RANGE, hz_to_midi, midi_to_hz
from fastddsp.models.nn import DictLayer

F0_RANGE = 127.0  # MIDI notes


def at_least_3d(x: torch.Tensor) -> torch.Tensor:
    """Adds a time axis to a number, a batch axis to [frames], a channel axis to [batch, frames]."""
    x = x[None] if x.dim() == 0 else x
    x = x[None] if x.dim() == 1 else x
    return x[..., None] if x.dim() == 2 else x


def scale_db(db: torch.Tensor) -> torch.Tensor:
    """Decibels in [-80, 0] to [0, 1]."""
    return db / DB_RANGE + 1.0


def inv_scale_db(db_scaled: torch.Tensor) -> torch.Tensor:
    """[0, 1] to decibels in [-80, 0]."""
    return (db_scaled - 1.0) * DB_RANGE


def scale_f0_hz(f0_hz: torch.Tensor) -> torch.Tensor:
    """Hz to [0, 1], linear in pitch: MIDI note / 127."""
    return hz_to_midi(f0_hz) / F0_RANGE


def inv_scale_f0_hz(f0_scaled: torch.Tensor) -> torch.Tensor:
    """[0, 1], linear in pitch, to Hz."""
    return midi_to_hz(f0_scaled * F0_RANGE)


class F0Preprocessor(DictLayer):
    """What preprocessors of f0 and a level share: the frames of the model.

    Args:
        time_steps: Frames. None: as many as the audio has at frame_rate, or without audio as f0_hz has.
        frame_rate: Hz.
        sample_rate: Of the audio, in Hz.
    """

    def __init__(self, time_steps: int | None, frame_rate: int, sample_rate: int):
        super().__init__()
        self.time_steps = time_steps
        self.frame_rate = frame_rate
        self.sample_rate = sample_rate

    def resample(
        self, f0_hz: torch.Tensor, level_db: torch.Tensor, audio: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both features at the frames of the model, linear between the given frames (f0 in Hz)."""
        f0_hz, level_db = at_least_3d(f0_hz), at_least_3d(level_db)
        time_steps = self.time_steps
        if time_steps is None and audio is not None:
            time_steps = math.ceil(audio.shape[-1] * self.frame_rate / self.sample_rate)
        time_steps = time_steps or f0_hz.shape[1]
        return resample(f0_hz, time_steps), resample(level_db, time_steps)

    @staticmethod
    def invert_scaling(f0_scaled: torch.Tensor, level_scaled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled f0 and level back to Hz and dB."""
        return inv_scale_f0_hz(f0_scaled), inv_scale_db(level_scaled)


class F0LoudnessPreprocessor(F0Preprocessor):
    """Brings f0 and loudness to the frames of the model, and scales them.

    Args:
        time_steps: Frames. None: as many as the audio has at frame_rate, or without audio as f0_hz has.
        frame_rate: Hz.
        sample_rate: Of the audio, in Hz.
        compute_loudness: Compute loudness from the audio, even if loudness_db is given.
    """

    def __init__(
        self,
        time_steps: int | None = 1000,
        frame_rate: int = 250,
        sample_rate: int = 16000,
        compute_loudness: bool = True,
    ):
        super().__init__(time_steps, frame_rate, sample_rate)
        self.compute_loudness = compute_loudness

    def compute(
        self,
        loudness_db: torch.Tensor | None = None,
        f0_hz: torch.Tensor | None = None,
        audio: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Features at frame rate.

        Args:
            loudness_db: [batch, any frames], or with a channel axis.
            f0_hz: [batch, any frames], or with a channel axis.
            audio: [batch, n_samples].

        Returns:
            "f0_hz", "loudness_db", "f0_scaled", "ld_scaled", each [batch, frames, 1].

        Raises:
            ValueError: A feature is missing.
        """
        if f0_hz is None:
            raise ValueError("f0_hz must be given")
        if self.compute_loudness and audio is not None:
            loudness_db = spectral.compute_loudness(audio, sample_rate=self.sample_rate, frame_rate=self.frame_rate)
        if loudness_db is None:
            raise ValueError("loudness_db, or audio to compute it from, must be given")
        f0_hz, loudness_db = self.resample(f0_hz, loudness_db, audio)
        return {
            "f0_hz": f0_hz,
            "loudness_db": loudness_db,
            "f0_scaled": scale_f0_hz(f0_hz),
            "ld_scaled": scale_db(loudness_db),
        }


class F0PowerPreprocessor(F0Preprocessor):
    """Brings f0 and power to the frames of the model, and scales them.

    Args:
        time_steps: Frames. None: as many as the audio has at frame_rate, or without audio as f0_hz has.
        frame_rate: Hz.
        sample_rate: Of the audio, in Hz.
        frame_size: Samples over which power is averaged.
    """

    def __init__(
        self,
        time_steps: int | None = 1000,
        frame_rate: int = 250,
        sample_rate: int = 16000,
        frame_size: int = 64,
    ):
        super().__init__(time_steps, frame_rate, sample_rate)
        self.frame_size = frame_size

    def compute(
        self,
        f0_hz: torch.Tensor,
        power_db: torch.Tensor | None = None,
        audio: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Features at frame rate; power_db is taken as given, or else computed from the audio.

        Args:
            f0_hz: [batch, any frames], or with a channel axis.
            power_db: [batch, any frames], or with a channel axis.
            audio: [batch, n_samples].

        Returns:
            "f0_hz", "pw_db", "f0_scaled", "pw_scaled", each [batch, frames, 1].

        Raises:
            ValueError: There is neither power_db nor audio.
        """
        if power_db is None:
            if audio is None:
                raise ValueError("power_db, or audio to compute it from, must be given")
            power_db = spectral.compute_power(
                audio, sample_rate=self.sample_rate, frame_rate=self.frame_rate, frame_size=self.frame_size
            )
        f0_hz, pw_db = self.resample(f0_hz, power_db, audio)
        return {"f0_hz": f0_hz, "pw_db": pw_db, "f0_scaled": scale_f0_hz(f0_hz), "pw_scaled": scale_db(pw_db)}
