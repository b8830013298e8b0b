"""Bank of partials on the CPU: a sum of sines with frequencies of their own, its analysis, and its phases' moments.

    bank      y(n)    = sum_k a_k(n) sin(theta_k(n) + psi),   a_k(n) = m_k(n) sum_t w_t(n) A[frame_t, k]
    analysis  L[j, k] = sum_n g(n) m_k(n) w_j(n) sin(theta_k(n) + psi)
    moments   of v_k(n) = g(n) dy/dtheta_k(n) = g(n) a_k(n) cos(theta_k(n) + psi), for every interval and partial

theta_k: partial k's phase (fastddsp.kernels.phase); psi: 0 to 3 quarter turns, so that sine and cosine banks are one
function; m_k(n): 1 where f_k(n) < nyquist, else 0; w_t: envelope weights of the frames around n. Analysis is the bank's
adjoint in A; the moments are what the adjoint in the frequencies needs (fastddsp.kernels.cpu.partial_phases).

The loop. Lanes are samples, a tile of them at a time; the loop runs over partials. A partial's phases in the tile are
integers, from three scalars a block (partial_phases); then come the polynomials. Sine and cosine of the gradient share
a phase and its fold, so analysis and moments are one pass. Inner products grow as one register of partial sums for each
partial and kind ("rows") and are summed across lanes (sum_rows, 3 instructions) at the interval's end.

Partials above Nyquist for a whole interval are skipped; those that cross it inside are masked.

Cost, in vector instructions per partial and register of samples: bank 4.75 for the phase (a multiplication counts as
2, the curved part serves a whole tile), 5 for fold and square, 5 for the sine, 2 for two frames: 16.75. Gradient: 6
more for the cosine, 8 instead of 2 for the products: 28.75, and 5 times 4 a tile to sum across lanes.
"""

import numpy as np
from numba import from_dtype
from numba.core import types
from numba.core.extending import overload

from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.blocks import BLOCK, each_block, load_block, repeat
from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.partial_phases import (
    CROSSING,
    SILENT,
    below_nyquist,
    padded,
    partial_phase_gradient,
    partial_phases,
    place_blocks,
    signed_quarter_turns,
    start_interval,
)
from fastddsp.kernels.cpu.phase import frame_of
from fastddsp.kernels.cpu.simd import (
    dot_fold,
    fma,
    lane_count,
    lanes_of,
    load,
    load_register,
    pointer,
    register_width,
    splat,
    store,
    sum_rows,
    width_of,
)
from fastddsp.kernels.cpu.sine import cos_ahead, sin_ahead, sin_cos_ahead
from fastddsp.kernels.phase import envelope_weights, from_radians, tap_offset, to_radians

WORK_PER_CHUNK = 2**18  # partial-samples: 50 us, long beside the 5 us of a call, short beside a time slice
ROWS_PER_CHUNK = 64  # frames at least: an owner of frames visits one interval more than it owns
PARTIALS_PER_CHUNK = 64  # of prefix sums over frames
TILES_PER_SUM = 16  # tiles whose products add up in float32 before float64 takes over


# ------------------------------------------------------------------------------------------------- one tile of samples

# A tile is (n_partials, stride, at, (offsets, curve), (starts, bases, turns), state, crossing, mask): `at` is its first
# sample's place in a block; r and r (r + 1) / 2; what place_blocks wrote, `stride` a block; states; for _audible.


@helper(forceinline=True)
def _phase_ahead(tile, k):
    """Partial k's phases in the tile, a quarter turn (and psi) ahead."""
    _, stride, at, (offsets, curve), (starts, bases, turns) = tile[:5]
    bent = load_block(curve, at) * turns[k]
    straight = repeat(load_block(offsets, at)) * each_block(bases, k, stride)
    return straight + (repeat(bent) + each_block(starts, k, stride))


