"""Specification of the delay of variable length and of its gradients, in float64, one batch item at a time.

    y(n) = sum_{l = 0..L} max(1 - |L phi(n) - l|, 0) x(n - l)      x = 0 before its first sample

With `wrap`, as in magenta/ddsp, x(n) stands in the place of x(n - L): the last of the L steps turns back. Exactly on a
whole number of samples there is no slope, as in magenta/ddsp. The adjoint is that of a matrix times x, and of the
matrix's entries.
"""

import numpy as np


def matrix(phase, max_length: int, wrap: bool) -> np.ndarray:
    """[n_samples] -> [n_samples, n_samples]: the delay as a matrix on the audio."""
    return _matrix(phase, max_length, wrap, lambda distance: max(1 - abs(distance), 0))


def slopes(phase, max_length: int, wrap: bool) -> np.ndarray:
    """The matrix's derivative in every row's phase."""
    return _matrix(phase, max_length, wrap, lambda d: -max_length * np.sign(d) * (abs(d) < 1))


def _matrix(phase, max_length, wrap, weight_at) -> np.ndarray:
    n_samples = len(phase)
    out = np.zeros((n_samples, n_samples))
    for n in range(n_samples):
        for tap in range(max_length + 1):
            ago = 0 if wrap and tap == max_length else tap
            if ago <= n:
                out[n, n - ago] += weight_at(phase[n] * max_length - tap)
    return out


def delay(phase, audio, max_length: int, wrap: bool) -> np.ndarray:
    """[n_samples], [n_samples] -> [n_samples]."""
    return matrix(phase, max_length, wrap) @ audio


def delay_gradients(g, phase, audio, max_length: int, wrap: bool) -> tuple[np.ndarray, np.ndarray]:
    """Adjoint of `delay`: gradients of phase and audio."""
    return g * (slopes(phase, max_length, wrap) @ audio), matrix(phase, max_length, wrap).T @ g
