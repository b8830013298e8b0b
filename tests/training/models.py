"""The smallest instrument, a run that has trained it, and a data set to train it on."""

from dataclasses import asdict, replace
from pathlib import Path

import torch

from fastddsp.models.inverse_synthesis import InverseConfig
from fastddsp.models.midi_autoencoder import MidiConfig
from fastddsp.models.presets import ModelConfig, build
from fastddsp.training.checkpoint import LAST, AtomicCheckpointIO
from fastddsp.training.dataset import Settings
from fastddsp.training.instrument import Instrument
from fastddsp.training.prepare import prepare
from tests.training.sounds import write_tone

SIZES = {
    "n_samples": 3200,
    "n_harmonics": 4,
    "n_noise_bands": 5,
    "reverb_length": 0,
    "rnn_channels": 8,
    "layers_per_stack": 0,
    "fft_sizes": (256, 64),
}
SMALLEST = ModelConfig(**SIZES)
SMALLEST_MIDI = MidiConfig(ch=4, n_harmonics=4, n_noise_bands=5, n_samples=3200, reverb_length=0)
SMALLEST_INVERSE = InverseConfig(n_samples=3072, n_sinusoids=5, n_harmonics=6, n_noise_bands=5, size="tiny")


def instrument(noise: bool = False, **changes) -> Instrument:
    """An untrained instrument; its noise filter is 80 dB down unless `noise`."""
    torch.manual_seed(0)
    config = replace(SMALLEST, compute_loudness=False, **changes)
    model = build(config).eval()
    model.processor_group.filtered_noise.initial_bias = -2.0 if noise else -20.0
    return Instrument(model, config, Settings(config.sample_rate, config.frame_rate))


def save_run(trained: Instrument, run: Path, **more: dict) -> Path:
    """The folder of a run that ended with an instrument; its checkpoint holds `more`, too."""
    checkpoint = {
        "config": trained.config.to_dict(),
        "settings": asdict(trained.settings),
        "state_dict": {f"model.{name}": value for name, value in trained.model.state_dict().items()},
        **more,
    }
    AtomicCheckpointIO().save_checkpoint(checkpoint, run / LAST)
    return run


def two_tones(folder: Path) -> Path:
    """A data set of two tones of a second each, in `folder`/data."""
    files = [write_tone(folder / f"{f0:g}.wav", f0, 1.0) for f0 in (300.0, 400.0)]
    prepare(files, folder / "data", progress=False)
    return folder / "data"
