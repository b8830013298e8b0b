from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastddsp.models.presets import build
from fastddsp.training.audio import read_audio
from fastddsp.training.dataset import Settings, read_manifest
from fastddsp.training.instrument import Instrument
from fastddsp.training.metrics import hz_to_semitones
from fastddsp.training.pitch import track_pitch
from fastddsp.training.statistics import Statistics
from fastddsp.training.transfer import auto_tune, match_curves, match_level, match_octaves, transfer
from tests.training.models import SMALLEST_INVERSE, SMALLEST_MIDI, instrument, save_run, two_tones
from tests.training.sounds import write_tone

QUANTILES = np.linspace(-60.0, -20.0, 1001)
VIOLIN = Statistics(81.0, 81.0, 0.1, QUANTILES, -60.0, 0.9)


def midi_to_hz(pitch):
    return 440.0 * 2.0 ** ((np.asarray(pitch) - 69.0) / 12.0)


@pytest.mark.parametrize(
    ("pitch", "octaves"), [(81.0, 0), (75.1, 0), (74.9, 1), (87.1, -1), (57.0, 2), (50.0, 3), (99.1, -2)]
)
def test_the_register_moves_to_the_nearest_octave(pitch, octaves):
    assert match_octaves(np.array([pitch - 20, pitch, pitch + 1]), VIOLIN) == octaves


def test_notes_take_the_levels_of_the_training_data():
    # Evenly spread from -40 to -30 dB to evenly spread from -60 to -20 dB: 4 (L + 35) - 40.
    level = np.random.default_rng(0).permutation(np.linspace(-40, -30, 2001))
    matched = match_level(level, np.ones(2001, bool), QUANTILES)
    np.testing.assert_allclose(matched, 4 * (level + 35) - 40, atol=40 / 2001)


def test_the_training_data_themselves_stay_as_they_are():
    level = np.random.default_rng(0).normal(-30, 5, 5000)
    quantiles = np.quantile(level, np.linspace(0, 1, 1001))
    matched = match_level(level, np.ones(5000, bool), quantiles)
    # 2 % from the ends 5000 samples lie 1 / (5000 * 0.0097) = 0.02 dB apart, and five of them share a quantile's step.
    middle = (level > quantiles[20]) & (level < quantiles[-20])
    np.testing.assert_allclose(matched[middle], level[middle], atol=0.1)


def test_levels_beyond_the_notes_keep_their_distance_to_them():
    level = np.array([-70.0, -50.0, -45.0, -40.0, -30.0])
    on = np.array([False, True, True, True, False])
    matched = match_level(level, on, QUANTILES)
    assert matched[0] - -60.0 == pytest.approx(-20.0)
    assert matched[4] - -20.0 == pytest.approx(10.0)
    assert matched[2] == pytest.approx(-40.0)


@given(st.lists(st.floats(-80, 10), min_size=1, max_size=40), st.data())
@settings(max_examples=50, deadline=None)
def test_a_louder_frame_never_ends_quieter(level, data):
    level = np.array(level)
    on = np.array(data.draw(st.lists(st.booleans(), min_size=len(level), max_size=len(level))))
    on[data.draw(st.integers(0, len(level) - 1))] = True
    quantiles = np.sort(np.array(data.draw(st.lists(st.floats(-80, 10), min_size=2, max_size=20))))
    matched = match_level(level, on, quantiles)
    order = np.argsort(level)
    assert (np.diff(matched[order]) >= -1e-9).all()
    assert np.isfinite(matched).all()


def test_notes_of_one_level_go_to_the_median():
    np.testing.assert_allclose(match_level(np.full(10, -33.0), np.ones(10, bool), QUANTILES), -40.0)


