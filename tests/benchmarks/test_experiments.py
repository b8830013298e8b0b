"""Results of experiments keep their form, and the page shows them as they are."""

import json

import numpy as np
import pytest

pytest.importorskip("lightning", reason='experiments train, which needs pip install "fastddsp[train]"')

from matplotlib.figure import Figure

from fastddsp.benchmarks.experiments import common, control, notes, page, trainings
from fastddsp.benchmarks.experiments.common import Outcome, Row, Training
from fastddsp.benchmarks.report import BEGIN, END
from fastddsp.models.presets import load_preset
from fastddsp.training.audio import write_audio
from fastddsp.training.prepare import prepare

COMMITTED = sorted(common.RESULTS.glob("*.json"))
KEYS = {
    *("format", "name", "title", "text", "rows", "trainings", "remarks", "pictures", "details"),
    *("quick", "seed", "seconds", "threads", "processor", "versions"),
}


def outcome(**changes) -> Outcome:
    row = Row("f0 L1", np.float32(0.02), "semitones", 100, "frames", at_most=0.05, spread=(0.001, 0.1))
    settings = {"title": "Notes", "text": "Trained on notes.", "rows": [row], "pictures": {"notes": (Figure(), "A")}}
    return Outcome(**{**settings, **changes})


@pytest.mark.parametrize(
    ("value", "bounds", "met"),
    [
        (0.05, {"at_most": 0.05}, True),
        (0.051, {"at_most": 0.05}, False),
        (10, {"at_least": 10}, True),
        (9.9, {"at_least": 10}, False),
        (float("nan"), {"at_most": 1}, False),
        (None, {"at_least": 1}, False),
        (3, {}, None),
    ],
)
def test_a_row_knows_whether_it_is_within_its_bounds(value, bounds, met):
    assert Row("error", value, "dB", 1, "frames", **bounds).met() is met


def test_a_result_is_written_whole_and_plain(tmp_path):
    common.save("notes", outcome(details={"tried": (np.float64("nan"), 3)}), False, 1.0, tmp_path)
    result = json.loads((tmp_path / "notes.json").read_text("utf-8"))
    assert result.keys() == KEYS
    assert result["rows"][0]["value"] == 0.02 and result["rows"][0]["met"] is True
    assert result["details"] == {"tried": [None, 3]}
    assert result["pictures"] == [{"file": "notes.png", "caption": "A"}] and (tmp_path / "notes.png").exists()


def test_a_trial_is_never_written_where_results_are_committed(capsys):
    with pytest.raises(SystemExit):
        common.main(lambda work, quick: outcome(), ["--quick"])
    assert "--quick needs --out" in capsys.readouterr().err


def test_the_command_writes_under_the_name_of_the_module(tmp_path):
    def run(work, quick):
        assert quick and work.is_dir()
        return outcome()

    common.main(run, ["--quick", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "test_experiments.json").read_text("utf-8"))["quick"]


def test_the_page_has_every_row_and_says_what_was_missed(tmp_path):
    rows = [
        Row("f0 L1", 0.0213, "semitones", 100, "frames", at_most=0.05),
        Row("gain", 8.26, "dB", 3, "notes", None, 10),
    ]
    training = Training("tiny", 1200, 99.6, 232314, 4.5, {})
    common.save("notes", outcome(rows=rows, trainings=[training], remarks=["Short."]), False, 1.0, tmp_path)
    text = page.markdown(page.results(tmp_path))
    assert "| [Notes](#notes) | f0 L1 | 0.0213 semitones | ≤ 0.05 semitones | yes | 100 frames |  |" in text
    assert "|  | gain | 8.26 dB | ≥ 10 dB | **no** | 3 notes |  |" in text
    assert "| tiny | 232,314 | 1200 | 100 | 4.500 |" in text
    assert "- Short." in text and "![A](experiments/notes.png)" in text


def test_a_training_is_done_once(tmp_path):
    times = np.arange(16000) / 16000
    write_audio(tmp_path / "tone.wav", 0.1 * np.sin(2 * np.pi * 220 * times), 16000)
    prepare([tmp_path / "tone.wav"], tmp_path / "data", progress=False)
    config = load_preset("tiny", reverb_length=0, rnn_channels=4, n_harmonics=5)
    short = {"batch_size": 1, "window_seconds": 0.2}
    done = trainings.train(tmp_path / "run", tmp_path / "data", config, 2, **short)
    assert done.steps == 2 and done.name == "run" and done.weights > 0
    written = (tmp_path / "run/last.ckpt").stat().st_mtime_ns
    record = tmp_path / "run" / trainings.RECORD
    older = json.loads(record.read_text("utf-8"))
    del older["settings"]["model"]["noise_overlap"]  # as if it was trained before there was this setting
    record.write_text(json.dumps(older), "utf-8")
    again = trainings.train(tmp_path / "run", tmp_path / "data", config, 2, **short)
    assert (again.steps, again.seconds, again.last_loss) == (2, done.seconds, done.last_loss)
    assert (tmp_path / "run/last.ckpt").stat().st_mtime_ns == written
    assert trainings.train(tmp_path / "run", tmp_path / "data", config, 3, **short).steps == 3


