"""The harmonic bank's kernels without torch around them: best of many, on one thread and on all.

    python -m fastddsp.benchmarks.kernels_alone

Prints, for each operation, nanoseconds a tile of 64 samples on each thread, and multiply-adds (2 a harmonic-sample and
operation: one for each of the two frames that an interval blends) over those that as many threads do in registers.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from fastddsp.benchmarks.peak import multiply_add_chains
from fastddsp.kernels.cpu.harmonic import Bank
from fastddsp.kernels.phase import Timeline

CASES = ((4, 1, 440.0), (4, 100, 440.0), (4, 100, 70.0), (1, 400, 17.0))  # batch, harmonics, f0 in Hz
OPERATIONS = {"forward": 2, "analysis": 2, "both gradients": 4}  # multiply-adds a harmonic-sample
N_FRAMES, HOP, SAMPLE_RATE, TRIALS = 1000, 64, 16000, 40


def best_seconds(runs: list[Callable[[], object]], trials: int = TRIALS) -> list[float]:
    """Least time of each; they take turns."""
    best = [np.inf] * len(runs)
    for _ in range(trials):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            run()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def operations(batch: int, n_harmonics: int, f0_hz: float, n_threads: int) -> list[Callable[[], object]]:
    """`render`, `analyse` and `gradients` of a bank, ready to run."""
    rng = np.random.default_rng(0)
    f0 = (f0_hz * (0.9 + 0.2 * rng.random((batch, N_FRAMES)))).astype(np.float32)
    amplitudes = rng.random((batch, N_FRAMES, n_harmonics)).astype(np.float32) / n_harmonics
    audio = rng.standard_normal((batch, N_FRAMES * HOP)).astype(np.float32)
    timeline = Timeline(N_FRAMES * HOP, N_FRAMES)
    bank = Bank(f0, np.zeros(batch), timeline, SAMPLE_RATE, SAMPLE_RATE / 2, "linear", 0, n_threads)
    rendered, d_amplitudes, d_f0 = np.empty_like(audio), np.empty_like(amplitudes), np.empty_like(f0)
    zeros, d_initial = np.zeros(batch), np.empty(batch)
    return [
        lambda: bank.render(amplitudes, rendered),
        lambda: bank.analyse(audio, d_amplitudes),
        lambda: bank.gradients(audio, amplitudes, zeros, d_amplitudes, d_f0, d_initial),
    ]


def main() -> None:
    """Print the table."""
    for n_threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(n_threads)
        work, chains = multiply_add_chains(n_threads)
        peak = work / best_seconds([chains])[0]
        print(f"{n_threads} thread(s), {peak / 1e9:.0f} G multiply-adds/s")
        for batch, n_harmonics, f0_hz in CASES:
            audible = min(n_harmonics, int(SAMPLE_RATE / 2 / f0_hz))
            n_samples = batch * N_FRAMES * HOP
            runs = operations(batch, n_harmonics, f0_hz, n_threads)
            for (name, count), seconds in zip(OPERATIONS.items(), best_seconds(runs), strict=True):
                tile = seconds * n_threads / n_samples * 64 * 1e9
                share = count * audible * n_samples / seconds / peak
                label = f"{f0_hz:5.0f} Hz, K = {n_harmonics:3d}, {name:14}"
                print(f"  {label}: {tile:5.0f} ns a tile, {share:4.0%} of the peak")


if __name__ == "__main__":
    main()
