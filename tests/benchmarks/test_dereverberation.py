"""What the experiment on dereverberation measures, on responses and sounds whose answer is known."""

import numpy as np
import pytest

from fastddsp.benchmarks.experiments import rooms
from fastddsp.benchmarks.experiments.dereverberation import nearest_level, response_rows, waveform_correlation
from fastddsp.training.metrics import spectral_distance

ROOM = rooms.known_room()


def noise(seed=0, seconds=0.5):
    return np.random.default_rng(seed).standard_normal(round(seconds * rooms.RATE))


@pytest.mark.parametrize(("delay", "sign"), [(0, 1), (40, 1), (-25, -1)])
def test_a_delayed_or_turned_waveform_is_found(delay, sign):
    at_once, best = waveform_correlation(noise(), 3.0 * sign * np.roll(noise(), delay))
    assert best == pytest.approx(1.0, abs=0.01)
    assert at_once == pytest.approx(float(delay == 0), abs=0.05)


def test_waveforms_that_have_nothing_in_common_do_not_correlate():
    at_once, best = waveform_correlation(noise(0), noise(1))
    # 8000 products: sqrt(1 / 8000) = 0.011; the largest of 161 is below 5 of that.
    assert abs(at_once) < best < 0.056


def test_the_nearest_level_undoes_a_gain():
    sound = 0.1 * noise()
    assert nearest_level(sound, 4.0 * sound) < 0.05 * spectral_distance(sound, 4.0 * sound)  # 12 dB to within 0.05


def test_the_true_response_is_like_itself_and_noise_of_its_decay_only_in_its_envelopes():
    decay = 10.0 ** (-3.0 * np.arange(rooms.RATE) / rooms.RATE)
    other = np.random.default_rng(0).standard_normal(rooms.RATE) * decay
    for learned, like in ((ROOM, 1.0), (other, 0.0)):
        decays, octaves, at_once, best = (row.value for row in response_rows(ROOM, learned))
        assert decays > 0.97 and octaves > 0.9
        assert at_once == pytest.approx(like, abs=0.05) and best == pytest.approx(like, abs=0.15)
