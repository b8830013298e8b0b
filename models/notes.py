"""Notes in frames: masks of one monophonic voice's notes, means over notes, rounding that gradients pass through.

A mask [batch, frames, notes] is 1 where a note sounds. A note begins at frame 0, and wherever pitch changes:

    mask[t, i] = 1  where  i = #{s <= t: s > 0 and pitch[s] != pitch[s - 1]}

Names and arguments are those of magenta/ddsp's `training.nn`, which overlooks a change in the last frame.
"""

import torch
from torch.nn import functional

from fastddsp.autograd.scaling import DB_RANGE, hz_to_midi, safe_divide

__all__ = [
    "get_note_lengths",
    "get_note_mask",
    "get_note_mask_from_onset",
    "get_note_moments",
    "get_short_note_loss_mask",
    "pianoroll_of_pitch",
    "pool_over_notes",
    "straight_through_int_quantization",
]

N_NOTES = 128
STEADY_SECONDS = 0.1  # over which the median pitch is taken, so that a slide or a slip is no note
REST_DB = -60.0  # loudness up to which nobody plays


def straight_through_int_quantization(x: torch.Tensor) -> torch.Tensor:
    """x rounded to whole numbers, with the gradient of x itself."""
    return x + (x.round() - x).detach()


def get_note_mask(q_pitch: torch.Tensor, max_regions: int = 100, note_on_only: bool = True) -> torch.Tensor:
    """Mask of the notes of a quantized pitch.

    Args:
        q_pitch: [batch, frames] or [batch, frames, 1]; a change begins a note, 0 and less is a rest.
        max_regions: Notes of the mask, rests counted; what comes later is in none.
        note_on_only: Leave rests empty.

    Returns:
        [batch, frames, max_regions].
    """
    q_pitch = _flat(q_pitch)
    return _mask(q_pitch.diff(dim=1) != 0, q_pitch, max_regions, note_on_only)


def get_note_mask_from_onset(
    q_pitch: torch.Tensor, onset: torch.Tensor, max_regions: int = 100, note_on_only: bool = True
) -> torch.Tensor:
    """Mask of the notes that onsets begin.

    Args:
        q_pitch: [batch, frames] or [batch, frames, 1]; 0 and less is a rest.
        onset: 1 where a note begins, [batch, frames] or [batch, frames, 1].
        max_regions: Notes of the mask; what comes later is in none.
        note_on_only: Leave rests empty.

    Returns:
        [batch, frames, max_regions].
    """
    return _mask(_flat(onset)[:, 1:] != 0, _flat(q_pitch), max_regions, note_on_only)


def _flat(x: torch.Tensor) -> torch.Tensor:
    return x.squeeze(-1) if x.dim() == 3 else x


def _mask(begins: torch.Tensor, q_pitch: torch.Tensor, max_regions: int, note_on_only: bool) -> torch.Tensor:
    """Mask of notes that begin at frame 0 and where `begins` [batch, frames - 1] says so of the next frame."""
    number = torch.nn.functional.pad(begins.cumsum(dim=1), (1, 0))
    notes = torch.arange(max_regions, device=q_pitch.device)
    mask = (number[..., None] == notes).to(q_pitch.dtype)
    return mask * (q_pitch > 0).to(mask)[..., None] if note_on_only else mask


def get_note_lengths(note_mask: torch.Tensor) -> torch.Tensor:
    """Frames of each note, [batch, notes], of a mask [batch, frames, notes]."""
    return note_mask.sum(dim=1)


def get_note_moments(
    x: torch.Tensor, note_mask: torch.Tensor, return_std: bool = True
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Mean of x over each note, and standard deviation.

    Args:
        x: [batch, frames, dims] or [batch, frames].
        note_mask: [batch, frames, notes].
        return_std: Return both.

    Returns:
        The mean [batch, notes, dims] (or [batch, notes], as x), or a pair of it and the standard deviation; 0 for
        notes without a frame. The deviation's gradient is 0 where a note does not vary (magenta/ddsp: NaN).
    """
    values = x[..., None] if x.dim() == 2 else x
    lengths = get_note_lengths(note_mask)[..., None]
    mean = safe_divide(note_mask.mT @ values, lengths)
    shaped = mean[..., 0] if x.dim() == 2 else mean
    if not return_std:
        return shaped
    # Deviations from the mean of each frame's own note: [batch, frames, dims], not that times notes.
    variance = safe_divide(note_mask.mT @ (values - note_mask @ mean).square(), lengths)
    varies = variance > 0.0
    std = torch.where(varies, torch.where(varies, variance, 1.0).sqrt(), 0.0)
    return shaped, std[..., 0] if x.dim() == 2 else std


def pool_over_notes(
    x: torch.Tensor, note_mask: torch.Tensor, return_std: bool = True
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Means of x over notes, at every frame of the note.

    Args:
        x: [batch, frames, dims].
        note_mask: [batch, frames, notes].
        return_std: Return the standard deviations too.

    Returns:
        The mean [batch, frames, dims], or a pair of it and the standard deviation; 0 in frames of no note.
    """
    moments = get_note_moments(x, note_mask, return_std)
    return (note_mask @ moments[0], note_mask @ moments[1]) if isinstance(moments, tuple) else note_mask @ moments


def get_short_note_loss_mask(
    note_mask: torch.Tensor, note_lengths: torch.Tensor, note_pitches: torch.Tensor, min_length: int = 40
) -> torch.Tensor:
    """1 in the frames [batch, frames] of notes shorter than min_length.

    Args:
        note_mask: [batch, frames, notes].
        note_lengths: Frames, [batch, notes].
        note_pitches: [batch, notes]; 0 and less is a rest.
        min_length: Frames.
    """
    short = (note_lengths < min_length) & (note_pitches > 0.0)
    return (note_mask * short[:, None].to(note_mask)).sum(dim=-1)


def pianoroll_of_pitch(f0_hz: torch.Tensor, loudness_db: torch.Tensor, frame_rate: float) -> torch.Tensor:
    """The notes of one voice, read off its curves: a score for recordings that have none.

    A frame's note is the median, over 0.1 s, of f0 rounded to semitones. There is none at 0 Hz, nor up to -60 dB.
    A note's velocity is the mean over its frames of loudness scaled to [0, 1].

    Args:
        f0_hz: Hz, [batch, frames, 1]; 0 where there is no pitch.
        loudness_db: A-weighted loudness in dB, [batch, frames, 1].
        frame_rate: Hz.

    Returns:
        Velocities [batch, frames, 128], 0 but for the note that sounds.
    """
    half = int(STEADY_SECONDS * frame_rate / 2)
    midi = hz_to_midi(f0_hz)[..., 0].round().clamp(0, N_NOTES - 1)
    windows = functional.pad(midi[:, None], (half, half), mode="replicate")[:, 0].unfold(1, 2 * half + 1, 1)
    sounds = (f0_hz[..., 0] > 0) & (loudness_db[..., 0] > REST_DB)
    note = torch.where(sounds, windows.median(dim=-1).values, 0.0)
    number = functional.pad((note.diff(dim=1) != 0).cumsum(dim=1), (1, 0))
    zeros = torch.zeros_like(note)
    total = zeros.scatter_add(1, number, loudness_db[..., 0] / DB_RANGE + 1.0)
    mean = total / zeros.scatter_add(1, number, torch.ones_like(note)).clamp_min(1.0)
    velocity = torch.where(sounds, mean.gather(1, number).clamp(0.0, 1.0), 0.0)
    return functional.one_hot(note.long(), N_NOTES).to(note.dtype) * velocity[..., None]
