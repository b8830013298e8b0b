"""A trained instrument: what it reads of a recording, and how it plays that, or curves drawn by hand.

    listen   recording -> f0, level (loudness or power), z
    play     f0, level, z -> decoder -> controls -> synthesizers -> room -> audio

A MIDI autoencoder plays the notes that it makes of f0 and loudness. Inverse synthesis hears controls, and plays these.

What was learnt ends at the Nyquist frequency R0/2 of training, whatever the sample rate R of the output:
- harmonics above R0/2 stay silent, since their weights were never heard during training;
- the noise filter keeps its bands in Hz and is 0 above R0/2; its gain is multiplied by sqrt(R / R0), because white
  noise of the same variance is spread over R / R0 times the bandwidth, and its taps last as long in seconds;
- the reverb's impulse response is resampled.
So an output at 48 kHz sounds as bright as training did, but envelopes and vibrato are rendered at the higher rate.

A recording is rendered as a whole, so noise that glides from frame to frame (`noise_overlap`) has the next frame to
glide to, as in training; there is no player block by block.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from fastddsp.autograd.filters import filtered_noise
from fastddsp.autograd.spectral import compute_power
from fastddsp.models.inverse_synthesis import InverseConfig
from fastddsp.models.midi_autoencoder import MidiConfig
from fastddsp.models.notes import pianoroll_of_pitch
from fastddsp.models.preprocessing import scale_db, scale_f0_hz
from fastddsp.models.presets import POWER_SECONDS, AnyConfig, ModelConfig, build, config_of
from fastddsp.models.synths import Harmonic
from fastddsp.training.audio import resample_response
from fastddsp.training.checkpoint import load_checkpoint
from fastddsp.training.dataset import SILENCE_DB, Settings
from fastddsp.training.pitch import bridge_unpitched
from fastddsp.training.prepare import extract_features, heard_loudness, without_late_reverb

__all__ = [
    "Instrument",
    "controls_of",
    "equalize",
    "level_name",
    "listen",
    "load_instrument",
    "play",
    "power",
    "render",
    "room_response",
    "shift_loudness",
]


LEVELS = {"loudness": "loudness_db", "power": "power_db"}  # names of their curves


@dataclass(frozen=True)
class Instrument:
    """A trained model with its settings and those of the features that it was trained on.

    Args:
      model: an Autoencoder, a MidiAutoencoder or an InverseSynthesis.
      config: the ModelConfig, MidiConfig or InverseConfig of which it was built.
      settings: rates and tracker of the features.
    """

    model: Any
    config: Any
    settings: Settings


def load_instrument(run: str | os.PathLike) -> Instrument:
    """The instrument of a run.

    Args:
      run: folder of a run, or a checkpoint file.

    Raises:
      FileNotFoundError: the run has no checkpoint yet.
    """
    checkpoint = load_checkpoint(run)
    config = config_of(checkpoint["config"])
    # What judged it in training does not play.
    model = build(replace(config, perceptual_weight=0.0) if isinstance(config, ModelConfig) else config)
    weights = {name.removeprefix("model."): value for name, value in checkpoint["state_dict"].items()}
    model.load_state_dict({name: value for name, value in weights.items() if not name.startswith("loss_objs.")})
    return Instrument(model.eval(), config, Settings(**checkpoint["settings"]))


def level_name(instrument: Instrument) -> str | None:
    """The level that an instrument plays: "loudness_db", "power_db" (presets vst_*), or None (inverse synthesis)."""
    return None if isinstance(instrument.config, InverseConfig) else LEVELS[instrument.config.level]


def power(audio: torch.Tensor, config: ModelConfig) -> torch.Tensor:
    """Power in dB over 64 ms around each frame, [..., n_frames], of audio [..., n_samples]."""
    frame_size = round(POWER_SECONDS * config.sample_rate)
    n_frames = -(-audio.shape[-1] // config.hop_size)
    return compute_power(audio, config.sample_rate, config.frame_rate, frame_size)[..., :n_frames]


@torch.inference_mode()
def listen(
    instrument: Instrument,
    audio: np.ndarray,
    *,
    tracker: str | None = None,
    fmin: float | None = None,
    fmax: float | None = None,
) -> dict[str, Any]:
    """What the instrument reads of a recording: `play(instrument, **listen(instrument, audio))` plays it again.

    Args:
      instrument: what listens.
      audio: recording, [n_samples] at instrument.config.sample_rate.
      tracker: pitch tracker; by default that of training. An instrument with an f0 encoder hears pitch by itself.
      fmin: lowest pitch of the recording in Hz; the tracker's limit by default.
      fmax: highest pitch of the recording in Hz.

    Returns:
      Curves by the names of `play`'s arguments, float32: "f0_hz" [n_frames]; "loudness_db" or "power_db" [n_frames],
      whichever it plays; "z" [n_frames, z_dims] if it plays z. n_frames = ceil(n_samples / hop_size). Inverse synthesis
      hears pitch by itself too, and "controls" in place of a level.

    Raises:
      ValueError: there is no pitch in the recording, or the tracker is unknown.
    """
    config, model = instrument.config, instrument.model
    samples = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32))[None]
    if isinstance(config, InverseConfig):
        return _hear_controls(model, torch.nn.functional.pad(samples, (0, -samples.shape[-1] % config.hop_size)))
    features = {"audio": samples}
    settings = replace(instrument.settings, tracker=tracker or instrument.settings.tracker, fmin=fmin, fmax=fmax)
    if config.f0_encoder == "none":
        tracked = extract_features(audio, settings)
        if not tracked["f0_hz"].any():
            raise ValueError(f"the recording has no pitched frame, says {settings.tracker}")
        features |= {name: torch.from_numpy(tracked[name])[None] for name in ("f0_hz", "loudness_db")}
    else:
        heard_db = heard_loudness(without_late_reverb(audio, settings), settings)
        features["loudness_db"] = torch.from_numpy(heard_db)[None]
    level = LEVELS[config.level]
    if level == "power_db":
        features[level] = power(samples, config)
    heard = {level: features[level]}
    if getattr(model, "encoder", None) is not None:
        encoded = model.encode(features)
        features["f0_hz"] = encoded["f0_hz"][..., 0]
        heard |= {"z": encoded["z"]} if config.z_dims else {}
    return {name: x[0].numpy() for name, x in {"f0_hz": features["f0_hz"], **heard}.items()}


def _hear_controls(model: Any, samples: torch.Tensor) -> dict[str, Any]:
    """What inverse synthesis finds in audio [1, n_samples]: f0, and the controls of its harmonics and noise."""
    found = model({"audio": samples})
    names = {"amplitudes": "harm_amp", "harmonic_distribution": "harm_dist", "magnitudes": "noise_magnitudes"}
    controls = {name: found[heard][0].numpy() for name, heard in names.items()}
    return {"f0_hz": found["f0_hz"][0, :, 0].numpy(), "controls": controls}


def shift_loudness(loudness_db: np.ndarray, shift_db: float) -> np.ndarray:
    """Loudness moved by `shift_db`, from -80 dB up; frames that are silent stay silent."""
    return np.where(loudness_db <= SILENCE_DB, SILENCE_DB, np.maximum(loudness_db + shift_db, SILENCE_DB))


@torch.inference_mode()
def play(
    instrument: Instrument,
    f0_hz: np.ndarray,
    loudness_db: np.ndarray | None = None,
    *,
    power_db: np.ndarray | None = None,
    z: np.ndarray | None = None,
    controls: Mapping[str, np.ndarray] | None = None,
    gains_db: np.ndarray | None = None,
    n_harmonics: int | None = None,
    sample_rate: int | None = None,
    room: bool = True,
    seed: int = 0,
) -> np.ndarray:
    """Render curves of pitch and level, and of z where the instrument has one.

    Args:
      instrument: what plays.
      f0_hz: pitch in Hz, [n_frames] at the instrument's frame rate; 0: no pitch there, only noise sounds.
      loudness_db: A-weighted loudness in dB, [n_frames]; for instruments that play loudness, as most do.
      power_db: power in dB, [n_frames]; for instruments that play power (presets vst_*).
      z: what pitch and level do not say, [n_frames, z_dims], or [z_dims] for all frames; for instruments with z.
      controls: linear "amplitudes" [n_frames, 1], "harmonic_distribution" [n_frames, n_harmonics] and "magnitudes"
        [n_frames, n_noise_bands], for inverse synthesis, which hears them.
      gains_db: by which harmonics and noise are louder, [n_frames, 2, n_points], at frequencies evenly spaced from 0
        to the Nyquist frequency of training; such as `fit_gains` finds. None: as the instrument plays.
      n_harmonics: keep only so many of the instrument's harmonics; None for all.
      sample_rate: rate of the output in Hz; None for that of training.
      room: with the room that was learnt, if one was; False: the instrument alone.
      seed: of the noise, and of a room made of noise.

    Returns:
      Audio, float32 [n_frames / frame_rate * sample_rate].

    Raises:
      ValueError: a curve is missing, is of no use to this instrument, or has another length or values that are none;
        n_harmonics or sample_rate is out of range.
    """
    config = instrument.config
    rate = config.sample_rate if sample_rate is None else sample_rate
    keep = config.n_harmonics if n_harmonics is None else n_harmonics
    if not 1 <= keep <= config.n_harmonics:
        raise ValueError(
            f"n_harmonics must be 1 to {config.n_harmonics}, got {keep}: the instrument was trained with "
            f"{config.n_harmonics}, and what it never heard cannot be made up"
        )
    if rate < config.frame_rate:
        raise ValueError(f"sample_rate must be at least the frame rate, {config.frame_rate} Hz, got {rate}")
    made = controls_of(instrument, f0_hz, loudness_db, power_db=power_db, z=z, controls=controls)
    n_frames = made["f0_hz"].shape[1]
    if gains_db is not None:
        made = equalize(made, _gains(gains_db, n_frames), config.sample_rate)
    n_samples = round(n_frames * rate / config.frame_rate)
    return render(instrument, made, n_samples, keep, rate, room=room, seed=seed)[0].numpy()


def controls_of(
    instrument: Instrument,
    f0_hz: np.ndarray,
    loudness_db: np.ndarray | None = None,
    *,
    power_db: np.ndarray | None = None,
    z: np.ndarray | None = None,
    controls: Mapping[str, np.ndarray] | None = None,
) -> dict[str, torch.Tensor]:
    """What an instrument makes of the curves that `play` takes.

    Returns:
      Controls [1, n_frames, channels] of its synthesizers: f0_hz, amplitudes, harmonic_distribution and magnitudes.

    Raises:
      ValueError: a curve is missing, is of no use to this instrument, or has another length or values that are none.
    """
    config = instrument.config
    f0_hz = _curve("f0_hz", f0_hz)
    if not (f0_hz >= 0).all() or not f0_hz.any():
        raise ValueError("f0_hz must be above 0 Hz in some frame, and 0 where there is no pitch; never below")
    level_db = _level(instrument, {"loudness_db": loudness_db, "power_db": power_db}, len(f0_hz))
    latents = _z(config, z, len(f0_hz))
    heard = _heard(config, controls, len(f0_hz))
    # The decoder reads a pitch in every frame, as in training; where there is none, the harmonics are silent.
    pitched = torch.from_numpy(f0_hz > 0)[None, :, None]
    bridged = torch.from_numpy(bridge_unpitched(f0_hz, f0_hz > 0))[None, :, None]
    if heard is not None:
        made = {**heard, "f0_hz": bridged}
    elif isinstance(config, MidiConfig):
        made = _controls_of_notes(instrument, torch.where(pitched, bridged, 0.0), bridged, level_db)
    else:
        made = _controls(instrument, bridged, level_db, latents)
    made["amplitudes"] = torch.where(pitched, made["amplitudes"], 0.0)
    return made


def equalize(controls: Mapping[str, torch.Tensor], gains_db: torch.Tensor, sample_rate: int) -> dict[str, torch.Tensor]:
    """Controls that are louder at some frequencies.

    Args:
      controls: as `controls_of` makes them.
      gains_db: of harmonics and noise, [n_frames, 2, n_points], at frequencies evenly spaced from 0 to Nyquist.
      sample_rate: of training, in Hz.

    Returns:
      Controls in which a harmonic, or a band of noise, is louder by the gain at its frequency, linear in between.
    """
    distribution, magnitudes = controls["harmonic_distribution"], controls["magnitudes"]
    number = torch.arange(1, distribution.shape[-1] + 1)
    bands = torch.linspace(0.0, 1.0, magnitudes.shape[-1]).expand(magnitudes.shape[1:])
    harmonics = distribution * _gains_at(controls["f0_hz"][0] * number / (0.5 * sample_rate), gains_db[:, 0])
    total = harmonics.sum(-1, keepdim=True)
    return {
        **controls,
        "amplitudes": controls["amplitudes"] * total,
        "harmonic_distribution": harmonics / total.clamp(min=1e-7),
        "magnitudes": magnitudes * _gains_at(bands, gains_db[:, 1]),
    }


def _gains_at(frequency: torch.Tensor, gains_db: torch.Tensor) -> torch.Tensor:
    """Factors [n_frames, n] at frequencies over Nyquist [n_frames, n], of gains [n_frames, n_points]."""
    n_points = gains_db.shape[-1]
    place = frequency.clamp(max=1.0) * (n_points - 1)
    below = place.long().clamp(max=max(n_points - 2, 0))
    above = (below + 1).clamp(max=n_points - 1)
    return 10.0 ** (torch.lerp(gains_db.gather(-1, below), gains_db.gather(-1, above), place - below) / 20.0)


def _gains(gains_db: Any, n_frames: int) -> torch.Tensor:
    """Gains as float32 [n_frames, 2, n_points], checked."""
    gains_db = np.ascontiguousarray(gains_db, dtype=np.float32)
    shaped = gains_db.ndim == 3 and gains_db.shape[:2] == (n_frames, 2) and gains_db.size
    if not shaped or not np.isfinite(gains_db).all():
        raise ValueError(f"gains_db must be finite [{n_frames}, 2, n_points], got {list(gains_db.shape)}")
    return torch.from_numpy(gains_db)


def _curve(name: str, curve: Any, n_frames: int | None = None) -> np.ndarray:
    """A curve as float32 [n_frames], checked."""
    curve = np.ascontiguousarray(curve, dtype=np.float32)
    if curve.ndim != 1 or not curve.size or n_frames not in (None, len(curve)):
        raise ValueError(f"{name} must be [{n_frames or 'n_frames'}], got {list(curve.shape)}")
    if not np.isfinite(curve).all():
        raise ValueError(f"{name} must be finite, but {np.count_nonzero(~np.isfinite(curve))} frames are not")
    return curve


def _level(instrument: Instrument, given: Mapping[str, Any], n_frames: int) -> np.ndarray | None:
    """The curve of the level that the instrument plays, checked."""
    name = level_name(instrument)
    got = [other for other, curve in given.items() if curve is not None]
    if name is None and not got:
        return None
    if name is None:
        raise ValueError(f"{got[0]} must not be given: inverse synthesis plays the controls that it hears")
    if got != [name]:
        raise ValueError(f"{name} alone must be given: this instrument plays {instrument.config.level}; got {got}")
    return _curve(name, given[name], n_frames)


def _z(config: AnyConfig, z: np.ndarray | None, n_frames: int) -> torch.Tensor | None:
    """z [1, n_frames, z_dims], checked; None for an instrument that has none."""
    dims = config.z_dims
    if z is None and not dims:
        return None
    if z is None:
        raise ValueError("z must be given: an instrument with an encoder needs it of a recording; see `listen`")
    if not dims:
        raise ValueError("z must not be given: this instrument has none")
    z = np.asarray(z, dtype=np.float32)
    if z.shape not in ((dims,), (n_frames, dims)) or not np.isfinite(z).all():
        raise ValueError(f"z must be finite [{n_frames}, {dims}] or [{dims}], got {list(z.shape)}")
    return torch.from_numpy(np.broadcast_to(z, (n_frames, dims)).copy())[None]


def _heard(config: AnyConfig, controls: Mapping[str, Any] | None, n_frames: int) -> dict[str, torch.Tensor] | None:
    """Controls [1, n_frames, channels], checked; None for an instrument that makes its own."""
    if not isinstance(config, InverseConfig):
        if controls is not None:
            raise ValueError("controls must not be given: this instrument makes its own; see `listen`")
        return None
    sizes = {"amplitudes": 1, "harmonic_distribution": config.n_harmonics, "magnitudes": config.n_noise_bands}
    shapes = {name: list(np.shape(x)) for name, x in (controls or {}).items()}
    if shapes != {name: [n_frames, size] for name, size in sizes.items()}:
        raise ValueError(
            f"controls must be {sizes} channels of {n_frames} frames, as `listen` hears them, got {shapes}"
        )
    return {name: torch.from_numpy(np.array(x, dtype=np.float32))[None] for name, x in (controls or {}).items()}


def _controls(
    instrument: Instrument, f0_hz: torch.Tensor, level_db: Any, z: torch.Tensor | None
) -> dict[str, torch.Tensor]:
    """What an autoencoder makes of curves: controls at the sample rate of training, whose Nyquist frequency counts."""
    level = "pw_scaled" if level_name(instrument) == "power_db" else "ld_scaled"
    scaled = {"f0_scaled": scale_f0_hz(f0_hz), level: scale_db(torch.from_numpy(level_db)[None, :, None])}
    model: Any = instrument.model
    raw = model.decoder(scaled if z is None else {**scaled, "z": z})
    group = model.processor_group
    harmonic = group.harmonic.get_controls(raw["amps"], raw["harmonic_distribution"], f0_hz)
    return {**harmonic, **group.filtered_noise.get_controls(raw["noise_magnitudes"])}


def _controls_of_notes(
    instrument: Instrument, sung: torch.Tensor, f0_hz: torch.Tensor, level_db: Any
) -> dict[str, torch.Tensor]:
    """What a MIDI autoencoder makes of the notes that it makes of curves; `sung` is f0, 0 where there is none."""
    loudness_db = torch.from_numpy(level_db)[None, :, None]
    features = {"f0_hz": f0_hz, "loudness_db": loudness_db}
    if instrument.model.midi_encoder is None:
        roll = pianoroll_of_pitch(sung, loudness_db, instrument.config.frame_rate)
        features["note_active_velocities"] = roll
    made = instrument.model(features)["midi_synth_params"]
    return {**made["harmonic"]["controls"], **made["filtered_noise"]["controls"]}


def render(
    instrument: Instrument,
    controls: Mapping[str, torch.Tensor],
    n_samples: int,
    n_harmonics: int | None = None,
    sample_rate: int | None = None,
    *,
    room: bool = True,
    seed: int = 0,
) -> torch.Tensor:
    """Audio [1, n_samples] of controls; the rest as for `play`. Differentiable in the controls."""
    group, trained_rate = instrument.model.processor_group, instrument.config.sample_rate
    keep, rate = n_harmonics, sample_rate or trained_rate
    distribution = controls["harmonic_distribution"][..., :keep]
    harmonic = group.harmonic if hasattr(group, "harmonic") else Harmonic()
    audio = harmonic.get_signal(
        controls["amplitudes"], distribution, controls["f0_hz"], n_samples=n_samples, sample_rate=rate
    )
    magnitudes = _bands_at(controls["magnitudes"], trained_rate, rate)
    noise = group.filtered_noise
    taps = round(noise.window_size * rate / trained_rate)
    audio = audio + filtered_noise(magnitudes, n_samples, taps, seed=seed, overlap=noise.overlap)
    if room and hasattr(group, "reverb"):
        response = torch.from_numpy(room_response(instrument, rate, seed=seed))
        audio = group.reverb.get_signal(audio, response)
    return audio


@torch.inference_mode()
def room_response(instrument: Instrument, sample_rate: int | None = None, *, seed: int = 0) -> np.ndarray:
    """The impulse response of the room that an instrument has learnt, without the direct sound.

    Args:
      instrument: an instrument with a reverb.
      sample_rate: rate of the response in Hz; None for that of training.
      seed: of the noise that a response of filtered noise is made of.

    Returns:
      Impulse response, float32 [n_samples]. Its first sample is 0: the direct sound,
      which is 1, stands apart. At another rate it is scaled so that convolution gives the same sound.

    Raises:
      ValueError: the instrument has no reverb.
    """
    group, trained_rate = instrument.model.processor_group, instrument.config.sample_rate
    if not hasattr(group, "reverb"):
        raise ValueError("the instrument has no room: it was trained with reverb_length 0")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        response = group.reverb.impulse_response()[0].numpy().copy()
    response[0] = 0.0
    response = resample_response(response, trained_rate, sample_rate or trained_rate)
    response[0] = 0.0
    return response


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