@helper(forceinline=True)
def _audible(tile, k):
    """1 where partial k, which crosses Nyquist in the interval, is below it; else 0."""
    a, c, fraction, step, nyquist = tile[6]
    mask = tile[7]
    below_nyquist(a[k], c[k], fraction, step, nyquist, lane_count(mask), mask)
    return load(mask, 0)


@helper
def _bank_tile(tile, a0, a1, w0, w1, y):
    """y += w0 sum_k a0_k sin + w1 sum_k a1_k sin over one tile; w0, w1: the samples' weights."""
    state = tile[5]
    y0, y1 = splat(y, 0.0), splat(y, 0.0)
    for k in range(tile[0]):
        if state[k] == SILENT:
            continue
        s = sin_ahead(_phase_ahead(tile, k))
        if state[k] == CROSSING:
            s = s * _audible(tile, k)
        y0, y1 = fma(a0[k], s, y0), fma(a1[k], s, y1)
    store(y, 0, fma(load(w0, 0), y0, fma(load(w1, 0), y1, load(y, 0))))


@helper(forceinline=True)
def _add_products(a, b, k, source, rows):
    """rows_k = rows_source + a*b, folded to one register; the source is row k itself, or a row of zeros."""
    width = register_width(rows)
    store(rows, k * width, dot_fold(a, b, load_register(rows, source * width)))


@helper(forceinline=True)
def _add_sines(s, k, source, g0, g1, rows):
    """Products of the weighted cotangents with partial k's sines, if asked."""
    if rows is not None:
        _add_products(g0, s, k, source, rows[0])
        _add_products(g1, s, k, source, rows[1])


@helper(forceinline=True)
def _add_moments(c, k, source, g0, g1, a0, a1, powers, rows):
    """Moments of g a_k cos, if asked; powers: m + 1 and m (m + 1) / 2 for every sample."""
    if rows is not None:
        v = fma(g1, a1[k], g0 * a0[k]) * c
        _add_products(v, splat(powers[0], 1.0), k, source, rows[0])
        _add_products(v, load(powers[0], 0), k, source, rows[1])
        _add_products(v, load(powers[1], 0), k, source, rows[2])


@helper(forceinline=True)
def _sin_cos(ahead, sine_rows, moment_rows):
    """Sine and cosine; where only one is asked for, it stands for both."""
    if moment_rows is None:
        s = sin_ahead(ahead)
        return s, s
    if sine_rows is None:
        c = cos_ahead(ahead)
        return c, c
    return sin_cos_ahead(ahead)


@helper
def _gradient_tile(tile, a0, a1, w0, w1, g, powers, begin, sine_rows, moment_rows):
    """Add one tile's products with sines to sine_rows and with cosines to moment_rows; None where not asked for.

    begin: whether the sine_rows, and whether the moment_rows, begin anew; and which row holds zeros to begin with.
    """
    state = tile[5]
    g0, g1 = load(w0, 0) * load(g, 0), load(w1, 0) * load(g, 0)
    zeros = begin[2]
    for k in range(tile[0]):
        sine_source, moment_source = zeros if begin[0] else k, zeros if begin[1] else k
        if state[k] != SILENT:
            s, c = _sin_cos(_phase_ahead(tile, k), sine_rows, moment_rows)
            if state[k] == CROSSING:
                audible = _audible(tile, k)
                s, c = s * audible, c * audible
            _add_sines(s, k, sine_source, g0, g1, sine_rows)
            _add_moments(c, k, moment_source, g0, g1, a0, a1, powers, moment_rows)
        elif begin[0]:
            silence = splat(g, 0.0)
            _add_sines(silence, k, sine_source, g0, g1, sine_rows)
            _add_moments(silence, k, moment_source, g0, g1, a0, a1, powers, moment_rows)


# ----------------------------------------------------------------------------- rows: what one call of a thread computes


