import numpy as np
import pytest
import soundfile

from fastddsp.training.audio import read_audio, write_audio
from tests.training.sounds import tone


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_formats_and_rates_come_in_as_mono_at_the_wanted_rate(tmp_path, suffix):
    stereo = np.stack([tone(sample_rate=48000), np.zeros(48000, np.float32)], axis=1)
    soundfile.write(tmp_path / f"a.{suffix}", stereo, 48000)
    audio = read_audio(tmp_path / f"a.{suffix}", 16000)
    assert audio.dtype == np.float32
    assert audio.shape == pytest.approx([16000], abs=200)  # lossy encoders pad
    spectrum = np.abs(np.fft.rfft(audio[:16000]))
    assert spectrum.argmax() == pytest.approx(440, abs=1)
    assert np.sqrt(np.mean(audio**2)) == pytest.approx(np.sqrt(np.mean(tone() ** 2)) / 2, rel=0.02)


def test_resampling_keeps_a_sine_below_both_nyquists(tmp_path):
    time = np.arange(44100) / 44100
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 1000 * time), 44100, subtype="FLOAT")
    audio = read_audio(tmp_path / "a.wav", 16000)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    middle = slice(1000, 15000)  # away from the filter's ends
    assert np.abs(audio[middle] - expected[middle]).max() < 1e-5  # the VHQ filter's ripple, -100 dB


@pytest.mark.parametrize("content", [b"", b"not a sound at all", b"RIFF\x00\x00\x00\x00WAVE"])
def test_a_corrupt_file_is_named_in_the_error(tmp_path, content):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.wav"):
        read_audio(path, 16000)


def test_a_missing_file_and_samples_that_are_not_finite_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such sound file"):
        read_audio(tmp_path / "none.wav", 16000)
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(ValueError, match="not finite"):
        read_audio(tmp_path / "nan.wav", 16000)


def test_audio_written_is_audio_read(tmp_path):
    assert write_audio(tmp_path / "a.wav", tone(), 16000) == 1.0
    assert np.abs(read_audio(tmp_path / "a.wav", 16000) - tone()).max() <= 2**-15  # 16-bit steps


def test_what_is_too_loud_is_turned_down_not_clipped(tmp_path):
    loud = 8 * tone()
    gain = write_audio(tmp_path / "a.wav", loud, 16000)
    assert gain == pytest.approx(1 / np.abs(loud).max())
    assert np.abs(read_audio(tmp_path / "a.wav", 16000) - gain * loud).max() <= 2**-14


def test_an_unknown_suffix_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"\.wav or \.flac, got '\.xyz'"):
        write_audio(tmp_path / "a.xyz", tone(), 16000)
    assert not list(tmp_path.iterdir())
