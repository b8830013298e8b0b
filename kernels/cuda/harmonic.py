"""Harmonic bank on CUDA tensors: the methods of fastddsp.kernels.cpu.harmonic.Bank, as launches of harmonic.cu.

One launch forward; backward one for the gradient of the amplitudes, a second one for f0's. Over more than SEGMENT
intervals one goes before, which adds up the phase's advances. Nothing waits for the device.

Tensors are torch's, float32 or float64, contiguous; workspaces are `new_empty` of them, so they are torch's too.
"""

from typing import Any

import numpy as np

from fastddsp.kernels.cuda import launch
from fastddsp.kernels.cuda.launch import Queue
from fastddsp.kernels.phase import METHODS, Timeline

FILE = "harmonic.cu"
THREADS = 128  # of a block, forward
SEGMENT, SHORT_SEGMENT = 1024, 128
"""Intervals whose advances, two divisions of doubles each, a block adds up for itself: 8 a thread cost less than
another launch; 1 where doubles are slow."""
ENOUGH_BLOCKS = 2048
"""Backward: so many blocks fill the largest GPU. More are not made: blocks own more frames instead, and visit fewer of
the intervals between frames twice."""
MOST_FRAMES = 16
SUMS = 26  # of a thread, backward


class Bank:
    """The three operations for one set of controls; the arguments are those of the CPU's Bank.

    Args:
      f0: [batch, frames] Hz.
      initial_phase: [batch] radians, float64.
      timeline: samples, intervals and first frame.
      sample_rate: samples a second.
      nyquist: harmonics from this frequency on are silent, Hz; infinity for none.
      method: envelope resampling, one of METHODS.
      quarter_turns: psi; 0 for sines, 1 for cosines.
      queue: device and stream.
      segment: instead of SEGMENT or SHORT_SEGMENT.
    """

    def __init__(
        self, f0: Any, initial_phase: Any, timeline: Timeline, sample_rate: float, nyquist: float, method: str,
        quarter_turns: int, queue: Queue, segment: int = 0,
    ):  # fmt: skip
        self.f0, self.initial_phase, self.queue = f0, initial_phase, queue
        self.float64 = f0.element_size() == 8
        self.batch, self.n_frames = f0.shape
        segment = segment or (SHORT_SEGMENT if queue.slow_doubles else SEGMENT)
        self.n_intervals, self.hop = timeline.n_intervals, timeline.longest_interval
        self.lies = tuple(
            np.int64(n)
            for n in (
                timeline.n_samples,
                self.n_intervals,
                timeline.n_samples // self.n_intervals,
                timeline.first_frame,
                self.n_frames,
                segment,
            )
        )
        slope_scale = timeline.n_samples / self.n_intervals * sample_rate
        self.rates = np.float64(sample_rate), np.float64(slope_scale)
        self.nyquist = np.float64(nyquist)
        self.shape = np.int32(METHODS.index(method)), np.int32(quarter_turns % 4)
        self.segments = None
        n_segments = -(-self.n_intervals // segment)
        if n_segments > 1:
            self.segments = initial_phase.new_empty((self.batch, n_segments))  # float64 by name, 64-bit integers inside
            self._launch(
                "segment_advances", self.batch * n_segments, THREADS, (f0, self.segments, *self.lies, *self.rates)
            )

    def render(self, amplitudes: Any, audio: Any, final_phase: Any) -> None:
        """Write audio [batch, samples] and final_phase [batch], radians, of amplitudes [batch, frames, harmonics]."""
        samples = 2 if self.float64 else 4  # of a thread
        team = min(max(4, _power_of_two(-(-self.hop // samples))), THREADS)
        rounds = -(-self.hop // (team * samples))
        n_groups = -(-self.n_intervals // (THREADS // team))
        controls = (self.f0, self.initial_phase, amplitudes, self.segments)
        self._launch(
            "harmonic_bank", self.batch * n_groups * rounds, THREADS,
            (*controls, audio, final_phase, *self._settings(amplitudes.shape[2]), np.int32(team), np.int32(rounds)),
        )  # fmt: skip

    def analyse(self, g: Any, out: Any) -> None:
        """Write out [batch, frames, harmonics], the adjoint of `render` in the amplitudes, applied to g."""
        self._backward("harmonic_analysis", (g, out), out.shape[2])

    def phase_gradient(self, g: Any, amplitudes: Any, final_cotangent: Any, d_f0: Any, d_initial: Any) -> None:
        """Write d_f0 [batch, frames] and d_initial [batch]: the adjoint of `render` in f0 and the initial phase."""
        moments = self._moments()
        self._backward("harmonic_moments", (g, amplitudes, moments), amplitudes.shape[2])
        self._phase_gradient(moments, final_cotangent, d_f0, d_initial)

    def gradients(
        self, g: Any, amplitudes: Any, final_cotangent: Any, d_amplitudes: Any, d_f0: Any, d_initial: Any
    ) -> None:
        """`analyse` and `phase_gradient` from the same sines."""
        moments = self._moments()
        self._backward("harmonic_gradients", (g, amplitudes, d_amplitudes, moments), amplitudes.shape[2])
        self._phase_gradient(moments, final_cotangent, d_f0, d_initial)

    def _moments(self) -> Any:
        return self.initial_phase.new_empty((self.batch, self.n_intervals, 3))

    def _backward(self, kernel: str, tensors: tuple, n_harmonics: int) -> None:
        n_threads = 32 if self.hop <= 256 else THREADS
        own = min(max(1, self.batch * self.n_frames // ENOUGH_BLOCKS), MOST_FRAMES)
        n_blocks = self.batch * -(-self.n_frames // own)
        controls = (self.f0, self.initial_phase, self.segments, *tensors)
        self._launch(
            kernel, n_blocks, n_threads, (*controls, *self._settings(n_harmonics), np.int32(own)),
            shared_bytes=n_threads * SUMS * self.f0.element_size(),
        )  # fmt: skip

    def _phase_gradient(self, moments: Any, final_cotangent: Any, d_f0: Any, d_initial: Any) -> None:
        sides = moments.new_empty((self.batch, self.n_intervals, 2))
        self._launch(
            "phase_gradient", self.batch, 256,
            (moments, final_cotangent, sides, d_f0, d_initial, *self.lies[:5], self.rates[0]),
        )  # fmt: skip

    def _settings(self, n_harmonics: int) -> tuple:
        return *self.lies, *self.rates, self.nyquist, np.int32(self.batch), np.int32(n_harmonics), *self.shape

    def _launch(self, kernel: str, n_blocks: int, n_threads: int, args: tuple, shared_bytes: int = 0) -> None:
        queue, float64 = self.queue, self.float64
        launch.launch(FILE, kernel, n_blocks, n_threads, args, queue, float64=float64, shared_bytes=shared_bytes)


def _power_of_two(n: int) -> int:
    """The smallest power of two that is not less than n."""
    return 1 << (n - 1).bit_length()
