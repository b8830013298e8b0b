"""The thread pool of the kernels: every chunk once, whatever the process has been through."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastddsp.kernels.cpu import threads


def chunks_done(n_chunks: int, n_threads: int) -> list[int]:
    done: list[int] = []
    threads.run(done.append, n_chunks, n_threads)
    return sorted(done)


@pytest.mark.parametrize("n_chunks", [0, 1, 7, 100])
@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_every_chunk_is_done_once(n_chunks, n_threads):
    assert chunks_done(n_chunks, n_threads) == list(range(n_chunks))


def test_threads_work_at_once():
    both = threading.Barrier(2, timeout=10)
    threads.run(lambda _: both.wait(), 2, 2)  # one thread alone would wait for ever


def test_many_callers_at_once():
    with ThreadPoolExecutor(8) as callers:
        for done in callers.map(lambda _: chunks_done(20, 2), range(40)):
            assert done == list(range(20))


def test_work_may_itself_be_split():
    done = []
    threads.run(lambda _: done.append(chunks_done(5, 3)), 10, 3)
    assert done == [list(range(5))] * 10


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_error_reaches_the_caller(n_threads):
    def fail(chunk):
        if chunk == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        threads.run(fail, 5, n_threads)
    assert chunks_done(5, n_threads) == list(range(5))


def report(queue):
    queue.put(chunks_done(20, 2))


def test_a_forked_child_makes_threads_of_its_own():
    assert chunks_done(20, 2) == list(range(20))  # the parent's threads exist, and do not in the child
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    child = fork.Process(target=report, args=(queue,))
    child.start()
    child.join(30)
    alive = child.is_alive()
    child.kill()
    assert not alive
    assert queue.get() == list(range(20))
