"""One small thread pool for kernels that release the GIL.

Numba's own pools are unsafe beside torch: `prange` on OpenMP kills forked DataLoader workers, the workqueue layer
aborts when two threads call it at once, and starting either resets torch's thread count. Python threads do none of it.

Work is cut into chunks whose borders depend on the problem alone, never on the number of threads, so results do not
either. Threads take the next chunk when they are done with one, which evens out a core that something else keeps busy
(torch's OpenMP workers spin for milliseconds after every parallel operation).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    """A forked child has its parent's pool object but none of its threads."""
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget_pool)


def run(work: Callable[[int], object], n_chunks: int, n_threads: int) -> None:
    """Call `work(chunk)` for every chunk in range(n_chunks), on up to `n_threads` threads, the caller among them."""
    if n_threads <= 1 or n_chunks <= 1:
        for chunk in range(n_chunks):
            work(chunk)
        return

    global _pool
    pool = _pool
    if pool is None:
        pool = _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="fastddsp")

    chunks = iter(range(n_chunks))  # next() on it is one step under the GIL: no chunk is taken twice

    def take_chunks() -> None:
        for chunk in chunks:
            work(chunk)

    helpers = [pool.submit(take_chunks) for _ in range(min(n_threads, n_chunks) - 1)]
    try:
        take_chunks()
    finally:
        for helper in helpers:
            if not helper.cancel():  # not started yet: the caller has done its share already
                helper.result()
