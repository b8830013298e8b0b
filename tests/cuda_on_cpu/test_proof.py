"""A proof for every schedule where the static verifier sentryward finds one; docs/cuda_on_cpu.md lists its refusals."""

import json
import re

import numpy as np
import pytest

from fastddsp.kernels.cuda import fir, launch
from tests.cuda_on_cpu import nvrtc

sentryward = pytest.importorskip("sentryward")
pytestmark = pytest.mark.needs_nvrtc


def verdict(folder, ptx: str, kernel: str, n_blocks: int, n_threads: int, numbers: dict[int, int]) -> str:
    """`race_free`, or what was found or is in the way; `numbers` by their place among the kernel's arguments."""
    entry = re.search(rf"\.entry {kernel}\s*\((.*?)\)", ptx, re.DOTALL)
    parameters = re.findall(r"\.param \.(\w+) (\w+)", entry.group(1))
    arguments = [
        {"parameter": parameters[place][1], "type": parameters[place][0], "value": number}
        for place, number in numbers.items()
    ]
    settings = {
        "schema": "spverify.kernel-input/v1",
        "entry": kernel,
        "launch": {
            "grid_dim": [n_blocks, 1, 1],
            "block_dim": [n_threads, 1, 1],
            "cluster_dim": [1, 1, 1],
            "dynamic_shared_bytes": 0,
        },
        "arguments": arguments,
    }
    (folder / "kernel.ptx").write_text(ptx, "utf-8")
    (folder / "launch.json").write_text(json.dumps(settings), "utf-8")
    found = sentryward.verify(folder / "kernel.ptx", input=folder / "launch.json", timeout_seconds=60)
    return found["result"]


N_FRAMES, N_BANDS, PIECES = 2, 129, 2  # more bands than threads


def parts_are_added(folder, source: str, dtype: type, n_phases: int) -> str:
    ptx = nvrtc.ptx(source, "90", launch.options(dtype is np.float64), name="fir.cu")
    numbers = {2: N_FRAMES, 3: N_BANDS, 4: PIECES, 5: n_phases}
    return verdict(folder, ptx, "sum_parts", N_FRAMES, fir.THREADS, numbers)


@pytest.mark.parametrize("n_phases", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
def test_parts_of_gradients_are_added_without_a_race(tmp_path, dtype, n_phases):
    assert parts_are_added(tmp_path, launch.source("fir.cu"), dtype, n_phases) == "race_free"


def test_the_verifier_sees_a_race(tmp_path):
    source = launch.source("fir.cu")
    racing = source.replace(
        "k < n_bands; k += blockDim.x) {\n        const real* own", "k < n_bands; k += 2) {\n        const real* own"
    )
    assert racing != source
    assert parts_are_added(tmp_path, racing, np.float32, 1) == "potential_race"
