import struct

import numpy as np
import pytest

from fastddsp.training.score import BEND_RANGE, CONTROL_RATE, Note, Score, midi_bytes


def read_track(midi):
    """Events (seconds, status, data) of a Standard MIDI File of one track, by the standard's rules."""
    kind, size, form, n_tracks, per_beat = struct.unpack(">4sIHHH", midi[:14])
    assert (kind, size, form, n_tracks) == (b"MThd", 6, 0, 1)
    assert midi[14:18] == b"MTrk" and struct.unpack(">I", midi[18:22])[0] == len(midi) - 22
    events, position, tick, tempo = [], 22, 0, None
    while position < len(midi):
        delta = 0
        while midi[position] & 128:
            delta, position = delta << 7 | midi[position] & 127, position + 1
        delta, position = delta << 7 | midi[position], position + 1
        tick += delta
        status = midi[position]
        if status == 0xFF:
            kind, length = midi[position + 1], midi[position + 2]
            data = midi[position + 3 : position + 3 + length]
            tempo = int.from_bytes(data, "big") if kind == 0x51 else tempo
            status, position = 0xFF00 | kind, position + 3 + length
        else:
            n_bytes = 1 if status >> 4 == 0xC else 2
            data, position = midi[position + 1 : position + 1 + n_bytes], position + 1 + n_bytes
        events.append((tick * tempo / per_beat / 1e6 if tempo else 0.0, status, bytes(data)))
    return events


@pytest.fixture
def score():
    """A quarter of a second each: a slide that swells, a rest, a steady note; and a note after a minute."""
    n_steps = 62 * CONTROL_RATE
    expression, bend = np.ones(n_steps), np.zeros(n_steps)
    slide = slice(60, 125)
    expression[slide] = np.linspace(0.1, 0.9, slide.stop - slide.start)
    bend[slide] = np.linspace(-12, 11.9, slide.stop - slide.start)
    notes = [Note(0.24, 0.5, 60, 90), Note(0.76, 1.0, 127, 1), Note(60.0, 60.5, 0, 127)]
    return Score(notes, expression, bend)


def test_notes_sound_when_the_score_says_on_two_channels_in_turn(score):
    events = read_track(midi_bytes(score, 40))
    on = [(time, status & 15, *data) for time, status, data in events if status >> 4 == 9]
    off = [(time, status & 15, data[0]) for time, status, data in events if status >> 4 == 8]
    assert on == [(0.24, 0, 60, 90), (0.76, 1, 127, 1), (60.0, 0, 0, 127)]
    assert off == [(0.5, 0, 60), (1.0, 1, 127), (60.5, 0, 0)]
    assert events[-1][:2] == (62.0, 0xFF2F)


def test_both_channels_play_the_instrument_dry_and_bend_as_far_as_they_should(score):
    events = read_track(midi_bytes(score, 73))
    for channel in (0, 1):
        said = [data for time, status, data in events if time == 0 and status & 15 == channel and status < 0xFF00]
        assert bytes([73]) in said
        controls = [(data[0], data[1]) for data in said if len(data) == 2]
        assert controls[:3] == [(101, 0), (100, 0), (6, BEND_RANGE)]  # registered parameter 0: the bend's range
        assert {(91, 0), (93, 0)} <= set(controls)  # reverb, chorus


def test_bends_say_the_pitch_of_the_curve_and_controllers_its_expression(score):
    bend, expression, pitch, heard = {}, {}, {}, {}
    for time, status, data in read_track(midi_bytes(score, 40)):
        kind, channel = status >> 4, status & 15
        if kind == 0xE:
            bend[channel] = ((data[0] | data[1] << 7) / 8192 - 1) * BEND_RANGE
        elif kind == 0xB and data[0] == 11:
            expression[channel] = data[1] / 127
        elif kind == 9:
            pitch[channel] = data[0]
        elif kind == 8:
            del pitch[channel]
        for sounding, key in pitch.items():
            heard[round(time * CONTROL_RATE)] = (key + bend[sounding], expression[sounding])
    f0_hz = score.f0_hz
    for step, (key, loud) in heard.items():
        assert key == pytest.approx(69 + 12 * np.log2(f0_hz[step] / 440), abs=BEND_RANGE / 16384 + 1e-9)
        assert loud == pytest.approx(score.expression[step], abs=0.5 / 127 + 1e-9)
    assert set(range(60, 125)) <= heard.keys()  # the slide and swell change at every step


def test_pitch_is_zero_between_notes(score):
    f0_hz = score.f0_hz
    held = np.zeros(len(f0_hz), bool)
    for begin, end in ((0.24, 0.5), (0.76, 1.0), (60.0, 60.5)):
        held[round(begin * CONTROL_RATE) : round(end * CONTROL_RATE)] = True
    np.testing.assert_array_equal(f0_hz > 0, held)
    assert f0_hz[220] == pytest.approx(440 * 2 ** ((127 - 69) / 12))


def test_cuts_silence_both_channels():
    score = Score([Note(0.0, 0.5, 60, 64)], np.ones(250), np.zeros(250), cuts_s=(0.9,))
    cut = [(round(time, 3), status & 15) for time, status, data in read_track(midi_bytes(score, 0)) if data[:1] == b"x"]
    assert cut == [(0.9, 0), (0.9, 1)]  # controller 120