@helper(forceinline=True)
def _scratch(buffers):
    """Pointers into the buffers of one thread: sweeps, blocks, states, one tile of audio and of masks."""
    position, speed, turn, starts, bases, turns, state, y, mask = buffers
    sweeps = pointer(position, 0), pointer(speed, 0), pointer(turn, 0)
    blocks = pointer(starts, 0), pointer(bases, 0), pointer(turns, 0)
    return sweeps, blocks, pointer(state, 0), pointer(y, 0), pointer(mask, 0)


@helper(forceinline=True)
def _frame(array, b, j):
    """Pointer to frame j of [batch, frames, partials], or to the nearest one that exists."""
    n_frames, n_partials = array.shape[1:]
    return pointer(array, (b * n_frames + frame_of(j, n_frames)) * n_partials)


@helper(forceinline=True)
def _start_interval(controls, b, i, scratch):
    """Lay out interval i: its first and last sample, NaN or 0, and pointers to the frequencies at its ends."""
    frequencies, phases, _, _, envelope, timeline, _ = controls
    sweeps, _, state, _, _ = scratch
    n_partials = frequencies.shape[2]
    a, c = _frame(frequencies, b, timeline[2] + i), _frame(frequencies, b, timeline[2] + i + 1)
    phase = pointer(phases, (b * phases.shape[1] + i) * n_partials)
    lo, hi, not_finite = start_interval(a, c, phase, n_partials, i, timeline, envelope[1], sweeps, state)
    return lo, hi, not_finite, a, c


@helper(forceinline=True)
def _start_tile(controls, interval, i, start, scratch):
    """The tile from the interval's sample `start` on."""
    frequencies, _, _, _, _, timeline, (offsets, curve) = controls
    lo, _, _, a, c = interval
    sweeps, blocks, state, _, mask = scratch
    n_samples, n_intervals, _, _, nyquist = timeline
    n_partials = frequencies.shape[2]
    stride = padded(n_partials, lane_count(sweeps[0]))
    if start % BLOCK == 0:
        place_blocks(stride, sweeps, *blocks)
    crossing = a, c, ((lo + start) * n_intervals - i * n_samples) / n_samples, n_intervals / n_samples, nyquist
    pattern = pointer(offsets, 0), pointer(curve, 0)
    return n_partials, stride, start % BLOCK, pattern, blocks, state, crossing, mask


@helper(forceinline=True)
def _taps(controls, b, i, t, sample):
    """Amplitudes of the frames of taps t and t + 1 around interval i, and their weights from `sample` on."""
    _, _, amplitudes, weights, envelope, timeline, _ = controls
    j, width = timeline[2] + i + envelope[0] + t, weights.shape[1]
    at = sample % (width - lane_count(weights))
    frames = _frame(amplitudes, b, j), _frame(amplitudes, b, j + 1)
    return frames[0], frames[1], pointer(weights, t * width + at), pointer(weights, (t + 1) * width + at)


@kernel
def _bank_rows(controls, buffers, out, first, last):
    """Audio of the intervals first <= b * n_intervals + i < last. NaN where a frequency is not finite."""
    n_intervals, n_taps, lanes = controls[5][1], controls[3].shape[0], lane_count(out)
    scratch = _scratch(buffers)
    y = scratch[3]
    for row in range(first, last):
        b, i = row // n_intervals, row % n_intervals
        interval = _start_interval(controls, b, i, scratch)
        lo, hi, not_finite, _, _ = interval
        for start in range(0, hi - lo, lanes):
            tile = _start_tile(controls, interval, i, start, scratch)
            store(y, 0, splat(y, not_finite))
            for t in range(0, n_taps, 2):
                _bank_tile(tile, *_taps(controls, b, i, t, lo + start), y)
            if hi - lo - start >= lanes:
                store(out, b * out.shape[1] + lo + start, load(y, 0))
            else:
                for l in range(hi - lo - start):
                    out[b, lo + start + l] = y[l]


