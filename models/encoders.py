"""Encoders: audio and features -> z, what f0 and loudness do not say (timbre, instrument, expression).

    MfccTimeDistributedRnnEncoder   z(t)  = Linear(rnn(norm(MFCC)))(t)
    MfccRnnEncoder                  z     = Linear(last or mean of rnn(norm(MFCC))), one for a whole recording
    OneHotEncoder                   z     = row of a table, one for each instrument
    ExpressionEncoder               z     = mean over time of Linear(norm(net(features))), or without the mean

All give z [batch, frames, z_dims], at the frames of f0_scaled.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from fastddsp.autograd import spectral
from fastddsp.autograd.resampling import resample
from fastddsp.models.nn import DictLayer, Normalize, dense, rnn

__all__ = [
    "EncoderChain",
    "ExpressionEncoder",
    "MfccRnnEncoder",
    "MfccTimeDistributedRnnEncoder",
    "OneHotEncoder",
]

MFCC_BINS = 30
# z_time_steps, roughly the frames of z in 4 s at 16 kHz: (fft_size, overlap) of the spectrogram
SPECTROGRAMS = {63: (2048, 0.5), 125: (1024, 0.5), 250: (1024, 0.75), 500: (512, 0.75), 1000: (256, 0.75)}


def _mfcc(
    audio: torch.Tensor, fft_size: int, overlap: float, sample_rate: int, mel_bins: int = 128, bins: int = MFCC_BINS
) -> torch.Tensor:
    """MFCCs [batch, frames, bins] of 20 Hz to 8 kHz."""
    return spectral.compute_mfcc(
        audio,
        lo_hz=20.0,
        hi_hz=8000.0,
        fft_size=fft_size,
        mel_bins=mel_bins,
        mfcc_bins=bins,
        overlap=overlap,
        pad_end=True,
        sample_rate=sample_rate,
    )


def _at_frames(z: torch.Tensor, frames: int) -> torch.Tensor:
    """z at as many frames; one frame is repeated as it is."""
    return z.expand(-1, frames, -1) if z.shape[1] == 1 else resample(z, frames)


class MfccTimeDistributedRnnEncoder(DictLayer):
    """MFCCs, normalized over time, through a recurrent layer and a linear one, resampled to the frames of f0.

    Args:
        rnn_channels: Channels of the recurrent layer.
        rnn_type: "gru" or "lstm".
        z_dims: Channels of z.
        z_time_steps: Time resolution of z: 63, 125, 250, 500 or 1000 frames in 4 s at 16 kHz.
        sample_rate: Of the audio, in Hz.

    Source: Engel et al., ICLR 2020, appendix on model details.
    """

    def __init__(
        self,
        rnn_channels: int = 512,
        rnn_type: str = "gru",
        z_dims: int = 32,
        z_time_steps: int = 250,
        sample_rate: int = 16000,
    ):
        super().__init__()
        if z_time_steps not in SPECTROGRAMS:
            raise ValueError(f"z_time_steps must be one of {list(SPECTROGRAMS)}, got {z_time_steps}")
        self.fft_size, self.overlap = SPECTROGRAMS[z_time_steps]
        self.sample_rate = sample_rate
        self.z_norm = Normalize(MFCC_BINS, "instance")
        self.rnn = rnn(MFCC_BINS, rnn_channels, rnn_type)
        self.dense_out = dense(rnn_channels, z_dims)

    def compute(self, audio: torch.Tensor, f0_scaled: torch.Tensor) -> dict[str, torch.Tensor]:
        """Latents of audio.

        Args:
            audio: [batch, n_samples].
            f0_scaled: Only its number of frames counts, [batch, frames, 1].

        Returns:
            {"z": [batch, frames, z_dims]}.
        """
        mfccs = _mfcc(audio, self.fft_size, self.overlap, self.sample_rate)
        hidden, _ = self.rnn(self.z_norm(mfccs))
        return {"z": _at_frames(self.dense_out(hidden), f0_scaled.shape[1])}


class MfccRnnEncoder(DictLayer):
    """One z for a whole recording: MFCCs, normalized over time, through a recurrent layer, its end or its mean.

    Args:
        rnn_channels: Channels of the recurrent layer.
        rnn_type: "gru" or "lstm".
        z_dims: Channels of z.
        mean_aggregate: Take the mean of the recurrent layer's outputs over time instead of the last one.
        sample_rate: Of the audio, in Hz.

    Source: magenta/ddsp `encoders.MfccRnnEncoder`, where mean_aggregate=False keeps all outputs instead of the last.
    """

    def __init__(
        self,
        rnn_channels: int = 512,
        rnn_type: str = "gru",
        z_dims: int = 512,
        mean_aggregate: bool = False,
        sample_rate: int = 16000,
    ):
        super().__init__()
        self.mean_aggregate = mean_aggregate
        self.sample_rate = sample_rate
        self.norm_in = Normalize(MFCC_BINS, "instance")
        self.rnn = rnn(MFCC_BINS, rnn_channels, rnn_type)
        self.dense_z = dense(rnn_channels, z_dims)

    def compute(self, audio: torch.Tensor, f0_scaled: torch.Tensor) -> dict[str, torch.Tensor]:
        """Latents of audio.

        Args:
            audio: [batch, n_samples].
            f0_scaled: Only its number of frames counts, [batch, frames, 1].

        Returns:
            {"z": [batch, frames, z_dims]}, all frames alike.
        """
        hidden, _ = self.rnn(self.norm_in(_mfcc(audio, 1024, 0.75, self.sample_rate)))
        summary = hidden.mean(dim=1, keepdim=True) if self.mean_aggregate else hidden[:, -1:]
        return {"z": _at_frames(self.dense_z(summary), f0_scaled.shape[1])}


class OneHotEncoder(DictLayer):
    """A learnt vector for each instrument.

    Args:
        one_hot_key: Name of the input, the number of the instrument: whole numbers [batch] or [batch, 1].
        vocab_size: How many instruments.
        n_dims: Channels of z.
        skip_expand: Give one frame, which broadcasts, instead of the frames of f0_scaled.
    """

    def __init__(
        self, one_hot_key: str = "instrument", vocab_size: int = 1024, n_dims: int = 256, skip_expand: bool = True
    ):
        super().__init__([one_hot_key] if skip_expand else [one_hot_key, "f0_scaled"])
        self.one_hot_key = one_hot_key
        self.skip_expand = skip_expand
        self.embedding = nn.Embedding(vocab_size, n_dims)
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)

    def compute(self, instrument: torch.Tensor, f0_scaled: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Latents of instruments.

        Args:
            instrument: Numbers from 0 to vocab_size - 1, [batch] or [batch, 1].
            f0_scaled: Only its number of frames counts, [batch, frames, 1]; not read if skip_expand.

        Returns:
            {"z": [batch, frames, n_dims]}, all frames alike, or [batch, 1, n_dims] if skip_expand.

        Raises:
            ValueError: instrument has another shape, or is no whole number.
        """
        if instrument.dim() not in (1, 2) or instrument.shape[1:].numel() != 1 or instrument.is_floating_point():
            raise ValueError(
                f"{self.one_hot_key} must hold whole numbers, [batch] or [batch, 1], "
                f"got {instrument.dtype} {list(instrument.shape)}"
            )
        z = self.embedding(instrument.reshape(-1, 1))
        return {"z": z if f0_scaled is None else z.expand(-1, f0_scaled.shape[1], -1)}


