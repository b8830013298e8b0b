"""Specification of the multi-scale spectral loss and its gradients, in float64, one row at a time.

    X_t[k] = sum_n w[n] x[t hop + n] exp(-2 pi i k n / N)                 Y: the same of the target y
    L = sum over scales of 1 / (frames bins) sum_{t,k} a d(|X|, |Y|) + c d(l(|X|), l(|Y|))
    d(u, v) = |u - v| (L1) or (u - v)^2 (L2),   l(u) = log u, or log EPS where u is 0

The adjoint, with unit(X) = X / |X|, or 0 where X is 0, and so 1 / |X|:

    dL/d|X_t[k]| = (a d'(|X|, |Y|) + c d'(l(|X|), l(|Y|)) / |X|) / (frames bins)
    dL/dx[t hop + n] += w[n] sum_k Re(unit(X_t[k]) dL/d|X_t[k]| exp(2 pi i k n / N))

and with x and y exchanged, for d is symmetric. d'(u, u) is 0. w is a Hann window.
"""

import numpy as np

from fastddsp.kernels.fir import hann
from fastddsp.kernels.spectral_loss import EPS, scale


def loss_and_gradients(
    target, audio, frame_sizes, squared: bool, mag_weight: float, logmag_weight: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """L of two signals [n_samples], and its gradients in the target and in the audio."""
    loss, d_target, d_audio = 0.0, np.zeros(len(target)), np.zeros(len(audio))
    for frame_size in frame_sizes:
        _, hop_size, fft_size, n_frames = shape = scale(frame_size, len(audio))
        w, n, k = hann(frame_size), np.arange(frame_size), np.arange(shape.n_bins)
        basis = w[:, None] * np.exp(-2j * np.pi / fft_size * np.outer(n, k))
        count = n_frames * shape.n_bins
        for t in range(n_frames):
            begin = t * hop_size
            y, x = (_frame(signal, begin, frame_size) @ basis for signal in (target, audio))
            loss += np.sum(mag_weight * _d(np.abs(x), np.abs(y), squared)) / count
            loss += np.sum(logmag_weight * _d(_log(x), _log(y), squared)) / count
            for this, other, gradient in ((x, y, d_audio), (y, x, d_target)):
                slope = mag_weight * _d_prime(np.abs(this), np.abs(other), squared)
                slope += logmag_weight * _d_prime(_log(this), _log(other), squared) * _inverse(this)
                g = (basis.conj() @ (this * _inverse(this) * slope / count)).real
                gradient[begin : begin + frame_size] += g[: len(audio) - begin]
    return loss, d_target, d_audio


def _frame(signal: np.ndarray, begin: int, size: int) -> np.ndarray:
    frame = np.zeros(size)
    inside = signal[begin : begin + size]
    frame[: len(inside)] = inside
    return frame


def _inverse(z: np.ndarray) -> np.ndarray:
    """1 / |z|, or 0 where z is 0."""
    return np.where(z == 0, 0.0, 1.0 / np.where(z == 0, 1.0, np.abs(z)))


def _log(z: np.ndarray) -> np.ndarray:
    return np.log(np.where(z == 0, EPS, np.abs(z)))


def _d(u: np.ndarray, v: np.ndarray, squared: bool) -> np.ndarray:
    return (u - v) ** 2 if squared else np.abs(u - v)


def _d_prime(u: np.ndarray, v: np.ndarray, squared: bool) -> np.ndarray:
    return 2 * (u - v) if squared else np.sign(u - v)
