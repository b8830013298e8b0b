"""Encoders from audio to the controls of synthesizers, for learning without a pitch tracker.

ResnetF0Encoder               f0 = sum_i p_i midi_i,  p = (softplus(ResNet(log mel)) + 0.001), normalized
ResnetSinusoidalEncoder       raw controls of sinusoids and noise = Linear(ResNet(log mel))
SinusoidalToHarmonicEncoder   sinusoids -> f0, amplitude and harmonic distribution = Linear(net(sinusoids))
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from fastddsp.autograd import spectral
from fastddsp.autograd.frequency_scaling import frequencies_softmax
from fastddsp.autograd.harmonics import normalize_harmonics
from fastddsp.autograd.resampling import resample
from fastddsp.autograd.scaling import exp_sigmoid, hz_to_unit
from fastddsp.models.convolutions import ResNet
from fastddsp.models.nn import DictLayer, dense
from fastddsp.models.preprocessing import inv_scale_f0_hz

__all__ = ["LogMelResNet", "ResnetF0Encoder", "ResnetSinusoidalEncoder", "SinusoidalToHarmonicEncoder"]

LEAST_WEIGHT = 1e-3  # of a bin of f0, so that none is out of reach of the gradient


class LogMelResNet(nn.Module):
    """Log mel spectrogram of audio through a ResNet: [batch, n_samples] -> [batch, frames, n_outputs].

    Args:
        size: "tiny", "small", "medium", "large", or a pair, see `ResNet`.
        mel_bins: Bands of the spectrogram.
        lo_hz: Lowest frequency.
        hi_hz: Highest frequency.
        fft_size: Of the spectrogram; a frame comes every (1 - overlap) fft_size samples.
        overlap: Of its windows.
        sample_rate: Of the audio, in Hz.
    """

    def __init__(
        self,
        size: str | tuple[int, Sequence[int]] = "small",
        mel_bins: int = 229,
        lo_hz: float = 0.0,
        hi_hz: float = 8000.0,
        fft_size: int = 2048,
        overlap: float = 0.75,
        sample_rate: int = 16000,
    ):
        super().__init__()
        self.mel_bins, self.lo_hz, self.hi_hz = mel_bins, lo_hz, hi_hz
        self.fft_size, self.overlap, self.sample_rate = fft_size, overlap, sample_rate
        self.resnet = ResNet(mel_bins, size)
        self.n_outputs = self.resnet.n_outputs

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Channels [batch, frames, n_outputs] of audio [batch, n_samples]."""
        log_mel = spectral.compute_logmel(
            audio,
            lo_hz=self.lo_hz,
            hi_hz=self.hi_hz,
            bins=self.mel_bins,
            fft_size=self.fft_size,
            overlap=self.overlap,
            sample_rate=self.sample_rate,
        )
        return self.resnet(log_mel)


class ResnetF0Encoder(DictLayer):
    """Pitch of audio, learnt with everything else: the mean of MIDI notes, weighted by what a ResNet says of each.

    Args:
        size: Of the ResNet, see `ResNet`.
        f0_bins: Pitches of which the mean is taken, evenly spaced over MIDI 0 to 127.
        mel_bins: Bands of the log mel spectrogram, from 0 Hz up.
        fft_size: Of the spectrogram.
        overlap: Of its windows.
        sample_rate: Of the audio, in Hz.

    Source: Engel et al., ICLR 2020, appendix on model details, "f-encoder".
    """

    def __init__(
        self,
        size: str | tuple[int, Sequence[int]] = "large",
        f0_bins: int = 128,
        mel_bins: int = 229,
        fft_size: int = 2048,
        overlap: float = 0.75,
        sample_rate: int = 16000,
    ):
        super().__init__()
        self.net = LogMelResNet(size, mel_bins, 0.0, min(8000.0, sample_rate / 2), fft_size, overlap, sample_rate)
        self.dense_out = dense(self.net.n_outputs, f0_bins)

    def compute(self, audio: torch.Tensor, ld_scaled: torch.Tensor) -> dict[str, torch.Tensor]:
        """Pitch of audio.

        Args:
            audio: [batch, n_samples].
            ld_scaled: Only its number of frames counts, [batch, frames, 1].

        Returns:
            "f0_scaled" (MIDI note / 127) and "f0_hz", each [batch, frames, 1].
        """
        f0_scaled = resample(self.mean_pitch(self.probabilities(audio)), ld_scaled.shape[1])
        return {"f0_scaled": f0_scaled, "f0_hz": inv_scale_f0_hz(f0_scaled)}

    def probabilities(self, audio: torch.Tensor) -> torch.Tensor:
        """Weights of the pitches, which sum to 1, [batch, frames of the spectrogram, f0_bins]."""
        weights = functional.softplus(self.dense_out(self.net(audio))) + LEAST_WEIGHT
        return weights / weights.sum(dim=-1, keepdim=True)

    @staticmethod
    def mean_pitch(probabilities: torch.Tensor) -> torch.Tensor:
        """f0_scaled [batch, frames, 1] of such weights."""
        n_bins = probabilities.shape[-1]
        bins = torch.linspace(0.0, 1.0, n_bins, dtype=probabilities.dtype, device=probabilities.device)
        return (probabilities * bins).sum(dim=-1, keepdim=True)


