import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from fastddsp.models.notes import pianoroll_of_pitch
from fastddsp.models.presets import build
from fastddsp.training.dataset import Settings
from fastddsp.training.instrument import Instrument, listen, load_instrument, play, room_response, shift_loudness
from tests.training.models import SMALLEST_INVERSE, SMALLEST_MIDI, instrument, save_run
from tests.training.sounds import tone

F0_HZ = 500.0
FRAMES = 250
CURVES = np.full(FRAMES, F0_HZ), np.full(FRAMES, -20.0)


def level_at(audio, frequency, sample_rate=16000):
    """Amplitude of a sinusoid in the middle of `audio`, its length a whole number of periods."""
    middle = audio[len(audio) // 4 : 3 * len(audio) // 4].astype(np.float64)
    return 2 * np.abs(np.mean(middle * np.exp(-2j * np.pi * frequency / sample_rate * np.arange(len(middle)))))


def band_power(audio, sample_rate, low, high):
    """Mean power between two frequencies, in the same units whatever the sample rate."""
    power = np.abs(np.fft.rfft(audio)) ** 2 / len(audio) ** 2
    frequency = np.fft.rfftfreq(len(audio), 1 / sample_rate)
    return power[(frequency >= low) & (frequency < high)].sum()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reverb_length": 400},
        {"reverb_length": 400, "reverb_type": "filtered_noise", "reverb_frames": 5, "reverb_bands": 4},
        {"noise_overlap": True, "amp_resample_method": "linear"},
        {"noise_overlap": True, "noise_window_size": 7},
        {"level": "power"},
        {"decoder": "dilated_conv", "conv_channels": 8, "conv_layers": 2},
    ],
    ids=str,
)
def test_playing_is_the_models_own_output(changes):
    violin = instrument(noise=True, **changes)
    level = "power_db" if "level" in changes else "loudness_db"
    features = {
        name: torch.tensor(x, dtype=torch.float32)[None] for name, x in zip(("f0_hz", level), CURVES, strict=True)
    }
    torch.manual_seed(5)  # of a response that is made of noise
    expected = violin.model(features, n_samples=64 * FRAMES, seed=5)["audio_synth"][0].detach().numpy()
    curves = {"f0_hz": CURVES[0], level: CURVES[1]}
    np.testing.assert_allclose(play(violin, **curves, seed=5), expected, atol=1e-6)


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


def test_a_run_is_loaded_with_its_weights_and_settings(tmp_path):
    original = instrument()
    loaded = load_instrument(save_run(original, tmp_path))
    assert loaded.config == original.config
    assert loaded.settings == original.settings
    for value, expected in zip(loaded.model.parameters(), original.model.parameters(), strict=True):
        assert torch.equal(value, expected)


PLAYED_FROM_A_RECORDING = {
    "z": {"z_dims": 3, "z_rnn_channels": 4},
    "one z": {"z_dims": 3, "z_rnn_channels": 4, "z_encoder": "global"},
    "power": {"level": "power"},
    "own f0": {"f0_encoder": "small", "z_dims": 3, "z_rnn_channels": 4},
}


@pytest.mark.parametrize("changes", PLAYED_FROM_A_RECORDING.values(), ids=PLAYED_FROM_A_RECORDING)
def test_what_an_instrument_hears_is_all_that_it_plays(changes):
    violin, audio = instrument(noise=True, **changes), tone(440.0, 0.4)
    heard = listen(violin, audio)
    again = play(violin, **heard, seed=5)
    features = {name: torch.from_numpy(curve)[None] for name, curve in heard.items()}
    known = {"audio": torch.from_numpy(audio)[None], "loudness_db": torch.zeros(1, 100), **features}
    if violin.config.f0_encoder != "none":
        known["loudness_db"] = features["loudness_db"]
    expected = violin.model(known, seed=5)["audio_synth"][0].detach().numpy()
    np.testing.assert_allclose(again, expected, atol=1e-6)


