"""Phases of partials with frequencies of their own, and the gradient that comes back through them.

The equations are those of fastddsp.kernels.phase and fastddsp.kernels.cpu.phase, for every partial by itself. What
differs is the loop: lanes are partials, and what a tile of samples needs to know is boiled down to three integers a
partial and block of 16 samples. Around the block's ninth sample, c = 16 q + 8 of the interval,

    phi(c + r) = P_c + r B_c + (r (r + 1) / 2) D,    P_c = P + (c + 1) A + (c (c + 1) / 2) D,    B_c = A + c D

and from block to block P_c grows by 16 B_c + 136 D, B_c by 16 D: exact in 64 bits. For float32 the kernel takes the top
32 of them, so a sample's phase is off by at most 1/2 + 8/2 + 28/2 units of 2^-32 turns, 2.7e-8 radians.
"""

import numpy as np

from fastddsp.kernels.cpu.blocks import BLOCK, block_count, top_bits
from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.phase import GRID_MASK, GRID_ROUND, fixed_point, frame_of, interval_start
from fastddsp.kernels.cpu.simd import lane_count, load, out_of_line, pointer, store

SILENT, CROSSING, AUDIBLE = 0, 1, 2
"""A partial in an interval: at or above Nyquist throughout, in part, or never."""


def signed_quarter_turns(quarter_turns: int) -> int:
    """Quarter turns as a signed 64-bit fraction of a turn."""
    quarter_turns %= 4
    return (quarter_turns - 4 if quarter_turns >= 2 else quarter_turns) * 2**62


@helper
def padded(n, multiple):
    """N, rounded up to a multiple."""
    return (n + multiple - 1) // multiple * multiple


@helper(forceinline=True)
def _rates(i, n_samples, n_intervals, sample_rate):
    """Interval i's first and last sample, the fraction at which it starts, and what makes turns of Hz, A's and D's."""
    lo, hi = interval_start(i, n_samples, n_intervals), interval_start(i + 1, n_samples, n_intervals)
    return (
        lo,
        hi,
        (lo * n_intervals - i * n_samples) / n_samples,
        1 / sample_rate,
        n_intervals / (n_samples * sample_rate),
    )


@kernel
def partial_phases(frequencies, n_samples, n_intervals, first_frame, sample_rate, out, b, k_lo, k_hi):
    """out[b, i, k]: phase just before interval i's first sample, i <= n_intervals, for k_lo <= k < k_hi.

    frequencies [batch, frames, partials] in Hz; out [batch, n_intervals + 1, partials] int64, with out[b, 0] given.
    """
    n_frames, n_partials = frequencies.shape[1:]
    for i in range(n_intervals):
        j0, j1 = frame_of(first_frame + i, n_frames), frame_of(first_frame + i + 1, n_frames)
        a = pointer(frequencies, (b * n_frames + j0) * n_partials + k_lo)
        c = pointer(frequencies, (b * n_frames + j1) * n_partials + k_lo)
        before = pointer(out, (b * out.shape[1] + i) * n_partials + k_lo)
        after = pointer(out, (b * out.shape[1] + i + 1) * n_partials + k_lo)
        _advance(a, c, before, k_hi - k_lo, _rates(i, n_samples, n_intervals, sample_rate), after)


@helper
def _advance(a, c, before, n_partials, rates, after):
    """Phases after an interval whose frequencies go from a to c, from those before it."""
    out_of_line()  # where it is vectorized
    lo, hi, fraction, per_sample, per_step = rates
    count, steps = hi - lo, (hi - lo) * (hi - lo - 1) // 2
    for k in range(n_partials):
        f = np.float64(a[k])
        rise = c[k] - f
        advance = count * fixed_point((f + rise * fraction) * per_sample) + steps * fixed_point(rise * per_step)
        after[k] = (before[k] + advance + GRID_ROUND) & GRID_MASK


