"""Harmonic bank by non-uniform FFT: the operations of fastddsp.kernels.cpu.harmonic at a cost that hardly grows with K.

    tables    S_j(phi) = sum_h A[j, h] sin(h 2 pi phi + psi)     one a frame: see fastddsp.kernels.nufft
    bank      y(n)   = sum_t w_t(n) S_frame_t(phi(n))            8 cells of each table, the same 8 weights
    analysis  G_j[m] = sum_n w_j(n) g(n) kernel(p(n) - m)        then L[j, h]: the table's transpose, applied to G_j
    moments   of g(n) times the bank of h A[j, h], a quarter turn on

A table cannot tell where its harmonics are silent. So:

- A frame's table holds the harmonics that stay below Nyquist when f0 rises by 1/32, or none if they are too few to pay
  (`least_harmonics`). That depends on this frame alone, so blocks of a longer run agree with it bit for bit.
- An interval whose f0 stays within that margin reads its frames' tables. The few harmonics beyond them, which may cross
  Nyquist, are computed directly, each from its exact phase, and masked sample by sample.
- All other intervals (f0 leaps, or is not finite) are the direct kernel's, whole.

The adjoint takes the same decisions, interval by interval. Float32 only: see fastddsp.kernels.nufft for the error.

Cost. A frame: the transform, 2.5 N log2 N operations (scipy's pocketfft: 2.8 us at K = 1000, N = 1800). Two samples, in
instructions on 16 lanes: 7 multiply-adds for weights, 3 for two frames, 6 to sum. Direct: 7 K / 16 multiply-adds.
"""

import math

import numpy as np

from fastddsp.kernels.cpu import tables, threads
from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.harmonic import (
    Bank,
    amplitudes_of,
    bank_of_interval,
    bank_room,
    close_slot,
    gradient_of_interval,
    gradient_pointers,
    gradient_room,
    gradients_of,
    look_at,
    pointers,
    put,
    room_for,
)
from fastddsp.kernels.cpu.harmonic_tiles import crossing_sine
from fastddsp.kernels.cpu.intervals import fill_phases, interval_at, last_below, sweep_of_tile
from fastddsp.kernels.cpu.phase import frame_of, interval_start, phase_gradient, tile_moments
from fastddsp.kernels.cpu.simd import (
    dot,
    fma,
    keep,
    lane_count,
    load,
    pointer,
    splat,
    store,
)
from fastddsp.kernels.cpu.sine import sin_turns
from fastddsp.kernels.cpu.tables import fold, interpolate, mirror, place, spread
from fastddsp.kernels.nufft import TAPS, kernel_polynomials, table_plan

MARGIN = 1 / 32
"""How far f0 may rise from a frame's before an interval cannot use its table: half a semitone."""
ROWS_PER_CHUNK = 58
"""Intervals, or frames in the analysis; up to six more frames touch them."""
TABLE_NS, CELL_NS, SAMPLE_NS, DIRECT_NS = 350, 3.4, 3.0, 0.036
"""Measured time of a table, a harmonic of a table, a sample; and of a harmonic and sample in the direct kernel."""
WORTH = 1.25
"""How much longer the direct kernel must take before tables are used: harmonics above them cost extra."""


def least_harmonics(n_harmonics: int, hop: int) -> int:
    """How many harmonics must be audible for a table of n_harmonics to pay, at `hop` samples a frame."""
    table = (TABLE_NS + CELL_NS * n_harmonics) / max(hop, 1)
    return math.ceil(WORTH * (table + SAMPLE_NS) / DIRECT_NS)


# ------------------------------------------------------------------------------------------------- what a table holds


@kernel
def _count(f0, nyquist, least, n_harmonics, held):
    """held[b, j]: harmonics in the table of item b's frame j; 0: it has none."""
    for b in range(held.shape[0]):
        for j in range(held.shape[1]):
            f = np.float64(f0[b, j])
            count = min(last_below(f * (1 + MARGIN), nyquist), np.float64(n_harmonics))
            held[b, j] = np.int64(count) if np.isfinite(f) and count >= least else 0


