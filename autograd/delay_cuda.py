"""The ops of the delay on CUDA tensors: results from torch's allocator, kernels on torch's current stream."""

import torch

from fastddsp.autograd import dispatch


def _delay(phase, max_length, wrap, order):
    from fastddsp.kernels.cuda.delay import Delay

    return Delay(phase.contiguous(), max_length, wrap, order, dispatch.queue(phase))


def delay(phase, audio, *settings):
    """Delayed audio: `fastddsp::variable_length_delay`."""
    out = torch.empty_like(audio, memory_format=torch.contiguous_format)
    _delay(phase, *settings).render(audio.contiguous(), out)
    return out


def delay_backward(g, phase, audio, *settings_and_needs):
    """The gradients that are needed, the others empty: `fastddsp::variable_length_delay_backward`."""
    *settings, need_phase, need_audio = settings_and_needs
    d_phase, d_audio = (g.new_empty(g.shape if need else 0) for need in (need_phase, need_audio))
    wanted = d_phase if need_phase else None, d_audio if need_audio else None
    _delay(phase, *settings).gradients(g.contiguous(), audio.contiguous(), *wanted)
    return d_phase, d_audio
