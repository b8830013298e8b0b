import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from fastddsp.autograd.spectral import compute_loudness
from fastddsp.training import prepare as prepare_module
from fastddsp.training.audio import read_audio
from fastddsp.training.dataset import MANIFEST, SOUNDS, Settings, SoundWindows, load_features, read_manifest
from fastddsp.training.files import PARTIAL
from fastddsp.training.labels import Labels, Selection
from fastddsp.training.prepare import label_f0, loudness, prepare
from fastddsp.training.readers import find_recordings
from tests.training.layouts import write_nsynth, write_urmp
from tests.training.sounds import write_tone


def stored(out):
    """Modification times of the recordings of a data set."""
    return {path.name: path.stat().st_mtime_ns for path in (out / SOUNDS).iterdir()}


@pytest.fixture
def recordings(tmp_path):
    """Three short tones at different rates and formats, in a folder with a file that is no sound."""
    folder = tmp_path / "recordings"
    write_tone(folder / "a.wav", 300.0, 0.6, 16000)
    write_tone(folder / "b.flac", 440.0, 0.5, 44100)
    write_tone(folder / "deep" / "c.ogg", 500.0, 0.5, 48000)
    (folder / "notes.txt").write_text("not a sound")
    return folder


def test_features_of_a_window_are_those_of_its_audio(recordings, tmp_path):
    out = tmp_path / "data"
    done = prepare([recordings], out, progress=False)
    assert [os.path.basename(sound.name) for sound in done.sounds] == ["a.wav", "b.flac", "c.ogg"]
    assert [sound.n_frames for sound in done.sounds] == [150, 125, 125]
    assert not done.skipped
    window = SoundWindows(out, window_seconds=0.6, hop_seconds=1.0)[0]
    audio = read_audio(recordings / "a.wav", 16000)
    np.testing.assert_array_equal(window["audio"], audio)
    assert np.abs(1200 * np.log2(window["f0_hz"][25:-25].numpy() / 300.0)).max() < 15
    np.testing.assert_array_equal(window["loudness_db"][:, 0], compute_loudness(window["audio"])[:150])


def test_the_data_set_carries_its_settings_and_versions(recordings, tmp_path):
    prepare([recordings / "a.wav"], tmp_path / "data", fmin=200.0, fmax=900.0, progress=False)
    settings, _, manifest = read_manifest(tmp_path / "data")
    assert (settings.sample_rate, settings.frame_rate, settings.tracker) == (16000, 250, "swift-f0")
    assert (settings.fmin, settings.fmax) == (200.0, 900.0)
    assert {"fastddsp", "torch", "soxr", "swift-f0"} <= manifest["versions"].keys()


def test_bad_files_are_reported_and_the_rest_goes_on(recordings, tmp_path, capsys):
    (recordings / "corrupt.wav").write_bytes(b"RIFF and then nothing")
    soundfile.write(recordings / "silent.wav", np.zeros(8000), 16000)
    soundfile.write(recordings / "hiss.wav", 0.01 * np.random.default_rng(0).standard_normal(8000), 16000)
    done = prepare([recordings], tmp_path / "data", progress=False)
    assert len(done.sounds) == 3
    reasons = {os.path.basename(name): reason for name, reason in done.skipped.items()}
    assert reasons.keys() == {"corrupt.wav", "silent.wav", "hiss.wav"}
    assert "cannot be read as sound" in reasons["corrupt.wav"]
    assert "is silent" in reasons["silent.wav"]
    assert "no pitched frame" in reasons["hiss.wav"]
    assert json.loads((tmp_path / "data" / MANIFEST).read_text())["skipped"] == done.skipped
    assert capsys.readouterr().err.count("skipped: ") == 3


