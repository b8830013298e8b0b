"""Specification of the harmonic bank, its analysis and its gradients, in float64, one batch item at a time.

    y(n) = sum_k a_k(n) sin(k theta(n) + psi),   k = 1..K
    a_k(n) = 0 where k f(n) >= sample_rate / 2, else the frames' amplitudes blended

The adjoint. With the cotangent g(n) of y(n):

    dL/dA[j, k]     = sum_n g(n) w_j(n) m_k(n) sin(k theta(n) + psi)          (analysis)
    dL/dtheta(n)    = g(n) sum_k k a_k(n) cos(k theta(n) + psi)
    dL/df(m)        = 2 pi / sample_rate sum_{n >= m} dL/dtheta(n),  then back through the linear blend of f0's frames
    dL/dtheta_0     = sum_n dL/dtheta(n)

No gradient flows through the Nyquist mask.
"""

import numpy as np

from fastddsp.kernels.phase import Timeline
from fastddsp.kernels.reference.phase import envelope, frequency, phase


def sines(f0_hz, n_harmonics, timeline: Timeline, sample_rate, initial_phase=0.0, psi=0.0) -> np.ndarray:
    """[n_samples, n_harmonics]: m_k(n) sin(k theta(n) + psi)."""
    theta = phase(f0_hz, timeline, sample_rate, initial_phase)
    k = np.arange(1, n_harmonics + 1)
    audible = k * frequency(f0_hz, timeline)[:, None] < sample_rate / 2
    return np.where(audible, np.sin(k * theta[:, None] + psi), 0.0)


def bank(f0_hz, amplitudes, timeline: Timeline, sample_rate, method, initial_phase=0.0, psi=0.0) -> np.ndarray:
    """[frames] Hz, [frames, harmonics] -> [n_samples] audio."""
    oscillators = sines(f0_hz, amplitudes.shape[1], timeline, sample_rate, initial_phase, psi)
    return (envelope(amplitudes, timeline, method) * oscillators).sum(1)


def analysis(g, f0_hz, n_harmonics, timeline: Timeline, sample_rate, method, initial_phase=0.0, psi=0.0) -> np.ndarray:
    """[n_samples], [frames] Hz -> [frames, harmonics]: the adjoint of `bank` in the amplitudes."""
    weights = envelope(np.eye(len(f0_hz)), timeline, method)  # [n_samples, frames]
    return weights.T @ (g[:, None] * sines(f0_hz, n_harmonics, timeline, sample_rate, initial_phase, psi))


def phase_gradient(g, f0_hz, amplitudes, timeline: Timeline, sample_rate, method, initial_phase=0.0, final=0.0):
    """Adjoint of `bank` in f0_hz [frames] and in the initial phase; `final` is the cotangent of the final phase."""
    by_harmonic = amplitudes * np.arange(1, amplitudes.shape[1] + 1)
    d_theta = g * bank(f0_hz, by_harmonic, timeline, sample_rate, method, initial_phase, psi=np.pi / 2)
    d_frequency = 2 * np.pi / sample_rate * (final + np.cumsum(d_theta[::-1])[::-1])
    weights = envelope(np.eye(len(f0_hz)), timeline, "linear")
    return weights.T @ d_frequency, final + d_theta.sum()
