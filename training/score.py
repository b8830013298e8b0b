"""What is played, and the MIDI file that says so.

A score is notes one after the other, with two curves at CONTROL_RATE: expression in 0 to 1 (controller 11), and bend c
in semitones. The pitch follows from them,

    f0_hz = 440 * 2^((key + c - 69) / 12) while a note is held, 0 otherwise.

Notes alternate between two channels, so that the bend of a note never moves the release of the one before it. A control
value holds for a whole step, so each is the curve's value in the middle of its step: no lag on average.
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

CONTROL_RATE = 250
BEND_RANGE = 12  # semitones
UNKNOWN_VELOCITY = 100  # of notes whose velocity nobody wrote down
TICKS_PER_SECOND = 2000  # 8 a step
_TICKS_PER_BEAT, _MICROSECONDS_PER_BEAT = 1000, 500_000

# Status bytes, and numbers of controllers.
_NOTE_OFF, _NOTE_ON, _CONTROL, _PROGRAM, _BEND = 0x80, 0x90, 0xB0, 0xC0, 0xE0
_EXPRESSION, _ALL_SOUND_OFF = 11, 120
# Bend range by registered parameter 0, no reverb, no chorus, full volume.
_SETUP = ((101, 0), (100, 0), (6, BEND_RANGE), (38, 0), (91, 0), (93, 0), (7, 127), (_EXPRESSION, 127))


class Note(NamedTuple):
    """A note: seconds from the beginning, MIDI pitch, velocity."""

    onset_s: float
    offset_s: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Score:
    """Notes and curves, each [n_steps] at CONTROL_RATE; `cuts_s` are times at which all sound ends at once."""

    notes: list[Note]
    expression: np.ndarray
    bend: np.ndarray
    cuts_s: tuple[float, ...] = ()

    @property
    def f0_hz(self) -> np.ndarray:
        """Pitch at each step, [n_steps]; 0 between notes."""
        f0_hz = np.zeros(len(self.bend))
        for note in self.notes:
            held = _steps(note)
            f0_hz[held] = 440.0 * 2.0 ** ((note.pitch + self.bend[held] - 69.0) / 12.0)
        return f0_hz


def _steps(note: Note) -> slice:
    return slice(round(note.onset_s * CONTROL_RATE), round(note.offset_s * CONTROL_RATE))


def midi_bytes(score: Score, program: int) -> bytes:
    """The score as a Standard MIDI File of one track.

    Args:
      score: what is played.
      program: the instrument, 0 to 127.

    Source: The Complete MIDI 1.0 Detailed Specification, Standard MIDI Files 1.0.
    """
    events = [(0.0, bytes([_PROGRAM | channel, program])) for channel in (0, 1)]
    events += [(0.0, bytes([_CONTROL | channel, *pair])) for channel in (0, 1) for pair in _SETUP]
    for i, note in enumerate(score.notes):
        events += _note_events(note, i % 2, score)
    for time in score.cuts_s:
        events += [(time, bytes([_CONTROL | channel, _ALL_SOUND_OFF, 0])) for channel in (0, 1)]
    events.sort(key=lambda event: event[0])  # stable: what is said first comes first
    end = max(events[-1][0], len(score.bend) / CONTROL_RATE)

    track = bytearray(b"\x00\xff\x51\x03" + _MICROSECONDS_PER_BEAT.to_bytes(3, "big"))
    last = 0
    for time, message in [*events, (end, b"\xff\x2f\x00")]:
        tick = round(time * TICKS_PER_SECOND)
        track += _variable_length(tick - last) + message
        last = tick
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, _TICKS_PER_BEAT)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + bytes(track)


def _note_events(note: Note, channel: int, score: Score) -> list[tuple[float, bytes]]:
    """A note after its first bend and expression, and before its others; values that repeat are left out."""
    held = _steps(note)
    expression = np.clip(np.round(score.expression[held] * 127), 0, 127).astype(int)
    bend = np.clip(np.round((score.bend[held] / BEND_RANGE + 1) * 8192), 0, 16383).astype(int)
    events = []
    for i in range(len(bend)):
        time = (held.start + i) / CONTROL_RATE
        if i == 0 or expression[i] != expression[i - 1]:
            events.append((time, bytes([_CONTROL | channel, _EXPRESSION, expression[i]])))
        if i == 0 or bend[i] != bend[i - 1]:
            events.append((time, bytes([_BEND | channel, bend[i] & 127, bend[i] >> 7])))
        if i == 0:
            events.append((time, bytes([_NOTE_ON | channel, note.pitch, note.velocity])))
    return [*events, (held.stop / CONTROL_RATE, bytes([_NOTE_OFF | channel, note.pitch, 64]))]


def _variable_length(number: int) -> bytes:
    """Seven bits a byte, the highest first; all but the last byte have the top bit set."""
    digits = [number & 127]
    while number := number >> 7:
        digits.append(number & 127 | 128)
    return bytes(reversed(digits))
