"""Notes in frames against loops over frames."""

import numpy as np
import pytest
import torch

from fastddsp.models import notes

PITCH = torch.tensor([[60.0, 60, 0, 0, 62, 62, 62, 60, 61], [0, 0, 0, 70, 70, 70, 70, 70, 70]])


def note_numbers(pitch):
    """Number of the note of each frame."""
    return [sum(pitch[s] != pitch[s - 1] for s in range(1, t + 1)) for t in range(len(pitch))]


@pytest.mark.parametrize("note_on_only", [False, True])
def test_every_change_of_pitch_begins_a_note_also_in_the_last_frame(note_on_only):
    mask = notes.get_note_mask(PITCH[..., None], max_regions=6, note_on_only=note_on_only)
    for b, pitch in enumerate(PITCH.tolist()):
        for t, i in enumerate(note_numbers(pitch)):
            expected = np.zeros(6)
            expected[i] = not note_on_only or pitch[t] > 0
            assert mask[b, t].tolist() == expected.tolist()


def test_an_onset_parts_two_notes_of_one_pitch():
    pitch, onset = torch.tensor([[60.0, 60, 60, 0]]), torch.tensor([[1.0, 0, 1, 0]])
    mask = notes.get_note_mask_from_onset(pitch, onset, max_regions=3)
    assert mask[0].tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_moments_are_those_of_the_frames_of_a_note():
    x, mask = torch.randn(2, 9, 3, dtype=torch.float64), notes.get_note_mask(PITCH.double(), max_regions=6)
    mean, std = notes.get_note_moments(x, mask)
    pooled, pooled_std = notes.pool_over_notes(x, mask)
    for b, pitch in enumerate(PITCH.tolist()):
        numbers = np.array(note_numbers(pitch))
        for i in range(6):
            frames = (numbers == i) & (np.array(pitch) > 0)
            of_note = x[b].numpy()[frames] if frames.any() else np.zeros((1, 3))
            np.testing.assert_allclose(mean[b, i], of_note.mean(0), atol=1e-12)
            np.testing.assert_allclose(std[b, i], of_note.std(0), atol=1e-12)
            np.testing.assert_allclose(pooled[b].numpy()[frames] - of_note.mean(0), 0.0, atol=1e-12)
            np.testing.assert_allclose(pooled_std[b].numpy()[frames] - of_note.std(0), 0.0, atol=1e-12)
    assert torch.equal(notes.get_note_moments(x[..., 0], mask, return_std=False), mean[..., 0])
    assert not pooled[PITCH == 0].any()


def test_gradients_of_moments_are_finite_where_a_note_does_not_vary():
    x = torch.ones(1, 4, 1, requires_grad=True)
    mean, std = notes.pool_over_notes(x, notes.get_note_mask(torch.full((1, 4), 60.0)))
    (mean.sum() + std.sum()).backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))


def test_short_notes_are_marked_and_rests_are_not():
    mask = notes.get_note_mask(PITCH, max_regions=6, note_on_only=False)
    pitches = notes.get_note_moments(PITCH, mask, return_std=False)
    short = notes.get_short_note_loss_mask(mask, notes.get_note_lengths(mask), pitches, min_length=3)
    assert short.tolist() == [[1, 1, 0, 0, 0, 0, 0, 1, 1], [0] * 9]


def test_rounding_lets_gradients_through():
    x = torch.tensor([0.4, 59.6, -1.7], requires_grad=True)
    rounded = notes.straight_through_int_quantization(x)
    rounded.mul(torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert rounded.tolist() == [0, 60, -2] and x.grad.tolist() == [1, 2, 3]


def test_a_piano_roll_is_read_off_pitch_and_loudness():
    f0_hz, loudness_db = torch.full((1, 500, 1), 440.0), torch.full((1, 500, 1), -40.0)
    f0_hz[:, 200:] = 466.0
    f0_hz[:, 100:103] = 880.0  # a slip of the tracker
    f0_hz[:, 300:350] = 0.0
    loudness_db[:, 200:300] = -20.0
    loudness_db[:, 400:] = -60.0
    roll = notes.pianoroll_of_pitch(f0_hz, loudness_db, 250.0)
    assert roll.shape == (1, 500, 128)
    pitches, velocities = roll[0].argmax(-1), roll[0].amax(-1)
    assert pitches[::50].tolist() == [69, 69, 69, 69, 70, 70, 0, 70, 0, 0]
    assert velocities[::50].tolist() == pytest.approx([0.5] * 4 + [0.75] * 2 + [0.0, 0.5, 0.0, 0.0])
    assert pitches[100:103].eq(69).all()
    assert roll.count_nonzero(-1).le(1).all()
