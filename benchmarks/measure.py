"""How figures are made: rivals in turn on the same inputs, memory in fresh processes, and what the machine can do.

Times are medians of rounds in which every rival has a turn, so that a machine whose speed drifts drifts for all;
what is reported is ratios. The limit of a kernel is the multiply-adds that it needs over those that all threads do in
registers. (A library's matrix product may be far from it: torch's does 55 G a second on an AMD core that does 133.)
"""

import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from fastddsp.benchmarks.peak import multiply_add_chains

TURN_SECONDS = 0.05


def interleaved(rivals: dict[str, Callable[[], object]], rounds: int) -> dict:
    """Median seconds of each rival, warm, over `rounds` rounds of turns.

    Who follows one that sweeps gigabytes through the caches finds them cold, for five calls or so: our kernels take 1.6
    times as long in the first of them. So a turn lasts TURN_SECONDS, and what it counts is its second half; a rival as
    slow as that has one call a turn, which counts.
    """
    for run in rivals.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, run in rivals.items():
            turn = _turn(run)
            times[name] += turn[len(turn) // 2 :]
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def _turn(run: Callable[[], object]) -> list[float]:
    """Seconds of the calls that TURN_SECONDS hold, at least one."""
    turn: list[float] = []
    while sum(turn) < TURN_SECONDS:
        start = time.perf_counter()
        run()
        turn.append(time.perf_counter() - start)
    return turn


def compare(name: str, case, rounds: int = 5) -> dict:
    """Times of a case's rivals, how many times slower they are than ours, our share of the peak, and peak memory.

    The peak takes its turns with the rivals, since a shared machine's speed drifts.
    """
    rivals = case.rivals()
    ours = next(iter(rivals))
    work, chains = multiply_add_chains(torch.get_num_threads())
    seconds = interleaved({**rivals, "peak": chains}, rounds)
    peak = work / seconds.pop("peak")
    return {
        "seconds": seconds,
        "times_slower": {rival: seconds[rival] / seconds[ours] for rival in rivals if rival != ours},
        "multiply_adds": case.multiply_adds(),
        "multiply_adds_per_second_at_peak": peak,
        "share_of_peak": case.multiply_adds() / seconds[ours] / peak,
        "data_bytes": case.data_bytes(),
        "peak_bytes": {rival: peak_memory(name, rival) for rival in rivals},
    }


def peak_memory(case: str, rival: str) -> int:
    """Bytes that one run of `rival` in `case` adds to the peak of a fresh process, warmed up on a small case."""
    # By way of a shell: a process inherits the peak of the one that it was forked from, and ours is large by now.
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-m", "fastddsp.benchmarks.measure", case, rival]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def peak_of_this_process() -> int:
    """Bytes that were resident at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def current_memory() -> int:
    """Resident bytes now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def multiply_add_peak() -> float:
    """Multiply-adds a second in registers, on all of torch's threads."""
    work, run = multiply_add_chains(torch.get_num_threads())
    return work / interleaved({"peak": run}, 9)["peak"]


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of copying 256 MB."""
    source = np.zeros(2**25)
    target = np.empty_like(source)

    def run() -> float:
        start = time.perf_counter()
        np.copyto(target, source)
        return 2 * source.nbytes / (time.perf_counter() - start)

    return max(run() for _ in range(5))


def machine() -> dict:
    """What a figure depends on: processor, cores, versions, vector width, peaks."""
    import numba

    from fastddsp.kernels.cpu.simd import REGISTER_BYTES

    with open("/proc/cpuinfo") as cpuinfo:
        names = [line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "numba": numba.__version__,
        "register_bytes": REGISTER_BYTES,
        "multiply_adds_per_second": multiply_add_peak(),
        "copy_bytes_per_second": copy_bandwidth(),
    }


def _measure_memory(case: str, rival: str) -> None:
    comparisons = importlib.import_module("fastddsp.benchmarks.comparisons")
    comparisons.case(case).small().rivals()[rival]()  # compiles, starts threads, fills caches
    run = comparisons.case(case).rivals()[rival]  # its inputs exist now
    before = current_memory()
    run()
    print(max(0, peak_of_this_process() - before))


if __name__ == "__main__":
    _measure_memory(*sys.argv[1:])


def save(path: str, figures: dict) -> None:
    """Write figures as JSON, whole or not at all."""
    with open(path + ".part", "w") as file:
        json.dump(figures, file, indent=1)
        file.write("\n")
    os.replace(path + ".part", path)
