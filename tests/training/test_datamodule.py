from itertools import chain

import pytest

from fastddsp.training.datamodule import Shuffle, StepSampler


def test_every_window_comes_once_before_any_comes_twice():
    order = list(chain.from_iterable(StepSampler(Shuffle(7, 0), batch_size=3, n_steps=14)))
    assert len(order) == 42
    for epoch in range(6):
        assert sorted(order[7 * epoch : 7 * epoch + 7]) == list(range(7))
    assert order[:7] != order[7:14]


def test_a_resumed_run_sees_the_batches_it_would_have_seen():
    whole = list(StepSampler(Shuffle(5, 3), 2, n_steps=20))
    assert list(StepSampler(Shuffle(5, 3), 2, n_steps=20, first_step=13)) == whole[13:]
    assert list(StepSampler(Shuffle(5, 4), 2, n_steps=20)) != whole


def test_processes_share_the_stream_without_overlap():
    alone = StepSampler(Shuffle(12, 0), 4, n_steps=6)
    ranks = [StepSampler(Shuffle(12, 0), 2, n_steps=6, rank=rank, n_ranks=2) for rank in (0, 1)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == list(alone)


@pytest.mark.parametrize("first_step", [0, 5])
def test_its_length_counts_the_whole_run(first_step):
    assert len(StepSampler(Shuffle(5, 0), 2, n_steps=20, first_step=first_step)) == 20
