"""`fastddsp dataset render`: recordings of sampled instruments, with the truth about their pitch.

    render_phrases   long expressive phrases of one instrument or several:
                     OUT/violin_000.wav, OUT/violin_000.f0.csv, OUT/violin_000.notes.csv, ..., OUT/recordings.json
    render_notes     single notes, every key at every velocity, in the layout of NSynth:
                     OUT/nsynth-train/examples.json, OUT/nsynth-train/audio/*.wav, ... (nsynth-valid, nsynth-test)

`fastddsp.training.readers` reads both. The sound is a SoundFont's, played by fluidsynth. Past its attack a sampled note
is a loop: more regular than a player, and on most instruments the same sound at every loudness.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastddsp.training.audio import write_audio
from fastddsp.training.extras import needs_extra
from fastddsp.training.files import atomic_folder, write_json
from fastddsp.training.fluidsynth import find_fluidsynth, find_soundfont, render_midi
from fastddsp.training.general_midi import FAMILIES, SOURCES, Program, find_program
from fastddsp.training.melodies import random_melody
from fastddsp.training.readers import EXAMPLES, RECORDINGS
from fastddsp.training.score import CONTROL_RATE, Note, Score, midi_bytes

with needs_extra():
    from tqdm import tqdm

RENDERED = "render.json"
VELOCITIES = (50, 85, 120)
PHRASE_SECONDS = 60.0
LEAST_SECONDS = 2.0
# Notes played by one start of fluidsynth, which decodes the whole SoundFont for about a second; 200 MB of sound.
NOTES_AT_ONCE = 128
FADE_SECONDS = 0.025
SILENT_RMS = 1e-4  # of a note that the SoundFont does not have


@dataclass(frozen=True)
class Rendered:
    """What was made: the folder, how many recordings, their length in minutes, notes that made no sound."""

    folder: Path
    n_recordings: int
    minutes: float
    silent: tuple[str, ...] = ()


def render_phrases(
    out: str | os.PathLike,
    *,
    instrument: str | Sequence[str],
    minutes: float = 12.0,
    keys: tuple[int, int] | None = None,
    sample_rate: int = 16000,
    soundfont: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Rendered:
    """Render long expressive phrases of instruments, with their true pitch beside each.

    Args:
      out: folder to make; new or empty.
      instrument: names of General MIDI, or programs from 0 to 127.
      minutes: length for each instrument, in recordings of one minute.
      keys: lowest and highest MIDI note; by default the instrument's usual range.
      sample_rate: of the recordings in Hz.
      soundfont: a .sf2 or .sf3 file; by default FluidR3 where the system installs it.
      seed: of the melodies.
      progress: show a progress bar.

    Returns:
      What was made.

    Raises:
      FileNotFoundError: fluidsynth or the SoundFont is not installed.
      FileExistsError: out is not empty.
      ValueError: there is no such instrument, or a setting is out of range.
    """
    programs, font = _check(instrument, sample_rate, soundfont)
    if minutes * 60 < LEAST_SECONDS:
        raise ValueError(f"minutes must be at least {LEAST_SECONDS / 60:.2f}, got {minutes}")
    n_phrases = max(1, round(minutes * 60 / PHRASE_SECONDS))
    seconds = minutes * 60 / n_phrases
    made = {}
    with atomic_folder(out) as folder:
        jobs = [(program, i) for program in programs for i in range(n_phrases)]
        for program, i in tqdm(jobs, unit="phrase", disable=not progress):
            rng = np.random.default_rng((seed, program.number, i))
            score = random_melody(rng, keys or program.keys, seconds)
            audio = _fit(render_midi(midi_bytes(score, program.number), font, sample_rate), seconds, sample_rate)
            name = f"{program.name}_{i:03d}"
            write_audio(folder / f"{name}.wav", audio, sample_rate)
            write_curve(folder / f"{name}.f0.csv", score.f0_hz)
            write_notes(folder / f"{name}.notes.csv", score.notes)
            made[f"{name}.wav"] = {"instrument": program.name, "family": program.family, "source": program.source}
        write_json(folder / RECORDINGS, made)
        names = [program.name for program in programs]
        settings = {"instrument": names, "minutes": minutes, "keys": keys, "sample_rate": sample_rate, "seed": seed}
        _write_settings(folder, font, kind="phrases", **settings)
    return Rendered(Path(out), len(jobs), len(jobs) * seconds / 60)


def render_notes(
    out: str | os.PathLike,
    *,
    instrument: str | Sequence[str],
    keys: tuple[int, int] | None = None,
    key_step: int = 1,
    velocities: Sequence[int] = VELOCITIES,
    seconds: float = 4.0,
    held_seconds: float = 3.0,
    valid_share: float = 0.1,
    test_share: float = 0.1,
    sample_rate: int = 16000,
    soundfont: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Rendered:
    """Render single notes in the layout of NSynth: every key of every instrument at every velocity.

    Args:
      out: folder to make; new or empty.
      instrument: names of General MIDI, or programs from 0 to 127.
      keys: lowest and highest MIDI note; by default each instrument's usual range.
      key_step: semitones from one key to the next.
      velocities: of each key, 1 to 127.
      seconds: length of a recording.
      held_seconds: of it, until the key is let go.
      valid_share: share of all notes, drawn by the seed, that goes to nsynth-valid.
      test_share: share of all notes that goes to nsynth-test.
      sample_rate: of the recordings in Hz.
      soundfont: a .sf2 or .sf3 file; by default FluidR3 where the system installs it.
      seed: of the draw.
      progress: show a progress bar.

    Returns:
      What was made. Notes that the SoundFont does not have are left out and listed.

    Raises:
      FileNotFoundError: fluidsynth or the SoundFont is not installed.
      FileExistsError: out is not empty.
      ValueError: there is no such instrument, a setting is out of range, or nothing made a sound.
    """
    programs, font = _check(instrument, sample_rate, soundfont)
    if keys is not None and not 0 <= keys[0] <= keys[1] <= 127:
        raise ValueError(f"keys must be two MIDI notes, 0 to 127, the lower one first, got {keys[0]} and {keys[1]}")
    if key_step < 1 or not velocities or not all(1 <= velocity <= 127 for velocity in velocities):
        raise ValueError(f"key_step must be at least 1 and velocities 1 to 127, got {key_step} and {list(velocities)}")
    if not 0 < held_seconds <= seconds:
        raise ValueError(f"held_seconds must be above 0 and at most seconds, got {held_seconds} of {seconds}")
    if min(valid_share, test_share) < 0 or valid_share + test_share >= 1:
        raise ValueError(f"valid_share and test_share must leave notes to train on, got {valid_share} and {test_share}")

    jobs = [
        (program, key, velocity)
        for program in programs
        for key in range((keys or program.keys)[0], (keys or program.keys)[1] + 1, key_step)
        for velocity in velocities
    ]
    splits = _draw_splits(len(jobs), valid_share, test_share, seed)
    examples: dict[str, dict[str, Any]] = {split: {} for split in sorted(set(splits))}
    silent = []
    with atomic_folder(out) as folder, tqdm(total=len(jobs), unit="note", disable=not progress) as bar:
        for i, audio in _play_notes(jobs, seconds, held_seconds, font, sample_rate):
            example = nsynth_example(i, *jobs[i], sample_rate)
            name = example["note_str"]
            bar.update()
            if np.sqrt(np.mean(np.square(audio))) < SILENT_RMS:
                silent.append(name)
                continue
            write_audio(folder / f"nsynth-{splits[i]}" / "audio" / f"{name}.wav", audio, sample_rate)
            examples[splits[i]][name] = example
        if not any(examples.values()):
            raise ValueError(f"none of the {len(jobs)} notes made a sound with {font}")
        for split, notes in examples.items():
            if notes:
                write_json(folder / f"nsynth-{split}" / EXAMPLES, notes)
        settings = {"seconds": seconds, "held_seconds": held_seconds, "sample_rate": sample_rate, "seed": seed}
        _write_settings(folder, font, kind="notes", **settings, silent=silent)
    n_notes = len(jobs) - len(silent)
    return Rendered(Path(out), n_notes, n_notes * seconds / 60, tuple(silent))


def nsynth_example(number: int, program: Program, key: int, velocity: int, sample_rate: int) -> dict[str, Any]:
    """A note as an entry of NSynth's examples.json, and the instrument's plain name beside.

    Source: Engel et al., Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders, 2017; the data set's page.
    """
    instrument = f"{program.family}_{program.source}_{program.name}"
    return {
        "note": number,
        "note_str": f"{instrument}-{key:03d}-{velocity:03d}",
        "instrument": program.number,
        "instrument_str": instrument,
        "instrument_name": program.name,
        "instrument_family": FAMILIES.index(program.family),
        "instrument_family_str": program.family,
        "instrument_source": SOURCES.index(program.source),
        "instrument_source_str": program.source,
        "pitch": key,
        "velocity": velocity,
        "sample_rate": sample_rate,
        "qualities": [0] * 10,
        "qualities_str": [],
    }


def write_curve(path: Path, f0_hz: np.ndarray) -> None:
    """A curve at CONTROL_RATE as a table of time_s and f0_hz, each value in the middle of its step."""
    rows = (f"{(i + 0.5) / CONTROL_RATE:.3f},{value:.3f}" for i, value in enumerate(f0_hz))
    path.write_text("\n".join(["time_s,f0_hz", *rows]) + "\n", encoding="utf-8")


def write_notes(path: Path, notes: Sequence[Note]) -> None:
    """Notes as a table of onset_s, offset_s, pitch (MIDI) and velocity."""
    rows = (f"{note.onset_s:.3f},{note.offset_s:.3f},{note.pitch},{note.velocity}" for note in notes)
    path.write_text("\n".join(["onset_s,offset_s,pitch,velocity", *rows]) + "\n", encoding="utf-8")


def note_row(notes: Sequence[tuple[int, int]], seconds: float, held_seconds: float) -> Score:
    """Notes (key, velocity) one after the other, `seconds` apart, every one cut off where the next begins."""
    n_steps = round(len(notes) * seconds * CONTROL_RATE)
    row = [Note(i * seconds, i * seconds + held_seconds, *note) for i, note in enumerate(notes)]
    cuts = tuple((i + 1) * seconds - 1 / CONTROL_RATE for i in range(len(notes)))
    return Score(row, np.ones(n_steps), np.zeros(n_steps), cuts)


def _play_notes(
    jobs: list[tuple[Program, int, int]], seconds: float, held_seconds: float, font: Path, sample_rate: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Number and sound of every note, many of one instrument at a time."""
    n_samples = round(seconds * sample_rate)
    fade = np.linspace(1.0, 0.0, round(FADE_SECONDS * sample_rate), dtype=np.float32)
    for program in dict.fromkeys(program for program, _, _ in jobs):
        numbers = [i for i, job in enumerate(jobs) if job[0] == program]
        for first in range(0, len(numbers), NOTES_AT_ONCE):
            part = numbers[first : first + NOTES_AT_ONCE]
            score = note_row([jobs[i][1:] for i in part], seconds, held_seconds)
            sound = render_midi(midi_bytes(score, program.number), font, sample_rate)
            sound = _fit(sound, len(part) * seconds, sample_rate)
            for k, i in enumerate(part):
                begin = round(k * seconds * sample_rate)
                audio = _fit(sound[begin : begin + n_samples], seconds, sample_rate)
                audio[-len(fade) :] *= fade
                yield i, audio