@helper
def start_interval(a, c, phase, n_partials, i, timeline, ahead, sweeps, state):
    """Lay out every partial of interval i; returns the interval's first and last sample, and NaN or 0 to add to them.

    a, c: frequencies at the interval's ends; phase: before its first sample; ahead: added to all phases.
    sweeps: P_c, B_c and D of the first block. state: SILENT, CROSSING or AUDIBLE.
    """
    n_samples, n_intervals, _, sample_rate, nyquist = timeline
    lo, hi, fraction, per_sample, per_step = _rates(i, n_samples, n_intervals, sample_rate)
    position, speed, turn = sweeps
    for k in range(n_partials):
        f = np.float64(a[k])
        rise = c[k] - f
        base, step = fixed_point((f + rise * fraction) * per_sample), fixed_point(rise * per_step)
        position[k] = phase[k] + ahead + 9 * base + 36 * step
        speed[k] = base + 8 * step
        turn[k] = step
    n_broken = 0
    for k in range(n_partials):
        state[k] = (AUDIBLE if max(a[k], c[k]) < nyquist else CROSSING) if min(a[k], c[k]) < nyquist else SILENT
        n_broken += 0 if a[k] * 0 + c[k] * 0 == 0 else 1
    return lo, hi, np.nan if n_broken else 0.0


@helper
def place_blocks(stride, sweeps, starts, bases, turns):
    """The next tile's blocks: the top bits of P_c, B_c (from j * stride on for block j) and D; sweeps move on.

    stride: partials, rounded up to whole vectors of sweeps.
    """
    position, speed, turn = sweeps
    for k in range(0, stride, lane_count(position)):
        p, v, d = load(position, k), load(speed, k), load(turn, k)
        bend, step = d * 136, d * BLOCK
        store(turns, k, top_bits(d, turns))
        for j in range(block_count(starts)):
            store(starts, j * stride + k, top_bits(p, starts))
            store(bases, j * stride + k, top_bits(v, bases))
            p, v = p + v * BLOCK + bend, v + step
        store(position, k, p)
        store(speed, k, v)


@helper
def below_nyquist(a, c, fraction, step, nyquist, count, out):
    """out[l]: 1 where the frequency, on its way from a to c, is below Nyquist at fraction + l step; else 0."""
    f = np.float64(a)
    rise = c - f
    for l in range(count):
        out[l] = 1 if f + rise * (fraction + l * step) < nyquist else 0


@kernel
def partial_phase_gradient(
    moments, final_cotangent, n_samples, n_intervals, first_frame, sample_rate, d_frequencies, d_initial, b, k_lo, k_hi
):
    """Frame-rate gradients from the intervals' moments, for k_lo <= k < k_hi of batch item b.

    moments [batch, n_intervals, 3, partials]: S, X, and Q with Y = (o X + I Q) / N; final_cotangent [batch, partials]:
    of the phases after the last sample, radians; d_frequencies [batch, frames, partials] and d_initial
    [batch, partials] are written.
    """
    n_frames, n_partials = d_frequencies.shape[1:]
    scale = 2 * np.pi / sample_rate
    n = k_hi - k_lo
    later, d = np.empty(n), np.zeros((n_frames, n))
    later[:] = final_cotangent[b, k_lo:k_hi]
    for i in range(n_intervals - 1, -1, -1):
        lo, hi, fraction, _, _ = _rates(i, n_samples, n_intervals, sample_rate)
        count, ratio = hi - lo, n_intervals / n_samples
        a, c = frame_of(first_frame + i, n_frames), frame_of(first_frame + i + 1, n_frames)
        moment = pointer(moments, (b * n_intervals + i) * 3 * n_partials + k_lo)
        _fall(moment, n_partials, count, fraction, ratio, n, pointer(later, 0), pointer(d, a * n), pointer(d, c * n))
    for j in range(n_frames):
        for k in range(n):
            d_frequencies[b, j, k_lo + k] = d[j, k] * scale
    d_initial[b, k_lo:k_hi] = later


@helper
def _fall(moment, stride, count, fraction, ratio, n, later, left, right):
    """One interval's share of the gradients of the frames at its two ends, and the sums of all cotangents so far."""
    out_of_line()  # where it is vectorized
    whole = count * fraction + ratio * (count * (count - 1) // 2)
    for k in range(n):
        s, x, q = moment[k], moment[stride + k], moment[2 * stride + k]
        rising = later[k] * whole + fraction * x + ratio * q
        left[k] += later[k] * count + x - rising
        right[k] += rising
        later[k] += s
