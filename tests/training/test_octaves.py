import numpy as np
import pytest

from fastddsp.training.octaves import settle_octaves
from tests.training.sounds import tone

TIMES = np.arange(60) * 0.016


def settle(audio, tracked_hz, **limits):
    """The settled pitch at the frames of one second."""
    return settle_octaves(audio, 16000, TIMES, np.full(60, tracked_hz), **limits)


@pytest.mark.parametrize("f0_hz", [150.0, 440.0, 987.0])
@pytest.mark.parametrize("n_harmonics", [1, 2, 8])
def test_the_right_octave_stays(f0_hz, n_harmonics):
    np.testing.assert_array_equal(settle(tone(f0_hz, n_harmonics=n_harmonics), f0_hz), f0_hz)


@pytest.mark.parametrize("f0_hz", [150.0, 440.0, 987.0])
def test_a_frame_an_octave_off_is_brought_back(f0_hz):
    inside = slice(2, -2)  # an onset in the middle of the window widens every partial
    np.testing.assert_allclose(settle(tone(f0_hz), 2 * f0_hz)[inside], f0_hz)
    np.testing.assert_allclose(settle(tone(f0_hz), 0.5 * f0_hz)[inside], f0_hz)


def test_a_clarinet_s_odd_partials_are_no_lower_octave():
    time = np.arange(16000) / 16000
    audio = sum(np.sin(2 * np.pi * k * 300.0 * time) / k for k in (1, 3, 5, 7))
    np.testing.assert_array_equal(settle(audio, 300.0), 300.0)


def test_noise_silence_and_frames_without_pitch_stay():
    noise = np.random.default_rng(0).standard_normal(16000)
    np.testing.assert_array_equal(settle(tone(440.0) + 0.05 * noise, 440.0), 440.0)
    np.testing.assert_array_equal(settle(np.zeros(16000), 440.0), 440.0)
    np.testing.assert_array_equal(settle(tone(440.0), 0.0), 0.0)


def test_limits_are_kept():
    np.testing.assert_array_equal(settle(tone(440.0), 880.0, fmin=500.0), 880.0)
    np.testing.assert_array_equal(settle(tone(440.0), 220.0, fmax=400.0), 220.0)


def test_frames_are_told_apart_in_time():
    audio = np.concatenate([tone(300.0, 0.5), tone(600.0, 0.5)])
    settled = settle(audio, 600.0)
    assert (settled[3:28] == 300.0).all()
    assert (settled[34:58] == 600.0).all()
