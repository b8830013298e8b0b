"""Wavetables on CUDA tensors: the classes of fastddsp.kernels.cpu.wavetable, as launches of wavetable.cu.

One launch forward. One backward, and a second one where that leaves sums to add up: for f0, for amplitudes, and for
tables that sound for more than PIECE samples. Over more than SEGMENT intervals of f0 (kernels/cuda/harmonic.py) one
goes before, which adds up the phase's advances. Nothing waits for the device.

Tensors are torch's, float32 or float64, contiguous; workspaces are `new_empty` of them, so they are torch's too.
"""

from typing import Any, NamedTuple

import numpy as np

from fastddsp.kernels.cuda import launch
from fastddsp.kernels.cuda.harmonic import segment_advances, segment_of, timeline_arguments
from fastddsp.kernels.cuda.launch import Queue
from fastddsp.kernels.phase import Timeline

FILE = "wavetable.cu"
SAMPLES = 1024  # of a block, forward
THREADS = 128
SCAN_THREADS = 256
TILE = 2048  # points whose gradient a warp adds up
PIECE = 1024
"""Samples that a warp goes through backward: 32 steps. What sounds longer is cut."""


class Share(NamedTuple):
    """Intervals between frames, shared among warps: each has `own`, or one of `pieces` of one."""

    own: int
    pieces: int

    def count(self, n_intervals: int) -> int:
        """Of warps."""
        return -(-n_intervals // self.own) * self.pieces


def share(n_samples: int, n_intervals: int) -> Share:
    """So that a warp has PIECE samples, or a few less."""
    longest = -(-n_samples // n_intervals)
    return Share(min(max(1, PIECE // longest), n_intervals), -(-longest // PIECE))


class Lookup:
    """Readings of wavetables at given phases.

    Args:
      phase: [batch, samples] turns.
      wavetables: [batch, frames, points], blended linearly between frames.
      order: 0 for the tables themselves, 1 for their derivative in the phase.
      queue: device and stream.
    """

    def __init__(self, phase: Any, wavetables: Any, order: int, queue: Queue):
        n_samples = phase.shape[1]
        timeline = timeline_arguments(Timeline(n_samples, 1), 1, 1, 1, 0)  # of no f0
        self._prepare((phase, None, None, None), timeline, wavetables, order, queue)

    def _prepare(self, place: tuple, timeline: tuple, wavetables: Any, order: int, queue: Queue) -> None:
        self.place, self.timeline, self.wavetables, self.order, self.queue = place, timeline, wavetables, order, queue
        self.batch, self.n_tables, self.n_points = wavetables.shape
        self.n_samples, self.n_f0 = int(timeline[0]), int(timeline[1])

    def render(self, out: Any) -> None:
        """Write out [batch, samples], the readings."""
        self._read(None, out, None)

    def gradients(self, g: Any, d_phase: Any = None, d_wavetables: Any = None) -> None:
        """The adjoint of `render` applied to g [batch, samples]; results to write, or None."""
        self._gradients(g, None, d_phase=d_phase, d_wavetables=d_wavetables)

    def _read(self, amplitudes: Any, out: Any, final_phase: Any) -> None:
        tensors = *self.place, self.wavetables, amplitudes, out, final_phase
        n_blocks = self.batch * -(-self.n_samples // SAMPLES)
        self._launch("wavetable_read", n_blocks, THREADS, (*tensors, *self._item(amplitudes)))

    def _gradients(
        self, g: Any, amplitudes: Any, final: Any = None, *, d_phase: Any = None, d_f0: Any = None,
        d_initial: Any = None, d_amplitudes: Any = None, d_wavetables: Any = None,
    ) -> None:  # fmt: skip
        n_samples, n_f0 = self.n_samples, self.n_f0
        n_amplitudes = 1 if amplitudes is None else amplitudes.shape[1]
        of_f0, of_amplitudes = share(n_samples, n_f0), share(n_samples, n_amplitudes)
        is_one_sum = d_f0 is not None and n_f0 == n_amplitudes
        sounding = -(-n_samples // self.n_tables) * (1 if self.n_tables == 1 else 2)
        pieces, rows = -(-sounding // PIECE), self.batch * self.n_tables

        def workspace(wanted: Any, *shape: int) -> Any:
            return None if wanted is None else final.new_empty((self.batch, *shape))  # float64

        moments = workspace(d_f0, n_f0, of_f0.pieces, 3)
        weights = workspace(d_amplitudes, n_amplitudes, of_amplitudes.pieces, 2)
        parts = d_wavetables
        if d_wavetables is not None and pieces > 1:
            parts = g.new_empty((rows, pieces, self.n_points))
        n_phases = 0 if d_phase is None else -(-n_samples // PIECE)
        n_moments = 0 if d_f0 is None else of_f0.count(n_f0)
        n_weights = 0 if d_amplitudes is None or is_one_sum else of_amplitudes.count(n_amplitudes)
        n_tables = 0 if d_wavetables is None else self.n_tables * pieces * -(-self.n_points // TILE)
        numbers = self.batch, PIECE, n_phases, n_moments, *of_f0, n_weights, *of_amplitudes, pieces
        tensors = *self.place, self.wavetables, amplitudes, g, d_phase, moments, weights, parts
        self._launch(
            "wavetable_gradients", self.batch * (n_phases + n_moments + n_weights + n_tables), 32,
            (*tensors, *self._item(amplitudes), *map(np.int32, numbers)),
        )  # fmt: skip

        has_parts = parts is not d_wavetables
        n_adds = 0 if d_amplitudes is None else -(-self.batch * n_amplitudes // SCAN_THREADS)
        n_blocks = (0 if d_f0 is None else self.batch) + n_adds
        n_blocks += -(-rows * self.n_points // SCAN_THREADS) if has_parts else 0
        sums = moments, final, workspace(d_f0, n_f0, 2), d_f0, d_initial if d_f0 is not None else None
        tables = (parts, d_wavetables) if has_parts else (None, None)
        counts = self.n_points, self.batch, of_f0.pieces, of_amplitudes.pieces, pieces
        sizes = np.int64(n_amplitudes), np.int64(rows), *map(np.int32, counts)
        args = *sums, weights, d_amplitudes, *tables, *self.timeline, *sizes
        self._launch("wavetable_finish", n_blocks, SCAN_THREADS, args)

    def _item(self, amplitudes: Any) -> tuple:
        """ITEM_PARAMETERS of wavetable.cu."""
        n_amplitudes = 0 if amplitudes is None else amplitudes.shape[1]
        sizes = np.int64(self.n_tables), np.int64(n_amplitudes), np.uint64((2**64 - 1) // self.n_samples)
        return *self.timeline, *sizes, np.int32(self.n_points), np.int32(self.order)

    def _launch(self, kernel: str, n_blocks: int, n_threads: int, args: tuple) -> None:
        float64 = self.wavetables.element_size() == 8
        launch.launch(FILE, kernel, n_blocks, n_threads, args, self.queue, float64=float64)


class Oscillator(Lookup):
    """A wavetable synthesizer for one f0.

    Args:
      f0: [batch, frames] Hz.
      wavetables: [batch, frames of their own, points].
      initial_phase: [batch] radians, float64.
      n_samples: at least 1.
      sample_rate: samples a second.
      order: 0 for the tables themselves, 1 for their derivative in the phase in radians.
      queue: device and stream.
      segment: intervals that a block may add up for itself; the device's choice if 0.
    """

    def __init__(
        self, f0: Any, wavetables: Any, initial_phase: Any, n_samples: int, sample_rate: float, order: int,
        queue: Queue, segment: int = 0,
    ):  # fmt: skip
        n_f0 = f0.shape[1]
        timeline = timeline_arguments(Timeline(n_samples, n_f0), n_f0, segment or segment_of(queue), sample_rate, 0)
        segments = segment_advances(f0, initial_phase, timeline, queue)
        self._prepare((None, f0, initial_phase, segments), timeline, wavetables, order, queue)

    def play(self, amplitudes: Any, out: Any, final_phase: Any) -> None:
        """Write out [batch, samples], for amplitudes [batch, frames of their own], and final_phase [batch]."""
        self._read(amplitudes, out, final_phase)

    def pull_back(
        self, g: Any, amplitudes: Any, final: Any, d_f0: Any = None, d_amplitudes: Any = None, d_wavetables: Any = None,
        d_initial: Any = None,
    ) -> None:  # fmt: skip
        """The adjoint of `play` applied to g [batch, samples] and to final [batch], the final phase's cotangent.

        Results to write, or None; d_initial [batch] comes with d_f0.
        """
        self._gradients(
            g, amplitudes, final, d_f0=d_f0, d_initial=d_initial, d_amplitudes=d_amplitudes, d_wavetables=d_wavetables
        )
