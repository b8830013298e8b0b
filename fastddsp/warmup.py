"""`fastddsp warmup`: every kernel compiled and cached, so that no first call waits."""

import time


def warmup(float32_only: bool = False) -> None:
    """Compile every kernel now, not at its first call.

    Args:
        float32_only: leave out the float64 kernels, which only tests and careful users need.
    """
    import torch

    start = time.perf_counter()
    for dtype in (torch.float32,) if float32_only else (torch.float32, torch.float64):
        for name, call in _calls(dtype).items():
            begin = time.perf_counter()
            call().sum().backward()
            print(f"{name}, {dtype}: {time.perf_counter() - begin:.1f} s", flush=True)
    print(f"All kernels are compiled and cached ({time.perf_counter() - start:.1f} s).")


def _calls(dtype) -> dict:
    """A small call of each kernel op, on tensors that need gradients."""
    import torch

    from fastddsp.autograd import filters, harmonic_bank, partials
    from fastddsp.autograd.delay import variable_length_delay
    from fastddsp.autograd.oscillator_bank import oscillator_bank
    from fastddsp.autograd.spectral_loss import spectral_loss
    from fastddsp.autograd.wavetable import linear_lookup, wavetable_synthesis

    def ones(*shape):
        return torch.ones(*shape, dtype=dtype, requires_grad=True)

    f0_hz = (100 * torch.ones(1, 4, 1, dtype=dtype)).requires_grad_()
    return {
        "harmonic bank": lambda: harmonic_bank.harmonic_bank(f0_hz, ones(1, 4, 20), 256),
        "harmonic bank, many harmonics": lambda: harmonic_bank.harmonic_bank(f0_hz, ones(1, 4, 1000), 4 * 960),
        "bank of partials": lambda: partials.sinusoidal_bank(ones(1, 4, 20), ones(1, 4, 20), 256),
        "bank of partials, amplitudes alone": lambda: partials.sinusoidal_bank(
            ones(1, 4, 20).detach(), ones(1, 4, 20), 256
        ),
        "bank of partials, frequencies alone": lambda: partials.sinusoidal_bank(
            ones(1, 4, 20), ones(1, 4, 20).detach(), 256
        ),
        "oscillators of every sample": lambda: oscillator_bank(ones(1, 9, 20), ones(1, 9, 20)),
        "oscillators of every sample, apart": lambda: oscillator_bank(
            ones(1, 9, 20), ones(1, 9, 20), sum_sinusoids=False
        ),
        "frequency filter": lambda: filters.frequency_filter(ones(1, 256), ones(1, 4, 65), 257),
        "filtered noise": lambda: filters.filtered_noise(ones(1, 4, 65), 256),
        "wavetables": lambda: wavetable_synthesis(f0_hz, ones(1, 4, 1), ones(1, 4, 8), 256),
        "wavetables, given phases": lambda: linear_lookup(ones(1, 9), ones(1, 4, 8)),
        "delay of variable length": lambda: variable_length_delay(ones(1, 9), ones(1, 9), 4),
        "spectral loss": lambda: spectral_loss(ones(1, 256), ones(1, 256), (64,), logmag_weight=1.0),
    }
