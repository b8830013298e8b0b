"""`python -m fastddsp.benchmarks.report`: the committed results as tables in README.md and docs/performance.md.

Reads benchmarks/results/benchmarks.json (pytest-benchmark) and benchmarks/results/demo.json (the demo's metrics.json)
and rewrites what stands between the results markers. No figure in the README is typed by hand. Comparisons that other
processors made, benchmarks_*.json, are tables of docs/performance.md.
"""

import json
from pathlib import Path

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
ROOT = Path(__file__).parent.parent


def benchmarks(file: str = "benchmarks.json") -> tuple[dict, dict[str, dict]]:
    """The machine, and extra_info by benchmark name."""
    document = json.loads((ROOT / "benchmarks/results" / file).read_text())
    return document["machine_info"], {b["name"]: b["extra_info"] for b in document["benchmarks"]}


def kernel_rows(results: dict[str, dict]) -> list[str]:
    """One row a comparison: our time, rivals over ours, share of the peak, memory."""
    rows = [
        "| forward + backward unless marked | fastddsp | rivals, over ours | share of the multiply-add peak "
        "| peak memory added (data) | rivals |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, info in results.items():
        if "times_slower" not in info:
            continue
        ours, *others = info["seconds"]
        ratios = "; ".join(f"{way(r)} {times(info['times_slower'][r])}" for r in others)
        memory = "; ".join(f"{info['peak_bytes'][r] / 1e6:.0f} MB" for r in others)
        rows.append(
            f"| {name.removeprefix('bench_case[').removesuffix(']')} | {info['seconds'][ours] * 1e3:.2f} ms | {ratios} "
            f"| {info['share_of_peak']:.0%} "
            f"| {info['peak_bytes'][ours] / 1e6:.1f} MB ({info['data_bytes'] / 1e6:.1f} MB) | {memory} |"
        )
    return rows


def times(ratio: float) -> str:
    """A ratio, with a decimal where it matters."""
    return f"{ratio:.0f} x" if ratio >= 10 else f"{ratio:.1f} x"


def way(rival: str) -> str:
    """A rival's short name."""
    return rival.removeprefix("torch, ")


def other_rows(results: dict[str, dict], demo: dict) -> list[str]:
    """Exactness, training and the demo."""
    share = results["bench_dsp_share_of_a_training_step"]
    seconds = share["seconds"]
    cold = results["bench_kernels_before_the_first_training_step[False]"]["seconds"]
    warm = results["bench_kernels_before_the_first_training_step[True]"]["seconds"]
    rows = {
        "440 Hz, 100 harmonics, 60 s at 48 kHz: largest error against float64 (magenta: 1.06)": (
            f"{results['bench_minute_of_a_steady_tone']['max_error']:.1e}"
        ),
        "DSP (synths, filter, loss) in a training step, `solo_instrument`, B=16, 4 s": (
            f"{share['dsp_share']:.0%} of {seconds['step']:.1f} s: harmonic {seconds['harmonic'] * 1e3:.0f} ms, "
            f"noise {seconds['noise'] * 1e3:.0f} ms, loss {seconds['loss'] * 1e3:.0f} ms "
            f"(reverb besides: {seconds['reverb'] * 1e3:.0f} ms)"
        ),
        "kernels before the first training step: compiled / loaded from the cache": f"{cold:.1f} s / {warm:.1f} s",
        **{f"demo, held-out phrase: {label}": text for label, text in demo_rows(demo).items()},
    }
    return ["| what | measured |", "| --- | --- |", *(f"| {what} | {figure} |" for what, figure in rows.items())]


def demo_rows(demo: dict) -> dict[str, str]:
    """The demo's metrics that a listener would ask for."""
    held_out = demo["held_out"]
    return {
        "f0 L1 where the tracker is confident": f"{held_out['paper_f0_l1_semitones']:.3f} semitones",
        "f0 outliers": f"{held_out['paper_f0_outliers']:.1%}",
        "loudness L1": f"{held_out['loudness_l1_db']:.2f} dB",
        "training; everything": f"{demo['training']['seconds']:.0f} s; {demo['seconds']:.0f} s",
    }


def write(readme: Path, table: str) -> None:
    """Replace what stands between the markers."""
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


def made_on(machine: dict) -> str:
    """A machine in words."""
    return (
        f"{machine['processor']}, {machine['cores']} threads, {machine['register_bytes'] * 8}-bit registers, "
        f"{machine['multiply_adds_per_second'] / 1e9:.0f} G multiply-adds/s measured in registers, "
        f"torch {machine['torch']}, numba {machine['numba']}"
    )


def tables() -> str:
    """The committed results as Markdown."""
    machine, results = benchmarks()
    demo = json.loads((ROOT / "benchmarks/results/demo.json").read_text())
    lines = [
        *kernel_rows(results),
        "",
        *other_rows(results, demo),
        "",
        f"{made_on(machine)}. Made by `pytest benchmarks "
        "--benchmark-json=benchmarks/results/benchmarks.json` and `python -m fastddsp.benchmarks.report`; "
        "medians of rounds in which all rivals take turns. "
        "The share counts what direct summation needs, also where FFTs run instead (K=1000, filters). "
        "[Other processors'](docs/performance.md#other-processors).",
    ]
    return "\n".join(lines)


def tables_of_other_machines() -> str:
    """The comparisons that other processors made."""
    lines = []
    for file in sorted((ROOT / "benchmarks/results").glob("benchmarks_*.json")):
        machine, results = benchmarks(file.name)
        lines += [f"{made_on(machine)} (`{file.name}`):", "", *kernel_rows(results), ""]
    return "\n".join(lines[:-1])


def main() -> None:
    """Write the tables into the README and the page on performance."""
    write(ROOT / "README.md", tables())
    write(ROOT / "docs/performance.md", tables_of_other_machines())


if __name__ == "__main__":
    main()
