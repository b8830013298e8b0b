"""Bugs planted in the CUDA kernels one by one: does the ordinary test suite catch them?

    python -m tests.cuda_on_cpu.mutants [number ...]

For each, the tests of the kernels (those that execute CUDA C) run in a process of their own on the changed source,
until one fails. Survivors are printed; less than 95 % caught is an error. docs/cuda_on_cpu.md judges the survivors.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from fastddsp.kernels.cuda import launch

VARIABLE = "CUDA_MUTANT"
TESTS = ("test_phase.py", "test_harmonic.py")
TIMEOUT_S = 200  # a mutant that does not end is caught
ENOUGH = 0.95


class Mutant(NamedTuple):
    """A bug: the `nth` place where `file`'s text, headers included, says `old` says `new` instead."""

    name: str
    old: str
    new: str
    nth: int = 0
    file: str = "harmonic.cu"


BARRIER = "__syncthreads();"

MUTANTS = [
    # phases: phase.cuh
    Mutant("samples of an interval counted from the wrong one", "(i * rest + t.n_intervals - 1) /", "i * rest /"),
    Mutant("frames beyond the end not held", "j : n_frames - 1;", "j : n_frames;"),
    Mutant("whole turns kept", "__dsub_rn(turns, rint(turns))", "turns"),
    Mutant("last harmonic below Nyquist by floor", "ceil(nyquist / f) - 1", "floor(nyquist / f)"),
    Mutant("advance of one slope too many", "(count * (count - 1) >> 1) * v.slope",
           "(count * (count + 1) >> 1) * v.slope"),
    Mutant("advance not rounded to the grid", "+ 0x2000) & ~(word)0x3fff", "+ 0x2000)"),
    Mutant("advance rounded down", "* v.slope + 0x2000)", "* v.slope)"),
    Mutant("audible from the wrong end of the interval", "v.a < v.c ? v.a : v.c", "v.a > v.c ? v.a : v.c"),
    Mutant("sample's phase one increment behind", "(word)(m + 1) * v.base", "(word)m * v.base"),
    Mutant("sample's phase not rounded", "(exact + 0x80000000u) >> 32", "exact >> 32"),
    Mutant("sample's limit from the interval's start", "v.a + (v.c - v.a) * fraction", "v.a"),
    Mutant("hop rounded down where intervals do not divide the samples", "(rest ? (", "(false ? ("),
    Mutant("block's sum without its last step", "for (int d = 16; d; d >>= 1) v += __shfl_xor_sync",
           "for (int d = 16; d > 1; d >>= 1) v += __shfl_xor_sync"),
    Mutant("block's sum: no barrier", BARRIER, "", 0),
    Mutant("one segment too many", "s < segment; s +=", "s <= segment; s +="),
    Mutant("one interval too many before", "k < i; k +=", "k <= i; k +="),
    Mutant("intervals looked at before the last ones are done with", BARRIER, "", 1),
    Mutant("advances read before they are written", BARRIER, "", 2),
    Mutant("phases read before they are written", BARRIER, "", 3),
    Mutant("an interval's own advance before it", "for (int j = 0; j < k; ++j) before",
           "for (int j = 0; j <= k; ++j) before"),
    # envelopes: envelope.cuh
    Mutant("weights swapped", "w0 = 1 - w1;", "w0 = w1; w1 = 1 - w0;"),
    Mutant("cubic weights not rounded", "rint(rest / (double)t.n_samples * 1024) / 1024",
           "(rest / (double)t.n_samples)"),
    # forward
    Mutant("staging guard gone", "h <= n_plain ? row[h - 1] : 0", "row[h - 1]"),
    Mutant("last plain harmonic left out", "h <= n_plain ? row[h - 1] : 0", "h < n_plain ? row[h - 1] : 0"),
    Mutant("p and q of the wrong team", "const int n_plain = intervals[team].plain",
           "const int n_plain = intervals[0].plain"),
    Mutant("q's sign", "above1 + below1, above1 - below1};", "above1 + below1, below1 - above1};"),
    Mutant("second frame is the first", "amplitudes + frame_of(frame + team + 1,",
           "amplitudes + frame_of(frame + team,"),
    Mutant("one cosine short", "for (int j = 0; j < HALF; ++j) {\n            const Pair",
           "for (int j = 0; j < HALF - 1; ++j) {\n            const Pair"),
    Mutant("turned the other way", "turn(o.s[l], o.c[l], o.turn_sine[l],", "turn(o.s[l], o.c[l], -o.turn_sine[l],"),
    Mutant("never started afresh", "if (block % BLOCKS_PER_SEED == 0) {", "if (block == 0) {"),
    Mutant("started one harmonic off", "BLOCK * block + MIDDLE, settings", "BLOCK * block + HALF, settings"),
    Mutant("staged over what is still read", BARRIER, "", 4),
    Mutant("read before it is staged", BARRIER, "", 5),
    Mutant("crossing harmonics one short", "h <= min(limit, v.audible)", "h < min(limit, v.audible)"),
    Mutant("crossing harmonics not masked", "h <= min(limit, v.audible)", "h <= v.audible"),
    Mutant("samples beyond the interval written", "if (m0 + l * team < v.count && ", "if ("),
    Mutant("idle teams write too", " && threadIdx.x / team < count)", ")"),
    Mutant("rounds overlap", "round * team * SAMPLES + threadIdx.x % team", "round * team + threadIdx.x % team"),
    Mutant("final phase before the last interval", "intervals[count - 1].phase + intervals[count - 1].advance);\n\n",
           "intervals[count - 1].phase);\n\n"),
    Mutant("frequencies that are not finite unnoticed", "y[l] = (real)((v.a + v.c) * 0.0);", "y[l] = 0;"),
    # backward
    Mutant("tile filled while it is read", BARRIER, "", 6),
    Mutant("tile read before it is filled", BARRIER, "", 7),
    Mutant("tile larger than its memory", "SAMPLES_STAGED 4", "SAMPLES_STAGED 8"),
    Mutant("moments count from 0", "const real after = m + 1;", "const real after = m;"),
    Mutant("moments of the wrong sample", "tile, k, begin + k, middle, s.shift", "tile, k, k, middle, s.shift"),
    Mutant("a slice short", "slice < slices; ++slice, from", "slice < slices - 1; ++slice, from"),
    Mutant("threads beyond the slices work too", "if (slice < slices)\n", "if (slice <= slices)\n"),
    Mutant("stride of the slices", "k += slices) add_sample", "k += slices + 1) add_sample"),
    Mutant("sums over the tile that is still read", BARRIER, "", 8),
    Mutant("sums read before they are written", BARRIER, "", 9),
    Mutant("crossing: sums read before they are written", BARRIER, "", 10),
    Mutant("rows of other blocks", "return j >= first && j < last ?", "return j >= first && j <= last ?"),
    Mutant("harmonics beyond the row", "if (row && h <= n_plain) row", "if (row) row"),
    Mutant("sum and difference swapped", "add_to(out1, middle_of - j - 1, task.v->plain, sum[1] - sum[3])",
           "add_to(out1, middle_of - j - 1, task.v->plain, sum[1] + sum[3])"),
    Mutant("crossing not masked", "if (h > tile.limit[k]) continue;", ""),
    Mutant("amplitudes' gradients not cleared", "k += blockDim.x) out[k] = 0;", "k += blockDim.x) {}"),
    Mutant("an interval left unvisited", "j0 - from - n_taps(s.method) + 1", "j0 - from - n_taps(s.method) + 2"),
    Mutant("moments written by every visitor", "if (PHASE && is_mine) {", "if (PHASE) {"),
    Mutant("more intervals than are looked at together", "(i - first) % MAX_INTERVALS;",
           "(i - first) % (MAX_INTERVALS + 1);"),
    # gradient of f0
    Mutant("moments' sum: scratch written while it is read", BARRIER, "", 11),
    Mutant("moments' sum: scratch read before it is written", BARRIER, "", 12),
    Mutant("scan: scratch read before it is written", BARRIER, "", 13),
    Mutant("scan without lane guard", "if (lane + d < 32) v += later;", "v += later;"),
    Mutant("scan adds its own warp", "for (int w = warp + 1; w < SCAN", "for (int w = warp; w < SCAN"),
    Mutant("an interval's own moment among the later ones", "after = later + (from_here - s);",
           "after = later + from_here;"),
    Mutant("sides read before they are written", BARRIER, "", 14),
    Mutant("held frames' intervals dropped at the end", "is_last || i >= n_intervals ? n_intervals : i + 1",
           "i >= n_intervals ? n_intervals : i + 1"),
    Mutant("held frames' intervals dropped at the start", "is_first || i < 0 ? 0 : i,", "i < 0 ? 0 : i,"),
    Mutant("initial phase without the final one's cotangent", "double later = final_cotangent[b];",
           "double later = 0;"),
]  # fmt: skip


