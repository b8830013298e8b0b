"""A data set on disk: sounds cut into frames, beside the features of every frame, memory-mapped.

    DIR/dataset.json      what was prepared, with which settings and versions; written last, so that a folder is a data
                          set only once it is complete
    DIR/frames/KEY.npy    one recording: float32 [n_frames, hop_size + 3]

Row t of a recording is `audio[t * hop_size : (t + 1) * hop_size]` followed by f0_hz, f0_confidence and loudness_db of
frame t, which stands at sample t * hop_size. A window of whole frames is therefore a slice of rows, and nothing but
that slice is read from the disk.

A part of each recording's end is held out: windows of the "train" part never overlap those of the "valid" part.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from fastddsp.training.files import write_json
from fastddsp.training.labels import UNKNOWN, Labels, Selection

MANIFEST = "dataset.json"
SOUNDS = "frames"
FORMAT = 2
READABLE = (1, FORMAT)  # 1 had no labels
FEATURES = ("f0_hz", "f0_confidence", "loudness_db")
SILENCE_DB = -80.0

Part = Literal["train", "valid", "all"]


@dataclass(frozen=True)
class Settings:
    """How recordings are turned into features.

    Args:
      sample_rate: Hz; a whole multiple of frame_rate.
      frame_rate: frames a second.
      tracker: name of the pitch tracker (see fastddsp.training.pitch).
      fmin: lowest pitch of the instrument in Hz, None for the tracker's limit.
      fmax: highest pitch in Hz.
      f0: "tracker", or "labels": f0 is what is known of the recording.
    """

    sample_rate: int = 16000
    frame_rate: int = 250
    tracker: str = "swift-f0"
    fmin: float | None = None
    fmax: float | None = None
    f0: str = "tracker"

    def __post_init__(self) -> None:
        if self.frame_rate <= 0 or self.sample_rate <= 0 or self.sample_rate % self.frame_rate:
            raise ValueError(
                f"sample_rate must be a whole multiple of frame_rate, got {self.sample_rate} and {self.frame_rate}"
            )
        if self.f0 not in ("tracker", "labels"):
            raise ValueError(f"f0 must be 'tracker' or 'labels', got '{self.f0}'")

    @property
    def hop_size(self) -> int:
        """Samples from one frame to the next."""
        return self.sample_rate // self.frame_rate


@dataclass(frozen=True)
class Sound:
    """One recording: the path it came from, the key of its file, its length, its share of pitched frames, labels."""

    name: str
    key: str
    n_frames: int
    pitched: float
    labels: Labels = UNKNOWN


def pack(audio: np.ndarray, features: dict[str, np.ndarray], hop_size: int) -> np.ndarray:
    """Rows [n_frames, hop_size + 3] of audio [n_samples], padded to whole frames, and features, each [n_frames]."""
    n_frames = -(-len(audio) // hop_size)
    padded = np.zeros(n_frames * hop_size, dtype=np.float32)
    padded[: len(audio)] = audio
    columns = [np.asarray(features[name], dtype=np.float32)[:, None] for name in FEATURES]
    return np.concatenate([padded.reshape(n_frames, hop_size), *columns], axis=1)


def unpack(rows: np.ndarray) -> dict[str, torch.Tensor]:
    """The tensors of rows [n_frames, hop_size + 3]: audio [n_frames * hop_size], and each feature [n_frames, 1]."""
    rows = np.array(rows)  # read from the disk, once
    n_features = len(FEATURES)
    audio = torch.from_numpy(rows[:, :-n_features].reshape(-1).copy())
    return {"audio": audio} | {
        name: torch.from_numpy(rows[:, i - n_features, None].copy()) for i, name in enumerate(FEATURES)
    }


def write_manifest(
    folder: Path, settings: Settings, sounds: list[Sound], skipped: dict[str, str], versions: dict[str, str]
) -> None:
    """Declare `folder` a complete data set of `sounds`."""
    write_json(
        folder / MANIFEST,
        {
            "format": FORMAT,
            "settings": asdict(settings),
            "versions": versions,
            "sounds": [asdict(sound) for sound in sounds],
            "skipped": skipped,
        },
    )


def read_manifest(folder: str | os.PathLike) -> tuple[Settings, list[Sound], dict[str, Any]]:
    """Settings, sounds and the whole of DIR/dataset.json.

    Args:
      folder: the data set's folder.

    Raises:
      FileNotFoundError: the folder holds no complete data set.
      ValueError: it was written in a format that this version does not read.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a complete data set (no {MANIFEST}): run fastddsp prepare")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("format") not in READABLE:
        raise ValueError(
            f"{path} has format {manifest.get('format')}, this version reads {' and '.join(map(str, READABLE))}: "
            f"prepare it again"
        )
    sounds = [Sound(**{**sound, "labels": Labels(**sound.get("labels", {}))}) for sound in manifest["sounds"]]
    return Settings(**manifest["settings"]), sounds, manifest


