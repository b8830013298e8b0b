"""Recordings and what is known of them, out of folders as they are found.

    folder   sound files anywhere below; beside NAME.wav may stand NAME.f0.csv (time_s, f0_hz) and NAME.notes.csv
             (onset_s, offset_s, pitch, velocity), and in a folder recordings.json: {"NAME.wav": {"instrument": ...}},
             with any field of `Labels`
    NSynth   examples.json beside audio/, or folders that hold these (nsynth-train, nsynth-valid, nsynth-test)
    URMP     folders NN_piece_inst_inst with AuSep_*.wav (separated tracks), F0s_*.txt, Notes_*.txt

`find_recordings` tells which is which. Nothing of a recording but its labels is read before it is needed.

Source: Engel et al., Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders, 2017 (NSynth); Li et al.,
Creating a Multitrack Classical Music Performance Dataset for Multimodal Music Analysis, 2019 (URMP).
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from fastddsp.training.extras import needs_extra
from fastddsp.training.labels import UNKNOWN, Labels
from fastddsp.training.score import UNKNOWN_VELOCITY, Note

with needs_extra():
    import soundfile

RECORDINGS, EXAMPLES = "recordings.json", "examples.json"
SPLITS = ("train", "valid", "test")
# Abbreviations of URMP's file names: instrument and family.
URMP_INSTRUMENTS = {
    "vn": ("violin", "string"),
    "va": ("viola", "string"),
    "vc": ("cello", "string"),
    "db": ("contrabass", "string"),
    "fl": ("flute", "flute"),
    "ob": ("oboe", "reed"),
    "cl": ("clarinet", "reed"),
    "sax": ("saxophone", "reed"),
    "bn": ("bassoon", "reed"),
    "tpt": ("trumpet", "brass"),
    "hn": ("french_horn", "brass"),
    "tbn": ("trombone", "brass"),
    "tba": ("tuba", "brass"),
}


@dataclass(frozen=True)
class Recording:
    """A sound file, its labels, and the files that hold its true pitch and its notes, if there are any."""

    path: Path
    labels: Labels = UNKNOWN
    f0: Path | None = None
    notes: Path | None = None


def find_recordings(paths: Iterable[str | os.PathLike | Recording]) -> list[Recording]:
    """Recordings of files and folders; every folder is read in the layout that it has.

    Args:
      paths: sound files, folders, or recordings as they are.

    Returns:
      The recordings, each file once.

    Raises:
      FileNotFoundError: a path does not exist.
      ValueError: there is no sound file at all, or a list of recordings cannot be read.
    """
    found: list[Recording] = []
    for path in paths:
        if isinstance(path, Recording):
            found.append(path)
            continue
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {path}")
        if path.is_file():
            found.append(_with_neighbours(path, _read_json(path.parent / RECORDINGS)))
        elif _nsynth_folders(path):
            found += read_nsynth(path)
        elif next(path.rglob("AuSep_*.wav"), None):
            found += read_urmp(path)
        else:
            found += read_folder(path)
    if not found:
        raise ValueError("no sound files were found in the given folders")
    return list({recording.path: recording for recording in found}.values())


def read_folder(folder: str | os.PathLike) -> list[Recording]:
    """Every sound file below a folder, sorted, with what lies beside it.

    Args:
      folder: searched with all folders in it.

    Raises:
      ValueError: a recordings.json cannot be read.
    """
    formats = soundfile.available_formats().keys() - {"RAW"}  # RAW has no header to tell the rate
    kinds = {f".{kind.lower()}" for kind in formats} | {".aif", ".oga", ".opus"}
    sounds = sorted(file for file in Path(folder).rglob("*") if file.suffix.lower() in kinds and file.is_file())
    lists = {parent: _read_json(parent / RECORDINGS) for parent in dict.fromkeys(file.parent for file in sounds)}
    return [_with_neighbours(file, lists[file.parent]) for file in sounds]


def read_nsynth(folder: str | os.PathLike) -> list[Recording]:
    """Notes of NSynth; the split is the end of the folder's name (nsynth-train).

    Args:
      folder: one that holds examples.json and audio/, or one that holds such folders.

    Raises:
      FileNotFoundError: there is no examples.json.
      ValueError: examples.json cannot be read.
    """
    found = []
    folders = _nsynth_folders(Path(folder))
    if not folders:
        raise FileNotFoundError(f"{folder} is not NSynth: it holds no {EXAMPLES}")
    for part in folders:
        split = part.resolve().name.rpartition("-")[2]
        for name, example in _read_json(part / EXAMPLES).items():
            try:
                labels = Labels(
                    example.get("instrument_name", example["instrument_str"]),
                    example["instrument_family_str"],
                    example["instrument_source_str"],
                    split if split in SPLITS else None,
                    example["pitch"],
                    example["velocity"],
                )
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{part / EXAMPLES}: '{name}' is not described as in NSynth: {error!r}") from error
            found.append(Recording(part / "audio" / f"{name}.wav", labels))
    return found


def read_urmp(folder: str | os.PathLike) -> list[Recording]:
    """The separated tracks of URMP with their annotated pitch and notes.

    Args:
      folder: one piece, or one that holds pieces.
    """
    found = []
    for file in sorted(Path(folder).rglob("AuSep_*.wav")):
        parts = re.fullmatch(r"AuSep_\d+_([a-z]+)_.+", file.stem)
        instrument, family = URMP_INSTRUMENTS.get(parts[1], (parts[1], None)) if parts else (None, None)
        track = file.stem.removeprefix("AuSep_")
        f0, notes = (_beside(file.with_name(f"{kind}_{track}.txt")) for kind in ("F0s", "Notes"))
        found.append(Recording(file, Labels(instrument, family, "acoustic"), f0, notes))
    return found


def read_f0(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """A table of two columns, seconds and Hz, 0 where there is no pitch; commas or blanks between, a header or none.

    Args:
      path: the file.

    Returns:
      times_s, rising, and f0_hz; float64 [n_rows] each.

    Raises:
      ValueError: it is no such table.
    """
    table = _read_table(path, 2)
    times, f0_hz = table[:, 0], table[:, 1]
    if (np.diff(times) <= 0).any() or (f0_hz < 0).any():
        raise ValueError(f"{path} must hold rising times and frequencies of 0 Hz or more")
    return times, f0_hz


def read_notes(path: str | os.PathLike) -> list[Note]:
    """Notes of a recording, either as the table of `fastddsp dataset render` or as URMP writes it.

    Args:
      path: four columns, onset_s, offset_s, pitch (MIDI) and velocity; or three, onset_s, f0 in Hz and length in s,
        of which pitch is the nearest MIDI note, and velocity, which nobody wrote down, UNKNOWN_VELOCITY.

    Raises:
      ValueError: it is no such table.
    """
    if Path(path).suffix == ".csv":
        table = _read_table(path, 4).tolist()
        return [Note(on, off, round(pitch), round(velocity)) for on, off, pitch, velocity in table]
    return [
        Note(on, on + length, round(69.0 + 12.0 * np.log2(f0_hz / 440.0)), UNKNOWN_VELOCITY)
        for on, f0_hz, length in _read_table(path, 3).tolist()
        if f0_hz > 0
    ]


def _read_table(path: str | os.PathLike, n_columns: int) -> np.ndarray:
    lines = Path(path).read_text(encoding="utf-8").replace(",", " ").splitlines()
    if lines and not re.match(r"\s*[-+.\d]", lines[0]):
        lines = lines[1:]
    try:
        return np.array([[float(x) for x in line.split()] for line in lines if line.strip()]).reshape(-1, n_columns)
    except ValueError as error:
        raise ValueError(f"{path} must be a table of {n_columns} columns of numbers: {error}") from error


def _nsynth_folders(folder: Path) -> list[Path]:
    return sorted(file.parent for pattern in (EXAMPLES, f"*/{EXAMPLES}") for file in folder.glob(pattern))


def _read_json(path: Path) -> dict[str, Any]:
    """An object of JSON; empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold an object of JSON, got {type(value).__name__}")
    return value


def _with_neighbours(file: Path, listed: dict[str, Any]) -> Recording:
    """A sound file with what its folder's recordings.json says of it, and with the tables beside it."""
    given, known = listed.get(file.name, {}), {field.name for field in fields(Labels)}
    if not isinstance(given, dict) or not given.keys() <= known:
        raise ValueError(
            f"{file.parent / RECORDINGS} must give of each recording some of {', '.join(sorted(known))}, got {given}"
        )
    f0, notes = _beside(file.with_suffix(".f0.csv")), _beside(file.with_suffix(".notes.csv"))
    return Recording(file, Labels(**given), f0, notes)


def _beside(path: Path) -> Path | None:
    return path if path.is_file() else None
