"""Effects: Processors that change audio [batch, n_samples].

    Reverb     y = audio + audio * ir, ir[0] = 0 (the dry path is separate); "*" is convolution
    FIRFilter  y = audio, filtered frame by frame by magnitudes over [0, Nyquist]
    ModDelay   y = audio + gain * audio, delayed by a length that changes from sample to sample

A reverb's impulse response is a tensor, learnt or given, or decaying or filtered noise: `impulse_response` makes it of
the same inputs as `get_controls`.
"""

import torch
from torch import nn

from fastddsp.autograd import convolution, delay, filters
from fastddsp.autograd.scaling import exp_sigmoid
from fastddsp.models.processors import Processor
from fastddsp.models.synths import FilteredNoise, ScaleFn

__all__ = ["ExpDecayReverb", "FIRFilter", "FilteredNoiseReverb", "ModDelay", "Reverb"]


def octave_weights(frequency: torch.Tensor, n_octaves: int) -> torch.Tensor:
    """Shares of octaves in frequencies.

    Args:
        frequency: Over Nyquist, [...], 0 to 1; what is above counts as Nyquist.
        n_octaves: Octave b is a triangle over log frequency around 2^-b; the last goes on down to 0.

    Returns:
        [..., n_octaves], adding up to 1 at every frequency.
    """
    place = (-torch.log2(frequency.clamp(0.5**n_octaves, 1.0))).clamp(max=n_octaves - 1)
    octaves = torch.arange(n_octaves, dtype=frequency.dtype, device=frequency.device)
    return (1.0 - (place[..., None] - octaves).abs()).clamp(min=0.0)


class ConvolutionReverb(Processor):
    """What all reverbs share: the convolution with an impulse response that `get_controls` provides.

    Args:
        trainable: Learn what the impulse response is made of, for the whole data set.
        reverb_length: Length of the impulse response in samples.
        add_dry: Add the dry audio to the wet.
        name: Name of the processor.

    Source: Engel et al., ICLR 2020, "Reverb: long impulse responses".
    """

    def __init__(self, trainable: bool, reverb_length: int, add_dry: bool, name: str):
        super().__init__(name)
        self.trainable = trainable
        self.reverb_length = reverb_length
        self.add_dry = add_dry

    def get_signal(self, audio: torch.Tensor, ir: torch.Tensor) -> torch.Tensor:
        """Reverberated audio.

        Args:
            audio: Dry audio, [batch, n_samples].
            ir: Impulse response, [ir_size], [batch or 1, ir_size] or [batch or 1, ir_size, 1]. Its first sample
                counts as 0, because the dry audio is added separately.

        Returns:
            Audio [batch, n_samples].
        """
        if ir.dim() == 1:
            ir = ir[None]
        elif ir.dim() == 3:
            ir = ir[:, :, 0]
        if ir.stride(0) == 0:
            ir = ir[:1]  # one response for the whole batch: transform it once
        tail = nn.functional.pad(ir[:, 1:], (1, 0))
        wet = convolution.fft_convolve(audio, tail, padding="same", delay_compensation=0)
        return wet + audio if self.add_dry else wet


