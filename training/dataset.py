"""A data set on disk: sounds cut into frames, beside the features of every frame, memory-mapped.

    DIR/dataset.json      what was prepared, with which settings and versions; written last, so that a folder is a data
                          set only once it is complete
    DIR/frames/KEY.npy    one recording: float32 [n_frames, hop_size + 3]

Row t of a recording is `audio[t * hop_size : (t + 1) * hop_size]` followed by f0_hz, f0_confidence and loudness_db of
frame t, which stands at sample t * hop_size. A window of whole frames is therefore a slice of rows, and nothing but
that slice is read from the disk.

A part of each recording's end is held out: windows of the "train" part never overlap those of the "valid" part. What
is known of a recording beside its sound, labels and notes, stands in the manifest.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from fastddsp.training.files import write_json
from fastddsp.training.labels import EVERYTHING, UNKNOWN, Labels, Selection
from fastddsp.training.score import UNKNOWN_VELOCITY, Note

MANIFEST = "dataset.json"
SOUNDS = "frames"
FORMAT = 2
READABLE = (1, FORMAT)  # 1 had no labels and no notes
FEATURES = ("f0_hz", "f0_confidence", "loudness_db")
SILENCE_DB = -80.0
NUMBERS = ("instrument", "pitch", "velocity")  # labels that a window holds

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
      rt60: reverberation time in seconds of the room that the recordings were made in: what they hold of it is left
        out of what pitch and loudness are heard in (fastddsp.training.late_reverb); None for dry recordings.
      room_db: energy of that room over that of the direct sound in dB, by which pitch and loudness are heard as much
        earlier as the room delays them; None: as they arrive.
    """

    sample_rate: int = 16000
    frame_rate: int = 250
    tracker: str = "swift-f0"
    fmin: float | None = None
    fmax: float | None = None
    f0: str = "tracker"
    rt60: float | None = None
    room_db: float | None = None

    def __post_init__(self) -> None:
        if self.frame_rate <= 0 or self.sample_rate <= 0 or self.sample_rate % self.frame_rate:
            raise ValueError(
                f"sample_rate must be a whole multiple of frame_rate, got {self.sample_rate} and {self.frame_rate}"
            )
        if self.f0 not in ("tracker", "labels"):
            raise ValueError(f"f0 must be 'tracker' or 'labels', got '{self.f0}'")
        if self.rt60 is not None and not self.rt60 > 0:
            raise ValueError(f"rt60 must be above 0 seconds, or None for dry recordings, got {self.rt60}")
        if self.room_db is not None and self.rt60 is None:
            raise ValueError(f"room_db is of a room whose rt60 must be given too, got {self.room_db} without")

    @property
    def hop_size(self) -> int:
        """Samples from one frame to the next."""
        return self.sample_rate // self.frame_rate