@helper
def _usable(held, first, i, n_frames, tap_offset, n_taps, first_frame, audible):
    """Whether interval i can take its frames' tables: they exist and hold nothing that is silent in it."""
    low, high = held[frame_of(first_frame + i + tap_offset, n_frames) - first], 0
    for t in range(n_taps):
        count = held[frame_of(first_frame + i + tap_offset + t, n_frames) - first]
        low, high = min(low, count), max(high, count)
    return low > 0 and high <= audible[0]


# ----------------------------------------------------------------------------------------- harmonics beyond the tables


@helper(forceinline=True)
def _sine_beyond(y, phase, psi, h, audible, sweep):
    """sin(h theta + psi), masked where harmonic h crosses Nyquist inside the interval."""
    if h > audible[0]:
        return crossing_sine(y, phase, psi, h, sweep)
    return sin_turns(phase * h + psi[0])


@helper
def _bank_beyond(phases, psi, rows, held, by_harmonic, audible, sweep, w0, w1, y):
    """y += the harmonics that tables do not hold; rows: two frames' amplitudes, held: what their tables hold."""
    phase, (row0, row1), (held0, held1) = load(phases, 0), rows, held
    y0, y1 = splat(y, 0.0), splat(y, 0.0)
    for h in range(min(held0, held1) + 1, audible[1] + 1):
        x = _sine_beyond(y, phase, psi, h, audible, sweep)
        factor = h if by_harmonic else 1
        if h > held0:
            y0 = fma(row0[h - 1] * factor, x, y0)
        if h > held1:
            y1 = fma(row1[h - 1] * factor, x, y1)
    store(y, 0, fma(load(w0, 0), y0, fma(load(w1, 0), y1, load(y, 0))))


@helper
def _products_beyond(phases, psi, g, held, audible, sweep, w0, w1, out0, out1):
    """Add the products of w0 g and w1 g with those harmonics to two frames' gradients."""
    phase, (held0, held1) = load(phases, 0), held
    g0, g1 = load(w0, 0) * load(g, 0), load(w1, 0) * load(g, 0)
    for h in range(min(held0, held1) + 1, audible[1] + 1):
        x = _sine_beyond(g, phase, psi, h, audible, sweep)
        if h > held0:
            out0[h - 1] += dot(g0, x)
        if h > held1:
            out1[h - 1] += dot(g1, x)


# ----------------------------------------------------------------------------- rows: what one call of a thread computes
#
# controls: (f0, intervals, weights, tap_offset, timeline, psi), the direct kernel's; tabled: (tables, harmonics that
# each holds, the first one's frame, kernel's polynomials, cells of a table, whether it is odd).


@helper(forceinline=True)
def _place_pointers(place_buffers):
    cells, x, signs, products = place_buffers
    return pointer(cells, 0), pointer(x, 0), pointer(signs, 0), pointer(products, 0)


