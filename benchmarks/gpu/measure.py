"""Figures of a case: rivals in turn on the same inputs, warm; a wrong kernel gets none."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from fastddsp.benchmarks.gpu.cases import Case, Function, with_gradients

ROUNDS, ENOUGH_S = 21, 1e-3  # a quick call is repeated until a measurement takes this long
PASSES = ("forward", "forward + backward")


def measure(case: Case, gpu: Any, rounds: int | None = None) -> dict[str, Any]:
    """Error, and for each pass seconds and peak memory of each rival; of ours also as a CUDA graph.

    Args:
      case: what to measure.
      gpu: device.Gpu, or what stands in for it.
      rounds: in each of which every rival runs once; ROUNDS by default.

    Returns:
      `error`, `executed` instructions, `seconds`, `peak_bytes` by pass and rival, and `failures`, in words, of rivals
      that cannot run here.

    Raises:
      AssertionError: if ours is wrong.
    """
    figures: dict[str, Any] = {"error": case.check(gpu.device), "executed": case.executed()}
    figures |= {"seconds": {}, "peak_bytes": {}, "failures": {}}
    controls, cotangent = case.inputs(gpu.device)
    torch.compiler.reset()  # a function is compiled for a few shapes only, and rivals share theirs
    functions = {
        "fastddsp": case.ours,
        "torch": case.plain,
        "torch.compile": torch.compile(case.plain, dynamic=False),
    }
    for name in PASSES:
        runs = {rival: run_of(name, function, controls, cotangent) for rival, function in functions.items()}
        peaks, failures = first_runs(runs, gpu)
        graph = {"fastddsp, CUDA graph": gpu.captured(runs["fastddsp"])}
        figures["seconds"][name] = in_turn({**graph, **{rival: runs[rival] for rival in peaks}}, gpu, rounds or ROUNDS)
        figures["peak_bytes"][name], figures["failures"][name] = peaks, failures
        gpu.clear()
    return figures


def run_of(name: str, function: Function, controls: tuple, cotangent: torch.Tensor) -> Callable[[], object]:
    """A pass that can be called again and again."""
    if name == "forward":
        controls = tuple(x.detach() for x in controls)
        return torch.no_grad()(partial(function, *controls, n_samples=cotangent.shape[1]))
    return partial(with_gradients, function, controls, cotangent)


def first_runs(runs: dict[str, Callable], gpu: Any) -> tuple[dict[str, int], dict[str, str]]:
    """Peak memory of each rival once it is warm, and why those that failed did; ours must not."""
    peaks, failures = {}, {}
    for rival, run in runs.items():
        try:
            run()
            peaks[rival] = gpu.peak_bytes(run)
        except Exception as error:  # plain torch may lack the memory, its compiler anything
            if rival == "fastddsp":
                raise
            failures[rival] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        gpu.clear()
    return peaks, failures


def in_turn(runs: dict[str, Callable], gpu: Any, rounds: int) -> dict[str, float]:
    """Median seconds of each over rounds in which all take turns."""
    repeats = {rival: max(1, round(ENOUGH_S / gpu.seconds(run))) for rival, run in runs.items()}
    times: dict[str, list[float]] = {rival: [] for rival in runs}
    for _ in range(rounds):
        for rival, run in runs.items():
            times[rival].append(gpu.seconds(run, repeats[rival]))
    return {rival: statistics.median(seconds) for rival, seconds in times.items()}
