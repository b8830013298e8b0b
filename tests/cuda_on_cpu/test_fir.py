"""The CUDA filters, executed on the CPU: golden numbers, specification, noise, bits, checker."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastddsp.autograd import filters
from fastddsp.kernels import fir as rules
from fastddsp.kernels.cuda import fir, launch
from fastddsp.kernels.cuda.fir import Filter, Source
from fastddsp.kernels.reference import fir as reference
from fastddsp.kernels.reference.noise import noise as reference_noise
from tests.cuda_on_cpu.conftest import BUILDS, executor_of
from tests.cuda_on_cpu.launching import QUEUE
from tests.kernels.test_fir import problems, tolerances

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
OVERLAP = pytest.mark.parametrize("overlap", [False, True], ids=["jumping", "overlapping"])


def run_all(audio, g, magnitudes, window_size, overlap, source=None):
    """Output and both gradients, as arrays; without audio, of `source` and without its gradient."""
    audio, g, magnitudes = (None if x is None else torch.from_numpy(x) for x in (audio, g, magnitudes))
    n_samples = audio.shape[1] if source is None else g.shape[1]
    kernels = Filter(source or Source(audio), magnitudes.shape, n_samples, window_size, overlap, g, QUEUE)
    out, d_magnitudes = torch.full_like(g, torch.nan), torch.full_like(magnitudes, torch.nan)
    d_audio = None if source else torch.full_like(audio, torch.nan)
    kernels.render(magnitudes, out)
    kernels.gradients(g, magnitudes if d_audio is not None else None, d_audio, d_magnitudes)
    return [x.numpy() for x in (out, d_audio, d_magnitudes) if x is not None]


def assert_equals_specification(results, audio, g, magnitudes, window_size, overlap):
    for b in range(len(audio)):
        x, v, bands = (array[b].astype(float) for array in (audio, g, magnitudes))
        expected = (
            reference.filter_audio(x, bands, window_size, len(v), overlap),
            *reference.gradients(v, x, bands, window_size, overlap),
        )
        allowed = tolerances(x, v, bands, window_size, results[0].dtype)
        for actual, wanted, atol in zip(results, expected, allowed, strict=True):
            np.testing.assert_allclose(actual[b], wanted, rtol=0, atol=atol)


# ------------------------------------------------------------------------------------------------------------- numbers


@DTYPES
@OVERLAP
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems())
def test_kernels_equal_their_specification(executor, dtype, overlap, problem):
    *arrays, window_size = problem
    arrays = [x.astype(dtype) for x in arrays]
    assert_equals_specification(run_all(*arrays, window_size, overlap), *arrays, window_size, overlap)
