"""Bank of partials on CUDA tensors: the methods of fastddsp.kernels.cpu.partials.Bank, as launches of partials.cu.

One launch forward and two backward, for the intervals' products and for the frames' gradients. Over more than
FEW_INTERVALS one goes before, which lays out all phases: where audio is short, launches count. Nothing waits for the
device.

Tensors are torch's, float32 or float64, contiguous; workspaces are `new_empty` of them, so they are torch's too.
"""

from typing import Any

import numpy as np

from fastddsp.kernels.cuda import launch
from fastddsp.kernels.cuda.launch import Queue
from fastddsp.kernels.phase import METHODS, Timeline

FILE = "partials.cu"
THREADS = 128  # of a block, forward
SCAN_THREADS = 512
FEW_INTERVALS = 16
"""So many are added up anew wherever a phase is needed."""


class Bank:
    """The operations for one set of frequencies; the arguments are those of the CPU's Bank.

    Args:
      frequencies: [batch, frames, partials] Hz.
      initial_phase: [batch, partials] radians, float64.
      timeline: samples, intervals and first frame.
      sample_rate: samples a second.
      nyquist: partials are silent from this frequency on, Hz; infinity for never.
      method: envelope resampling, one of METHODS.
      quarter_turns: psi; 0 for sines, 1 for cosines.
      queue: device and stream.
    """

    def __init__(
        self, frequencies: Any, initial_phase: Any, timeline: Timeline, sample_rate: float, nyquist: float, method: str,
        quarter_turns: int, queue: Queue,
    ):  # fmt: skip
        self.queue, self.float64 = queue, frequencies.element_size() == 8
        self.batch, self.n_frames, self.n_partials = frequencies.shape
        self.n_intervals, self.hop = timeline.n_intervals, timeline.longest_interval
        n_samples, short = timeline.n_samples, timeline.n_samples // self.n_intervals
        sizes = n_samples, self.n_intervals, short, timeline.first_frame, self.n_frames
        per_step = self.n_intervals / (n_samples * sample_rate)
        rates = 1 / sample_rate, per_step, nyquist
        self.line = *map(np.int64, sizes), *map(np.float64, rates), np.int32(self.n_partials)
        self.n_taps = 4 if method == "cubic" else 2
        self.method, self.quarter_turns = np.int32(METHODS.index(method)), np.int32(quarter_turns % 4)
        self.n_scans = self.batch * -(-self.n_partials // 32)
        phases = None
        if self.n_intervals > FEW_INTERVALS:  # float64 by name, 64-bit integers inside
            phases = initial_phase.new_empty((self.batch, self.n_intervals, self.n_partials))
            args = frequencies, initial_phase, phases, *self.line
            self._launch("partial_phases", self.n_scans, SCAN_THREADS, args)
        self.frequencies, self.initial_phase, self.phases = frequencies, initial_phase, phases

    def render(self, amplitudes: Any, audio: Any, final_phase: Any) -> None:
        """Write audio [batch, samples] and final_phase [batch, partials], radians, of amplitudes like frequencies."""
        samples = 2 if self.float64 else 4  # of a thread
        team = min(max(4, 1 << (-(-self.hop // samples) - 1).bit_length()), THREADS)
        rounds = -(-self.hop // (team * samples))
        n_groups = -(-self.n_intervals // (THREADS // team))
        tensors = self.frequencies, self.initial_phase, amplitudes, self.phases, audio, final_phase
        args = *tensors, *self.line, self.method, self.quarter_turns, np.int32(team), np.int32(rounds)
        self._launch("partials_bank", self.batch * n_groups * rounds, THREADS, args)

    def gradient(
        self, g: Any, amplitudes: Any, final_cotangent: Any, d_amplitudes: Any = None, d_frequencies: Any = None,
        d_initial: Any = None,
    ) -> None:  # fmt: skip
        """The adjoint of `render`, applied to g [batch, samples].

        Args:
          g: cotangent of the audio.
          amplitudes: as for `render`.
          final_cotangent: [batch, partials] float64, cotangent of the final phases in radians.
          d_amplitudes: [batch, frames, partials] to write, or None.
          d_frequencies: [batch, frames, partials] to write, or None.
          d_initial: [batch, partials] float64 to write; goes with d_frequencies.
        """
        need_amplitudes, need_phase = d_amplitudes is not None, d_frequencies is not None
        n_kinds = (self.n_taps if need_amplitudes else 0) + (3 if need_phase else 0)
        products = g.new_empty((self.batch, self.n_intervals, n_kinds, self.n_partials))
        kernel = ("partials_moments", "partials_analysis", "partials_gradients")[need_amplitudes * (1 + need_phase)]
        width, n_threads = shares(self.n_partials)
        tensors = self.frequencies, self.initial_phase, self.phases, g, amplitudes, products
        args = *tensors, *self.line, self.method, self.quarter_turns, np.int32(width)
        self._launch(kernel, self.batch * self.n_intervals * -(-self.n_partials // width), n_threads, args)
        sides = g.new_empty((self.batch, self.n_intervals, 2, self.n_partials)) if need_phase else None
        results = d_amplitudes, d_frequencies, d_initial if need_phase else None
        args = products, final_cotangent, sides, *results, *self.line, self.method
        self._launch("partials_frames", self.n_scans, SCAN_THREADS, args)

    def _launch(self, kernel: str, n_blocks: int, n_threads: int, args: tuple) -> None:
        launch.launch(FILE, kernel, n_blocks, n_threads, args, self.queue, float64=self.float64)


def shares(n_partials: int) -> tuple[int, int]:
    """Backward: partials of a block, and as many threads, 128 to 256, as leave the fewest of them idle."""
    width = -(-n_partials // -(-n_partials // 128))
    return width, max(range(128, 257, 32), key=lambda n: n // width * width / n)
