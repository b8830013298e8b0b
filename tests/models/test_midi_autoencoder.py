"""The MIDI autoencoder: its branches, what each learns from, and playing notes."""

import pytest
import torch

from fastddsp.autograd.scaling import midi_to_hz
from fastddsp.models.convolutions import DilatedConvStack
from fastddsp.models.decoders import DilatedConvDecoder
from fastddsp.models.encoders import EncoderChain, ExpressionEncoder, OneHotEncoder
from fastddsp.models.midi import HarmonicToMidiEncoder, MidiToHarmonicDecoder
from fastddsp.models.midi_autoencoder import MidiAutoencoder, midi_ae, midi_processor_group, reconstruction_losses
from fastddsp.models.preprocessing import F0LoudnessPreprocessor

FRAMES, HOP, K, BANDS = 25, 64, 6, 5
N = FRAMES * HOP
SPLITS = (("amplitudes", 1), ("harmonic_distribution", K), ("magnitudes", BANDS))
CURVES = 2 + K + BANDS


def net(n_inputs, n_conditioning=0):
    return DilatedConvStack(n_inputs, 4, 2, 1, n_conditioning=n_conditioning)


def model(encoder=True, z=(), reverb_length=0, **settings):
    torch.manual_seed(0)
    n_z = len(z) and 3
    return MidiAutoencoder(
        DilatedConvDecoder(4, layers_per_stack=2, output_splits=SPLITS, conditioning_keys=z),
        MidiToHarmonicDecoder(net(1, n_z), output_splits=(("f0_midi", 1), *SPLITS)),
        HarmonicToMidiEncoder(net(CURVES)) if encoder else None,
        F0LoudnessPreprocessor(None),
        midi_processor_group(N, reverb_length=reverb_length),
        reconstruction_losses(),
        hop_size=HOP,
        **settings,
    )


def features():
    generator = torch.Generator().manual_seed(0)
    pitch = torch.tensor([60.3] * 10 + [64.1] * 15).repeat(2, 1)
    return {
        "audio": 0.1 * torch.randn(2, N, generator=generator),
        "f0_hz": midi_to_hz(pitch),
        "loudness_db": -60.0 * torch.rand(2, FRAMES, generator=generator),
        "instrument": torch.tensor([0, 1]),
    }


def score():
    roll = torch.zeros(2, FRAMES, 128)
    roll[:, :10, 60] = 0.5
    roll[:, 10:20, 67] = 0.9
    return roll


def gradients(module):
    return [p.grad for p in module.parameters() if p.grad is not None and p.grad.any()]


def test_notes_are_whole_and_both_branches_make_audio():
    given = features()
    before = dict(given)
    o = model()(given)
    assert given.keys() == before.keys()
    assert o["synth_audio"].shape == o["midi_audio"].shape == (2, N)
    torch.testing.assert_close(o["q_pitch"], o["z_pitch"].round())
    assert o["pianoroll"].sum(-1).eq(1).all()
    assert o["hd"].shape == o["hd_pred"].shape == (2, FRAMES, K)
    assert o["amps"].shape == o["amps_pred"].shape == (2, FRAMES, 1)


def test_losses_are_those_of_the_outputs():
    o, losses = model()(features(), return_losses=True)
    expected = 500.0 * (o["hd"] - o["hd_pred"]).abs().mean()
    torch.testing.assert_close(losses["harmonic_distribution_reconstruction"], expected)
    torch.testing.assert_close(losses["f0_reconstruction"], 50.0 * (o["f0_midi"] - o["f0_midi_pred"]).square().mean())
    torch.testing.assert_close(losses["total_loss"], sum(v for k, v in losses.items() if k != "total_loss"))


def test_everything_learns():
    autoencoder = model(reverb_length=500)
    _, losses = autoencoder(features(), return_losses=True)
    losses["total_loss"].backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in autoencoder.parameters())
    assert gradients(autoencoder.synthcoder) and gradients(autoencoder.midi_decoder)
    assert gradients(autoencoder.midi_encoder)  # through the rounding


