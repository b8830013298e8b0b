"""Figures of a GPU as Markdown, the times that docs/performance_cuda.md predicts beside those measured."""

from typing import Any

NOTHING = "Nothing yet: no GPU has run these kernels."
SHARE = 0.7
"""Of the instructions that a GPU could start; the model's guess."""


def predicted(executed: float, gpu: dict[str, Any]) -> float | None:
    """Seconds for so many instructions, where the card's clock is known."""
    rate = gpu["instructions_per_second"]
    return executed / (SHARE * rate) if rate else None


def tables(figures: dict[str, Any]) -> str:
    """What was measured: times, memory, what failed, and on what."""
    gpu, cases = figures["gpu"], figures["cases"]
    rows = [
        "| 16 items of 4 s, float32 | predicted | CUDA graph | a call | torch | torch.compile | peak memory: ours; "
        "torch; compiled | error |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, case in cases.items():
        rows += [row(name, part, case, gpu) for part in case["seconds"]] if "seconds" in case else [refused(name, case)]
    failures = [
        f"- {name}, {part}, {rival}: {reason}"
        for name, case in cases.items()
        for part, reasons in case.get("failures", {}).items()
        for rival, reason in reasons.items()
    ]
    return "\n".join([*rows, *(["", "Could not run:", "", *failures] if failures else []), "", machine(gpu)])


def row(name: str, part: str, case: dict[str, Any], gpu: dict[str, Any]) -> str:
    """One pass of a case: rivals' times over those of a call of ours."""
    seconds, peaks = case["seconds"][part], case["peak_bytes"][part]
    ours = seconds["fastddsp"]
    others = [f"{time(seconds.get(r))}{over(seconds.get(r), ours)}" for r in ("torch", "torch.compile")]
    memory = "; ".join(size(peaks.get(rival)) for rival in ("fastddsp", "torch", "torch.compile"))
    cells = [f"{name}, {part}", time(predicted(case["executed"][part], gpu)), time(seconds["fastddsp, CUDA graph"])]
    return f"| {' | '.join([*cells, time(ours), *others, memory, format(case['error'], '.0e')])} |"


def refused(name: str, case: dict[str, Any]) -> str:
    """A wrong kernel has no figures."""
    return f"| {name} | {case['wrong']} |" + " |" * 6


def machine(gpu: dict[str, Any]) -> str:
    """What the figures depend on."""
    clock = f"{gpu['clock_hz'] / 1e6:.0f} MHz" if gpu["clock_hz"] else "an unknown clock"
    return (
        f"{gpu['card']} (sm_{gpu['capability'].replace('.', '')}, {gpu['multiprocessors']} multiprocessors at up to "
        f"{clock}, {gpu['memory_bytes'] / 1e9:.0f} GB), driver {gpu['driver']}, CUDA {gpu['cuda']}, torch "
        f"{gpu['torch']}, CuPy {gpu['cupy']}. Made by `python -m fastddsp.benchmarks.gpu`: CUDA events, medians of "
        "rounds in which all take turns, warm, after a check of audio and gradients against float64 and the CPU. "
        f"Predicted: counted instructions at {SHARE:.0%} of what the card can start. Memory: what a call adds to the "
        "allocator's peak."
    )


def time(seconds: float | None) -> str:
    """Microseconds, or milliseconds from 10 ms on; a dash for what there is not."""
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 0.01 else f"{seconds * 1e6:.0f} us"


def over(seconds: float | None, ours: float) -> str:
    """How many times ours."""
    return "" if seconds is None else f" ({seconds / ours:.1f} x)"


def size(count: int | None) -> str:
    """Megabytes."""
    return "-" if count is None else f"{count / 1e6:.0f} MB"
