"""Losses between the controls of synthesizers, rather than between their sounds.

Two sets of partials (amplitudes a_i and frequencies f_i in each frame) have no order in common, so they are compared as
distributions over pitch m = midi(f):

    Wasserstein  integral |A(m) - B(m)| dm,  A and B the cumulated amplitudes
    KDE          -sum_i a_i log p_b(m_i) and the reverse,  p_b(m) = sum_j b_j N(m; m_j, scale)
    TWM          for candidates of f0: -log p(partials | harmonics of f0) - log p(harmonics of f0 | partials)

a and b in KDE and TWM are normalized to sum 1. All inputs are [batch, frames, partials].
"""

import math

import torch

from fastddsp.autograd.scaling import hz_to_midi, safe_divide
from fastddsp.models.losses import Loss, amp_loss, freq_loss, mean_difference

__all__ = [
    "FilteredNoiseConsistencyLoss",
    "HarmonicConsistencyLoss",
    "KDEConsistencyLoss",
    "ParamLoss",
    "TWMLoss",
    "WassersteinConsistencyLoss",
    "wasserstein_distance",
]


class ParamLoss(Loss):
    """Weighted `mean_difference` of any two tensors.

    Args:
        weight: Of the loss.
        loss_type: "L1", "L2" or "COSINE".
        name: Key of the loss.
    """

    def __init__(self, weight: float = 1.0, loss_type: str = "L1", name: str = "param_loss"):
        super().__init__(name)
        self.weight = weight
        self.loss_type = loss_type

    def forward(
        self, pred: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | float | None = None
    ) -> torch.Tensor:
        """Scalar difference of two tensors of one shape; `weights` multiply the differences."""
        return self.weight * mean_difference(pred, target, self.loss_type, weights)


class FilteredNoiseConsistencyLoss(Loss):
    """Mean difference of the magnitudes of two noise synthesizers.

    Args:
        weight: Of the loss.
        name: Key of the loss.
    """

    def __init__(self, weight: float = 1.0, name: str = "filtered_noise_consistency_loss"):
        super().__init__(name)
        self.weight = weight

    def forward(self, noise_magnitudes: torch.Tensor, noise_magnitudes_target: torch.Tensor) -> torch.Tensor:
        """Scalar difference of magnitudes [batch, frames, bands]."""
        return self.weight * amp_loss(noise_magnitudes, noise_magnitudes_target)


