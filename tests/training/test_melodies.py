import numpy as np
import pytest

from fastddsp.training.melodies import LEAST_EXPRESSION, WIDEST_SLIDE, WIDEST_STEP, random_melody
from fastddsp.training.score import CONTROL_RATE


@pytest.fixture(scope="module")
def melody():
    return random_melody(np.random.default_rng(7), (55, 88), 120.0)


def test_notes_follow_each_other_within_the_range_and_the_length(melody):
    onsets = np.array([note.onset_s for note in melody.notes])
    offsets = np.array([note.offset_s for note in melody.notes])
    assert (onsets[1:] >= offsets[:-1]).all() and (offsets > onsets).all()
    assert onsets[0] > 0.2 and 118 < offsets[-1] <= 119.5
    pitch = np.array([note.pitch for note in melody.notes])
    assert pitch.min() >= 55 and pitch.max() <= 88
    assert (np.abs(np.diff(pitch)) <= WIDEST_STEP).all() and (np.diff(pitch) != 0).all()
    assert np.ptp(pitch) > 20 and len(melody.notes) > 100


def test_there_are_rests_swells_vibrato_and_slides(melody):
    gaps = np.diff([time for note in melody.notes for time in note[:2]])[1::2]
    assert (gaps > 0.1).any() and (gaps == 0).any()
    held = melody.f0_hz > 0
    assert melody.expression[held].min() >= LEAST_EXPRESSION and melody.expression.max() <= 1
    assert np.ptp(melody.expression[held]) > 0.7
    bends = [melody.bend[round(a * CONTROL_RATE) : round(b * CONTROL_RATE)] for a, b, _, _ in melody.notes]
    slides = [bend for bend in bends if abs(bend[0]) > 0.9]
    assert 0.05 < len(slides) / len(bends) < 0.35
    assert max(abs(bend).max() for bend in bends) <= WIDEST_SLIDE
    sustained = [bend[CONTROL_RATE // 4 :] for bend in bends if len(bend) > CONTROL_RATE]
    assert all(np.abs(bend).max() <= 0.5 for bend in sustained)
    turns = [np.mean(np.diff(np.sign(bend)) != 0) * CONTROL_RATE / 2 for bend in sustained if bend.any()]
    assert 4.0 < np.mean(turns) < 7.0  # Hz


def test_the_seed_decides(melody):
    again = random_melody(np.random.default_rng(7), (55, 88), 120.0)
    assert again.notes == melody.notes
    np.testing.assert_array_equal(again.bend, melody.bend)
    assert random_melody(np.random.default_rng(8), (55, 88), 120.0).notes != melody.notes


def test_a_range_of_two_notes_is_enough():
    melody = random_melody(np.random.default_rng(0), (60, 61), 5.0)
    assert {note.pitch for note in melody.notes} == {60, 61}


@pytest.mark.parametrize(
    ("keys", "seconds", "message"),
    [((60, 60), 5, "two rising MIDI notes, 0 to 127, got 60 and 60"), ((0, 128), 5, "got 0 and 128"), ((1, 9), 1, "2")],
)
def test_what_cannot_be_played_is_refused(keys, seconds, message):
    with pytest.raises(ValueError, match=message):
        random_melody(np.random.default_rng(0), keys, seconds)
