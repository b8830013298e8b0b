"""`fastddsp bench`: the comparisons on the user's machine, and time and memory against the number of harmonics."""

from collections.abc import Iterable
from pathlib import Path

from fastddsp.benchmarks import comparisons, measure

HARMONICS = (25, 50, 100, 200, 400, 800)


def bench(out: str = "bench_output", quick: bool = False) -> None:
    """Measure the kernels against plain torch on this machine.

    Args:
        out: folder for the figures (JSON) and, where matplotlib is installed, their plot (PNG).
        quick: compare the first case only and leave the sweep over harmonics out.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    machine = measure.machine()
    print(
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load_before']:.1f}: "
        f"{machine['multiply_adds_per_second'] / 1e9:.0f} G multiply-adds/s"
    )
    if machine["load_before"] > 0.5:
        print("Something else is running: ratios against torch will be off, since its threads spin while they wait.")
    figures = {"machine": machine, "cases": {}, "sweep": {}}
    names = list(comparisons.CASES)[:1] if quick else comparisons.CASES
    for name in names:
        figures["cases"][name] = _measure(name)
        measure.save(str(folder / "bench.json"), figures)
    if not quick:
        figures["sweep"] = {str(k): _measure(comparisons.sweep_name(k), 3) for k in HARMONICS}
        measure.save(str(folder / "bench.json"), figures)
        _plot(figures["sweep"], folder / "sweep.png")
    print(f"Figures: {folder / 'bench.json'}")


def _measure(name: str, rounds: int = 5) -> dict:
    """One case, checked first and then measured and printed."""
    case = comparisons.case(name)
    error = case.check()
    result = {"error": error, **measure.compare(name, case, rounds)}
    slower = ", ".join(f"{ratio:.0f} x {rival}" for rival, ratio in result["times_slower"].items())
    ours = next(iter(result["seconds"]))
    print(
        f"{name}: {result['seconds'][ours] * 1e3:.2f} ms ({slower}), {result['share_of_peak']:.0%} of the peak, "
        f"{result['peak_bytes'][ours] / 1e6:.0f} MB (data {result['data_bytes'] / 1e6:.0f} MB), error {error:.0e}",
        flush=True,
    )
    return result


def _plot(sweep: dict[str, dict], path: Path) -> None:
    """Time and peak memory against the number of harmonics, all rivals."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        print('No plot: it needs matplotlib; pip install "fastddsp[train]"')
        return
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    harmonics = [int(k) for k in sweep]
    for axis, field, scale, label in (
        (axes[0], "seconds", 1e3, "forward + backward, ms"),
        (axes[1], "peak_bytes", 1e-6, "peak memory added, MB"),
    ):
        for rival in next(iter(sweep.values()))[field]:
            _line(axis, harmonics, [result[field][rival] * scale for result in sweep.values()], rival)
        axis.set(xlabel="harmonics", ylabel=label, xscale="log", yscale="log")
        axis.set_xticks(harmonics, [str(k) for k in harmonics])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)
    print(f"Plot: {path}")


def _line(axis, x: Iterable[int], y: Iterable[float], label: str) -> None:
    axis.plot(list(x), list(y), "o-", label=label, linewidth=2 if label == "fastddsp" else 1.2)