@kernel
def _synthesis_rows(controls, amplitudes, by_harmonic, b, first, last, tabled, place_buffers, out, adds):
    """out: the samples of item b's intervals first..last, or what they are added to."""
    f0, intervals, weights, tap_offset, timeline, psi = controls
    cells, held, first_table, taps, n_cells, odd = tabled
    n_samples, n_intervals, first_frame = timeline[:3]
    n_frames, n_harmonics = amplitudes.shape[1:]
    (n_taps, width), stride = weights.shape, cells.shape[1]
    lanes = lane_count(out)
    room = room_for(bank_room(n_harmonics, n_taps, lanes), out)
    buffers, places, kernel = pointers(room), _place_pointers(place_buffers), pointer(taps, 0)
    q, y = buffers[:2]
    origin = interval_start(first, n_samples, n_intervals)
    mirror(cells, odd)
    for i in range(first, last):
        row = interval_at(intervals, b, i)
        ends, audible, (lo, hi) = look_at(f0, row, b, i, n_frames, n_harmonics, timeline)
        if not _usable(held, first_table, i, n_frames, tap_offset, n_taps, first_frame, audible):
            at = pointer(out, lo - origin)
            bank_of_interval(
                f0, row, amplitudes, weights, tap_offset, timeline, psi, by_harmonic, b, i, buffers, at, adds
            )
            continue
        for sample in range(lo, hi, lanes):
            fill_phases(row, sample - lo, lanes, q)
            place(q, n_cells, odd, lanes, places[0], places[1], places[2])
            store(y, 0, splat(y, 0.0))
            at = sample % (width - lanes)
            for t in range(0, n_taps, 2):
                j0 = frame_of(first_frame + i + tap_offset + t, n_frames)
                j1 = frame_of(first_frame + i + tap_offset + t + 1, n_frames)
                r0, r1 = j0 - first_table, j1 - first_table
                w0, w1 = pointer(weights, t * width + at), pointer(weights, (t + 1) * width + at)
                interpolate(places, kernel, pointer(cells, r0 * stride), pointer(cells, r1 * stride), w0, w1, y)
                if min(held[r0], held[r1]) < audible[1]:
                    rows = amplitudes_of(amplitudes, b, j0), amplitudes_of(amplitudes, b, j1)
                    course, two = sweep_of_tile(ends, i, sample, timeline), (held[r0], held[r1])
                    _bank_beyond(q, psi, rows, two, by_harmonic, audible, course, w0, w1, y)
            put(y, pointer(out, sample - origin), hi - sample, adds)
    keep(room)


@kernel
def _moments(g, audio, timeline, b, first, last, moments):
    """Moments of g audio in item b's intervals first..last; g: all its samples, audio: theirs."""
    n_samples, n_intervals = timeline[:2]
    origin = interval_start(first, n_samples, n_intervals)
    for i in range(first, last):
        lo, hi = interval_start(i, n_samples, n_intervals), interval_start(i + 1, n_samples, n_intervals)
        s, x, q = tile_moments(pointer(g, lo), pointer(audio, lo - origin), 0, hi - lo)
        moments[b, i, 0], moments[b, i, 1], moments[b, i, 2] = s, x, q


@kernel
def _analysis_rows(controls, g, b, first, last, tabled, place_buffers, own, out):
    """Spread item b's intervals first..last to their frames' tables.

    What tables cannot hold goes to `out`, for the frames own[0] <= j < own[1] only: others have owners of their own.
    g: the item's.
    """
    f0, intervals, weights, tap_offset, timeline, psi = controls
    cells, held, first_table, taps, n_cells, odd = tabled
    first_frame, n_frames = timeline[2], out.shape[1]
    (n_taps, width), stride = weights.shape, cells.shape[1]
    room = room_for(gradient_room(out.shape[2], n_taps, lane_count(out)), out)
    buffers, ring, nobodys = gradient_pointers(room, out.shape[2], n_taps)
    q, samples = buffers[0], buffers[5]
    kernel, places, lanes = pointer(taps, 0), _place_pointers(place_buffers), lane_count(samples)
    cells[:] = 0
    for i in range(first, last):
        row = interval_at(intervals, b, i)
        ends, audible, (lo, hi) = look_at(f0, row, b, i, n_frames, out.shape[2], timeline)
        frame = first_frame + i + tap_offset
        if not _usable(held, first_table, i, n_frames, tap_offset, n_taps, first_frame, audible):
            gradient_of_interval(
                f0, row, None, None, pointer(g, 0), weights, tap_offset, timeline, psi,
                b, i, own, ring, buffers, out, nobodys,
            )  # fmt: skip
            for t in range(n_taps):
                close_slot(ring, (i + t) % n_taps, gradients_of(out, b, frame + t, own, nobodys))
            continue
        for sample in range(lo, hi, lanes):
            fill_phases(row, sample - lo, lanes, q)
            place(q, n_cells, odd, lanes, places[0], places[1], places[2])
            n = min(lanes, hi - sample)
            for l in range(n):
                samples[l] = g[sample + l]
            for l in range(n, lanes):
                samples[l] = 0
            at = sample % (width - lanes)
            for t in range(0, n_taps, 2):
                j0, j1 = frame_of(frame + t, n_frames), frame_of(frame + t + 1, n_frames)
                r0, r1 = j0 - first_table, j1 - first_table
                w0, w1 = pointer(weights, t * width + at), pointer(weights, (t + 1) * width + at)
                table0, table1 = pointer(cells, r0 * stride), pointer(cells, r1 * stride)
                spread(places, kernel, samples, w0, w1, table0, table1)
                if min(held[r0], held[r1]) < audible[1]:
                    out0, out1 = gradients_of(out, b, j0, own, nobodys), gradients_of(out, b, j1, own, nobodys)
                    course, two = sweep_of_tile(ends, i, sample, timeline), (held[r0], held[r1])
                    _products_beyond(q, psi, samples, two, audible, course, w0, w1, out0, out1)
    fold(cells, odd)
    keep(room)


