"""Encoders against the reference."""

import pytest
import torch

from fastddsp.models.encoders import MfccTimeDistributedRnnEncoder
from tests.golden import load
from tests.models.golden_modules import cases_of, check_module


@pytest.mark.parametrize("case", cases_of(load("models_autoencoder.npz"), "training.encoders"), ids=str)
def test_mfcc_encoder_agrees_with_the_reference(case):
    encoder = MfccTimeDistributedRnnEncoder(**case.meta["init"])
    # Instance norm divides MFCCs (up to 1e2) by deviations near 1: float32 rounding of the logarithms counts 1e2-fold.
    check_module(case, torch.nn.ModuleDict({"encoder": encoder}), encoder, rtol=5e-5, grad_rtol=2e-3)


def test_encoder_needs_a_known_time_resolution():
    with pytest.raises(ValueError, match="z_time_steps must be one of"):
        MfccTimeDistributedRnnEncoder(z_time_steps=100)
