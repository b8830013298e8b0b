"""Specification of the bank of partials, its analysis and its gradients, in float64, one batch item at a time.

    y(n) = sum_k a_k(n) sin(theta_k(n) + psi)
    a_k(n) = 0 where f_k(n) >= nyquist, else the frames' amplitudes blended

Every partial has a frequency of its own, f_k, linear between frames, and theta_k is its sum.

The adjoint. With the cotangent g(n) of y(n):

    dL/dA[j, k]     = sum_n g(n) w_j(n) m_k(n) sin(theta_k(n) + psi)          (analysis)
    dL/dtheta_k(n)  = g(n) a_k(n) cos(theta_k(n) + psi)
    dL/df_k(m)      = 2 pi / sample_rate sum_{n >= m} dL/dtheta_k(n),  then back through the linear blend of the frames
    dL/dtheta_k,0   = sum_n dL/dtheta_k(n)

No gradient flows through the Nyquist mask.
"""

import numpy as np

from fastddsp.kernels.phase import Timeline
from fastddsp.kernels.reference.phase import envelope


def sines(frequencies, timeline: Timeline, sample_rate, nyquist, initial_phase, psi=0.0) -> np.ndarray:
    """[frames, partials] Hz, [partials] radians -> [n_samples, partials]: m_k(n) sin(theta_k(n) + psi)."""
    f = envelope(frequencies, timeline, "linear")
    turns = initial_phase / (2 * np.pi)
    out = np.zeros_like(f)
    advances = np.fmod(f, sample_rate) / sample_rate  # whole turns dropped, here and below: float64 keeps its digits
    for n in range(len(f)):
        turns = (turns + advances[n]) % 1.0
        out[n] = np.where(f[n] < nyquist, np.sin(2 * np.pi * turns + psi), 0.0)
    return out


def bank(
    frequencies, amplitudes, timeline: Timeline, sample_rate, nyquist, method, initial_phase, psi=0.0
) -> np.ndarray:
    """[frames, partials] Hz and amplitudes, [partials] radians -> [n_samples] audio."""
    oscillators = sines(frequencies, timeline, sample_rate, nyquist, initial_phase, psi)
    return (envelope(amplitudes, timeline, method) * oscillators).sum(1)


def analysis(g, frequencies, timeline: Timeline, sample_rate, nyquist, method, initial_phase, psi=0.0) -> np.ndarray:
    """[n_samples], [frames, partials] Hz -> [frames, partials]: the adjoint of `bank` in the amplitudes."""
    weights = envelope(np.eye(len(frequencies)), timeline, method)  # [n_samples, frames]
    return weights.T @ (g[:, None] * sines(frequencies, timeline, sample_rate, nyquist, initial_phase, psi))


def phase_gradient(
    g, frequencies, amplitudes, timeline: Timeline, sample_rate, nyquist, method, initial_phase, psi=0.0, final=0.0
):
    """Adjoint of `bank` in the frequencies [frames, partials] and the initial phases [partials].

    final: cotangent of the final phases, [partials].
    """
    cosines = sines(frequencies, timeline, sample_rate, nyquist, initial_phase, psi + np.pi / 2)
    d_theta = g[:, None] * envelope(amplitudes, timeline, method) * cosines
    d_frequency = 2 * np.pi / sample_rate * (final + np.cumsum(d_theta[::-1], 0)[::-1])
    weights = envelope(np.eye(len(frequencies)), timeline, "linear")
    return weights.T @ d_frequency, final + d_theta.sum(0)
