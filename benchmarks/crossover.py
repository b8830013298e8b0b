"""Where the non-uniform FFT overtakes the direct bank: nanoseconds a sample of both, one thread.

    python -m fastddsp.benchmarks.crossover

`render` and `gradients` of one item at 48 kHz, every harmonic audible (K f0 = 0.45 to 0.4545 of the sample rate), in
turn, best of many. The rule that chooses is fastddsp.kernels.cpu.harmonic_nufft.least_harmonics; its choice is in bold.
"""

import numpy as np

from fastddsp.benchmarks.kernels_alone import best_seconds
from fastddsp.kernels.cpu import harmonic_nufft
from fastddsp.kernels.cpu.harmonic import Bank
from fastddsp.kernels.phase import Timeline

HARMONICS, HOPS, SAMPLE_RATE = (100, 150, 250, 400, 500, 1000, 2000, 4000), (96, 192, 480, 960), 48000
HARMONIC_SAMPLES = 4e7
rule = harmonic_nufft.least_harmonics


def passes(algorithm: type[Bank], n_harmonics: int, hop: int, n_frames: int):
    """Forward and both gradients, ready to run."""
    rng = np.random.default_rng(0)
    f0 = ((0.45 + 0.0045 * rng.random((1, n_frames))) * SAMPLE_RATE / n_harmonics).astype(np.float32)
    amplitudes = rng.random((1, n_frames, n_harmonics)).astype(np.float32) / n_harmonics
    audio = rng.standard_normal((1, n_frames * hop)).astype(np.float32)
    bank = algorithm(f0, np.zeros(1), Timeline(n_frames * hop, n_frames), SAMPLE_RATE, SAMPLE_RATE / 2, "window")
    rendered, d_amplitudes, d_f0, d_initial = (np.empty_like(x) for x in (audio, amplitudes, f0, np.zeros(1)))

    def run() -> None:
        bank.render(amplitudes, rendered)
        bank.gradients(audio, amplitudes, np.zeros(1), d_amplitudes, d_f0, d_initial)

    return run


def main() -> None:
    """Print the table, as docs/performance_nufft.md has it."""
    print("| K |", " | ".join(f"hop {hop}" for hop in HOPS), "|")
    print("| --- |", " | ".join("---" for _ in HOPS), "|")
    harmonic_nufft.least_harmonics = lambda *_: 1  # tables everywhere, to see what they would cost
    for n_harmonics in HARMONICS:
        cells = []
        for hop in HOPS:
            n_frames = int(np.clip(HARMONIC_SAMPLES / n_harmonics / hop, 8, 500))
            algorithms = (Bank, harmonic_nufft.NufftBank)
            seconds = best_seconds([passes(a, n_harmonics, hop, n_frames) for a in algorithms], 7)
            direct, tables = (f"{s / (n_frames * hop) * 1e9:.0f}" for s in seconds)
            pays = n_harmonics >= rule(n_harmonics, hop)
            cells.append(f"{direct} / **{tables}**" if pays else f"**{direct}** / {tables}")
        print(f"| {n_harmonics} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