def changed(mutant: Mutant, text: str) -> str:
    """The text with the bug, or as it is where it has no place for it: a header by itself."""
    at = -1
    for _ in range(mutant.nth + 1):
        at = text.find(mutant.old, at + 1)
        if at < 0:
            return text
    return text[:at] + mutant.new + text[at + len(mutant.old) :]


def plant_from_environment() -> None:
    """Where the environment names a mutant, kernels.cuda.launch reads the changed source."""
    if number := os.environ.get(VARIABLE):
        mutant, whole = MUTANTS[int(number)], launch.source
        launch.source = lambda file: changed(mutant, whole(file))


def verdict(number: int) -> str:
    """The first failing test of a mutant, `does not end`, or `survives`."""
    whole = launch.source(MUTANTS[number].file)
    assert changed(MUTANTS[number], whole) != whole, f"mutant {number} is nowhere to be planted"
    folder = os.path.dirname(__file__)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "--hypothesis-seed=0",
    ]
    command += ["-k", "not PTX", *(os.path.join(folder, test) for test in TESTS)]
    environment = os.environ | {VARIABLE: str(number), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return "does not end"
    if done.returncode == 0:
        return "survives"
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split("::")[-1][:90] if failed else f"crash ({done.returncode})"


def main(numbers: list[int]) -> int:
    """Try mutants on all processors; returns the exit status."""
    caught = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, text in zip(numbers, pool.map(verdict, numbers), strict=True):
            print(f"{number:3d} {MUTANTS[number].name:60s} {text}", flush=True)
            caught += text != "survives"
    print(f"{caught} of {len(numbers)} caught")
    return int(caught < ENOUGH * len(numbers))


if __name__ == "__main__":
    sys.exit(main([int(number) for number in sys.argv[1:]] or list(range(len(MUTANTS)))))
