"""What a processor can do at its best: multiply-adds whose operands never leave the registers.

Twenty registers of sums (ten where there are sixteen) are as many independent chains, more than the eight that two
multiply-adds a cycle with a latency of four need.
"""

from collections.abc import Callable

import numpy as np

from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.compile import kernel
from fastddsp.kernels.cpu.simd import TILE_BYTES, borrowed, fma, load, pointer, store
from fastddsp.kernels.cpu.team import enter_on_team, next_chunk

N_ROWS, N_STEPS = 64, 100_000
CHAINS, LANES = 5, TILE_BYTES // 4  # tiles of float32


@kernel
def _rows(x, n_steps, out, tickets, n_rows, n_chunks, n_threads, team):
    """out [rows, lanes] = what n_steps multiply-adds in every lane make of x [lanes]."""
    if enter_on_team(n_threads, team):
        return
    x, out = borrowed((x, out))
    first, last = next_chunk(tickets, n_rows, n_chunks)
    while first < last:
        for row in range(first, last):
            a = load(x, 0)
            y0, y1, y2, y3, y4 = a, a + 1.0, a + 2.0, a + 3.0, a + 4.0
            for _ in range(n_steps):
                y0, y1, y2, y3, y4 = fma(y0, a, a), fma(y1, a, a), fma(y2, a, a), fma(y3, a, a), fma(y4, a, a)
            store(pointer(out, row * out.shape[1]), 0, y0 + y1 + y2 + y3 + y4)
        first, last = next_chunk(tickets, n_rows, n_chunks)


def multiply_add_chains(n_threads: int) -> tuple[int, Callable[[], object]]:
    """How many float32 multiply-adds, and a function that does as many on n_threads."""
    x, out = np.full(LANES, 0.5, np.float32), np.empty((N_ROWS, LANES), np.float32)
    work = N_ROWS * N_STEPS * CHAINS * LANES
    return work, lambda: threads.enter(_rows, (x, N_STEPS, out), N_ROWS, N_ROWS, n_threads)
