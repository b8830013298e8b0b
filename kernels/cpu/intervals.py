"""Intervals between frames: where they start, at what phase, how f0 sweeps over them, and what is audible.

What depends on an interval alone is worked out once a call, by `survey`, and lies in its row:

    PHASE, BASE, BEND        phase before its first sample, increment to it, increment of the increment: integers, see
                             fastddsp.kernels.phase
    THROUGHOUT, SOMEWHERE    how many harmonics are below Nyquist in all of it, and in some of it
    START                    its first sample

The row after the last one has the phase and the sample that follow. An interval takes four divisions and as many
roundings, each waiting for the one before: tiles that waited for them took 14 ns more; here, where those of many
intervals overlap, an interval takes 7.
"""

import numpy as np
from numba.core import types

from fastddsp.kernels.cpu.blocks import block_lanes, load_block, top_bits
from fastddsp.kernels.cpu.compile import helper, kernel
from fastddsp.kernels.cpu.phase import GRID_MASK, GRID_ROUND, enter_by_item, fixed_point, frame_of
from fastddsp.kernels.cpu.simd import borrowed, pointer, store
from fastddsp.kernels.cpu.team import enter_on_team, next_chunk
from fastddsp.kernels.phase import GRID_BITS

PHASE, BASE, BEND, THROUGHOUT, SOMEWHERE, START, FIELDS = range(7)
MOST_HARMONICS = 2.0**31
WIDTH = block_lanes(types.int64)  # shorter vectors would be stored in pieces, which a load of the tile waits for
STEPS = np.arange(WIDTH)
TRIANGLES = STEPS * (STEPS + 1) // 2


def survey(f0, initial_phase, n_samples, n_intervals, first_frame, sample_rate, nyquist, n_threads=1) -> tuple:
    """All intervals' rows, and the phase after the last sample.

    Args:
      f0: [items, frames] Hz.
      initial_phase: [items] radians, float64.
      n_samples: of the audio.
      n_intervals: that the samples are divided into.
      first_frame: where the first interval begins.
      sample_rate: samples a second.
      nyquist: in Hz, infinity for none.
      n_threads: at most so many threads.

    Returns:
      [items, n_intervals + 1, FIELDS] int64; [items] radians in [0, 2 pi), float64.
    """
    intervals = np.empty((len(f0), n_intervals + 1, FIELDS), np.int64)
    final_phase = np.empty(len(f0))
    timeline = n_samples, n_intervals, first_frame, float(sample_rate), float(nyquist)
    enter_by_item(_survey, (f0, initial_phase, timeline, intervals, final_phase), len(f0), n_intervals, n_threads)
    return intervals, final_phase


@kernel
def _survey(
    f0, initial_phase, timeline, intervals, final_phase,
    tickets, n_rows, n_chunks, n_threads, team,
):  # fmt: skip
    """See survey."""
    if enter_on_team(n_threads, team):
        return
    f0, initial_phase, intervals, final_phase = borrowed((f0, initial_phase, intervals, final_phase))
    n_samples, n_intervals, first_frame, sample_rate, nyquist = timeline
    n_frames, hop, rest = f0.shape[1], n_samples // n_intervals, n_samples % n_intervals
    b, last = next_chunk(tickets, n_rows, n_chunks)
    while b < last:
        item, phase, start, offset = pointer(f0, b * n_frames), _from_radians(initial_phase[b]), 0, 0
        c = np.float64(item[frame_of(first_frame, n_frames)])
        below_c = _count_below(c, nyquist)
        for i in range(n_intervals):
            a, below_a = c, below_c
            c = np.float64(item[frame_of(first_frame + i + 1, n_frames)])
            below_c = _count_below(c, nyquist)
            base, bend = _increments(a, c, offset, n_samples, n_intervals, sample_rate)
            row = interval_at(intervals, b, i)
            row[PHASE], row[BASE], row[BEND], row[START] = phase, base, bend, start
            row[THROUGHOUT], row[SOMEWHERE] = min(below_a, below_c), max(below_a, below_c)
            end, offset = start + hop, offset - rest
            if offset < 0:  # that sample comes before the frame
                end, offset = end + 1, offset + n_intervals
            count = end - start
            phase += count * base + ((count * (count - 1)) >> 1) * bend
            phase, start = (phase + GRID_ROUND) & GRID_MASK, end
        row = interval_at(intervals, b, n_intervals)
        row[PHASE], row[START] = phase, start
        final_phase[b] = _to_radians(phase)
        b, last = next_chunk(tickets, n_rows, n_chunks)


@helper
def _increments(a, c, offset, n_samples, n_intervals, sample_rate):
    """A and D in 64-bit fractions of a turn: f0 goes from a to c; offset: o of fastddsp.kernels.phase."""
    first = a + (c - a) * (offset / n_samples)
    bend = (c - a) / (n_samples / n_intervals * sample_rate)  # so rounded alike in a block and in the whole
    return fixed_point(first / sample_rate), fixed_point(bend)


