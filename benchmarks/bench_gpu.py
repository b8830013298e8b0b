"""Every case of `gpu.cases` on a CUDA device, checked, then measured; runs by itself where there is one.

    python -m pytest benchmarks/bench_gpu.py
    python -m fastddsp.benchmarks.gpu             # the same, written into docs/performance_cuda.md

The statistics of pytest-benchmark are those of a CUDA graph's replay, forward and backward, until it is done.
"""

import pytest
import torch

from fastddsp.autograd.dispatch import cuda_missing
from fastddsp.benchmarks.gpu.cases import CASES
from fastddsp.benchmarks.gpu.device import Gpu
from fastddsp.benchmarks.gpu.measure import PASSES, measure, run_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(cuda_missing() is not None, reason=str(cuda_missing()))]


@pytest.mark.parametrize("name", CASES)
def bench_on_a_device(name, benchmark):
    gpu, case = Gpu(), CASES[name]
    benchmark.extra_info.update(measure(case, gpu))
    replay = gpu.captured(run_of(PASSES[-1], case.ours, *case.inputs(gpu.device)))

    def run() -> None:
        replay()
        torch.cuda.synchronize()

    benchmark.pedantic(run, rounds=15, warmup_rounds=2)
