"""Kernels that enter themselves on a team of threads: every row once, whatever the process has been through."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch  # whose OpenMP team it is

from fastddsp.kernels.cpu import threads
from fastddsp.kernels.cpu.compile import kernel
from fastddsp.kernels.cpu.simd import borrowed
from fastddsp.kernels.cpu.team import enter_on_team, next_chunk, next_place


@kernel
def visit(rows, places, tickets, n_rows, n_chunks, n_threads, team):
    """rows[i] counts the visits of row i, places[i] those of the threads that came i-th."""
    if enter_on_team(n_threads, team):
        return
    rows, places = borrowed((rows, places))
    own = next_place(tickets)
    places[own] += 1
    first, last = next_chunk(tickets, n_rows, n_chunks)
    while first < last:
        for row in range(first, last):
            rows[row] += 1
        first, last = next_chunk(tickets, n_rows, n_chunks)


@kernel
def fail_at(row, tickets, n_rows, n_chunks, n_threads, team):
    """Raises on whatever thread is given `row`."""
    if enter_on_team(n_threads, team):
        return
    first, last = next_chunk(tickets, n_rows, n_chunks)
    while first < last:
        if first <= row < last:
            raise ValueError("this row is bad")
        first, last = next_chunk(tickets, n_rows, n_chunks)


def visits(n_rows: int, n_chunks: int, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
    rows, places = np.zeros(n_rows, np.int64), np.zeros(max(n_threads, 1), np.int64)
    threads.enter(visit, (rows, places), n_rows, n_chunks, n_threads)
    return rows, places


@pytest.mark.parametrize(("n_rows", "n_chunks"), [(1, 1), (7, 7), (1000, 13), (5, 2)])
@pytest.mark.parametrize("n_threads", [0, 1, 2, 5])
def test_every_row_is_visited_once(n_rows, n_chunks, n_threads):
    rows, places = visits(n_rows, n_chunks, n_threads)
    assert (rows == 1).all()
    assert (places <= 1).all()
    assert places[0] == 1


def test_a_team_has_all_its_threads():
    torch.ones(8)
    assert threads._openmp() is not None
    assert visits(100, 50, 3)[1].tolist() == [1, 1, 1]


def test_without_openmp_a_pool_shares_the_rows(monkeypatch):
    monkeypatch.setattr(threads, "_openmp", lambda: None)
    assert (visits(1000, 50, 4)[0] == 1).all()


def test_many_callers_at_once():
    with ThreadPoolExecutor(8) as callers:
        for rows, _ in callers.map(lambda _: visits(200, 20, 2), range(40)):
            assert (rows == 1).all()


@pytest.mark.parametrize("n_threads", [1, 3])
def test_an_error_on_any_thread_reaches_the_caller(n_threads):
    with pytest.raises((ValueError, RuntimeError), match=r"this row is bad|a kernel failed on a thread of its team"):
        threads.enter(fail_at, (70,), 100, 50, n_threads)
    assert (visits(100, 50, n_threads)[0] == 1).all()


def report(queue):
    queue.put(visits(100, 20, 2)[0].tolist())


def test_a_forked_child_makes_threads_of_its_own():
    visits(100, 20, 2)  # the parent's team exists, and does not in the child
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    child = fork.Process(target=report, args=(queue,))
    child.start()
    child.join(30)
    alive = child.is_alive()
    child.kill()
    assert not alive
    assert queue.get() == [1] * 100
