"""Losses: nn.Modules whose `get_losses_dict` gives {name: scalar}, so that a model can add up several.

    SpectralLoss(x, y) = sum over fft_sizes of
          mag_weight         d(|X|, |Y|)                 X = STFT of x, 75 % overlap, [batch, frames, bins]
        + delta_time_weight  d(diff_t |X|, diff_t |Y|)
        + delta_freq_weight  d(diff_f |X|, diff_f |Y|)
        + cumsum_freq_weight d(cumsum_f |X|, cumsum_f |Y|)
        + logmag_weight      d(log |X|, log |Y|)
      + loudness_weight      d(loudness x, loudness y)
    d = mean |a - b| (L1), mean (a - b)^2 (L2), mean 1 - cos(a, b) over the last axis (COSINE)

Losses are differentiable in both signals.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from fastddsp.autograd import checks, spectral
from fastddsp.autograd.scaling import hz_to_midi, safe_log
from fastddsp.autograd.spectral_loss import spectral_loss
from fastddsp.models.dags import DAG, DAGLayer

__all__ = ["Loss", "LossGroup", "SpectralLoss", "amp_loss", "freq_loss", "mean_difference"]


class Loss(nn.Module):
    """Base class of losses.

    Args:
        name: Key of the loss in a dictionary of losses.
    """

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def get_losses_dict(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """{name: value of the loss}."""
        return {self.name: self(*args, **kwargs)}


class LossGroup(DAGLayer):
    """Losses fed from a dictionary of outputs.

    Args:
        dag: List of nodes [loss, input_keys], see `dags.DAGLayer`.
        name: Of the group.
        **losses: Losses by name, for nodes that name them.
    """

    def __init__(self, dag: DAG, *, name: str | None = None, **losses: nn.Module):
        super().__init__(dag, name=name, **losses)
        self.loss_names = self.module_names

    @property
    def losses(self) -> list[nn.Module]:
        """The losses in the order in which they were added."""
        return [getattr(self, name) for name in self.loss_names]

    def forward(  # type: ignore[override]  # magenta names the argument so
        self, outputs: Mapping[str, Any], **options: Any
    ) -> dict[str, torch.Tensor]:
        """Flat dictionary {name: scalar} of all losses."""
        of_module = self.run_dag(outputs, **options)
        return {name: value for module in self.loss_names for name, value in of_module[module].items()}

    def get_losses_dict(self, outputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Alias of a call."""
        return self(outputs)


def mean_difference(
    target: torch.Tensor, value: torch.Tensor, loss_type: str = "L1", weights: torch.Tensor | float | None = None
) -> torch.Tensor:
    """Mean difference of two tensors.

    Args:
        target: Any shape.
        value: The same shape.
        loss_type: "L1": mean |w d|, "L2": mean w d^2, "COSINE": mean w (1 - cosine similarity over the last axis).
            magenta/ddsp has the third, but it raises there. Where a vector is 0 the similarity is 0.
        weights: w, broadcast against the tensors (COSINE: with a last axis of 1). They do not renormalize the mean.

    Returns:
        Scalar.

    Raises:
        ValueError: Another loss_type.
    """
    loss_type = loss_type.upper()
    if loss_type == "L1":
        difference = target - value
        return (difference if weights is None else difference * weights).abs().mean()
    if loss_type == "L2":
        squares = (target - value).square()
    elif loss_type == "COSINE":
        squares = 1.0 - nn.functional.cosine_similarity(target, value, dim=-1)[..., None]
    else:
        raise ValueError(f'loss_type must be "L1", "L2" or "COSINE", got {loss_type!r}')
    return (squares if weights is None else squares * weights).mean()


