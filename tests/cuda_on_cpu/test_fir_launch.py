"""Launches of the filters, with a stand-in for CuPy that records: geometry, arguments, stream, memory."""

import numpy as np
import pytest
import torch

from fastddsp.autograd import dispatch, filters, filters_cuda
from fastddsp.kernels.cuda import fir, launch
from fastddsp.kernels.cuda.fir import Filter, Source
from tests.cuda_on_cpu.test_launch import QUEUE, cupy  # noqa: F401


@pytest.fixture
def calls(cupy):  # noqa: F811
    """Every launch, in order."""
    return cupy.calls


def filter_of(batch=16, frames=1000, bands=65, n_samples=64000, overlap=False, dtype=torch.float32, window_size=257):
    """Kernels, magnitudes, audio."""
    audio, magnitudes = torch.ones(batch, n_samples, dtype=dtype), torch.ones(batch, frames, bands, dtype=dtype)
    return Filter(Source(audio), magnitudes.shape, n_samples, window_size, overlap, audio, QUEUE), magnitudes, audio


def test_a_kernel_gets_pointers_numbers_of_its_types_stream_and_device(calls):
    kernels, magnitudes, audio = filter_of(2, 4, 9, 250, window_size=7, overlap=True)
    out = torch.empty_like(audio)
    kernels.render(magnitudes, out)
    (call,) = calls
    assert (call.name, call.device, call.stream, call.block) == ("fir_forward", 3, 77, (32,))
    assert call.args[:4] == (magnitudes.data_ptr(), audio.data_ptr(), 0, out.data_ptr())
    assert call.args[4:9] == (0, 0, 250, 250, 63)  # seeds' stride, offset, samples, outputs, hop
    assert call.args[9:11] == (2**64 // 16, 2**64 // 12)  # turns of pi / 8, and of half a window of period 6
    assert call.args[11:16] == (4, 8, 7, -2, 4)  # frames, n, taps, first lag, the window's centre
    assert call.args[16:] == (7, 2, 1, 7, 4, 288 + 6 + 4 * 8)  # window, delay, overlap, tile, frames, samples staged
    assert [type(x) for x in call.args[4:]] == [np.int64] * 5 + [np.uint64] * 2 + [np.int32] * 11


@pytest.mark.parametrize(
    ("shape", "blocks", "threads", "group"),
    [
        ({}, 16 * 56, 128, 21),  # 56 tiles of 1152 samples, which 20 frames of 64 and a part of one reach
        ({"overlap": True}, 16 * 56, 128, 21),
        ({"batch": 4}, 4 * 112, 64, 12),
        ({"batch": 1}, 223, 32, 8),
        ({"frames": 64000}, 16 * 56, 128, 24),
        ({"frames": 1}, 16 * 56, 128, 1),
        ({"frames": 128000}, 16 * 56, 128, 24),  # frames without samples
        ({"bands": 257, "window_size": 0}, 16 * 56, 128, 15),  # what shared memory holds
    ],
    ids=str,
)
def test_forward_is_one_launch_of_as_many_blocks_as_there_are_tiles(calls, shape, blocks, threads, group):
    kernels, magnitudes, audio = filter_of(**shape)
    kernels.render(magnitudes, audio)
    (call,) = calls
    assert (call.grid, call.block, call.args[-2]) == ((blocks,), (threads,), group)


@pytest.mark.parametrize(
    ("shape", "blocks", "own", "pieces"),
    [
        ({}, 16 * 63, 16, 1),
        ({"overlap": True}, 16 * 125, 8, 1),
        ({"dtype": torch.float64}, 16 * 125, 8, 1),
        ({"frames": 400}, 16 * 67, 6, 1),
        ({"frames": 1}, 16 * 63, 1, 63),
        ({"frames": 60}, 16 * 60 * 2, 1, 2),
    ],
    ids=str,
)
def test_backward_is_one_launch_and_one_more_where_parts_are_added(calls, shape, blocks, own, pieces):
    kernels, magnitudes, audio = filter_of(**shape)
    kernels.gradients(audio, magnitudes, audio, magnitudes)
    backward, *more = calls
    assert (backward.name, backward.grid, backward.block) == ("fir_backward", (blocks,), (128,))
    assert backward.args[-4:-2] == (own, pieces)
    n_parts = pieces * (2 if shape.get("overlap") else 1)
    assert [call.name for call in more] == ["sum_parts"] * (n_parts > 1)
    for call in more:
        assert call.args[:2] == (backward.args[5], magnitudes.data_ptr())
        assert call.args[2:] == (magnitudes.shape[1], 65, pieces, n_parts // pieces)
        assert call.grid == (16 * magnitudes.shape[1],)


def test_what_is_not_needed_is_not_asked_for(calls):
    kernels, magnitudes, audio = filter_of(2, 60, overlap=True)
    kernels.gradients(audio, magnitudes, audio, None)
    kernels.gradients(audio, None, None, magnitudes)
    assert [call.name for call in calls] == ["fir_backward", "fir_backward", "sum_parts"]
    assert calls[0].args[5] == 0
    assert (calls[1].args[0], calls[1].args[4]) == (0, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("bands", [2, 65, 257, 3000])
@pytest.mark.parametrize("overlap", [False, True])
def test_shared_memory_is_what_any_launch_has(calls, dtype, bands, overlap):
    for frames in (1, 63, 1000, 8000):
        kernels, magnitudes, audio = filter_of(1, frames, bands, 8000, overlap, dtype, window_size=0)
        kernels.render(magnitudes, audio)
        kernels.gradients(audio, magnitudes, audio, magnitudes)
    assert all(call.shared_mem <= fir.SHARED_BYTES for call in calls)
    assert all(call.args[-2] > 0 for call in calls if call.name == "fir_forward")
    assert all(call.args[-4] > 0 for call in calls if call.name == "fir_backward")


# --------------------------------------------------------------------------------------------------------- the bridge


def test_ops_on_cuda_tensors_go_to_the_current_stream(calls, monkeypatch):
    """The CUDA implementations, with tensors of the CPU in the place of CUDA's."""
    streams = iter([11, 12, 13, 14])
    monkeypatch.setattr(dispatch, "queue", lambda tensor: launch.Queue(0, next(streams)))
    audio, magnitudes, seeds = torch.ones(2, 30), torch.ones(1, 3, 5).expand(2, -1, -1), torch.tensor([7]).expand(2)
    out = filters_cuda.frequency_filter(audio, magnitudes, 0, True, False)
    gradients = filters_cuda.frequency_filter_backward(out, audio, magnitudes, 0, True, False, True, True)
    noise = filters_cuda.filtered_noise(magnitudes, seeds, 40, 6, 0, False)
    (d_noise,) = (filters_cuda.filtered_noise_backward(noise, seeds, 3, 5, 6, 0, False),)
    assert [call.stream for call in calls] == [11, 12, 13, 14]
    assert [x.shape for x in (out, *gradients, noise, d_noise)] == [(2, 37), (2, 30), (2, 3, 5), (2, 40), (2, 3, 5)]
    for call in calls[2:]:
        assert call.args[1:3] == (0, seeds.data_ptr())  # the one seed there is, not copied
    assert calls[2].args[4:6] == calls[3].args[6:8] == (0, 6)


def test_a_seed_a_row_is_told_apart_from_one(calls, monkeypatch):
    monkeypatch.setattr(dispatch, "queue", lambda tensor: QUEUE)
    filters_cuda.filtered_noise(torch.ones(2, 3, 5), torch.tensor([7, 8]), 40, 0, 0, False)
    assert calls[0].args[4] == 1


@pytest.mark.parametrize("name", ["frequency_filter", "filtered_noise"])
def test_torch_knows_the_cuda_implementation(name):
    for op in (name, f"{name}_backward"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"fastddsp::{op}", "CUDA")


def test_empty_problems_launch_nothing(calls):
    audio, magnitudes, seeds = torch.ones(2, 0), torch.ones(2, 3, 5), torch.tensor([7, 7])
    out = filters_cuda.frequency_filter(audio, magnitudes, 0, True, False)
    d_audio, d_magnitudes = filters_cuda.frequency_filter_backward(out, audio, magnitudes, 0, True, False, True, True)
    assert (out.shape, d_audio.shape, d_magnitudes.shape) == ((2, 7), (2, 0), (2, 3, 5))
    assert not out.any()
    assert not d_magnitudes.any()
    assert filters_cuda.filtered_noise(magnitudes, seeds, 0, 0, 0, False).shape == (2, 0)
    assert not filters_cuda.filtered_noise_backward(torch.ones(2, 0), seeds, 3, 5, 0, 0, False).any()
    assert not calls


def test_more_bands_than_fit_the_arithmetic_are_refused():
    with pytest.raises(ValueError, match="magnitudes must have at most 65537 bands on CUDA, got 70000"):
        filter_of(1, 1, 70000, 10)


def test_tensors_on_the_cpu_are_not_copied(cupy, monkeypatch):  # noqa: F811
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(ValueError, match="backend 'cuda' must be given tensors on cuda, got tensors on cpu"):
        filters.filtered_noise(torch.ones(1, 2, 3), 8, backend="cuda")
