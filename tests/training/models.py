"""The smallest instrument and a data set to train it on."""

from pathlib import Path

from fastddsp.models.presets import ModelConfig
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


def two_tones(folder: Path) -> Path:
    """A data set of two tones of a second each, in `folder`/data."""
    files = [write_tone(folder / f"{f0:g}.wav", f0, 1.0) for f0 in (300.0, 400.0)]
    prepare(files, folder / "data", progress=False)
    return folder / "data"
