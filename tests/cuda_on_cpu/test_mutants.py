"""The planted bugs (mutants.py, run by .ci/cuda) still have a place in the sources."""

import pytest

from fastddsp.kernels.cuda import launch
from tests.cuda_on_cpu.mutants import MUTANTS, changed


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}, {mutant.name}")
def test_a_bug_can_be_planted(mutant):
    whole = launch.source(mutant.file)
    assert changed(mutant, whole) != whole
