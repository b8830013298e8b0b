"""The ops of partials on CUDA tensors: results from torch's allocator, kernels on torch's current stream."""

import math

import torch

from fastddsp.autograd import dispatch


def _bank(frequencies, initial_phase, n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns):
    from fastddsp.kernels.cuda.partials import Bank
    from fastddsp.kernels.phase import Timeline

    timeline = Timeline(n_samples, n_intervals, first_frame)
    controls, queue = (frequencies.contiguous(), initial_phase.contiguous()), dispatch.queue(frequencies)
    return Bank(*controls, timeline, sample_rate, nyquist, method, quarter_turns, queue)


def bank(frequencies, amplitudes, initial_phase, *settings):
    """Audio and final phases: `fastddsp::partials_bank`."""
    shape = amplitudes.shape[0], settings[0]
    if settings[0] == 0 or amplitudes.numel() == 0:
        return amplitudes.new_zeros(shape), torch.remainder(initial_phase, 2 * math.pi)
    audio = amplitudes.new_empty(shape)
    final_phase = torch.empty_like(initial_phase, memory_format=torch.contiguous_format)
    _bank(frequencies, initial_phase, *settings).render(amplitudes.contiguous(), audio, final_phase)
    return audio, final_phase


def bank_backward(g_audio, g_final, frequencies, amplitudes, initial_phase, *settings_and_needs):
    """The gradients that are needed, the others empty: `fastddsp::partials_bank_backward`."""
    *settings, need_phase, need_amplitudes = settings_and_needs
    is_empty = g_audio.numel() == 0 or amplitudes.numel() == 0
    new = frequencies.new_zeros if is_empty else frequencies.new_empty  # the kernels write whole gradients
    d_frequencies = new(frequencies.shape if need_phase else 0)
    d_amplitudes = new(amplitudes.shape if need_amplitudes else 0)
    d_initial = g_final.clone(memory_format=torch.contiguous_format)
    if not is_empty and (need_phase or need_amplitudes):
        _bank(frequencies, initial_phase, *settings).gradient(
            g_audio.contiguous(),
            amplitudes.contiguous(),
            g_final.contiguous(),
            d_amplitudes if need_amplitudes else None,
            d_frequencies if need_phase else None,
            d_initial,
        )
    return d_frequencies, d_amplitudes, d_initial
