from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastddsp.training.dataset import Settings, Sound, SoundWindows, pack, sound_path, write_manifest
from fastddsp.training.instrument import power
from fastddsp.training.pitch import TRACKERS
from fastddsp.training.statistics import (
    N_QUANTILES,
    KeepStatistics,
    compute_statistics,
    compute_z_mean,
    detect_notes,
    load_statistics,
    tuning_of,
)
from tests.training.models import SMALLEST, instrument, save_run

RATE = 250


def midi_to_hz(pitch):
    return 440.0 * 2.0 ** ((np.asarray(pitch) - 69.0) / 12.0)


def made(folder: Path, *recordings: tuple) -> Path:
    """A data set of recordings, each (pitch in semitones, loudness in dB, confidence), [n_frames] each."""
    sounds = []
    for i, (pitch, loudness_db, confidence) in enumerate(recordings):
        features = {"f0_hz": midi_to_hz(pitch), "loudness_db": loudness_db, "f0_confidence": confidence}
        audio = 0.1 * np.random.default_rng(i).normal(size=64 * len(pitch))
        path = sound_path(folder, f"sound{i}")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, pack(audio, features, 64))
        sounds.append(Sound(f"{i}.wav", f"sound{i}", len(pitch), 1.0))
    write_manifest(folder, Settings(), sounds, skipped={}, versions={})
    return folder


def note(pitch, loudness_db, n_frames=1000, confidence=1.0):
    return np.full(n_frames, pitch), np.full(n_frames, loudness_db), np.full(n_frames, confidence)


def silence(n_frames=500):
    return note(30.0, -80.0, n_frames, 0.0)


def joined(*parts):
    return tuple(np.concatenate(curves) for curves in zip(*parts, strict=True))


@pytest.fixture
def data(tmp_path):
    """Notes at 60.3, 62.3 and 70.3 semitones, with silences between them."""
    phrase = joined(note(60.3, -40.0), silence(), note(62.3, -30.0), silence())
    return made(tmp_path / "data", phrase, note(70.3, -20.0))


