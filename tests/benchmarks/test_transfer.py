"""What the experiment on timbre transfer measures, on sounds whose answer is known."""

import numpy as np

from fastddsp.benchmarks.experiments.transfer import RATE, timbre_distances


def tone(slope, f0=300.0, level=0.1):
    """A second of harmonics that fall by k^-slope."""
    time, k = np.arange(RATE) / RATE, np.arange(1, 20)[:, None]
    return level * (np.sin(2 * np.pi * f0 * k * time) * k**-slope).sum(axis=0)


def test_a_sound_is_as_far_as_the_other_from_one_and_at_no_distance_from_itself():
    bright, dark = tone(1.0), tone(3.0)
    to_bright, to_dark = timbre_distances(bright, bright, dark)
    assert not to_bright.any() and (to_dark > 1.0).all()
    assert np.array_equal(timbre_distances(dark, bright, dark)[0], to_dark)


def test_level_does_not_decide():
    bright, dark = tone(1.0), tone(3.0)
    loud, quiet = (
        timbre_distances(tone(1.2, level=level), bright, dark) for level in (0.125, 2.0**-10)
    )  # rounded alike
    np.testing.assert_allclose(loud, quiet, rtol=1e-5)
    assert (loud[0] < loud[1]).all()


def test_frames_count_where_both_references_sound():
    bright, dark = tone(1.0), tone(3.0)
    early, late = bright.copy(), dark.copy()
    early[RATE // 2 :], late[: RATE // 4] = 0.0, 0.0
    n_all, n_both = (len(timbre_distances(bright, *pair)[0]) for pair in ((bright, dark), (early, late)))
    assert 0.2 < n_both / n_all < 0.35  # a quarter of a second, and frames that reach into it
