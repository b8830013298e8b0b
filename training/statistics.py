"""What an instrument's training data sound like: the register, tuning and level of their notes. Kept in the run.

A frame belongs to a note where the sound is both pitched and loud for its recording. With c the confidence in f0, taken
to CREPE's scale, L the level in dB and S the average over 0.16 s around a frame:

    r = S(c^2) (L + 80) / (0.7^2 (mean L + 80))        note: r >= threshold, 1 by default

as in magenta/ddsp, but that S is centred and divides by the frames there are at a recording's ends. Over the frames of
notes of the training part of the data set, m their pitch in MIDI semitones and w = c:

    pitch_mean, pitch_median   of m
    tuning                     arg(sum w exp(2 pi i m)) / 2 pi: semitones that notes stand above the tempered ones at
                               A = 440 Hz, -0.5 to 0.5
    quantiles_db               N_QUANTILES equally spaced quantiles of L, from the minimum to the maximum
    note_floor_db              the level from which a wholly confident frame is a note: 0.7^2 (mean L + 80) - 80, with
                               the mean over all frames of all recordings
    z_mean                     mean of z, for models that have one, each frame weighted by its amplitude 10^(L / 20);
                               over N_Z_WINDOWS windows, with the weights of the checkpoint

L is loudness, or power for a model that reads power.
"""

import os
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from fastddsp.models.presets import AnyConfig, ModelConfig
from fastddsp.training.checkpoint import load_checkpoint
from fastddsp.training.dataset import FEATURES, SILENCE_DB, SoundWindows
from fastddsp.training.extras import needs_extra
from fastddsp.training.instrument import power
from fastddsp.training.metrics import hz_to_semitones
from fastddsp.training.pitch import get_tracker

with needs_extra():
    import lightning.pytorch as pl

__all__ = [
    "KeepStatistics",
    "Statistics",
    "compute_statistics",
    "compute_z_mean",
    "detect_notes",
    "load_statistics",
    "tuning_of",
]

KEY = "statistics"  # in a checkpoint
N_QUANTILES = 1001
NOTE_CONFIDENCE = 0.7
CREPE_THRESHOLD = 0.85
SMOOTHING_SECONDS = 0.16
N_Z_WINDOWS = 32


