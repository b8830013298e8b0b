"""Write docs/parity.md: how close every function comes to magenta/ddsp, and where it differs on purpose.

    python -m tests.golden.parity [--out docs/parity.md]

The golden tests run (those with a parameter that is a golden case, or with the mark `golden`), `compare` keeps what
they compared, and this tabulates it: the page says what the tests say. A case that no test compares must be one of
DIFFERENCES, with its reason, or nothing is written.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.golden import FOLDER, Case, load
from tests.golden.compare import COMPARISONS, Comparison

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "parity.md"
TESTS = ("tests/autograd", "tests/models")

INTRODUCTION = """\
# Parity with magenta/ddsp

Every public function that has a namesake in magenta/ddsp 3.7.0 is compared with what that release computed: {n_cases}
recorded calls with inputs, outputs and gradients (`tests/golden`). `python -m tests.golden.parity` makes this page: it
runs those tests and tabulates what they compared.

- **cases**: recorded calls of the function that a test compares.
- **compared with**: *magenta* is what the release returned in float32; *float64* is the exact answer in double
  precision, which exists where magenta's float32 phase is too far off to compare with tightly. A tolerance against
  magenta includes twice its own distance from that answer. After 4 s of a steady tone (a case of `harmonic_synthesis`)
  that leaves nothing to compare: there the row *float64* counts.
- **values**, **gradients**: the comparison that comes closest to its tolerance, as *largest error / tolerance*, both
  relative to the largest value of the array. Where it says L2: the norm of the error, relative to the norm of the
  array. A dash: there are none. Ours ran in float32.

Synthesizers and models are compared twice: with our exact phase against the float64 answer, and against magenta with an
oscillator that sums its phase as magenta does, so that everything behind it can be compared tightly.
"""


class Difference(NamedTuple):
    """Where we differ from the reference on purpose."""

    functions: str
    cases: tuple[str, ...]  # golden cases that show it
    magenta: str
    here: str  # what we do instead, and why


DIFFERENCES = (
    Difference(
        "`oscillator_bank`, `harmonic_oscillator_bank`, `harmonic_synthesis`, `streaming_harmonic_synthesis`, "
        "`wavetable_synthesis`, `angular_cumsum`, `Harmonic`, `Sinusoidal`, `Wavetable`",
        (),
        "sums the phase in float32: half a turn off after 4 s of a steady 440 Hz, and each harmonic by its own amount",
        "phases are exact modulo one turn; `use_angular_cumsum` is accepted and changes nothing, because drift is an "
        "error and not a sound",
    ),
    Difference(
        "`harmonic_oscillator_bank`, `streaming_harmonic_synthesis`",
        (),
        "returns a final phase that grows by up to a turn with every call, until float32 has no digits left for it",
        "the final phase is in [0, 2 pi), in float64",
    ),
    Difference(
        "`fft_convolve`, `crop_and_compensate_delay`",
        ("conv_crop_bug_0", "conv_crop_bug_1", "conv_crop_bug_2", "conv_crop_bug_3"),
        "returns an empty tensor if the crop reaches beyond the end, and for responses of one or two samples",
        "the samples that were asked for, with zeros beyond the end: the empty tensor is a slip in a slice",
    ),
    Difference(
        "`resample` and `upsample_with_windows` by windows; `harmonic_synthesis`",
        ("window_err_not_divisible", "window_err_downsample", "odd_hop_window_err"),
        "raises if the number of samples is not a multiple of the number of frames, or is equal to it",
        "any number of samples from the number of frames up: audio has the length that it has",
    ),
    Difference(
        "`resample` by cubic interpolation",
        ("cubic_long",),
        "computes positions in float32, which in long signals picks the neighbouring entry of its table of weights now "
        "and then",
        "positions are exact; compared where the two agree on the entry, and elsewhere to within one entry",
    ),
    Difference(
        "`compute_power`, `compute_rms_energy`",
        ("power_silence",),
        "gradients are NaN in frames of exact silence",
        "0: one silent frame must not ruin a training step",
    ),
    Difference(
        "`exp_sigmoid`",
        (),
        "the gradient is NaN where the sigmoid underflows and the exponent is below e",
        "0, which is its limit",
    ),
    Difference(
        "`SpectralLoss`, `mean_difference`",
        ("cosine", "mean_difference_cosine"),
        "`COSINE` raises: it calls a function that TensorFlow 2 does not have",
        "one minus the cosine of the angle between the spectra's rows, as the name says",
    ),
    Difference(
        "`WassersteinConsistencyLoss`",
        ("wasserstein_midi_false",),
        "`midi=False` gives 0 always",
        "the distance in Hz",
    ),
    Difference(
        "`harmonic_distribution_to_wavetable`",
        (),
        "an odd n_wavetable gives one point less; a harmonic at n_wavetable / 2 comes out at half its amplitude",
        "as many points as were asked for, and the harmonic's whole amplitude",
    ),
    Difference(
        "`frequency_filter`, `FilteredNoise`, `FIRFilter`",
        (),
        "raises if frames of ceil(samples / frames) samples use up the audio before the last frame",
        "divides the audio evenly",
    ),
    Difference(
        "`MfccRnnEncoder`",
        (),
        "keeps all outputs of the recurrent layer where one z for a recording is meant (`mean_aggregate=False`)",
        "the last output",
    ),
    Difference(
        "`ResnetSinusoidalEncoder`, `SinusoidalToHarmonicEncoder`",
        (),
        "the default size, `tiny`, is none of the sizes, and raises; so does another `f0_depth` than 64",
        "the default is `small`, the size of magenta's own settings; any `f0_depth`",
    ),
    Difference(
        "`get_note_mask`, `get_note_moments`, `pool_over_notes`",
        (),
        "a change of pitch in the last frame begins no note; the deviation's gradient is NaN over a steady note",
        "it begins one; the gradient is 0",
    ),
    Difference(
        "`MidiAutoencoder`, `ZMidiAutoencoder`",
        (),
        "the audio of a model with a MIDI decoder is said to be the synthcoder's; what `z_note_encoder` makes, a pair, "
        "cannot be joined to the other latents; velocities are multiplied by 0",
        "the audio is what was played from notes; the mean over each note is joined; decoders can read velocities",
    ),
    Difference(
        "`Autoencoder` of the `vst` settings",
        (),
        "renders one frame and one hop more than the audio has, and crops the hop; averages power at 16 kHz, whatever "
        "the audio's rate",
        "the presets render the audio's own frames, and the last hop holds its frame: data sets have as many frames as "
        "hops; power is averaged over the same 64 ms at the audio's rate",
    ),
)


class GoldenOnly:
    """Plugin of pytest: leaves the tests that compare with golden cases."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Drop the other tests."""
        items[:] = [item for item in items if is_golden(item)]


