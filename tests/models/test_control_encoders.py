"""Encoders from audio to controls."""

import pytest
import torch

from fastddsp.autograd import spectral
from fastddsp.autograd.scaling import hz_to_midi
from fastddsp.models.control_encoders import ResnetF0Encoder, ResnetSinusoidalEncoder, SinusoidalToHarmonicEncoder
from fastddsp.models.nn import RnnSandwich

TINY = (1, (1, 1, 1))
AUDIO = 0.1 * torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))


def test_f0_is_the_mean_of_the_bins():
    encoder = ResnetF0Encoder(TINY, f0_bins=3, mel_bins=32)
    torch.nn.init.zeros_(encoder.dense_out.weight)
    near = 0.0015 / 50.003  # bins at 0, 1/2 and 1 that weigh 50.001, 0.001 and 0.001
    for bias, expected in (([0.0] * 3, 0.5), ([50.0, -99.0, -99.0], near), ([-99.0, -99.0, 50.0], 1.0 - near)):
        with torch.no_grad():
            encoder.dense_out.bias.copy_(torch.tensor(bias))
        out = encoder(AUDIO, torch.zeros(2, 25, 1))
        assert out["f0_scaled"].shape == out["f0_hz"].shape == (2, 25, 1)
        torch.testing.assert_close(out["f0_scaled"], torch.full((2, 25, 1), expected), atol=1e-6, rtol=0)
        torch.testing.assert_close(hz_to_midi(out["f0_hz"]), 127 * out["f0_scaled"], atol=1e-4, rtol=1e-6)


def test_f0_has_gradients_everywhere():
    encoder = ResnetF0Encoder(TINY, mel_bins=32)
    encoder(AUDIO, torch.zeros(2, 25, 1))["f0_hz"].log().sum().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in encoder.parameters() if p.dim() > 1)


@pytest.mark.parametrize("f0_hz", [100.0, 1000.0])
def test_an_f0_encoder_can_learn_a_pitch(f0_hz):
    torch.manual_seed(0)
    encoder, frames = ResnetF0Encoder(TINY, f0_bins=16, mel_bins=32), torch.zeros(1, 8, 1)
    audio = torch.sin(6.2831853 * f0_hz / 16000 * torch.arange(4000))[None]
    optimizer = torch.optim.Adam(encoder.parameters(), 1e-2)
    for _ in range(20):
        error = (hz_to_midi(encoder(audio, frames)["f0_hz"]) - hz_to_midi(f0_hz)).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert error < 2.0


def test_sinusoids_and_noise_have_the_frames_of_the_spectrogram():
    splits = (("frequencies", 5 * 4), ("amplitudes", 5), ("noise_magnitudes", 3))
    encoder = ResnetSinusoidalEncoder(splits, TINY, mel_bins=32, fft_size=1024)
    out = encoder({"audio": AUDIO})
    frames = spectral.compute_logmel(AUDIO, bins=32, fft_size=1024).shape[1]
    assert {name: tuple(x.shape) for name, x in out.items()} == {name: (2, frames, n) for name, n in splits}
    sum(x.square().sum() for x in out.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_harmonics_are_bounded_normalized_and_below_nyquist():
    encoder = SinusoidalToHarmonicEncoder(RnnSandwich(10, 6, 1, 5), n_harmonics=20, hz_min=500.0, hz_max=1200.0)
    freqs = (8000.0 * torch.rand(2, 9, 5)).requires_grad_()
    out = encoder({"sin_freqs": freqs, "sin_amps": torch.rand(2, 9, 5)})
    assert {name: x.shape[-1] for name, x in out.items()} == {"harm_amp": 1, "harm_dist": 20, "f0_hz": 1}
    assert out["f0_hz"].ge(500).all() and out["f0_hz"].le(1200).all() and out["harm_amp"].gt(0).all()
    torch.testing.assert_close(out["harm_dist"].sum(-1), torch.ones(2, 9))
    above = out["f0_hz"] * torch.arange(1, 21) >= 8000
    assert above.any() and not out["harm_dist"][above].any()
    sum(x.log1p().square().sum() for x in out.values()).backward()
    assert torch.isfinite(freqs.grad).all() and all(torch.isfinite(p.grad).all() for p in encoder.parameters())
