"""Harmonic bank on the CPU: a sum of harmonics of one fundamental, its analysis, and the moments of its phase.

    bank      y(n)    = sum_h a_h(n) sin(h theta(n) + psi),   a_h(n) = m_h(n) sum_t w_t(n) A[frame_t, h]
    analysis  L[j, h] = sum_n g(n) m_h(n) w_j(n) sin(h theta(n) + psi)
    moments   of v(n) = g(n) dy/dtheta(n) = g(n) sum_h h a_h(n) cos(h theta(n) + psi)

theta: the fundamental's phase in radians (fastddsp.kernels.phase); psi: 0 to 3 quarter turns, so sine and cosine banks
are one function; m_h(n): 1 where h f(n) < nyquist, else 0; w_t: envelope weights of the frames around n.
Analysis is the adjoint of the bank in A; the moments are what fastddsp.kernels.cpu.phase needs for the adjoint in f0.

The loop. Lanes are samples, a tile of them at a time; harmonics run in blocks of 16 around h = 16 m. A block starts
from s = sin(16 m theta + psi) and c = cos(...) and runs the Chebyshev recurrence s_{h+1} = 2 cos(theta) s_h - s_{h-1}
from there, up 7 and down 8 steps and no further, since its error grows as 1/2 steps^2 eps. The next block's start is
this one's turned by 16 theta; every 8th starts afresh from exact integer phases. All state stays in registers.

Harmonics above Nyquist for a whole interval are not computed. Those that cross it inside are few: each is computed from
its own exact phase and masked, which keeps masks out of the recurrence.

Cost, in vector instructions per harmonic and register of samples: bank 3 multiply-adds (the recurrence and two frames)
and 1/2 for starting blocks. Analysis the same; its inner products grow as one register of partial sums for each
harmonic and frame ("rows") and are summed across lanes (sum_rows, 3 instructions) once a frame, when it is complete.

Buffers of harmonics and rows are indexed by the harmonic, from 0, which is nobody's. Inner functions take pointers into
arrays that the row loops own (see simd.pointer).
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import from_dtype, njit

from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.compile import kernel
from fastddsp.kernels.cpu.intervals import fill_tile, interval
from fastddsp.kernels.cpu.phase import frame_of, interval_phases, interval_start, phase_gradient, tile_moments
from fastddsp.kernels.cpu.simd import (
    dot_fold,
    fma,
    lane_count,
    lanes_of,
    load,
    load_register,
    pointer,
    register_width,
    select_ge,
    splat,
    store,
    sum_rows,
    width_of,
)
from fastddsp.kernels.cpu.sine import sin_cos_turns, sin_turns
from fastddsp.kernels.phase import envelope_weights, from_radians, tap_offset, to_radians

BLOCK, HALF = 16, 8
BLOCKS_PER_SEED = 8
WORK_PER_CHUNK = 2**21  # harmonic-samples, 0.1 ms: long beside the 5 us under the GIL that a call costs
ROWS_PER_CHUNK = 64  # frames at least: an owner of frames visits one interval more than it owns


def tile_lanes(dtype) -> int:
    """Samples in a tile of `dtype`; envelope weights are padded by as many."""
    return lanes_of(from_dtype(np.dtype(dtype)))


@njit(forceinline=True)
def _start_block(m, phase, shift, s, c, turn):
    """Sin and cos of 16 m theta + psi: exact every 8th block, else the previous block's turned by 16 theta."""
    if m == 0:
        return s, c
    if m % BLOCKS_PER_SEED == 0:
        return sin_cos_turns(phase * (BLOCK * m) + shift)
    sin_block, cos_block = turn
    return fma(s, cos_block, c * sin_block), fma(c, cos_block, s * sin_block * -1.0)


