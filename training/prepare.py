"""Recordings -> data set: read, mono, sample rate, f0, loudness.

Every recording is one task, and tasks run side by side on threads (decoding, resampling, the pitch network and the FFT
all release the interpreter's lock). A finished recording is stored under a key made of its contents and the settings,
so a second run finds it and goes on from there; `dataset.json` is written when all are done.
"""

import hashlib
import importlib.metadata
import json
import math
import os
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d

from fastddsp.autograd.spectral import compute_loudness
from fastddsp.training.audio import read_audio
from fastddsp.training.curves import pitch_at_frames
from fastddsp.training.dataset import (
    FORMAT,
    MANIFEST,
    SOUNDS,
    Settings,
    Sound,
    pack,
    read_manifest,
    sound_path,
    write_manifest,
)
from fastddsp.training.extras import needs_extra
from fastddsp.training.files import PARTIAL, atomic_path
from fastddsp.training.labels import EVERYTHING, Selection
from fastddsp.training.late_reverb import delay_of_early_sound, suppress_late_reverb
from fastddsp.training.pitch import bridge_unpitched, get_tracker, track_pitch
from fastddsp.training.readers import Recording, find_recordings, read_f0, read_notes

with needs_extra():
    from tqdm import tqdm

# Below this peak (-60 dBFS) a recording is taken for silence: nothing in it could be learnt.
SILENT_PEAK = 1e-3
SPECTRUM_SIZE = 512  # of loudness, in samples, as in magenta/ddsp
STEADY_SECONDS = 0.1  # in a room, where many delayed sounds add up, a note's loudness fluctuates faster than a player's
PITCH_DELAY = 2 / 3  # of what a room delays loudness by, pitch is heard later still: measured, docs/dereverberation.md
KEY_LENGTH = 24


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did: the recordings, how many of them were found stored, and the skipped files with reasons."""

    sounds: list[Sound]
    n_cached: int
    skipped: dict[str, str]


def extract_features(audio: np.ndarray, settings: Settings) -> dict[str, np.ndarray]:
    """Pitch and loudness of a recording.

    Args:
      audio: mono, [n_samples] at settings.sample_rate.
      settings: rates and tracker.

    Returns:
      f0_hz, f0_confidence and loudness_db, each float32 [n_frames], n_frames = ceil(n_samples / hop_size).
    """
    heard = without_late_reverb(audio, settings)
    f0_hz, confidence = track_pitch(
        heard,
        settings.sample_rate,
        settings.frame_rate,
        tracker=settings.tracker,
        fmin=settings.fmin,
        fmax=settings.fmax,
    )
    if settings.rt60 is not None and settings.room_db is not None:
        delay = PITCH_DELAY * delay_of_early_sound(settings.rt60, settings.room_db)
        n_late = round(delay * settings.frame_rate)
        f0_hz, confidence = (np.pad(curve, (0, n_late), mode="edge")[n_late:] for curve in (f0_hz, confidence))
    return {"f0_hz": f0_hz, "f0_confidence": confidence, "loudness_db": heard_loudness(heard, settings)}


def without_late_reverb(audio: np.ndarray, settings: Settings) -> np.ndarray:
    """What features are heard in: a recording [n_samples].

    If settings.rt60 is given, without late reverberation; with settings.room_db, earlier by what the room delays it.
    """
    if settings.rt60 is None:
        return audio
    early = suppress_late_reverb(audio, settings.sample_rate, settings.rt60)
    if settings.room_db is None:
        return early
    delay = round(delay_of_early_sound(settings.rt60, settings.room_db) * settings.sample_rate)
    return np.pad(early, (0, delay))[delay:]


def heard_loudness(heard: np.ndarray, settings: Settings) -> np.ndarray:
    """Loudness in dB, float32 [n_frames], of what `without_late_reverb` returned; averaged over 0.1 s in a room."""
    loudness_db = loudness(heard, settings)
    if settings.rt60 is None:
        return loudness_db
    return uniform_filter1d(loudness_db, round(STEADY_SECONDS * settings.frame_rate) // 2 * 2 + 1, mode="nearest")


@torch.inference_mode()
def loudness(audio: np.ndarray, settings: Settings) -> np.ndarray:
    """A-weighted loudness in dB, float32 [ceil(n_samples / hop_size)], frame t centred on sample t * hop_size.

    Spectra of 512 samples, of more only where a hop is longer, as at 32 kHz and 50 frames a second. Noise has
    more power in bins of longer spectra; that is taken off, so that loudness means the same at any rate.
    """
    n_frames = -(-len(audio) // settings.hop_size)
    n_fft = max(SPECTRUM_SIZE, 1 << (settings.hop_size - 1).bit_length())
    loudness_db = compute_loudness(
        torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32)),
        settings.sample_rate,
        settings.frame_rate,
        n_fft,
        ref_db=10.0 * math.log10(n_fft / SPECTRUM_SIZE),
    )
    return loudness_db.numpy()[:n_frames]


def label_f0(recording: Recording, n_frames: int, frame_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """What is known of a recording's pitch: its f0 curve, else the nominal f0 of its one note.

    Args:
      recording: with a file of f0, or a pitch among its labels.
      n_frames: frames wanted.
      frame_rate: frames a second.

    Returns:
      f0_hz, bridged where the curve has no pitch, and confidence, 1 where it has one and 0 elsewhere (1 throughout for
      a single note); both float32 [n_frames].

    Raises:
      ValueError: nothing is known, or the file cannot be read.
    """
    if recording.f0 is None:
        if recording.labels.pitch is None:
            raise ValueError(f"{recording.path} has no f0 among its labels: use f0='tracker'")
        nominal = 440.0 * 2.0 ** ((recording.labels.pitch - 69) / 12)
        return np.full(n_frames, nominal, np.float32), np.ones(n_frames, np.float32)
    times, f0_hz = read_f0(recording.f0)
    if not f0_hz.any():
        raise ValueError(f"{recording.f0} has no pitched frame")
    curve = pitch_at_frames(times, f0_hz, n_frames, frame_rate)
    return bridge_unpitched(curve, curve > 0), (curve > 0).astype(np.float32)


def prepare(
    paths: Sequence[str | os.PathLike | Recording],
    out: str | os.PathLike,
    *,
    sample_rate: int = 16000,
    frame_rate: int = 250,
    f0: str = "tracker",
    tracker: str = "swift-f0",
    fmin: float | None = None,
    fmax: float | None = None,
    rt60: float | None = None,
    room_db: float | None = None,
    select: Selection = EVERYTHING,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Prepared:
    """Make a data set for training out of sound files.

    A file that cannot be read, is silent, or holds no pitched frame is reported and left out. Calling again with the
    same `out` adds what is new, drops what is no longer listed, and computes nothing twice.

    Args:
      paths: sound files, and folders of them, of NSynth or of URMP (see fastddsp.training.readers).
      out: folder of the data set.
      sample_rate: rate of the data set in Hz.
      frame_rate: frames of features a second; must divide sample_rate.
      f0: "tracker", or "labels": take f0 from what is known of the recordings, and skip those of which nothing is.
      tracker: pitch tracker: swift-f0, crepe or crepe-tiny.
      fmin: lowest pitch of the instrument in Hz. Guides the tracker away from octave errors.
      fmax: highest pitch of the instrument in Hz.
      rt60: reverberation time in seconds of the recordings' room, for learning to play without it; pitch and loudness
        are then heard without what the room holds (see fastddsp.training.late_reverb, which can estimate it).
      room_db: energy of that room over that of the direct sound in dB: 20 log10 (distance / critical distance), as the
        model's reverb_db. Pitch and loudness are then heard as much earlier as the room delays them.
      select: use only recordings with these labels.
      workers: files worked on at once; all CPU cores if None.
      overwrite: replace a data set in `out` that has other settings.
      progress: show a progress bar.

    Returns:
      The recordings, how many were cached, and what was skipped and why.

    Raises:
      FileNotFoundError: a path does not exist.
      FileExistsError: `out` holds a data set with other settings, or other files.
      ValueError: a setting is out of range, or no file could be used.
    """
    settings = Settings(sample_rate, frame_rate, tracker, fmin, fmax, f0, rt60, room_db)
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    package = get_tracker(tracker).package
    found = find_recordings(paths)
    recordings = [recording for recording in found if select.accepts(recording.labels)]
    if not recordings:
        raise ValueError(f"none of the {len(found)} recordings has {select}")
    out = Path(out)
    _check_out(out, settings, overwrite)
    versions = _versions("fastddsp", "numpy", "torch", "soundfile", "soxr", package)

    results: dict[Recording, tuple[Sound, bool]] = {}
    skipped: dict[str, str] = {}
    with ThreadPoolExecutor(workers or _cpu_count()) as pool:
        tasks = {pool.submit(_prepare_one, recording, out, settings, versions): recording for recording in recordings}
        bar = tqdm(as_completed(tasks), total=len(tasks), unit="file", disable=not progress)
        try:
            for task in bar:
                try:
                    results[tasks[task]] = task.result()
                except ValueError as error:
                    skipped[str(tasks[task].path)] = str(error)
                    bar.write(f"skipped: {error}", file=sys.stderr)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise

    if not results:
        last = next(reversed(skipped.values()))
        raise ValueError(f"none of the {len(recordings)} files could be used; the last: {last}")
    used = [results[recording] for recording in recordings if recording in results]
    sounds = list({(sound.key, sound.labels): sound for sound, _ in used}.values())
    write_manifest(out, settings, sounds, skipped, versions)
    _prune(out, {sound.key for sound in sounds})
    return Prepared(sounds, sum(cached for _, cached in used), skipped)


def _prepare_one(recording: Recording, out: Path, settings: Settings, versions: dict[str, str]) -> tuple[Sound, bool]:
    """Store one recording, or find it stored; True if it was."""
    labelled = settings.f0 == "labels"
    pitch = recording.labels.pitch if labelled and recording.f0 is None else None
    # Without those of a room where they are None: data sets made before there were such settings stay as they are.
    of_room = ("rt60", "room_db")
    known = {name: value for name, value in asdict(settings).items() if name not in of_room or value is not None}
    digest = hashlib.sha256(json.dumps([FORMAT, known, versions, pitch], sort_keys=True).encode())
    for file in (recording.path, recording.f0 if labelled else None):
        if file is not None:
            try:
                digest.update(file.read_bytes())
            except OSError as error:
                raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    key = digest.hexdigest()[:KEY_LENGTH]
    path = sound_path(out, key)
    cached = path.is_file()
    if not cached:
        rows = _rows_of(recording, settings)
        with atomic_path(path) as partial:
            np.save(partial, rows)
    confidence = np.load(path, mmap_mode="r")[:, -2]
    threshold = 0.5 if labelled else get_tracker(settings.tracker).threshold
    pitched = float(np.mean(confidence >= threshold))
    notes = () if recording.notes is None else tuple(read_notes(recording.notes))
    return Sound(str(recording.path), key, len(confidence), round(pitched, 4), recording.labels, notes), cached


def _rows_of(recording: Recording, settings: Settings) -> np.ndarray:
    audio = read_audio(recording.path, settings.sample_rate)
    if np.abs(audio).max() < SILENT_PEAK:
        raise ValueError(f"{recording.path} is silent: its peak is below {20 * np.log10(SILENT_PEAK):.0f} dBFS")
    if settings.f0 == "labels":
        loudness_db = loudness(without_late_reverb(audio, settings), settings)
        f0_hz, confidence = label_f0(recording, len(loudness_db), settings.frame_rate)
        features = {"f0_hz": f0_hz, "f0_confidence": confidence, "loudness_db": loudness_db}
    else:
        features = extract_features(audio, settings)
        if not features["f0_hz"].any():
            raise ValueError(f"{recording.path} has no pitched frame, says {settings.tracker}")
    return pack(audio, features, settings.hop_size)


def _check_out(out: Path, settings: Settings, overwrite: bool) -> None:
    """Refuse to write over anything but a data set with the same settings, or what an interrupted run left."""
    if not out.exists() or overwrite:
        return
    if not out.is_dir():
        raise FileExistsError(f"{out} is a file, not a folder")
    if (out / MANIFEST).exists():
        before, _, _ = read_manifest(out)
        if before != settings:
            changed = [f"{key} {old}" for key, old in asdict(before).items() if old != asdict(settings)[key]]
            raise FileExistsError(
                f"{out} was prepared with {', '.join(changed)}: choose another folder, or set overwrite"
            )
    elif any(entry.name != SOUNDS and PARTIAL not in entry.name for entry in out.iterdir()):
        raise FileExistsError(f"{out} holds other files: choose an empty or new folder")


def _prune(out: Path, keys: set[str]) -> None:
    """Delete recordings that the data set no longer lists, and what killed runs left half-written; nothing else."""
    for file in (out / SOUNDS).iterdir():
        ours = re.fullmatch(rf"([0-9a-f]{{{KEY_LENGTH}}})(\..*{PARTIAL})?\.npy", file.name)
        if ours and (ours[2] or ours[1] not in keys):
            file.unlink()


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
