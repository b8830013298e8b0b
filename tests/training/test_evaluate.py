import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fastddsp.models.presets import build
from fastddsp.training import evaluate as module
from fastddsp.training.dataset import Settings, read_manifest, write_manifest
from fastddsp.training.evaluate import FRAMES_BEHIND, evaluate, load_target, measure, reconstruct
from fastddsp.training.instrument import Instrument, listen, play
from fastddsp.training.labels import Labels, Selection
from fastddsp.training.prepare import prepare
from tests.training.models import SMALLEST_INVERSE, SMALLEST_MIDI, instrument, save_run, two_tones
from tests.training.sounds import tone, write_tone

# swift-f0 hears 64 ms every 16 ms: within half of that and a step of a tone's ends it may be wrong, 24 of 250 frames.
AT_THE_ENDS = 0.1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return two_tones(tmp_path_factory.mktemp("tones"))


def first_target(data):
    return load_target(data, read_manifest(data)[1][0])


def test_a_perfect_instrument_has_no_error_at_all(data, monkeypatch):
    monkeypatch.setattr(module, "reconstruct", lambda _, target, __: (target["audio"], target["f0_hz"]))
    found = evaluate(instrument(), data, progress=False)
    right = {"raw_pitch_accuracy", "raw_chroma_accuracy"}
    assert {name: summary["mean"] for name, summary in found.overall.items()} == {
        name: float(name in right) for name in FRAMES_BEHIND
    }
    assert {summary["rows"] for summary in found.overall.values()} == {2}
    pitched = found.overall["paper_f0_outliers"]["frames"]
    assert 0.9 * 500 < pitched <= 500
    assert found.overall["paper_f0_l1_semitones"]["frames"] == pitched  # all of them heard
    assert found.overall["loudness_l1_db"]["frames"] == 500


def test_a_resynthesis_that_falls_silent_is_an_outlier_where_it_does_and_right_before(data, monkeypatch):
    def half(_, target, __):
        return target["audio"] * (np.arange(len(target["audio"])) < len(target["audio"]) / 2), target["f0_hz"]

    monkeypatch.setattr(module, "reconstruct", half)
    found = evaluate(instrument(), data, progress=False)
    assert found.overall["paper_f0_outliers"]["mean"] == pytest.approx(0.5, abs=AT_THE_ENDS)
    assert found.overall["strict_f0_outliers"]["mean"] >= found.overall["paper_f0_outliers"]["mean"]
    assert found.overall["paper_f0_l1_semitones"]["mean"] < 0.1
    pitched, heard = (found.overall[f"paper_f0_{name}"]["frames"] for name in ("outliers", "l1_semitones"))
    assert heard == pytest.approx(pitched * (1 - found.overall["paper_f0_outliers"]["frame_mean"]))


def test_an_octave_too_low_is_twelve_semitones_wrong_but_right_in_chroma(data):
    target = first_target(data)
    row = measure({**target, "f0_hz": 2 * target["f0_hz"]}, target["audio"], Settings())
    assert row["paper_f0_l1_semitones"] == pytest.approx(12.0, abs=1e-5)
    assert row["magenta_f0_l1_semitones"] == pytest.approx(12.0, abs=1e-5)
    assert (row["raw_pitch_accuracy"], row["raw_chroma_accuracy"]) == (0.0, 1.0)
    assert (row["paper_f0_outliers"], row["strict_f0_outliers"], row["magenta_f0_outliers"]) == (0.0, 1.0, 0.0)


def test_magentas_mean_leaves_its_outliers_out(data):
    target = first_target(data)
    row = measure({**target, "f0_hz": 4 * target["f0_hz"]}, target["audio"], Settings())
    assert row["magenta_f0_outliers"] == 1.0
    assert np.isnan(row["magenta_f0_l1_semitones"])
    assert row["paper_f0_l1_semitones"] == pytest.approx(24.0, abs=1e-5)


def test_half_the_amplitude_is_6_decibels_and_a_fifth_on_the_papers_scale(data):
    target = first_target(data)
    row = measure(target, 0.5 * target["audio"], Settings())
    assert row["loudness_l1_db"] == pytest.approx(6.02, abs=0.02)
    assert row["paper_loudness_l1"] == pytest.approx(np.log(2) / 3.5105, rel=0.02)  # less by the noise floor
    with pytest.raises(ValueError, match="as long as the target's, 16000 samples, got 10"):
        measure(target, target["audio"][:10], Settings())


def test_a_recording_goes_through_the_model_as_play_renders_its_curves(data):
    violin, target = instrument(noise=True), first_target(data)
    audio, played_hz = reconstruct(violin, target, seed=3)
    np.testing.assert_allclose(audio, play(violin, target["f0_hz"], target["loudness_db"], seed=3), atol=1e-6)
    np.testing.assert_array_equal(played_hz, target["f0_hz"])


@pytest.mark.parametrize("config", [SMALLEST_MIDI, SMALLEST_INVERSE], ids=["midi", "inverse"])
def test_models_of_notes_and_of_heard_controls_are_measured_by_what_they_play(data, config):
    torch.manual_seed(0)
    player = Instrument(build(config).eval(), config, Settings())
    found = evaluate(player, data, progress=False)
    target = first_target(data)
    expected = play(player, **listen(player, target["audio"]))[: len(target["audio"])]
    audio, played_hz = reconstruct(player, target)
    np.testing.assert_allclose(audio, expected, atol=1e-5)
    assert played_hz.shape == target["f0_hz"].shape
    hears = config is SMALLEST_INVERSE
    assert ("encoder_f0_l1_semitones" in found.overall) == hears
    assert np.allclose(played_hz, target["f0_hz"]) != hears


