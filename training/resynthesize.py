"""Play a recording on a trained instrument: its pitch and loudness, the instrument's sound.

    recording -> f0, loudness -> shifted -> decoder -> controls -> synthesizers -> audio

What was learnt ends at the Nyquist frequency R0/2 of training, whatever the sample rate R of the output:
- harmonics above R0/2 stay silent, since their weights were never heard during training;
- the noise filter keeps its bands in Hz and is 0 above R0/2; its gain is multiplied by sqrt(R / R0), because white
  noise of the same variance is spread over R / R0 times the bandwidth;
- the reverb's impulse response is resampled.
So an output at 48 kHz sounds as bright as training did, but envelopes and vibrato are rendered at the higher rate.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fastddsp.models.autoencoder import Autoencoder
from fastddsp.models.presets import ModelConfig, build
from fastddsp.training.audio import check_writable, read_audio, resample_audio, write_audio
from fastddsp.training.checkpoint import load_checkpoint
from fastddsp.training.dataset import SILENCE_DB, Settings
from fastddsp.training.prepare import extract_features


@dataclass(frozen=True)
class Instrument:
    """A trained model with its settings and those of the features that it was trained on."""

    model: Autoencoder
    config: ModelConfig
    settings: Settings


def load_instrument(run: str | os.PathLike) -> Instrument:
    """The instrument of a run.

    Args:
      run: folder of a run, or a checkpoint file.

    Raises:
      FileNotFoundError: the run has no checkpoint yet.
    """
    checkpoint = load_checkpoint(run)
    config = ModelConfig(**checkpoint["config"])
    model = build(config)
    weights = {name.removeprefix("model."): value for name, value in checkpoint["state_dict"].items()}
    model.load_state_dict(weights)
    return Instrument(model.eval(), config, Settings(**checkpoint["settings"]))


def shift_loudness(loudness_db: np.ndarray, shift_db: float) -> np.ndarray:
    """Loudness moved by `shift_db`, from -80 dB up; frames that are silent stay silent."""
    return np.where(loudness_db <= SILENCE_DB, SILENCE_DB, np.maximum(loudness_db + shift_db, SILENCE_DB))


@torch.inference_mode()
def play(
    instrument: Instrument,
    f0_hz: np.ndarray,
    loudness_db: np.ndarray,
    *,
    n_harmonics: int | None = None,
    sample_rate: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Render pitch and loudness curves.

    Args:
      instrument: what plays.
      f0_hz: pitch in Hz, [n_frames] at the instrument's frame rate.
      loudness_db: loudness in dB, [n_frames].
      n_harmonics: keep only so many of the instrument's harmonics; None for all.
      sample_rate: rate of the output in Hz; None for that of training.
      seed: of the noise.

    Returns:
      Audio, float32 [n_frames / frame_rate * sample_rate].

    Raises:
      ValueError: n_harmonics or sample_rate is out of range.
    """
    config = instrument.config
    if config.z_dims:
        raise ValueError("an instrument with an encoder needs the recording's z, which f0 and loudness do not give")
    rate = config.sample_rate if sample_rate is None else sample_rate
    keep = config.n_harmonics if n_harmonics is None else n_harmonics
    if not 1 <= keep <= config.n_harmonics:
        raise ValueError(
            f"n_harmonics must be 1 to {config.n_harmonics}, got {keep}: the instrument was trained with "
            f"{config.n_harmonics}, and what it never heard cannot be made up"
        )
    if rate < config.frame_rate:
        raise ValueError(f"sample_rate must be at least the frame rate, {config.frame_rate} Hz, got {rate}")
    features = {"f0_hz": _batch(f0_hz), "loudness_db": _batch(loudness_db)}
    encoded = instrument.model.encode(features)
    controls = _controls(instrument, {**encoded, **instrument.model.decoder(encoded)})
    n_samples = round(len(f0_hz) * rate / config.frame_rate)
    return _render(instrument, controls, keep, rate, n_samples, seed)[0].numpy()


def _batch(curve: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(curve, dtype=np.float32))[None, :, None]


