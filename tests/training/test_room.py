import numpy as np
import pytest
import soundfile
import torch

from fastddsp.training.audio import read_audio, resample_response
from fastddsp.training.instrument import load_instrument, room_response
from fastddsp.training.resynthesize import resynthesize
from fastddsp.training.room import apply_room, convolve_room, dereverb, extract_room
from tests.training.models import instrument, save_run
from tests.training.sounds import tone, write_tone

RATE = 16000


def decaying(n: int, seed: int = 0) -> np.ndarray:
    """A response of decaying noise."""
    return (0.2 * np.random.default_rng(seed).standard_normal(n) * np.exp(-4.0 * np.arange(n) / n)).astype(np.float32)


@pytest.fixture
def run(tmp_path):
    """A run whose instrument has learnt a room of 0.1 s."""
    violin = instrument(reverb_length=1600)
    with torch.no_grad():
        violin.model.processor_group.reverb.ir.copy_(torch.from_numpy(decaying(1600)))
    return save_run(violin, tmp_path / "run")


def test_dereverberated_sound_in_the_extracted_room_is_the_resynthesis(run, tmp_path):
    tune = write_tone(tmp_path / "tune.wav", 400.0, 0.5)
    wet = read_audio(resynthesize(run, tune, tmp_path / "wet.wav"), RATE)
    dry = dereverb(run, tune, tmp_path / "dry.wav")
    room = extract_room(run, tmp_path / "room.wav")
    again = read_audio(apply_room(room, dry, tmp_path / "again.wav", tail=False), RATE)
    assert np.abs(wet - read_audio(dry, RATE)).max() > 0.01
    # Files of 16 bits: rounding of the dry one, 0.29 steps rms, through a room of energy 9, six times that.
    np.testing.assert_allclose(again, wet, atol=(6 * 0.29 * 3 + 1) / 32768)


def test_a_fit_dereverberates_otherwise_and_says_what_is_wrong(run, tmp_path):
    tune = write_tone(tmp_path / "tune.wav", 400.0, 0.5)
    plain, fitted = (read_audio(dereverb(run, tune, tmp_path / f"{n}.wav", fit_steps=n), RATE) for n in (0, 3))
    assert len(plain) == len(fitted) and np.abs(plain - fitted).max() > 1e-4
    with pytest.raises(ValueError, match="steps must not be negative"):
        dereverb(run, tune, tmp_path / "out.wav", fit_steps=-1)


def test_the_extracted_response_is_exact_and_begins_with_the_direct_sound(run, tmp_path):
    extract_room(run, tmp_path / "room.wav")
    response, rate = soundfile.read(tmp_path / "room.wav", dtype="float32")
    assert rate == RATE and soundfile.info(tmp_path / "room.wav").subtype == "FLOAT"
    assert response[0] == 1.0
    np.testing.assert_array_equal(response[1:], decaying(1600)[1:])
    extract_room(run, tmp_path / "later.wav", direct=False, normalize=True)
    later, _ = soundfile.read(tmp_path / "later.wav", dtype="float32")
    assert later[0] == 0.0 and np.abs(later).max() == 1.0
    np.testing.assert_allclose(later[1:] * np.abs(response[1:]).max(), response[1:], rtol=1e-6)


def test_a_response_at_another_rate_makes_the_same_sound(run, tmp_path):
    extract_room(run, tmp_path / "room48.wav", sample_rate=48000)
    response, rate = soundfile.read(tmp_path / "room48.wav", dtype="float32")
    assert rate == 48000 and len(response) == 4800 and response[0] == 1.0
    direct = room_response(load_instrument(run))
    audio = tone(440.0, 0.5)
    expected = np.convolve(audio, direct)[: len(audio)]
    at_48k = tone(440.0, 0.5, 48000)
    heard = (convolve_room(at_48k, response, 48000, tail=False) - at_48k)[::3]
    level = np.sqrt(np.mean(expected[1600:] ** 2))
    assert np.sqrt(np.mean((heard - expected)[1600:] ** 2)) < 0.03 * level


@pytest.mark.parametrize(("rate", "response_rate"), [(16000, 16000), (44100, 16000), (16000, 48000)])
def test_a_room_is_a_convolution_at_the_rate_of_the_audio(rate, response_rate, tmp_path):
    response = decaying(response_rate // 20)
    response[0] = 1.0
    soundfile.write(tmp_path / "room.wav", response, response_rate, "FLOAT")
    audio = write_tone(tmp_path / "dry.flac", 300.0, 0.2, rate)
    out = apply_room(tmp_path / "room.wav", audio, tmp_path / "wet.wav")
    wet, out_rate = soundfile.read(out, dtype="float32")
    dry = read_audio(audio, rate)
    later = np.concatenate([[0.0], response[1:]])
    later = resample_response(later, response_rate, rate)
    expected = np.convolve(dry, later)
    expected[: len(dry)] += dry
    assert out_rate == rate and len(wet) == len(expected)
    np.testing.assert_allclose(wet / np.abs(wet).max(), expected / np.abs(expected).max(), atol=1e-4)


def test_mixing_goes_from_the_recording_to_the_room():
    audio, response = tone(300.0, 0.1), decaying(500)
    wet = np.convolve(audio, response)
    np.testing.assert_allclose(convolve_room(audio, response, RATE), wet, atol=1e-6)
    np.testing.assert_array_equal(convolve_room(audio, response, RATE, mix=0.0, tail=False), audio)
    half = convolve_room(audio, response, RATE, mix=0.5, tail=False)
    np.testing.assert_allclose(half, 0.5 * audio + 0.5 * wet[: len(audio)], atol=1e-6)


def test_the_direct_sound_keeps_its_bandwidth_when_the_response_is_resampled():
    click = np.zeros(100, np.float32)
    click[10] = 1.0
    np.testing.assert_allclose(
        convolve_room(click, np.array([1.0, 0.0, 0.0]), 48000, 16000, tail=False), click, atol=1e-6
    )


def test_what_cannot_be_done_is_said(run, tmp_path):
    dry = save_run(instrument(), tmp_path / "dry_run")
    tune = write_tone(tmp_path / "tune.wav", 400.0, 0.2)
    with pytest.raises(ValueError, match="the instrument has no room: it was trained with reverb_length 0"):
        dereverb(dry, tune, tmp_path / "out.wav")
    with pytest.raises(ValueError, match="the instrument has no room"):
        extract_room(dry, tmp_path / "out.wav")
    with pytest.raises(
        ValueError, match=r"must end in the name of a format of 32-bit floats, such as \.wav, got '\.mp3'"
    ):
        extract_room(run, tmp_path / "out.mp3")
    with pytest.raises(ValueError, match="sample_rate must be at least 1 Hz, got 0"):
        extract_room(run, tmp_path / "out.wav", sample_rate=0)
    with pytest.raises(ValueError, match=r"mix must be from 0 to 1, got 1\.5"):
        apply_room(tune, tune, tmp_path / "out.wav", mix=1.5)
    with pytest.raises(FileNotFoundError, match="no such sound file"):
        apply_room(tmp_path / "absent.wav", tune, tmp_path / "out.wav")
    with pytest.raises(ValueError, match=r"response must be \[n_samples\] and not empty, got \[1, 3\]"):
        convolve_room(tone(), np.ones((1, 3)), RATE)
    assert not (tmp_path / "out.wav").exists()