@pytest.mark.parametrize("changes", [{"level": "power"}, {"z_dims": 4, "z_rnn_channels": 8}, {}], ids=str)
def test_every_kind_of_instrument_keeps_the_pitch_that_it_is_asked_for(data, changes):
    found = evaluate(instrument(**changes), data, progress=False)
    assert found.overall["raw_pitch_accuracy"]["mean"] > 1 - AT_THE_ENDS
    assert found.overall["paper_f0_outliers"]["mean"] < AT_THE_ENDS
    assert found.overall["loudness_l1_db"]["mean"] > 1.0


def test_what_an_encoder_hears_is_measured_against_the_target(data, monkeypatch):
    monkeypatch.setattr(module, "reconstruct", lambda _, target, __: (target["audio"], 1.5 * target["f0_hz"]))
    listener = instrument()
    listener = Instrument(listener.model, replace(listener.config, f0_encoder="small"), listener.settings)
    found = evaluate(listener, data, progress=False)
    assert found.overall["encoder_f0_l1_semitones"]["mean"] == pytest.approx(12 * np.log2(1.5), abs=1e-4)
    assert found.overall["encoder_raw_chroma_accuracy"]["mean"] == 0.0
    assert found.overall["paper_f0_l1_semitones"]["mean"] == 0.0


def test_only_the_held_out_ends_are_measured_on_request(data):
    found = evaluate(instrument(), data, part="valid", valid_share=0.4, progress=False)
    assert [row["frames"] for row in found.recordings] == [100, 100]
    with pytest.raises(ValueError, match=r"the 'valid' part of .* is empty"):
        evaluate(instrument(), data, part="valid", valid_share=0.0, progress=False)


def test_a_wrong_label_counts_unless_the_recording_is_tracked(tmp_path):
    prepare([write_tone(tmp_path / "300.wav", 300.0)], tmp_path / "data", progress=False)
    settings, (sound,), _ = read_manifest(tmp_path / "data")
    path = tmp_path / "data" / "frames" / f"{sound.key}.npy"
    rows = np.load(path)
    rows[:, -3], rows[:, -2] = 200.0, 1.0  # the label says 200 Hz throughout, and the instrument plays that
    rows[125:, :-3] = 0.0  # half of it is silent
    np.save(path, rows)
    labelled = replace(settings, f0="labels")
    sounds = [replace(sound, labels=Labels(instrument="tone", pitch=55))]
    write_manifest(tmp_path / "data", labelled, sounds, {}, {})
    nominal = evaluate(instrument(), tmp_path / "data", progress=False)
    assert nominal.overall["raw_pitch_accuracy"]["mean"] > 1 - AT_THE_ENDS
    assert 100 < nominal.overall["raw_pitch_accuracy"]["frames"] < 140  # the silent half has no pitch to be kept
    tracked = evaluate(instrument(), tmp_path / "data", target_f0="tracked", progress=False)
    assert tracked.overall["raw_pitch_accuracy"]["mean"] == 0.0
    assert tracked.overall["magenta_f0_l1_semitones"]["mean"] == pytest.approx(12 * np.log2(1.5), abs=0.2)
    assert {"instrument": "tone", "pitch": 55}.items() <= nominal.recordings[0].items()
    low = evaluate(instrument(), tmp_path / "data", select=Selection(max_pitch=60), progress=False)
    assert len(low.recordings) == 1
    with pytest.raises(ValueError, match=r"none of the 1 recordings of .* has min_pitch 60"):
        evaluate(instrument(), tmp_path / "data", select=Selection(min_pitch=60), progress=False)


def test_results_are_files_that_say_what_was_measured(data, tmp_path):
    run, out = save_run(instrument(), tmp_path / "run"), tmp_path / "results"
    found = evaluate(run, data, out, examples=1, progress=False)
    report = json.loads((out / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert report["run"] == str(run)
    assert report["settings"]["tracker"] == "swift-f0"
    written, measured = (overall["loudness_l1_db"]["mean"] for overall in (report["overall"], found.overall))
    assert written == pytest.approx(measured, rel=1e-5)
    with open(out / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [row["name"] for row in found.recordings]
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.*")} == {
        "metrics.json",
        "metrics.csv",
        "distributions.png",
        "examples/000_300.png",
        "examples/000_300_recording.wav",
        "examples/000_300_resynthesis.wav",
    }
    assert "| raw_pitch_accuracy | " in str(found)
    with pytest.raises(FileExistsError, match="results is not empty"):
        evaluate(run, data, out, progress=False)


def test_an_evaluation_that_fails_leaves_nothing_behind(data, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "measure", lambda *_: {}["broken"])
    with pytest.raises(KeyError):
        evaluate(instrument(), data, tmp_path / "out", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_the_data_set_must_have_the_rates_of_the_instrument(data):
    with pytest.raises(ValueError, match="frame_rate of the data set must be the instrument's, 50, got 250"):
        evaluate(instrument(frame_rate=50), data, progress=False)


def test_a_target_is_a_span_of_a_recording(data):
    sound = read_manifest(data)[1][0]
    whole, part = load_target(data, sound), load_target(data, sound, 10, 20)
    np.testing.assert_array_equal(part["audio"], whole["audio"][640:1280])
    np.testing.assert_array_equal(part["loudness_db"], whole["loudness_db"][10:20])
    np.testing.assert_allclose(whole["audio"][:16000], tone(300.0), atol=1e-4)  # written with 16 bits