@njit
def _bank_tile(phases, psi, a0, a1, n_plain, w0, w1, y):
    """y += w0 sum_h a0_h sin + w1 sum_h a1_h sin over one tile, h <= n_plain.

    w0, w1: the samples' weights; a0, a1: padded with zeros to the end of the last half block.
    """
    phase = load(phases, 0)
    shift, sin_psi, cos_psi = psi
    sin1, cos1 = sin_cos_turns(phase)
    turn = sin_cos_turns(phase * BLOCK)
    w = cos1 + cos1
    s, c = splat(y, sin_psi), splat(y, cos_psi)
    y0, y1 = splat(y, 0.0), splat(y, 0.0)
    for m in range((n_plain + HALF) // BLOCK + 1):
        s, c = _start_block(m, phase, shift, s, c, turn)
        middle = BLOCK * m
        if m > 0:
            p = s * cos1 - c * sin1
            q = w * p - s
            for h in range(middle - 1, middle - 1 - HALF, -2):
                y0, y1 = fma(a0[h], p, y0), fma(a1[h], p, y1)
                y0, y1 = fma(a0[h - 1], q, y0), fma(a1[h - 1], q, y1)
                p = w * q - p
                q = w * p - q
        if middle <= n_plain:
            p, q = s, s * cos1 + c * sin1
            for h in range(middle, middle + HALF, 2):
                y0, y1 = fma(a0[h], p, y0), fma(a1[h], p, y1)
                y0, y1 = fma(a0[h + 1], q, y0), fma(a1[h + 1], q, y1)
                p = w * q - p
                q = w * p - q
    store(y, 0, fma(load(w0, 0), y0, fma(load(w1, 0), y1, load(y, 0))))


@njit
def _bank_crossing(phases, psi, row0, row1, by_harmonic, audible, limits, w0, w1, y):
    """_bank_tile for the harmonics that cross Nyquist inside the interval, masked; row0, row1: frames' amplitudes."""
    phase, limit = load(phases, 0), load(limits, 0)
    y0, y1 = splat(y, 0.0), splat(y, 0.0)
    for h in range(audible[0] + 1, audible[1] + 1):
        factor = h if by_harmonic else 1
        x = select_ge(limit, h, sin_turns(phase * h + psi[0]), 0.0)
        y0, y1 = fma(row0[h - 1] * factor, x, y0), fma(row1[h - 1] * factor, x, y1)
    store(y, 0, fma(load(w0, 0), y0, fma(load(w1, 0), y1, load(y, 0))))


@njit(forceinline=True)
def _add_products(x, h, n_plain, g0, g1, rows0, rows1):
    """Add the products of g0 and g1 with harmonic h's sines to its rows, or to nobody's beyond n_plain."""
    row = (h if h <= n_plain else 0) * register_width(rows0)
    store(rows0, row, dot_fold(g0, x, load_register(rows0, row)))
    store(rows1, row, dot_fold(g1, x, load_register(rows1, row)))


@njit
def _analysis_tile(phases, psi, g, n_plain, w0, w1, rows0, rows1):
    """rows0_h += w0 g sin, rows1_h += w1 g sin over one tile, h <= n_plain; else as _bank_tile."""
    phase = load(phases, 0)
    shift, sin_psi, cos_psi = psi
    sin1, cos1 = sin_cos_turns(phase)
    turn = sin_cos_turns(phase * BLOCK)
    w = cos1 + cos1
    s, c = splat(g, sin_psi), splat(g, cos_psi)
    g0, g1 = load(w0, 0) * load(g, 0), load(w1, 0) * load(g, 0)
    for m in range((n_plain + HALF) // BLOCK + 1):
        s, c = _start_block(m, phase, shift, s, c, turn)
        middle = BLOCK * m
        if m > 0:
            p = s * cos1 - c * sin1
            q = w * p - s
            for h in range(middle - 1, middle - 1 - HALF, -2):
                _add_products(p, h, n_plain, g0, g1, rows0, rows1)
                _add_products(q, h - 1, n_plain, g0, g1, rows0, rows1)
                p = w * q - p
                q = w * p - q
        if middle <= n_plain:
            p, q = s, s * cos1 + c * sin1
            for h in range(middle, middle + HALF, 2):
                _add_products(p, h, n_plain, g0, g1, rows0, rows1)
                _add_products(q, h + 1, n_plain, g0, g1, rows0, rows1)
                p = w * q - p
                q = w * p - q


@njit
def _analysis_crossing(phases, psi, g, audible, limits, w0, w1, rows0, rows1):
    """_analysis_tile for the harmonics that cross Nyquist inside the interval, masked."""
    phase, limit = load(phases, 0), load(limits, 0)
    g0, g1 = load(w0, 0) * load(g, 0), load(w1, 0) * load(g, 0)
    for h in range(audible[0] + 1, audible[1] + 1):
        x = select_ge(limit, h, sin_turns(phase * h + psi[0]), 0.0)
        _add_products(x, h, h, g0, g1, rows0, rows1)


@njit
def _stage(row, n_plain, by_harmonic, out):
    """One frame's amplitudes, times the harmonic's number if asked; zeros up to the end of the last half block."""
    out[0] = 0
    if by_harmonic:
        for k in range(n_plain):
            out[k + 1] = row[k] * (k + 1)
    else:
        for k in range(n_plain):
            out[k + 1] = row[k]
    for h in range(n_plain + 1, BLOCK * ((n_plain + HALF) // BLOCK) + HALF):
        out[h] = 0


@njit(forceinline=True)
def bank_of_tile(f0, phase, amplitudes, weights, envelope, timeline, psi, by_harmonic, b, i, start, buffers):
    """Buffer y: interval i's samples from its `start` on, NaN where f0 is not finite. Returns how many, and where."""
    q, y, limits, a0, a1 = buffers
    tap_offset, drop = envelope
    n_frames, n_harmonics = amplitudes.shape[1:]
    lanes, width = lane_count(y), weights.shape[1]
    sweep, audible, (lo, hi) = interval(pointer(f0, b * n_frames), n_frames, i, n_harmonics, timeline)
    fill_tile(sweep, phase, i, lo + start, lo, audible, timeline, drop, lanes, q, limits)
    store(y, 0, splat(y, (sweep[0] + sweep[1]) * 0.0))
    at = (lo + start) % (width - lanes)
    for t in range(0, weights.shape[0], 2):
        frame = timeline[2] + i + tap_offset + t
        row0 = pointer(amplitudes, (b * n_frames + frame_of(frame, n_frames)) * n_harmonics)
        row1 = pointer(amplitudes, (b * n_frames + frame_of(frame + 1, n_frames)) * n_harmonics)
        w0, w1 = pointer(weights, t * width + at), pointer(weights, (t + 1) * width + at)
        _stage(row0, audible[0], by_harmonic, a0)
        _stage(row1, audible[0], by_harmonic, a1)
        _bank_tile(q, psi, a0, a1, audible[0], w0, w1, y)
        if audible[0] < audible[1]:
            _bank_crossing(q, psi, row0, row1, by_harmonic, audible, limits, w0, w1, y)
    return min(lanes, hi - lo - start), lo + start


@njit(forceinline=True)
def bank_buffers(scratch):
    """Pointers into the five buffers of a bank."""
    tile, y, limits, a0, a1 = scratch
    return pointer(tile, 0), pointer(y, 0), pointer(limits, 0), pointer(a0, 0), pointer(a1, 0)


@kernel
def _bank_rows(f0, phases, amplitudes, weights, envelope, timeline, psi, scratch, out, first, last):
    """Audio of the intervals first <= b * n_intervals + i < last."""
    n_samples, n_intervals = timeline[:2]
    buffers = bank_buffers(scratch)
    y, lanes = buffers[1], lane_count(out)
    for row in range(first, last):
        b, i = row // n_intervals, row % n_intervals
        count = interval_start(i + 1, n_samples, n_intervals) - interval_start(i, n_samples, n_intervals)
        for start in range(0, count, lanes):
            n, at = bank_of_tile(
                f0, phases[b, i], amplitudes, weights, envelope, timeline, psi, False, b, i, start, buffers
            )
            if n == lanes:
                store(out, b * n_samples + at, load(y, 0))
            else:
                for l in range(n):
                    out[b, at + l] = y[l]


@kernel
def _moment_rows(f0, phases, amplitudes, weights, envelope, timeline, psi, scratch, g, moments, first, last):
    """Moments of g dy/dtheta in the intervals first <= b * n_intervals + i < last."""
    n_samples, n_intervals = timeline[:2]
    buffers = bank_buffers(scratch)
    y, lanes = buffers[1], lane_count(g)
    for row in range(first, last):
        b, i = row // n_intervals, row % n_intervals
        count = interval_start(i + 1, n_samples, n_intervals) - interval_start(i, n_samples, n_intervals)
        s = x = q = 0.0
        for start in range(0, count, lanes):
            n, at = bank_of_tile(
                f0, phases[b, i], amplitudes, weights, envelope, timeline, psi, True, b, i, start, buffers
            )
            more = tile_moments(pointer(g, b * n_samples + at), y, start, n)
            s, x, q = s + more[0], x + more[1], q + more[2]
        moments[b, i, 0], moments[b, i, 1], moments[b, i, 2] = s, x, q


@njit(forceinline=True)
def analysis_of_interval(sweep, audible, samples, phase, g, weights, t, drop, timeline, psi, i, rows0, rows1, buffers):
    """Add interval i's products with its harmonics, weighted by taps t and t + 1, to rows0 and rows1.

    g: pointer to the batch item's samples. NaN where f0 is not finite.
    """
    q, y, limits = buffers
    lo, hi = samples
    not_finite = (sweep[0] + sweep[1]) * 0.0
    lanes, width = lane_count(y), weights.shape[1]
    for start in range(0, hi - lo, lanes):
        sample = lo + start
        fill_tile(sweep, phase, i, sample, lo, audible, timeline, drop, lanes, q, limits)
        n = min(lanes, hi - sample)
        for l in range(n):
            y[l] = g[sample + l] + not_finite
        for l in range(n, lanes):
            y[l] = 0
        at = sample % (width - lanes)
        w0, w1 = pointer(weights, t * width + at), pointer(weights, (t + 1) * width + at)
        _analysis_tile(q, psi, y, audible[0], w0, w1, rows0, rows1)
        if audible[0] < audible[1]:
            _analysis_crossing(q, psi, y, audible, limits, w0, w1, rows0, rows1)


@njit
def sum_frame(rows, n_audible, sums, out):
    """Add the sums of rows 1..n_audible to out and clear them; sums: buffer of one register."""
    width = register_width(rows)
    for h in range(0, n_audible + 1, width):
        store(sums, 0, sum_rows(rows, h * width))
        for r in range(1 if h == 0 else 0, min(width, n_audible + 1 - h)):
            out[h + r - 1] += sums[r]
    for i in range((n_audible + 1) * width):
        rows[i] = 0


@kernel
def _analysis_rows(f0, phases, g, weights, envelope, timeline, psi, scratch, out, first, last):
    """Inner products for the frames first <= b * n_frames + j < last.

    Rows of the frames that an interval touches go around in a ring: interval i adds tap t's products to the rows of
    frame i + t, after which frame i is done. A frame's owner visits every interval that touches it; those on the
    border of two owners are visited twice (1 of 64): cheaper than handing rows over, and the order of additions stays.
    """
    n_intervals, first_frame = timeline[1:3]
    tap_offset, drop = envelope
    n_frames, n_harmonics = out.shape[1:]
    tile, y, limits, rows = scratch
    buffers = pointer(tile, 0), pointer(y, 0), pointer(limits, 0)
    n_samples, n_taps = timeline[0], weights.shape[0]
    size = rows.size // n_taps
    filled = np.zeros(n_taps, np.int64)
    for b in range(first // n_frames, -(-last // n_frames)):
        j_lo, j_hi = max(first - b * n_frames, 0), min(last - b * n_frames, n_frames)
        out[b, j_lo:j_hi] = 0
        rows[:] = 0
        filled[:] = 0
        i_lo = 0 if j_lo == 0 else max(0, j_lo - first_frame - tap_offset - n_taps + 1)
        i_hi = n_intervals if j_hi == n_frames else min(n_intervals, j_hi - first_frame - tap_offset)
        for i in range(i_lo, i_hi + n_taps - 1):
            if i < i_hi:
                g_row = pointer(g, b * n_samples)
                sweep, audible, samples = interval(pointer(f0, b * n_frames), n_frames, i, n_harmonics, timeline)
                for t in range(0, n_taps, 2):
                    ring0, ring1 = (i + t) % n_taps, (i + t + 1) % n_taps
                    analysis_of_interval(
                        sweep, audible, samples, phases[b, i], g_row, weights, t, drop, timeline, psi,
                        i, pointer(rows, ring0 * size), pointer(rows, ring1 * size), buffers,
                    )  # fmt: skip
                    filled[ring0], filled[ring1] = max(filled[ring0], audible[1]), max(filled[ring1], audible[1])
            done = i % n_taps
            frame = frame_of(first_frame + i + tap_offset, n_frames)
            if j_lo <= frame < j_hi:
                out_row = pointer(out, (b * n_frames + frame) * n_harmonics)
                sum_frame(pointer(rows, done * size), filled[done], buffers[1], out_row)
            else:
                rows[done * size : (done + 1) * size] = 0
            filled[done] = 0


class _Task(NamedTuple):
    """A row loop on all its rows: fixed arguments, sizes of its buffers, arrays it fills."""

    kernel: Callable
    fixed: tuple
    buffers: tuple[int, ...]
    results: tuple
    n_rows: int
    work: int  # harmonic-samples

    def chunks(self) -> Iterator[tuple[int, int]]:
        """First and last row of every chunk."""
        n_chunks = min(max(1, self.work // WORK_PER_CHUNK), max(1, self.n_rows // ROWS_PER_CHUNK))
        borders = [self.n_rows * chunk // n_chunks for chunk in range(n_chunks + 1)]
        return pairwise(borders)


class Bank:
    """The three operations for one set of controls: what they share is prepared once.

    Args:
      f0: [batch, frames] Hz, float32 or float64, contiguous like all arrays here.
      initial_phase: [batch] radians, float64.
      timeline: samples, intervals and first frame.
      sample_rate: samples a second.
      nyquist: harmonics from this frequency on are silent, Hz; infinity for none.
      method: envelope resampling, one of fastddsp.kernels.phase.METHODS.
      quarter_turns: psi; 0 for sines, 1 for cosines.
      n_threads: at most so many threads.
    """

    def __init__(self, f0, initial_phase, timeline, sample_rate, nyquist, method, quarter_turns=0, n_threads=1):
        self.f0 = f0
        self.timeline = (
            timeline.n_samples,
            timeline.n_intervals,
            timeline.first_frame,
            float(sample_rate),
            float(nyquist),
        )
        self.lanes = tile_lanes(f0.dtype)
        self.weights = envelope_weights(method, timeline, f0.dtype.name, self.lanes)
        self.envelope = (tap_offset(method), 64 - 8 * f0.itemsize)
        self.quarter_turns = quarter_turns
        self.n_threads = n_threads
        self.phases = np.empty((f0.shape[0], timeline.n_intervals + 1), np.int64)
        interval_phases(f0, from_radians(initial_phase).view(np.int64), *self.timeline[:4], self.phases)

    @property
    def final_phase(self) -> np.ndarray:
        """[batch] radians in [0, 2 pi): the phase after the last sample, where the next block begins."""
        return to_radians(self.phases[:, -1].view(np.uint64))

    def render(self, amplitudes, out) -> None:
        """out [batch, samples] = the bank's audio for amplitudes [batch, frames, harmonics]."""
        self._run(
            self._task(_bank_rows, self._n_intervals, amplitudes.shape[2], 0, amplitudes, self._staged(amplitudes), out)
        )

    def analyse(self, g, out) -> None:
        """out [batch, frames, harmonics] = the adjoint of `render` in the amplitudes, applied to g [batch, samples]."""
        self._run(self._analysis(g, out))

    def phase_gradient(self, g, amplitudes, final_cotangent, d_f0, d_initial) -> None:
        """d_f0 [batch, frames], d_initial [batch] = the adjoint of `render` in f0 and the initial phase.

        final_cotangent [batch]: cotangent of the final phase, in radians.
        """
        moments = np.empty((g.shape[0], self._n_intervals, 3))
        self._run(self._moments(g, amplitudes, moments))
        phase_gradient(moments, final_cotangent, *self.timeline[:4], d_f0, d_initial)

    def gradients(self, g, amplitudes, final_cotangent, d_amplitudes, d_f0, d_initial) -> None:
        """`analyse` and `phase_gradient`, their chunks shared out together: threads meet once, not twice."""
        moments = np.empty((g.shape[0], self._n_intervals, 3))
        self._run(self._analysis(g, d_amplitudes), self._moments(g, amplitudes, moments))
        phase_gradient(moments, final_cotangent, *self.timeline[:4], d_f0, d_initial)

    def _analysis(self, g, out) -> "_Task":
        rows = self._harmonics(out.shape[2]) * len(self.weights) * width_of(from_dtype(self.f0.dtype))
        return self._task(_analysis_rows, *out.shape[1:], 0, g, (rows,), out)

    def _moments(self, g, amplitudes, moments) -> "_Task":
        n_harmonics = amplitudes.shape[2]
        return self._task(
            _moment_rows, self._n_intervals, n_harmonics, 1, amplitudes, self._staged(amplitudes), g, moments
        )

    @property
    def _n_intervals(self) -> int:
        return self.timeline[1]

    def _staged(self, amplitudes) -> tuple[int, int]:
        """Elements of the buffers for two frames of amplitudes."""
        return (self._harmonics(amplitudes.shape[2]),) * 2

    @staticmethod
    def _harmonics(n_harmonics: int) -> int:
        """Elements of a buffer of harmonics."""
        return BLOCK * (n_harmonics // BLOCK + 2)

    def _task(self, kernel, rows_per_item, n_harmonics, turns, signal, buffers, *results) -> "_Task":
        """`kernel` on all rows of the batch, psi turned by `turns` quarters; buffers: sizes of its scratch."""
        psi = self._psi(self.quarter_turns + turns)
        fixed = (self.f0, self.phases, signal, self.weights, self.envelope, self.timeline, psi)
        batch = self.f0.shape[0]
        return _Task(kernel, fixed, buffers, results, batch * rows_per_item, batch * self.timeline[0] * n_harmonics)

    def _run(self, *tasks: "_Task") -> None:
        """Run tasks in chunks of about WORK_PER_CHUNK harmonic-samples, shared among the threads.

        Less than a chunk in all is done by the caller: calling a team costs 50 us, which two threads win back there.
        """
        chunks = [(task, *borders) for task in tasks for borders in task.chunks()]
        n_threads = self.n_threads if sum(task.work for task in tasks) >= WORK_PER_CHUNK else 1
        real, integer = self.f0.dtype, np.dtype(f"int{8 * self.f0.itemsize}")

        def scratch(task) -> tuple:
            return np.empty(self.lanes, integer), *(
                np.empty(size, real) for size in (self.lanes, self.lanes, *task.buffers)
            )

        def work(taken) -> None:
            mine: dict[int, tuple] = {}
            for i in taken:
                task, first, last = chunks[i]
                if id(task) not in mine:
                    mine[id(task)] = scratch(task)
                task.kernel(*task.fixed, mine[id(task)], *task.results, first, last)

        threads.share(work, len(chunks), n_threads)

    def _psi(self, quarter_turns: int) -> tuple[int, float, float]:
        """psi as a signed fixed-point phase, and its sine and cosine."""
        quarter_turns %= 4
        bits = 8 * self.f0.itemsize
        signed = quarter_turns - 4 if quarter_turns >= 2 else quarter_turns
        return signed * 2 ** (bits - 2), (0.0, 1.0, 0.0, -1.0)[quarter_turns], (1.0, 0.0, -1.0, 0.0)[quarter_turns]
