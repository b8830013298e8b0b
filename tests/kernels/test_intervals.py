"""What a survey says of intervals, against exact arithmetic."""

from fractions import Fraction
from itertools import pairwise
from math import ceil, pi

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastddsp.kernels.cpu.intervals import BASE, BEND, PHASE, SOMEWHERE, START, THROUGHOUT, survey
from fastddsp.kernels.phase import from_radians, to_radians

RATE, NYQUIST = 16000.0, 8000.0
FREQUENCIES = st.floats(2.0**-10, 20000, width=32) | st.floats(-500, 0, width=32)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(FREQUENCIES, min_size=1, max_size=9),
    st.integers(1, 300),
    st.integers(1, 12),
    st.integers(-3, 3),
    st.floats(-1e6, 1e6),
)
def test_rows_are_what_exact_arithmetic_says(f0, n_samples, n_intervals, first_frame, initial):
    args = np.array([f0]), np.array([initial]), n_samples, n_intervals, first_frame, RATE, NYQUIST
    (rows,), final = survey(*args)
    starts = [ceil(Fraction(i * n_samples, n_intervals)) for i in range(n_intervals + 1)]
    np.testing.assert_array_equal(rows[:, START], starts)
    assert rows[0, PHASE].view(np.uint64) == from_radians(initial)
    np.testing.assert_array_equal(final, to_radians(rows[-1:, PHASE].view(np.uint64)))
    for i, (row, after) in enumerate(pairwise(rows)):
        a, c = (Fraction(f0[min(max(first_frame + i + k, 0), len(f0) - 1)]) for k in (0, 1))
        count, offset = starts[i + 1] - starts[i], starts[i] - Fraction(i * n_samples, n_intervals)
        slope = (c - a) * n_intervals / n_samples
        assert near(row[BASE], (a + slope * offset) / Fraction(RATE), a, c)
        assert near(row[BEND], slope / Fraction(RATE), a, c)
        advance = count * int(row[BASE]) + count * (count - 1) // 2 * int(row[BEND])
        assert abs(signed(int(after[PHASE]) - int(row[PHASE]) - advance)) <= 2**13  # half a step of the grid
        assert after[PHASE] % 2**14 == 0
        counts = [n_below(f) for f in (a, c)]
        assert row[THROUGHOUT] == min(counts)
        assert row[SOMEWHERE] == max(counts)


def near(increment, turns, *frequencies) -> bool:
    """Whether a 64-bit fraction of a turn is `turns`, but for float64's roundings of turns a sample: 8 at most."""
    unit = np.spacing(max(1.0, *(abs(float(f)) / RATE for f in frequencies))) * 2**64
    return abs(signed(int(increment) - round(turns * 2**64))) <= 8 * unit


def signed(number: int) -> int:
    """Modulo whole turns."""
    return (number + 2**63) % 2**64 - 2**63


def n_below(f: Fraction) -> int:
    """How many harmonics of f lie below Nyquist."""
    return ceil(Fraction(NYQUIST) / f) - 1 if f > 0 else 2**31


def test_a_phase_that_is_not_finite_begins_at_zero():
    for initial in (np.nan, np.inf):
        rows, _ = survey(np.zeros((1, 1)), np.array([initial]), 4, 1, 0, RATE, NYQUIST)
        assert rows[0, 0, PHASE] == 0


def test_a_turn_is_none():
    _, final = survey(np.full((1, 1), RATE / 4), np.array([2 * pi]), 4, 1, 0, RATE, NYQUIST)
    assert final == 0