class NufftBank(Bank):
    """fastddsp.kernels.cpu.harmonic.Bank for many harmonics: the same operations on the same arguments, float32."""

    def render(self, amplitudes, out) -> None:
        """As Bank.render."""
        held = self._held(amplitudes.shape[2])
        if not held.any():
            return super().render(amplitudes, out)

        n_voices = len(held) // len(out)

        def render_chunk(row, first, last):
            audio = out[row, self._samples(first, last)]
            for voice in range(n_voices):
                b = row * n_voices + voice
                self._synthesize(amplitudes, held[b], self.quarter_turns, False, b, first, last, audio, voice > 0)

        self._for_chunks(render_chunk, len(out), self._n_intervals)

    def analyse(self, g, out) -> None:
        """As Bank.analyse."""
        held = self._held(out.shape[2])
        if not held.any():
            return super().analyse(g, out)
        n_voices = len(held) // len(g)

        def analyse_chunk(b, first, last):
            self._analyse_frames(g[b // n_voices], held[b], b, first, last, out)

        self._for_chunks(analyse_chunk, *out.shape[:2])

    def gradients(self, g, amplitudes, final_cotangent, d_amplitudes, d_f0, d_initial) -> None:
        """As Bank.gradients; where frames have tables, the two gradients have nothing to share."""
        if not self._held(amplitudes.shape[2]).any():
            return super().gradients(g, amplitudes, final_cotangent, d_amplitudes, d_f0, d_initial)
        self.analyse(g, d_amplitudes)
        self.phase_gradient(g, amplitudes, final_cotangent, d_f0, d_initial)

    def phase_gradient(self, g, amplitudes, final_cotangent, d_f0, d_initial) -> None:
        """As Bank.phase_gradient."""
        held = self._held(amplitudes.shape[2])
        if not held.any():
            return super().phase_gradient(g, amplitudes, final_cotangent, d_f0, d_initial)
        n_voices, moments = len(held) // len(g), np.empty((len(held), self._n_intervals, 3))

        def moments_of_chunk(b, first, last):
            samples = self._samples(first, last)
            audio = np.empty(samples.stop - samples.start, np.float32)
            self._synthesize(amplitudes, held[b], self.quarter_turns + 1, True, b, first, last, audio, False)
            _moments(g[b // n_voices], audio, self.timeline, b, first, last, moments)

        self._for_chunks(moments_of_chunk, *moments.shape[:2])
        phase_gradient(moments, final_cotangent, *self.timeline[:4], d_f0, d_initial)

    def _held(self, n_harmonics: int) -> np.ndarray:
        """[items, frames]: how many harmonics each frame's table holds."""
        held = np.empty(self.f0.shape, np.int64)
        least = least_harmonics(n_harmonics, -(-self.timeline[0] // self._n_intervals))
        _count(self.f0, self.timeline[4], least, n_harmonics, held)
        return held

    def _for_chunks(self, work, n_items: int, n_rows: int) -> None:
        """Call work(b, first, last) for all rows first..last of every item, ROWS_PER_CHUNK at a time."""
        starts = [(b, first) for b in range(n_items) for first in range(0, n_rows, ROWS_PER_CHUNK)]

        def work_on(chunk: int) -> None:
            b, first = starts[chunk]
            work(b, first, min(first + ROWS_PER_CHUNK, n_rows))

        threads.run(work_on, len(starts), self.n_threads)

    def _samples(self, first: int, last: int) -> slice:
        """Samples of the intervals first..last."""
        n_samples, n_intervals = self.timeline[:2]
        return slice(-(-first * n_samples // n_intervals), -(-last * n_samples // n_intervals))

    def _tabled(self, held, first: int, last: int, n_harmonics: int, quarter_turns: int):
        """Room for the tables of the intervals first..last, as kernels want it, and the harmonics' factors.

        No room where no frame has a table.
        """
        offset = self.timeline[2] + self.tap_offset
        first_table, last_table = np.clip((first + offset, last + offset + len(self.weights) - 2), 0, len(held) - 1)
        held = held[first_table : last_table + 1]
        n_cells, factors = table_plan(n_harmonics)
        cells = tables.empty_tables(held.size if held.any() else 0, n_cells)
        tabled = cells, held, int(first_table), kernel_polynomials(), n_cells, quarter_turns % 2 == 0
        return tabled, -factors if quarter_turns % 4 >= 2 else factors

    def _synthesize(self, amplitudes, held, quarter_turns, by_harmonic, b, first, last, out, adds) -> None:
        """out: the samples of item b's intervals first..last, or what they are added to."""
        n_harmonics = amplitudes.shape[2]
        tabled, factors = self._tabled(held, first, last, n_harmonics, quarter_turns)
        cells, held, first_table, _, _, odd = tabled
        if cells.size:
            tables.stage(amplitudes[b], first_table, held, factors, by_harmonic, tables.first_cell(odd), cells)
            tables.transform(cells, 3, odd)
        controls = self._controls(self._psi(quarter_turns - self.quarter_turns))
        _synthesis_rows(controls, amplitudes, by_harmonic, b, first, last, tabled, self._places(), out, adds)

    def _analyse_frames(self, g, held, b, own_first, own_last, out) -> None:
        """out: the analysis of g, item b's, at its frames own_first..own_last, from all intervals that touch them."""
        _, n_frames, n_harmonics = out.shape
        n_taps, offset = len(self.weights), self.timeline[2] + self.tap_offset
        first = 0 if own_first == 0 else max(0, own_first - offset - n_taps + 1)
        last = self._n_intervals if own_last == n_frames else min(self._n_intervals, own_last - offset)
        out[b, own_first:own_last] = 0
        if first >= last:
            return
        tabled, factors = self._tabled(held, first, last, n_harmonics, self.quarter_turns)
        cells, held, first_table, _, _, odd = tabled
        own = own_first, own_last
        controls = self._controls(self._psi(0))
        _analysis_rows(controls, g, b, first, last, tabled, self._places(), own, out)
        if cells.size:
            tables.transform(cells, 2, odd)
            low, high = max(own_first, first_table), min(own_last, first_table + held.size)
            owned = slice(low - first_table, high - first_table)
            tables.collect(cells[owned], low, held[owned], factors, tables.first_cell(odd), out[b])

    def _controls(self, psi):
        return self.f0, self.intervals, self.weights, self.tap_offset, self.timeline, psi

    def _places(self):
        """Buffers for a tile's cells, fractions, signs, and products with the tables."""
        real = (np.empty(size, np.float32) for size in (self.lanes, self.lanes, TAPS * self.lanes))
        return (np.empty(self.lanes, np.int64), *real)
