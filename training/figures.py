"""Pictures of sound: spectrograms in dB, one above the other, on one scale of time, frequency and level; curves below.

A spectrum of N_FFT samples is taken every HOP samples; f0 is drawn where its tracker is confident.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

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
    _draw_spectrograms(figure, axes, sounds, sample_rate)
    axes[-1].set_xlabel("seconds")
    return figure


def _draw_spectrograms(figure: Figure, axes: Any, sounds: Mapping[str, np.ndarray], sample_rate: int) -> None:
    levels = {title: spectrogram_db(audio) for title, audio in sounds.items()}
    top = max(level.max() for level in levels.values())
    for axis, (title, level) in zip(axes, levels.items(), strict=True):
        extent = (0.0, level.shape[1] * HOP / sample_rate, 0.0, sample_rate / 2000.0)
        image = axis.imshow(
            level, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - RANGE_DB, vmax=top
        )
        axis.set(title=title, ylabel="kHz")
    figure.colorbar(image, ax=axes, label="dB")


def comparison_figure(
    sides: Mapping[str, Mapping[str, np.ndarray]], sample_rate: int, frame_rate: int, threshold: float
) -> Figure:
    """Draw the spectrograms of several sounds, and their f0 and loudness on top of each other.

    Args:
      sides: by title, audio [n_samples], and f0_hz, f0_confidence and loudness_db [n_frames].
      sample_rate: rate of the audio in Hz.
      frame_rate: frames a second.
      threshold: confidence from which f0 is drawn.

    Returns:
      A matplotlib figure.
    """
    figure = Figure(figsize=(10, 4.6 + 2.2 * len(sides)), layout="constrained")
    axes = figure.subplots(len(sides) + 2, 1, sharex=True)
    _draw_spectrograms(figure, axes[:-2], {title: side["audio"] for title, side in sides.items()}, sample_rate)
    for title, side in sides.items():
        seconds = np.arange(len(side["f0_hz"])) / frame_rate
        sure = side["f0_confidence"] >= threshold
        pitch = 69.0 + 12.0 * np.log2(np.where(sure, side["f0_hz"], np.nan) / 440.0)
        axes[-2].plot(seconds, pitch, linewidth=1.0, label=title)
        axes[-1].plot(seconds, side["loudness_db"], linewidth=1.0, label=title)
    axes[-2].set(ylabel="MIDI pitch")
    axes[-1].set(ylabel="loudness in dB", xlabel="seconds")
    axes[-1].legend(loc="best")
    return figure


def distribution_figure(columns: Mapping[str, Sequence[float]]) -> Figure:
    """Draw how several measurements spread: a histogram for each, with its median.

    Args:
      columns: values by name; those that are not finite are left out.

    Returns:
      A matplotlib figure.
    """
    n_columns = 3
    n_rows = -(-len(columns) // n_columns)
    figure = Figure(figsize=(4.0 * n_columns, 2.4 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False).flatten()
    for axis, (name, values) in zip(axes, columns.items(), strict=False):
        known = np.array([value for value in values if np.isfinite(value)])
        axis.set_title(name, fontsize="medium")
        if known.size:
            axis.hist(known, bins=min(30, max(5, known.size // 2)), color="tab:blue")
            axis.axvline(float(np.median(known)), color="black", linewidth=1.0)
    for axis in axes[len(columns) :]:
        axis.axis("off")
    axes[0].set_ylabel("recordings")
    return figure


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure as PNG, atomically."""
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=110)
