import json
import os
import shutil
import sys

import numpy as np
import pytest
import soundfile

from fastddsp.training.fluidsynth import find_soundfont
from fastddsp.training.metrics import hz_to_semitones
from fastddsp.training.pitch import track_pitch
from fastddsp.training.readers import find_recordings, read_f0, read_notes
from fastddsp.training.render import render_notes, render_phrases

# Writes half a minute of a square wave, whatever it is to play.
STAND_IN = f"""#!{sys.executable}
import sys, wave
if "--version" in sys.argv:
    print("FluidSynth runtime version 9.9.9")
else:
    rate = int(sys.argv[sys.argv.index("-r") + 1])
    with wave.open(sys.argv[sys.argv.index("-F") + 1], "wb") as out:
        out.setnchannels(1), out.setsampwidth(2), out.setframerate(rate)
        out.writeframes((b"\\0\\x40" * 50 + b"\\0\\xc0" * 50) * (30 * rate // 100))
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A program called fluidsynth, and options that name a SoundFont for it."""
    program, font = tmp_path / "bin" / "fluidsynth", tmp_path / "font.sf2"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    font.write_bytes(b"RIFF\0\0\0\0sfbk")
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return {"soundfont": str(font), "progress": False}


@pytest.fixture(scope="module")
def real():
    """Options that render with fluidsynth and a SoundFont of this machine."""
    if shutil.which("fluidsynth") is None:
        pytest.skip("fluidsynth is not installed")
    try:
        return {"soundfont": str(find_soundfont()), "progress": False}
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


def test_notes_make_a_folder_of_nsynth_that_is_split_by_the_seed(stand_in, tmp_path):
    options = {"keys": (60, 64), "velocities": (50, 100), "seconds": 0.5, "held_seconds": 0.3, **stand_in}
    done = render_notes(tmp_path / "a", instrument=["flute", 56], **options)
    assert (done.n_recordings, done.minutes, done.silent) == (20, pytest.approx(20 * 0.5 / 60), ())
    found = find_recordings([tmp_path / "a"])
    assert {(r.labels.instrument, r.labels.pitch, r.labels.velocity) for r in found} == {
        (instrument, key, velocity)
        for instrument in ("flute", "trumpet")
        for key in range(60, 65)
        for velocity in (50, 100)
    }
    splits = [recording.labels.split for recording in found]
    assert [splits.count(split) for split in ("train", "valid", "test")] == [16, 2, 2]
    assert all(soundfile.info(recording.path).frames == 8000 for recording in found)
    assert json.loads((tmp_path / "a" / "render.json").read_text())["fluidsynth"] == "9.9.9"

    render_notes(tmp_path / "b", instrument=["flute", 56], **options)
    render_notes(tmp_path / "c", instrument=["flute", 56], seed=1, **options)
    a, b, c = ({(r.path.name, r.labels.split) for r in find_recordings([tmp_path / name])} for name in "abc")
    assert a == b != c


def test_notes_that_make_no_sound_are_left_out_and_listed(stand_in, tmp_path):
    options = {"instrument": "flute", "keys": (60, 67), "velocities": [90], "seconds": 5.0, **stand_in}
    done = render_notes(tmp_path / "a", **options)  # the stand-in falls silent after half a minute
    assert done.n_recordings == 6
    assert done.silent == ("flute_acoustic_flute-066-090", "flute_acoustic_flute-067-090")
    assert len(find_recordings([tmp_path / "a"])) == 6