@dataclass(frozen=True)
class Sound:
    """One recording: the path it came from, its file's key, its length, its share of pitched frames, labels, notes."""

    name: str
    key: str
    n_frames: int
    pitched: float
    labels: Labels = UNKNOWN
    notes: tuple[Note, ...] = ()

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Sound":
        """A recording as a manifest writes it."""
        labels, notes = Labels(**fields.get("labels", {})), tuple(Note(*note) for note in fields.get("notes", ()))
        return cls(**{**fields, "labels": labels, "notes": notes})


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
    return Settings(**manifest["settings"]), [Sound.from_dict(sound) for sound in manifest["sounds"]], manifest


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
      folder: a data set made by `prepare`, or several, whose windows follow each other.
      window_seconds: length of a window.
      hop_seconds: from the start of one window to the start of the next.
      part: "train", "valid" or "all" of every recording.
      valid_share: share of every recording, at its end, that is "valid".
      select: only recordings with these labels.
      without: leave out recordings with any of these.
      scores: add the notes, "note_active_velocities" [n_frames, 128]: velocity / 127 while a note is held, else 0. A
        recording of which only one pitch is known is that note throughout.

    A part shorter than one window gives one window, padded with silence at the last frame's pitch. Otherwise a last
    window ends with the part, so that every frame is in some window.
    """

    def __init__(
        self,
        folder: str | os.PathLike | Sequence[str | os.PathLike],
        window_seconds: float = 4.0,
        hop_seconds: float = 1.0,
        part: Part = "all",
        valid_share: float = 0.1,
        select: Selection = EVERYTHING,
        without: Sequence[Selection] = (),
        scores: bool = False,
    ) -> None:
        self.settings, sets = read_sets(folder)
        self.window = round(window_seconds * self.settings.frame_rate)
        hop = round(hop_seconds * self.settings.frame_rate)
        if self.window < 1 or hop < 1:
            raise ValueError(
                f"window_seconds and hop_seconds must be at least one frame, got {window_seconds} and {hop_seconds}"
            )
        if not 0 <= valid_share < 1:
            raise ValueError(f"valid_share must be in [0, 1), got {valid_share}")
        labels = [sound.labels for sounds in sets.values() for sound in sounds]
        self.instruments = sorted({x.instrument for x in labels if x.instrument is not None})
        self.label_names = [name for name in NUMBERS if any(getattr(x, name) is not None for x in labels)]
        self.scores = scores
        self.sounds: list[Sound] = []
        self.paths: list[Path] = []
        self.windows: list[tuple[int, int, int]] = []
        self.set_sizes: list[int] = []  # windows of each folder
        for path, sounds in sets.items():
            before = len(self.windows)
            for sound in choose_sounds(sounds, select, without):
                i, (begin, end) = len(self.sounds), part_of(sound.n_frames, part, valid_share)
                starts = _starts(begin, end, self.window, hop)
                self.windows += [(i, start, min(start + self.window, end)) for start in starts]
                self.sounds.append(sound)
                self.paths.append(sound_path(path, sound.key))
            self.set_sizes.append(len(self.windows) - before)
        if not self.sounds:
            left_out = "".join(f", leaving out {selection}" for selection in without)
            raise ValueError(f"none of the {len(labels)} recordings of {_listed(sets)} has {select}{left_out}")
        if not self.windows:
            raise ValueError(f"the '{part}' part of {_listed(sets)} is empty: valid_share is {valid_share}")

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
        made = unpack(rows) | self._labels(self.sounds[i].labels)
        if self.scores:
            made["note_active_velocities"] = torch.from_numpy(self._score(self.sounds[i], start, end))
        return made

    def _labels(self, labels: Labels) -> dict[str, torch.Tensor]:
        place = None if labels.instrument is None else self.instruments.index(labels.instrument)
        numbers = {"instrument": place, "pitch": labels.pitch, "velocity": labels.velocity}
        unknown = -1
        return {
            name: torch.tensor(unknown if numbers[name] is None else numbers[name], dtype=torch.int64)
            for name in self.label_names
        }

    def _score(self, sound: Sound, start: int, end: int) -> np.ndarray:
        """Velocities / 127 of the notes of frames start to end, [window, 128]."""
        rate = self.settings.frame_rate
        notes = sound.notes
        if not notes and sound.labels.pitch is not None:
            whole = sound.labels.velocity
            notes = (Note(0.0, end / rate, sound.labels.pitch, UNKNOWN_VELOCITY if whole is None else whole),)
        roll = np.zeros((self.window, 128), dtype=np.float32)
        for note in notes:
            first, last = (min(round(time * rate), end) - start for time in (note.onset_s, note.offset_s))
            roll[max(0, first) : max(0, last), note.pitch] = note.velocity / 127
        return roll


def read_sets(
    folder: str | os.PathLike | Sequence[str | os.PathLike],
) -> tuple[Settings, dict[Path, list[Sound]]]:
    """Settings and recordings of one data set or several that go together.

    Args:
      folder: a data set, or several, each named once.

    Returns:
      The settings of the first, and the recordings of each.

    Raises:
      FileNotFoundError: a folder holds no complete data set.
      ValueError: none is named, one twice, or their rates differ.
    """
    folders = [Path(path) for path in ([folder] if isinstance(folder, str | os.PathLike) else folder)]
    if not folders or len(set(folders)) < len(folders):
        raise ValueError(f"folder must name data sets, each once, got {[str(path) for path in folders]}")
    read = {path: read_manifest(path)[:2] for path in folders}
    first = read[folders[0]][0]
    for path, (settings, _) in read.items():
        for name in ("sample_rate", "frame_rate"):
            if getattr(settings, name) != getattr(first, name):
                raise ValueError(
                    f"{name} of {path} is {getattr(settings, name)}, of {folders[0]} {getattr(first, name)}: data sets "
                    f"that are mixed must have the same"
                )
    return first, {path: sounds for path, (_, sounds) in read.items()}


def choose_sounds(sounds: list[Sound], select: Selection, without: Sequence[Selection] = ()) -> list[Sound]:
    """Those of the recordings that have the labels of `select` and of none in `without`, in order."""
    return [
        sound
        for sound in sounds
        if select.accepts(sound.labels) and not any(selection.accepts(sound.labels) for selection in without)
    ]


def _listed(sets: dict[Path, list[Sound]]) -> str:
    return " and ".join(map(str, sets))


def part_of(n_frames: int, part: Part, valid_share: float) -> tuple[int, int]:
    """First frame, and the one after the last, of a part of a recording of `n_frames` frames."""
    border = n_frames - round(n_frames * valid_share)
    return {"train": (0, border), "valid": (border, n_frames), "all": (0, n_frames)}[part]


def _starts(begin: int, end: int, window: int, hop: int) -> list[int]:
    if end <= begin:
        return []
    last = max(begin, end - window)
    return sorted({*range(begin, last + 1, hop), last})
