import numpy as np
import pytest

from fastddsp.models.presets import build
from fastddsp.training.audio import read_audio, resample_audio
from fastddsp.training.dataset import Settings
from fastddsp.training.instrument import Instrument, listen, load_instrument, play
from fastddsp.training.pitch import track_pitch
from fastddsp.training.resynthesize import resynthesize
from tests.training.models import SMALLEST_INVERSE, instrument, save_run
from tests.training.sounds import write_tone


@pytest.fixture
def run(tmp_path):
    """A run folder with an untrained instrument."""
    return save_run(instrument(), tmp_path / "run")


@pytest.mark.parametrize(("semitones", "rate"), [(0.0, None), (-12.0, None), (7.0, 48000)])
def test_a_recordings_tune_is_played_at_the_shifted_pitch(run, tmp_path, semitones, rate):
    tune = write_tone(tmp_path / "tune.flac", 400.0, 1.0, 22050)
    out = resynthesize(run, tune, tmp_path / "new" / "out.wav", pitch_shift=semitones, sample_rate=rate)
    rate = rate or 16000
    audio = read_audio(out, rate)
    assert len(audio) == rate
    f0_hz, _ = track_pitch(resample_audio(audio, rate, 16000), 16000)
    expected = 400.0 * 2 ** (semitones / 12)
    assert np.median(1200 * np.abs(np.log2(f0_hz[50:200] / expected))) < 15


def test_a_recording_without_pitch_and_an_impossible_output_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match="must end in the name of a sound format"):
        resynthesize(run, tmp_path / "absent.wav", tmp_path / "out.txt")
    with pytest.raises(FileNotFoundError, match="no such sound file"):
        resynthesize(run, tmp_path / "absent.wav", tmp_path / "out.wav")
    silence = write_tone(tmp_path / "silence.wav", 400.0, 0.001)
    with pytest.raises(ValueError, match="has no pitched frame"):
        resynthesize(run, silence, tmp_path / "out.wav")


def write_curve(path, values, spacing=0.5, header="time,value"):
    lines = [header, *(f"{i * spacing},{value}" for i, value in enumerate(values))]
    path.write_text("\n".join(line for line in lines if line))
    return path


def pitch_of(path):
    audio = read_audio(path, 16000)
    return audio, track_pitch(audio, 16000)[0]


def cents(f0_hz, expected):
    return 1200 * np.abs(np.log2(f0_hz / expected))


def test_curves_alone_are_played_at_any_spacing(run, tmp_path):
    f0_csv = write_curve(tmp_path / "f0.csv", [400.0, 400.0, 500.0])
    loudness_csv = write_curve(tmp_path / "loudness.csv", [-20.0, -20.0], 1.0, header="")
    out = resynthesize(run, None, tmp_path / "out.wav", f0_csv=f0_csv, loudness_csv=loudness_csv, pitch_shift=-12)
    audio, f0_hz = pitch_of(out)
    assert len(audio) == 251 * 64  # frames 0 to 250
    assert np.median(cents(f0_hz[20:110], 200.0)) < 15
    halfway = 400.0 * (500.0 / 400.0) ** 0.5 / 2
    assert cents(f0_hz[187], halfway) < 30


def test_a_pitch_curve_replaces_the_recordings_and_its_loudness_stays(run, tmp_path):
    tune = write_tone(tmp_path / "tune.wav", 400.0, 1.0)
    f0_csv = write_curve(tmp_path / "f0.csv", [300.0])
    own, _ = pitch_of(resynthesize(run, tune, tmp_path / "own.wav"))
    audio, f0_hz = pitch_of(resynthesize(run, tune, tmp_path / "out.wav", f0_csv=f0_csv))
    assert len(audio) == len(own)
    assert np.median(cents(f0_hz[50:200], 300.0)) < 15


def test_no_pitch_in_a_curve_is_silence_where_there_is_no_noise(run, tmp_path):
    f0_csv = write_curve(tmp_path / "f0.csv", [400.0, 400.0, 0.0, 0.0])
    loudness_csv = write_curve(tmp_path / "loudness.csv", [-20.0])
    loud = load_instrument(run).model.processor_group
    assert not hasattr(loud, "reverb")
    audio, _ = pitch_of(resynthesize(run, None, tmp_path / "out.wav", f0_csv=f0_csv, loudness_csv=loudness_csv))
    before, after = audio[8000:11000], audio[13000:]  # the middle between 0.5 s and 1 s divides them
    assert np.sqrt(np.mean(after**2)) < 0.2 * np.sqrt(np.mean(before**2))


Z = {"z_dims": 3, "z_rnn_channels": 4}


def test_z_goes_from_one_recording_to_another(tmp_path):
    run = save_run(instrument(**Z), tmp_path / "run")
    violin = load_instrument(run)
    tune, other = write_tone(tmp_path / "tune.wav", 400.0, 0.5), write_tone(tmp_path / "other.wav", 250.0, 1.0)
    heard, of_other = (listen(violin, read_audio(path, 16000)) for path in (tune, other))
    weights = 10 ** (of_other["loudness_db"] / 20)
    goal = (of_other["z"] * weights[:, None]).sum(0) / weights.sum()
    for mix in (0.0, 0.3, 1.0):
        out = resynthesize(run, tune, tmp_path / "out.wav", z_from=other, z_mix=mix, seed=2)
        mixed = {**heard, "z": (1 - mix) * heard["z"] + mix * goal.astype(np.float32)}
        np.testing.assert_allclose(read_audio(out, 16000), play(violin, **mixed, seed=2), atol=1 / 32768)