def test_power_is_that_of_the_frame_and_not_a_frame_late():
    violin = instrument(level="power", frame_rate=50, n_samples=3200)
    audio = tone(440.0, 1.0)
    audio[8000:] = 0.0
    power_db = listen(violin, audio)["power_db"]
    assert len(power_db) == 50
    steady = 10 * np.log10(np.mean(audio[2000:6000] ** 2))
    np.testing.assert_allclose(power_db[2:24], steady, atol=0.5)  # 64 ms are 28 periods and a bit
    assert power_db[25] == pytest.approx(steady - 3.0, abs=0.5)  # half the frame is silent
    assert (power_db[27:] == -80.0).all()


def test_frames_without_pitch_sound_as_noise_alone():
    violin, f0_hz = instrument(), CURVES[0].copy()
    f0_hz[100:150] = 0.0
    whole, audio = play(violin, *CURVES), play(violin, f0_hz, CURVES[1])
    silent = slice(64 * 101, 64 * 149)
    assert np.abs(whole[silent]).max() > 1e-2
    assert np.abs(audio[silent]).max() < 1e-5
    np.testing.assert_allclose(audio[: 64 * 99], whole[: 64 * 99], atol=1e-6)


def test_gliding_noise_with_short_filters_keeps_its_bands_at_another_rate():
    violin = instrument(noise=True, n_noise_bands=65, noise_window_size=31, noise_overlap=True)
    silent = instrument(n_noise_bands=65, noise_window_size=31, noise_overlap=True)
    curves = np.full(2000, F0_HZ), np.full(2000, -20.0)
    reference = play(violin, *curves) - play(silent, *curves)
    audio = play(violin, *curves, sample_rate=32000) - play(silent, *curves, sample_rate=32000)
    for low in range(1000, 7000, 1000):  # as in the test of long filters
        expected = band_power(reference, 16000, low, low + 1000)
        assert band_power(audio, 32000, low, low + 1000) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("reverb_type", ["impulse_response", "filtered_noise"])
def test_an_instrument_plays_in_its_room_or_out_of_it(reverb_type):
    settings = {"reverb_length": 400, "reverb_type": reverb_type, "reverb_frames": 5, "reverb_bands": 4}
    violin = instrument(**settings)
    if reverb_type == "impulse_response":
        with torch.no_grad():
            violin.model.processor_group.reverb.ir.copy_(0.1 * torch.randn(400))
    response, dry = room_response(violin, seed=3), play(violin, *CURVES, room=False)
    assert response.shape == (400,) and response[0] == 0 and np.abs(response).max() > 1e-3
    wet = play(violin, *CURVES, seed=3)
    dry = play(violin, *CURVES, room=False, seed=3)
    np.testing.assert_allclose(wet, dry + np.convolve(dry, response)[: len(dry)], atol=1e-5)


def test_a_room_that_was_not_learnt_is_not_there():
    with pytest.raises(ValueError, match="the instrument has no room: it was trained with reverb_length 0"):
        room_response(instrument())
    np.testing.assert_array_equal(play(instrument(), *CURVES, room=False), play(instrument(), *CURVES))