@pytest.mark.parametrize("path", COMMITTED, ids=[path.stem for path in COMMITTED])
def test_committed_results_are_no_trials_and_keep_their_form(path):
    result = json.loads(path.read_text("utf-8"))
    assert result.keys() == KEYS and result["format"] == common.FORMAT and result["name"] == path.stem
    assert not result["quick"]
    for fields in result["rows"]:
        met = fields.pop("met")
        row = Row(**fields)
        assert row.met() is met and (row.count > 0 or row.value is None)
    assert all(Training(**training).seconds > 0 for training in result["trainings"])
    assert all((common.PICTURES / picture["file"]).is_file() for picture in result["pictures"])


def test_the_page_says_what_the_committed_results_say():
    text = page.PAGE.read_text("utf-8")
    assert text.split(BEGIN)[1].split(END)[0].strip() == page.markdown(page.results()).strip()


def curves(f0_hz, loudness_db, confidence=1.0):
    n = 4
    values = {"f0_hz": f0_hz, "loudness_db": loudness_db, "f0_confidence": confidence}
    return {name: np.broadcast_to(np.asarray(value, dtype=np.float32), n) for name, value in values.items()}


def test_a_sound_that_follows_a_shift_has_no_error():
    ranges = {"pitch": (60.0, 81.0), "loudness": (-50.0, -20.0)}
    asked, old, new = curves(440.0, -40.0), curves(441.0, -39.0), curves(882.0, -27.0)
    pitch, loudness, in_range, lost = control.errors(asked, old, new, 12.0, 12.0, ranges, 0.5)
    np.testing.assert_allclose(pitch, 0.0, atol=1e-3)
    np.testing.assert_allclose(loudness, 0.0, atol=1e-5)
    assert in_range.all() and not lost.any() and len(lost) == 4


def test_frames_without_a_pitch_do_not_count_and_lost_ones_are_told():
    ranges = {"pitch": (60.0, 80.0), "loudness": (-50.0, -20.0)}
    asked = curves(440.0, -40.0, [1.0, 1.0, 1.0, 0.1])
    old, new = curves(440.0, -40.0, [0.1, 1.0, 1.0, 1.0]), curves(880.0, -43.0, [1.0, 0.1, 1.0, 1.0])
    pitch, loudness, in_range, lost = control.errors(asked, old, new, 12.0, 0.0, ranges, 0.5)
    assert len(pitch) == 1 and loudness == [-3.0]
    assert in_range.tolist() == [False]  # 81 semitones
    assert lost.tolist() == [True, False]


def test_pitches_that_the_tracker_cannot_hear_do_not_count():
    ranges = {"pitch": (0.0, 127.0), "loudness": (-80.0, 0.0)}
    asked, old, new = curves([150.0, 200.0, 800.0, 1200.0], -40.0), curves(440.0, -40.0), curves(880.0, -40.0)
    assert len(control.errors(asked, old, new, -12.0, 0.0, ranges, 0.5)[0]) == 3
    assert len(control.errors(asked, old, new, 12.0, 0.0, ranges, 0.5)[0]) == 3


def test_no_key_of_a_test_is_trained_on():
    parts = {key: notes.part_of(key) for key in range(notes.LOWEST, notes.HIGHEST + 1)}
    assert [key for key, part in parts.items() if part == "held out"] == list(notes.HELD_OUT)
    assert all((part == "above") == (key > 72) for key, part in parts.items())


def test_a_rendered_note_says_what_it_is():
    assert notes.note_of("nsynth-train/audio/reed_acoustic_alto_sax-073-120.wav") == ("alto_sax", 73)
    with pytest.raises(ValueError, match="must be named FAMILY_SOURCE_INSTRUMENT-KEY-VELOCITY"):
        notes.note_of("violin.wav")


def measured(part: str, distance: float) -> dict:
    names = (*notes.FRAMES_BEHIND, "nominal_f0_l1_semitones", "recording_nominal_f0_l1_semitones")
    counts = {"frames": 500, "pitched_frames": 400, "heard_frames": 399}
    return dict.fromkeys(names, 0.004) | counts | {"key": 50, "instrument": part, "spectral_distance": distance}


def test_notes_are_asked_for_what_the_issue_asks():
    distances = {"trained": 4.0, "held out": 5.0, "above": 7.0}
    rows = notes.rows_of({part: [measured(part, distance)] * 2 for part, distance in distances.items()})
    asked = {row.what: row for row in rows if row.met() is not None}
    assert {what: row.at_most for what, row in asked.items()} == {
        "held out: f0 L1": 0.05,
        "held out: f0 outliers, paper's rule": 0.5,
        "above: f0 L1": 0.1,
        "above over held out: spectral distance": 1.5,
    }
    assert asked["held out: f0 outliers, paper's rule"].value == pytest.approx(0.4)  # in %
    assert asked["above over held out: spectral distance"].value == pytest.approx(1.4)
    assert (asked["held out: f0 L1"].count, asked["above over held out: spectral distance"].count) == (798, 4)
