import pytest

from fastddsp.training.general_midi import FAMILIES, PROGRAMS, RANGES, SOURCES, find_program


def test_instruments_are_found_by_name_and_by_number():
    assert find_program("violin") == find_program(40) == find_program("40")
    assert find_program("Tenor Sax")[:4] == (66, "tenor_sax", "reed", "acoustic")
    assert find_program("gunshot").number == 127


def test_every_program_has_a_name_of_its_own_and_a_family_of_nsynth():
    assert len(set(PROGRAMS)) == 128 and set(RANGES) <= set(PROGRAMS)
    programs = [find_program(number) for number in range(128)]
    assert {program.family for program in programs} == set(FAMILIES)
    assert {program.source for program in programs} == set(SOURCES)
    assert all(0 <= low < high <= 127 for *_, (low, high) in programs)


@pytest.mark.parametrize("instrument", ["flut", 128, -1, ""])
def test_what_there_is_not_is_refused(instrument):
    with pytest.raises(ValueError, match=f"0 to 127, got '{instrument}'"):
        find_program(instrument)


def test_a_misspelt_name_is_answered_with_near_ones():
    with pytest.raises(ValueError, match="did you mean flute"):
        find_program("flut")
