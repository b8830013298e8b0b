"""The multiply-add peak: independent chains that live in registers and touch no memory."""

import numpy as np

from fastddsp.kernels.cpu.compile import kernel
from fastddsp.kernels.cpu.simd import fma, lane_count, load, store

CHAINS = 3  # tiles of registers: enough chains to hide the latency of a multiply-add


@kernel
def _chains(n, buffer):
    lanes = lane_count(buffer)
    x, y, z = load(buffer, 0), load(buffer, lanes), load(buffer, 2 * lanes)
    c = load(buffer, 3 * lanes)
    for _ in range(n):
        x, y, z = fma(x, c, c), fma(y, c, c), fma(z, c, c)
    store(buffer, 0, x + y + z)
    return lanes


def chains(n: int) -> int:
    """Run n multiply-adds on each lane of each chain; returns the lanes of a chain."""
    return _chains(n, np.full(4 * 64, 0.5, np.float32))
