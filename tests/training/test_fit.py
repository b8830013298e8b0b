"""Gains fitted to a recording."""

import numpy as np
import pytest
import torch

from fastddsp.training.fit import fit_gains
from fastddsp.training.instrument import controls_of, equalize, play
from fastddsp.training.metrics import spectral_distance
from tests.training.models import instrument

FRAMES = 130
CURVES = {"f0_hz": np.full(FRAMES, 1100.0, np.float32), "loudness_db": np.full(FRAMES, -20.0, np.float32)}


def roomy_instrument():
    violin = instrument(noise=True, reverb_length=1600, reverb_rt60=0.1)
    assert violin.config.hop_size == 64
    return violin


def test_what_was_louder_in_the_recording_is_found_through_the_room():
    violin = roomy_instrument()
    gains_db = np.zeros((FRAMES, 2, 3), np.float32)
    gains_db[:, 0], gains_db[:, 1] = 5.0, -3.0
    recording, truth = (play(violin, **CURVES, gains_db=gains_db, room=room, seed=9) for room in (True, False))
    found = fit_gains(violin, recording, CURVES, steps=60)
    assert found.shape == (FRAMES, 2, 3) and found.dtype == np.float32
    before, after = (spectral_distance(truth, play(violin, **CURVES, gains_db=g, room=False)) for g in (None, found))
    assert after < 0.85 * before
    assert found[:, 0, 0].mean() > 2.0 > 0.0 > found[:, 1].mean()


def test_no_step_leaves_the_instrument_as_it_plays():
    violin = roomy_instrument()
    gains_db = fit_gains(violin, play(violin, **CURVES)[:-30], CURVES, steps=0)
    assert not gains_db.any()
    np.testing.assert_allclose(play(violin, **CURVES, gains_db=gains_db), play(violin, **CURVES), atol=1e-5)


def test_the_same_seed_finds_the_same_gains():
    violin = roomy_instrument()
    recording = 0.5 * play(violin, **CURVES)
    first, second = (fit_gains(violin, recording, CURVES, steps=2, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.any()


def test_harmonics_and_noise_are_louder_by_the_gain_at_their_frequency():
    violin = instrument()
    with torch.no_grad():
        controls = controls_of(violin, **CURVES)
    gains_db = torch.zeros(FRAMES, 2, 3)
    gains_db[:, 0, 1], gains_db[:, 1, 2] = 6.0, -20.0  # harmonics at 4 kHz, noise at 8 kHz
    louder = equalize(controls, gains_db, 16000)
    amplitudes, before = (c["amplitudes"] * c["harmonic_distribution"] for c in (louder, controls))
    expected_db = 6.0 * 1.1 * torch.arange(1, 4) / 4.0  # 1.1, 2.2 and 3.3 of 4 kHz
    torch.testing.assert_close(20.0 * torch.log10(amplitudes / before)[0, 7, :3], expected_db, atol=1e-3, rtol=0)
    noise_db = 20.0 * torch.log10(louder["magnitudes"] / controls["magnitudes"])[0, 7]
    torch.testing.assert_close(noise_db, torch.tensor([0.0, 0.0, 0.0, -10.0, -20.0]), atol=1e-3, rtol=0)


def test_what_cannot_be_fitted_is_said():
    violin = roomy_instrument()
    with pytest.raises(ValueError, match="steps must not be negative, got -1"):
        fit_gains(violin, np.zeros(FRAMES * 64), CURVES, steps=-1)
    with pytest.raises(ValueError, match="curves must be of the recording, 10 frames long, got 130"):
        fit_gains(violin, np.zeros(640), CURVES)
    for gains_db in (np.zeros((FRAMES, 2)), np.zeros((3, 2, 3)), np.full((FRAMES, 2, 3), np.nan)):
        with pytest.raises(ValueError, match=r"gains_db must be finite \[130, 2, n_points\]"):
            play(violin, **CURVES, gains_db=gains_db)