class ExpressionEncoder(DictLayer):
    """A latent of how something is played: features, and MFCCs if audio is among them, through a network.

    Args:
        net: From all inputs side by side (audio as mfcc_bins channels, last) to [batch, frames, net.n_outputs].
        z_dims: Channels of z.
        input_keys: Names of the inputs, each [batch, frames, channels]; "audio" [batch, n_samples] gives MFCCs.
        mfcc_bins: How many MFCCs.
        fft_size: Of their spectrogram.
        mel_bins: Of their spectrogram.
        pool_time: One z for all frames, the mean.
        sample_rate: Of the audio, in Hz.

    Raises:
        ValueError: There is no input besides audio, to say how many frames there are.

    Source: Wu et al., MIDI-DDSP, ICLR 2022; magenta/ddsp `encoders.ExpressionEncoder`.
    """

    def __init__(
        self,
        net: Any,
        z_dims: int = 128,
        input_keys: Sequence[str] = ("f0_scaled", "ld_scaled"),
        mfcc_bins: int = 60,
        fft_size: int = 1024,
        mel_bins: int = 128,
        pool_time: bool = True,
        sample_rate: int = 16000,
    ):
        self.features = [key for key in input_keys if key != "audio"]
        if not self.features:
            raise ValueError(f'input_keys must hold another name than "audio", got {list(input_keys)}')
        self.with_audio = "audio" in input_keys
        super().__init__([*self.features, "audio"] if self.with_audio else self.features)
        self.mfcc_bins, self.fft_size, self.mel_bins = mfcc_bins, fft_size, mel_bins
        self.pool_time = pool_time
        self.sample_rate = sample_rate
        self.net = net
        self.norm = Normalize(net.n_outputs, "layer")
        self.dense_out = dense(net.n_outputs, z_dims)
        self.norm_mfcc = Normalize(mfcc_bins, "instance") if self.with_audio else None

    def compute(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """{"z": [batch, frames, z_dims]} of the inputs, in the order of input_keys with audio last."""
        features = list(inputs[: len(self.features)])
        frames = features[0].shape[1]
        if self.norm_mfcc is not None:
            mfccs = _mfcc(inputs[-1], self.fft_size, 0.75, self.sample_rate, self.mel_bins, self.mfcc_bins)
            features.append(resample(self.norm_mfcc(mfccs), frames))
        z = self.dense_out(self.norm(self.net(torch.cat(features, dim=-1))))
        return {"z": _at_frames(z.mean(dim=1, keepdim=True) if self.pool_time else z, frames)}


class EncoderChain(nn.Sequential):
    """Encoders one after the other: each reads the features and what those before it made.

    It is given modules from a dictionary to a dictionary, in order. Several that make a z lay theirs side by side.
    """

    def forward(self, features: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Everything that the encoders made, by name; z [batch, frames, all their channels]."""
        made: dict[str, torch.Tensor] = {}
        for encoder in self:
            new = dict(encoder({**features, **made}))
            if "z" in new and "z" in made:
                frames = max(made["z"].shape[1], new["z"].shape[1])
                new["z"] = torch.cat([z.expand(-1, frames, -1) for z in (made["z"], new["z"])], dim=-1)
            made.update(new)
        return made
