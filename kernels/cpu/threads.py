"""Threads for kernels that release the GIL: torch's own OpenMP team where there is one, else a small pool.

Numba's pools are unsafe beside torch: `prange` on OpenMP kills forked DataLoader workers, the workqueue layer aborts
when two threads call it at once, and starting either resets torch's thread count. Python threads do none of it, but
they fight: torch's OpenMP threads spin for milliseconds after every parallel operation, on the processors that we need.
So the same threads, already awake, are given our chunks. Harmonic bank, forward and backward among torch operations, on
two processors: 6.3 ms on Python threads, 3.9 ms on the team; and a call that finds the team spinning waits for no one.

`enter` is for kernels that take their chunks themselves (fastddsp.kernels.cpu.team); `share` and `run` hand chunks to
Python functions.

Work is cut into chunks whose borders depend on the problem alone, never on the number of threads, so results do not
either. Threads take the next chunk when they are done with one, which evens out a processor that is busy elsewhere.
"""

import ctypes
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np

_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

_pool: ThreadPoolExecutor | None = None
_forked = False


def _after_fork() -> None:
    """A forked child has its parent's pool and team but none of their threads; GNU OpenMP would wait for them."""
    global _pool, _forked
    _pool, _forked = None, True


os.register_at_fork(after_in_child=_after_fork)


def enter(kernel: Callable, args: tuple, n_rows: int, n_chunks: int, n_threads: int) -> None:
    """Run a kernel that enters itself on up to `n_threads` threads (see fastddsp.kernels.cpu.team)."""
    shares = np.zeros(2, np.int64), n_rows, n_chunks, n_threads
    if n_threads <= 1:
        kernel(*args, *shares, 0)
    elif _forked or _openmp() is None:
        _run_on_pool(lambda: kernel(*args, *shares, 0), n_threads)
    else:
        kernel(*args, *shares, _openmp().address)


def run(work: Callable[[int], object], n_chunks: int, n_threads: int) -> None:
    """Call `work(chunk)` for every chunk in range(n_chunks), on up to `n_threads` threads, the caller among them."""

    def take(chunks: Iterable[int]) -> None:
        for chunk in chunks:
            work(chunk)

    share(take, n_chunks, n_threads)


def share(work: Callable[[Iterable[int]], object], n_chunks: int, n_threads: int) -> None:
    """Call `work(chunks)` once on each thread; together the threads are handed every chunk once.

    For work that prepares something, such as buffers, once a thread and not once a chunk.
    """
    chunks = iter(range(n_chunks))  # next() on it is one step under the GIL: no chunk is taken twice
    n_threads = min(n_threads, n_chunks)
    if n_threads <= 1:
        work(chunks)
        return
    if _forked or _openmp() is None:
        _run_on_pool(lambda: work(chunks), n_threads)
    else:
        _run_on_team(_openmp(), lambda: work(chunks), n_threads)


@lru_cache
def _openmp() -> Any:
    """GOMP_parallel of the GNU OpenMP runtime that this process has loaded (torch's, on Linux), or None."""
    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split(None, 5)[5].strip() for line in maps if "libgomp" in line}
    except OSError:
        return None
    if len(paths) != 1:  # none; or two runtimes, of which we cannot tell torch's
        return None
    parallel: Any = ctypes.CDLL(paths.pop()).GOMP_parallel
    parallel.argtypes, parallel.restype = [_Body, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    parallel.address = ctypes.cast(parallel, ctypes.c_void_p).value
    return parallel


def _run_on_team(parallel: Any, work: Callable[[], object], n_threads: int) -> None:
    """Call `work` on a team of OpenMP threads, the caller its master."""
    errors: list[BaseException] = []

    def body(_) -> None:
        try:
            work()
        except BaseException as error:  # must not leave through OpenMP
            errors.append(error)

    parallel(_Body(body), None, n_threads, 0)
    if errors:
        raise errors[0]


def _run_on_pool(work: Callable[[], object], n_threads: int) -> None:
    """Call `work` on Python threads and on the caller."""
    global _pool
    pool = _pool
    if pool is None:
        pool = _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="fastddsp")
    helpers = [pool.submit(work) for _ in range(n_threads - 1)]
    try:
        work()
    finally:
        for helper in helpers:
            if not helper.cancel():  # not started yet: the caller has done its share already
                helper.result()
