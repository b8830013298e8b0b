"""Preprocessors: features of a recording -> features at frame rate, in their units and scaled for a network.

    f0_scaled = midi(f0_hz) / 127      ld_scaled = loudness_db / 80 + 1

Features come as [batch, any number of frames] and leave as [batch, frames, 1].
"""

import math

import torch

from fastddsp.autograd import spectral
from fastddsp.autograd.resampling import resample
from fastddsp.autograd.scaling import DB_RANGE, hz_to_midi, midi_to_hz
from fastddsp.models.crepe import SAMPLE_RATE as CREPE_SAMPLE_RATE
from fastddsp.models.crepe_pitch import PretrainedCREPE
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
    """What preprocessors share: the frames of the model.

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
        time_steps = self.n_frames(audio) or f0_hz.shape[1]
        return resample(f0_hz, time_steps), resample(level_db, time_steps)

    def n_frames(self, audio: torch.Tensor | None) -> int | None:
        """time_steps, or the frames of the audio; None if there is neither."""
        if self.time_steps is None and audio is not None:
            return math.ceil(audio.shape[-1] * self.frame_rate / self.sample_rate)
        return self.time_steps


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

    @staticmethod
    def invert_scaling(f0_scaled: torch.Tensor, ld_scaled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled f0 and loudness back to Hz and dB."""
        return inv_scale_f0_hz(f0_scaled), inv_scale_db(ld_scaled)


class LoudnessPreprocessor(F0Preprocessor):
    """Brings loudness to the frames of the model, and scales it: for models that hear f0 in the audio.

    Args:
        time_steps: Frames. None: as many as the audio has at frame_rate.
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

    def compute(self, audio: torch.Tensor, loudness_db: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Loudness at frame rate.

        Args:
            audio: [batch, n_samples].
            loudness_db: [batch, any frames], or with a channel axis.

        Returns:
            "loudness_db" and "ld_scaled", each [batch, frames, 1].
        """
        if self.compute_loudness or loudness_db is None:
            loudness_db = spectral.compute_loudness(audio, sample_rate=self.sample_rate, frame_rate=self.frame_rate)
        loudness_db = at_least_3d(loudness_db)
        loudness_db = resample(loudness_db, self.n_frames(audio) or loudness_db.shape[1])
        return {"loudness_db": loudness_db, "ld_scaled": scale_db(loudness_db)}


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

    @staticmethod
    def invert_scaling(f0_scaled: torch.Tensor, pw_scaled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled f0 and power back to Hz and dB."""
        return inv_scale_f0_hz(f0_scaled), inv_scale_db(pw_scaled)


class OnlineF0PowerPreprocessor(DictLayer):
    """Computes f0, by CREPE, and power from audio at 16 kHz, frame by frame without interpolation, and scales them.

    Args:
        frame_rate: Hz.
        frame_size: Samples over which power is averaged.
        padding: "center", "same" or "valid", see `spectral_ops.pad`.
        compute_power: Compute power from the audio, even if pw_db is given.
        compute_f0: Compute f0 and its confidence from the audio, even if they are given.
        crepe_saved_model_path: "tiny" or "full", or the path of a file of weights; only needed for compute_f0.
        viterbi: Smooth the pitch over time, see `spectral_ops.PretrainedCREPE`.

    Raises:
        ImportError: The weights are needed and not installed.
    """

    def __init__(
        self,
        frame_rate: int = 250,
        frame_size: int = 1024,
        padding: str = "center",
        compute_power: bool = True,
        compute_f0: bool = True,
        crepe_saved_model_path: str | None = "full",
        viterbi: bool = False,
    ):
        super().__init__()
        self.sample_rate = CREPE_SAMPLE_RATE
        self.frame_rate = frame_rate
        self.frame_size = frame_size
        self.hop_size = self.sample_rate // frame_rate
        self.padding = padding
        self.compute_power = compute_power
        self.compute_f0 = compute_f0
        self.viterbi = viterbi
        if compute_f0:
            if crepe_saved_model_path is None:
                raise ValueError("crepe_saved_model_path must be given with compute_f0")
            self.crepe_model = PretrainedCREPE(crepe_saved_model_path, self.hop_size)

    def compute(
        self,
        audio: torch.Tensor,
        f0_hz: torch.Tensor | None = None,
        f0_confidence: torch.Tensor | None = None,
        audio_16k: torch.Tensor | None = None,
        pw_db: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Features at frame rate.

        Args:
            audio: [batch, n_samples] at 16 kHz.
            f0_hz: Hz, [batch, frames]; needed unless it is computed, as is f0_confidence.
            f0_confidence: 0 to 1, [batch, frames].
            audio_16k: Taken in place of audio, which may then have any rate.
            pw_db: [batch, frames]; needed unless it is computed.

        Returns:
            "f0_hz", "pw_db", "f0_scaled", "pw_scaled", each [batch, frames, 1], and "f0_confidence" [batch, frames].

        Raises:
            ValueError: A feature is missing, or has not the frames of the audio.
        """
        audio = audio if audio_16k is None else audio_16k
        if self.compute_power:
            pw_db = spectral.compute_power(
                audio, self.sample_rate, self.frame_rate, self.frame_size, padding=self.padding
            )
        if self.compute_f0:
            with torch.no_grad():
                f0_hz, f0_confidence = self.crepe_model.predict_f0_and_confidence(audio, self.viterbi, self.padding)
        if f0_hz is None or f0_confidence is None or pw_db is None:
            raise ValueError("f0_hz, f0_confidence and pw_db must be given where they are not computed")
        time_steps, _ = spectral.get_framed_lengths(audio.shape[1], self.frame_size, self.hop_size, self.padding)
        for name, feature in {"f0_hz": f0_hz, "f0_confidence": f0_confidence, "pw_db": pw_db}.items():
            if feature.shape[1] != time_steps:
                raise ValueError(
                    f"{name} must have {time_steps} frames, as {audio.shape[1]} samples of audio have at frame_rate "
                    f"{self.frame_rate} and padding {self.padding!r}, got {feature.shape[1]}"
                )
        f0_hz, pw_db = at_least_3d(f0_hz), at_least_3d(pw_db)
        return {
            "f0_hz": f0_hz,
            "pw_db": pw_db,
            "f0_scaled": scale_f0_hz(f0_hz),
            "pw_scaled": scale_db(pw_db),
            "f0_confidence": f0_confidence,
        }
