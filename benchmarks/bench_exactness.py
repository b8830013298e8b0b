"""How exact: a minute of 440 Hz at 48 kHz against the closed form in float64."""

import numpy as np
import torch

from fastddsp.autograd.harmonic_bank import harmonic_bank

SAMPLE_RATE, SECONDS, F0_HZ, N_HARMONICS = 48000, 60, 440, 100


def bench_minute_of_a_steady_tone(benchmark):
    """100 harmonics of equal amplitude, normalized over those below Nyquist."""
    k = np.arange(1, N_HARMONICS + 1)
    share = (k * F0_HZ < SAMPLE_RATE / 2) / np.count_nonzero(k * F0_HZ < SAMPLE_RATE / 2)
    n_frames, n_samples = 250 * SECONDS, SAMPLE_RATE * SECONDS
    f0_hz = torch.full((1, n_frames, 1), float(F0_HZ))
    amplitudes = torch.tensor(share, dtype=torch.float32).expand(1, n_frames, N_HARMONICS)

    audio = benchmark.pedantic(harmonic_bank, (f0_hz, amplitudes, n_samples, SAMPLE_RATE), rounds=3)[0].double().numpy()

    n = np.arange(1, n_samples + 1)
    truth = np.zeros(n_samples)
    for harmonic in k[share > 0]:  # whole turns taken out in integers
        phase = harmonic * F0_HZ * n % SAMPLE_RATE / SAMPLE_RATE
        truth += float(amplitudes[0, 0, harmonic - 1]) * np.sin(2 * np.pi * phase)
    benchmark.extra_info["max_error"] = float(np.abs(audio - truth).max())
