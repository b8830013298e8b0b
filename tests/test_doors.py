"""The doors `core` and `spectral_ops`: a call written for magenta/ddsp finds its function and its argument names."""

import inspect

import pytest

import fastddsp
from fastddsp import core, spectral_ops
from tests.golden import FOLDER, load

DOORS = {"core": core, "spectral_ops": spectral_ops}
TENSORFLOW_ONLY = {"use_tf"}


def calls():
    """One (door, function name, argument names) for every way in which the golden data call a function of a door."""
    found = set()
    for file in sorted(path.name for path in FOLDER.glob("*.npz")):
        for case in load(file):
            door, _, name = case.function.split()[0].partition(".")
            described = {"pairs", "rows", "table"} & {*case.inp, *case.args}  # several calls in one case
            if door in DOORS and not described:
                found.add((door, name, (*case.inp, *(set(case.args) - TENSORFLOW_ONLY))))
    return sorted(found)


@pytest.mark.parametrize(("door", "name", "arguments"), calls())
def test_functions_take_magentas_arguments_by_name(door, name, arguments):
    inspect.signature(getattr(DOORS[door], name)).bind(**dict.fromkeys(arguments))


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_a_door_holds_what_it_announces(door):
    public = {name for name, value in vars(door).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert public == set(door.__all__)


def test_functions_of_core_stand_at_the_top_level():
    assert fastddsp.resample is core.resample
