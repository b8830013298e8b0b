"""What phases of intervals and samples are made of, and the gradient that comes back through them.

See fastddsp.kernels.phase.

The adjoint. With theta = 2 pi phi and the cotangent v(n) of theta(n), dL/df(m) = (2 pi / sample_rate) R(m), where
R(m) = sum_{n >= m} v(n) is a reverse prefix sum, and f(m) = (1 - w) a + w c with w = (o + m I) / N. Inside interval i
of `count` samples, T the sum of v over all later samples:

    sum_m w R     = T W(count - 1) + Y     W(m) = sum_{l <= m} w(l) = ((m + 1) o + I m (m + 1) / 2) / N
    sum_m (1-w) R = T count + X - that     S = sum v,  X = sum (m + 1) v,  Y = sum W(m) v

so three moments an interval carry everything that the frames need to know about the samples.
"""

import numpy as np
from numba import njit

from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.simd import borrowed
from fastddsp.kernels.cpu.team import enter_on_team, next_chunk

WORTH_THREADS = 1024  # intervals of all items: 6 us on one thread
TURN_HALF = 2.0**63
GRID_ROUND, GRID_MASK = np.int64(1 << 13), np.int64(-(1 << 14))


@njit(inline="always")
def interval_start(i, n_samples, n_intervals):
    """First sample of interval i."""
    return (i * n_samples + n_intervals - 1) // n_intervals


@njit(inline="always")
def frame_of(j, n_frames):
    """Frame j, or the nearest one that exists."""
    return min(max(j, 0), n_frames - 1)


@helper
def fixed_point(turns):
    """Turns as a signed 64-bit fraction of a turn, whole turns dropped; 0 where not finite."""
    if not np.isfinite(turns):
        return np.int64(0)
    return np.int64((turns - np.rint(turns)) * TURN_HALF) << np.int64(1)


def enter_by_item(kernel, args: tuple, batch: int, n_intervals: int, n_threads: int) -> None:
    """Run a kernel whose rows are the items of a batch, on as many threads as they are worth."""
    threads.enter(kernel, args, batch, batch, min(n_threads, batch) if batch * n_intervals > WORTH_THREADS else 1)


# reassoc: the sums run in vector lanes; contract: multiply-adds. Both keep float64's 1e-16, far below float32's needs.
@helper(fastmath={"reassoc", "contract", "nsz"})
def tile_moments(g, slope, start, count):
    """Sums over l < count of v, (m + 1) v and m (m + 1) / 2 v, with v = g[l] slope[l], m = start + l."""
    s = x = q = 0.0
    for l in range(count):
        m = np.float64(start + l)
        v = np.float64(g[l]) * slope[l]
        s += v
        x += (m + 1) * v
        q += m * (m + 1) * 0.5 * v
    return s, x, q


def phase_gradient(
    moments, final_cotangent, n_samples, n_intervals, first_frame, sample_rate, d_f0, d_initial, n_threads=1
) -> None:
    """Frame-rate gradients from the intervals' moments (see the module's docstring).

    moments [batch, n_intervals, 3]: S, X, and Q with Y = (o X + I Q) / N; final_cotangent [batch]: of the phase after
    the last sample, radians; d_f0 [batch, frames] and d_initial [batch] are written.
    """
    args = moments, final_cotangent, n_samples, n_intervals, first_frame, sample_rate, d_f0, d_initial
    enter_by_item(_phase_gradient, args, len(moments), n_intervals, n_threads)


@kernel
def _phase_gradient(
    moments, final_cotangent, n_samples, n_intervals, first_frame, sample_rate, d_f0, d_initial,
    tickets, n_rows, n_chunks, n_threads, team,
):  # fmt: skip
    """See phase_gradient."""
    if enter_on_team(n_threads, team):
        return
    moments, final_cotangent, d_f0, d_initial = borrowed((moments, final_cotangent, d_f0, d_initial))
    n_frames = d_f0.shape[1]
    scale = 2 * np.pi / sample_rate
    b, last = next_chunk(tickets, n_rows, n_chunks)
    while b < last:
        d = np.zeros(n_frames)
        later = np.float64(final_cotangent[b])
        for i in range(n_intervals - 1, -1, -1):
            start = interval_start(i, n_samples, n_intervals)
            count = interval_start(i + 1, n_samples, n_intervals) - start
            offset = start * n_intervals - i * n_samples
            s, x, q = moments[b, i, 0], moments[b, i, 1], moments[b, i, 2]
            whole = (count * offset + n_intervals * (count * (count - 1) // 2)) / n_samples
            right = later * whole + (offset * x + n_intervals * q) / n_samples
            d[frame_of(first_frame + i, n_frames)] += later * count + x - right
            d[frame_of(first_frame + i + 1, n_frames)] += right
            later += s
        for j in range(n_frames):
            d_f0[b, j] = d[j] * scale
        d_initial[b] = later
        b, last = next_chunk(tickets, n_rows, n_chunks)