def _draw_splits(n_notes: int, valid_share: float, test_share: float, seed: int) -> list[str]:
    n_valid, n_test = round(n_notes * valid_share), round(n_notes * test_share)
    splits = ["valid"] * n_valid + ["test"] * n_test + ["train"] * (n_notes - n_valid - n_test)
    return [splits[i] for i in np.random.default_rng(seed).permutation(n_notes)]


def _fit(audio: np.ndarray, seconds: float, sample_rate: int) -> np.ndarray:
    """Exactly `seconds` of audio: cut, or followed by silence."""
    n_samples = round(seconds * sample_rate)
    return np.pad(audio[:n_samples], (0, max(0, n_samples - len(audio))))


def _check(instrument: str | Sequence[str], sample_rate: int, soundfont: str | None) -> tuple[list[Program], Path]:
    if isinstance(instrument, str):
        instrument = [instrument]
    programs = list(dict.fromkeys(find_program(name) for name in instrument))
    if not programs:
        raise ValueError("instrument must name at least one instrument, got none")
    if sample_rate < 1:
        raise ValueError(f"sample_rate must be at least 1 Hz, got {sample_rate}")
    find_fluidsynth()
    return programs, find_soundfont(soundfont)


def _write_settings(folder: Path, font: Path, **settings: Any) -> None:
    said = subprocess.run([find_fluidsynth(), "--version"], capture_output=True, text=True).stdout
    version = said.splitlines()[0].split()[-1] if said else "unknown"
    write_json(folder / RENDERED, {**settings, "soundfont": font.name, "fluidsynth": version})