def is_golden(item: pytest.Item) -> bool:
    """Whether a test has the mark, or a parameter that is a golden case."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return item.get_closest_marker("golden") is not None or any(isinstance(x, Case) for x in parameters)


def run_golden_tests() -> list[Comparison]:
    """Run the golden tests of this checkout, and return what they compared.

    Raises:
        SystemExit: A test failed.
    """
    folders = [str(ROOT / tests) for tests in TESTS]
    code = pytest.main(["--quiet", "--no-summary", "-p", "no:cacheprovider", *folders], [GoldenOnly()])
    if code != 0:
        raise SystemExit(f"the golden tests ended with {code!r}")
    return COMPARISONS


def not_compared(comparisons: list[Comparison]) -> list[tuple[str, str]]:
    """File and name of the cases that no test compares, but those that show a difference on purpose."""
    done = {comparison.case.name for comparison in comparisons}
    done |= {name for difference in DIFFERENCES for name in difference.cases}
    files = sorted(path.name for path in FOLDER.glob("*.npz"))
    return [(file, case.name) for file in files for case in load(file) if case.name not in done]


def page(comparisons: list[Comparison]) -> str:
    """The page, in Markdown."""
    n_cases = sum(len(load(path.name)) for path in FOLDER.glob("*.npz"))
    lines = [INTRODUCTION.format(n_cases=n_cases)]
    for door, functions in by_door(comparisons).items():
        lines += [f"## `{door}`", "", "| function | cases | compared with | values | gradients |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        for name, of_function in sorted(functions.items()):
            lines += rows(name, of_function)
        lines.append("")
    lines += ["## Differences on purpose", "", "| functions | magenta/ddsp 3.7.0 | here | recorded cases |"]
    lines += ["| --- | --- | --- | --- |"]
    for difference in DIFFERENCES:
        names = ", ".join(f"`{name}`" for name in difference.cases) or "-"
        lines.append(f"| {difference.functions} | {difference.magenta} | {difference.here} | {names} |")
    return "\n".join(lines) + "\n"


def by_door(comparisons: list[Comparison]) -> dict[str, dict[str, list[Comparison]]]:
    """Comparisons by the reference's module, and in it by function."""
    doors: dict[str, dict[str, list[Comparison]]] = {}
    for comparison in comparisons:
        function = comparison.case.function.split("(")[0].split()[0].removesuffix(".__call__")
        door, _, name = function.removeprefix("training.").partition(".")
        doors.setdefault(door, {}).setdefault(name or "helpers", []).append(comparison)
    return dict(sorted(doors.items()))


def rows(name: str, comparisons: list[Comparison]) -> list[str]:
    """One row of the table for each answer that a function was compared with."""
    lines = []
    for truth, shown in (("out", "magenta"), ("true64", "float64")):
        # Runs in float64 show that the formula is right; users run float32.
        of_truth = [c for c in comparisons if c.truth == truth and c.precision != "float64"]
        if of_truth:
            n_cases = len({c.case.name for c in of_truth})
            cells = [worst([c for c in of_truth if c.kind == kind]) for kind in ("value", "gradient")]
            lines.append(f"| `{name}` | {n_cases} | {shown} | {cells[0]} | {cells[1]} |")
    return lines


def worst(comparisons: list[Comparison]) -> str:
    """The comparison that comes closest to its tolerance, for each way of measuring."""
    cells = []
    for measure, mark in (("largest", ""), ("L2", " (L2)")):
        measured = [c for c in comparisons if c.measure == measure]
        if measured:
            closest = max(measured, key=lambda c: c.error / c.limit if c.limit else 0.0)
            cells.append(f"{figure(closest.error)} / {figure(closest.limit)}{mark}" if closest.limit else "equal")
    return "; ".join(cells) or "-"


def figure(x: float) -> str:
    """Two digits, or 0."""
    return f"{x:.1e}" if x else "0"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description="write docs/parity.md")
    parser.add_argument("--out", type=Path, default=PAGE)
    out = parser.parse_args().out
    comparisons = run_golden_tests()
    if missing := not_compared(comparisons):
        raise SystemExit(f"no test compares {missing}")
    out.write_text(page(comparisons), "utf-8")
    print(f"{out}: {Counter(c.kind for c in comparisons)}")


if __name__ == "__main__":
    main()
