"""Launches of partials, wavetables and delays, with a stand-in for CuPy that records: geometry, arguments, stream."""

import numpy as np
import pytest
import torch

from fastddsp.autograd import delay, delay_cuda, dispatch, partials, partials_cuda, wavetable, wavetable_cuda
from fastddsp.kernels.cuda.delay import Delay
from fastddsp.kernels.cuda.partials import Bank
from fastddsp.kernels.cuda.wavetable import Lookup, Oscillator
from fastddsp.kernels.phase import Timeline
from tests.cuda_on_cpu.test_launch import QUEUE, cupy  # noqa: F401


@pytest.fixture
def calls(cupy):  # noqa: F811
    """Every launch, in order."""
    return cupy.calls


def shapes(calls):
    return [(call.name, call.grid[0], call.block[0]) for call in calls]


def types(call):
    return "".join(type(x).__name__[0] + type(x).__name__[-2:] if type(x) is not int else "p" for x in call.args)


# ------------------------------------------------------------------------------------------------------------ partials


def bank(frames=4, hop=64, n_partials=9, dtype=torch.float32, batch=2, method="cubic"):
    frequencies = torch.ones(batch, frames, n_partials, dtype=dtype)
    initial = torch.zeros(batch, n_partials, dtype=torch.float64)
    return Bank(frequencies, initial, Timeline(frames * hop, frames), 16000, 8000, method, -1, QUEUE)


def test_a_bank_of_few_intervals_is_one_launch(calls):
    b = bank()
    audio, final = torch.ones(2, 256), torch.zeros(2, 9, dtype=torch.float64)
    b.render(b.frequencies, audio, final)
    (call,) = calls
    assert (call.name, call.device, call.stream, call.shared_mem) == ("partials_bank", 3, 77, 0)
    pointers = [b.frequencies, b.initial_phase, b.frequencies, None, audio, final]
    assert call.args[:6] == tuple(0 if p is None else p.data_ptr() for p in pointers)
    assert call.args[6:11] == (256, 4, 64, 0, 4)  # samples, intervals, hop, first frame, frames
    assert call.args[11:14] == (1 / 16000, 4 / (256 * 16000), 8000)
    assert call.args[14:] == (9, 3, 3, 16, 1)  # partials, cubic, three quarter turns, team, rounds
    assert types(call) == "p" * 6 + "i64" * 5 + "f64" * 3 + "i32" * 5


@pytest.mark.parametrize(
    ("settings", "blocks", "team", "rounds"),
    [
        ({"frames": 100}, 2 * 13, 16, 1),  # 8 intervals a block
        ({"frames": 100, "hop": 1}, 2 * 4, 4, 1),
        ({"hop": 960}, 2 * 4 * 2, 128, 2),  # 2 rounds of 512 samples
        ({"dtype": torch.float64}, 2 * 1, 32, 1),
    ],
    ids=str,
)
def test_forward_has_as_many_blocks_as_there_are_tiles(calls, settings, blocks, team, rounds):
    b = bank(**settings)
    b.render(b.frequencies, torch.ones(1, dtype=b.frequencies.dtype), b.initial_phase)
    assert (calls[-1].grid, calls[-1].block, calls[-1].args[-2:]) == ((blocks,), (128,), (team, rounds))


def test_many_intervals_are_laid_out_by_a_launch_before(calls):
    b = bank(17, n_partials=33)
    (call,) = calls
    assert shapes(calls) == [("partial_phases", 2 * 2, 512)]
    assert call.args[2] == b.phases.data_ptr()
    assert b.phases.shape == (2, 17, 33)
    b.render(b.frequencies, torch.ones(1), b.initial_phase)
    assert calls[1].args[3] == call.args[2]


