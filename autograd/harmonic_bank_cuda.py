"""The harmonic bank's ops on CUDA tensors: results from torch's allocator, kernels on torch's current stream."""

import math

import torch

from fastddsp.autograd import dispatch


def _bank(
    f0_hz, initial_phase, n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns
):  # fmt: skip
    from fastddsp.kernels.cuda.harmonic import Bank
    from fastddsp.kernels.phase import Timeline

    timeline, queue = Timeline(n_samples, n_intervals, first_frame), dispatch.queue(f0_hz)
    controls = _items(f0_hz, 1), _items(initial_phase, 0)
    return Bank(*controls, timeline, sample_rate, nyquist, method, quarter_turns, queue)


def _items(x, n_axes):
    """A tensor of items, each of n_axes: [batch, ...] or, side by side, [batch, voices, ...]."""
    return x.contiguous().flatten(0, -1 - n_axes)


def bank(f0_hz, amplitudes, initial_phase, *settings):
    """Audio and final phase: `fastddsp::harmonic_bank`."""
    audio = amplitudes.new_empty(f0_hz.shape[0], settings[0])
    if audio.numel() == 0 or initial_phase.numel() == 0:  # no voices are silence
        return audio.zero_(), torch.remainder(initial_phase, 2 * math.pi)
    final_phase = torch.empty_like(initial_phase, memory_format=torch.contiguous_format)
    _bank(f0_hz, initial_phase, *settings).render(_items(amplitudes, 2), audio, _items(final_phase, 0))
    return audio, final_phase


def bank_backward(g_audio, g_final, f0_hz, amplitudes, initial_phase, *settings_and_needs):
    """The gradients that are needed, the others empty: `fastddsp::harmonic_bank_backward`."""
    *settings, need_phase, need_amplitudes = settings_and_needs
    is_empty = g_audio.numel() == 0 or initial_phase.numel() == 0
    new = f0_hz.new_zeros if is_empty else f0_hz.new_empty  # the kernels write whole gradients
    d_f0 = new(f0_hz.shape if need_phase else 0)
    d_amplitudes = new(amplitudes.shape if need_amplitudes else 0)
    d_initial = g_final.clone(memory_format=torch.contiguous_format)
    if is_empty or not (need_phase or need_amplitudes):
        return d_f0, d_amplitudes, d_initial
    kernels = _bank(f0_hz, initial_phase, *settings)
    g, a, final = g_audio.contiguous(), _items(amplitudes, 2), _items(g_final, 0)
    results = _items(d_f0, 1) if need_phase else None, _items(d_initial, 0)
    if need_amplitudes and need_phase:
        kernels.gradients(g, a, final, _items(d_amplitudes, 2), *results)
    elif need_amplitudes:
        kernels.analyse(g, _items(d_amplitudes, 2))
    else:
        kernels.phase_gradient(g, a, final, *results)
    return d_f0, d_amplitudes, d_initial


def analysis(g, f0_hz, initial_phase, n_harmonics, *settings):
    """Inner products of a signal with the harmonics: `fastddsp::harmonic_analysis`."""
    out = g.new_zeros(*f0_hz.shape, n_harmonics) if g.numel() == 0 else g.new_empty(*f0_hz.shape, n_harmonics)
    if g.numel() and out.numel():
        _bank(f0_hz, initial_phase, *settings).analyse(g.contiguous(), _items(out, 2))
    return out
