"""Specification of wavetable lookup and synthesis, and of their gradients, in float64, one batch item at a time.

A table is one turn of a wave: W points and straight lines between them, the first point again after the last. At phase
phi, in turns, x = W phi is the place in it, and

    T(n, phi) = sum_j r_j(n) sum_c w_c(x) W[j, c]

r_j(n): the frames' weights, linear between frames; w_c(x): the points' weights. Given phases outside [0, 1] fade to
silence within one point, and exactly on a point there is no slope, both as in magenta/ddsp. Phases that are summed from
f0 wrap; on a point they have the slope of the line that follows.

    y(n) = a(n) T(n, phi(n)),   phi(n) = phi_0 + sum_{m < n} f(m) / sample_rate

a: amplitude frames blended by overlapping Hann windows. The adjoint, with the cotangent g(n) of y(n):

    dL/dW[j, c]  = sum_n g(n) a(n) r_j(n) w_c(x(n))
    dL/da(n)     = g(n) T(n, phi(n))
    dL/dphi(n)   = g(n) a(n) T'(n, phi(n)),   dL/df(m) = sum_{n > m} dL/dphi(n) / sample_rate
"""

import numpy as np

from fastddsp.kernels.phase import Timeline
from fastddsp.kernels.reference.phase import envelope, frequency


def weights_of_points(phase: float, n_points: int) -> np.ndarray:
    """[n_points]: how much of each point sounds at a given phase in turns."""
    grid = np.arange(n_points + 1)  # the first point again after the last
    weights = np.maximum(1 - np.abs(phase * n_points - grid), 0)
    weights[0] += weights[-1]
    return weights[:-1]


def slopes_of_points(phase: float, n_points: int, *, on_points: bool = False) -> np.ndarray:
    """[n_points]: the derivative of weights_of_points; exactly on a point 0, or that of the line which follows."""
    x = phase * n_points
    slopes = np.zeros(n_points + 1)
    before = int(np.floor(x))
    if x != before or on_points:
        for point, slope in ((before, -n_points), (before + 1, n_points)):
            if 0 <= point <= n_points:
                slopes[point] += slope
    slopes[0] += slopes[-1]
    return slopes[:-1]


def lookup(phase, wavetables, points=weights_of_points) -> np.ndarray:
    """[n_samples] turns, [frames, n_points] -> [n_samples]: T, or T' with `slopes_of_points`."""
    timeline = Timeline(len(phase), len(wavetables))
    tables = envelope(wavetables, timeline, "linear")
    return np.array([points(p, wavetables.shape[1]) @ table for p, table in zip(phase, tables, strict=True)])


def lookup_adjoint(g, phase, n_frames, n_points, points=weights_of_points) -> np.ndarray:
    """[n_samples] -> [frames, n_points]: the adjoint of `lookup` in the wavetables."""
    frames = envelope(np.eye(n_frames), Timeline(len(phase), n_frames), "linear")  # [n_samples, frames]
    read = np.array([points(p, n_points) for p in phase])
    return frames.T @ (g[:, None] * read)


def phases(f0_hz, n_samples: int, sample_rate, initial_phase=0.0) -> np.ndarray:
    """[frames] Hz, radians -> [n_samples] turns in [0, 1): the phase before each sample's own advance."""
    turns = (initial_phase / (2 * np.pi)) % 1.0
    out = np.zeros(n_samples)
    for n, f in enumerate(frequency(f0_hz, Timeline(n_samples, len(f0_hz)))):
        out[n] = turns
        turns = (turns + f / sample_rate) % 1.0  # whole turns dropped, so that float64 keeps its digits
    return out


def following(phase: float, n_points: int) -> np.ndarray:
    """Slopes of points for phases that are summed from f0."""
    return slopes_of_points(phase, n_points, on_points=True)


def synthesis(f0_hz, amplitudes, wavetables, n_samples: int, sample_rate, initial_phase=0.0) -> np.ndarray:
    """[frames] Hz, [frames], [frames, n_points] -> [n_samples] audio; each control has frames of its own number."""
    a = envelope(amplitudes[:, None], Timeline(n_samples, len(amplitudes)), "window")[:, 0]
    return a * lookup(phases(f0_hz, n_samples, sample_rate, initial_phase), wavetables)


def synthesis_gradients(g, f0_hz, amplitudes, wavetables, sample_rate, initial_phase=0.0, final=0.0):
    """Adjoint of `synthesis`: gradients of f0_hz, amplitudes, wavetables and of the initial phase (radians).

    final: cotangent of the phase after the last sample, radians.
    """
    n_samples = len(g)
    phase = phases(f0_hz, n_samples, sample_rate, initial_phase)
    windows = envelope(np.eye(len(amplitudes)), Timeline(n_samples, len(amplitudes)), "window")
    a = windows @ amplitudes
    d_theta = g * a * lookup(phase, wavetables, following) / (2 * np.pi)
    later = final + np.append(np.cumsum(d_theta[::-1])[::-1], 0)[1:]
    f0_frames = envelope(np.eye(len(f0_hz)), Timeline(n_samples, len(f0_hz)), "linear")
    return (
        f0_frames.T @ (2 * np.pi / sample_rate * later),
        windows.T @ (g * lookup(phase, wavetables)),
        lookup_adjoint(g * a, phase, *wavetables.shape),
        final + d_theta.sum(),
    )