def test_with_the_z_of_another_recording_curves_alone_are_played(tmp_path):
    run = save_run(instrument(**Z), tmp_path / "run")
    other = write_tone(tmp_path / "other.wav", 250.0, 0.5)
    curves = {
        "f0_csv": write_curve(tmp_path / "f0.csv", [300.0, 400.0]),
        "loudness_csv": write_curve(tmp_path / "loudness.csv", [-20.0]),
    }
    assert resynthesize(run, None, tmp_path / "out.wav", **curves, z_from=other).is_file()
    with pytest.raises(ValueError, match=r"audio must be given to take its z, or z_mix be 1, got 0\.5"):
        resynthesize(run, None, tmp_path / "out.wav", **curves, z_from=other, z_mix=0.5)
    with pytest.raises(ValueError, match="audio must be given, or else z_from too"):
        resynthesize(run, None, tmp_path / "out.wav", **curves)


def test_a_level_curve_is_power_for_an_instrument_that_plays_power(tmp_path):
    run = save_run(instrument(level="power"), tmp_path / "run")
    curves = {
        "f0_csv": write_curve(tmp_path / "f0.csv", [400.0]),
        "loudness_csv": write_curve(tmp_path / "power.csv", [-20.0, -30.0], 0.2),
    }
    out = resynthesize(run, None, tmp_path / "out.wav", **curves, loudness_shift=-3.0)
    ramp = -23.0 - 10.0 * np.arange(51) / 50
    expected = play(load_instrument(run), np.full(51, 400.0), power_db=ramp)
    np.testing.assert_allclose(read_audio(out, 16000), expected, atol=1 / 32768)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "audio must be given, or else f0_csv, loudness_csv too"),
        ({"f0_csv": "f0"}, "audio must be given, or else loudness_csv too"),
        ({"f0_csv": "absent"}, "f0_csv: no such file"),
        (
            {"f0_csv": "falling"},
            "f0_csv: f0 must be above 0 Hz somewhere, and 0 where there is no pitch; never below, in",
        ),
        ({"f0_csv": "f0", "loudness_csv": "words"}, "loudness_csv: line 2 of .* must hold a time and a value"),
        ({"audio": "f0", "z_from": "f0"}, "cannot be read as sound"),
        ({"audio": "tune", "z_from": "tune"}, "z_from needs an instrument with z"),
        ({"audio": "tune", "z_from": "tune", "z_mix": 2.0}, r"z_mix must be from 0 to 1, got 2\.0"),
    ],
)
def test_what_is_missing_or_wrong_is_named(run, tmp_path, options, message):
    files = {
        "absent": tmp_path / "absent.csv",
        "tune": write_tone(tmp_path / "tune.wav", 400.0, 0.2),
        "f0": write_curve(tmp_path / "f0.csv", [400.0]),
        "falling": write_curve(tmp_path / "falling.csv", [-1.0]),
        "words": write_curve(tmp_path / "words.csv", ["loud"]),
    }
    named = {name: files.get(value, value) for name, value in {"audio": None, **options}.items()}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        resynthesize(run, out=tmp_path / "out.wav", **named)
    assert not (tmp_path / "out.wav").exists()


def test_inverse_synthesis_is_shifted_by_pitch_and_gain_and_takes_a_pitch_curve(tmp_path):
    config = SMALLEST_INVERSE
    run = save_run(Instrument(build(config), config, Settings()), tmp_path / "run")
    tune = write_tone(tmp_path / "tune.wav", 400.0, 0.4)
    finder = load_instrument(run)
    heard = listen(finder, read_audio(tune, 16000))
    out = resynthesize(run, tune, tmp_path / "out.wav", pitch_shift=12, loudness_shift=-20.0)
    controls = {name: x if "dist" in name else 0.1 * x for name, x in heard["controls"].items()}
    expected = play(finder, 2 * heard["f0_hz"], controls=controls)
    np.testing.assert_allclose(read_audio(out, 16000), expected, atol=1 / 32768)
    f0_csv = write_curve(tmp_path / "f0.csv", [200.0])
    out = resynthesize(run, tune, tmp_path / "out.wav", f0_csv=f0_csv)
    expected = play(finder, np.full(len(heard["f0_hz"]), 200.0), controls=heard["controls"])
    np.testing.assert_allclose(read_audio(out, 16000), expected, atol=1 / 32768)
    with pytest.raises(ValueError, match="loudness_csv must not be given: inverse synthesis plays"):
        resynthesize(run, tune, tmp_path / "out.wav", loudness_csv=f0_csv)
    with pytest.raises(ValueError, match="audio must be given: inverse synthesis plays"):
        resynthesize(run, None, tmp_path / "out.wav", f0_csv=f0_csv)
