"""Hidden Markov models over frames, and the transcriber of pitch and amplitude that is one.

    p(x, s) = p(s_0) prod_t p(s_t | s_{t-1}) prod_t p(x_t | s_t)

    log_likelihood   log sum_s p(x, s)       by a_t(s) = p(x_t | s) sum_r a_{t-1}(r) p(s | r), in logarithms
    viterbi          argmax_s p(x, s)        the same with max for sum, and the way back

Source: Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77, 1989, section III.
"""

import math

import torch
from torch import nn


def log_likelihood(log_initial: torch.Tensor, transition: torch.Tensor, log_observation: torch.Tensor) -> torch.Tensor:
    """Logarithm of the probability of observations under all paths of states.

    Args:
        log_initial: log p(s_0), [states].
        transition: p(s_t = column | s_{t-1} = row), [states, states].
        log_observation: log p(x_t | s_t), [batch, frames, states].

    Returns:
        [batch], differentiable in all arguments.
    """
    log_forward = log_initial + log_observation[:, 0]
    for log_p in log_observation[:, 1:].unbind(1):
        largest = log_forward.amax(-1, keepdim=True).detach()
        log_forward = ((log_forward - largest).exp() @ transition).log() + largest + log_p
    return log_forward.logsumexp(-1)


@torch.no_grad()
def viterbi(log_initial: torch.Tensor, log_transition: torch.Tensor, log_observation: torch.Tensor) -> torch.Tensor:
    """The most probable path of states.

    Args:
        log_initial: log p(s_0), [states].
        log_transition: log p(s_t = column | s_{t-1} = row), [states, states].
        log_observation: log p(x_t | s_t) up to a constant for each frame, [batch, frames, states].

    Returns:
        Indices of states, int64 [batch, frames].
    """
    score = log_initial + log_observation[:, 0]
    came_from = []
    for log_p in log_observation[:, 1:].unbind(1):
        score, previous = (score.unsqueeze(-1) + log_transition).max(1)
        score = score + log_p
        came_from.append(previous)
    path = [score.argmax(-1)]
    for previous in reversed(came_from):
        path.append(previous.gather(1, path[-1].unsqueeze(1)).squeeze(1))
    return torch.stack(path[::-1], 1)


class HmmTranscriber(nn.Module):
    """Notes as the hidden states behind a pitch curve and an amplitude curve.

    State 0 is silence (any pitch, low amplitude); state m > 0 is MIDI note m (pitch near m, high amplitude). All
    observations are normal and independent. A call gives the negative log likelihood, to train the curves with.

    Args:
        avg_length: average length of a note, in frames.
        midi_std: deviation of the pitch around a note, in semitones.
        amps_on_center: mean amplitude of a note.
        amps_on_scale: deviation of it.
        amps_off_center: mean amplitude of silence.
        amps_off_scale: deviation of it.
        n_timesteps: has no effect: curves may have any number of frames.
        n_pitches: number of states.
        weight: of the loss.

    Source: magenta/ddsp `losses.HmmTranscriber`.
    """

    initial: torch.Tensor
    transition: torch.Tensor
    center: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        avg_length: float = 200,
        midi_std: float = 0.5,
        amps_on_center: float = 1.5,
        amps_on_scale: float = 0.5,
        amps_off_center: float = 0.0,
        amps_off_scale: float = 0.1,
        n_timesteps: int = 1000,
        n_pitches: int = 128,
        weight: float = 1.0,
    ):
        super().__init__()
        self.weight = weight
        self.n_pitches = n_pitches
        hold = 1.0 - 1.0 / avg_length
        transition = torch.full((n_pitches, n_pitches), (1.0 - hold) / (n_pitches - 1)).fill_diagonal_(hold)
        center = torch.tensor([0.0, amps_on_center]).repeat(n_pitches, 1)
        center[:, 0] = torch.arange(n_pitches)
        center[0] = torch.tensor([n_pitches / 2.0, amps_off_center])
        scale = torch.tensor([midi_std, amps_on_scale]).repeat(n_pitches, 1)
        scale[0] = torch.tensor([float(n_pitches), amps_off_scale])
        self.register_buffer("initial", torch.full((n_pitches,), 1.0 / n_pitches), persistent=False)
        self.register_buffer("transition", transition, persistent=False)
        self.register_buffer("center", center, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, pitch: torch.Tensor, amps: torch.Tensor) -> torch.Tensor:
        """Alias of `nll`."""
        return self.nll(pitch, amps)

    @staticmethod
    def straight_through(x: torch.Tensor, x_quant: torch.Tensor) -> torch.Tensor:
        """The value of `x_quant` with the gradient of `x`."""
        return x - (x - x_quant).detach()

    def nll(self, pitch: torch.Tensor, amps: torch.Tensor, per_example_loss: bool = False) -> torch.Tensor:
        """Negative log likelihood of the curves, for each frame on average.

        Args:
            pitch: MIDI notes, [batch, frames, 1].
            amps: [batch, frames, 1].
            per_example_loss: do not average over the batch.

        Returns:
            Scalar, or [batch].
        """
        log_p = log_likelihood(self.initial.log(), self.transition, self._log_observation(pitch, amps))
        nll = -log_p / pitch.shape[1]
        return self.weight * (nll if per_example_loss else nll.mean())

    def predict_midi(
        self, pitch: torch.Tensor, amps: torch.Tensor, channel_dim: bool = True, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """The most probable notes, 0 where there is none.

        Args:
            pitch: MIDI notes, [batch, frames, 1].
            amps: [batch, frames, 1].
            channel_dim: return [batch, frames, 1] and not [batch, frames].
            dtype: of the result.

        Returns:
            MIDI notes.
        """
        states = viterbi(self.initial.log(), self.transition.log(), self._log_observation(pitch, amps)).to(dtype)
        return states.unsqueeze(-1) if channel_dim else states

    def _log_observation(self, pitch: torch.Tensor, amps: torch.Tensor) -> torch.Tensor:
        """Logarithm of the normal densities of every state, [batch, frames, states]."""
        distance = (torch.cat([pitch, amps], -1).unsqueeze(2) - self.center) / self.scale
        return -(0.5 * distance.square() + self.scale.log() + 0.5 * math.log(2.0 * math.pi)).sum(-1)
