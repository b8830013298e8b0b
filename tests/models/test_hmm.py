"""Hidden Markov models against the sum and the best of all paths, written out."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import norm

from fastddsp.models import hmm


def chain(n_states=3, n_frames=5, batch=2):
    rng = torch.Generator().manual_seed(0)
    initial, transition, observation = (
        torch.rand(shape, generator=rng, dtype=torch.float64) + 0.1
        for shape in ((n_states,), (n_states, n_states), (batch, n_frames, n_states))
    )
    return initial / initial.sum(), transition / transition.sum(1, keepdim=True), observation


def every_path(initial, transition, observation):
    """Probability of every path, {states: p}, of one sequence."""
    n_frames, n_states = observation.shape
    found = {}
    for path in itertools.product(range(n_states), repeat=n_frames):
        p = initial[path[0]] * observation[0, path[0]]
        for t in range(1, n_frames):
            p = p * transition[path[t - 1], path[t]] * observation[t, path[t]]
        found[path] = p
    return found


def test_likelihood_is_the_sum_over_all_paths():
    initial, transition, observation = chain()
    actual = hmm.log_likelihood(initial.log(), transition, observation.log())
    expected = [sum(every_path(initial, transition, x).values()).log() for x in observation]
    torch.testing.assert_close(actual, torch.stack(expected))


def test_likelihood_has_gradients():
    initial, transition, observation = (x.requires_grad_() for x in chain())
    assert torch.autograd.gradcheck(
        lambda i, t, o: hmm.log_likelihood(i.log(), t, o.log()), (initial, transition, observation)
    )


def test_viterbi_finds_the_best_of_all_paths():
    initial, transition, observation = chain()
    actual = hmm.viterbi(initial.log(), transition.log(), observation.log())
    for states, x in zip(actual.tolist(), observation, strict=True):
        paths = every_path(initial, transition, x)
        assert tuple(states) == max(paths, key=paths.get)


def test_the_transcriber_weighs_observations_as_normal_densities():
    transcriber = hmm.HmmTranscriber(n_pitches=4, avg_length=5, weight=2.0)
    pitch, amps = torch.tensor([[[1.2], [2.9]]]), torch.tensor([[[1.4], [0.1]]])
    center, scale = [2.0, 1.0, 2.0, 3.0], [4.0, 0.5, 0.5, 0.5]
    density = norm.pdf(pitch, center, scale) * norm.pdf(amps, [0.0, 1.5, 1.5, 1.5], [0.1, 0.5, 0.5, 0.5])
    transition = np.full((4, 4), 0.2 / 3) + (0.8 - 0.2 / 3) * np.eye(4)
    p = sum(every_path(np.full(4, 0.25), transition, density[0]).values())
    assert transcriber(pitch, amps).item() == pytest.approx(2.0 * -np.log(p) / 2, rel=1e-5)
    assert transcriber.nll(pitch, amps, per_example_loss=True).shape == (1,)


def test_the_transcriber_reads_notes_and_rests():
    pitch = torch.tensor([60.1] * 20 + [33.3] * 10 + [64.2] * 20)[None, :, None] + 0.3 * torch.randn(1, 50, 1).clamp(
        -1, 1
    )
    amps = torch.tensor([1.4] * 20 + [0.02] * 10 + [1.6] * 20)[None, :, None]
    notes = hmm.HmmTranscriber(avg_length=20).predict_midi(pitch, amps)
    assert notes.flatten().tolist() == [60.0] * 20 + [0.0] * 10 + [64.0] * 20


def test_straight_through_takes_one_value_and_the_others_gradient():
    x, quantized = torch.tensor([1.3], requires_grad=True), torch.tensor([1.0])
    y = hmm.HmmTranscriber.straight_through(x, quantized)
    y.backward()
    assert (y.item(), x.grad.item()) == (1.0, 1.0)
