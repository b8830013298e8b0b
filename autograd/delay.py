"""Delay of variable length: audio read from its own past, differentiable to any order.

    y(n) = sum_l w_l(L phi(n)) x(n - l)     w_l: 1 at l, falling to 0 within a sample on either side

The derivatives are those of readings (fastddsp.autograd.readings); two numbers are read a sample, whatever L is.
"""

import torch

from fastddsp.autograd import checks, delay_cuda, dispatch, readings

__all__ = ["variable_length_delay"]

_SETTINGS = "int max_length, bool wrap, int order"


def _delay(phase, max_length, wrap, order):
    """The kernels' view of a delay on a CPU tensor."""
    from fastddsp.kernels.cpu.delay import Delay

    return Delay(phase.contiguous().numpy(), max_length, wrap, order, torch.get_num_threads())


def _delay_cpu(phase, audio, *settings):
    out = torch.zeros_like(audio, memory_format=torch.contiguous_format)
    if audio.numel() and settings[-1] < 2:
        _delay(phase, *settings).render(audio.contiguous().numpy(), out.numpy())
    return out


def _delay_backward_cpu(g, phase, audio, *settings_and_needs):
    *settings, need_phase, need_audio = settings_and_needs
    results = [g.new_zeros(g.shape if need else 0) for need in (need_phase, need_audio)]
    if g.numel() and settings[-1] < 2:
        wanted = (d.numpy() if d.numel() else None for d in results)
        _delay(phase, *settings).gradients(g.contiguous().numpy(), audio.contiguous().numpy(), *wanted)
    return tuple(results)


def _delay_fake(phase, audio, *settings):
    return audio.new_empty(audio.shape)


def _delay_backward_fake(g, phase, audio, *settings_and_needs):
    return tuple(g.new_empty(g.shape if need else 0) for need in settings_and_needs[-2:])


_delay_op = dispatch.register(
    "variable_length_delay",
    f"(Tensor phase, Tensor audio, {_SETTINGS}) -> Tensor",
    cpu=_delay_cpu,
    fake=_delay_fake,
)
_delay_backward_op = dispatch.register(
    "variable_length_delay_backward",
    f"(Tensor g, Tensor phase, Tensor audio, {_SETTINGS}, bool need_phase, bool need_audio) -> (Tensor, Tensor)",
    cpu=_delay_backward_cpu,
    fake=_delay_backward_fake,
)
dispatch.implement_cuda("variable_length_delay", delay_cuda.delay)
dispatch.implement_cuda("variable_length_delay_backward", delay_cuda.delay_backward)


# The functions. `forward` names all its arguments: torch.compile counts them to tell whether one is the context.


class VariableLengthDelay(torch.autograd.Function):
    """(phase [B, N], audio [B, N], *settings) -> [B, N]."""

    @staticmethod
    def forward(phase, audio, max_length, wrap, order):
        return _delay_op(phase, audio, max_length, wrap, order)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])
        ctx.settings = inputs[2:]

    @staticmethod
    def backward(ctx, g):
        return dispatch.backward(ctx, g, VariableLengthDelayBackward, _delay_backward_op)

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(VariableLengthDelay, info.batch_size, in_dims, args)


class VariableLengthDelayBackward(torch.autograd.Function):
    """The backward in one call: (g, the delay's inputs, needs) -> gradients of phase and audio; empty if not needed."""

    @staticmethod
    def forward(g, phase, audio, max_length, wrap, order, need_phase, need_audio):
        return _delay_backward_op(g, phase, audio, max_length, wrap, order, need_phase, need_audio)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:3])
        ctx.settings, ctx.needs = inputs[3:-2], inputs[-2:]

    @staticmethod
    def backward(ctx, v_phase, v_audio):
        functions = VariableLengthDelay.apply, VariableLengthDelayBackward.apply
        return readings.backward_of_backward(ctx, v_phase, v_audio, *functions)

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(VariableLengthDelayBackward, info.batch_size, in_dims, args)


for _function, _op in (VariableLengthDelay, _delay_op), (VariableLengthDelayBackward, _delay_backward_op):
    dispatch.differentiate(_op, _function)


def variable_length_delay(
    phase: torch.Tensor, audio: torch.Tensor, max_length: int = 512, *, wrap: bool = True, backend: str = "auto"
) -> torch.Tensor:
    """Audio delayed by a length that changes from sample to sample, between samples linearly interpolated.

    For chorus, flanger and vibrato. Exactly on a whole number of samples the phase has no gradient, as in magenta/ddsp.

    Args:
      phase: length of the delay as a fraction of max_length, 0 to 1, [batch, samples] or [batch, samples, 1]. Outside
        of that range the audio fades to silence within a sample.
      audio: [batch, samples]; silence before its first sample.
      max_length: samples.
      wrap: in the last of its max_length steps the delay turns back to none, so that phase 1 is the undelayed audio, as
        in magenta/ddsp; else it goes on to max_length samples.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Audio [batch, samples].

    Raises:
      ValueError, TypeError: for shapes, dtypes, devices or numbers that do not fit.

    Source: magenta/ddsp `core.variable_length_delay`; Zoelzer (ed.), DAFX, 2nd edition, 2011, section 2.6.
    """
    phase, audio = checks.computed_in_float32(phase, audio)
    phase = checks.one_channel("phase", phase, ("batch", "samples"))
    checks.shape("audio", audio, tuple(phase.shape))
    checks.same_kind(phase=phase, audio=audio)
    checks.positive(max_length=max_length)
    dispatch.check_backend(backend, audio.device, cuda=True)
    return VariableLengthDelay.apply(phase, audio, int(max_length), bool(wrap), 0)