def test_nothing_usable_is_an_error_and_leaves_no_data_set(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the 1 files could be used; the last: .*a\.wav cannot be read"):
        prepare([tmp_path / "a.wav"], tmp_path / "data", progress=False)
    with pytest.raises(FileNotFoundError):
        read_manifest(tmp_path / "data")


def test_a_second_run_computes_only_what_is_new(recordings, tmp_path):
    out = tmp_path / "data"
    prepare([recordings], out, progress=False)
    before = stored(out)
    write_tone(recordings / "d.wav", 350.0, 0.5)
    done = prepare([recordings], out, progress=False)
    assert (done.n_cached, len(done.sounds)) == (3, 4)
    assert before.items() <= stored(out).items()


def test_changed_contents_replace_the_old_recording(recordings, tmp_path):
    out = tmp_path / "data"
    prepare([recordings], out, progress=False)
    before = stored(out)
    write_tone(recordings / "a.wav", 320.0, 0.6)
    assert prepare([recordings], out, progress=False).n_cached == 2
    assert len(stored(out)) == 3
    assert len(before.keys() & stored(out).keys()) == 2


def test_the_same_recording_twice_counts_once(recordings, tmp_path):
    (recordings / "copy.wav").write_bytes((recordings / "a.wav").read_bytes())
    assert len(prepare([recordings], tmp_path / "data", progress=False).sounds) == 3


def test_other_settings_never_replace_a_data_set_silently(recordings, tmp_path):
    out = tmp_path / "data"
    prepare([recordings], out, progress=False)
    with pytest.raises(FileExistsError, match="was prepared with fmin None: choose another folder"):
        prepare([recordings], out, fmin=100.0, progress=False)
    prepare([recordings], out, fmin=100.0, overwrite=True, progress=False)
    assert read_manifest(out)[0].fmin == 100.0


def test_a_folder_with_other_files_is_left_alone(recordings, tmp_path):
    with pytest.raises(FileExistsError, match="holds other files"):
        prepare([recordings], recordings, progress=False)
    prepare([recordings], recordings, overwrite=True, progress=False)
    assert len(find_recordings([recordings])) == 3
    (recordings / SOUNDS / "mine.npy").write_bytes(b"the user's")
    prepare([recordings / "a.wav"], recordings, progress=False)
    assert len(stored(recordings)) == 2


def test_wrong_arguments_are_named_before_any_work(recordings, tmp_path):
    for arguments, message in [
        ({"tracker": "yin"}, "tracker must be one of"),
        ({"sample_rate": 44100}, "whole multiple of frame_rate"),
        ({"f0": "guess"}, "f0 must be 'tracker' or 'labels', got 'guess'"),
        ({"workers": 0}, "workers must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            prepare([recordings], tmp_path / "data", progress=False, **arguments)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        prepare([recordings, tmp_path / "absent"], tmp_path / "data", progress=False)
    assert not (tmp_path / "data").exists()


def test_labels_of_nsynth_go_into_the_data_set_and_give_its_pitch(tmp_path):
    write_nsynth(tmp_path / "nsynth-train", [("violin", 60, 100), ("flute", 72, 50)])
    write_nsynth(tmp_path / "nsynth-test", [("violin", 61, 100)])
    done = prepare([tmp_path], tmp_path / "data", f0="labels", progress=False)
    settings, sounds, _ = read_manifest(tmp_path / "data")
    assert settings.f0 == "labels" and sounds == done.sounds
    assert {sound.labels for sound in sounds} == {
        Labels("violin", "string", "acoustic", "train", 60, 100),
        Labels("flute", "flute", "acoustic", "train", 72, 50),
        Labels("violin", "string", "acoustic", "test", 61, 100),
    }
    for sound in sounds:
        features = load_features(tmp_path / "data", sound)
        np.testing.assert_allclose(features["f0_hz"], 440 * 2 ** ((sound.labels.pitch - 69) / 12), rtol=1e-6)
        np.testing.assert_array_equal(features["f0_confidence"], 1)
        assert sound.pitched == 1.0
    assert prepare([tmp_path], tmp_path / "data", f0="labels", progress=False).n_cached == 3


def test_only_recordings_that_are_asked_for_are_prepared(tmp_path):
    write_nsynth(tmp_path / "nsynth-train", [("violin", 60, 100), ("flute", 72, 50), ("flute", 73, 50)])
    select = Selection(family="flute", max_pitch=72)
    done = prepare([tmp_path], tmp_path / "data", f0="labels", select=select, progress=False)
    assert [sound.labels.pitch for sound in done.sounds] == [72]
    with pytest.raises(ValueError, match="none of the 3 recordings has family organ"):
        prepare([tmp_path], tmp_path / "none", select=Selection(family="organ"), progress=False)


def test_a_curve_beside_a_recording_is_its_pitch_and_silence_keeps_the_last(tmp_path):
    write_urmp(tmp_path / "urmp")
    done = prepare([tmp_path / "urmp"], tmp_path / "data", f0="labels", progress=False)
    [sound] = done.sounds
    [(skipped, reason)] = done.skipped.items()
    assert "AuSep_2_tpt" in skipped and "has no f0 among its labels: use f0='tracker'" in reason
    assert [note.pitch for note in sound.notes] == [69, 72]
    features = load_features(tmp_path / "data", sound)
    np.testing.assert_allclose(features["f0_hz"], 440.0, rtol=1e-6)
    voiced = features["f0_confidence"]  # every 4 ms; pitch begins at 200 ms, annotated every 10 ms
    np.testing.assert_array_equal(voiced[:48], 0)
    np.testing.assert_array_equal(voiced[50:], 1)


def test_between_the_points_of_a_curve_pitch_is_linear_in_semitones(tmp_path):
    sound = write_tone(tmp_path / "a.wav", 300.0, 1.0)
    (tmp_path / "a.f0.csv").write_text("time_s,f0_hz\n0,200\n0.5,400\n0.7,0\n")
    f0_hz, confidence = label_f0(find_recordings([tmp_path])[0], 250, 250)
    assert sound.exists()
    np.testing.assert_allclose(f0_hz[:126], 200 * 2 ** (np.arange(126) / 125), rtol=1e-5)
    np.testing.assert_allclose(f0_hz[126:], 400, rtol=1e-6)
    np.testing.assert_array_equal(confidence[:150], 1)
    np.testing.assert_array_equal(confidence[151:], 0)


def test_a_changed_curve_is_prepared_again(tmp_path):
    write_tone(tmp_path / "a.wav", 300.0, 0.5)
    for n_cached, text in ((0, "0,300\n"), (1, "0,300\n"), (0, "0,301\n")):
        (tmp_path / "a.f0.csv").write_text(text)
        done = prepare([tmp_path / "a.wav", tmp_path], tmp_path / "data", f0="labels", progress=False)
        assert (done.n_cached, len(done.sounds)) == (n_cached, 1)


SLOW_PREPARE = """
import sys, time
from fastddsp.training import prepare as module
extract = module.extract_features
def slow(audio, settings):
    time.sleep(0.4)
    return extract(audio, settings)
module.extract_features = slow
module.prepare(sys.argv[1:-1], sys.argv[-1], workers=1, progress=False)
"""


def test_a_killed_run_is_no_data_set_and_the_next_one_goes_on_from_there(tmp_path, monkeypatch):
    files = [write_tone(tmp_path / f"{i}.wav", 300.0 + 20 * i, 0.4) for i in range(6)]
    out = tmp_path / "data"
    process = subprocess.Popen([sys.executable, "-c", SLOW_PREPARE, *map(str, files), str(out)])
    while not (out / SOUNDS).is_dir() or sum(PARTIAL not in name for name in os.listdir(out / SOUNDS)) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(FileNotFoundError):
        SoundWindows(out)
    (out / SOUNDS / f"{'0' * 24}.77-1.partial.npy").write_bytes(b"half of a")
    computed = []
    extract = prepare_module.extract_features
    monkeypatch.setattr(prepare_module, "extract_features", lambda *args: computed.append(1) or extract(*args))
    done = prepare(files, out, progress=False)
    assert len(done.sounds) == 6
    assert done.n_cached >= 2
    assert len(computed) == 6 - done.n_cached
    assert len(stored(out)) == 6


@pytest.mark.parametrize("sample_rate", [32000, 48000])
def test_loudness_means_the_same_where_a_hop_is_longer_than_its_usual_spectrum(sample_rate):
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * sample_rate).astype(np.float32)
    often, seldom = (loudness(noise, Settings(sample_rate, frame_rate)) for frame_rate in (250, 50))
    assert len(often) == 5 * len(seldom) == 1000
    assert np.median(seldom) == pytest.approx(np.median(often), abs=0.1)  # of 200 frames that vary by 0.3 dB each
