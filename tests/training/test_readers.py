import json

import numpy as np
import pytest

from fastddsp.training.labels import Labels
from fastddsp.training.readers import Recording, find_recordings, read_f0, read_notes, read_nsynth, read_urmp
from fastddsp.training.score import UNKNOWN_VELOCITY, Note
from tests.training.layouts import write_nsynth, write_urmp
from tests.training.sounds import write_tone


def test_a_folder_gives_its_sound_files_and_what_lies_beside_them(tmp_path):
    plain = write_tone(tmp_path / "deep" / "plain.flac")
    known = write_tone(tmp_path / "known.wav")
    (tmp_path / "known.f0.csv").write_text("time_s,f0_hz\n0,440\n")
    (tmp_path / "known.notes.csv").write_text("onset_s,offset_s,pitch,velocity\n0.1,0.9,69,80\n")
    (tmp_path / "recordings.json").write_text(json.dumps({"known.wav": {"instrument": "kazoo", "pitch": 69}}))
    (tmp_path / "readme.txt").write_text("no sound")
    assert find_recordings([tmp_path]) == [
        Recording(plain),
        Recording(known, Labels("kazoo", pitch=69), tmp_path / "known.f0.csv", tmp_path / "known.notes.csv"),
    ]
    assert find_recordings([known, tmp_path, plain]) == find_recordings([tmp_path])[::-1]


def test_nsynth_gives_notes_with_their_labels_and_the_split_of_their_folder(tmp_path):
    write_nsynth(tmp_path / "nsynth-train", [("violin", 60, 100)])
    write_nsynth(tmp_path / "nsynth-test", [("trumpet", 70, 25)])
    found = find_recordings([tmp_path])
    assert found == read_nsynth(tmp_path)
    assert {(recording.path.name, recording.labels) for recording in found} == {
        ("string_acoustic_violin-060-100.wav", Labels("violin", "string", "acoustic", "train", 60, 100)),
        ("brass_acoustic_trumpet-070-025.wav", Labels("trumpet", "brass", "acoustic", "test", 70, 25)),
    }
    assert all(recording.path.is_file() for recording in found)
    assert find_recordings([tmp_path / "nsynth-test"])[0].labels.split == "test"


def test_nsynth_as_it_is_published(tmp_path):
    example = {
        "qualities": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "pitch": 64,
        "note": 201034,
        "instrument_source_str": "synthetic",
        "velocity": 127,
        "instrument_str": "bass_synthetic_033",
        "instrument": 417,
        "sample_rate": 16000,
        "qualities_str": ["dark"],
        "instrument_source": 2,
        "note_str": "bass_synthetic_033-064-127",
        "instrument_family": 0,
        "instrument_family_str": "bass",
    }
    (tmp_path / "examples.json").write_text(json.dumps({"bass_synthetic_033-064-127": example}))
    [found] = read_nsynth(tmp_path)
    assert found.path == tmp_path / "audio" / "bass_synthetic_033-064-127.wav"
    assert found.labels == Labels("bass_synthetic_033", "bass", "synthetic", None, 64, 127)


def test_urmp_gives_separated_tracks_with_pitch_and_notes(tmp_path):
    violin, trumpet = find_recordings([write_urmp(tmp_path)])
    assert [violin, trumpet] == read_urmp(tmp_path / "01_Jupiter_vn_tpt")
    assert violin.labels == Labels("violin", "string", "acoustic")
    assert trumpet.labels == Labels("trumpet", "brass", "acoustic")
    assert (trumpet.f0, trumpet.notes) == (None, None)
    times, f0_hz = read_f0(violin.f0)
    np.testing.assert_allclose(times, np.arange(60) / 100)
    np.testing.assert_array_equal(f0_hz, np.where(np.arange(60) >= 20, 440.0, 0.0))
    assert read_notes(violin.notes) == [
        Note(0.2, pytest.approx(0.45), 69, UNKNOWN_VELOCITY),
        Note(0.5, pytest.approx(0.6), 72, UNKNOWN_VELOCITY),
    ]


def test_what_cannot_be_read_is_named(tmp_path):
    file = tmp_path / "a.csv"
    for text, message in [
        ("time_s,f0_hz\n0,1,2\n", "must be a table of 2 columns"),
        ("0,x\n", "a.csv must be a table of 2 columns of numbers"),
        ("0,1\n0,2\n", "rising times"),
        ("0,-1\n", "frequencies of 0 Hz or more"),
    ]:
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_f0(file)
    write_tone(tmp_path / "a.wav")
    for text, message in [
        ("{", "cannot be read as JSON"),
        ("[]", "must hold an object"),
        ('{"a.wav": {"colour": "red"}}', "must give of each recording some of family, instrument, "),
    ]:
        (tmp_path / "recordings.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            find_recordings([tmp_path])
    (tmp_path / "examples.json").write_text('{"a": {"pitch": 60}}')
    with pytest.raises(ValueError, match=r"examples\.json: 'a' is not described as in NSynth"):
        find_recordings([tmp_path])


def test_a_folder_without_sound_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no sound files"):
        find_recordings([tmp_path])
    with pytest.raises(FileNotFoundError, match=r"is not NSynth: it holds no examples\.json"):
        read_nsynth(tmp_path)
