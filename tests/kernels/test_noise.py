"""The noise: the generator's published answers, the same numbers on every path, and that they are white."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from fastddsp.kernels.cpu import noise as kernel
from fastddsp.kernels.reference import noise as reference

# Known-answer vectors of Philox4x32-10 that come with its authors' Random123: (counter, key, words).
KNOWN = [
    ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.fixture(scope="module")
def fill():
    """The kernel's stream as a function: (seed, row, first, n) -> samples."""
    compiled = njit(kernel.fill)

    def call(seed, row, first, n, dtype=np.float32):
        lead = first % 4
        out = np.empty(-(-(lead + n) // 4) * 4, dtype)
        compiled(seed, row, first - lead, len(out), out)
        return out[lead : lead + n]

    return call


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN, ids=["zeros", "ones", "pi"])
def test_philox_gives_its_authors_answers(counter, key, words):
    expected = [int(word, 16) for word in words.split()]
    assert list(reference.philox(tuple(counter), tuple(key))) == expected
    assert [int(word) for word in kernel.philox(*(np.uint64(x) for x in (*counter, *key)))] == expected


@settings(deadline=None)  # the first example compiles
@given(
    seed=st.integers(0, 2**63 - 1),
    row=st.sampled_from([0, 1, 77, 2**33 + 1]),
    first=st.sampled_from([0, 1, 2, 3, 4, 1001, 2**34 - 6, 2**40 + 3]),
    n=st.integers(0, 40),
)
def test_the_kernel_makes_the_specified_numbers(fill, seed, row, first, n):
    expected = reference.noise(seed, row, first, n)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(fill(seed, row, first, n, dtype), expected)


def test_blocks_equal_the_whole(fill):
    whole = fill(5, 2, 100, 1000)
    blocks = [fill(5, 2, 100 + first, n) for first, n in ((0, 7), (7, 256), (263, 1), (264, 736))]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_the_noise_is_uniform_and_white(fill):
    n = 2**16
    x = fill(1, 0, 0, n, np.float64)
    assert x.min() >= -1 and x.max() < 1
    counts = np.histogram(x, 64, (-1, 1))[0]
    assert ((counts - n / 64) ** 2 / (n / 64)).sum() < 63 + 5 * np.sqrt(2 * 63)  # chi squared, five sigma
    others = fill(1, 0, 1, n, np.float64), fill(1, 0, 4, n, np.float64), fill(1, 1, 0, n, np.float64), fill(2, 0, 0, n)
    for other in others:  # later samples, another row, another seed: no correlation, to five sigma
        assert abs((x * other).mean()) < 5 / 3 / np.sqrt(n)
