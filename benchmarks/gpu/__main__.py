"""Measure the CUDA kernels on this machine's GPU and write down what was found.

    python -m fastddsp.benchmarks.gpu [part of a case's name ...]

Prints a table; that of all cases goes, in a checkout, to benchmarks/results/gpu.json and docs/performance_cuda.md.
Exit status: 0; 1 if a kernel gave a wrong answer, which gets no figure; 2 if there is no GPU, or no CuPy, and nothing
is written.
"""

import sys
from pathlib import Path
from typing import Any

import torch

from fastddsp.autograd.dispatch import cuda_missing
from fastddsp.benchmarks import report as readme
from fastddsp.benchmarks.gpu import report
from fastddsp.benchmarks.gpu.cases import CASES
from fastddsp.benchmarks.gpu.device import Gpu
from fastddsp.benchmarks.gpu.measure import measure
from fastddsp.benchmarks.measure import save

RESULTS = Path("benchmarks/results/gpu.json")
PAGE = Path("docs/performance_cuda.md")


def main(names: list[str], gpu: Any = None, root: Path = readme.ROOT) -> int:
    """Measure the cases whose name holds one of `names`, or all; returns the exit status.

    Args:
      names: parts of names.
      gpu: device.Gpu, unless something stands in for it.
      root: of the repository, where results and page lie.
    """
    reason = cuda_missing() if gpu is None else None
    if gpu is None and reason is None and not torch.cuda.is_available():
        reason = "torch finds no CUDA device"
    if reason:
        print(f"Nothing measured: {reason}", file=sys.stderr)
        return 2
    gpu = gpu or Gpu()
    figures: dict[str, Any] = {"gpu": gpu.describe(), "cases": {}}
    for name in (name for name in CASES if not names or any(part in name for part in names)):
        try:
            figures["cases"][name] = measure(CASES[name], gpu)
        except AssertionError as error:
            figures["cases"][name] = {"wrong": str(error)}
        print(name, figures["cases"][name], flush=True)
    table = report.tables(figures)
    print(table)
    if figures["cases"].keys() == CASES.keys() and (root / PAGE).exists():  # there is none beside an installed package
        save(str(root / RESULTS), figures)
        readme.write(root / PAGE, table)
    return int(any("wrong" in case for case in figures["cases"].values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