class HarmonicConsistencyLoss(Loss):
    """Mean differences of the controls of two harmonic synthesizers: three losses.

    Args:
        amp_weight: Of the amplitudes.
        dist_weight: Of the harmonic distributions.
        f0_weight: Of the pitches, in semitones.
        amp_threshold: Frames whose target is below do not count for distribution and pitch.
        name: Of the loss; its parts have keys of their own.
    """

    def __init__(
        self,
        amp_weight: float = 1.0,
        dist_weight: float = 1.0,
        f0_weight: float = 1.0,
        amp_threshold: float = 1e-4,
        name: str = "harmonic_consistency_loss",
    ):
        super().__init__(name)
        self.amp_weight = amp_weight
        self.dist_weight = dist_weight
        self.f0_weight = f0_weight
        self.amp_threshold = amp_threshold

    def forward(
        self,
        harm_amp: torch.Tensor,
        harm_amp_target: torch.Tensor,
        harm_dist: torch.Tensor,
        harm_dist_target: torch.Tensor,
        f0_hz: torch.Tensor,
        f0_hz_target: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Scalars "harm_amp_loss", "harm_dist_loss" and "f0_hz_loss" of controls [batch, frames, channels]."""
        audible = (harm_amp_target >= self.amp_threshold).to(harm_dist.dtype)
        return {
            "harm_amp_loss": self.amp_weight * amp_loss(harm_amp, harm_amp_target),
            "harm_dist_loss": self.dist_weight * amp_loss(harm_dist, harm_dist_target, weights=audible),
            "f0_hz_loss": self.f0_weight * freq_loss(f0_hz, f0_hz_target, weights=audible),
        }

    def get_losses_dict(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> dict[str, torch.Tensor]:
        """The three losses by their own names."""
        return self(*args, **kwargs)


def wasserstein_distance(
    u_values: torch.Tensor,
    v_values: torch.Tensor,
    u_weights: torch.Tensor | None = None,
    v_weights: torch.Tensor | None = None,
    p: float = 1.0,
    *,
    normalize: bool = False,
) -> torch.Tensor:
    """Distance of two weighted sets of points on a line: (integral |U(x) - V(x)|^p dx)^(1/p).

    Args:
        u_values: Points of the first set, [..., n].
        v_values: Points of the second, [..., m].
        u_weights: Their weights, [..., n]; default: all 1 / n.
        v_weights: Their weights, [..., m]; default: all 1 / m.
        p: 1 is the Wasserstein distance, 2 the energy distance.
        normalize: Divide the weights of each set by their sum, for a distance of distributions. As in magenta/ddsp the
            default is not to: then a difference of total weight counts too.

    Returns:
        [...].
    """
    x, _ = torch.cat([u_values, v_values], dim=-1).sort(dim=-1)
    difference = _cumulated(x, u_values, u_weights, normalize) - _cumulated(x, v_values, v_weights, normalize)
    return (x.diff(dim=-1) * difference.abs() ** p).sum(dim=-1) ** (1.0 / p)


def _cumulated(x: torch.Tensor, values: torch.Tensor, weights: torch.Tensor | None, normalize: bool) -> torch.Tensor:
    """Weight of the values up to each x but the last."""
    if weights is None:
        weights = torch.full_like(values, 1.0 / values.shape[-1])
    elif normalize:
        weights = safe_divide(weights, weights.sum(dim=-1, keepdim=True))
    in_order, order = values.sort(dim=-1)
    below = torch.searchsorted(in_order.detach().contiguous(), x[..., :-1].detach().contiguous(), right=True)
    sums = torch.nn.functional.pad(weights.gather(-1, order).cumsum(dim=-1), (1, 0))
    return sums.gather(-1, below)


class WassersteinConsistencyLoss(Loss):
    """Mean Wasserstein distance of two sets of partials.

    Args:
        weight: Of the loss.
        midi: Measure distance in semitones instead of Hz. (In magenta/ddsp the loss in Hz is 0, by mistake.)
        name: Key of the loss.
        normalize: See `wasserstein_distance`.
    """

    def __init__(
        self,
        weight: float = 1.0,
        midi: bool = True,
        name: str = "wasserstein_consistency_loss",
        *,
        normalize: bool = False,
    ):
        super().__init__(name)
        self.weight = weight
        self.midi = midi
        self.normalize = normalize

    def forward(
        self, amps_a: torch.Tensor, freqs_a: torch.Tensor, amps_b: torch.Tensor, freqs_b: torch.Tensor
    ) -> torch.Tensor:
        """Scalar distance of partials a from partials b, amplitudes linear, frequencies in Hz."""
        if self.midi:
            freqs_a, freqs_b = hz_to_midi(freqs_a), hz_to_midi(freqs_b)
        distance = wasserstein_distance(freqs_a, freqs_b, amps_a, amps_b, normalize=self.normalize)
        return self.weight * distance.mean()


class KDEConsistencyLoss(Loss):
    """Each of two sets of partials is judged by the density that the other one spreads over pitch.

    Args:
        weight_a: Of -log p(a | b).
        weight_b: Of -log p(b | a).
        weight_mean_amp: Of the difference of mean amplitudes, which the densities do not see.
        scale_a: Width of the Gaussians around partials a, in semitones.
        scale_b: Width of the Gaussians around partials b, in semitones.
        name: Key of the loss.
    """

    def __init__(
        self,
        weight_a: float = 1.0,
        weight_b: float = 1.0,
        weight_mean_amp: float = 1.0,
        scale_a: float = 0.1,
        scale_b: float = 0.1,
        name: str = "kde_consistency_loss",
    ):
        super().__init__(name)
        self.weight_a = weight_a
        self.weight_b = weight_b
        self.weight_mean_amp = weight_mean_amp
        self.scale_a = scale_a
        self.scale_b = scale_b

    def forward(
        self, amps_a: torch.Tensor, freqs_a: torch.Tensor, amps_b: torch.Tensor, freqs_b: torch.Tensor
    ) -> torch.Tensor:
        """Scalar loss of partials a against partials b, amplitudes linear, frequencies in Hz."""
        loss = amps_a.new_zeros(())
        if self.weight_a > 0:
            loss = loss + self.weight_a * self.nll(amps_a, freqs_a, amps_b, freqs_b, self.scale_b).mean()
        if self.weight_b > 0:
            loss = loss + self.weight_b * self.nll(amps_b, freqs_b, amps_a, freqs_a, self.scale_a).mean()
        if self.weight_mean_amp > 0:
            loss = loss + self.weight_mean_amp * (amps_a.mean(dim=-1) - amps_b.mean(dim=-1)).abs().mean()
        return loss

    @staticmethod
    def nll(
        amps: torch.Tensor,
        freqs: torch.Tensor,
        amps_target: torch.Tensor,
        freqs_target: torch.Tensor,
        scale_target: float,
    ) -> torch.Tensor:
        """Negative log-likelihood [batch, frames] of partials under the density of the target's partials."""
        log_p = _log_density(hz_to_midi(freqs), amps_target, freqs_target, scale_target)
        return -(log_p * safe_divide(amps, amps.sum(dim=-1, keepdim=True))).mean(dim=-1)


class TWMLoss(Loss):
    """Two-way mismatch: how well partials and the harmonics of a candidate for f0 explain each other.

    Args:
        sinusoids_weight: Of -log p(partials | harmonics), which favours low candidates.
        harmonics_weight: Of -log p(harmonics | partials), which favours high ones.
        sinusoids_scale: Width of the Gaussians around partials, in semitones.
        harmonics_scale: Width of the Gaussians around harmonics, in harmonic numbers.
        n_harmonic_points: Harmonics of a candidate that are judged.
        n_harmonic_gaussians: Harmonics of a candidate that explain partials.
        softmin_temperature: The lower, the more only the best candidate counts.
        sample_rate: Hz; harmonics above Nyquist do not count.
        name: Key of the loss.

    Source: after Maher and Beauchamp, Fundamental frequency estimation of musical signals using a two-way mismatch
    procedure, JASA 95, 1994.
    """

    def __init__(
        self,
        sinusoids_weight: float = 1.0,
        harmonics_weight: float = 1.0,
        sinusoids_scale: float = 0.5,
        harmonics_scale: float = 0.2,
        n_harmonic_points: int = 10,
        n_harmonic_gaussians: int = 30,
        softmin_temperature: float = 1.0,
        sample_rate: int = 16000,
        name: str = "twm_loss",
    ):
        super().__init__(name)
        self.sinusoids_weight = sinusoids_weight
        self.harmonics_weight = harmonics_weight
        self.sinusoids_scale = sinusoids_scale
        self.harmonics_scale = harmonics_scale
        self.n_harmonic_points = n_harmonic_points
        self.n_harmonic_gaussians = n_harmonic_gaussians
        self.softmin_temperature = softmin_temperature
        self.sample_rate = sample_rate

    def forward(self, f0_candidates: torch.Tensor, freqs: torch.Tensor, amps: torch.Tensor) -> torch.Tensor:
        """Scalar loss of the best candidates.

        Args:
            f0_candidates: Hz, [batch, frames, candidates].
            freqs: Of the partials in Hz, [batch, frames, partials].
            amps: Of the partials, linear, [batch, frames, partials].

        Returns:
            Scalar.
        """
        loss = self._combined(f0_candidates, freqs, amps)
        return (loss * torch.softmax(-loss / self.softmin_temperature, dim=-1)).mean()

    def predict_f0(self, f0_candidates: torch.Tensor, freqs: torch.Tensor, amps: torch.Tensor) -> torch.Tensor:
        """The candidate with the lowest loss in each frame, Hz, [batch, frames, 1]; arguments as for a call."""
        loss = self._combined(f0_candidates, freqs, amps).nan_to_num(nan=math.inf, posinf=math.inf)
        return f0_candidates.gather(-1, loss.argmin(dim=-1, keepdim=True))

    def get_loss_tensors(
        self, f0_candidates: torch.Tensor, freqs: torch.Tensor, amps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """-log p(partials | harmonics) and -log p(harmonics | partials), [batch, frames, candidates] each."""
        return self._sinusoids_loss(f0_candidates, freqs, amps), self._harmonics_loss(f0_candidates, freqs, amps)

    def _combined(self, f0_candidates: torch.Tensor, freqs: torch.Tensor, amps: torch.Tensor) -> torch.Tensor:
        sinusoids_loss, harmonics_loss = self.get_loss_tensors(f0_candidates, freqs, amps)
        return self.sinusoids_weight * sinusoids_loss + self.harmonics_weight * harmonics_loss

    def _sinusoids_loss(self, f0_candidates: torch.Tensor, freqs: torch.Tensor, amps: torch.Tensor) -> torch.Tensor:
        number = safe_divide(freqs[:, :, None, :], f0_candidates[..., None])  # as if it were a harmonic's number
        centers = torch.arange(1, self.n_harmonic_gaussians + 1, dtype=freqs.dtype, device=freqs.device)
        log_p = _log_mixture(number, centers, self.harmonics_scale, torch.full_like(centers, 1.0 / len(centers)))
        return -safe_divide((log_p * amps[:, :, None, :]).sum(dim=-1), amps[:, :, None, :].sum(dim=-1))

    def _harmonics_loss(self, f0_candidates: torch.Tensor, freqs: torch.Tensor, amps: torch.Tensor) -> torch.Tensor:
        number = torch.arange(1, self.n_harmonic_points + 1, dtype=freqs.dtype, device=freqs.device)
        pitch = hz_to_midi(f0_candidates[..., None] * number)
        log_p = _log_density(pitch.flatten(2), amps, freqs, self.sinusoids_scale).view_as(pitch)
        importance = torch.linspace(1.0, 1.0 / len(number), len(number), dtype=freqs.dtype, device=freqs.device)
        audible = (pitch < hz_to_midi(self.sample_rate / 2.0)).to(freqs.dtype)
        return -(log_p * importance * safe_divide(audible, audible.mean(dim=-1, keepdim=True))).mean(dim=-1)


def _log_density(pitch: torch.Tensor, amps: torch.Tensor, freqs: torch.Tensor, scale: float) -> torch.Tensor:
    """Log of the density over pitch that partials [batch, frames, m] spread, at pitches [batch, frames, n] in MIDI."""
    amps = torch.where(amps == 0.0, 1e-7, amps)  # a finite logarithm, of silence too
    weights = safe_divide(amps, amps.sum(dim=-1, keepdim=True))
    return _log_mixture(pitch, hz_to_midi(freqs)[:, :, None, :], scale, weights[:, :, None, :])


def _log_mixture(x: torch.Tensor, centers: torch.Tensor, scale: float, weights: torch.Tensor) -> torch.Tensor:
    """Log of sum_j weights_j N(x; centers_j, scale), over the last axis of centers and weights."""
    exponent = -0.5 * ((x[..., None] - centers) / scale) ** 2
    return torch.logsumexp(exponent + torch.log(weights), dim=-1) - math.log(scale * math.sqrt(2.0 * math.pi))
