"""A dry sound of bursts of noise, put into rooms of decaying noise whose reverberation time is known."""

import numpy as np
import pytest

from fastddsp.training.dataset import Settings
from fastddsp.training.late_reverb import LATE_SECONDS, delay_of_early_sound, estimate_rt60, suppress_late_reverb
from fastddsp.training.pitch import track_pitch
from fastddsp.training.prepare import extract_features, heard_loudness, loudness, without_late_reverb

RATE = 16000


def bursts(seconds=12.0, seed=0):
    """Half a second of noise of changing level, half a second of silence, and so on."""
    rng = np.random.default_rng(seed)
    time = np.arange(RATE) / RATE
    held = np.clip(np.minimum(time, 0.5 - time) / 0.01, 0.0, 1.0)
    levels = rng.uniform(0.05, 0.1, round(seconds))
    return np.concatenate([level * held * rng.standard_normal(RATE) for level in levels]).astype(np.float32)


def room(rt60, level=0.05):
    """A direct sound of 1 and noise that decays by 60 dB in rt60 seconds."""
    time = np.arange(2 * RATE) / RATE
    response = level * np.random.default_rng(1).standard_normal(len(time)) * 10.0 ** (-3.0 * time / rt60)
    response[0] = 1.0
    return response


def in_room(dry, rt60):
    n_fft = 1 << (len(dry) + 2 * RATE).bit_length()
    wet = np.fft.irfft(np.fft.rfft(dry, n_fft) * np.fft.rfft(room(rt60), n_fft), n_fft)
    return wet[: len(dry)].astype(np.float32)


def fall_db(audio):
    """By how much the loudness falls from the last tenth of a burst to the second tenth after it, on average."""
    level = loudness(audio, Settings()).reshape(-1, 250)
    return float(np.mean(level[:, 100:125] - level[:, 150:175]))


@pytest.mark.parametrize("rt60", [0.5, 1.0, 2.0])
def test_the_reverberation_time_of_a_room_is_heard_in_a_recording(rt60):
    assert estimate_rt60(in_room(bursts(), rt60), RATE) == pytest.approx(rt60, rel=0.15)


@pytest.mark.parametrize("rt60", [0.5, 1.0, 2.0])
def test_notes_end_faster_than_the_room_lets_them(rt60):
    wet = in_room(bursts(), rt60)
    assert fall_db(suppress_late_reverb(wet, RATE, rt60)) > 1.6 * fall_db(wet)


def test_a_dry_sound_keeps_its_loudness_to_a_constant():
    # A held note loses 10^(-6 T / rt60) of its power, T = 48 ms: 1 - 0.515 is -3.1 dB at rt60 = 1 s.
    time = np.arange(2 * RATE) / RATE
    tone = (0.1 * np.sin(2 * np.pi * 440.0 * time)).astype(np.float32)
    left = suppress_late_reverb(tone, RATE, 1.0)
    assert left.shape == tone.shape and left.dtype == np.float32
    held = slice(RATE // 2, -RATE // 2)
    level_db = 20.0 * np.log10(left[held].std() / tone[held].std())
    assert level_db == pytest.approx(10.0 * np.log10(1.0 - 10.0 ** (-6.0 * 0.048)), abs=0.2)


def test_silence_stays_silent():
    assert not suppress_late_reverb(np.zeros(1000, np.float32), RATE, 1.0).any()


def test_features_are_heard_without_the_room_that_the_settings_know():
    wet = in_room(bursts(4.0), 1.0)
    known = extract_features(wet, Settings(rt60=1.0))["loudness_db"]
    early_db = loudness(suppress_late_reverb(wet, RATE, 1.0), Settings())
    means = np.convolve(np.pad(early_db, 12, mode="edge"), np.full(25, 1 / 25), mode="valid")  # over 0.1 s
    np.testing.assert_allclose(known, means, atol=1e-3)
    assert np.abs(known - extract_features(wet, Settings())["loudness_db"]).mean() > 3.0


def test_a_dry_recording_is_heard_as_it_is():
    dry = bursts(2.0)
    np.testing.assert_array_equal(heard_loudness(dry, Settings()), loudness(dry, Settings()))


@pytest.mark.parametrize("rt60", [0.3, 1.0])
@pytest.mark.parametrize("room_db", [-6.0, 10.0])
def test_what_is_left_of_a_room_is_late_by_its_centre_of_energy(rt60, room_db):
    time = np.arange(round(3 * rt60 * 100000)) / 100000
    energy = 10.0 ** (-6.0 * time / rt60)
    energy *= 10.0 ** (room_db / 10.0) / energy.sum()
    left = energy[time < LATE_SECONDS]
    centre = np.sum(time[time < LATE_SECONDS] * left) / (1.0 + left.sum())
    assert delay_of_early_sound(rt60, room_db) == pytest.approx(centre, rel=1e-3)


def test_pitch_is_heard_earlier_still():
    settings = Settings(rt60=1.0, room_db=10.0)
    time = np.arange(2 * RATE) / RATE
    wet = in_room(0.1 * np.sin(2.0 * np.pi * (300.0 * time + 50.0 * time**2)), 1.0)
    tracked, _ = track_pitch(without_late_reverb(wet, settings), RATE, settings.frame_rate, tracker=settings.tracker)
    heard = extract_features(wet, settings)
    assert len(heard["f0_hz"]) == len(heard["f0_confidence"]) == len(heard["loudness_db"])
    np.testing.assert_array_equal(heard["f0_hz"][:-3], tracked[3:])  # 12 ms
    assert (heard["f0_hz"] > 0).mean() > 0.5


def test_features_are_heard_earlier_where_the_room_is_louder():
    wet = in_room(bursts(4.0), 1.0)
    settings = (Settings(rt60=1.0, room_db=room_db) for room_db in (None, 10.0))
    late, early = (extract_features(wet, of_room)["loudness_db"] for of_room in settings)
    n = 4 * RATE // 64
    frames = delay_of_early_sound(1.0, 10.0) * 250
    inner = np.arange(25, n - 50)  # the average over 0.1 s is of fewer frames at the ends
    np.testing.assert_allclose(early[inner], np.interp(inner + frames, np.arange(n), late), atol=1.0)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="rt60 must be above 0 seconds, got 0"):
        suppress_late_reverb(bursts(1.0), RATE, 0.0)
    with pytest.raises(ValueError, match="rt60 must be above 0 seconds, or None for dry recordings, got -1"):
        Settings(rt60=-1.0)
    with pytest.raises(ValueError, match="room_db is of a room whose rt60 must be given too, got 10"):
        Settings(room_db=10.0)
    with pytest.raises(ValueError, match="rt60 must be above 0 seconds, got 0"):
        delay_of_early_sound(0.0, 10.0)
    with pytest.raises(ValueError, match="never falls silent"):
        estimate_rt60(np.linspace(0.1, 1.0, RATE) * np.sin(2 * np.pi * 440.0 * np.arange(RATE) / RATE), RATE)