@pytest.mark.parametrize("tuning", [None, 0.0, -0.4])
def test_full_auto_tune_leaves_nothing_but_semitones_in_the_tuning(tuning):
    vibrato = 0.3 * np.sin(np.arange(400) / 7)
    sung = np.repeat([60.2, 64.2, 67.2, 72.2], 100) + vibrato
    on = np.ones(400, bool)
    tuned = hz_to_semitones(auto_tune(midi_to_hz(sung), on, np.ones(400), 1.0, tuning))
    own = np.angle(np.exp(2j * np.pi * sung).mean()) / (2 * np.pi)  # about 0.2
    expected = np.repeat([60, 64, 67, 72], 100) + (own if tuning is None else tuning)
    np.testing.assert_allclose(tuned, expected, atol=1e-9)


def test_half_of_auto_tune_goes_half_the_way():
    sung = np.array([60.2, 63.8, 66.6])
    weights, on = np.array([1.0, 0.0, 0.0]), np.ones(3, bool)  # the first alone tells the tuning: 0.2
    tuned = hz_to_semitones(auto_tune(midi_to_hz(sung), on, weights, 0.5, 0.0))
    np.testing.assert_allclose(tuned, (sung + np.array([60, 64, 66])) / 2, atol=1e-9)
    np.testing.assert_allclose(auto_tune(midi_to_hz(sung), on, weights, 0.0), midi_to_hz(sung))


@pytest.mark.parametrize("key", range(12))
def test_the_major_scale_of_the_tune_is_found_and_its_notes_kept(key):
    scale = key + 60 + np.array([0, 2, 4, 5, 7, 9, 11, 12])
    sung = np.repeat(scale, 50).astype(float)
    wrong = np.concatenate([sung, np.full(5, key + 60 + 6.4)])  # between the fourth and the fifth, nearer to the fifth
    on = np.ones(len(wrong), bool)
    weights = np.concatenate([np.ones(400), np.zeros(5)])
    tuned = hz_to_semitones(auto_tune(midi_to_hz(wrong), on, weights, 1.0, scale="major"))
    np.testing.assert_allclose(tuned, np.concatenate([sung, np.full(5, key + 60 + 7.0)]), atol=1e-6)


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="scale must be 'chromatic' or 'major', got 'minor'"):
        auto_tune(np.full(2, 440.0), np.ones(2, bool), np.ones(2), 1.0, scale="minor")


def sung_phrase():
    """A note of a second, as long a rest with breath at -45 dB, another note, and digital silence."""
    parts = [(57.0, -40.0, 1.0), (57.0, -45.0, 0.0), (60.0, -30.0, 1.0), (60.0, -80.0, 0.0)]
    pitch, level, confidence = (np.repeat(column, 250) for column in np.array(parts).T)
    return midi_to_hz(pitch), level, confidence


def test_parts_between_notes_become_quieter_and_silence_stays_silent():
    f0_hz, level, confidence = sung_phrase()
    middle = slice(300, 450)  # of the rest, away from the notes
    plain, quieter = (
        match_curves(f0_hz, level, confidence, VIOLIN, Settings(), quiet=quiet)[1] for quiet in (0.0, 10.0)
    )
    np.testing.assert_allclose(quieter[middle], plain[middle] - 10.0)
    on = match_curves(f0_hz, level, confidence, VIOLIN, Settings())[2]
    np.testing.assert_array_equal(quieter[on], plain[on])
    np.testing.assert_array_equal(quieter[750:], -80.0)
    louder = replace(VIOLIN, quantiles_db=QUANTILES + 40.0)  # 20 dB louder than the phrase: silence would be heard
    matched = match_curves(f0_hz, level, confidence, louder, Settings(), quiet=0.0)[1]
    np.testing.assert_array_equal(matched[750:], -80.0)
    assert (quieter >= -80.0).all()
    assert on[:200].all() and on[550:700].all() and not on[middle].any() and not on[750:].any()


def test_there_is_no_step_where_a_note_ends():
    # Confidence fades over 0.4 s at a constant level, which follows by at most 20 dB times 2 * 0.01 / 0.49 a frame.
    f0_hz, level = np.full(600, 220.0), np.full(600, -40.0)
    confidence = np.interp(np.arange(600), [0, 250, 350, 600], [1.0, 1.0, 0.0, 0.0])
    matched = match_curves(f0_hz, level, confidence, VIOLIN, Settings(tracker="crepe"))[1]
    assert np.abs(np.diff(matched)).max() < 20 * 2 * 0.01 / 0.49
    assert matched[0] - matched[-1] == pytest.approx(20.0)


