import numpy as np
import pytest

from fastddsp.training.audio import read_audio, resample_audio
from fastddsp.training.pitch import track_pitch
from fastddsp.training.resynthesize import resynthesize
from tests.training.models import instrument, save_run
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
