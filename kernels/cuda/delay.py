"""Delay of variable length on CUDA tensors: the methods of fastddsp.kernels.cpu.delay.Delay, as launches of delay.cu.

One launch forward, and one for each of the two gradients. Tensors are torch's, float32 or float64, contiguous.
"""

from typing import Any

import numpy as np

from fastddsp.kernels.cuda import launch
from fastddsp.kernels.cuda.launch import Queue

FILE = "delay.cu"
THREADS = 256
TILE = 512  # samples whose gradient a warp adds up


class Delay:
    """Delays of one length for given phases.

    Args:
      phase: [batch, samples] of the delay's length: 0 to 1.
      max_length: samples.
      wrap: whether the last step of the delay turns back to no delay.
      order: 0, or 1 for the derivative in the phase.
      queue: device and stream.
    """

    def __init__(self, phase: Any, max_length: int, wrap: bool, order: int, queue: Queue):
        self.phase, self.order, self.queue = phase, order, queue
        self.batch, self.n_samples = phase.shape
        self.sizes = np.int64(self.n_samples), np.int32(max_length), np.int32(wrap)

    def render(self, audio: Any, out: Any) -> None:
        """Write out [batch, samples], the delayed audio [batch, samples]."""
        self._launch("delay_read", THREADS, THREADS, (audio, None, out), self.order)

    def gradients(self, g: Any, audio: Any, d_phase: Any = None, d_audio: Any = None) -> None:
        """The adjoint of `render` applied to g [batch, samples]; results to write, or None."""
        if d_phase is not None:
            self._launch("delay_read", THREADS, THREADS, (audio, g, d_phase), self.order + 1)
        if d_audio is not None:
            self._launch("delay_write", TILE, 32, (g, d_audio), self.order)

    def _launch(self, kernel: str, tile: int, n_threads: int, tensors: tuple, order: int) -> None:
        n_blocks = self.batch * -(-self.n_samples // tile)
        args = self.phase, *tensors, *self.sizes, np.int32(order)
        launch.launch(FILE, kernel, n_blocks, n_threads, args, self.queue, float64=self.phase.element_size() == 8)