@pytest.mark.parametrize(
    ("needs", "kernel", "kinds"),
    [("both", "partials_gradients", 7), ("amplitudes", "partials_analysis", 4), ("phase", "partials_moments", 3)],
)
def test_backward_is_two_launches_that_hand_over_products(calls, needs, kernel, kinds):
    b = bank(n_partials=200)
    d = torch.empty_like(b.frequencies)
    results = (None if needs == "phase" else d, None if needs == "amplitudes" else d, b.initial_phase)
    b.gradient(torch.ones(2, 256), d, b.initial_phase, *results)
    assert shapes(calls) == [(kernel, 2 * 4 * 2, 224), ("partials_frames", 2 * 7, 512)]  # 100 partials a block
    first, last = calls
    assert first.args[5] == last.args[0]  # the products
    assert (last.args[2] == 0, last.args[3] == 0) == (needs == "amplitudes", needs == "phase")
    assert types(first) == "p" * 6 + "i64" * 5 + "f64" * 3 + "i32" * 4
    assert types(last) == "p" * 6 + "i64" * 5 + "f64" * 3 + "i32" * 2


# ---------------------------------------------------------------------------------------------- delays and wavetables


def test_a_delay_is_one_launch_and_one_for_each_gradient(calls):
    x = torch.ones(2, 1000)
    line = Delay(x, 300, True, 0, QUEUE)
    line.render(x, x)
    line.gradients(x, x, x, x)
    read = ("delay_read", 2 * 4, 256)
    assert shapes(calls) == [read, read, ("delay_write", 2 * 2, 32)]
    assert [call.args[-4:] for call in calls] == [(1000, 300, 1, 0), (1000, 300, 1, 1), (1000, 300, 1, 0)]
    assert calls[0].args[2] == 0  # no factor
    assert types(calls[1]) == "p" * 4 + "i64" + "i32" * 3
    assert types(calls[2]) == "p" * 3 + "i64" + "i32" * 3


ITEM = "i64" * 6 + "f64" * 3 + "i64" * 2 + "u64" + "i32" * 2


def test_a_lookup_is_one_launch_and_one_for_its_gradients(calls):
    phase, tables = torch.ones(2, 1000), torch.ones(2, 5, 4096)
    lookup = Lookup(phase, tables, 1, QUEUE)
    lookup.render(phase)
    lookup.gradients(phase, phase, tables)
    # Backward a warp for the phases, and one for each frame and 2048 points.
    assert shapes(calls) == [("wavetable_read", 2 * 1, 128), ("wavetable_gradients", 2 * (1 + 5 * 2), 32)]
    read, gradients = calls
    assert read.args[1:4] == (0, 0, 0)  # no f0, initial phase, segments
    assert read.args[8] == 1000
    assert read.args[17:] == (5, 0, (2**64 - 1) // 1000, 4096, 1)  # frames of tables, of amplitudes; points, order
    assert types(read) == "p" * 8 + ITEM
    assert types(gradients) == "p" * 11 + ITEM + "i32" * 10
    assert gradients.args[25:] == (2, 1024, 1, 0, 1, 1, 0, 1, 1, 1)


def oscillator(n_tables=5, n_samples=1000):
    f0, tables, phase = torch.ones(2, 10), torch.ones(2, n_tables, 64), torch.zeros(2, dtype=torch.float64)
    return Oscillator(f0, tables, phase, n_samples, 16000, 0, QUEUE), f0, tables, phase


def test_a_synthesizer_is_one_launch(calls):
    kernels, f0, _, phase = oscillator()
    kernels.play(f0[:, :3].contiguous(), torch.ones(2, 1000), phase)
    (read,) = calls
    assert shapes(calls) == [("wavetable_read", 2 * 1, 128)]
    assert read.args[0] == 0  # no given phase
    assert read.args[8:13] == (1000, 10, 100, 0, 10)  # samples, intervals, hop, first frame, frames
    assert read.args[14:18] == (16000.0, 100 * 16000.0, 0, 5)
    assert read.args[18] == 3  # frames of amplitudes


@pytest.mark.parametrize(
    ("n_tables", "n_amplitudes", "shares", "adds"),
    [
        (5, 4, 2 + 2 + 5, 0),  # 5 intervals of 200 samples a warp, 2 of 500; tables of 2 x 400 samples in one piece
        (5, 10, 2 + 5, 0),  # one sum for both
        (1, 4, 2 + 2 + 2, 1),  # 2000 samples of a table in two pieces, which are added up
    ],
)
def test_a_synthesizers_gradients_are_two_launches(calls, n_tables, n_amplitudes, shares, adds):
    kernels, f0, tables, phase = oscillator(n_tables, 2000)
    a, g = torch.ones(2, n_amplitudes), torch.ones(2, 2000)
    kernels.pull_back(g, a, phase, f0, a, tables, phase)
    # Then a block for each scan of f0, one for all amplitudes, and those for points.
    assert shapes(calls) == [("wavetable_gradients", 2 * shares, 32), ("wavetable_finish", 2 + 1 + adds, 256)]
    gradients, finish = calls
    assert gradients.args[8:10] == (finish.args[0], finish.args[5])  # moments and weights
    assert (gradients.args[10] == finish.args[7]) == (adds > 0)
    assert types(finish) == "p" * 9 + "i64" * 6 + "f64" * 3 + "i64" * 2 + "i32" * 5


def test_only_what_is_asked_for_is_launched(calls):
    kernels, _, tables, phase = oscillator()
    a, g = torch.ones(2, 10), torch.ones(2, 1000)
    kernels.pull_back(g, a, phase, None, a)
    kernels.pull_back(g, a, phase, None, None, tables)
    assert shapes(calls) == [
        ("wavetable_gradients", 2, 32), ("wavetable_finish", 1, 256), ("wavetable_gradients", 2 * 5, 32)
    ]  # fmt: skip


def test_many_intervals_of_a_synthesizer_are_added_up_by_a_launch_before(calls):
    f0, tables, phase = torch.ones(2, 1025), torch.ones(2, 1, 64), torch.zeros(2, dtype=torch.float64)
    kernels = Oscillator(f0, tables, phase, 5000, 16000, 0, QUEUE)
    kernels.play(f0, torch.ones(2, 5000), phase)
    assert shapes(calls) == [("segment_advances", 2 * 2, 128), ("wavetable_read", 2 * 5, 128)]
    assert calls[0].args[1] == calls[1].args[3]


# --------------------------------------------------------------------------------------------------------- the bridge

OPS = [
    partials._bank_op, partials._bank_backward_op, delay._delay_op, delay._delay_backward_op,
    wavetable._lookup_op, wavetable._lookup_backward_op, wavetable._oscillator_op, wavetable._oscillator_backward_op,
]  # fmt: skip


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.differentiable.name())
def test_torch_knows_the_cuda_implementation(op):
    assert all(torch._C._dispatch_has_kernel_for_dispatch_key(twin.name(), "CUDA") for twin in op)


