"""Decoders against the reference."""

import pytest
import torch

from fastddsp.models.decoders import RnnFcDecoder
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
