"""The ops of wavetables on CUDA tensors: results from torch's allocator, kernels on torch's current stream."""

import math

import torch

from fastddsp.autograd import dispatch


def lookup(phase, wavetables, order):
    """Readings: `fastddsp::wavetable_lookup`."""
    out = torch.empty_like(phase, memory_format=torch.contiguous_format)
    if out.numel():
        _lookup(phase, wavetables, order).render(out)
    return out


def lookup_backward(g, phase, wavetables, order, *needs):
    """The gradients that are needed, the others empty: `fastddsp::wavetable_lookup_backward`."""
    results, wanted = _results(g, (phase, wavetables), needs)
    if g.numel():
        _lookup(phase, wavetables, order).gradients(g.contiguous(), *wanted)
    return results


def oscillator(f0_hz, amplitudes, wavetables, initial_phase, *settings):
    """Audio and final phase: `fastddsp::wavetable_oscillator`."""
    audio = amplitudes.new_empty(amplitudes.shape[0], settings[0])
    if audio.numel() == 0:
        return audio, torch.remainder(initial_phase, 2 * math.pi)
    final_phase = torch.empty_like(initial_phase, memory_format=torch.contiguous_format)
    _oscillator(f0_hz, wavetables, initial_phase, *settings).play(amplitudes.contiguous(), audio, final_phase)
    return audio, final_phase


def oscillator_backward(g_audio, g_final, f0_hz, amplitudes, wavetables, initial_phase, *settings_and_needs):
    """The gradients that are needed, the others empty: `fastddsp::wavetable_oscillator_backward`."""
    settings, needs = settings_and_needs[:-3], settings_and_needs[-3:]
    results, wanted = _results(g_audio, (f0_hz, amplitudes, wavetables), needs)
    d_initial = g_final.clone(memory_format=torch.contiguous_format)
    if g_audio.numel():
        kernels = _oscillator(f0_hz, wavetables, initial_phase, *settings)
        kernels.pull_back(g_audio.contiguous(), amplitudes.contiguous(), g_final.contiguous(), *wanted, d_initial)
    return *results, d_initial


def _results(g, inputs, needs):
    """Gradients to fill, empty where not needed, and the same with None for these."""
    new = g.new_empty if g.numel() else g.new_zeros  # the kernels write whole gradients
    results = tuple(new(x.shape if need else 0) for x, need in zip(inputs, needs, strict=True))
    return results, tuple(d if need else None for d, need in zip(results, needs, strict=True))


def _lookup(phase, wavetables, order):
    from fastddsp.kernels.cuda.wavetable import Lookup

    return Lookup(phase.contiguous(), wavetables.contiguous(), order, dispatch.queue(phase))


def _oscillator(f0_hz, wavetables, initial_phase, n_samples, sample_rate, order):
    from fastddsp.kernels.cuda.wavetable import Oscillator

    inputs = f0_hz.contiguous(), wavetables.contiguous(), initial_phase.contiguous()
    return Oscillator(*inputs, n_samples, sample_rate, order, dispatch.queue(f0_hz))