def _controls(instrument: Instrument, raw: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Physical controls at the sample rate of training, so that its Nyquist frequency is the one that counts."""
    group = instrument.model.processor_group
    harmonic = group.harmonic.get_controls(raw["amps"], raw["harmonic_distribution"], raw["f0_hz"])
    return {**harmonic, **group.filtered_noise.get_controls(raw["noise_magnitudes"])}


def _render(
    instrument: Instrument, controls: dict[str, torch.Tensor], keep: int, rate: int, n_samples: int, seed: int
) -> torch.Tensor:
    group, trained_rate = instrument.model.processor_group, instrument.config.sample_rate
    distribution = controls["harmonic_distribution"][..., :keep]
    audio = group.harmonic.get_signal(
        controls["amplitudes"], distribution, controls["f0_hz"], n_samples=n_samples, sample_rate=rate
    )
    magnitudes = _bands_at(controls["magnitudes"], trained_rate, rate)
    audio = audio + group.filtered_noise.get_signal(magnitudes, n_samples=n_samples, seed=seed)
    if hasattr(group, "reverb"):
        response = group.reverb.ir.numpy()
        # A discrete convolution sums rate / trained_rate times as many samples: the response shrinks by as much.
        response = resample_audio(response, trained_rate, rate) * np.float32(trained_rate / rate)
        audio = group.reverb.get_signal(audio, torch.from_numpy(response))
    return audio


def _bands_at(magnitudes: torch.Tensor, trained_rate: int, rate: int) -> torch.Tensor:
    """Noise bands [batch, frames, bands] over [0, trained_rate / 2], as bands of the same width over [0, rate / 2]."""
    if rate == trained_rate:
        return magnitudes
    n_trained = magnitudes.shape[-1]
    n_bands = max(2, round((n_trained - 1) * rate / trained_rate) + 1)
    position = torch.linspace(0.0, 0.5 * rate, n_bands) / (0.5 * trained_rate) * (n_trained - 1)
    below = position.long().clamp_max(n_trained - 2)
    share = position - below
    bands = magnitudes[..., below] * (1 - share) + magnitudes[..., below + 1] * share
    return torch.where(position <= n_trained - 1, bands, 0.0) * (rate / trained_rate) ** 0.5


def resynthesize(
    run: str | os.PathLike,
    audio: str | os.PathLike,
    out: str | os.PathLike,
    *,
    pitch_shift: float = 0.0,
    loudness_shift: float = 0.0,
    n_harmonics: int | None = None,
    sample_rate: int | None = None,
    tracker: str | None = None,
    fmin: float | None = None,
    fmax: float | None = None,
    seed: int = 0,
) -> Path:
    """Play a recording on a trained instrument.

    Args:
      run: folder of the run that trained the instrument.
      audio: recording whose tune is played; any format and sample rate.
      out: sound file to write; its suffix names the format.
      pitch_shift: semitones to add to its pitch.
      loudness_shift: decibels to add to its loudness.
      n_harmonics: keep only so many of the instrument's harmonics; all by default.
      sample_rate: rate of the output in Hz; that of training by default, beyond whose Nyquist there is nothing.
      tracker: pitch tracker; by default that of training.
      fmin: lowest pitch of the recording in Hz; the tracker's limit by default.
      fmax: highest pitch of the recording in Hz.
      seed: of the noise.

    Returns:
      The file written.

    Raises:
      FileNotFoundError: the run or the recording does not exist.
      ValueError: the recording cannot be read or holds no pitch, or a setting is out of range.
    """
    check_writable(out)
    instrument = load_instrument(run)
    trained = instrument.settings
    settings = Settings(trained.sample_rate, trained.frame_rate, tracker or trained.tracker, fmin, fmax)
    features = extract_features(read_audio(audio, settings.sample_rate), settings)
    if not features["f0_hz"].any():
        raise ValueError(f"{audio} has no pitched frame, says {settings.tracker}")
    rendered = play(
        instrument,
        features["f0_hz"] * 2.0 ** (pitch_shift / 12.0),
        shift_loudness(features["loudness_db"], loudness_shift),
        n_harmonics=n_harmonics,
        sample_rate=sample_rate,
        seed=seed,
    )
    write_audio(out, rendered, sample_rate or instrument.config.sample_rate)
    return Path(out)