class Reverb(ConvolutionReverb):
    """Convolution with one impulse response, learnt (the parameter `ir`) or given.

    A response that is learnt begins silent. With a decay_length D it begins as a room, and is learnt in units of that
    room's decay, so that a step of an optimizer means as much early as late:

        response(n) = 10^(-3 n / D) ir(n),  ir at first noise, decay_db above the direct sound in all

    Air and walls absorb each octave differently. With decay_octaves every octave b learns its own decay besides, in
    which all of its samples agree: with r_b that of the response above in octave b (triangles over log frequency around
    Nyquist / 2^b, the lowest down to 0 Hz; they add up to 1) and c_b, at first 0,

        response(n) = sum_b 10^(-3 n (exp(-c_b) - 1) / D) r_b(n),  so octave b falls by 60 dB in D exp(c_b) samples

    Args:
        trainable: Learn one impulse response for the whole data set.
        reverb_length: Its length in samples.
        add_dry: Add the dry audio to the wet.
        name: Name of the processor.
        decay_length: Samples in which a learnt response falls by 60 dB at first; 0: it begins silent.
        decay_db: Its energy at first over that of the direct sound, in dB: 20 log10 (distance / critical distance).
        decay_octaves: Octaves below Nyquist whose decays are learnt (the parameter `octave_decay`: c); 0: none.

    Raises:
        ValueError: decay_octaves is negative, or given for a reverb that does not begin as a room.
    """

    decay: torch.Tensor | None
    octave_decay: nn.Parameter | None

    def __init__(
        self,
        trainable: bool = False,
        reverb_length: int = 48000,
        add_dry: bool = True,
        name: str = "reverb",
        *,
        decay_length: int = 0,
        decay_db: float = 6.0,
        decay_octaves: int = 0,
    ):
        super().__init__(trainable, reverb_length, add_dry, name)
        if decay_octaves < 0 or (decay_octaves and not (trainable and decay_length)):
            raise ValueError(
                f"decay_octaves must be 0, or more for a trainable reverb with a decay_length, got {decay_octaves}"
            )
        self.decay_length = decay_length
        self.register_buffer("decay", None, persistent=False)
        self.register_parameter("octave_decay", nn.Parameter(torch.zeros(decay_octaves)) if decay_octaves else None)
        if trainable and decay_length:
            decay = 10.0 ** (-3.0 * torch.arange(reverb_length, dtype=torch.float64) / decay_length)
            self.decay = decay.float()
            self.ir = nn.Parameter(10.0 ** (decay_db / 20.0) / decay.norm().item() * torch.randn(reverb_length))
        elif trainable:
            self.ir = nn.Parameter(1e-6 * torch.randn(reverb_length))

    def get_controls(self, audio: torch.Tensor, ir: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Audio and the impulse response.

        Args:
            audio: Dry audio, [batch, n_samples].
            ir: Impulse response, [ir_size], [batch, ir_size] or [batch, ir_size, 1]; not used if trainable.

        Returns:
            "audio" and "ir".

        Raises:
            ValueError: There is no impulse response.
        """
        if self.trainable:
            return {"audio": audio, "ir": self.impulse_response().expand(audio.shape[0], -1)}
        return {"audio": audio, "ir": self.impulse_response(ir)}

    def impulse_response(self, ir: torch.Tensor | None = None) -> torch.Tensor:
        """The response [1, reverb_length] that was learnt, or else the given one as it is.

        Raises:
            ValueError: There is no impulse response.
        """
        if self.trainable:
            response = self.ir if self.decay is None else self.decay * self.ir
            return (response if self.octave_decay is None else self._by_octave(response, self.octave_decay))[None]
        if ir is None:
            raise ValueError("ir must be given to a Reverb with trainable=False")
        return ir

    def _by_octave(self, response: torch.Tensor, octave_decay: torch.Tensor) -> torch.Tensor:
        """A response [reverb_length] of which every octave falls as its number in octave_decay [n_octaves] says."""
        size = 2 * self.reverb_length  # what a filter adds before the beginning is not wrapped into the end
        frequency = torch.linspace(0.0, 1.0, self.reverb_length + 1, dtype=response.dtype, device=response.device)
        shares = octave_weights(frequency, len(octave_decay)).T
        octaves = torch.fft.irfft(torch.fft.rfft(response, size) * shares, size)[:, : self.reverb_length]
        time = torch.arange(self.reverb_length, dtype=response.dtype, device=response.device) / self.decay_length
        slower = 1.0 - torch.exp(-octave_decay)
        return (octaves * 10.0 ** (3.0 * slower[:, None] * time)).sum(0)


class ExpDecayReverb(ConvolutionReverb):
    """Reverb whose impulse response is exponentially decaying noise, drawn anew at each call.

        ir(t) = gain exp(-(2 + exp(decay)) t) noise(t),  t from 0 to 1 over reverb_length samples

    Args:
        trainable: Learn one gain and one decay for the whole data set.
        reverb_length: Length of the impulse response in samples.
        scale_fn: Makes gain positive.
        add_dry: Add the dry audio to the wet.
        name: Name of the processor.
    """

    def __init__(
        self,
        trainable: bool = False,
        reverb_length: int = 48000,
        scale_fn: ScaleFn = exp_sigmoid,
        add_dry: bool = True,
        name: str = "exp_decay_reverb",
    ):
        super().__init__(trainable, reverb_length, add_dry, name)
        self.scale_fn = scale_fn
        if trainable:
            self.gain = nn.Parameter(torch.tensor([2.0]))
            self.decay = nn.Parameter(torch.tensor([4.0]))

    def get_controls(
        self,
        audio: torch.Tensor,
        gain: torch.Tensor | None = None,
        decay: torch.Tensor | None = None,
        *,
        reverb_noise: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Audio and the impulse response of a gain and a decay.

        Args:
            audio: Dry audio, [batch, n_samples].
            gain: Raw gain, [batch, 1]; not used if trainable.
            decay: Raw decay, [batch, 1]; not used if trainable.
            reverb_noise: Noise of the impulse response, [1, reverb_length]; default: uniform in [-1, 1).

        Returns:
            "audio" and "ir" [batch, reverb_length].

        Raises:
            ValueError: gain or decay is missing.
        """
        ir = self.impulse_response(gain, decay, reverb_noise=reverb_noise)
        return {"audio": audio, "ir": ir.expand(audio.shape[0], -1)}

    def impulse_response(
        self,
        gain: torch.Tensor | None = None,
        decay: torch.Tensor | None = None,
        *,
        reverb_noise: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The response [batch (1 if trainable), reverb_length] of what `get_controls` takes besides audio.

        Raises:
            ValueError: gain or decay is missing.
        """
        if self.trainable:
            gain, decay = self.gain[None], self.decay[None]
        elif gain is None or decay is None:
            raise ValueError("gain and decay must be given to an ExpDecayReverb with trainable=False")
        if reverb_noise is None:
            reverb_noise = torch.rand(1, self.reverb_length, dtype=gain.dtype, device=gain.device) * 2.0 - 1.0
        time = torch.linspace(0.0, 1.0, self.reverb_length, dtype=gain.dtype, device=gain.device)
        return self.scale_fn(gain) * torch.exp(-(2.0 + torch.exp(decay)) * time) * reverb_noise


class FilteredNoiseReverb(ConvolutionReverb):
    """Reverb whose impulse response is filtered noise, drawn anew at each call.

    Args:
        trainable: Learn the magnitudes, one set for the whole data set.
        reverb_length: Length of the impulse response in samples.
        window_size: Taps of the noise filter, see FilteredNoise.
        n_frames: Frames of the learnt magnitudes.
        n_filter_banks: Bands of the learnt magnitudes.
        scale_fn: Makes magnitudes positive.
        initial_bias: Added to the raw magnitudes.
        add_dry: Add the dry audio to the wet.
        name: Name of the processor.
    """

    def __init__(
        self,
        trainable: bool = False,
        reverb_length: int = 48000,
        window_size: int = 257,
        n_frames: int = 1000,
        n_filter_banks: int = 16,
        scale_fn: ScaleFn | None = exp_sigmoid,
        initial_bias: float = -3.0,
        add_dry: bool = True,
        name: str = "filtered_noise_reverb",
    ):
        super().__init__(trainable, reverb_length, add_dry, name)
        self.synth = FilteredNoise(reverb_length, window_size, scale_fn, initial_bias)
        if trainable:
            self.magnitudes = nn.Parameter(1e-2 * torch.randn(n_frames, n_filter_banks))

    def get_controls(
        self,
        audio: torch.Tensor,
        magnitudes: torch.Tensor | None = None,
        *,
        reverb_noise: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Audio and the impulse response of magnitudes.

        Args:
            audio: Dry audio, [batch, n_samples].
            magnitudes: Raw magnitudes, [batch, frames, bands]; not used if trainable.
            reverb_noise: Noise to filter, [batch (1 if trainable), reverb_length]; default: uniform in [-1, 1).

        Returns:
            "audio" and "ir" [batch, reverb_length].

        Raises:
            ValueError: magnitudes are missing.
        """
        ir = self.impulse_response(magnitudes, reverb_noise=reverb_noise)
        return {"audio": audio, "ir": ir.expand(audio.shape[0], -1)}

    def impulse_response(
        self, magnitudes: torch.Tensor | None = None, *, reverb_noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The response [batch (1 if trainable), reverb_length] of what `get_controls` takes besides audio.

        Raises:
            ValueError: magnitudes are missing.
        """
        if self.trainable:
            magnitudes = self.magnitudes[None]
        elif magnitudes is None:
            raise ValueError("magnitudes must be given to a FilteredNoiseReverb with trainable=False")
        return self.synth(magnitudes, noise=reverb_noise)


class FIRFilter(Processor):
    """Filter whose magnitude response changes from frame to frame.

    Args:
        window_size: Taps of the impulse response; 0, or more than 2 (bands - 1): 2 (bands - 1).
        scale_fn: Makes magnitudes positive; None takes them as they are.
        name: Name of the processor.
        overlap: Glide from the filter of a frame to the next one's instead of jumping, which clicks.

    Source: Engel et al., ICLR 2020, "Filter design: frequency sampling method".
    """

    def __init__(
        self,
        window_size: int = 257,
        scale_fn: ScaleFn | None = exp_sigmoid,
        name: str = "fir_filter",
        *,
        overlap: bool = False,
    ):
        super().__init__(name)
        self.window_size = window_size
        self.scale_fn = scale_fn
        self.overlap = overlap

    def get_controls(self, audio: torch.Tensor, magnitudes: torch.Tensor) -> dict[str, torch.Tensor]:
        """Audio [batch, n_samples] as it is and positive magnitudes [batch, frames, bands]."""
        if self.scale_fn is not None:
            magnitudes = self.scale_fn(magnitudes)
        return {"audio": audio, "magnitudes": magnitudes}

    def get_signal(self, audio: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
        """Filtered audio [batch, n_samples]."""
        return filters.frequency_filter(audio, magnitudes, self.window_size, overlap=self.overlap)


class ModDelay(Processor):
    """Delay whose length is modulated: chorus, flanger, vibrato.

    As in magenta/ddsp the length runs from center_ms, at phase 0, to center_ms + depth_ms, at phase 1.

    Args:
        center_ms: Shortest delay in milliseconds.
        depth_ms: What the phase adds to it, in milliseconds.
        sample_rate: Hz, unless given per call.
        gain_scale_fn: Makes the gain positive; None takes it as it is.
        phase_scale_fn: Brings the phase between 0 and 1; None takes it as it is.
        add_dry: Add the dry audio to the wet.
        name: Name of the processor.
        wrap: In the last sample of its range the delay turns back to none, as in magenta/ddsp, which clicks; False: it
            goes on to its full length.

    Source: magenta/ddsp `effects.ModDelay`; Zoelzer (ed.), DAFX, 2nd edition, 2011, section 2.6.
    """

    def __init__(
        self,
        center_ms: float = 15.0,
        depth_ms: float = 10.0,
        sample_rate: int = 16000,
        gain_scale_fn: ScaleFn | None = exp_sigmoid,
        phase_scale_fn: ScaleFn | None = torch.sigmoid,
        add_dry: bool = True,
        name: str = "mod_delay",
        *,
        wrap: bool = True,
    ):
        super().__init__(name)
        self.center_ms = center_ms
        self.depth_ms = depth_ms
        self.sample_rate = sample_rate
        self.gain_scale_fn = gain_scale_fn
        self.phase_scale_fn = phase_scale_fn
        self.add_dry = add_dry
        self.wrap = wrap

    def get_controls(self, audio: torch.Tensor, gain: torch.Tensor, phase: torch.Tensor) -> dict[str, torch.Tensor]:
        """Audio [batch, n_samples] as it is, positive gain and phase in [0, 1], both [batch, n_samples, 1]."""
        if self.gain_scale_fn is not None:
            gain = self.gain_scale_fn(gain)
        if self.phase_scale_fn is not None:
            phase = self.phase_scale_fn(phase)
        return {"audio": audio, "gain": gain, "phase": phase}

    def get_signal(
        self, audio: torch.Tensor, gain: torch.Tensor, phase: torch.Tensor, *, sample_rate: int | None = None
    ) -> torch.Tensor:
        """Audio [batch, n_samples] with its delayed copy.

        Args:
            audio: Dry audio, [batch, n_samples].
            gain: Of the delayed copy, [batch, n_samples, 1] or [batch, n_samples].
            phase: 0: the shortest delay, 1: the longest; [batch, n_samples, 1] or [batch, n_samples].
            sample_rate: Hz, for this call.

        Returns:
            Audio [batch, n_samples].
        """
        longest_ms = self.center_ms + self.depth_ms
        max_length = int((sample_rate or self.sample_rate) / 1000.0 * longest_ms)
        phase = phase * (self.depth_ms / longest_ms) + self.center_ms / longest_ms
        wet = delay.variable_length_delay(phase, audio, max_length, wrap=self.wrap)
        wet = wet * (gain.squeeze(-1) if gain.ndim == 3 else gain)
        return wet + audio if self.add_dry else wet
