from dataclasses import replace

import numpy as np
import pytest
import torch

from fastddsp.models.presets import ModelConfig, build
from fastddsp.training.audio import read_audio, resample_audio
from fastddsp.training.checkpoint import LAST, AtomicCheckpointIO
from fastddsp.training.dataset import Settings
from fastddsp.training.pitch import track_pitch
from fastddsp.training.resynthesize import Instrument, load_instrument, play, resynthesize, shift_loudness
from tests.training.models import SMALLEST
from tests.training.sounds import write_tone

F0_HZ = 500.0
FRAMES = 250
CURVES = np.full(FRAMES, F0_HZ), np.full(FRAMES, -20.0)


def instrument(noise: bool = False, **changes) -> Instrument:
    """An untrained instrument; its noise filter is 80 dB down unless `noise`."""
    torch.manual_seed(0)
    config = replace(SMALLEST, compute_loudness=False, **changes)
    model = build(config).eval()
    model.processor_group.filtered_noise.initial_bias = -2.0 if noise else -20.0
    return Instrument(model, config, Settings())


def level_at(audio, frequency, sample_rate=16000):
    """Amplitude of a sinusoid in the middle of `audio`, its length a whole number of periods."""
    middle = audio[len(audio) // 4 : 3 * len(audio) // 4].astype(np.float64)
    return 2 * np.abs(np.mean(middle * np.exp(-2j * np.pi * frequency / sample_rate * np.arange(len(middle)))))


def band_power(audio, sample_rate, low, high):
    """Mean power between two frequencies, in the same units whatever the sample rate."""
    power = np.abs(np.fft.rfft(audio)) ** 2 / len(audio) ** 2
    frequency = np.fft.rfftfreq(len(audio), 1 / sample_rate)
    return power[(frequency >= low) & (frequency < high)].sum()


@pytest.mark.parametrize("reverb_length", [0, 400])
def test_playing_is_the_models_own_output(reverb_length):
    violin = instrument(noise=True, reverb_length=reverb_length)
    features = {
        name: torch.tensor(x, dtype=torch.float32)[None]
        for name, x in zip(("f0_hz", "loudness_db"), CURVES, strict=True)
    }
    expected = violin.model(features, n_samples=64 * FRAMES, seed=5)["audio_synth"][0].detach().numpy()
    np.testing.assert_allclose(play(violin, *CURVES, seed=5), expected, atol=1e-6)


def test_fewer_harmonics_leave_the_others_as_they_are():
    whole, fewer = play(instrument(), *CURVES), play(instrument(), *CURVES, n_harmonics=2)
    for k in (1, 2):
        assert level_at(fewer, k * F0_HZ) == pytest.approx(level_at(whole, k * F0_HZ), rel=1e-4)
    for k in (3, 4):
        assert level_at(whole, k * F0_HZ) > 1e-3
        assert level_at(fewer, k * F0_HZ) < 1e-5


@pytest.mark.parametrize("n_harmonics", [0, 5])
def test_harmonics_that_were_not_learnt_are_refused_with_the_reason(n_harmonics):
    with pytest.raises(ValueError, match=rf"n_harmonics must be 1 to 4, got {n_harmonics}: .* trained with 4"):
        play(instrument(), *CURVES, n_harmonics=n_harmonics)


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
@pytest.mark.parametrize("reverb_length", [0, 400])
def test_another_sample_rate_gives_the_same_tone(rate, reverb_length):
    violin = instrument(reverb_length=reverb_length)
    if reverb_length:  # a lowpass that every rate can hold
        with torch.no_grad():
            violin.model.processor_group.reverb.ir.copy_(0.1 * torch.hann_window(400))
    reference, audio = play(violin, *CURVES), play(violin, *CURVES, sample_rate=rate)
    assert len(audio) == rate
    for k in (1, 2, 3, 4):
        assert level_at(audio, k * F0_HZ, rate) == pytest.approx(level_at(reference, k * F0_HZ), rel=5e-3, abs=1e-5)


def test_harmonics_above_the_nyquist_of_training_stay_silent_at_a_higher_rate():
    curves = np.full(FRAMES, 3000.0), CURVES[1]
    audio = play(instrument(), *curves, sample_rate=48000)
    assert level_at(audio, 6000.0, 48000) > 1e-3
    assert level_at(audio, 9000.0, 48000) < 1e-5


@pytest.mark.parametrize("rate", [32000, 48000])
def test_noise_keeps_its_level_per_hertz_and_ends_where_training_ended(rate):
    violin = instrument(noise=True, n_noise_bands=65)
    curves = np.full(2000, F0_HZ), np.full(2000, -20.0)
    silent = instrument(n_noise_bands=65)
    reference = play(violin, *curves) - play(silent, *curves)
    audio = play(violin, *curves, sample_rate=rate) - play(silent, *curves, sample_rate=rate)
    # 8 s of noise: a band of 1 kHz holds 8000 independent samples of power, 1.1 % each.
    for low in range(1000, 7000, 1000):
        expected = band_power(reference, 16000, low, low + 1000)
        assert band_power(audio, rate, low, low + 1000) == pytest.approx(expected, rel=0.06)
    assert band_power(audio, rate, 9000, rate / 2) < 1e-3 * band_power(reference, 16000, 1000, 7000)


def test_the_same_seed_gives_the_same_noise():
    violin = instrument(noise=True)
    np.testing.assert_array_equal(play(violin, *CURVES, seed=1), play(violin, *CURVES, seed=1))
    assert np.abs(play(violin, *CURVES, seed=1) - play(violin, *CURVES, seed=2)).max() > 1e-4


def test_shifted_loudness_keeps_silence_silent():
    np.testing.assert_array_equal(shift_loudness(np.array([-80.0, -79.0, -30.0]), 10.0), [-80, -69, -20])
    np.testing.assert_array_equal(shift_loudness(np.array([-80.0, -75.0, -30.0]), -10.0), [-80, -80, -40])


@pytest.fixture
def run(tmp_path):
    """A run folder with an untrained instrument."""
    violin = instrument()
    AtomicCheckpointIO().save_checkpoint(
        {
            "config": violin.config.to_dict(),
            "settings": {"sample_rate": 16000, "frame_rate": 250, "tracker": "swift-f0", "fmin": None, "fmax": None},
            "state_dict": {f"model.{name}": value for name, value in violin.model.state_dict().items()},
        },
        tmp_path / "run" / LAST,
    )
    return tmp_path / "run"


def test_a_run_is_loaded_with_its_weights_and_settings(run):
    loaded, original = load_instrument(run), instrument()
    assert loaded.config == original.config
    assert loaded.settings == original.settings
    for value, expected in zip(loaded.model.parameters(), original.model.parameters(), strict=True):
        assert torch.equal(value, expected)


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


def test_an_instrument_with_an_encoder_cannot_be_played_from_curves():
    config = ModelConfig(z_dims=4, n_samples=6400, rnn_channels=8, layers_per_stack=0, z_rnn_channels=8)
    with pytest.raises(ValueError, match="needs the recording's z"):
        play(Instrument(build(config), config, Settings()), *CURVES)
