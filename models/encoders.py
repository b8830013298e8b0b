"""Encoders: audio -> z, what the other features do not say (timbre, room): [batch, frames, z_dims]."""

import torch

from fastddsp.autograd import spectral
from fastddsp.autograd.resampling import resample
from fastddsp.models.nn import DictLayer, Normalize, dense, rnn

MFCC_BINS = 30
# z_time_steps, roughly the frames of z in 4 s at 16 kHz: (fft_size, overlap) of the spectrogram
SPECTROGRAMS = {63: (2048, 0.5), 125: (1024, 0.5), 250: (1024, 0.75), 500: (512, 0.75), 1000: (256, 0.75)}


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
        mfccs = spectral.compute_mfcc(
            audio,
            lo_hz=20.0,
            hi_hz=8000.0,
            fft_size=self.fft_size,
            mel_bins=128,
            mfcc_bins=MFCC_BINS,
            overlap=self.overlap,
            pad_end=True,
            sample_rate=self.sample_rate,
        )
        hidden, _ = self.rnn(self.z_norm(mfccs))
        return {"z": resample(self.dense_out(hidden), f0_scaled.shape[1])}
