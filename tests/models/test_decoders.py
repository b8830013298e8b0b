"""Decoders against the reference."""

import pytest
import torch

from fastddsp.models.convolutions import DilatedConvStack
from fastddsp.models.decoders import DilatedConvDecoder, RnnFcDecoder
from fastddsp.models.nn import FcStackOut
from tests.golden import load
from tests.models.golden_modules import cases_of, check_module


@pytest.mark.golden
def test_decoder_agrees_with_the_reference():
    (case,) = cases_of(load("nn_layers.npz"), "training.decoders.RnnFcDecoder")
    decoder = RnnFcDecoder(**case.meta["init"])
    check_module(case, torch.nn.ModuleDict({"decoder": decoder}), decoder)


def test_a_decoder_played_block_by_block_equals_one_played_at_once():
    torch.manual_seed(0)
    settings = {"rnn_channels": 5, "ch": 4, "layers_per_stack": 1, "input_keys": ("ld_scaled", ("z", 3))}
    whole, blocks = RnnFcDecoder(**settings), RnnFcDecoder(**settings, stateless=True)
    blocks.load_state_dict(whole.state_dict())
    features = {"ld_scaled": torch.randn(2, 7, 1), "z": torch.randn(2, 7, 3)}
    state, parts = torch.zeros(2, 5), []
    for start, stop in ((0, 3), (3, 4), (4, 7)):
        out = blocks({key: x[:, start:stop] for key, x in features.items()}, {"state": state})
        state = out["state"]
        parts.append(out["harmonic_distribution"])
    torch.testing.assert_close(torch.cat(parts, dim=1), whole(features)["harmonic_distribution"])


def test_only_a_gru_decoder_is_stateless():
    with pytest.raises(ValueError, match="stateless RnnFcDecoder needs rnn_type"):
        RnnFcDecoder(stateless=True, rnn_type="lstm")


def test_decoder_names_an_input_of_the_wrong_shape():
    decoder = RnnFcDecoder(rnn_channels=4, ch=4, input_keys=("ld_scaled", ("z", 3)))
    with pytest.raises(ValueError, match=r"z must be \[batch, frames, 3\], got \[1, 5, 2\]"):
        decoder(torch.zeros(1, 5, 1), torch.zeros(1, 5, 2))


def test_a_convolutional_decoder_is_its_stack_and_a_linear_layer():
    torch.manual_seed(0)
    decoder = DilatedConvDecoder(8, layers_per_stack=2, output_splits=(("amps", 1), ("magnitudes", 4)))
    features = {"ld_scaled": torch.rand(2, 7, 1), "f0_scaled": torch.rand(2, 7, 1), "z": torch.randn(2, 1, 32)}
    stack = DilatedConvStack(2, 8, 2, 2, n_conditioning=32)
    stack.load_state_dict(decoder.dilated_conv_stack.state_dict())
    x = torch.cat([features["ld_scaled"], features["f0_scaled"]], dim=-1)
    expected = decoder.dense_out(stack(x, features["z"]))
    out = decoder(features)
    assert torch.equal(torch.cat([out["amps"], out["magnitudes"]], dim=-1), expected)


def test_a_convolutional_decoder_learns_upsamples_and_preconditions():
    precondition = FcStackOut(5, 4, 1, 3)
    decoder = DilatedConvDecoder(
        4,
        layers_per_stack=2,
        resample_stride=2,
        conditioning_keys=(("z", 4), "velocity"),
        precondition_stack=precondition,
    )
    z, velocity = torch.randn(2, 1, 4, requires_grad=True), torch.rand(2, 1, 1)
    out = decoder({"ld_scaled": torch.rand(2, 7, 1), "f0_scaled": torch.rand(2, 7, 1), "z": z, "velocity": velocity})
    assert out["harmonic_distribution"].shape == (2, 28, 60)
    sum(x.square().sum() for x in out.values()).backward()
    assert z.grad.any() and all(p.grad is not None and torch.isfinite(p.grad).all() for p in decoder.parameters())


def test_a_convolutional_decoder_may_do_without_conditioning_but_not_precondition_nothing():
    decoder = DilatedConvDecoder(4, layers_per_stack=1, conditioning_keys=())
    assert decoder(torch.rand(1, 3, 1), torch.rand(1, 3, 1))["amps"].shape == (1, 3, 1)
    with pytest.raises(ValueError, match="conditioning_keys must name an input"):
        DilatedConvDecoder(conditioning_keys=(), precondition_stack=FcStackOut(5, 4, 1, 3))
    with pytest.raises(ValueError, match=r"f0_scaled must be \[batch, frames, 1\], got \[1, 3, 2\]"):
        decoder(torch.rand(1, 3, 1), torch.rand(1, 3, 2))
