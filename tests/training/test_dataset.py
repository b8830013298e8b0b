import json

import numpy as np
import pytest
import torch

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
from fastddsp.training.labels import Labels, Selection
from fastddsp.training.score import Note

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


def labelled(folder, sounds, rate=1000):
    """A data set of recordings of 20 frames: (key, labels, notes)."""
    made = []
    for key, labels, notes in sounds:
        path = sound_path(folder, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, pack(*ramp(20), 10))
        made.append(Sound(f"{key}.wav", key, 20, 1.0, labels, notes))
    write_manifest(folder, Settings(sample_rate=rate, frame_rate=rate // 10), made, {}, {})
    return folder


@pytest.fixture
def notes(tmp_path):
    """Three labelled notes and one recording of which nothing is known."""
    return labelled(
        tmp_path / "notes",
        [
            ("a", Labels("violin", "string", "acoustic", "train", 60, 127), ()),
            ("b", Labels("flute", "flute", "acoustic", "train", 72, 64), ()),
            ("c", Labels("violin", "string", "acoustic", "test", 73), ()),
            ("d", Labels(), (Note(0.05, 0.1, 50, 127), Note(0.1, 0.12, 52, 64))),
        ],
    )


def test_labels_and_notes_come_back_from_the_manifest(notes):
    _, sounds, _ = read_manifest(notes)
    assert sounds[1].labels == Labels("flute", "flute", "acoustic", "train", 72, 64)
    assert sounds[3].notes == (Note(0.05, 0.1, 50, 127), Note(0.1, 0.12, 52, 64))


def test_a_data_set_without_labels_from_an_earlier_version_is_read(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["format"] = 1
    del manifest["settings"]["f0"]
    for sound in manifest["sounds"]:
        del sound["labels"], sound["notes"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    settings, sounds, _ = read_manifest(folder)
    assert settings == SETTINGS
    assert sounds[0] == Sound("a.wav", "a", 95, 1.0)
    assert SoundWindows(folder, 0.2, 0.1)[0].keys() == {"audio", "f0_hz", "f0_confidence", "loudness_db"}


def test_windows_hold_labels_as_numbers(notes):
    windows = SoundWindows(notes, 0.2, 0.1)
    assert windows.instruments == ["flute", "violin"]
    numbers = [tuple(int(w[name]) for name in ("instrument", "pitch", "velocity")) for w in windows]
    assert numbers == [(1, 60, 127), (0, 72, 64), (1, 73, -1), (-1, -1, -1)]
    assert windows[0]["instrument"].dtype == torch.int64 and windows[0]["instrument"].shape == ()


def test_windows_of_chosen_recordings_keep_their_instruments_number(notes):
    windows = SoundWindows(notes, 0.2, 0.1, select=Selection(instrument="violin"), without=[Selection(split="test")])
    assert [sound.key for sound in windows.sounds] == ["a"]
    assert int(windows[0]["instrument"]) == 1
    with pytest.raises(ValueError, match=r"none of the 4 recordings of .*notes has instrument organ"):
        SoundWindows(notes, 0.2, 0.1, select=Selection(instrument="organ"))
    with pytest.raises(ValueError, match="has everything, leaving out split train, leaving out max_pitch 127"):
        SoundWindows(
            labelled(notes / "b", [("a", Labels(split="train"), ())]),
            without=[Selection(split="train"), Selection(max_pitch=127)],
        )


def test_a_score_holds_the_velocities_of_the_notes_of_a_window(notes):
    windows = SoundWindows(notes, 0.1, 0.05, scores=True)
    rolls = {
        (windows.sounds[i].key, a): windows[n]["note_active_velocities"] for n, (i, a, _) in enumerate(windows.windows)
    }
    assert all(roll.shape == (10, 128) for roll in rolls.values())
    expected = torch.zeros(10, 128)
    expected[:5, 50], expected[5:7, 52] = 1.0, 64 / 127
    torch.testing.assert_close(rolls["d", 5], expected)
    expected = torch.zeros(10, 128)
    expected[:2, 52] = 64 / 127
    torch.testing.assert_close(rolls["d", 10], expected)
    expected = torch.zeros(10, 128)
    expected[:, 72] = 64 / 127
    torch.testing.assert_close(rolls["b", 0], expected)
    assert (rolls["c", 0][:, 73] == 100 / 127).all()  # of a velocity that nobody wrote down
    padded = SoundWindows(notes, 0.4, 0.4, scores=True)[1]["note_active_velocities"]
    assert (padded[:20, 72] > 0).all() and not padded[20:].any()


def test_several_sets_follow_each_other_with_one_list_of_instruments(notes, tmp_path):
    other = labelled(tmp_path / "other", [("x", Labels("oboe"), ()), ("y", Labels("violin"), ())])
    windows = SoundWindows([notes, str(other)], 0.1, 0.1)
    assert windows.instruments == ["flute", "oboe", "violin"]
    assert windows.set_sizes == [8, 4]
    assert [int(windows[i]["instrument"]) for i in (0, 2, 8, 10)] == [2, 0, 1, 2]
    assert SoundWindows([other], 0.1, 0.1)[0].keys() == {"audio", "f0_hz", "f0_confidence", "loudness_db", "instrument"}


def test_sets_that_do_not_go_together_are_refused(notes, tmp_path):
    other = labelled(tmp_path / "other", [("x", Labels(), ())], rate=2000)
    with pytest.raises(ValueError, match=r"sample_rate of .*other is 2000, of .*notes 1000: data sets that are mixed"):
        SoundWindows([notes, other])
    with pytest.raises(ValueError, match="must name data sets, each once"):
        SoundWindows([notes, notes])
    with pytest.raises(ValueError, match=r"must name data sets, each once, got \[\]"):
        SoundWindows([])
