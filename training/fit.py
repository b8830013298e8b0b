"""Gains with which an instrument sounds more like the recording that it plays again.

    g(t, f) = gain in dB of harmonics, or of noise: linear between times 40 ms and frequencies Nyquist / 2 apart
    minimize   spectral loss(recording, h * (harmonics and noise of the curves, louder by g))      h: the learnt room

Pitch and loudness do not say all about how a note is played, and in a room they are heard with errors. The recording
says more: the instrument is played in its room, as in training, and turned up and down until that sounds as the
recording does. What it plays without the room is then nearer to what was played there. The room and the instrument
stay as they are; so do pitch and loudness.

Every step of Adam draws other noise, so that no gain makes up for one draw of it. Gains are 0 at first and move by
about RATE_DB a step: few steps keep them small.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from fastddsp.models.losses import SpectralLoss
from fastddsp.training.instrument import Instrument, controls_of, equalize, render

__all__ = ["fit_gains"]

KNOT_SECONDS = 0.04
N_POINTS = 3
RATE_DB = 0.2
BETAS = (0.9, 0.95)  # some ten steps decide


def fit_gains(
    instrument: Instrument, audio: np.ndarray, curves: Mapping[str, Any], *, steps: int = 45, seed: int = 0
) -> np.ndarray:
    """Gains for `play`, fitted to a recording.

    A minute of sound takes a third of a second a step on one core.

    Args:
      instrument: what plays, in its room if it has one.
      audio: the recording, [n_samples] at instrument.config.sample_rate.
      curves: what `listen` heard in it.
      steps: of Adam; 0 leaves the gains 0.
      seed: of the noise.

    Returns:
      Gains in dB, float32 [n_frames, 2, n_points]: of the harmonics and of the noise, at frequencies evenly spaced from
      0 to Nyquist.

    Raises:
      ValueError: steps is negative, or the curves are not those of a recording so long.
    """
    config = instrument.config
    n_frames = -(-len(audio) // config.hop_size)
    if steps < 0:
        raise ValueError(f"steps must not be negative, got {steps}")
    if len(curves["f0_hz"]) != n_frames:
        raise ValueError(f"curves must be of the recording, {n_frames} frames long, got {len(curves['f0_hz'])}")
    with torch.no_grad():
        controls = controls_of(instrument, **curves)
    hop = round(KNOT_SECONDS * config.frame_rate)
    knots = torch.zeros(1, 2 * N_POINTS, -(-n_frames // hop) + 1, requires_grad=True)
    target = torch.from_numpy(np.pad(np.asarray(audio, np.float32), (0, n_frames * config.hop_size - len(audio))))
    loss, optimizer = SpectralLoss(logmag_weight=1.0), torch.optim.Adam([knots], RATE_DB, BETAS)
    for step in range(steps):
        louder = equalize(controls, _between(knots, hop, n_frames), config.sample_rate)
        played = render(instrument, louder, len(target), seed=seed + step)
        optimizer.zero_grad()
        loss(target[None], played).backward()
        optimizer.step()
    return _between(knots, hop, n_frames).detach().numpy()


def _between(knots: torch.Tensor, hop: int, n_frames: int) -> torch.Tensor:
    """Gains [n_frames, 2, n_points] of knots [1, 2 n_points, n_knots], every `hop` frames from the first on."""
    n_fine = (knots.shape[-1] - 1) * hop + 1
    fine = torch.nn.functional.interpolate(knots, size=n_fine, mode="linear", align_corners=True)
    return fine[0, :, :n_frames].T.reshape(n_frames, 2, -1)
