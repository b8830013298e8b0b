"""Synthesizers: Processors whose signal is audio [batch, n_samples], made of controls at frame rate.

    Harmonic       y(n) = A(n) sum_k d_k(n) sin(2 pi k phi(n)), phi the integral of f0_hz
    Sinusoidal     y(n) = sum_k a_k(n) sin(2 pi phi_k(n)), every phi_k the integral of a frequency of its own
    FilteredNoise  y    = white noise, filtered frame by frame by magnitudes over [0, Nyquist]
    Wavetable      y(n) = A(n) w(phi(n) mod 1), phi the integral of f0_hz, w a table of one turn that changes slowly

`n_samples` and `sample_rate` given to the constructor are defaults; either may be given per call.
"""

from collections.abc import Callable

import torch

from fastddsp.autograd import filters, oscillators, partials, wavetable
from fastddsp.autograd.frequency_scaling import frequencies_sigmoid
from fastddsp.autograd.harmonics import normalize_harmonics, remove_above_nyquist
from fastddsp.autograd.scaling import exp_sigmoid
from fastddsp.models.processors import Processor

__all__ = ["FilteredNoise", "Harmonic", "Sinusoidal", "TensorToAudio", "Wavetable"]

ScaleFn = Callable[[torch.Tensor], torch.Tensor]


