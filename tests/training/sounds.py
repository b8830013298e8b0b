"""Short sounds with known pitch for the tests of this folder."""

from pathlib import Path

import numpy as np
import soundfile


def tone(f0_hz: float = 440.0, seconds: float = 1.0, sample_rate: int = 16000, n_harmonics: int = 8) -> np.ndarray:
    """A steady tone with harmonics falling as 1/k, peak about 0.4, float32 [n_samples]."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    partials = [
        np.sin(2 * np.pi * k * f0_hz * time) / k for k in range(1, n_harmonics + 1) if k * f0_hz < sample_rate / 2
    ]
    return (0.25 * np.sum(partials, axis=0)).astype(np.float32)


def write_tone(path: Path, f0_hz: float = 440.0, seconds: float = 1.0, sample_rate: int = 16000) -> Path:
    """The tone as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(f0_hz, seconds, sample_rate), sample_rate)
    return path
