import math

import numpy as np
import pytest

from fastddsp.training import metrics
from fastddsp.training.metrics import (
    hz_to_semitones,
    loudness_l1_db,
    paper_loudness,
    pitch_accuracy,
    pitch_metrics,
    spectral_distance,
)

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


def test_accuracy_forgives_half_a_semitone_and_chroma_octaves_too():
    target = np.full(8, 440.0)
    asked = np.array([1, 1, 1, 1, 1, 1, 0, 0.0])
    f0 = target * 2 ** (np.array([0, 0.49, -0.51, 12.0, -23.6, 0, 0, 5]) / 12)
    f0[5] = 0.0  # no pitch heard
    found = pitch_accuracy(target, asked, f0, T)
    assert found["raw_pitch_accuracy"] == pytest.approx(2 / 6)
    assert found["raw_chroma_accuracy"] == pytest.approx(4 / 6)


def test_a_target_without_pitch_has_no_accuracy():
    assert all(math.isnan(value) for value in pitch_accuracy(np.zeros(4), np.zeros(4), np.full(4, 440.0), T).values())


@pytest.mark.parametrize(("hz", "weight_db"), [(1000, 0.0), (4000, 0.964)])
def test_a_sine_has_its_closed_form_loudness_on_the_papers_scale(hz, weight_db):
    # A Hann window of N gives its bin a N / 4 and the two beside it a N / 8, so a N / 2 over N / 2 + 1 bins.
    # A-weighting of IEC 61672-1; at those two, 7.8 Hz to the sides, within 0.02 dB of it, one above and one below.
    amplitude = 0.1
    sine = amplitude * np.sin(2 * np.pi * hz * np.arange(16000) / 16000)
    expected = (np.log(10 ** (weight_db / 20) * amplitude * 1024 / 1025 + 1e-4) + 4.0599) / 3.5105
    found = paper_loudness(sine)
    assert found.shape == (250,)
    np.testing.assert_allclose(found[20:-20], expected, atol=1e-3)


def test_loudness_on_the_papers_scale_ends_at_its_noise_floor_and_one_is_30_decibels():
    np.testing.assert_allclose(paper_loudness(np.zeros(1000)), (np.log(1e-4) + 4.0599) / 3.5105)
    noise = np.random.default_rng(0).normal(size=8000)
    louder = paper_loudness(noise * 10 ** (30.49 / 20)) - paper_loudness(noise)
    np.testing.assert_allclose(louder, 1.0, atol=1e-3)


@pytest.mark.parametrize("n_samples", [1, 63, 64, 65, 5000])
def test_loudness_on_the_papers_scale_has_a_value_for_every_begun_hop_however_long(n_samples, monkeypatch):
    noise = np.random.default_rng(0).normal(size=n_samples)
    whole = paper_loudness(noise)
    assert whole.shape == (-(-n_samples // 64),)
    monkeypatch.setattr(metrics, "FRAMES_AT_ONCE", 7)
    np.testing.assert_allclose(paper_loudness(noise), whole, atol=1e-6)


def test_spectral_distance_adds_magnitudes_and_their_logarithms():
    # Of x and g x it is (g - 1) M + 6 ln g, six FFT sizes, with M the sum of mean magnitudes.
    noise = np.random.default_rng(0).normal(size=16000)
    doubled, tripled = (spectral_distance(noise, g * noise) for g in (2.0, 3.0))
    assert spectral_distance(noise, noise) == 0.0
    assert tripled - 6 * np.log(3) == pytest.approx(2 * (doubled - 6 * np.log(2)), rel=1e-3)
