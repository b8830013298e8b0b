"""Pictures of sound: spectrograms in dB, one above the other, on one scale of time, frequency and level."""

import os
from collections.abc import Mapping

import numpy as np
import torch

from fastddsp.training.extras import needs_extra
from fastddsp.training.files import atomic_path

with needs_extra():
    from matplotlib.figure import Figure

N_FFT = 1024
HOP = 128
RANGE_DB = 80.0


def spectrogram_db(audio: np.ndarray) -> np.ndarray:
    """Level of each bin in dB, [N_FFT / 2 + 1, n_frames], of audio [n_samples]; a full-scale sine gives about 0."""
    samples = torch.as_tensor(np.ascontiguousarray(audio, dtype=np.float32))
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(samples, N_FFT, HOP, window=window, center=True, pad_mode="constant", return_complex=True)
    amplitude = spectrum.abs() * (2.0 / window.sum())
    return (20.0 * torch.log10(amplitude.clamp_min(1e-8))).numpy()


def spectrogram_figure(sounds: Mapping[str, np.ndarray], sample_rate: int) -> Figure:
    """Draw the spectrograms of several sounds.

    Args:
      sounds: audio [n_samples] by title, drawn from top to bottom.
      sample_rate: rate of all of them in Hz.

    Returns:
      A matplotlib figure.
    """
    figure = Figure(figsize=(10, 0.6 + 2.2 * len(sounds)), layout="constrained")
    axes = figure.subplots(len(sounds), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    levels = {title: spectrogram_db(audio) for title, audio in sounds.items()}
    top = max(level.max() for level in levels.values())
    for axis, (title, level) in zip(axes, levels.items(), strict=True):
        extent = (0.0, level.shape[1] * HOP / sample_rate, 0.0, sample_rate / 2000.0)
        image = axis.imshow(
            level, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - RANGE_DB, vmax=top
        )
        axis.set(title=title, ylabel="kHz")
    axes[-1].set_xlabel("seconds")
    figure.colorbar(image, ax=axes, label="dB")
    return figure


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure as PNG, atomically."""
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=110)