def test_statistics_are_those_of_the_notes_and_not_of_the_silence(data):
    found = compute_statistics(SoundWindows(data), SMALLEST)
    # Confidence is averaged over 0.16 s, so it reaches 20 frames into the silence, but r is 0 at the level of silence.
    assert found.pitch_mean == pytest.approx((60.3 + 62.3 + 70.3) / 3, abs=1e-4)
    assert found.pitch_median == pytest.approx(62.3, abs=1e-4)
    assert found.octave == 4
    assert found.tuning == pytest.approx(0.3, abs=1e-4)
    assert found.quantiles_db.shape == (N_QUANTILES,)
    assert found.quantiles_db[[0, N_QUANTILES // 2, -1]] == pytest.approx([-40.0, -30.0, -20.0], abs=1e-4)
    assert (np.diff(found.quantiles_db) >= 0).all()
    assert found.note_share == pytest.approx(3000 / 4000, abs=1e-4)
    mean_db = (1000 * (-40 - 30 - 20) + 1000 * -80) / 4000
    assert found.note_floor_db == pytest.approx(0.49 * (mean_db + 80) - 80, abs=1e-3)


def test_every_frame_counts_once_however_windows_overlap_and_only_those_of_the_part(data):
    config = SMALLEST
    whole = compute_statistics(SoundWindows(data), config)
    for options in ({"window_seconds": 1.0, "hop_seconds": 0.1}, {"window_seconds": 60.0}):
        other = compute_statistics(SoundWindows(data, **options), config)
        assert other.note_share == whole.note_share
        np.testing.assert_array_equal(other.quantiles_db, whole.quantiles_db)
    # 0.45 of the first recording are its first note and a part of the silence after it.
    train = compute_statistics(SoundWindows(data, part="train", valid_share=0.55), config)
    assert train.pitch_mean == pytest.approx((1000 * 60.3 + 450 * 70.3) / 1450, abs=1e-4)


def test_power_takes_the_place_of_loudness_in_a_model_that_reads_it(tmp_path):
    data = made(tmp_path / "data", note(60.0, -33.0, 2000))
    config = replace(SMALLEST, level="power")
    audio = torch.from_numpy(SoundWindows(data, window_seconds=8.0)[0]["audio"].numpy())
    found = compute_statistics(SoundWindows(data), config)
    assert found.quantiles_db[N_QUANTILES // 2] == pytest.approx(float(power(audio, config).median()), abs=0.01)
    assert found.quantiles_db[N_QUANTILES // 2] == pytest.approx(-20.0, abs=0.5)  # of noise with deviation 0.1


@pytest.mark.parametrize("tracker", TRACKERS)
def test_likeness_to_a_note_has_its_closed_form_and_means_the_same_for_any_tracker(tracker):
    level, sure = np.full(100, -30.0), np.ones(100)
    on, likeness = detect_notes(level, sure, RATE, tracker)
    np.testing.assert_allclose(likeness, 1 / 0.49)
    assert on.all()
    _, likeness = detect_notes(level, sure * TRACKERS[tracker].threshold, RATE, tracker)
    np.testing.assert_allclose(likeness, 0.85**2 / 0.49)
    on, likeness = detect_notes(level, 0 * sure, RATE, tracker)
    assert not on.any()
    assert not likeness.any()


def test_confidence_is_averaged_over_the_same_time_at_any_frame_rate():
    confidence = np.random.default_rng(0).uniform(size=300)
    level = np.full(300, -20.0)
    for rate, width in ((250, 40), (50, 8), (1, 1)):
        _, likeness = detect_notes(level, confidence, rate, "crepe")
        expected = np.convolve(np.interp(confidence, [0, 0.85, 1], [0, 0.85, 1]) ** 2, np.ones(width) / width, "valid")
        middle = slice(width // 2, width // 2 + len(expected))
        np.testing.assert_allclose(likeness[middle], expected / 0.49)


def test_a_higher_threshold_finds_fewer_notes():
    level = np.concatenate([np.full(500, level) for level in (-70.0, -50.0, -30.0)])
    shares = [detect_notes(level, np.ones(1500), RATE, "crepe", threshold)[0].mean() for threshold in (0.5, 1, 3)]
    assert shares == pytest.approx([1.0, 2 / 3, 1 / 3], abs=0.03)


def test_digital_silence_holds_no_note():
    on, likeness = detect_notes(np.full(50, -80.0), np.ones(50), RATE, "crepe")
    assert not on.any()
    assert not likeness.any()


def test_tuning_is_a_mean_on_the_circle():
    assert abs(tuning_of(np.array([60.45, 61.55]), np.ones(2))) == pytest.approx(0.5)
    assert tuning_of(np.array([60.4, 72.2, 55.2]), np.array([1.0, 1.0, 0.0])) == pytest.approx(0.3)
    assert tuning_of(np.array([59.9, 72.9]), np.ones(2)) == pytest.approx(-0.1)


def test_mean_z_weighs_frames_by_their_amplitude(tmp_path):
    data = made(tmp_path / "data", joined(note(60.0, -20.0, 50), note(60.0, -60.0, 50)))
    windows = SoundWindows(data, window_seconds=0.4)
    listener = instrument(z_dims=3, z_rnn_channels=8, n_samples=6400)
    found = compute_z_mean(listener.model, listener.config, windows)
    features = {name: x[None] for name, x in windows[0].items()}
    z = listener.model.encode(features)["z"][0].detach().numpy().astype(np.float64)
    expected = (0.1 * z[:50].sum(axis=0) + 0.001 * z[50:].sum(axis=0)) / (50 * 0.101)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_run_keeps_its_statistics_as_plain_tensors(data, tmp_path):
    windows = SoundWindows(data)
    statistics = replace(compute_statistics(windows, SMALLEST), z_mean=np.arange(3, dtype=np.float32))
    run = save_run(instrument(), tmp_path / "run", statistics=statistics.to_dict())
    loaded = load_statistics(run)
    for name, value in asdict(statistics).items():
        np.testing.assert_array_equal(getattr(loaded, name), value)
    assert load_statistics(save_run(instrument(), tmp_path / "earlier")) is None


def training(data, **changes):
    """What a callback sees of a training."""
    module = instrument(**changes)
    return SimpleNamespace(datamodule=SimpleNamespace(train_windows=SoundWindows(data))), module


def test_training_puts_statistics_into_every_checkpoint(data):
    callback, (trainer, module) = KeepStatistics(), training(data, z_dims=3, z_rnn_channels=8)
    before: dict = {}
    callback.on_save_checkpoint(trainer, module, before)
    assert before == {}
    callback.on_train_start(trainer, module)
    checkpoint: dict = {}
    callback.on_save_checkpoint(trainer, module, checkpoint)
    expected = compute_statistics(SoundWindows(data), SMALLEST)
    assert checkpoint["statistics"]["pitch_median"].item() == expected.pitch_median
    assert checkpoint["statistics"]["z_mean"].shape == (3,)


def test_training_goes_on_without_statistics_where_there_is_no_pitch(tmp_path):
    data = made(tmp_path / "data", silence())
    callback, (trainer, module) = KeepStatistics(), training(data)
    with pytest.warns(UserWarning, match="no pitched frame"):
        callback.on_train_start(trainer, module)
    checkpoint: dict = {}
    callback.on_save_checkpoint(trainer, module, checkpoint)
    assert checkpoint == {}