@helper
def last_below(f, nyquist):
    """How many harmonics of f lie below Nyquist, as a float; no limit where f <= 0."""
    return np.ceil(nyquist / f) - 1 if f > 0 else np.inf


@helper
def _count_below(f, nyquist):
    """The same as an integer. f0 between two frames lies between theirs, and so does its count."""
    return np.int64(max(min(last_below(f, nyquist), MOST_HARMONICS), 0.0))


@helper(forceinline=True)
def interval_at(intervals, b, i):
    """Pointer to the row of item b's interval i."""
    return pointer(intervals, (b * intervals.shape[1] + i) * FIELDS)


@helper(forceinline=True)
def ends_of(f0, n_frames, frame):
    """f0 where an interval begins, at `frame`, and where it ends; f0: pointer to an item's."""
    return np.float64(f0[frame_of(frame, n_frames)]), np.float64(f0[frame_of(frame + 1, n_frames)])


@helper(forceinline=True)
def samples_of(row):
    """First sample of an interval, and of the next."""
    return row[START], row[FIELDS + START]


@helper(forceinline=True)
def audible_of(row, n_harmonics):
    """How many of n_harmonics are audible throughout an interval, and somewhere in it."""
    return min(row[THROUGHOUT], n_harmonics), min(row[SOMEWHERE], n_harmonics)


# fastddsp.kernels.phase's from_radians and to_radians, of one phase, as an int64: NumPy's calls take 5 us.


@helper
def _from_radians(radians):
    turns = radians / (2 * np.pi)
    if not np.isfinite(turns):
        return np.int64(0)
    return np.int64(np.rint((turns - np.floor(turns)) * 2.0**50)) << np.int64(GRID_BITS)


@helper
def _to_radians(phase):
    return np.float64((phase >> np.int64(GRID_BITS)) & np.int64(2**50 - 1)) * 2.0**-50 * (2 * np.pi)


@helper
def fill_phases(row, start, count, phases):
    """Phases of `count` samples, an interval's from `start` on, rounded to as many bits as the integers of `phases`.

    row: the interval's. Sample start + l has e + l b + l (l + 1) / 2 d, with e the phase at `start`, b the increment
    there and d its own. One block of 64-bit lanes after the other follows by sums: second differences are constant. The
    last block is written whole.
    """
    base, bend = row[BASE], row[BEND]
    b = base + start * bend
    e = row[PHASE] + (start + 1) * base + ((start * (start + 1)) >> 1) * bend
    steps = load_block(STEPS, 0)
    exact = steps * b + load_block(TRIANGLES, 0) * bend + e
    rise = steps * (WIDTH * bend) + (WIDTH * b + (WIDTH * (WIDTH + 1) // 2) * bend)
    for l in range(0, count, WIDTH):
        store(phases, l, top_bits(exact, phases))
        exact = exact + rise
        rise = rise + (WIDTH * WIDTH) * bend


@helper
def sweep_of_tile(ends, i, sample, timeline):
    """What `crossing` needs of the tile from `sample` on in interval i: f0's course over it, and Nyquist.

    And what it needs to say where that is: lane `scale` / h - `shift`, with one division for each harmonic.
    """
    n_samples, n_intervals, _, _, nyquist = timeline
    a, rise = ends[0], ends[1] - ends[0]
    fraction, step = (sample * n_intervals - i * n_samples) / n_samples, n_intervals / n_samples
    by_lane = 1 / (rise * step)
    return a, rise, fraction, step, nyquist, nyquist * by_lane, (a + rise * fraction) * by_lane


@helper
def _is_audible(h, sweep, l):
    a, rise, fraction, step, nyquist, _, _ = sweep
    return h * (a + rise * (fraction + l * step)) < nyquist


@helper
def crossing(h, sweep, lanes):
    """Where in a tile harmonic h is below Nyquist: at the lanes l with slope * l + offset >= 0.

    f0 rises or falls throughout an interval, so these are the first lanes or the last ones: where they end is
    estimated, then settled by looking at the lanes around.
    """
    rise, scale, shift = sweep[1], sweep[5], sweep[6]
    estimate = scale / h - shift
    before = np.int64(np.ceil(min(max(estimate, 0.0), np.float64(lanes)))) if np.isfinite(estimate) else np.int64(0)
    is_rising = rise > 0
    while before > 0 and _is_audible(h, sweep, before - 1) != is_rising:
        before -= 1
    while before < lanes and _is_audible(h, sweep, before) == is_rising:
        before += 1
    return (-1.0, before - 1.0) if is_rising else (1.0, -np.float64(before))
