"""The golden files hold what README.md promises."""

import numpy as np
import pytest

from tests.golden import FOLDER, grad_probe, load, weight_values

FILES = sorted(path.name for path in FOLDER.glob("*.npz"))


def test_every_file_opens_and_there_are_373_cases():
    assert sum(len(load(file)) for file in FILES) == 373


@pytest.mark.parametrize("file", FILES)
def test_arrays_have_the_shapes_that_the_metadata_says(file):
    for case in load(file):
        for arrays, declared in ((case.inp, "inputs"), (case.out, "outputs"), (case.var, "variables")):
            for name, (dtype, shape) in case.meta.get(declared, {}).items():
                assert list(arrays[name].shape) == shape, (case.name, name)
                assert arrays[name].dtype == dtype, (case.name, name)


def test_load_keeps_only_the_cases_of_a_function():
    cases = load("core_filters.npz", "core.fft_convolve")
    assert {case.function for case in cases} == {"core.fft_convolve"} and len(cases) == 16


def test_arrays_that_repeat_are_found_under_both_cases():
    first, second = load("core_harmonic_oscillators.npz")[:2]
    np.testing.assert_array_equal(first.inp["frequency"], second.inp["frequency"])


def test_full_size_weights_and_probe_depend_on_the_name_only():
    kernel = weight_values("decoder.out.kernel", (3, 5))
    np.testing.assert_array_equal(kernel, weight_values("decoder.out.kernel", (3, 5)))
    assert np.abs(kernel - weight_values("decoder.in.kernel", (3, 5))).max() > 0.1
    assert grad_probe("a", kernel) != grad_probe("b", kernel)
