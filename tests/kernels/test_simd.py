"""What the vectors' helpers promise beyond what the kernels' own tests see."""

import numpy as np
from numba import njit

from fastddsp.kernels.cpu.simd import integers, keep, pointer


@njit
def read_after_others_came(n):
    kept = np.zeros(n)
    first = pointer(kept, 0)
    other = np.ones(n)  # would be given the memory of `kept`, had that been freed
    value = first[0] + other[0]
    keep(kept)
    return value


@njit
def bits_of(x):
    cell = np.full(1, x)
    bits = integers(pointer(cell, 0))[0]
    keep(cell)
    return bits


def test_a_kept_array_outlives_its_pointers():
    assert read_after_others_came(1000) == 1.0


def test_integers_are_the_bits_of_what_a_pointer_points_to():
    assert bits_of(np.float32(1)) == 0x3F800000
    assert bits_of(1.0) == 0x3FF0000000000000
