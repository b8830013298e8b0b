"""Losses and figures of the experiment on pitch without labels."""

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason='experiments need pip install "fastddsp[train]"')

from fastddsp.benchmarks.experiments import unsupervised
from fastddsp.training.labels import Labels


class Sure:
    """An encoder that is nearly certain of one pitch."""

    def __init__(self, midi):
        self.midi = midi

    def probabilities(self, audio):
        p = torch.full((*audio.shape[:1], 4, 128), 1e-6)
        below = int(self.midi)
        p[..., below], p[..., below + 1] = 1.0 - (self.midi - below), self.midi - below + 1e-9
        return p / p.sum(-1, keepdim=True)

    @staticmethod
    def mean_pitch(probabilities):
        return (probabilities * torch.linspace(0, 1, 128)).sum(-1, keepdim=True)


def loss_of(midi, true_midi, audible=True):
    f0_hz = torch.full((2, 4), 440.0 * 2.0 ** ((true_midi - 69) / 12))
    return unsupervised.pitch_loss(Sure(midi), torch.zeros(2, 64), f0_hz, torch.full((2, 4), audible)).item()


def test_the_loss_is_least_at_the_true_pitch_and_counts_semitones():
    right, semitone, octave = (loss_of(midi, 60.0) for midi in (60.0, 61.0, 72.0))
    assert right < 0.02 < 1.0 < semitone < octave
    assert octave - semitone == pytest.approx(11.0, abs=0.05)


def test_between_two_pitches_both_are_right_in_part():
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert loss_of(60.25, 60.25) == pytest.approx(entropy, abs=0.02)


def test_what_is_not_heard_does_not_count():
    assert loss_of(60.0, 72.0, audible=False) == 0.0


def test_frames_of_the_attack_and_of_the_release_are_not_asked():
    asked = unsupervised.asked(20, 10.0)
    assert list(np.flatnonzero(asked)) == list(range(1, 14))  # 0.1 s to 1.3 s


def test_figures_tell_the_pitch_from_the_octave():
    found = {"zero-shot": [np.array([0.1, -0.1]), np.array([12.0, 0.2])]}
    rows = {row.what: row.value for row in unsupervised.rows_of(found)}
    assert rows["zero-shot: f0 L1"] == pytest.approx(3.1)
    assert rows["zero-shot: frames more than 50 cents off"] == 25.0
    by = unsupervised.by_instrument(found["zero-shot"], [Labels("flute"), Labels("oboe")])
    assert by == {"flute": pytest.approx(0.1), "oboe": pytest.approx(6.1)}


def test_an_adapted_model_learns_from_its_own_sounds_at_pitches_it_knows():
    torch.manual_seed(0)
    module = unsupervised.OfRecordings(0.1 * torch.randn(2, 20000))
    generator = torch.Generator().manual_seed(0)
    outputs, _ = module.model({"audio": module.recordings[:, : unsupervised.WINDOW].repeat(4, 1)}, return_losses=True)
    audio, f0_hz, audible = module.transposed(outputs, generator)
    assert audio.shape == (8, unsupervised.WINDOW) and f0_hz.shape == audible.shape == (8, 32)
    low, high = (440.0 * 2.0 ** ((key - 69) / 12) for key in unsupervised.SYNTHETIC.keys)
    assert low * 0.999 <= f0_hz.min() and f0_hz.max() <= high * 1.001
    assert not audio.requires_grad