def sound_path(folder: str | os.PathLike, key: str) -> Path:
    """File of the recording `key`."""
    return Path(folder) / SOUNDS / f"{key}.npy"


def load_features(folder: str | os.PathLike, sound: Sound) -> dict[str, np.ndarray]:
    """The features of a whole recording, each float32 [n_frames]."""
    rows = np.load(sound_path(folder, sound.key), mmap_mode="r")
    return {name: np.array(rows[:, i - len(FEATURES)]) for i, name in enumerate(FEATURES)}


class SoundWindows(Dataset):
    """Windows of the recordings of a data set, each a dictionary of audio [n_samples] and features [n_frames, 1].

    Where recordings have labels, a window has them too, whole numbers []: "instrument" (its place in `instruments`),
    "pitch" and "velocity" of MIDI; -1 for a recording without one.

    Args:
      folder: a data set made by `prepare`.
      window_seconds: length of a window.
      hop_seconds: from the start of one window to the start of the next.
      part: "train", "valid" or "all" of every recording.
      valid_share: share of every recording, at its end, that is "valid".
      select: only recordings with these labels; all if None.
      without: leave recordings with these labels out; none if None.

    A part shorter than one window gives one window, padded with silence at the last frame's pitch. Otherwise a last
    window ends with the part, so that every frame is in some window.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        window_seconds: float = 4.0,
        hop_seconds: float = 1.0,
        part: Part = "all",
        valid_share: float = 0.1,
        select: Selection | None = None,
        without: Selection | None = None,
    ) -> None:
        self.settings, sounds, _ = read_manifest(folder)
        self.window = round(window_seconds * self.settings.frame_rate)
        hop = round(hop_seconds * self.settings.frame_rate)
        if self.window < 1 or hop < 1:
            raise ValueError(
                f"window_seconds and hop_seconds must be at least one frame, got {window_seconds} and {hop_seconds}"
            )
        if not 0 <= valid_share < 1:
            raise ValueError(f"valid_share must be in [0, 1), got {valid_share}")
        self.instruments = sorted({sound.labels.instrument for sound in sounds if sound.labels.instrument is not None})
        self.label_names = _label_names(sounds)
        self.sounds = choose_sounds(sounds, select, without)
        if not self.sounds:
            left_out = f", leaving out {without}" if without else ""
            raise ValueError(f"none of the {len(sounds)} recordings of {folder} has {select or 'any label'}{left_out}")
        self.paths = [sound_path(folder, sound.key) for sound in self.sounds]
        self.windows: list[tuple[int, int, int]] = []
        for i, sound in enumerate(self.sounds):
            begin, end = part_of(sound.n_frames, part, valid_share)
            self.windows += [
                (i, start, min(start + self.window, end)) for start in _starts(begin, end, self.window, hop)
            ]
        if not self.windows:
            raise ValueError(f"the '{part}' part of {folder} is empty: valid_share is {valid_share}")

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        i, start, end = self.windows[index]
        rows = np.load(self.paths[i], mmap_mode="r")[start:end]
        missing = self.window - len(rows)
        if missing:
            silent = np.zeros((missing, rows.shape[1]), dtype=np.float32)
            silent[:, -3], silent[:, -1] = rows[-1, -3], SILENCE_DB
            rows = np.concatenate([rows, silent])
        return unpack(rows) | self._labels(self.sounds[i].labels)

    def _labels(self, labels: Labels) -> dict[str, torch.Tensor]:
        numbers = {
            "instrument": None if labels.instrument is None else self.instruments.index(labels.instrument),
            "pitch": labels.pitch,
            "velocity": labels.velocity,
        }
        unknown = -1
        return {
            name: torch.tensor(unknown if numbers[name] is None else numbers[name], dtype=torch.int64)
            for name in self.label_names
        }


def choose_sounds(sounds: list[Sound], select: Selection | None, without: Selection | None = None) -> list[Sound]:
    """Those of the recordings that have the labels of `select` and not those of `without`, in order."""
    return [
        sound
        for sound in sounds
        if (select is None or select.accepts(sound.labels)) and not (without and without.accepts(sound.labels))
    ]


def _label_names(sounds: list[Sound]) -> tuple[str, ...]:
    """Labels of a window that are numbers, as far as any recording has them."""
    names = ("instrument", "pitch", "velocity")
    return tuple(name for name in names if any(getattr(sound.labels, name) is not None for sound in sounds))


def part_of(n_frames: int, part: Part, valid_share: float) -> tuple[int, int]:
    """First frame, and the one after the last, of a part of a recording of `n_frames` frames."""
    border = n_frames - round(n_frames * valid_share)
    return {"train": (0, border), "valid": (border, n_frames), "all": (0, n_frames)}[part]


def _starts(begin: int, end: int, window: int, hop: int) -> list[int]:
    if end <= begin:
        return []
    last = max(begin, end - window)
    return sorted({*range(begin, last + 1, hop), last})
