"""Encoders against the reference."""

import pytest
import torch

from fastddsp.autograd import spectral
from fastddsp.models.control_encoders import ResnetF0Encoder
from fastddsp.models.convolutions import DilatedConvStack
from fastddsp.models.encoders import (
    EncoderChain,
    ExpressionEncoder,
    MfccRnnEncoder,
    MfccTimeDistributedRnnEncoder,
    OneHotEncoder,
)
from tests.golden import load
from tests.models.golden_modules import cases_of, check_module


@pytest.mark.parametrize("case", cases_of(load("models_autoencoder.npz"), "training.encoders"), ids=str)
def test_mfcc_encoder_agrees_with_the_reference(case):
    encoder = MfccTimeDistributedRnnEncoder(**case.meta["init"])
    # From float64 gradients the reference is off by 1.4e-5, this by 3e-6.
    check_module(case, torch.nn.ModuleDict({"encoder": encoder}), encoder, grad_rtol=3e-5)


def test_encoder_needs_a_known_time_resolution():
    with pytest.raises(ValueError, match="z_time_steps must be one of"):
        MfccTimeDistributedRnnEncoder(z_time_steps=100)


AUDIO = 0.1 * torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
FRAMES = torch.zeros(2, 25, 1)


def test_a_recordings_z_is_the_linear_layer_of_the_last_or_the_mean_state():
    torch.manual_seed(0)
    encoder = MfccRnnEncoder(rnn_channels=6, z_dims=3)
    mfcc = spectral.compute_mfcc(AUDIO, 20.0, 8000.0, 1024, 128, 30)
    outputs, last = encoder.rnn((mfcc - mfcc.mean(1, True)) / (mfcc.var(1, correction=0, keepdim=True) + 1e-5).sqrt())
    for mean_aggregate, summary in ((False, last[0]), (True, outputs.mean(1))):
        encoder.mean_aggregate = mean_aggregate
        z = encoder({"audio": AUDIO, "f0_scaled": FRAMES})["z"]
        torch.testing.assert_close(z, encoder.dense_z(summary)[:, None].expand(2, 25, 3))
    z.square().sum().backward()
    assert all(p.grad.any() for p in (encoder.dense_z.weight, encoder.rnn.weight_hh_l0, encoder.norm_in.weight))


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_an_instrument_is_its_row_of_the_table(shape):
    numbers = torch.tensor([3, 1]).reshape(shape)
    encoder = OneHotEncoder("instrument_id", vocab_size=4, n_dims=5, skip_expand=False)
    z = encoder({"instrument_id": numbers, "f0_scaled": FRAMES})["z"]
    assert torch.equal(z, encoder.embedding.weight[[3, 1], None].expand(2, 25, 5))
    z.sum().backward()
    assert encoder.embedding.weight.grad[:, 0].tolist() == [0, 25, 0, 25]
    assert OneHotEncoder(vocab_size=4, n_dims=5)({"instrument": numbers})["z"].shape == (2, 1, 5)


@pytest.mark.parametrize("instrument", [torch.zeros(2), torch.zeros(2, 3, dtype=torch.long), torch.tensor(1)])
def test_an_instrument_is_a_whole_number(instrument):
    with pytest.raises(ValueError, match=r"instrument must hold whole numbers, \[batch\] or \[batch, 1\], got torch"):
        OneHotEncoder()(instrument)


@pytest.mark.parametrize("pool_time", [False, True])
@pytest.mark.parametrize("keys", [("f0_scaled", "ld_scaled"), ("audio", "f0_scaled")])
def test_an_expression_encoder_runs_features_and_mfccs_through_its_network(keys, pool_time):
    net = DilatedConvStack(2 if "ld_scaled" in keys else 8, 4, 2, 1)
    encoder = ExpressionEncoder(net, 3, keys, mfcc_bins=7, pool_time=pool_time)
    features = {"f0_scaled": torch.rand(2, 25, 1), "ld_scaled": torch.rand(2, 25, 1), "audio": AUDIO}
    z = encoder(features)["z"]
    assert z.shape == (2, 25, 3) and z.diff(dim=1).any() != pool_time
    z.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_an_expression_encoder_needs_frames():
    with pytest.raises(ValueError, match='input_keys must hold another name than "audio"'):
        ExpressionEncoder(None, input_keys=("audio",))


def test_a_chain_hands_on_what_was_made_and_lays_zs_side_by_side():
    pitch = ResnetF0Encoder((1, (1, 1, 1)), f0_bins=8, mel_bins=32)
    instrument, timbre = OneHotEncoder(n_dims=5), MfccRnnEncoder(4, z_dims=3)
    features = {"audio": AUDIO, "ld_scaled": FRAMES, "instrument": torch.tensor([0, 1])}
    made = EncoderChain(pitch, instrument, timbre)(features)
    assert made.keys() == {"f0_scaled", "f0_hz", "z"} and made["z"].shape == (2, 25, 8)
    assert torch.equal(made["z"][:, 3, :5], instrument(features)["z"][:, 0])
    assert torch.equal(made["z"][..., 5:], timbre(AUDIO, FRAMES)["z"])
