"""What the multi-scale spectral loss and its specification share: the scales, and the logarithm of 0."""

from typing import NamedTuple

EPS = 1e-5  # what the logarithm sees where a magnitude is 0
OVERLAP = 0.75  # of neighbouring frames


class Scale(NamedTuple):
    """One short-time transform of a signal: frames of `frame_size` samples, zeros behind them up to `fft_size`."""

    frame_size: int
    hop_size: int
    fft_size: int
    n_frames: int

    @property
    def n_bins(self) -> int:
        """Bins of a frame's spectrum."""
        return self.fft_size // 2 + 1


def scale(frame_size: int, n_samples: int) -> Scale:
    """The scale of a frame size (at least 4): every hop begins a frame, the last ones reach past the signal, into 0."""
    hop_size = int(frame_size * (1.0 - OVERLAP))
    return Scale(frame_size, hop_size, 1 << (frame_size - 1).bit_length(), -(-n_samples // hop_size))
