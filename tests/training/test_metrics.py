import math

import numpy as np
import pytest

from fastddsp.training.metrics import hz_to_semitones, loudness_l1_db, pitch_metrics

T = 0.5


def test_semitones_closed_form():
    np.testing.assert_allclose(hz_to_semitones(np.array([440.0, 880.0, 261.6255653])), [69, 81, 60], atol=1e-9)


def test_definitions_differ_where_the_tracker_gives_up():
    target = np.full(8, 440.0)
    asked = np.array([1, 1, 1, 1, 1, 1, 0, 0.0])
    f0 = target * 2 ** (np.array([0, 0.1, -0.3, 2.0, 24, 0, 5, 5]) / 12)
    heard = np.array([1, 1, 1, 1, 0, 0, 1, 1.0])
    found = pitch_metrics(target, asked, f0, heard, T)
    assert found["paper_f0_l1_semitones"] == pytest.approx((0 + 0.1 + 0.3 + 2.0) / 4)
    assert found["paper_f0_outliers"] == pytest.approx(2 / 6)
    assert found["strict_f0_outliers"] == pytest.approx(3 / 6)
    assert found["magenta_f0_l1_semitones"] == pytest.approx((0 + 0.1 + 0.3 + 2.0 + 24 + 0) / 6)
    assert found["magenta_f0_outliers"] == 0.0
    assert pitch_metrics(target, asked, 4 * target, heard, T)["magenta_f0_outliers"] == 1.0


def test_a_target_without_pitch_has_no_pitch_metric():
    found = pitch_metrics(np.zeros(4), np.zeros(4), np.full(4, 440.0), np.ones(4), T)
    assert math.isnan(found["paper_f0_l1_semitones"])
    assert math.isnan(found["paper_f0_outliers"])


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="same length"):
        pitch_metrics(np.zeros(4), np.zeros(4), np.zeros(5), np.zeros(5), T)
    with pytest.raises(ValueError, match="got 4 and 5"):
        loudness_l1_db(np.zeros(4), np.zeros(5))


def test_loudness_l1_is_in_decibels():
    assert loudness_l1_db(np.array([-10.0, -20.0]), np.array([-13.0, -19.0])) == pytest.approx(2.0)
