import numpy as np
import pytest

from fastddsp.training.dataset import (
    MANIFEST,
    Settings,
    Sound,
    SoundWindows,
    pack,
    read_manifest,
    sound_path,
    unpack,
    write_manifest,
)

SETTINGS = Settings(sample_rate=1000, frame_rate=100)  # 10 samples a frame


def ramp(n_frames):
    """Audio that counts samples, features that count frames."""
    frames = np.arange(n_frames, dtype=np.float32)
    features = {"f0_hz": 100 + frames, "f0_confidence": frames / 1000, "loudness_db": -frames}
    return np.arange(10 * n_frames, dtype=np.float32), features


@pytest.fixture
def folder(tmp_path):
    """A data set of two recordings, 95 and 7 frames long."""
    sounds = []
    for key, n_frames in (("a", 95), ("b", 7)):
        path = sound_path(tmp_path, key)
        path.parent.mkdir(exist_ok=True)
        np.save(path, pack(*ramp(n_frames), 10))
        sounds.append(Sound(f"{key}.wav", key, n_frames, 1.0))
    write_manifest(tmp_path, SETTINGS, sounds, {"c.wav": "silent"}, {"fastddsp": "0"})
    return tmp_path


def test_packing_pads_the_last_frame_with_silence():
    audio, features = ramp(3)
    back = unpack(pack(audio[:25], features, 10))
    np.testing.assert_array_equal(back["audio"], [*audio[:25], 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(back["f0_hz"][:, 0], features["f0_hz"])
    np.testing.assert_array_equal(back["loudness_db"][:, 0], features["loudness_db"])


def test_a_window_is_a_stretch_of_audio_with_its_own_features(folder):
    windows = SoundWindows(folder, window_seconds=0.2, hop_seconds=0.1)
    window = windows[3]
    assert window["audio"].shape == (200,)
    assert window["f0_hz"].shape == window["f0_confidence"].shape == window["loudness_db"].shape == (20, 1)
    np.testing.assert_array_equal(window["audio"], np.arange(300, 500))
    np.testing.assert_array_equal(window["f0_hz"][:, 0], 100 + np.arange(30, 50))


def test_windows_cover_every_frame(folder):
    windows = SoundWindows(folder, window_seconds=0.2, hop_seconds=0.1)
    covered = {(i, t) for i, start, end in windows.windows for t in range(start, end)}
    assert covered == {(0, t) for t in range(95)} | {(1, t) for t in range(7)}
    assert windows.windows[-2][1:] == (75, 95)


def test_a_short_recording_is_padded_with_silence_at_its_last_pitch(folder):
    window = SoundWindows(folder, window_seconds=0.2, hop_seconds=0.1)[-1]
    assert window["audio"].shape == (200,)
    np.testing.assert_array_equal(window["audio"][70:], 0)
    np.testing.assert_array_equal(window["f0_hz"][7:, 0], 106)
    np.testing.assert_array_equal(window["f0_confidence"][7:, 0], 0)
    np.testing.assert_array_equal(window["loudness_db"][7:, 0], -80)


def test_training_and_validation_share_no_frame(folder):
    parts = {
        part: {(i, t) for i, a, b in SoundWindows(folder, 0.2, 0.1, part, 0.3).windows for t in range(a, b)}
        for part in ("train", "valid", "all")
    }
    assert not parts["train"] & parts["valid"]
    assert parts["train"] | parts["valid"] == parts["all"]


def test_the_manifest_comes_back(folder):
    settings, sounds, manifest = read_manifest(folder)
    assert settings == SETTINGS
    assert [sound.name for sound in sounds] == ["a.wav", "b.wav"]
    assert manifest["skipped"] == {"c.wav": "silent"}


def test_a_folder_without_manifest_or_of_another_format_is_refused(folder):
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"format": 2', '"format": 99'))
    with pytest.raises(ValueError, match="format 99, this version reads 1 and 2"):
        SoundWindows(folder)
    (folder / MANIFEST).unlink()
    with pytest.raises(FileNotFoundError, match="not a complete data set"):
        SoundWindows(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window_seconds": 0.001}, "at least one frame"),
        ({"valid_share": 1.0}, r"must be in \[0, 1\)"),
        ({"part": "valid", "valid_share": 0.0}, "the 'valid' part of .* is empty"),
    ],
)
def test_impossible_windows_are_refused(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        SoundWindows(folder, **{"window_seconds": 0.2, "hop_seconds": 0.1, **arguments})


def test_rates_must_divide():
    with pytest.raises(ValueError, match="whole multiple of frame_rate, got 44100 and 250"):
        Settings(sample_rate=44100)
