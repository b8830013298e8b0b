"""MIDI encoders and decoders: what is added to what, and that gradients reach everything."""

import pytest
import torch

from fastddsp.autograd.scaling import midi_to_hz
from fastddsp.models import midi
from fastddsp.models.convolutions import DilatedConvStack

NOTES = torch.tensor([60.0, 60, 0, 67]).view(1, 4, 1)


def net(n_inputs, n_conditioning=0):
    return DilatedConvStack(n_inputs, 4, 2, 1, n_conditioning=n_conditioning)


def silence(module):
    """Lets the last layer give 0, whatever comes in."""
    torch.nn.init.zeros_(module.dense_out.weight)
    return module


def has_gradients(module):
    return all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("residual", [False, True])
def test_an_encoder_that_says_nothing_gives_f0_or_nothing(residual):
    expected = NOTES if residual else torch.zeros_like(NOTES)
    for encoder, others in (
        (midi.MidiEncoder(net(2), residual), {"loudness": torch.zeros(1, 4, 1)}),
        (
            midi.HarmonicToMidiEncoder(net(7), residual),
            {"amps": torch.zeros(1, 4, 1), "hd": torch.zeros(1, 4, 3), "noise": torch.zeros(1, 4, 2)},
        ),
    ):
        out = silence(encoder)({"f0_midi": NOTES, **others})
        assert torch.equal(out["z_pitch"], expected) and not out["z_vel"].any()


def test_encoders_learn():
    encoder = midi.HarmonicToMidiEncoder(net(7))
    out = encoder(NOTES, torch.randn(1, 4, 1), torch.rand(1, 4, 3), torch.randn(1, 4, 2))
    assert out["z_pitch"].shape == out["z_vel"].shape == (1, 4, 1)
    (out["z_pitch"] * out["z_vel"]).sum().backward()
    assert has_gradients(encoder)


@pytest.mark.parametrize("residual", [False, True])
def test_a_midi_decoder_that_says_nothing_gives_the_notes_at_minus_70_db(residual):
    out = silence(midi.MidiDecoder(net(1), residual))({"z_pitch": NOTES})
    assert torch.equal(out["f0_midi"], NOTES if residual else torch.zeros_like(NOTES))
    assert out["loudness"].eq(-70.0).all()
    assert not silence(midi.MidiDecoder(net(1), center_loudness=False))({"z_pitch": NOTES})["loudness"].any()


def test_a_harmonic_decoder_that_says_nothing_plays_the_notes_and_rests():
    decoder = silence(midi.MidiToHarmonicDecoder(net(1)))
    out = decoder(NOTES)
    assert out["f0_hz"][NOTES == 0].eq(0).all()
    torch.testing.assert_close(out["f0_hz"][NOTES > 0], midi_to_hz(NOTES[NOTES > 0]))
    shapes = {"f0_midi": 1, "amplitudes": 1, "harmonic_distribution": 60, "magnitudes": 65, "f0_hz": 1}
    assert {name: x.shape[-1] for name, x in out.items()} == shapes


@pytest.mark.parametrize("norm", [False, True])
def test_decoders_learn_from_velocity_and_z(norm):
    for make in (midi.MidiDecoder, midi.MidiToHarmonicDecoder):
        decoder = make(net(2, n_conditioning=3), norm=norm, velocity=True)
        velocity, z = torch.rand(1, 4, 1, requires_grad=True), torch.randn(1, 1, 3, requires_grad=True)
        out = decoder(NOTES, velocity, z)
        sum(x.square().sum() for x in out.values()).backward()
        assert has_gradients(decoder) and velocity.grad.any() and z.grad.any()


def test_a_decoder_that_reads_velocities_asks_for_them():
    with pytest.raises(ValueError, match="z_vel must be given"):
        midi.MidiDecoder(net(2), velocity=True)(NOTES)