def test_phrases_lie_beside_their_pitch_and_notes(stand_in, tmp_path):
    render_phrases(tmp_path / "a", instrument=["violin", "flute"], minutes=0.1, sample_rate=24000, **stand_in)
    flute, violin = find_recordings([tmp_path / "a"])
    assert [(r.path.name, r.labels.instrument, r.labels.family) for r in (flute, violin)] == [
        ("flute_000.wav", "flute", "flute"),
        ("violin_000.wav", "violin", "string"),
    ]
    assert soundfile.info(violin.path).samplerate == 24000
    assert soundfile.info(violin.path).duration == pytest.approx(6.0)
    times, f0_hz = read_f0(violin.f0)
    assert (times[0], times[-1], len(times)) == (0.002, 5.998, 1500)
    for note in read_notes(violin.notes):
        held = (times > note.onset_s) & (times < note.offset_s)
        assert np.abs(hz_to_semitones(f0_hz[held]) - note.pitch).max() < 8
        assert abs(np.median(hz_to_semitones(f0_hz[held])) - note.pitch) < 0.5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"instrument": "flut"}, ValueError, "did you mean flute"),
        ({"instrument": []}, ValueError, "at least one instrument"),
        ({"instrument": "flute", "keys": (70, 60)}, ValueError, "the lower one first, got 70 and 60"),
        ({"instrument": "flute", "velocities": [0]}, ValueError, "velocities 1 to 127"),
        ({"instrument": "flute", "held_seconds": 5.0}, ValueError, "at most seconds, got 5.0 of 4.0"),
        ({"instrument": "flute", "valid_share": 0.6, "test_share": 0.4}, ValueError, "must leave notes to train on"),
        ({"instrument": "flute", "sample_rate": 0}, ValueError, "sample_rate must be at least 1 Hz"),
    ],
)
def test_wrong_settings_are_named_and_nothing_is_written(stand_in, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        render_notes(tmp_path / "out", **{**stand_in, **options})
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone_and_a_failure_leaves_none(stand_in, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("the user's")
    with pytest.raises(FileExistsError, match="is not empty"):
        render_phrases(tmp_path / "out", instrument="violin", minutes=0.1, **stand_in)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    (tmp_path / "bin" / "fluidsynth").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(RuntimeError, match="fluidsynth failed"):
        render_phrases(tmp_path / "new", instrument="violin", minutes=0.1, **stand_in)
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "font.sf2", "out"}


def test_a_sampled_instrument_plays_the_notes_it_is_told(real, tmp_path):
    options = {"keys": (60, 67), "key_step": 7, "velocities": (50, 120), "seconds": 1.0, "held_seconds": 0.7}
    render_notes(tmp_path / "a", instrument=["trumpet"], **options, **real)
    levels = {}
    for recording in find_recordings([tmp_path / "a"]):
        audio, rate = soundfile.read(recording.path)
        f0_hz, _ = track_pitch(audio, rate, 100)
        assert abs(np.median(hz_to_semitones(f0_hz[20:70])) - recording.labels.pitch) < 0.25
        assert np.abs(audio[-160:]).max() < 0.01 * np.abs(audio).max()  # let go, and cut off before the next
        levels[recording.labels.pitch, recording.labels.velocity] = np.sqrt(np.mean(audio**2))
    assert len(levels) == 4
    assert all(levels[key, 120] > 3 * levels[key, 50] for key in (60, 67))


def test_a_sampled_violin_follows_the_pitch_beside_it(real, tmp_path):
    render_phrases(tmp_path / "a", instrument="violin", minutes=0.2, seed=3, **real)
    [recording] = find_recordings([tmp_path / "a"])
    audio, rate = soundfile.read(recording.path)
    f0_hz, _ = track_pitch(audio, rate, 250, fmin=180, fmax=1500)
    times, truth = read_f0(recording.f0)
    frames = np.searchsorted(times, np.arange(len(f0_hz)) / 250).clip(0, len(truth) - 1)
    told = truth[frames] > 0
    cents = 100 * np.abs(hz_to_semitones(f0_hz[told]) - hz_to_semitones(truth[frames][told]))
    # The recording has a vibrato of its own of about 10 cents; at changes of note the tracker is some 30 ms behind.
    assert np.mean(cents < 50) > 0.93 and np.median(cents) < 12
    assert np.sqrt(np.mean(audio[-4000:] ** 2)) < 0.05 * np.sqrt(np.mean(audio**2))
