"""Wavetables on the CPU: reading them, writing into them, and the gradients of all that is read from.

    y(n) = a(n) T(n, phi(n))        T(n, phi) = sum_j r_j(n) (p W[j, c] + q W[j, c + 1])

c, p, q: cell and weights of phi in a table (fastddsp.kernels.cpu.lookup); r_j: linear weights of the frames around n;
a: amplitudes blended by overlapping Hann windows, or 1. phi is given, or summed up exactly from f0. With the cotangent
g(n) of y(n), the adjoint is

    dL/dW[j, c] += g a r_j p,   dL/dW[j, c + 1] += g a r_j q,   dL/da(n) = g T,   dL/dphi(n) = g a T'

The loop. Four numbers are gathered a sample, whatever the size of the table, and nothing of size samples x points
exists. Tiles of samples end where frames of tables do, so that a tile knows its two tables. f0, amplitudes and tables
have frames of their own number.

Writing into tables is a scatter, without atomics: chunks of samples own the frames that no other chunk reaches; the two
frames at a chunk's edges are added up afterwards, in the chunks' order. Chunks depend on sizes alone.

Cost a sample: 4 loads from tables forward; backward 4 loads, for T and T' alike, and 4 loads and stores into tables.
"""

from functools import lru_cache

import numpy as np

from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.intervals import interval_at, survey
from fastddsp.kernels.cpu.lookup import TILE, place_exact, place_given, start_exact, workspace
from fastddsp.kernels.cpu.phase import frame_of, interval_start, phase_gradient
from fastddsp.kernels.cpu.simd import pointer
from fastddsp.kernels.phase import Timeline, envelope_weights

SAMPLES_PER_CHUNK = 2**14  # 50 us: long beside the 5 us of a call


# ------------------------------------------------------------------------------------------------- one tile of samples


@helper(fastmath={"contract"})
def _gather(tables, frames, n_points, size, cells, rising, here, there):
    """here, there = points cell and cell + 1, blended between two tables; points from n_points on are the first one.

    frames: offsets of the two into tables, which is an array; cells, rising, here and there are pointers.
    """
    now, later = pointer(tables, frames[0]), pointer(tables, frames[1])
    for l in range(size):
        c = cells[l] if cells[l] < n_points else 0
        d = c + 1 if c + 1 < n_points else 0
        here[l] = now[c] + rising[l] * (later[c] - now[c])
        there[l] = now[d] + rising[l] * (later[d] - now[d])


@helper(fastmath={"contract"})
def _combine(here, there, low, high, factor, size, out):
    """out = (low here + high there) factor."""
    for l in range(size):
        out[l] = (low[l] * here[l] + high[l] * there[l]) * factor[l]


@helper(fastmath={"contract"})
def _scatter(now, later, n_points, size, cells, rising, low, high, x):
    """The adjoint of _gather, applied to low x and high x: into two tables, or twice into one."""
    for l in range(size):
        c = cells[l] if cells[l] < n_points else 0
        d = c + 1 if c + 1 < n_points else 0
        first, second = low[l] * x[l], high[l] * x[l]
        to_first, to_second = rising[l] * first, rising[l] * second
        now[c] += first - to_first
        now[d] += second - to_second
        later[c] += to_first
        later[d] += to_second


@helper(forceinline=True)
def _start(clock, reading, reads):
    """What _place leaves as it is from tile to tile."""
    if clock is not None:
        start_exact(*reading, reads)


@helper(forceinline=True)
def _place(phase, clock, reading, b, n, size, phases, cells, reads):
    """Places of a tile; phase, or else clock, is None."""
    order, n_points, unit = reading
    if phase is not None:
        place_given(pointer(phase, b * phase.shape[1] + n), order, n_points, unit, size, cells, reads)
    if clock is not None:
        f0, intervals, n_samples = clock
        n_frames = f0.shape[1]
        item = pointer(f0, b * n_frames), interval_at(intervals, b, 0), n_frames, n_samples
        place_exact(item, order, n_points, n, size, phases, cells, reads)


@helper(forceinline=True)
def _envelope(amplitudes, windows, b, n_samples, n, size, out):
    """out = the amplitudes' frames, blended, at the samples n to n + size; 1 without amplitudes."""
    if amplitudes is None:
        for l in range(size):
            out[l] = 1.0
    else:
        n_frames = amplitudes.shape[1]
        frames = pointer(amplitudes, b * n_frames)
        _blend_frames(frames, n_frames, pointer(windows, 0), windows.size, n_samples, n, size, out)


