"""Random sounds are what their controls say, differ from each other, and are there again for the same seed."""

import torch

from fastddsp.models.consistency import HarmonicConsistencyLoss, KDEConsistencyLoss
from fastddsp.models.control_encoders import ResnetSinusoidalEncoder, SinusoidalToHarmonicEncoder
from fastddsp.models.inverse_synthesis import InverseSynthesis
from fastddsp.models.nn import RnnSandwich
from fastddsp.training.synthetic import RandomNotes

DRAW = RandomNotes(n_harmonics=20, n_noise_bands=9)


def draw(n=8, n_frames=16, seed=0, sounds=DRAW):
    return sounds(n, n_frames, torch.Generator().manual_seed(seed))


def test_the_same_seed_draws_the_same_sounds_and_another_seed_others():
    first, again, other = draw(), draw(), draw(seed=1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_shapes_follow_from_frames_and_hop():
    shapes = {name: tuple(value.shape) for name, value in draw(3, 5).items()}
    of_harmonics = dict.fromkeys(("harm_dist", "sin_freqs", "sin_amps"), (3, 5, 20))
    assert (
        shapes
        == {
            "audio": (3, 5 * 512),
            "f0_hz": (3, 5, 1),
            "harm_amp": (3, 5, 1),
            "noise_magnitudes": (3, 5, 9),
        }
        | of_harmonics
    )


def test_every_value_is_finite_and_amplitudes_are_not_negative():
    drawn = draw(64)
    assert all(value.isfinite().all() for value in drawn.values())
    assert all((drawn[name] >= 0).all() for name in ("harm_amp", "harm_dist", "sin_amps", "noise_magnitudes"))


def test_harmonics_are_shares_of_what_lies_below_nyquist():
    drawn = draw(32)
    torch.testing.assert_close(drawn["harm_dist"].sum(-1), torch.ones(32, 16))
    assert (drawn["sin_amps"][drawn["sin_freqs"] >= 8000] == 0).all()


def test_the_strongest_partial_is_heard_where_the_controls_say():
    steady = RandomNotes(notes=1, rest_share=0.0, level_db=(-20.0, -10.0))
    drawn = steady(16, 32, torch.Generator().manual_seed(0))
    frame = drawn["audio"][:, 24 * 512 : 28 * 512] * torch.hann_window(2048)
    heard_hz = torch.fft.rfft(frame).abs().argmax(-1) * (16000 / 2048)
    strongest = drawn["sin_amps"][:, 26].argmax(-1, keepdim=True)
    told_hz = drawn["sin_freqs"][:, 26].gather(-1, strongest)[:, 0]
    # Two partials of nearly one amplitude may swap within the window, and vibrato moves a high one by some percent.
    near = ((heard_hz / told_hz).log2().abs() < 0.06).float().mean()
    assert near >= 0.8


def test_a_rest_has_no_tone():
    drawn = draw(4, sounds=RandomNotes(rest_share=1.0))
    assert (drawn["harm_amp"] == 0).all() and drawn["audio"].square().mean(-1).max() < 1e-4


def test_pitch_stays_near_the_keys():
    drawn = draw(64, sounds=RandomNotes(keys=(60.0, 60.0)))
    semitones = 12.0 * torch.log2(drawn["f0_hz"] / 261.6256)
    assert semitones.abs().max() < 3.0 and semitones.abs().mean() < 0.5  # vibrato up to 0.6, and a drift


def test_inverse_synthesis_learns_from_them():
    splits = (("frequencies", 3 * 8), ("amplitudes", 3), ("noise_magnitudes", 9))
    model = InverseSynthesis(
        ResnetSinusoidalEncoder(splits, size=(1, (1, 1, 1)), mel_bins=32),
        SinusoidalToHarmonicEncoder(RnnSandwich(2 * 3, 4, 1, 4), n_harmonics=20, f0_depth=8),
        sinusoidal_consistency_losses=KDEConsistencyLoss(),
        harmonic_consistency_losses=HarmonicConsistencyLoss(),
        freq_scale_fn=lambda raw: 20.0 + 1000.0 * torch.sigmoid(raw.unflatten(-1, (3, 8)).mean(-1)),
        reverb=False,
    )
    drawn = draw(2)
    known = {name: value for name, value in drawn.items() if name != "audio"}  # the model makes the audio of them
    _, losses = model(known, return_losses=True, n_samples=drawn["audio"].shape[1])
    losses["total_loss"].backward()
    assert "ss_kde_consistency_loss" in losses and "ss_f0_hz_loss" in losses
    assert all(loss.isfinite() for loss in losses.values())
