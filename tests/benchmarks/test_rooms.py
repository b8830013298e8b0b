"""What experiments say of rooms, on sounds and responses whose answer is known."""

import numpy as np
import pytest

from fastddsp.benchmarks.experiments import rooms

ROOM = rooms.known_room()


def notes(seconds=8.0, seed=0):
    """Harmonic notes of 0.3 s with rests of 0.2 s between them, pitches at random."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(0.5 * rooms.RATE)) / rooms.RATE
    held = np.clip(np.minimum(time, 0.3 - time) / 0.02, 0.0, 1.0)
    harmonics = np.arange(1, 11)[:, None]
    pitches = rng.uniform(200.0, 700.0, round(seconds / 0.5))
    return np.concatenate(
        [held * (np.sin(2 * np.pi * f0 * harmonics * time) / harmonics).sum(axis=0) for f0 in pitches]
    )


def test_the_known_room_is_one():
    assert ROOM[0] == 1.0 and len(ROOM) == round(rooms.SECONDS * rooms.RATE)
    assert -11.0 < rooms.drr_db(ROOM) < -10.0  # the listener is far beyond the critical distance
    assert all(0.7 < rooms.reverberation_time(rooms.octave(ROOM, f)) < 1.2 for f in rooms.OCTAVES_HZ)


@pytest.mark.parametrize("gain_db", [0.0, -7.0, -15.0])
def test_the_equivalent_drr_of_a_mixture_is_its_drr(gain_db):
    dry, scaled = notes(), np.concatenate([ROOM[:1], 10.0 ** (gain_db / 20.0) * ROOM[1:]])
    found = rooms.equivalent_drr_db(dry, rooms.put_in_room(dry, scaled), ROOM)
    assert found == pytest.approx(rooms.drr_db(scaled), abs=0.2)  # between the gains it is interpolated


def test_the_equivalent_drr_does_not_know_phases():
    dry = notes()
    spectrum = np.fft.rfft(rooms.put_in_room(dry, ROOM))
    turned = np.fft.irfft(spectrum * np.exp(0.7j), len(dry))  # every partial by the same angle
    assert rooms.equivalent_drr_db(dry, turned, ROOM) == pytest.approx(rooms.drr_db(ROOM), abs=0.3)


def test_the_equivalent_drr_does_not_know_levels():
    dry = notes()
    assert rooms.equivalent_drr_db(dry, 0.1 * rooms.put_in_room(dry, ROOM), ROOM) == pytest.approx(
        rooms.drr_db(ROOM), abs=0.1
    )


def test_decaying_noise_has_the_reverberation_time_that_it_was_given():
    time = np.arange(rooms.RATE) / rooms.RATE
    noise = np.random.default_rng(0).standard_normal(len(time)) * 10.0 ** (-3.0 * time / 0.5)
    assert rooms.reverberation_time(noise) == pytest.approx(0.5, rel=0.05)
    assert np.polyfit(np.arange(50), rooms.envelope_db(noise), 1)[0] * 50 == pytest.approx(-120.0, rel=0.03)


def test_an_octave_keeps_its_own_and_loses_the_others():
    time = np.arange(rooms.RATE) / rooms.RATE
    tones = {f: rooms.octave(np.sin(2 * np.pi * f * time), 1000.0)[4000:12000].std() for f in (250.0, 1000.0, 4000.0)}
    assert tones[1000.0] == pytest.approx(0.5**0.5, rel=0.01) and max(tones[250.0], tones[4000.0]) < 0.001