def test_pitch_keeps_its_shape_and_moves_by_octaves():
    f0_hz, level, confidence = sung_phrase()
    moved, _, _, octaves = match_curves(f0_hz, level, confidence, VIOLIN, Settings())
    assert octaves == 2  # from 57 and 60 to 81
    np.testing.assert_allclose(moved, 4 * f0_hz)
    tuned, _, _, _ = match_curves(f0_hz, level, confidence, VIOLIN, Settings(), autotune=1.0)
    np.testing.assert_allclose(hz_to_semitones(tuned), hz_to_semitones(moved) + 0.1, atol=1e-9)  # the violin's tuning


def test_a_recording_without_notes_is_refused_with_the_way_out():
    f0_hz, level, _ = sung_phrase()
    with pytest.raises(ValueError, match=r"no note was found at threshold 1: lower it, or .* \(--no-adjust\)"):
        match_curves(f0_hz, level, np.zeros(1000), VIOLIN, Settings())


@pytest.fixture
def run(tmp_path):
    low = replace(VIOLIN, pitch_median=57.0, pitch_mean=57.0)
    return save_run(instrument(), tmp_path / "run", statistics=low.to_dict())


def pitch_of(path, seconds=1.0):
    audio = read_audio(path, 16000)
    assert len(audio) == round(16000 * seconds)
    f0_hz, confidence = track_pitch(audio, 16000)
    return float(np.median(f0_hz[confidence > 0.5]))


@pytest.mark.parametrize(
    ("options", "octaves"),
    [({}, -2), ({"octave": 1}, -1), ({"adjust": False}, 0), ({"adjust": False, "octave": -1}, -1)],
    ids=str,
)
def test_a_recording_is_played_in_the_instruments_register(run, tmp_path, options, octaves):
    tune = write_tone(tmp_path / "tune.wav", 800.0, 1.0, 44100)
    done = transfer(run, tune, tmp_path / "out.wav", **options)
    assert done.octaves == octaves
    assert pitch_of(done.path) == pytest.approx(800.0 * 2.0**octaves, rel=0.01)


def test_the_level_moves_to_the_training_datas_and_then_by_what_is_asked_for(run, tmp_path):
    tune = write_tone(tmp_path / "tune.wav", 220.0)
    plain, louder, untouched = (
        transfer(run, tune, tmp_path / "out.wav", **options)
        for options in ({}, {"loudness_shift": 6.0}, {"adjust": False, "loudness_shift": 6.0})
    )
    assert louder.level_db - plain.level_db == pytest.approx(6.0)
    assert untouched.level_db == pytest.approx(6.0)
    assert np.isnan(untouched.note_share)
    assert plain.note_share > 0.9
    assert "moved by +0 octaves" in str(plain)
    assert "notes in" in str(plain) and "notes in" not in str(untouched)


def test_the_same_call_gives_the_same_file(run, tmp_path):
    tune = write_tone(tmp_path / "tune.wav", 330.0)
    files = [transfer(run, tune, tmp_path / f"{i}.wav", autotune=0.5).path.read_bytes() for i in range(2)]
    assert files[0] == files[1]


