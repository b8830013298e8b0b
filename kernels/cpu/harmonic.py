"""Harmonic bank on the CPU: a sum of harmonics of one fundamental, its analysis, and the moments of its phase.

    bank      y(n)    = sum_h a_h(n) sin(h theta(n) + psi),   a_h(n) = m_h(n) sum_t w_t(n) A[frame_t, h]
    analysis  L[j, h] = sum_n g(n) m_h(n) w_j(n) sin(h theta(n) + psi)
    moments   of v(n) = g(n) dy/dtheta(n) = g(n) sum_h h a_h(n) cos(h theta(n) + psi)

theta: the fundamental's phase in radians (fastddsp.kernels.phase); psi: 0 to 3 quarter turns, so sine and cosine banks
are one function; m_h(n): 1 where h f(n) < nyquist, else 0; w_t: envelope weights of the frames around n.
Analysis is the adjoint of the bank in A; the moments are what fastddsp.kernels.cpu.phase needs for the adjoint in f0.

Items are the voices of a batch: f0, amplitudes and phases are an item's, audio and g those of all its voices. The loop
over an interval adds one voice after the other to the audio, always in their order, and the gradients of every voice
read the same g: nothing of size samples x voices exists. (In the kernels b is an item; a batch without voices has one
each.)

Here are the loops over intervals and frames; what is done with a tile of samples, a vector, is harmonic_tiles'.
Harmonics above Nyquist for a whole interval are not computed. Those that cross it inside are few: each is computed from
its own exact phase and masked, which keeps masks out of the fast loops.

Cost, in vector instructions per harmonic and register of samples: a multiply-add for each of the two frames that an
interval blends, forward, for the analysis and for the moments. The analysis' products grow as one register of partial
sums for each harmonic and frame ("rows") and are summed across lanes once a frame, when it is complete.

Arrays belong to the row loops; what they call takes pointers (see simd.pointer) or is inlined.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import from_dtype, njit

from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.harmonic_tiles import (
    STATE_TILES,
    TABLE_TILES,
    bank_crossing,
    bank_tile,
    collect,
    fill_table,
    gradient_crossing,
    gradient_tile,
    plan,
    rows_of,
    stage,
    staged_size,
)
from fastddsp.kernels.cpu.intervals import (
    audible_of,
    ends_of,
    fill_phases,
    interval_at,
    samples_of,
    survey,
    sweep_of_tile,
)
from fastddsp.kernels.cpu.phase import frame_of, phase_gradient, tile_moments
from fastddsp.kernels.cpu.simd import (
    TILE_REGISTERS,
    borrowed,
    cache_line,
    integers,
    keep,
    lane_count,
    lanes_of,
    load,
    pointer,
    register_width,
    splat,
    store,
)
from fastddsp.kernels.cpu.team import enter_on_team, next_chunk
from fastddsp.kernels.phase import envelope_weights, tap_offset

WORK_PER_CHUNK = 2**21  # harmonic-samples, 0.1 ms
ROWS_PER_CHUNK = 64  # frames at least: an owner of frames visits one interval more than it owns


def tile_lanes(dtype) -> int:
    """Samples in a tile of `dtype`; envelope weights are padded by as many."""
    return lanes_of(from_dtype(np.dtype(dtype)))


# A thread's scratch is an array of its own; what lies where in it is said here alone. It begins at a cache line: a
# vector that straddles two of them costs two loads.


@helper
def room_for(numbers, like):
    """Zeros, and a cache line more; whoever takes pointers into them must `keep` them until the end."""
    return np.zeros(numbers + 64 // like.itemsize, like.dtype)


@helper
def bank_room(n_harmonics, n_taps, lanes):
    """Numbers that a bank needs room for: phases, y, table, state, staged amplitudes of n_taps frames."""
    return (2 + TABLE_TILES + STATE_TILES) * lanes + n_taps * staged_size(n_harmonics)


@helper
def gradient_room(n_harmonics, n_taps, lanes):
    """A bank's, a tile of g, a row of zeros, sums of rows, nobody's gradients, the ring's rows, what its slots hold."""
    rows = rows_of(n_harmonics)
    return bank_room(n_harmonics, n_taps, lanes) + 2 * lanes + 3 * rows + n_taps * (rows * lanes // TILE_REGISTERS + 1)


@helper(forceinline=True)
def pointers(room):
    """To phases of a tile, y, table, state, staged amplitudes."""
    start, lanes = cache_line(room, 0, room), lane_count(room)
    y = pointer(start, lanes)
    table = pointer(y, lanes)
    state = pointer(table, TABLE_TILES * lanes)
    return integers(start), y, table, state, pointer(state, STATE_TILES * lanes)


@helper(forceinline=True)
def gradient_pointers(room, n_harmonics, n_taps):
    """To a bank's buffers and a tile of g; the ring; a row of nobody's gradients.

    The ring: what frames' products have come to while the intervals that touch them go by. A slot a tap, tap t of
    interval i in slot (i + t) mod n_taps. It is (rows; filled, how many harmonics' products each slot holds, 0 if none;
    a row of zeros; sums and unfolded, room for `collect`; numbers in a slot's rows).
    """
    lanes, rows = lane_count(room), rows_of(n_harmonics)
    samples = pointer(cache_line(room, 0, room), bank_room(n_harmonics, n_taps, lanes))
    zeros = pointer(samples, lanes)
    sums = pointer(zeros, lanes)
    nobodys, slots, size = pointer(sums, 2 * rows), pointer(sums, 3 * rows), rows * register_width(room)
    filled = integers(pointer(slots, n_taps * size))
    return (*pointers(room), samples), (slots, filled, zeros, sums, pointer(sums, rows), size), nobodys


@helper(forceinline=True)
def amplitudes_of(amplitudes, b, frame):
    """Pointer to the amplitudes of item b's frame, or of the nearest one that exists."""
    n_frames, n_harmonics = amplitudes.shape[1:]
    return pointer(amplitudes, (b * n_frames + frame_of(frame, n_frames)) * n_harmonics)


@helper(forceinline=True)
def put(y, out, count, adds):
    """out[:count] = the tile y, or that and what is there if it adds."""
    if count >= lane_count(y):
        store(out, 0, load(y, 0) + load(out, 0) if adds else load(y, 0))
    else:
        for l in range(count):
            out[l] = y[l] + out[l] if adds else y[l]


@helper(forceinline=True)
def look_at(f0, row, b, i, n_frames, n_harmonics, timeline):
    """f0 at an interval's ends, audible harmonics, its first sample and the next interval's."""
    ends = ends_of(pointer(f0, b * n_frames), n_frames, timeline[2] + i)
    return ends, audible_of(row, n_harmonics), samples_of(row)


@njit(inline="always")
def bank_of_interval(f0, row, amplitudes, weights, tap_offset, timeline, psi, by_harmonic, b, i, buffers, out, adds):
    """row: interval i's (fastddsp.kernels.cpu.intervals); out: pointer to the first of its samples, see `put`.

    They are NaN where f0 is not finite.
    """
    phases, y, table, state, staged = buffers
    n_frames, n_harmonics = amplitudes.shape[1:]
    n_taps, width, lanes, size = weights.shape[0], weights.shape[1], lane_count(y), staged_size(n_harmonics)
    ends, audible, (lo, hi) = look_at(f0, row, b, i, n_frames, n_harmonics, timeline)
    frame, blocks = timeline[2] + i + tap_offset, plan(audible[0])
    for t in range(n_taps):
        stage(amplitudes_of(amplitudes, b, frame + t), audible[0], blocks, by_harmonic, pointer(staged, t * size))
    for sample in range(lo, hi, lanes):
        fill_phases(row, sample - lo, lanes, phases)
        fill_table(load(phases, 0), blocks[1], table)
        store(y, 0, splat(y, (ends[0] + ends[1]) * 0.0))
        at = sample % (width - lanes)
        for t in range(0, n_taps, 2):
            w0, w1 = pointer(weights, t * width + at), pointer(weights, (t + 1) * width + at)
            two = pointer(staged, t * size), pointer(staged, (t + 1) * size)
            bank_tile(phases, psi, blocks, table, state, two, w0, w1, y)
            if audible[0] < audible[1]:
                rows = amplitudes_of(amplitudes, b, frame + t), amplitudes_of(amplitudes, b, frame + t + 1)
                course = sweep_of_tile(ends, i, sample, timeline)
                bank_crossing(phases, psi, rows, by_harmonic, audible, course, w0, w1, y)
        put(y, pointer(out, sample - lo), hi - sample, adds)


@kernel
def _bank_rows(
    f0, intervals, amplitudes, weights, tap_offset, timeline, psi, out,
    tickets, n_rows, n_chunks, n_threads, team,
):  # fmt: skip
    """Audio of all intervals; those of out's rows, one after the other, are this kernel's rows."""
    if enter_on_team(n_threads, team):
        return
    f0, intervals, amplitudes, weights, out = borrowed((f0, intervals, amplitudes, weights, out))
    n_samples, n_intervals = timeline[:2]
    n_voices = f0.shape[0] // out.shape[0]
    room = room_for(bank_room(amplitudes.shape[2], weights.shape[0], lane_count(out)), out)
    buffers = pointers(room)
    first, last = next_chunk(tickets, n_rows, n_chunks)
    while first < last:
        for at in range(first, last):
            batch, i = at // n_intervals, at % n_intervals
            for voice in range(n_voices):
                b = batch * n_voices + voice
                row = interval_at(intervals, b, i)
                audio = pointer(out, batch * n_samples + samples_of(row)[0])
                bank_of_interval(
                    f0, row, amplitudes, weights, tap_offset, timeline, psi, False, b, i, buffers, audio, voice > 0
                )
        first, last = next_chunk(tickets, n_rows, n_chunks)
    keep(room)


@kernel
def _moment_rows(
    f0, intervals, amplitudes, weights, tap_offset, timeline, psi, g, moments,
    tickets, n_rows, n_chunks, n_threads, team,
):  # fmt: skip
    """Moments of g dy/dtheta in all intervals; those of all items are this kernel's rows."""
    if enter_on_team(n_threads, team):
        return
    f0, intervals, amplitudes, weights, g, moments = borrowed((f0, intervals, amplitudes, weights, g, moments))
    n_samples, n_intervals = timeline[:2]
    n_harmonics, n_taps, n_voices = amplitudes.shape[2], weights.shape[0], f0.shape[0] // g.shape[0]
    room, slopes = room_for(bank_room(n_harmonics, n_taps, lane_count(g)), g), room_for(-(-n_samples // n_intervals), g)
    buffers, slope = pointers(room), pointer(slopes, 0)
    first, last = next_chunk(tickets, n_rows, n_chunks)
    while first < last:
        for at in range(first, last):
            b, i = at // n_intervals, at % n_intervals
            row = interval_at(intervals, b, i)
            lo, hi = samples_of(row)
            bank_of_interval(f0, row, amplitudes, weights, tap_offset, timeline, psi, True, b, i, buffers, slope, False)
            moments[b, i, 0], moments[b, i, 1], moments[b, i, 2] = tile_moments(
                pointer(g, b // n_voices * n_samples + lo), slope, 0, hi - lo
            )
        first, last = next_chunk(tickets, n_rows, n_chunks)
    keep(room)
    keep(slopes)


@helper(forceinline=True)
def close_slot(ring, slot, out):
    """Add what a slot of the ring holds to a frame's gradients, and leave it empty."""
    rows, filled, _, sums, unfolded, size = ring
    if filled[slot] > 0:
        collect(pointer(rows, slot * size), plan(filled[slot]), filled[slot], sums, unfolded, out)
        filled[slot] = 0


@helper(forceinline=True)
def _open_slot(ring, slot):
    """Where gradient_tile reads the slot's rows, their step, and where it writes them: an empty slot reads zeros."""
    rows, filled, zeros, _, _, size = ring
    at = pointer(rows, slot * size)
    if filled[slot] == 0:
        return zeros, 0, at
    return at, register_width(rows), at


@helper(forceinline=True)
def gradients_of(out, b, frame, own, nobodys):
    """Pointer to the gradients of item b's frame, or the nearest; to nobody's where the caller does not own it."""
    n_frames, n_harmonics = out.shape[1:]
    j = frame_of(frame, n_frames)
    return pointer(out, (b * n_frames + j) * n_harmonics) if own[0] <= j < own[1] else nobodys


@njit(inline="always")
def gradient_of_interval(
    f0, row, asked, amplitudes, g, weights, tap_offset, timeline, psi, b, i, own, ring, buffers, out, nobodys
):  # fmt: skip
    """Products of g with interval i's harmonics, to the ring and to `out`; and the moments of g dy/dtheta.

    The rows of a slot must all be of one plan: where the number of audible harmonics changes, what was summed so far is
    added to the frame's gradients first. row: interval i's (fastddsp.kernels.cpu.intervals); asked: None where no
    moments are, a kernel's own argument, as Numba must know it before types; g: pointer to the row that is item b's.
    All is NaN where f0 is not finite.
    """
    phases, y, table, state, staged, samples = buffers
    _, n_frames, n_harmonics = out.shape
    n_taps, width, lanes, size = weights.shape[0], weights.shape[1], lane_count(y), staged_size(n_harmonics)
    ends, audible, (lo, hi) = look_at(f0, row, b, i, n_frames, n_harmonics, timeline)
    not_finite = (ends[0] + ends[1]) * 0.0
    frame, n, blocks, filled = timeline[2] + i + tap_offset, audible[0], plan(audible[0]), ring[1]
    for t in range(n_taps):
        if asked is not None:
            stage(amplitudes_of(amplitudes, b, frame + t), n, blocks, True, pointer(staged, t * size))
        slot = (i + t) % n_taps
        if filled[slot] != n:
            close_slot(ring, slot, gradients_of(out, b, frame + t, own, nobodys))
    moments = 0.0, 0.0, 0.0
    for sample in range(lo, hi, lanes):
        fill_phases(row, sample - lo, lanes, phases)
        fill_table(load(phases, 0), blocks[1], table)
        store(y, 0, splat(y, not_finite))
        count, at = min(lanes, hi - sample), sample % (width - lanes)
        if count == lanes:
            store(samples, 0, load(g, sample) + not_finite)
        else:
            store(samples, 0, splat(samples, 0.0))
            for l in range(count):
                samples[l] = g[sample + l] + not_finite
        for t in range(0, n_taps, 2):
            slot0, slot1 = (i + t) % n_taps, (i + t + 1) % n_taps
            w0, w1 = pointer(weights, t * width + at), pointer(weights, (t + 1) * width + at)
            slots = _open_slot(ring, slot0), _open_slot(ring, slot1)
            if asked is None:
                gradient_tile(phases, psi, blocks, table, state, samples, None, w0, w1, slots, y)
            else:
                two = pointer(staged, t * size), pointer(staged, (t + 1) * size)
                gradient_tile(phases, psi, blocks, table, state, samples, two, w0, w1, slots, y)
            filled[slot0] = filled[slot1] = n
            if audible[0] < audible[1]:
                course = sweep_of_tile(ends, i, sample, timeline)
                out0 = gradients_of(out, b, frame + t, own, nobodys)
                out1 = gradients_of(out, b, frame + t + 1, own, nobodys)
                if asked is None:
                    gradient_crossing(phases, psi, samples, None, audible, course, w0, w1, out0, out1, y)
                else:
                    rows = amplitudes_of(amplitudes, b, frame + t), amplitudes_of(amplitudes, b, frame + t + 1)
                    gradient_crossing(phases, psi, samples, rows, audible, course, w0, w1, out0, out1, y)
        if asked is not None:
            more = tile_moments(samples, y, sample - lo, count)
            moments = moments[0] + more[0], moments[1] + more[1], moments[2] + more[2]
    return moments


@njit(inline="always")
def _gradients_of_frames(
    f0, intervals, asked, amplitudes, g, weights, tap_offset, timeline, psi,
    b, own, ring, buffers, out, moments, nobodys,
):  # fmt: skip
    """See _gradient_rows: the frames own[0] <= j < own[1] of item b."""
    n_samples, n_intervals, first_frame = timeline[:3]
    n_frames, n_taps, n_voices = out.shape[1], weights.shape[0], f0.shape[0] // g.shape[0]
    out[b, own[0] : own[1]] = 0
    heard = pointer(g, b // n_voices * n_samples)
    i_lo = 0 if own[0] == 0 else max(0, own[0] - first_frame - tap_offset - n_taps + 1)
    i_hi = n_intervals if own[1] == n_frames else min(n_intervals, own[1] - first_frame - tap_offset)
    for t in range(n_taps):
        ring[1][t] = 0
    for i in range(i_lo, i_hi + n_taps - 1):
        frame = first_frame + i + tap_offset
        if i < i_hi:
            m = gradient_of_interval(
                f0, interval_at(intervals, b, i), asked, amplitudes, heard, weights, tap_offset, timeline, psi,
                b, i, own, ring, buffers, out, nobodys,
            )  # fmt: skip
            if asked is not None and own[0] <= frame_of(frame, n_frames) < own[1]:
                moments[b, i, 0], moments[b, i, 1], moments[b, i, 2] = m
        close_slot(ring, i % n_taps, gradients_of(out, b, frame, own, nobodys))


@kernel
def _gradient_rows(
    f0, intervals, asked, g, weights, tap_offset, timeline, psi, out, moments,
    tickets, n_rows, n_chunks, n_threads, team,
):  # fmt: skip
    """Gradients of the amplitudes of all frames, which are this kernel's rows, and moments of their intervals.

    A frame's owner visits every interval that touches it; those on the border of two owners are visited twice (1 of
    64): cheaper than handing rows over, and the order of additions stays. An interval's moments belong to the owner of
    the first frame that it touches. asked: the amplitudes, or None where no moments are asked for.
    """
    if enter_on_team(n_threads, team):
        return
    f0, intervals, amplitudes, g, weights, out, moments = borrowed((f0, intervals, asked, g, weights, out, moments))
    (n_frames, n_harmonics), n_taps = out.shape[1:], weights.shape[0]
    room = room_for(gradient_room(n_harmonics, n_taps, lane_count(out)), out)
    buffers, ring, nobodys = gradient_pointers(room, n_harmonics, n_taps)
    first, last = next_chunk(tickets, n_rows, n_chunks)
    while first < last:
        for b in range(first // n_frames, -(-last // n_frames)):
            frames = max(first - b * n_frames, 0), min(last - b * n_frames, n_frames)
            _gradients_of_frames(
                f0, intervals, asked, amplitudes, g, weights, tap_offset, timeline, psi,
                b, frames, ring, buffers, out, moments, nobodys,
            )  # fmt: skip
        first, last = next_chunk(tickets, n_rows, n_chunks)
    keep(room)


class _Task(NamedTuple):
    """A row loop on all its rows: fixed arguments, arrays it fills."""

    kernel: Callable
    fixed: tuple
    results: tuple
    n_rows: int
    work: int  # harmonic-samples


class Bank:
    """The three operations for one set of controls: what they share is prepared once.

    items = batch * voices, a batch's voices side by side; the number of voices follows from the length of the audio.

    Args:
      f0: [items, frames] Hz, float32 or float64, contiguous like all arrays here.
      initial_phase: [items] radians, float64.
      timeline: samples, intervals and first frame.
      sample_rate: samples a second.
      nyquist: harmonics from this frequency on are silent, Hz; infinity for none.
      method: envelope resampling, one of fastddsp.kernels.phase.METHODS.
      quarter_turns: psi; 0 for sines, 1 for cosines.
      n_threads: at most so many threads.

    Attributes:
      final_phase: [items] radians in [0, 2 pi): the phase after the last sample, where the next block begins.
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
        self.weights = envelope_weights(method, timeline, f0.dtype.char, self.lanes)
        self.tap_offset = tap_offset(method)
        self.quarter_turns = quarter_turns
        self.n_threads = n_threads
        self.intervals, self.final_phase = survey(f0, initial_phase, *self.timeline, n_threads)

    def render(self, amplitudes, out) -> None:
        """out [batch, samples] = the voices' sum for amplitudes [items, frames, harmonics]."""
        self._run(self._task(_bank_rows, amplitudes, self._psi(0), out))

    def analyse(self, g, out) -> None:
        """out [items, frames, harmonics] = the adjoint of `render` in the amplitudes, applied to g [batch, samples]."""
        self._run(self._gradient(g, None, out, np.empty((0, 0, 3))))

    def phase_gradient(self, g, amplitudes, final_cotangent, d_f0, d_initial) -> None:
        """d_f0 [items, frames], d_initial [items] = the adjoint of `render` in f0 and the initial phase.

        final_cotangent [items]: cotangent of the final phase, in radians.
        """
        moments = np.empty((self.f0.shape[0], self._n_intervals, 3))
        self._run(self._task(_moment_rows, amplitudes, self._psi(1), g, moments))
        phase_gradient(moments, final_cotangent, *self.timeline[:4], d_f0, d_initial, self.n_threads)

    def gradients(self, g, amplitudes, final_cotangent, d_amplitudes, d_f0, d_initial) -> None:
        """`analyse` and `phase_gradient` in one pass: they share phases, cosines and sines."""
        moments = np.empty((self.f0.shape[0], self._n_intervals, 3))
        self._run(self._gradient(g, amplitudes, d_amplitudes, moments))
        phase_gradient(moments, final_cotangent, *self.timeline[:4], d_f0, d_initial, self.n_threads)

    @property
    def _n_intervals(self) -> int:
        return self.timeline[1]

    def _gradient(self, g, amplitudes, out, moments) -> "_Task":
        fixed = (self.f0, self.intervals, amplitudes, g, self.weights, self.tap_offset, self.timeline, self._psi(0))
        work = self.timeline[0] * out.shape[2] * (1 if amplitudes is None else 2)
        n_items = self.f0.shape[0]
        return _Task(_gradient_rows, fixed, (out, moments), n_items * out.shape[1], n_items * work)

    def _task(self, kernel, amplitudes, psi, *results) -> "_Task":
        """`kernel` on all intervals of what it fills, the last of the results."""
        fixed = (self.f0, self.intervals, amplitudes, self.weights, self.tap_offset, self.timeline, psi)
        work = amplitudes.shape[0] * self.timeline[0] * amplitudes.shape[2]
        return _Task(kernel, fixed, results, len(results[-1]) * self._n_intervals, work)

    def _run(self, task: "_Task") -> None:
        """Run a task in chunks of about WORK_PER_CHUNK harmonic-samples, shared among the threads."""
        n_chunks = min(max(1, task.work // WORK_PER_CHUNK), max(1, task.n_rows // ROWS_PER_CHUNK))
        n_threads = min(self.n_threads, n_chunks)
        threads.enter(task.kernel, (*task.fixed, *task.results), task.n_rows, n_chunks, n_threads)

    def _psi(self, more_turns: int) -> tuple[int, float, float]:
        """psi and `more_turns` quarter turns: as a signed fixed-point phase, its sine and cosine."""
        quarter_turns = (self.quarter_turns + more_turns) % 4
        bits = 8 * self.f0.itemsize
        signed = quarter_turns - 4 if quarter_turns >= 2 else quarter_turns
        return signed * 2 ** (bits - 2), (0.0, 1.0, 0.0, -1.0)[quarter_turns], (1.0, 0.0, -1.0, 0.0)[quarter_turns]