class ResnetSinusoidalEncoder(DictLayer):
    """Raw controls of a sinusoidal and a noise synthesizer, straight from audio.

    Args:
        output_splits: Pairs (name, channels) of the outputs; frequencies have several channels for each sinusoid,
            see `frequencies_softmax`.
        size: Of the ResNet, see `ResNet`.
        mel_bins: Bands of the log mel spectrogram.
        lo_hz: Its lowest frequency.
        hi_hz: Its highest frequency.
        fft_size: Of the spectrogram.
        overlap: Of its windows; the controls have its frames.
        sample_rate: Of the audio, in Hz.

    Source: Engel et al., Self-supervised pitch detection by inverse audio synthesis, ICML 2020 workshop.
    """

    def __init__(
        self,
        output_splits: Sequence[tuple[str, int]] = (
            ("frequencies", 100 * 64),
            ("amplitudes", 100),
            ("noise_magnitudes", 60),
        ),
        size: str | tuple[int, Sequence[int]] = "small",
        mel_bins: int = 229,
        lo_hz: float = 0.0,
        hi_hz: float = 8000.0,
        fft_size: int = 2048,
        overlap: float = 0.75,
        sample_rate: int = 16000,
    ):
        super().__init__()
        self.output_splits = tuple((name, channels) for name, channels in output_splits)
        self.net = LogMelResNet(size, mel_bins, lo_hz, hi_hz, fft_size, overlap, sample_rate)
        self.dense_outs = nn.ModuleList(dense(self.net.n_outputs, channels) for _, channels in self.output_splits)

    def compute(self, audio: torch.Tensor) -> dict[str, torch.Tensor]:
        """Raw controls [batch, frames, channels] by the names of output_splits, of audio [batch, n_samples]."""
        x = self.net(audio)
        return {name: layer(x) for (name, _), layer in zip(self.output_splits, self.dense_outs, strict=True)}


class SinusoidalToHarmonicEncoder(DictLayer):
    """Controls of a harmonic synthesizer that sounds like given sinusoids.

    Args:
        net: [batch, frames, 2 n_sinusoids] -> [batch, frames, net.n_outputs], such as an `nn.RnnSandwich`.
        n_harmonics: Harmonics of the distribution.
        f0_depth: Channels from which a softmax chooses f0, see `frequencies_softmax`.
        amp_scale_fn: Makes amplitude and distribution positive.
        hz_min: Lowest f0.
        hz_max: Highest f0.
        sample_rate: Hz; harmonics above its half are silent.

    Source: Engel et al., Self-supervised pitch detection by inverse audio synthesis, ICML 2020 workshop.
    """

    def __init__(
        self,
        net: Any,
        n_harmonics: int = 100,
        f0_depth: int = 64,
        amp_scale_fn: Callable[[torch.Tensor], torch.Tensor] = exp_sigmoid,
        hz_min: float = 20.0,
        hz_max: float = 1200.0,
        sample_rate: int = 16000,
    ):
        super().__init__()
        self.f0_depth, self.hz_min, self.hz_max = f0_depth, hz_min, hz_max
        self.amp_scale_fn = amp_scale_fn
        self.sample_rate = sample_rate
        self.net = net
        self.amp_out = dense(net.n_outputs, 1)
        self.hd_out = dense(net.n_outputs, n_harmonics)
        self.f0_out = dense(net.n_outputs, f0_depth)

    def compute(self, sin_freqs: torch.Tensor, sin_amps: torch.Tensor) -> dict[str, torch.Tensor]:
        """Harmonic controls of sinusoidal ones.

        Args:
            sin_freqs: Hz, [batch, frames, n_sinusoids].
            sin_amps: Linear amplitudes, [batch, frames, n_sinusoids].

        Returns:
            "harm_amp" (linear, [batch, frames, 1]), "harm_dist" (sums to 1, [batch, frames, n_harmonics]) and "f0_hz"
            (Hz, [batch, frames, 1]).
        """
        x = self.net(torch.cat([hz_to_unit(sin_freqs, 0.0, self.sample_rate / 2.0), sin_amps], dim=-1))
        f0_hz = frequencies_softmax(self.f0_out(x), self.f0_depth, self.hz_min, self.hz_max)
        harm_dist = normalize_harmonics(self.amp_scale_fn(self.hd_out(x)), f0_hz, self.sample_rate)
        return {"harm_amp": self.amp_scale_fn(self.amp_out(x)), "harm_dist": harm_dist, "f0_hz": f0_hz}
