"""Specification of the frequency-sampled filter and its gradients, in float64, one batch item at a time.

    r[m] = 1/n (X_0 / 2 + sum_{0<k<n} X_k cos(pi k m / n) + X_n / 2 cos(pi m)),   n + 1 magnitudes X
    h[l] = w[l] r[|m(l)|]
    y[p] = sum_t sum_{n in frame t} x[n] h_t[p + delay - n]

The adjoint. With the cotangent g(p) of y(p), and g = 0 outside the audio that was kept:

    dL/dx[n]   = sum_l h_t[l] g[n + l - delay],            t: the frame of n
    dL/dh_t[l] = sum_{n in frame t} x[n] g[n + l - delay]
    dL/dX_t[k] = 1/n sum_l w[l] cos(pi k m(l) / n) dL/dh_t[l],   half of it for k = 0 and k = n

With overlap, wherever it says h_t for a sample n of frame t: (1 - w(n)) h_t + w(n) h_{t+1}.

Windows, delay, frames and w(n) are in fastddsp.kernels.fir.
"""

import numpy as np

from fastddsp.kernels import fir


def design_matrix(n_bands: int, window_size: int) -> np.ndarray:
    """[n_bands, n_taps]: the impulse response of each magnitude alone."""
    n = n_bands - 1
    first_lag, window = fir.taps(2 * n, window_size)
    matrix = np.zeros((n_bands, len(window)))
    for k in range(n_bands):
        share = 0.5 if k in (0, n) else 1.0
        for l, weight in enumerate(window):
            matrix[k, l] = share / n * np.cos(np.pi * k * (first_lag + l) / n) * weight
    return matrix


def _weights(n_samples: int, n_frames: int, overlap: bool):
    """A sample, a frame whose filter it goes through, and how much of it does: all such triples."""
    borders = fir.frame_borders(n_samples, n_frames)
    for t in range(n_frames):
        size = borders[t + 1] - borders[t]
        for i, fade in enumerate(fir.fade_in(size) if overlap else np.zeros(size)):
            yield borders[t] + i, t, 1 - fade
            yield borders[t] + i, min(t + 1, n_frames - 1), fade


def filter_audio(audio, magnitudes, window_size: int, n_out: int, overlap: bool = False) -> np.ndarray:
    """[n_samples], [frames, bands] -> the first n_out samples after the delay."""
    h = magnitudes @ design_matrix(magnitudes.shape[1], window_size)
    n_taps, delay = h.shape[1], fir.delay(h.shape[1])
    y = np.zeros(1 + len(audio) + n_taps + n_out)  # y[0] is at -1, where the shortest filters begin
    for n, t, weight in _weights(len(audio), len(h), overlap):
        y[1 + n : 1 + n + n_taps] += weight * audio[n] * h[t]
    return y[1 + delay : 1 + delay + n_out]


def gradients(g, audio, magnitudes, window_size: int, overlap: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Gradients in the audio and in the magnitudes of sum(g * filter_audio(audio, magnitudes, ...))."""
    matrix = design_matrix(magnitudes.shape[1], window_size)
    h = magnitudes @ matrix
    n_taps, delay = h.shape[1], fir.delay(h.shape[1])
    g_full = np.zeros(1 + len(audio) + n_taps + len(g))
    g_full[1 + delay : 1 + delay + len(g)] = g
    d_audio, d_h = np.zeros(len(audio)), np.zeros_like(h)
    for n, t, weight in _weights(len(audio), len(h), overlap):
        heard = g_full[1 + n : 1 + n + n_taps]
        d_audio[n] += weight * (h[t] @ heard)
        d_h[t] += weight * audio[n] * heard
    return d_audio, d_h @ matrix.T