@helper
def _cotangents(g, n, start, y, powers):
    """Load n cotangents, zeros after them, and the powers of the samples' places in the interval."""
    for l in range(lane_count(y)):
        y[l] = g[l] if l < n else 0
        m = np.float64(start + l)
        powers[0][l] = m + 1
        powers[1][l] = m * (m + 1) * 0.5


def _tap_rows(sums, t):
    """Pointers to the rows of taps t and t + 1; None where not asked for."""


def _moment_rows(sums):
    """Pointers to the rows of the three moments; None where not asked for."""


@overload(_tap_rows, inline="always")
def _tap_rows_of(sums, t):
    if sums is types.none:
        return lambda sums, t: None
    return lambda sums, t: (_rows(sums, t), _rows(sums, t + 1))


@overload(_moment_rows, inline="always")
def _moment_rows_of(sums):
    if sums is types.none:
        return lambda sums: None
    return lambda sums: (_rows(sums, 0), _rows(sums, 1), _rows(sums, 2))


@helper(forceinline=True)
def _rows(sums, kind):
    """Pointer to the rows of one kind of products: one for each partial and, at last, a row of zeros."""
    rows, totals = sums
    return pointer(rows, kind * (totals.shape[1] + 1) * register_width(rows))


@helper
def _sum_rows(sums, go_on):
    """The totals of the rows: summed across lanes, on top of the totals before if they go on."""
    if sums is not None:
        _, totals = sums
        for kind in range(totals.shape[0]):
            rows, total = _rows(sums, kind), pointer(totals, kind * totals.shape[1])
            width = register_width(rows)
            for k in range(0, totals.shape[1], width):
                s = sum_rows(rows, k * width)
                store(total, k, s + load_register(total, k) if go_on else s)


@helper(forceinline=True)
def _sum_interval(controls, interval, g, powers, sines, moments, scratch, b, i):
    """Totals of interval i's products with sines and of its moments; `sines`, `moments`: rows and totals, or None."""
    lo, hi = interval[:2]
    y = scratch[3]
    lanes, zeros = lane_count(y), padded(controls[0].shape[2], register_width(y))
    for tiles, start in enumerate(range(0, hi - lo, lanes)):
        tile = _start_tile(controls, interval, i, start, scratch)
        n = hi - lo - start
        _cotangents(pointer(g, b * g.shape[1] + lo + start), n, start, y, powers)
        for t in range(0, controls[3].shape[0], 2):
            anew = tiles % TILES_PER_SUM == 0
            begin = anew, anew and t == 0, zeros  # all taps add to the same moments
            taps = _taps(controls, b, i, t, lo + start)
            _gradient_tile(tile, *taps, y, powers, begin, _tap_rows(sines, t), _moment_rows(moments))
        if (tiles + 1) % TILES_PER_SUM == 0 or n <= lanes:
            _sum_rows(sines, tiles >= TILES_PER_SUM)
            _sum_rows(moments, tiles >= TILES_PER_SUM)


@helper
def _hand_out(totals, kind, a, c, n_partials, keep, out):
    """out = keep * out + one kind's totals, NaN where a frequency is not finite."""
    total = pointer(totals, kind * totals.shape[1])
    for k in range(n_partials):
        out[k] = (out[k] if keep else 0) + total[k] + (a[k] * 0 + c[k] * 0)


