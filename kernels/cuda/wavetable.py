"""Wavetables on CUDA tensors: the classes of fastddsp.kernels.cpu.wavetable, as launches of wavetable.cu.

A lookup is one launch forward, and one for each of its two gradients. A synthesizer is two forward, the first of which
lays out the phases; backward that one again, one for the sums over samples, one for f0's frames, one for the tables,
and one more that adds up where a table sounds for long. Nothing waits for the device.

Tensors are torch's, float32 or float64, contiguous; workspaces are `new_empty` of them, so they are torch's too.
"""

from typing import Any

import numpy as np

from fastddsp.kernels.cuda import launch
from fastddsp.kernels.cuda.harmonic import timeline_arguments
from fastddsp.kernels.cuda.launch import Queue
from fastddsp.kernels.phase import Timeline

FILE = "wavetable.cu"
THREADS = 128
SCAN_THREADS = 256
TILE = 2048  # points whose gradient a warp adds up
PIECE = 1024
"""Samples that a warp goes through: 32 steps. Frames of tables that sound longer are cut."""


class Lookup:
    """Readings of wavetables at given phases.

    Args:
      phase: [batch, samples] turns.
      wavetables: [batch, frames, points], blended linearly between frames.
      order: 0 for the tables themselves, 1 for their derivative in the phase.
      queue: device and stream.
    """

    def __init__(self, phase: Any, wavetables: Any, order: int, queue: Queue):
        self._prepare((phase, None, None), wavetables, phase.shape[1], order, queue)

    def _prepare(self, place: tuple, wavetables: Any, n_samples: int, order: int, queue: Queue) -> None:
        self.place, self.wavetables, self.order, self.queue = place, wavetables, order, queue
        self.batch, self.n_tables, self.n_points = wavetables.shape
        self.n_samples = n_samples

    def render(self, out: Any) -> None:
        """Write out [batch, samples], the readings."""
        self._read(None, None, out, self.order)

    def gradients(self, g: Any, d_phase: Any = None, d_wavetables: Any = None) -> None:
        """The adjoint of `render` applied to g [batch, samples]; results to write, or None."""
        if d_phase is not None:
            self._read(None, g, d_phase, self.order + 1)
        if d_wavetables is not None:
            self._write(None, g, d_wavetables)

    def _read(self, amplitudes: Any, factor: Any, out: Any, order: int) -> None:
        n_blocks = self.batch * -(-self.n_samples // THREADS)
        tensors = *self.place, self.wavetables, amplitudes, factor, out
        self._launch("wavetable_read", n_blocks, THREADS, (*tensors, *self._sizes(amplitudes, order)))

    def _write(self, amplitudes: Any, g: Any, d_wavetables: Any) -> None:
        longest = -(-self.n_samples // self.n_tables) * (1 if self.n_tables == 1 else 2)
        n_pieces, n_rows = -(-longest // PIECE), self.batch * self.n_tables
        out = d_wavetables if n_pieces == 1 else g.new_empty((n_rows, n_pieces, self.n_points))
        n_blocks = n_rows * n_pieces * -(-self.n_points // TILE)
        sizes = *self._sizes(amplitudes, self.order), np.int32(n_pieces), np.int32(PIECE)
        self._launch("wavetable_write", n_blocks, 32, (*self.place, amplitudes, g, out, *sizes))
        if n_pieces > 1:
            sizes = np.int64(n_rows), np.int32(self.n_points), np.int32(n_pieces)
            n_blocks = -(-n_rows * self.n_points // THREADS)
            self._launch("wavetable_add_pieces", n_blocks, THREADS, (out, d_wavetables, *sizes))

    def _sizes(self, amplitudes: Any, order: int) -> tuple:
        frames = (0 if x is None else x.shape[1] for x in (self.place[1], self.wavetables, amplitudes))
        return np.int64(self.n_samples), *map(np.int64, frames), np.int32(self.n_points), np.int32(order)

    def _launch(self, kernel: str, n_blocks: int, n_threads: int, args: tuple, file: str = FILE) -> None:
        float64 = self.wavetables.element_size() == 8
        launch.launch(file, kernel, n_blocks, n_threads, args, self.queue, float64=float64)


class Oscillator(Lookup):
    """A wavetable synthesizer for one f0.

    Args:
      f0: [batch, frames] Hz.
      wavetables: [batch, frames of their own, points].
      initial_phase: [batch] radians, float64.
      final_phase: [batch] radians, float64, to write.
      n_samples: at least 1.
      sample_rate: samples a second.
      order: 0 for the tables themselves, 1 for their derivative in the phase in radians.
      queue: device and stream.
    """

    def __init__(
        self, f0: Any, wavetables: Any, initial_phase: Any, final_phase: Any, n_samples: int, sample_rate: float,
        order: int, queue: Queue,
    ):  # fmt: skip
        clock = initial_phase.new_empty((*f0.shape, 3))  # float64 by name, 64-bit integers inside
        self._prepare((None, f0, clock), wavetables, n_samples, order, queue)
        self.f0, self.sample_rate = f0, np.float64(sample_rate)
        sizes = np.int64(n_samples), np.int64(f0.shape[1])
        rates = self.sample_rate, np.float64(n_samples / f0.shape[1] * sample_rate)
        args = f0, initial_phase, clock, final_phase, *sizes, *rates
        self._launch("wavetable_clock", self.batch, SCAN_THREADS, args)

    def play(self, amplitudes: Any, out: Any) -> None:
        """Write out [batch, samples], the audio for amplitudes [batch, frames of their own]."""
        self._read(amplitudes, None, out, self.order)

    def pull_back(
        self, g: Any, amplitudes: Any, final: Any, d_f0: Any = None, d_amplitudes: Any = None, d_wavetables: Any = None,
        d_initial: Any = None,
    ) -> None:  # fmt: skip
        """The adjoint of `play` applied to g [batch, samples] and to final [batch], the final phase's cotangent.

        Results to write, or None; d_initial [batch] comes with d_f0.
        """
        n_f0, n_amplitudes = self.f0.shape[1], amplitudes.shape[1]
        moments = None if d_f0 is None else final.new_empty((self.batch, n_f0, 3))
        intervals = [n for n, d in ((n_f0, d_f0), (n_amplitudes, d_amplitudes)) if d is not None]
        if intervals:
            n_threads = 32 if self.n_samples <= 256 * min(intervals) else 256
            tensors = *self.place[1:], self.wavetables, amplitudes, g, moments, d_amplitudes
            args = *tensors, np.int32(self.batch), *self._sizes(amplitudes, self.order)
            self._launch("wavetable_sums", self.batch * sum(intervals), n_threads, args)
        if d_f0 is not None:
            sides = final.new_empty((self.batch, n_f0, 2))
            timeline = timeline_arguments(Timeline(self.n_samples, n_f0), n_f0, n_f0, float(self.sample_rate), 0)
            args = moments, final, sides, d_f0, d_initial, *timeline
            self._launch("phase_gradient", self.batch, SCAN_THREADS, args, "harmonic.cu")
        if d_wavetables is not None:
            self._write(amplitudes, g, d_wavetables)