@pytest.mark.parametrize("batch", [0, 2])
def test_empty_problems_launch_nothing(calls, monkeypatch, batch):
    """No batch items, or no samples: results of the right shapes, gradients of zeros."""
    monkeypatch.setattr(dispatch, "queue", lambda tensor: QUEUE)
    n = 0 if batch else 8
    audio, f, phases = torch.ones(batch, n), torch.ones(batch, 3, 5), torch.full((batch, 5), 7.0, dtype=torch.float64)
    settings = n, 0, 3, 16000.0, 8000.0, "linear", 0
    out, final = partials_cuda.bank(f, f, phases, *settings)
    d_f, d_a, d_phases = partials_cuda.bank_backward(out, final, f, f, phases, *settings, True, True)
    assert (out.shape, d_f.any(), d_a.any(), d_phases.shape) == ((batch, n), False, False, (batch, 5))
    assert torch.equal(final, phases % (2 * np.pi))

    out = delay_cuda.delay(audio, audio, 5, True, 0)
    gradients = delay_cuda.delay_backward(out, audio, audio, 5, True, 0, True, True)
    assert [x.shape for x in (out, *gradients)] == [(batch, n)] * 3

    out = wavetable_cuda.lookup(audio, f, 0)
    d_phase, d_tables = wavetable_cuda.lookup_backward(out, audio, f, 0, True, True)
    assert (d_phase.shape, d_tables.any()) == ((batch, n), False)

    controls = f[..., 0], f[..., 0], f, phases[:, 0]
    out, final = wavetable_cuda.oscillator(*controls, n, 16000.0, 0)
    *gradients, d_phase = wavetable_cuda.oscillator_backward(out, final, *controls, n, 16000.0, 0, True, True, True)
    assert not any(d.any() for d in gradients)
    assert torch.equal(d_phase, final)
    assert not calls
