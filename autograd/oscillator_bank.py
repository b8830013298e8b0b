"""Oscillators whose frequencies and amplitudes are given for every sample, differentiable to any order.

    o_k(n) = A[n, k] sin(theta_k(n) + q pi/2),   theta_k = Theta f_k: a sum, in radians;   y = sum_k o_k

Backward: dA = g sin(theta + q pi/2), df = Theta^T (g A cos(theta + q pi/2)), one kernel call. Backward of that, for
cotangents (v_f, v_A): with v = Theta v_f, which is of the size of the controls here, the derivative in that direction,

    dg = bank_q[v_A] + bank_{q+1}[v A]

and the adjoint of this expression, so derivatives stay inside the family. Controls at the frame rate go to
fastddsp.autograd.partials, which never makes anything of size samples x partials.
"""

import math

import torch

from fastddsp.autograd import checks, dispatch, oscillator_bank_cuda

__all__ = ["oscillator_bank"]

_SETTINGS = "float sample_rate, float nyquist, bool sum_sinusoids, int quarter_turns"


def _bank(frequencies, sample_rate, nyquist, quarter_turns):
    """The kernels' view of the oscillators on a CPU tensor."""
    from fastddsp.kernels.cpu.oscillator_bank import Bank

    return Bank(frequencies.contiguous().numpy(), sample_rate, nyquist, quarter_turns, torch.get_num_threads())


def _bank_cpu(frequencies, amplitudes, sample_rate, nyquist, sum_sinusoids, quarter_turns):
    out = _bank_fake(frequencies, amplitudes, sample_rate, nyquist, sum_sinusoids, quarter_turns).zero_()
    if amplitudes.numel():
        bank = _bank(frequencies, sample_rate, nyquist, quarter_turns)
        render = bank.render_sum if sum_sinusoids else bank.render
        render(amplitudes.contiguous().numpy(), out.numpy())
    return out


def _bank_backward_cpu(g, frequencies, amplitudes, sample_rate, nyquist, sum_sinusoids, quarter_turns, *needs):
    results = [amplitudes.new_zeros(amplitudes.shape if need else 0) for need in needs]
    if amplitudes.numel():
        g = g[..., None] if sum_sinusoids else g
        _bank(frequencies, sample_rate, nyquist, quarter_turns).gradient(
            g.contiguous().numpy(),
            amplitudes.contiguous().numpy(),
            *(d.numpy() if need else None for d, need in zip(results, needs, strict=True)),
        )
    return tuple(results)


def _bank_fake(frequencies, amplitudes, sample_rate, nyquist, sum_sinusoids, quarter_turns):
    return amplitudes.new_empty(amplitudes.shape[:2] if sum_sinusoids else amplitudes.shape)


def _bank_backward_fake(g, frequencies, amplitudes, sample_rate, nyquist, sum_sinusoids, quarter_turns, *needs):
    return tuple(amplitudes.new_empty(amplitudes.shape if need else 0) for need in needs)


_bank_op = dispatch.register(
    "oscillator_bank",
    f"(Tensor frequencies, Tensor amplitudes, {_SETTINGS}) -> Tensor",
    cpu=_bank_cpu,
    fake=_bank_fake,
)
_bank_backward_op = dispatch.register(
    "oscillator_bank_backward",
    f"(Tensor g, Tensor frequencies, Tensor amplitudes, {_SETTINGS}, bool need_frequencies, bool need_amplitudes) "
    "-> (Tensor, Tensor)",
    cpu=_bank_backward_cpu,
    fake=_bank_backward_fake,
)
dispatch.implement_cuda("oscillator_bank", oscillator_bank_cuda.bank)
dispatch.implement_cuda("oscillator_bank_backward", oscillator_bank_cuda.bank_backward)


# The functions. `forward` names all its arguments: torch.compile counts them to tell whether one is the context.


class OscillatorBank(torch.autograd.Function):
    """(frequencies, amplitudes [B, N, K], *settings) -> [B, N], or [B, N, K] where they are not summed."""

    @staticmethod
    def forward(frequencies, amplitudes, sample_rate, nyquist, sum_sinusoids, quarter_turns):
        return _bank_op(frequencies, amplitudes, sample_rate, nyquist, sum_sinusoids, quarter_turns)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])
        ctx.settings = inputs[2:]

    @staticmethod
    def backward(ctx, g):
        needs = ctx.needs_input_grad[:2]
        grads = OscillatorBankBackward.apply(g, *ctx.saved_tensors, *ctx.settings, *needs)
        return (*(d if need else None for d, need in zip(grads, needs, strict=True)), *[None] * len(ctx.settings))

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(OscillatorBank, info.batch_size, in_dims, args)


