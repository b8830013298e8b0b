import pytest

from fastddsp.training.labels import EVERYTHING, UNKNOWN, Labels, Selection

NOTE = Labels("violin", "string", "acoustic", "train", 60, 100)


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (EVERYTHING, True),
        (Selection(instrument="violin"), True),
        (Selection(instrument=["flute", "violin"], split="train"), True),
        (Selection(instrument=["flute", "violin"], split="test"), False),
        (Selection(instrument="vio"), False),
        (Selection(family=["brass"]), False),
        (Selection(source="acoustic", min_pitch=60, max_pitch=60), True),
        (Selection(min_pitch=61), False),
        (Selection(max_pitch=59), False),
        (Selection(min_velocity=101), False),
        (Selection(max_velocity=100), True),
    ],
)
def test_a_recording_is_chosen_that_has_all_that_is_asked_for(selection, chosen):
    assert selection.accepts(NOTE) is chosen


def test_a_recording_of_which_nothing_is_known_is_chosen_only_when_nothing_is_asked():
    assert EVERYTHING.accepts(UNKNOWN)
    for asked in (Selection(split="train"), Selection(min_pitch=0), Selection(max_velocity=127)):
        assert not asked.accepts(UNKNOWN)


def test_a_selection_tells_what_it_asks_for():
    assert str(Selection(family=["reed", "brass"], max_pitch=72)) == "family reed or brass, max_pitch 72"
    assert str(EVERYTHING) == "everything"
