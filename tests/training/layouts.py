"""Tiny data sets in the layouts that readers know."""

import json
from pathlib import Path

from fastddsp.training.general_midi import find_program
from fastddsp.training.render import nsynth_example
from tests.training.sounds import write_tone


def write_nsynth(folder: Path, notes: list[tuple[str, int, int]], seconds: float = 0.5) -> Path:
    """A part of NSynth: notes (instrument, pitch, velocity), as tones of their pitch."""
    examples = {}
    for i, (instrument, pitch, velocity) in enumerate(notes):
        example = nsynth_example(i, find_program(instrument), pitch, velocity, 16000)
        examples[example["note_str"]] = example
        f0_hz = 440 * 2 ** ((pitch - 69) / 12)
        write_tone(folder / "audio" / f"{example['note_str']}.wav", f0_hz, seconds)
    (folder / "examples.json").write_text(json.dumps(examples))
    return folder


def write_urmp(folder: Path) -> Path:
    """A piece of URMP: a violin at 440 Hz from 0.2 s on, and a trumpet without annotations."""
    piece = folder / "01_Jupiter_vn_tpt"
    write_tone(piece / "AuSep_1_vn_01_Jupiter.wav", 440.0, 0.6)
    write_tone(piece / "AuSep_2_tpt_01_Jupiter.wav", 330.0, 0.6)
    write_tone(piece / "AuMix_01_Jupiter_vn_tpt.wav", 330.0, 0.6)
    lines = [f"{i / 100:.3f}\t{440.0 if i >= 20 else 0.0:.4f}" for i in range(60)]
    (piece / "F0s_1_vn_01_Jupiter.txt").write_text("\n".join(lines) + "\n")
    (piece / "Notes_1_vn_01_Jupiter.txt").write_text("0.200\t441.0\t0.250\n0.500\t523.0\t0.100\n")
    return folder
