"""Harmonic bank on CUDA tensors: the methods of fastddsp.kernels.cpu.harmonic.Bank, as launches of harmonic.cu.

One launch forward, which adds up the voices; backward one for the gradient of the amplitudes, a second one for f0's.
Over more than SEGMENT intervals one goes before, which adds up the phase's advances. Nothing waits for the device.

Tensors are torch's, float32 or float64, contiguous; workspaces are `new_empty` of them, so they are torch's too.
"""

from typing import Any

import numpy as np

from fastddsp.kernels.cuda import launch
from fastddsp.kernels.cuda.launch import Queue
from fastddsp.kernels.phase import METHODS, Timeline

FILE = "harmonic.cu"
THREADS = 128  # of a block
SCAN_THREADS = 256
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

    items = batch * voices, a batch's voices side by side; the number of voices follows from the rows of the audio.

    Args:
      f0: [items, frames] Hz.
      initial_phase: [items] radians, float64.
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
        self.n_items, self.n_frames = f0.shape
        segment = segment or segment_of(queue)
        self.n_intervals, self.hop = timeline.n_intervals, timeline.longest_interval
        self.timeline = timeline_arguments(timeline, self.n_frames, segment, sample_rate, nyquist)
        self.method = np.int32(METHODS.index(method)), np.int32(quarter_turns % 4)
        self.segments = segment_advances(f0, initial_phase, self.timeline, queue)

    def render(self, amplitudes: Any, audio: Any, final_phase: Any) -> None:
        """Write audio [batch, samples] and final_phase [items], radians, of amplitudes [items, frames, harmonics]."""
        samples = 2 if self.float64 else 4  # of a thread
        team = min(max(4, _power_of_two(-(-self.hop // samples))), THREADS)
        rounds = -(-self.hop // (team * samples))
        n_groups = -(-self.n_intervals // (THREADS // team))
        controls = (self.f0, self.initial_phase, amplitudes, self.segments)
        batch = audio.shape[0]
        self._launch(
            "harmonic_bank", batch * n_groups * rounds, THREADS,
            (*controls, audio, final_phase, *self._settings(batch, amplitudes), np.int32(team), np.int32(rounds)),
        )  # fmt: skip

    def analyse(self, g: Any, out: Any) -> None:
        """Write out [items, frames, harmonics], the adjoint of `render` in the amplitudes, of g [batch, samples]."""
        self._backward("harmonic_analysis", (g, out), out)

    def phase_gradient(self, g: Any, amplitudes: Any, final_cotangent: Any, d_f0: Any, d_initial: Any) -> None:
        """Write d_f0 [items, frames] and d_initial [items]: the adjoint of `render` in f0 and the initial phase."""
        moments = self._moments()
        self._backward("harmonic_moments", (g, amplitudes, moments), amplitudes)
        self._phase_gradient(moments, final_cotangent, d_f0, d_initial)

    def gradients(
        self, g: Any, amplitudes: Any, final_cotangent: Any, d_amplitudes: Any, d_f0: Any, d_initial: Any
    ) -> None:
        """`analyse` and `phase_gradient` from the same sines."""
        moments = self._moments()
        self._backward("harmonic_gradients", (g, amplitudes, d_amplitudes, moments), amplitudes)
        self._phase_gradient(moments, final_cotangent, d_f0, d_initial)

    def _moments(self) -> Any:
        return self.initial_phase.new_empty((self.n_items, self.n_intervals, 3))

    def _backward(self, kernel: str, tensors: tuple, amplitudes: Any) -> None:
        n_threads = 32 if self.hop <= 256 else THREADS
        own = min(max(1, self.n_items * self.n_frames // ENOUGH_BLOCKS), MOST_FRAMES)
        n_blocks = self.n_items * -(-self.n_frames // own)
        controls, batch = (self.f0, self.initial_phase, self.segments, *tensors), tensors[0].shape[0]
        self._launch(
            kernel, n_blocks, n_threads, (*controls, *self._settings(batch, amplitudes), np.int32(own)),
            shared_bytes=n_threads * SUMS * self.f0.element_size(),
        )  # fmt: skip

    def _phase_gradient(self, moments: Any, final_cotangent: Any, d_f0: Any, d_initial: Any) -> None:
        sides = moments.new_empty((self.n_items, self.n_intervals, 2))
        tensors = moments, final_cotangent, sides, d_f0, d_initial
        self._launch("phase_gradient", self.n_items, SCAN_THREADS, (*tensors, *self.timeline))

    def _settings(self, batch: int, amplitudes: Any) -> tuple:
        sizes = batch, self.n_items // batch, amplitudes.shape[2]
        return *self.timeline, *map(np.int32, sizes), *self.method

    def _launch(self, kernel: str, n_blocks: int, n_threads: int, args: tuple, shared_bytes: int = 0) -> None:
        queue, float64 = self.queue, self.float64
        launch.launch(FILE, kernel, n_blocks, n_threads, args, queue, float64=float64, shared_bytes=shared_bytes)


def segment_of(queue: Queue) -> int:
    """Intervals that a block may add up for itself."""
    return SHORT_SEGMENT if queue.slow_doubles else SEGMENT


def timeline_arguments(
    timeline: Timeline, n_frames: int, segment: int, sample_rate: float, nyquist: float
) -> tuple[np.generic, ...]:
    """TIMELINE_PARAMETERS of phase.cuh."""
    n_samples, n_intervals = timeline.n_samples, timeline.n_intervals
    sizes = n_samples, n_intervals, n_samples // n_intervals, timeline.first_frame, n_frames, segment
    rates = sample_rate, n_samples / n_intervals * sample_rate, nyquist
    return *map(np.int64, sizes), *map(np.float64, rates)


def segment_advances(f0: Any, initial_phase: Any, timeline: tuple, queue: Queue) -> Any:
    """Sums of the phase's advances over segments of intervals, [items, segments], or None if there is one segment.

    float64 by name, 64-bit integers inside.
    """
    n_intervals, segment = int(timeline[1]), int(timeline[5])
    n_segments = -(-n_intervals // segment)
    if n_segments == 1:
        return None
    segments = initial_phase.new_empty((f0.shape[0], n_segments))
    args, float64 = (f0, segments, *timeline), f0.element_size() == 8
    launch.launch(FILE, "segment_advances", segments.numel(), THREADS, args, queue, float64=float64)
    return segments


def _power_of_two(n: int) -> int:
    """The smallest power of two that is not less than n."""
    return 1 << (n - 1).bit_length()