class TensorToAudio(Processor):
    """Samples as audio: removes the channel axis."""

    def __init__(self, name: str = "tensor_to_audio"):
        super().__init__(name)

    def get_controls(self, samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """The samples [batch, n_samples, 1] as they are."""
        return {"samples": samples}

    def get_signal(self, samples: torch.Tensor) -> torch.Tensor:
        """Audio [batch, n_samples]."""
        return samples.squeeze(2)


class Harmonic(Processor):
    """Bank of harmonic oscillators; of several, whose sum it returns, where controls have an axis of voices.

    Args:
        n_samples: Length of the audio, unless given per call.
        sample_rate: Hz, unless given per call.
        scale_fn: Makes amplitudes and harmonic_distribution positive; None takes them as they are.
        normalize_below_nyquist: Silence harmonics above Nyquist before the distribution is normalized.
        amp_resample_method: "window", "linear", "nearest" or "cubic": amplitudes between frames.
        use_angular_cumsum: Accepted for compatibility; phases here are exact either way.
        name: Name of the processor.

    Source: Engel et al., ICLR 2020, "Harmonic oscillator / additive synthesizer".
    """

    def __init__(
        self,
        n_samples: int = 64000,
        sample_rate: int = 16000,
        scale_fn: ScaleFn | None = exp_sigmoid,
        normalize_below_nyquist: bool = True,
        amp_resample_method: str = "window",
        use_angular_cumsum: bool = False,
        name: str = "harmonic",
    ):
        super().__init__(name)
        self.n_samples = n_samples
        self.sample_rate = sample_rate
        self.scale_fn = scale_fn
        self.normalize_below_nyquist = normalize_below_nyquist
        self.amp_resample_method = amp_resample_method
        self.use_angular_cumsum = use_angular_cumsum

    def get_controls(
        self,
        amplitudes: torch.Tensor,
        harmonic_distribution: torch.Tensor,
        f0_hz: torch.Tensor,
        *,
        sample_rate: int | None = None,
    ) -> dict[str, torch.Tensor]:
        """Positive amplitudes and a distribution that sums to 1.

        Args:
            amplitudes: Raw overall amplitude, [batch, frames, 1]; or all are [batch, voices, frames, ...].
            harmonic_distribution: Raw weight of each harmonic, [batch, (voices,) frames, n_harmonics].
            f0_hz: Fundamental in Hz, [batch, (voices,) frames, 1].
            sample_rate: Hz, for this call.

        Returns:
            "amplitudes", "harmonic_distribution" and "f0_hz", shaped as they came.
        """
        if self.scale_fn is not None:
            amplitudes = self.scale_fn(amplitudes)
            harmonic_distribution = self.scale_fn(harmonic_distribution)
        nyquist_of = (sample_rate or self.sample_rate) if self.normalize_below_nyquist else None
        harmonic_distribution = normalize_harmonics(harmonic_distribution, f0_hz, nyquist_of)
        return {"amplitudes": amplitudes, "harmonic_distribution": harmonic_distribution, "f0_hz": f0_hz}

    def get_signal(
        self,
        amplitudes: torch.Tensor,
        harmonic_distribution: torch.Tensor,
        f0_hz: torch.Tensor,
        *,
        n_samples: int | None = None,
        sample_rate: int | None = None,
    ) -> torch.Tensor:
        """Audio [batch, n_samples] of the controls.

        Args:
            amplitudes: Linear amplitude, [batch, frames, 1]; or all are [batch, voices, frames, ...].
            harmonic_distribution: Share of each harmonic, [batch, (voices,) frames, n_harmonics].
            f0_hz: Fundamental in Hz, [batch, (voices,) frames, 1].
            n_samples: Length, for this call.
            sample_rate: Hz, for this call.

        Returns:
            Audio [batch, n_samples].
        """
        return oscillators.harmonic_synthesis(
            frequencies=f0_hz,
            amplitudes=amplitudes,
            harmonic_distribution=harmonic_distribution,
            n_samples=self.n_samples if n_samples is None else n_samples,
            sample_rate=sample_rate or self.sample_rate,
            amp_resample_method=self.amp_resample_method,
            use_angular_cumsum=self.use_angular_cumsum,
        )


class Sinusoidal(Processor):
    """Bank of sine oscillators, each with a frequency of its own.

    Args:
        n_samples: Length of the audio, unless given per call.
        sample_rate: Hz, unless given per call.
        amp_scale_fn: Makes amplitudes positive; None takes them as they are.
        amp_resample_method: "window", "linear", "nearest" or "cubic": amplitudes between frames.
        freq_scale_fn: Makes raw frequencies Hz, and silences those above Nyquist; None takes them as they are.
        name: Name of the processor.

    Source: magenta/ddsp `synths.Sinusoidal`.
    """

    def __init__(
        self,
        n_samples: int = 64000,
        sample_rate: int = 16000,
        amp_scale_fn: ScaleFn | None = exp_sigmoid,
        amp_resample_method: str = "window",
        freq_scale_fn: ScaleFn | None = frequencies_sigmoid,
        name: str = "sinusoidal",
    ):
        super().__init__(name)
        self.n_samples = n_samples
        self.sample_rate = sample_rate
        self.amp_scale_fn = amp_scale_fn
        self.amp_resample_method = amp_resample_method
        self.freq_scale_fn = freq_scale_fn

    def get_controls(
        self, amplitudes: torch.Tensor, frequencies: torch.Tensor, *, sample_rate: int | None = None
    ) -> dict[str, torch.Tensor]:
        """Positive amplitudes and frequencies in Hz.

        Args:
            amplitudes: Raw amplitudes, [batch, frames, n_sinusoids].
            frequencies: Raw frequencies, as `freq_scale_fn` takes them.
            sample_rate: Hz, for this call.

        Returns:
            "amplitudes" and "frequencies", [batch, frames, n_sinusoids].
        """
        if self.amp_scale_fn is not None:
            amplitudes = self.amp_scale_fn(amplitudes)
        if self.freq_scale_fn is not None:
            frequencies = self.freq_scale_fn(frequencies)
            amplitudes = remove_above_nyquist(frequencies, amplitudes, sample_rate or self.sample_rate)
        return {"amplitudes": amplitudes, "frequencies": frequencies}

    def get_signal(
        self,
        amplitudes: torch.Tensor,
        frequencies: torch.Tensor,
        *,
        n_samples: int | None = None,
        sample_rate: int | None = None,
    ) -> torch.Tensor:
        """Audio [batch, n_samples] of the controls.

        Args:
            amplitudes: Linear amplitudes, [batch, frames, n_sinusoids].
            frequencies: Hz, [batch, frames, n_sinusoids].
            n_samples: Length, for this call.
            sample_rate: Hz, for this call.

        Returns:
            Audio [batch, n_samples].
        """
        return partials.sinusoidal_bank(
            frequencies,
            amplitudes,
            self.n_samples if n_samples is None else n_samples,
            sample_rate or self.sample_rate,
            self.amp_resample_method,
        )


class FilteredNoise(Processor):
    """White noise through a filter whose magnitude response changes from frame to frame.

    Args:
        n_samples: Length of the audio, unless given per call.
        window_size: Taps of the impulse response; 0, or more than 2 (bands - 1): 2 (bands - 1).
        scale_fn: Makes magnitudes positive; None takes them as they are.
        initial_bias: Added to the raw magnitudes, so that noise starts quiet.
        name: Name of the processor.
        overlap: Glide from the filter of a frame to the next one's instead of jumping, which clicks.

    Source: Engel et al., ICLR 2020, "Filtered noise / subtractive synthesizer".
    """

    def __init__(
        self,
        n_samples: int = 64000,
        window_size: int = 257,
        scale_fn: ScaleFn | None = exp_sigmoid,
        initial_bias: float = -5.0,
        name: str = "filtered_noise",
        *,
        overlap: bool = False,
    ):
        super().__init__(name)
        self.n_samples = n_samples
        self.window_size = window_size
        self.scale_fn = scale_fn
        self.initial_bias = initial_bias
        self.overlap = overlap

    def get_controls(self, magnitudes: torch.Tensor) -> dict[str, torch.Tensor]:
        """Positive "magnitudes" of raw ones, [batch, frames, bands]."""
        if self.scale_fn is not None:
            magnitudes = self.scale_fn(magnitudes + self.initial_bias)
        return {"magnitudes": magnitudes}

    def get_signal(
        self,
        magnitudes: torch.Tensor,
        *,
        n_samples: int | None = None,
        noise: torch.Tensor | None = None,
        seed: int | None = None,
    ) -> torch.Tensor:
        """Audio [batch, n_samples] of the magnitudes.

        Args:
            magnitudes: Linear gain of each band, evenly spaced from 0 to Nyquist, [batch, frames, bands].
            n_samples: Length, for this call.
            noise: The noise to filter, [batch, n_samples]; default: uniform in [-1, 1).
            seed: Of the noise: the same seed gives the same noise. Default: drawn from torch's default generator.

        Returns:
            Audio [batch, n_samples].
        """
        n_samples = self.n_samples if n_samples is None else n_samples
        return filters.filtered_noise(
            magnitudes, n_samples, self.window_size, seed=seed, noise=noise, overlap=self.overlap
        )


class Wavetable(Processor):
    """Oscillator that reads its wave from tables.

    Wavetables that have gone through `scale_fn`, as in magenta/ddsp, are all positive: under every tone lies a constant
    that follows the amplitude. `remove_dc` takes each scaled table's mean off.

    Args:
        n_samples: Length of the audio, unless given per call.
        sample_rate: Hz, unless given per call.
        scale_fn: Makes amplitudes positive and bounds wavetables; None takes both as they are.
        name: Name of the processor.
        remove_dc: Take the mean off scaled wavetables.

    Source: magenta/ddsp `synths.Wavetable`; Shan et al., Differentiable Wavetable Synthesis, ICASSP 2022.
    """

    def __init__(
        self,
        n_samples: int = 64000,
        sample_rate: int = 16000,
        scale_fn: ScaleFn | None = exp_sigmoid,
        name: str = "wavetable",
        *,
        remove_dc: bool = False,
    ):
        super().__init__(name)
        self.n_samples = n_samples
        self.sample_rate = sample_rate
        self.scale_fn = scale_fn
        self.remove_dc = remove_dc

    def get_controls(
        self, amplitudes: torch.Tensor, wavetables: torch.Tensor, f0_hz: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Positive amplitudes and bounded wavetables.

        Args:
            amplitudes: Raw amplitude, [batch, frames, 1].
            wavetables: Raw tables, [batch, frames, n_wavetable] or [batch, n_wavetable]; a batch of 1 serves all.
            f0_hz: Fundamental in Hz, [batch, frames, 1].

        Returns:
            "amplitudes", "wavetables" and "f0_hz", shaped as they came.
        """
        if self.scale_fn is not None:
            amplitudes = self.scale_fn(amplitudes)
            wavetables = self.scale_fn(wavetables)
            if self.remove_dc:
                wavetables = wavetables - wavetables.mean(-1, keepdim=True)
        return {"amplitudes": amplitudes, "wavetables": wavetables, "f0_hz": f0_hz}

    def get_signal(
        self,
        amplitudes: torch.Tensor,
        wavetables: torch.Tensor,
        f0_hz: torch.Tensor,
        *,
        n_samples: int | None = None,
        sample_rate: int | None = None,
    ) -> torch.Tensor:
        """Audio [batch, n_samples] of the controls.

        Args:
            amplitudes: Linear amplitude, [batch, frames, 1].
            wavetables: One turn of the wave, [batch, frames, n_wavetable] or [batch, n_wavetable].
            f0_hz: Fundamental in Hz, [batch, frames, 1].
            n_samples: Length, for this call.
            sample_rate: Hz, for this call.

        Returns:
            Audio [batch, n_samples].
        """
        return wavetable.wavetable_synthesis(
            frequencies=f0_hz,
            amplitudes=amplitudes,
            wavetables=wavetables,
            n_samples=self.n_samples if n_samples is None else n_samples,
            sample_rate=sample_rate or self.sample_rate,
        )