def test_a_run_without_statistics_says_so_and_takes_those_of_a_data_set(tmp_path):
    earlier = save_run(instrument(), tmp_path / "earlier")
    tune = write_tone(tmp_path / "tune.wav", 1480.0)
    with pytest.raises(ValueError, match=r"earlier keeps no statistics .* \(--data DIR\), or match nothing"):
        transfer(earlier, tune, tmp_path / "out.wav")
    data = two_tones(tmp_path / "tones")
    assert read_manifest(data)[0].tracker == "swift-f0"
    done = transfer(earlier, tune, tmp_path / "out.wav", data=data)
    assert done.octaves == -2  # to 370 Hz, between the data's 300 and 400
    assert pitch_of(done.path) == pytest.approx(370.0, rel=0.01)
    assert transfer(earlier, tune, tmp_path / "out.wav", adjust=False).octaves == 0
    brighter = save_run(instrument(sample_rate=24000, n_samples=4800), tmp_path / "brighter")
    with pytest.raises(ValueError, match="data must have the sample rate of the instrument, 24000 Hz, got 16000"):
        transfer(brighter, tune, tmp_path / "out.wav", data=data)


def test_an_instrument_with_z_plays_the_mean_one_or_that_of_a_recording(tmp_path):
    singer = instrument(z_dims=3, z_rnn_channels=8)
    tune = write_tone(tmp_path / "tune.wav", 880.0, 0.5)
    sounds = {}
    for name, z_mean in (("low", [-1.0, 0.0, 2.0]), ("high", [5.0, -5.0, 0.0])):
        statistics = replace(VIOLIN, z_mean=np.array(z_mean, dtype=np.float32))
        run = save_run(singer, tmp_path / name, statistics=statistics.to_dict())
        sounds[name] = read_audio(transfer(run, tune, tmp_path / "out.wav").path, 16000)
        borrowed = transfer(run, tune, tmp_path / "out.wav", z_from=tune)
        sounds[f"{name} borrowed"] = read_audio(borrowed.path, 16000)
    assert np.abs(sounds["low"] - sounds["high"]).max() > 1e-3
    np.testing.assert_array_equal(sounds["low borrowed"], sounds["high borrowed"])
    earlier = save_run(singer, tmp_path / "earlier")
    from_data = transfer(earlier, tune, tmp_path / "out.wav", data=two_tones(tmp_path / "tones"))
    assert from_data.octaves == -1


def test_an_instrument_that_reads_power_is_matched_in_power(tmp_path):
    run = save_run(instrument(level="power"), tmp_path / "run", statistics=VIOLIN.to_dict())
    done = transfer(run, write_tone(tmp_path / "tune.wav", 880.0), tmp_path / "out.wav")
    # The tone is sum over k = 1 ... 8 of sin(k ...) / 4 k; -40 dB is the median of the training data.
    power_db = 10 * np.log10(0.25**2 * np.sum(1 / np.arange(1, 9) ** 2.0) / 2)
    assert done.level_db == pytest.approx(-40.0 - power_db, abs=0.5)


def test_a_model_of_notes_transfers_and_inverse_synthesis_has_nothing_to_transfer(tmp_path):
    tune = write_tone(tmp_path / "tune.wav", 880.0)
    for config in (SMALLEST_MIDI, SMALLEST_INVERSE):
        player = Instrument(build(config).eval(), config, Settings())
        save_run(player, tmp_path / config.kind, statistics=replace(VIOLIN, pitch_median=57.0).to_dict())
    assert transfer(tmp_path / SMALLEST_MIDI.kind, tune, tmp_path / "out.wav").octaves == -2
    with pytest.raises(ValueError, match="is inverse synthesis: it plays what it hears"):
        transfer(tmp_path / SMALLEST_INVERSE.kind, tune, tmp_path / "out.wav")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, "threshold must be above 0, got 0"),
        ({"autotune": 1.5}, "autotune must be from 0 to 1, got 1.5"),
        ({"autotune": 1.0, "adjust": False}, "autotune tunes to the training data, so it needs adjust"),
    ],
)
def test_knobs_out_of_range_are_refused(run, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        transfer(run, tmp_path / "absent.wav", tmp_path / "out.wav", **options)
    assert not (tmp_path / "out.wav").exists()


def test_a_recording_without_pitch_is_refused(run, tmp_path):
    silence = write_tone(tmp_path / "silence.wav", 400.0, 0.001)
    with pytest.raises(ValueError, match="has no pitched frame, says swift-f0"):
        transfer(run, silence, tmp_path / "out.wav")
