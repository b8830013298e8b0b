"""Inverse synthesis: what it says of a sound is what it plays, and each loss teaches whom it should."""

import pytest
import torch

from fastddsp.autograd.harmonics import get_harmonic_frequencies
from fastddsp.models import consistency
from fastddsp.models.control_encoders import ResnetSinusoidalEncoder, SinusoidalToHarmonicEncoder
from fastddsp.models.inverse_synthesis import InverseSynthesis, ddsp_inv
from fastddsp.models.losses import SpectralLoss
from fastddsp.models.nn import RnnSandwich

N, FRAMES = 2048, 4
SPLITS = (("frequencies", 5 * 64), ("amplitudes", 5), ("noise_magnitudes", 4))
AUDIO = {"audio": 0.1 * torch.randn(2, N, generator=torch.Generator().manual_seed(0))}
QUIET = {"noise": torch.zeros(2, N)}


def model(harmonic=True, **settings):
    torch.manual_seed(0)
    return InverseSynthesis(
        ResnetSinusoidalEncoder(SPLITS, (1, (1, 1, 1)), mel_bins=32),
        SinusoidalToHarmonicEncoder(RnnSandwich(10, 6, 1, 5), n_harmonics=6) if harmonic else None,
        SpectralLoss((256, 64), logmag_weight=1.0),
        consistency.KDEConsistencyLoss(),
        [consistency.HarmonicConsistencyLoss(), consistency.KDEConsistencyLoss(name="pitch")],
        consistency.FilteredNoiseConsistencyLoss(),
        consistency.TWMLoss(n_harmonic_points=3, n_harmonic_gaussians=4),
        **{"reverb": False, "n_samples": N, **settings},
    )


def known():
    f0_hz, dist = torch.full((2, FRAMES, 1), 300.0), torch.full((2, FRAMES, 6), 1 / 6)
    return {
        "harm_amp": torch.full((2, FRAMES, 1), 0.3),
        "harm_dist": dist,
        "f0_hz": f0_hz,
        "sin_amps": 0.3 * dist,
        "sin_freqs": get_harmonic_frequencies(f0_hz, 6),
        "noise_magnitudes": torch.full((2, FRAMES, 4), 0.01),
    }


def gradients(module):
    return [p.grad for p in module.parameters() if p.grad is not None and p.grad.any()]


def test_what_was_found_is_what_is_played():
    inverse = model()
    o = inverse(AUDIO, **QUIET)
    assert o["sin_audio"].shape == o["harm_audio"].shape == (2, N)
    again = inverse.generate_synthetic_audio(o, **QUIET)
    assert torch.equal(again, o["sin_audio"])
    as_sinusoids = {"sin_amps": o["harm_amps"], "sin_freqs": o["harm_freqs"], "noise_magnitudes": o["noise_magnitudes"]}
    assert torch.equal(inverse.generate_synthetic_audio(as_sinusoids, **QUIET), o["harm_audio"])
    torch.testing.assert_close(o["harm_freqs"][..., 2:3], 3 * o["f0_hz"])
    assert inverse.get_audio_from_outputs(o) is o["harm_audio"]


def test_without_harmonics_it_plays_sinusoids():
    inverse = model(harmonic=False)
    o, losses = inverse(AUDIO, return_losses=True, **QUIET)
    assert inverse.get_audio_from_outputs(o) is o["sin_audio"] and "f0_hz" not in o
    assert losses.keys() == {"sin_spectral_loss", "twm_loss", "total_loss"}


def test_losses_of_recordings_and_of_synthetic_sounds():
    _, losses = model()(AUDIO, known(), return_losses=True)
    of_recordings = {"sin_spectral_loss", "harm_spectral_loss", "kde_consistency_loss", "twm_loss"}
    of_known = {f"ss_{name}_loss" for name in ("kde_consistency", "filtered_noise_consistency")}
    of_known |= {"ss_harm_amp_loss", "ss_harm_dist_loss", "ss_f0_hz_loss", "ss_harm_pitch"}
    assert losses.keys() == of_recordings | of_known | {"total_loss"}
    torch.testing.assert_close(losses["total_loss"], sum(v for k, v in losses.items() if k != "total_loss"))
    _, pretraining = model()(known(), return_losses=True)
    assert pretraining.keys() == losses.keys()


def test_a_loss_of_known_controls_is_nought_where_they_are_found():
    inverse, o = model(), model()(AUDIO, **QUIET)
    values = inverse._losses_of_known(o, o)
    for name in ("ss_filtered_noise_consistency_loss", "ss_harm_amp_loss", "ss_harm_dist_loss", "ss_f0_hz_loss"):
        assert values[name] == 0


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_harmonics_teach_the_sinusoids_only_if_asked_to(stop_gradient):
    inverse = model(stop_gradient=stop_gradient)
    _, losses = inverse(AUDIO, return_losses=True)
    (losses["harm_spectral_loss"] + losses["kde_consistency_loss"]).backward()
    assert bool(gradients(inverse.sinusoidal_encoder)) != stop_gradient
    assert gradients(inverse.harmonic_encoder)


def test_everything_learns():
    inverse = model(reverb=True, sample_rate=1000)  # 2 s of reverb are 2000 samples
    _, losses = inverse(AUDIO, known(), return_losses=True)
    losses["total_loss"].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in inverse.parameters())


@pytest.mark.parametrize("finetune", [False, True])
def test_the_papers_model_learns_from_synthetic_sounds_first_and_from_recordings_then(finetune):
    inverse = ddsp_inv(finetune, (1, (1, 1, 1)), n_sinusoids=6, n_harmonics=6, n_noise_bands=4, n_samples=N)
    _, losses = inverse(AUDIO, known(), return_losses=True)
    assert bool(losses["harm_spectral_loss"] > 0) == finetune
    assert inverse.harmonic_losses[0].dist_weight == (100.0 if finetune else 1.0)
    losses["total_loss"].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in inverse.parameters())


def test_the_papers_model_has_the_weights_that_its_layers_say():
    inverse = ddsp_inv()
    parts = inverse.sinusoidal_encoder, inverse.harmonic_encoder
    resnet, outputs = 5_256_320, 6400 + 100 + 65
    sandwich = (200 * 256 + 3 * 256) + (256 * 256 + 3 * 256) + 3 * 512 * (256 + 512 + 2)
    sandwich += (512 * 256 + 3 * 256) + (256 * 256 + 3 * 256)
    expected = [resnet + (8 * 1024 + 1) * outputs, sandwich + 257 * (1 + 100 + 64)]
    assert [sum(p.numel() for p in part.parameters()) for part in parts] == expected
