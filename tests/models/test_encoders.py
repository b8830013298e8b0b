"""Encoders against the reference."""

import pytest
import torch

from fastddsp.models.encoders import MfccTimeDistributedRnnEncoder
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
