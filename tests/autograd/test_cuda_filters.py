"""CUDA filters and noise on a device: magenta's numbers, the CPU's noise, graphs, streams. Runs where there is one."""

import numpy as np
import pytest
import torch

from fastddsp.autograd import filters
from fastddsp.autograd.dispatch import cuda_missing
from fastddsp.autograd.filters import filtered_noise, frequency_filter
from fastddsp.kernels.reference.noise import noise as reference_noise
from tests.autograd.test_filters import DESIGN_AND_FILTER
from tests.golden.compare import check

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(cuda_missing() is not None, reason=str(cuda_missing()))]

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
OVERLAP = pytest.mark.parametrize("overlap", [False, True], ids=["jumping", "overlapping"])


@DTYPES
@pytest.mark.parametrize("case", DESIGN_AND_FILTER, ids=str)
def test_values_and_gradients_are_magentas(case, dtype):
    function = getattr(filters, case.function.removeprefix("core."))

    def on_device(*inputs, **args):
        return function(*(x.cuda() for x in inputs), **args).cpu()

    check(case, on_device, dtype=dtype, rtol=1e-5)  # magenta is float32


def problem(dtype=torch.float32, batch=3, frames=40, bands=65, n_samples=64 * 40):
    """Audio and magnitudes."""
    rng = torch.Generator().manual_seed(0)
    audio = torch.randn(batch, n_samples, generator=rng, dtype=dtype)
    magnitudes = torch.rand(batch, frames, bands, generator=rng, dtype=dtype)
    return [x.cuda().requires_grad_() for x in (audio, magnitudes)]


def step(audio, magnitudes, overlap=False):
    """Filtered audio, noise, and all gradients."""
    filtered = frequency_filter(audio, magnitudes, 257, overlap=overlap)
    noise = filtered_noise(magnitudes, audio.shape[1], seed=7, overlap=overlap)
    gradients = torch.autograd.grad((filtered * audio.detach().cos()).sum(), (audio, magnitudes))
    d_noise = torch.autograd.grad((noise * audio.detach()).sum(), magnitudes)
    return [filtered.detach(), noise.detach(), *gradients, *d_noise]


@DTYPES
@OVERLAP
@pytest.mark.parametrize("shape", [{}, {"frames": 1}, {"bands": 700, "frames": 7}, {"frames": 3000}], ids=str)
def test_device_and_cpu_agree(dtype, overlap, shape):
    inputs = problem(dtype, **shape)
    on_cpu = [x.detach().cpu().requires_grad_() for x in inputs]
    for actual, expected in zip(step(*inputs, overlap), step(*on_cpu, overlap), strict=True):
        # Roundings of sums of a frame's samples, taps and bands: a few times the root of their number.
        bound = 16 * torch.finfo(dtype).eps * 2700**0.5 * expected.abs().max()
        torch.testing.assert_close(actual.cpu(), expected, rtol=0, atol=float(bound))


@DTYPES
@pytest.mark.parametrize("offset", [0, 4_000_000_003])
def test_noise_is_the_cpus_bit_for_bit(dtype, offset):
    _, magnitudes = problem(dtype)
    given = [reference_noise(2**62 + 5, b, offset, 500) for b in range(3)]
    expected = frequency_filter(torch.tensor(np.stack(given), dtype=dtype, device="cuda"), magnitudes)
    assert torch.equal(filtered_noise(magnitudes, 500, 0, seed=2**62 + 5, offset=offset), expected)


@OVERLAP
def test_every_run_gives_the_same_bits(overlap):
    inputs = problem()
    first = step(*inputs, overlap)
    for _ in range(5):
        assert all(torch.equal(x, y) for x, y in zip(step(*inputs, overlap), first, strict=True))


def test_nothing_waits_for_the_device():
    inputs = problem()
    step(*inputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(*inputs)
        filtered_noise(inputs[1], 100)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_cuda_graph_captures_forward_and_backward():
    inputs = problem()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(*inputs)
    with torch.no_grad():
        inputs[1].mul_(1.1)
    graph.replay()
    for x, y in zip(captured, step(*inputs), strict=True):
        assert torch.equal(x, y)


def test_memory_is_that_of_audio_and_magnitudes():
    inputs = problem(batch=4, frames=1000, n_samples=64000)
    step(*inputs)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    outputs = step(*inputs)
    extra = torch.cuda.max_memory_allocated() - before
    assert extra < 3 * sum(x.nbytes for x in (*inputs, *outputs))