@helper(fastmath={"contract"})
def _blend_frames(frames, n_frames, windows, period, n_samples, n, size, out):
    i, at = n * n_frames // n_samples, 0
    while at < size:
        end = min(interval_start(i + 1, n_samples, n_frames) - n, size)
        a = frames[i]
        step = frames[frame_of(i + 1, n_frames)] - a
        rising, target = pointer(windows, (n + at) % period), pointer(out, at)
        for l in range(end - at):
            target[l] = a + step * rising[l]
        i, at = i + 1, end


# ------------------------------------------------------------------------------------------- chunks of table intervals

# A chunk is (first sample, end, first interval, end): it reads frames from that of its first interval to the one after
# its last. A tile's frames are offsets into the flattened tables.


@lru_cache(maxsize=64)
def chunks_of(n_samples: int, n_frames: int, longest: int) -> np.ndarray:
    """[n_chunks, 4]: some `longest` samples each: whole intervals, or pieces of one. Do not write to it."""
    group = longest * n_frames // n_samples
    if group > 0:
        intervals = np.append(np.arange(0, n_frames, group), n_frames)
        samples = -(-intervals * n_samples // n_frames)
        return np.stack([samples[:-1], samples[1:], intervals[:-1], intervals[1:]], 1)
    starts = [-(-i * n_samples // n_frames) for i in range(n_frames + 1)]
    pieces = [
        (n, min(n + longest, starts[i + 1]), i, i + 1)
        for i in range(n_frames)
        for n in range(starts[i], starts[i + 1], longest)
    ]
    return np.array(pieces, np.int64)


@kernel
def _render(phase, clock, tables, rising, amplitudes, windows, reading, b, chunk, work, out):
    """out[b] of a chunk. phase or clock is None; so are amplitudes that are 1."""
    phases, c, rows = pointer(work[0], 0), pointer(work[1], 0), pointer(work[2], 0)
    n_frames, n_points = tables.shape[1:]
    n_samples, n, end = out.shape[1], chunk[0], chunk[1]
    low, high, a = rows, pointer(rows, TILE), pointer(rows, 6 * TILE)
    here, there = pointer(rows, 4 * TILE), pointer(rows, 5 * TILE)
    _start(clock, reading, rows)
    for i in range(chunk[2], chunk[3]):
        stop = min(interval_start(i + 1, n_samples, n_frames), end)
        frames = (b * n_frames + i) * n_points, (b * n_frames + frame_of(i + 1, n_frames)) * n_points
        while n < stop:
            size = min(stop - n, TILE)
            _place(phase, clock, reading, b, n, size, phases, c, rows)
            _gather(tables, frames, n_points, size, c, pointer(rising, n % rising.size), here, there)
            _envelope(amplitudes, windows, b, n_samples, n, size, a)
            _combine(here, there, low, high, a, size, pointer(out, b * n_samples + n))
            n += size


@kernel
def _pull_back(
    g, phase, clock, tables, rising, amplitudes, windows, reading, b, chunk, work,
    d_phase, d_amplitudes, d_tables, edges,
):  # fmt: skip
    """Adjoint of _render for a chunk: what it needs of d_phase and d_amplitudes, for every sample, and of d_tables.

    d_phase, d_amplitudes [batch, samples], and the pair of d_tables and edges are None where not asked for. edges
    [2, n_points]: for the chunk's first frame and for its last, which other chunks may reach too.
    """
    phases, c, rows = pointer(work[0], 0), pointer(work[1], 0), pointer(work[2], 0)
    n_frames, n_points = tables.shape[1:]
    n_samples, n, end = g.shape[1], chunk[0], chunk[1]
    first, last = chunk[2], frame_of(chunk[3], n_frames)
    low, high, ga = rows, pointer(rows, TILE), pointer(rows, 6 * TILE)
    here, there = pointer(rows, 4 * TILE), pointer(rows, 5 * TILE)
    if edges is not None:
        edges[:] = 0
    _start(clock, reading, rows)
    for i in range(chunk[2], chunk[3]):
        stop, later = min(interval_start(i + 1, n_samples, n_frames), end), frame_of(i + 1, n_frames)
        frames = (b * n_frames + i) * n_points, (b * n_frames + later) * n_points
        if d_tables is not None and first < later < last:
            d_tables[b, later] = 0
        while n < stop:
            size = min(stop - n, TILE)
            _place(phase, clock, reading, b, n, size, phases, c, rows)
            at, blend = b * n_samples + n, pointer(rising, n % rising.size)
            _envelope(amplitudes, windows, b, n_samples, n, size, ga)
            for l in range(size):
                ga[l] *= g[b, n + l]
            if d_phase is not None or d_amplitudes is not None:
                _gather(tables, frames, n_points, size, c, blend, here, there)
            if d_amplitudes is not None:
                _combine(here, there, low, high, pointer(g, at), size, pointer(d_amplitudes, at))
            if d_phase is not None:
                slopes = pointer(rows, 2 * TILE), pointer(rows, 3 * TILE)
                _combine(here, there, *slopes, ga, size, pointer(d_phase, at))
            if d_tables is not None:
                now = _target(d_tables, edges, b, i, first, last)
                then = _target(d_tables, edges, b, later, first, last)
                _scatter(now, then, n_points, size, c, blend, low, high, ga)
            n += size


@helper
def _target(d_tables, edges, b, frame, first, last):
    """Where a frame's gradient adds up."""
    n_frames, n_points = d_tables.shape[1:]
    if frame == first:
        return pointer(edges, 0)
    if frame == last:
        return pointer(edges, n_points)
    return pointer(d_tables, (b * n_frames + frame) * n_points)


@kernel
def _add_edges(edges, chunks, d_tables):
    """d_tables at the chunks' edges: the sums of what every chunk has for them, in the chunks' order."""
    n_frames = d_tables.shape[1]
    for b in range(edges.shape[0]):
        for k in range(chunks.shape[0]):
            d_tables[b, chunks[k, 2]] = 0
            d_tables[b, frame_of(chunks[k, 3], n_frames)] = 0
        for k in range(chunks.shape[0]):
            d_tables[b, chunks[k, 2]] += edges[b, k, 0]
            d_tables[b, frame_of(chunks[k, 3], n_frames)] += edges[b, k, 1]


# ------------------------------------------------------------------------------------------- samples to frames of f0, a


# reassoc: the sums run in vector lanes; contract: multiply-adds. Both keep float64's 1e-16, far below float32's needs.
@helper(fastmath={"reassoc", "contract", "nsz"})
def _moments(v, count):
    """Sums over m < count of v, m v and m (m - 1) / 2 v, v from a pointer on: the phase is that before the sample."""
    s = x = q = 0.0
    for l in range(count):
        m, value = np.float64(l), np.float64(v[l])
        s += value
        x += m * value
        q += m * (m - 1.0) * 0.5 * value
    return s, x, q


@kernel
def _interval_moments(v, b, moments):
    """moments[b, i] of the cotangents v[b] of the phases, for every interval i."""
    n_samples, n_intervals = v.shape[1], moments.shape[1]
    for i in range(n_intervals):
        start, end = interval_start(i, n_samples, n_intervals), interval_start(i + 1, n_samples, n_intervals)
        moments[b, i, 0], moments[b, i, 1], moments[b, i, 2] = _moments(pointer(v, b * n_samples + start), end - start)


@helper(fastmath={"reassoc", "contract", "nsz"})
def _blended_sums(v, rising, count):
    """Sums of (1 - rising) v and of rising v, both from pointers on."""
    total = later = 0.0
    for l in range(count):
        value = np.float64(v[l])
        total += value
        later += rising[l] * value
    return total - later, later


@kernel
def _envelope_adjoint(v, windows, b, out):
    """out[b] = the adjoint of _envelope applied to v[b]."""
    n_samples, n_frames = v.shape[1], out.shape[1]
    sums = np.zeros(n_frames)
    for i in range(n_frames):
        start, end = interval_start(i, n_samples, n_frames), interval_start(i + 1, n_samples, n_frames)
        weights = pointer(windows, start % windows.size)
        here, there = _blended_sums(pointer(v, b * n_samples + start), weights, end - start)
        sums[i] += here
        sums[frame_of(i + 1, n_frames)] += there
    for i in range(n_frames):
        out[b, i] = sums[i]


class Lookup:
    """Readings of wavetables at given phases.

    Args:
      phase: [batch, samples] turns, float32 or float64, contiguous like all arrays here; at least one sample.
      wavetables: [batch, frames, points], blended linearly between frames.
      order: 0 for the tables themselves, 1 for their derivative in the phase.
      n_threads: at most so many threads.
    """

    def __init__(self, phase, wavetables, order=0, n_threads=1):
        self._prepare(phase, None, wavetables, phase.shape, (order, wavetables.shape[2], 1.0), n_threads)

    def _prepare(self, phase, clock, wavetables, shape, reading, n_threads) -> None:
        self.phase, self.clock, self.wavetables, self.reading = phase, clock, wavetables, reading
        self.shape, self.n_threads = shape, n_threads
        self.chunks = chunks_of(shape[1], wavetables.shape[1], SAMPLES_PER_CHUNK)
        self.rising = self._weights("linear", wavetables.shape[1])

    def render(self, out) -> None:
        """out [batch, samples] = the readings."""
        self._render(None, None, out)

    def gradients(self, g, d_phase=None, d_wavetables=None) -> None:
        """The adjoint of `render` applied to g [batch, samples]; results to write, or None."""
        self._pull_back(g, None, None, d_phase, None, d_wavetables)

    def _render(self, amplitudes, windows, out) -> None:
        source = self.phase, self.clock, self.wavetables, self.rising, amplitudes, windows, self.reading

        def work(b: int, k: int) -> None:
            _render(*source, b, self.chunks[k], workspace(self.wavetables.dtype), out)

        self._run(work)

    def _pull_back(self, g, amplitudes, windows, d_phase, d_amplitudes, d_wavetables) -> None:
        source = self.phase, self.clock, self.wavetables, self.rising, amplitudes, windows, self.reading
        edges = None
        if d_wavetables is not None:
            edges = np.empty((g.shape[0], len(self.chunks), 2, self.wavetables.shape[2]), g.dtype)

        def work(b: int, k: int) -> None:
            own = None if edges is None else edges[b, k]
            room = workspace(self.wavetables.dtype)
            _pull_back(g, *source, b, self.chunks[k], room, d_phase, d_amplitudes, d_wavetables, own)

        self._run(work)
        if edges is not None:
            _add_edges(edges, self.chunks, d_wavetables)

    def _run(self, work) -> None:
        """Call work(b, k) for every chunk k of every batch item b."""
        n_chunks = len(self.chunks)
        threads.run(lambda place: work(*divmod(place, n_chunks)), self.shape[0] * n_chunks, self.n_threads)

    def _weights(self, method: str, n_frames: int) -> np.ndarray:
        """Weight of the later of two frames, for one period of samples."""
        return envelope_weights(method, Timeline(self.shape[1], n_frames), self.wavetables.dtype.char)[1]


class Oscillator(Lookup):
    """A wavetable synthesizer for one f0.

    Args:
      f0: [batch, frames] Hz.
      wavetables: [batch, frames of their own, points].
      initial_phase: [batch] radians, float64.
      n_samples: at least 1.
      sample_rate: samples a second.
      order: 0 for the tables themselves, 1 for their derivative in the phase in radians.
      n_threads: at most so many threads.
    """

    def __init__(self, f0, wavetables, initial_phase, n_samples, sample_rate, order=0, n_threads=1):
        batch, n_frames = f0.shape
        self.sample_rate = float(sample_rate)
        timeline = n_samples, n_frames, 0, self.sample_rate, np.inf
        intervals, self.final_phase = survey(f0, initial_phase, *timeline, n_threads)
        clock = f0, intervals, n_samples
        reading = order, wavetables.shape[2], 1 / (2 * np.pi)
        self._prepare(None, clock, wavetables, (batch, n_samples), reading, n_threads)

    def play(self, amplitudes, out) -> None:
        """out [batch, samples] = the audio for amplitudes [batch, frames of their own]."""
        self._render(amplitudes, self._windows(amplitudes), out)

    def pull_back(self, g, amplitudes, final, d_f0=None, d_amplitudes=None, d_wavetables=None, d_initial=None) -> None:
        """The adjoint of `play` applied to g [batch, samples] and to final [batch], the final phase's cotangent.

        Results to write, or None; d_initial [batch] comes with d_f0.
        """
        windows = self._windows(amplitudes)
        d_phase = None if d_f0 is None else np.empty_like(g)
        products = None if d_amplitudes is None else np.empty_like(g)
        self._pull_back(g, amplitudes, windows, d_phase, products, d_wavetables)
        if d_f0 is not None:
            moments = np.empty((*d_f0.shape, 3))
            threads.run(lambda b: _interval_moments(d_phase, b, moments), len(g), self.n_threads)
            phase_gradient(
                moments, final, g.shape[1], d_f0.shape[1], 0, self.sample_rate, d_f0, d_initial, self.n_threads
            )
        if d_amplitudes is not None:
            threads.run(lambda b: _envelope_adjoint(products, windows, b, d_amplitudes), len(g), self.n_threads)

    def _windows(self, amplitudes) -> np.ndarray:
        return self._weights("window", amplitudes.shape[1])