@pytest.mark.parametrize("stop", [True, False])
def test_notes_teach_the_synthcoder_only_if_asked_to(stop):
    autoencoder = model(sg_before_midiae=stop)
    autoencoder(features())["midi_audio"].square().sum().backward()
    assert bool(gradients(autoencoder.synthcoder)) != stop


def test_without_an_encoder_the_notes_are_the_scores_and_f0_counts_where_it_agrees():
    o = model(encoder=False)({**features(), "note_active_velocities": score()})
    assert o["q_pitch"][0, ::5, 0].tolist() == [60, 60, 67, 67, 0]
    assert o["q_vel"][0, ::5, 0].tolist() == pytest.approx([0.5, 0.5, 0.9, 0.9, 0])
    assert o["f0_loss_weights"][0, :, 0].tolist() == [1.0] * 10 + [0.0] * 15
    everywhere = model(encoder=False, mask_f0_loss=False)({**features(), "note_active_velocities": score()})
    assert everywhere["f0_loss_weights"].eq(1).all()


def test_latents_of_instruments_and_of_notes_condition_what_is_played():
    autoencoder = model(
        z=(("z", 2),),
        z_synth_encoder=OneHotEncoder(vocab_size=2, n_dims=2),
        z_global_encoder=EncoderChain(OneHotEncoder(vocab_size=2, n_dims=1)),
        z_note_encoder=ExpressionEncoder(net(1 + K), 2, ("f0_scaled", "hd_scaled"), pool_time=False),
    )
    o = autoencoder(features())
    assert o["z_global"].shape == (2, 1, 1) and o["z_notes"].shape == (2, FRAMES, 2)
    held = (o["q_pitch"].diff(dim=1) == 0)[..., 0]
    torch.testing.assert_close(o["z_notes"].diff(dim=1)[held], torch.zeros(int(held.sum()), 2), atol=1e-6, rtol=0)
    (o["midi_audio"].square().sum() + o["synth_audio"].square().sum()).backward()
    for encoder in (autoencoder.z_synth_encoder, autoencoder.z_global_encoder, autoencoder.z_note_encoder):
        assert gradients(encoder)


def test_written_notes_are_played_for_as_long_as_they_last():
    autoencoder = model()
    assert autoencoder.midi_to_audio(torch.full((1, 10, 1), 60.0)).shape == (1, 10 * HOP)
    assert autoencoder.midi_to_audio(torch.full((1, 10, 1), 60.0), n_samples=100).shape == (1, 100)


def test_pitches_and_piano_rolls_are_two_views_of_notes():
    pitch = torch.tensor([[[60.0], [72.0], [0.0]]])
    notes, velocity = MidiAutoencoder.pianoroll_to_midi(MidiAutoencoder.midi_to_pianoroll(pitch))
    assert torch.equal(notes, pitch) and velocity.eq(1).all()
    assert MidiAutoencoder.midi_to_pianoroll(torch.tensor([[[12.0]]]))[0, 0].argmax() == 0


@pytest.mark.parametrize("encoder", [False, True])
def test_magentas_settings_make_a_model_that_learns(encoder):
    autoencoder = midi_ae(encoder, 4, K, BANDS, N, reverb_length=500)
    _, losses = autoencoder({**features(), "note_active_velocities": score()}, return_losses=True)
    losses["total_loss"].backward()
    learnt = [p for part in (autoencoder.synthcoder, autoencoder.midi_decoder) for p in part.parameters()]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learnt)
    assert (autoencoder.midi_encoder is None) != encoder


def test_magentas_settings_have_the_weights_that_their_layers_say():
    autoencoder = midi_ae(encoder=True)
    conv, norm = 3 * 128 * 128 + 128, 2 * 128

    def stack(n_inputs, layers):
        return 3 * n_inputs * 128 + 128 + layers * (conv + norm)

    expected = [stack(2, 18) + 129 * 126, stack(1, 20) + norm + 129 * 127, stack(127, 20) + norm + 129 * 2]
    parts = autoencoder.synthcoder, autoencoder.midi_decoder, autoencoder.midi_encoder
    assert [sum(p.numel() for p in part.parameters()) for part in parts] == expected
