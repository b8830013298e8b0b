"""Every case of `comparisons`, checked, then measured.

    python -m pytest benchmarks --benchmark-json=benchmarks/results/benchmarks.json
    python -m fastddsp.benchmarks.report        # writes the figures into README.md

The statistics of pytest-benchmark are those of our op alone; the ratios, medians of rounds in which all rivals take
turns, are in `extra_info`.
"""

import pytest

from fastddsp.benchmarks import measure
from fastddsp.benchmarks.comparisons import CASES


@pytest.mark.parametrize("name", CASES)
def bench_case(name, benchmark):
    case = CASES[name]
    benchmark.extra_info["error"] = case.check()
    benchmark.extra_info.update(measure.compare(name, case))
    ours = next(iter(case.rivals().values()))
    benchmark.pedantic(ours, rounds=15, warmup_rounds=2)