class OscillatorBankBackward(torch.autograd.Function):
    """The backward in one call: (g, the bank's inputs, needs) -> gradients of the inputs; empty where not needed."""

    @staticmethod
    def forward(
        g, frequencies, amplitudes, sample_rate, nyquist, sum_sinusoids, quarter_turns,
        need_frequencies, need_amplitudes,
    ):  # fmt: skip
        return _bank_backward_op(
            g, frequencies, amplitudes, sample_rate, nyquist, sum_sinusoids, quarter_turns,
            need_frequencies, need_amplitudes,
        )  # fmt: skip

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:3])
        ctx.settings, ctx.needs = inputs[3:-2], inputs[-2:]

    @staticmethod
    def backward(ctx, v_frequencies, v_amplitudes):
        g, frequencies, amplitudes = ctx.saved_tensors
        need_frequencies, need_amplitudes = ctx.needs
        *same, q = ctx.settings
        d_g, d_frequencies, d_amplitudes = torch.zeros_like(g), torch.zeros_like(frequencies), None
        if need_amplitudes:
            d_g = OscillatorBank.apply(frequencies, v_amplitudes, *same, q)
            d_frequencies, _ = OscillatorBankBackward.apply(g, frequencies, v_amplitudes, *same, q, True, False)
        if need_frequencies:
            v = (v_frequencies.double().cumsum(1) * (2 * math.pi / same[0])).to(amplitudes.dtype)
            d_g = d_g + OscillatorBank.apply(frequencies, v * amplitudes, *same, q + 1)
            d_f, d = OscillatorBankBackward.apply(g, frequencies, v * amplitudes, *same, q + 1, True, True)
            d_frequencies, d_amplitudes = d_frequencies + d_f, v * d
        return (d_g, d_frequencies, d_amplitudes, *[None] * (len(ctx.settings) + 2))

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(OscillatorBankBackward, info.batch_size, in_dims, args)


for _function, _op in (OscillatorBank, _bank_op), (OscillatorBankBackward, _bank_backward_op):
    dispatch.differentiate(_op, _function)


def oscillator_bank(
    frequency_envelopes: torch.Tensor,
    amplitude_envelopes: torch.Tensor,
    sample_rate: float = 16000,
    sum_sinusoids: bool = True,
    use_angular_cumsum: bool = False,
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """Audio of sine oscillators from controls for every sample.

    Where the controls are at the frame rate, `fastddsp.autograd.partials.sinusoidal_bank` does with far less memory.

    Args:
      frequency_envelopes: frequencies in Hz, [batch, samples, sinusoids]. Where one is not finite the audio is NaN.
      amplitude_envelopes: linear amplitudes, [batch, samples, sinusoids].
      sample_rate: samples a second; sinusoids at or above half of it are silent, sample by sample.
      sum_sinusoids: add the sinusoids up; else each is returned.
      use_angular_cumsum: has no effect: the phase is always exact.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Audio [batch, samples], or the sinusoids [batch, samples, sinusoids].

    Raises:
      ValueError, TypeError: for shapes, dtypes, devices or numbers that do not fit.

    Source: magenta/ddsp `core.oscillator_bank`.
    """
    frequency_envelopes, amplitude_envelopes = checks.computed_in_float32(frequency_envelopes, amplitude_envelopes)
    checks.shape("frequency_envelopes", frequency_envelopes, ("batch", "samples", "sinusoids"))
    checks.shape("amplitude_envelopes", amplitude_envelopes, tuple(frequency_envelopes.shape))
    checks.same_kind(frequency_envelopes=frequency_envelopes, amplitude_envelopes=amplitude_envelopes)
    checks.positive(sample_rate=sample_rate)
    dispatch.check_backend(backend, frequency_envelopes.device, cuda=True)
    return OscillatorBank.apply(
        frequency_envelopes, amplitude_envelopes, float(sample_rate), sample_rate / 2, bool(sum_sinusoids), 0
    )