@kernel
def _gradient_rows(controls, buffers, g, powers, sines, moments, d_amplitudes, d_phase, first, last):
    """Inner products for the frames first <= b * n_frames + j < last, and moments of the intervals that start there.

    d_amplitudes [batch, frames, partials], zeros, and d_phase [batch, intervals, 3, partials] are None with their sums
    where not asked for. A frame's owner visits every interval that touches it. Those on the border of two owners
    are visited twice (1 of 64): cheaper than handing sums over, and the order of additions stays.
    """
    n_frames, n_partials = controls[0].shape[1:]
    n_intervals, first_frame = controls[5][1:3]
    tap_offset, n_taps = controls[4][0], controls[3].shape[0]
    scratch, powers = _scratch(buffers), (pointer(powers[0], 0), pointer(powers[1], 0))
    for b in range(first // n_frames, -(-last // n_frames)):
        j_lo, j_hi = max(first - b * n_frames, 0), min(last - b * n_frames, n_frames)
        i_lo = 0 if j_lo == 0 else max(0, j_lo - first_frame - tap_offset - n_taps + 1)
        i_hi = n_intervals if j_hi == n_frames else min(n_intervals, j_hi - first_frame - tap_offset)
        for i in range(i_lo, i_hi):
            owns_moments = d_phase is not None and j_lo <= frame_of(first_frame + i, n_frames) < j_hi
            interval = _start_interval(controls, b, i, scratch)
            lo, hi, _, a, c = interval
            if lo == hi:
                if d_phase is not None and owns_moments:
                    d_phase[b, i] = 0
                continue
            _sum_interval(controls, interval, g, powers, sines, moments, scratch, b, i)
            if d_amplitudes is not None:
                for t in range(n_taps):
                    j = frame_of(first_frame + i + tap_offset + t, n_frames)
                    if j_lo <= j < j_hi:
                        _hand_out(sines[1], t, a, c, n_partials, True, _frame(d_amplitudes, b, j))
            if d_phase is not None and owns_moments:
                for kind in range(3):
                    out = pointer(d_phase, ((b * n_intervals + i) * 3 + kind) * n_partials)
                    _hand_out(moments[1], kind, a, c, n_partials, False, out)


class Bank:
    """The operations for one set of frequencies: what they share is prepared once.

    Args:
      frequencies: [batch, frames, partials] Hz, float32 or float64, contiguous like all arrays here.
      initial_phase: [batch, partials] radians, float64.
      timeline: samples, intervals and first frame.
      sample_rate: samples a second.
      nyquist: partials are silent from this frequency on, Hz; infinity for never.
      method: envelope resampling, one of fastddsp.kernels.phase.METHODS.
      quarter_turns: psi; 0 for sines, 1 for cosines.
      n_threads: at most so many threads.
    """

    def __init__(
        self, frequencies, initial_phase, timeline, sample_rate, nyquist, method, quarter_turns=0, n_threads=1
    ):
        dtype = frequencies.dtype
        self.frequencies = frequencies
        self.timeline = (
            timeline.n_samples,
            timeline.n_intervals,
            timeline.first_frame,
            float(sample_rate),
            float(nyquist),
        )
        self.lanes = lanes_of(from_dtype(dtype))
        self.weights = envelope_weights(method, timeline, dtype.char, self.lanes)
        self.envelope = (tap_offset(method), signed_quarter_turns(quarter_turns + 1))
        self.integer = np.dtype(f"int{8 * dtype.itemsize}")
        offsets = np.arange(-BLOCK // 2, BLOCK // 2, dtype=self.integer)
        self.pattern = (offsets, offsets * (offsets + 1) // 2)
        self.n_threads = n_threads
        batch, _, n_partials = frequencies.shape
        self.phases = np.empty((batch, timeline.n_intervals + 1, n_partials), np.int64)
        self.phases[:, 0] = from_radians(initial_phase).view(np.int64)
        self._run_columns(partial_phases, self.frequencies, *self.timeline[:4], self.phases)

    @property
    def final_phase(self) -> np.ndarray:
        """[batch, partials] radians in [0, 2 pi): the phases after the last sample, where the next block begins."""
        return to_radians(self.phases[:, -1].view(np.uint64))

    def render(self, amplitudes, out) -> None:
        """out [batch, samples] = the bank's audio for amplitudes [batch, frames, partials]."""

        def work(first: int, last: int) -> None:
            _bank_rows(self._controls(amplitudes), self._buffers(), out, first, last)

        self._run_rows(self.timeline[1], work)

    def gradient(self, g, amplitudes, final_cotangent, d_amplitudes=None, d_frequencies=None, d_initial=None) -> None:
        """The adjoint of `render`, applied to g [batch, samples].

        Args:
          g: cotangent of the audio.
          amplitudes: as for `render`.
          final_cotangent: [batch, partials] float64, cotangent of the final phases in radians.
          d_amplitudes: [batch, frames, partials] zeros, to write, or None.
          d_frequencies: [batch, frames, partials] to write, or None.
          d_initial: [batch, partials] float64 to write; goes with d_frequencies.
        """
        batch, n_frames, n_partials = self.frequencies.shape
        d_phase = None if d_frequencies is None else np.empty((batch, self.timeline[1], 3, n_partials), g.dtype)

        def work(first: int, last: int) -> None:
            powers = np.empty(self.lanes, g.dtype), np.empty(self.lanes, g.dtype)
            sines = None if d_amplitudes is None else self._sums(len(self.weights))
            moments = None if d_phase is None else self._sums(3)
            results = d_amplitudes, d_phase
            _gradient_rows(
                self._controls(amplitudes), self._buffers(), g, powers, sines, moments, *results, first, last
            )

        self._run_rows(n_frames, work)
        if d_frequencies is not None:
            self._run_columns(
                partial_phase_gradient, d_phase, final_cotangent, *self.timeline[:4], d_frequencies, d_initial
            )

    def _controls(self, amplitudes) -> tuple:
        return self.frequencies, self.phases, amplitudes, self.weights, self.envelope, self.timeline, self.pattern

    def _buffers(self) -> tuple:
        """What _scratch unpacks: of one thread."""
        n, real = self.frequencies.shape[2], self.frequencies.dtype
        stride = padded(n, lanes_of(types.int64))
        n_blocks = max(1, self.lanes // BLOCK)
        sweeps = (np.zeros(stride, np.int64) for _ in range(3))
        blocks = (np.empty(size, self.integer) for size in (n_blocks * stride, n_blocks * stride, stride))
        return *sweeps, *blocks, np.empty(n, np.int8), np.empty(self.lanes, real), np.empty(self.lanes, real)

    def _sums(self, n_kinds: int) -> tuple:
        """Rows and totals for n_kinds of products of every partial."""
        real = self.frequencies.dtype
        width = width_of(from_dtype(real))
        n = padded(self.frequencies.shape[2], width)
        return np.zeros(n_kinds * (n + 1) * width, real), np.zeros((n_kinds, n), real)

    def _run_rows(self, rows_per_item: int, work) -> None:
        """Call work(first, last) for all rows of the batch, in chunks of about WORK_PER_CHUNK partial-samples."""
        batch, _, n_partials = self.frequencies.shape
        n_rows = batch * rows_per_item
        n_chunks = batch * self.timeline[0] * n_partials // WORK_PER_CHUNK
        n_chunks = min(max(1, n_chunks), max(1, n_rows // ROWS_PER_CHUNK))
        borders = [n_rows * chunk // n_chunks for chunk in range(n_chunks + 1)]
        threads.run(lambda chunk: work(borders[chunk], borders[chunk + 1]), n_chunks, self.n_threads)

    def _run_columns(self, kernel, *args) -> None:
        """Call kernel(*args, b, k_lo, k_hi) for all partials of the batch."""
        batch, _, n_partials = self.frequencies.shape
        n_blocks = -(-n_partials // PARTIALS_PER_CHUNK)

        def work(chunk: int) -> None:
            b, block = divmod(chunk, n_blocks)
            lo = block * PARTIALS_PER_CHUNK
            kernel(*args, b, lo, min(lo + PARTIALS_PER_CHUNK, n_partials))

        threads.run(work, batch * n_blocks, self.n_threads)