class SpectralLoss(Loss):
    """Multi-scale spectrogram loss; a term whose weight is 0 is not computed.

    Magnitudes and log magnitudes alone (the default, the presets), in L1 or L2, unweighted, run in a fused kernel that
    keeps no spectrogram (`fastddsp.autograd.spectral_loss`), if the two signals are alike; everything else is plain
    torch.

    Args:
        fft_sizes: Window sizes in samples; the hop is a quarter.
        loss_type: "L1", "L2" or "COSINE".
        mag_weight: Weight of magnitudes (loud parts count).
        delta_time_weight: Weight of their differences in time (transients count).
        delta_freq_weight: Weight of their differences in frequency (harmonics' edges count).
        cumsum_freq_weight: Weight of their cumulative sums over frequency (pulls partials that do not overlap).
        logmag_weight: Weight of log magnitudes (quiet parts count).
        loudness_weight: Weight of A-weighted loudness in dB.
        name: Key of the loss.
        sample_rate: Of the audio, in Hz; only loudness depends on it.

    Source: Engel et al., ICLR 2020, "Multi-scale spectral loss".
    """

    def __init__(
        self,
        fft_sizes: Sequence[int] = (2048, 1024, 512, 256, 128, 64),
        loss_type: str = "L1",
        mag_weight: float = 1.0,
        delta_time_weight: float = 0.0,
        delta_freq_weight: float = 0.0,
        cumsum_freq_weight: float = 0.0,
        logmag_weight: float = 0.0,
        loudness_weight: float = 0.0,
        name: str = "spectral_loss",
        *,
        sample_rate: int = 16000,
    ):
        super().__init__(name)
        self.fft_sizes = tuple(fft_sizes)
        self.loss_type = loss_type
        self.mag_weight = mag_weight
        self.delta_time_weight = delta_time_weight
        self.delta_freq_weight = delta_freq_weight
        self.cumsum_freq_weight = cumsum_freq_weight
        self.logmag_weight = logmag_weight
        self.loudness_weight = loudness_weight
        self.sample_rate = sample_rate

    def forward(
        self, target_audio: torch.Tensor, audio: torch.Tensor, weights: torch.Tensor | float | None = None
    ) -> torch.Tensor:
        """Value of the loss.

        Args:
            target_audio: [batch, n_samples].
            audio: [batch, n_samples].
            weights: Multiply the differences, see `mean_difference`.

        Returns:
            Scalar.
        """
        target_audio, audio = checks.computed_in_float32(target_audio, audio)
        loss = audio.new_zeros(())
        fused = self._is_fused(target_audio, audio, weights)
        if fused:
            terms = max(self.mag_weight, 0.0), max(self.logmag_weight, 0.0)
            rows = spectral_loss(target_audio, audio, self.fft_sizes, self.loss_type.upper(), *terms)
            loss = loss + rows.mean()
        for size in self.fft_sizes if self._compares_magnitudes() and not fused else ():
            target_mag = spectral.compute_mag(target_audio, size=size)
            mag = spectral.compute_mag(audio, size=size)
            for (weight, target), (_, value) in zip(self._views(target_mag), self._views(mag), strict=True):
                loss = loss + weight * mean_difference(target, value, self.loss_type, weights)
        if self.loudness_weight > 0:
            target, value = (spectral.compute_loudness(x, self.sample_rate, n_fft=2048) for x in (target_audio, audio))
            loss = loss + self.loudness_weight * mean_difference(target, value, self.loss_type, weights)
        return loss

    def _is_fused(self, target_audio: torch.Tensor, audio: torch.Tensor, weights: torch.Tensor | float | None) -> bool:
        """Whether the kernel, which knows magnitudes and logarithms, in L1 and L2, computes all magnitude terms."""
        pair = target_audio, audio
        return (
            weights is None
            and self.loss_type.upper() in ("L1", "L2")
            and (self.mag_weight > 0 or self.logmag_weight > 0)
            and not self._compares_neighbours()
            and all(x.device.type == "cpu" and x.ndim == 2 and x.dtype in (torch.float32, torch.float64) for x in pair)
            and target_audio.shape == audio.shape
            and target_audio.dtype == audio.dtype
        )

    def _compares_magnitudes(self) -> bool:
        return self.mag_weight > 0 or self.logmag_weight > 0 or self._compares_neighbours()

    def _compares_neighbours(self) -> bool:
        """Whether there are terms across frames or bins."""
        return any(weight > 0 for weight in (self.delta_time_weight, self.delta_freq_weight, self.cumsum_freq_weight))

    def _views(self, mag: torch.Tensor) -> Iterator[tuple[float, torch.Tensor]]:
        """The pairs (weight, what is compared), one at a time, so that few are in memory at once."""
        if self.mag_weight > 0:
            yield self.mag_weight, mag
        if self.delta_time_weight > 0:
            yield self.delta_time_weight, mag.diff(dim=-2)
        if self.delta_freq_weight > 0:
            yield self.delta_freq_weight, mag.diff(dim=-1)
        if self.cumsum_freq_weight > 0:
            yield self.cumsum_freq_weight, mag.cumsum(dim=-1)
        if self.logmag_weight > 0:
            yield self.logmag_weight, safe_log(mag)


def amp_loss(
    amp: torch.Tensor,
    amp_target: torch.Tensor,
    loss_type: str = "L1",
    weights: torch.Tensor | float | None = None,
    log: bool = False,
    amin: float = 1e-5,
) -> torch.Tensor:
    """Mean difference of two amplitudes.

    Args:
        amp: Linear amplitude, any shape.
        amp_target: The same shape.
        loss_type: See `mean_difference`.
        weights: See `mean_difference`.
        log: Compare log10 of the amplitudes.
        amin: Lowest amplitude that the logarithm sees.

    Returns:
        Scalar.
    """
    if log:
        amp, amp_target = amp.clamp(min=amin).log10(), amp_target.clamp(min=amin).log10()
    return mean_difference(amp, amp_target, loss_type, weights)


def freq_loss(
    f_hz: torch.Tensor,
    f_hz_target: torch.Tensor,
    loss_type: str = "L1",
    weights: torch.Tensor | float | None = None,
) -> torch.Tensor:
    """Mean difference of two frequencies, in semitones.

    Args:
        f_hz: Hz, any shape.
        f_hz_target: Hz, the same shape.
        loss_type: See `mean_difference`.
        weights: See `mean_difference`.

    Returns:
        Scalar.
    """
    return mean_difference(hz_to_midi(f_hz), hz_to_midi(f_hz_target), loss_type, weights)