@dataclass(frozen=True)
class Statistics:
    """Notes of the training data; see the module for each value.

    Args:
      pitch_mean: MIDI semitones.
      pitch_median: MIDI semitones.
      tuning: semitones, -0.5 to 0.5.
      quantiles_db: float64 [N_QUANTILES], rising.
      note_floor_db: dB.
      note_share: share of frames that belong to notes.
      z_mean: float32 [z_dims]; None for a model without z.
    """

    pitch_mean: float
    pitch_median: float
    tuning: float
    quantiles_db: np.ndarray
    note_floor_db: float
    note_share: float
    z_mean: np.ndarray | None = None

    @property
    def octave(self) -> int:
        """The octave of the median note; middle C begins octave 4."""
        return int(self.pitch_median // 12) - 1

    def to_dict(self) -> dict[str, torch.Tensor]:
        """Plain tensors by name, as a checkpoint holds them."""
        return {name: torch.from_numpy(np.array(value)) for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, stored: dict[str, torch.Tensor]) -> "Statistics":
        """What `to_dict` made into tensors."""
        values: dict[str, Any] = {name: x.numpy() if x.dim() else x.item() for name, x in stored.items()}
        return cls(**values)


def detect_notes(
    level_db: np.ndarray, confidence: np.ndarray, frame_rate: float, tracker: str, threshold: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Find the frames of a recording that belong to notes.

    Args:
      level_db: loudness or power in dB, [n_frames].
      confidence: of the pitch, 0 to 1, [n_frames].
      frame_rate: frames a second.
      tracker: whose confidence it is; its own threshold counts as CREPE's 0.85.
      threshold: above 1 finds fewer notes, below 1 more.

    Returns:
      Whether a frame belongs to a note, bool [n_frames], and r, the likeness to one, float64 [n_frames].
    """
    as_crepe = np.interp(confidence, [0.0, get_tracker(tracker).threshold, 1.0], [0.0, CREPE_THRESHOLD, 1.0])
    level = np.asarray(level_db, dtype=np.float64) - SILENCE_DB
    likeness = _smooth(as_crepe**2, max(1, round(SMOOTHING_SECONDS * frame_rate))) * level
    likeness /= NOTE_CONFIDENCE**2 * max(float(level.mean()), 1e-6)
    return likeness >= threshold, likeness


def _smooth(curve: np.ndarray, width: int) -> np.ndarray:
    """Average over `width` frames around each, over those that exist at the ends."""
    total = np.concatenate([[0.0], np.cumsum(curve)])
    frame = np.arange(len(curve))
    first, last = np.maximum(frame - width // 2, 0), np.minimum(frame + width - width // 2, len(curve))
    return (total[last] - total[first]) / (last - first)


def tuning_of(pitch: np.ndarray, weights: np.ndarray) -> float:
    """Semitones that pitches [n], in MIDI semitones, stand above the tempered ones: their weighted circular mean."""
    return float(np.angle(np.sum(weights * np.exp(2j * np.pi * pitch))) / (2.0 * np.pi))


def compute_statistics(windows: SoundWindows, config: AnyConfig) -> Statistics:
    """Statistics of the part of a data set that `windows` cover, but for z.

    Args:
      windows: of the data set; each recording counts once, from its first window to its last.
      config: of the model: what level it reads.

    Raises:
      ValueError: no frame is pitched.
    """
    settings = windows.settings
    threshold = get_tracker(settings.tracker).threshold
    notes: list[np.ndarray] = []  # pitch, level, confidence of the frames of notes, a recording each
    n_frames, level_sum = 0, 0.0
    for index, first, last in _spans(windows):
        rows = np.load(windows.paths[index], mmap_mode="r")[first:last]
        f0_hz, confidence, level = (np.array(rows[:, i - len(FEATURES)], dtype=np.float64) for i in range(3))
        if isinstance(config, ModelConfig) and config.level == "power":
            audio = torch.from_numpy(np.array(rows[:, : -len(FEATURES)]).reshape(-1))
            level = power(audio, config).double().numpy()
        on, _ = detect_notes(level, confidence, settings.frame_rate, settings.tracker)
        on = on & (f0_hz > 0) if on.any() else confidence >= threshold
        notes.append(np.stack([hz_to_semitones(f0_hz[on]), level[on], confidence[on]]))
        n_frames, level_sum = n_frames + len(level), level_sum + float(level.sum())
    pitch, level, confidence = np.concatenate(notes, axis=1)
    if not pitch.size:
        raise ValueError("the data set has no pitched frame, so nothing can be said about its notes")
    return Statistics(
        pitch_mean=float(pitch.mean()),
        pitch_median=float(np.median(pitch)),
        tuning=tuning_of(pitch, confidence),
        quantiles_db=np.quantile(level, np.linspace(0.0, 1.0, N_QUANTILES)),
        note_floor_db=NOTE_CONFIDENCE**2 * (level_sum / n_frames - SILENCE_DB) + SILENCE_DB,
        note_share=pitch.size / n_frames,
    )


def _spans(windows: SoundWindows) -> list[tuple[int, int, int]]:
    """Recording, first frame and end of what the windows cover of each."""
    spans: dict[int, tuple[int, int]] = {}
    for index, first, last in windows.windows:
        begin, end = spans.get(index, (first, last))
        spans[index] = (min(begin, first), max(end, last))
    return [(index, *span) for index, span in spans.items()]


@torch.no_grad()
def compute_z_mean(model: Any, config: AnyConfig, windows: SoundWindows) -> np.ndarray:
    """Mean z of the training data, float32 [z_dims], weighted by amplitude; see the module."""
    chosen = np.linspace(0, len(windows) - 1, min(N_Z_WINDOWS, len(windows))).round().astype(int)
    device = next(model.parameters()).device
    total, weight = np.zeros(config.z_dims), 0.0
    for index in dict.fromkeys(chosen.tolist()):
        features = {name: x[None].to(device) for name, x in windows[index].items()}
        if isinstance(config, ModelConfig) and config.level == "power":
            features["power_db"] = power(features["audio"], config)
        z = model.encode(features)["z"][0].double().cpu().numpy()
        amplitude = 10.0 ** (features["loudness_db"].double().flatten().cpu().numpy() / 20.0)
        total, weight = total + amplitude @ z, weight + float(amplitude.sum())
    return (total / weight).astype(np.float32)


class KeepStatistics(pl.Callback):
    """Computes the statistics when training starts, and puts them into every checkpoint."""

    def __init__(self) -> None:
        self.statistics: Statistics | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Read the training part of the data set once."""
        try:
            self.statistics = compute_statistics(trainer.datamodule.train_windows, pl_module.config)
        except ValueError as error:  # training goes on without
            warnings.warn(f"no statistics are kept for timbre transfer: {error}", stacklevel=2)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Store them, with the mean z of the present weights."""
        if self.statistics is None:
            return
        checkpoint[KEY] = self.statistics.to_dict()
        if pl_module.config.z_dims:
            z_mean = compute_z_mean(pl_module.model, pl_module.config, trainer.datamodule.train_windows)
            checkpoint[KEY]["z_mean"] = torch.from_numpy(z_mean)


def load_statistics(run: str | os.PathLike) -> Statistics | None:
    """The statistics that a run keeps; None if it was written by a version that kept none.

    Args:
      run: folder of a run, or a checkpoint file.

    Raises:
      FileNotFoundError: there is no checkpoint.
    """
    stored = load_checkpoint(run).get(KEY)
    return None if stored is None else Statistics.from_dict(stored)