@pytest.mark.parametrize(
    ("changes", "curves", "message"),
    [
        ({}, {}, "loudness_db alone must be given: this instrument plays loudness; got []"),
        (
            {},
            {"power_db": CURVES[1]},
            "loudness_db alone must be given: this instrument plays loudness; got ['power_db']",
        ),
        ({"level": "power"}, {"loudness_db": CURVES[1]}, "power_db alone must be given: this instrument plays power"),
        ({}, {"loudness_db": CURVES[1][:9]}, "loudness_db must be [250], got [9]"),
        ({}, {"loudness_db": np.full(FRAMES, np.nan)}, "loudness_db must be finite, but 250 frames are not"),
        ({}, {"loudness_db": CURVES[1], "f0_hz": CURVES[0][None]}, "f0_hz must be [n_frames], got [1, 250]"),
        ({}, {"loudness_db": CURVES[1], "f0_hz": 0 * CURVES[0]}, "f0_hz must be above 0 Hz in some frame"),
        ({}, {"loudness_db": CURVES[1], "f0_hz": -CURVES[0]}, "f0_hz must be above 0 Hz in some frame"),
        ({}, {"loudness_db": CURVES[1], "z": np.zeros(3)}, "z must not be given: this instrument has none"),
        ({"z_dims": 3}, {"loudness_db": CURVES[1], "z": np.zeros(4)}, "z must be finite [250, 3] or [3], got [4]"),
        ({"z_dims": 3}, {"loudness_db": CURVES[1]}, "z must be given: an instrument with an encoder needs it"),
        ({}, {"loudness_db": CURVES[1], "sample_rate": 100}, "sample_rate must be at least the frame rate, 250 Hz"),
    ],
)
def test_curves_that_an_instrument_cannot_play_are_named(changes, curves, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        play(instrument(**changes), **{"f0_hz": CURVES[0], **curves})


def test_a_recording_without_pitch_is_refused_with_the_trackers_name():
    with pytest.raises(ValueError, match="the recording has no pitched frame, says swift-f0"):
        listen(instrument(), np.zeros(4000, np.float32))


def test_what_judged_an_instrument_in_training_is_not_needed_to_play(tmp_path):
    judged = replace(instrument(), config=replace(instrument().config, perceptual_weight=0.5))
    loaded = load_instrument(save_run(judged, tmp_path))
    assert loaded.config.perceptual_weight == 0.5
    assert len(loaded.model.loss_objs) == 1


def other(config, **changes) -> Instrument:
    """An untrained model of another kind."""
    torch.manual_seed(0)
    config = replace(config, **changes)
    return Instrument(build(config).eval(), config, Settings())


@pytest.mark.parametrize("changes", [{}, {"encoder": True}, {"reverb_length": 300}], ids=str)
def test_a_midi_autoencoder_plays_the_notes_of_curves(changes):
    player = other(SMALLEST_MIDI, compute_loudness=False, **changes)
    features = {
        name: torch.tensor(x, dtype=torch.float32)[None, :, None]
        for name, x in zip(("f0_hz", "loudness_db"), CURVES, strict=True)
    }
    score = {"note_active_velocities": pianoroll_of_pitch(*features.values(), 250)}
    expected = player.model({**features, **score})["midi_synth_params"]
    controls = {**expected["harmonic"]["controls"], **expected["filtered_noise"]["controls"]}
    group = player.model.processor_group
    audio = group.harmonic.get_signal(
        *(controls[name] for name in ("amplitudes", "harmonic_distribution", "f0_hz")), n_samples=64 * FRAMES
    ) + group.filtered_noise.get_signal(controls["magnitudes"], n_samples=64 * FRAMES, seed=5)
    if changes.get("reverb_length"):
        audio = group.reverb.get_signal(audio, torch.from_numpy(room_response(player, seed=5)))
    np.testing.assert_allclose(play(player, *CURVES, seed=5), audio[0].detach().numpy(), atol=1e-6)


def test_inverse_synthesis_plays_the_harmonics_that_it_finds():
    finder, audio = other(SMALLEST_INVERSE), tone(330.0, 0.192)
    heard = listen(finder, audio)
    assert {name: x.shape for name, x in heard["controls"].items()} == {
        "amplitudes": (6, 1),
        "harmonic_distribution": (6, 6),
        "magnitudes": (6, 5),
    }
    found = finder.model({"audio": torch.from_numpy(audio)[None]}, noise=torch.zeros(1, 3072))
    heard["controls"]["magnitudes"] = 0.0 * heard["controls"]["magnitudes"]
    # A bank of harmonics of one f0 and one of free partials round differently.
    np.testing.assert_allclose(play(finder, **heard), found["harm_audio"][0].detach().numpy(), atol=2e-5)


def test_models_of_other_kinds_name_what_they_do_not_play():
    finder, player = other(SMALLEST_INVERSE), other(SMALLEST_MIDI)
    heard = listen(finder, tone(330.0, 0.192))
    for instrument_, curves, message in (
        (finder, {"f0_hz": heard["f0_hz"]}, "controls must be {'amplitudes': 1, 'harmonic_distribution': 6"),
        (finder, {**heard, "loudness_db": CURVES[1]}, "loudness_db must not be given: inverse synthesis plays"),
        (player, {"f0_hz": CURVES[0], "power_db": CURVES[1]}, "loudness_db alone must be given"),
        (player, {**heard, "loudness_db": np.zeros(6)}, "controls must not be given: this instrument makes its own"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            play(instrument_, **curves)
