"""Harmonic bank: audio from frame-rate controls of one fundamental, differentiable to any order.

    y = B_q[A](theta):      y(n) = sum_k a_k(n) sin(k theta(n) + q pi/2)        the bank
    L = L_q[g](theta):      L[j, k] = sum_n g(n) w_j(n) sin(k theta(n) + q pi/2)  the analysis, its adjoint in A
    theta = Theta f0 + theta_0                                                  linear: blend frames, prefix sum

Derivatives stay inside this family:  dB_q[A]/dtheta = B_{q+1}[k A],  dL_q/dg = B_q,  so that

    backward of the bank      dA = L_q[g],   dtheta = g B_{q+1}[k A],   df0 = Theta^T dtheta
    backward of that, for cotangents (v_f, v_A, v_0), v = Theta v_f + v_0:
                              dg = B_q[v_A] + v B_{q+1}[k A],   dA = k L_{q+1}[g v],
                              dtheta = g B_{q+1}[k v_A] + g v B_{q+2}[k^2 A]

The first backward is one fused kernel call (`HarmonicBankBackward`); the rest is composed of these ops. No tensor of
size samples x harmonics exists at any order. Phases are exact (fastddsp.kernels.phase).

Voices, B x V fundamentals for B rows of audio, are summed in the kernels, and their gradients read the one g of their
row: no tensor of size samples x voices exists in the bank or its first backward. Derivatives of that take the
voices one by one, as rows of a larger batch.
"""

import math
from typing import Any

import torch

from fastddsp.autograd import banks, checks, dispatch, harmonic_bank_cuda
from fastddsp.autograd.banks import METHODS, SETTINGS

__all__ = ["harmonic_bank"]


def _bank(
    n_harmonics, f0_hz, initial_phase,
    n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns,
):  # fmt: skip
    """The kernels' view of a bank on CPU tensors."""
    from fastddsp.kernels.cpu.banks import bank
    from fastddsp.kernels.phase import Timeline

    timeline = Timeline(n_samples, n_intervals, first_frame)
    n_threads = torch.get_num_threads()
    arrays = _items(f0_hz, 1), _items(initial_phase, 0)
    return bank(n_harmonics, *arrays, timeline, sample_rate, nyquist, method, quarter_turns, n_threads)


def _items(x, n_axes: int):
    """An array of items, each of n_axes: [batch, ...] or, side by side, [batch, voices, ...]."""
    x = x.contiguous()
    return (x.flatten(0, -1 - n_axes) if x.ndim > 1 + n_axes else x).numpy()


def _bank_cpu(f0_hz, amplitudes, initial_phase, *settings):
    audio = amplitudes.new_empty(f0_hz.shape[0], settings[0])
    if audio.numel() == 0 or initial_phase.numel() == 0:  # no voices are silence
        return audio.zero_(), torch.remainder(initial_phase, 2 * math.pi)
    bank = _bank(amplitudes.shape[-1], f0_hz, initial_phase, *settings)
    bank.render(_items(amplitudes, 2), audio.numpy())
    return audio, torch.from_numpy(bank.final_phase.reshape(initial_phase.shape))


def _bank_backward_cpu(g_audio, g_final, f0_hz, amplitudes, initial_phase, *settings_and_needs):
    *settings, need_phase, need_amplitudes = settings_and_needs
    new = f0_hz.new_empty if g_audio.numel() else f0_hz.new_zeros  # the kernels write whole gradients
    d_f0 = new(f0_hz.shape if need_phase else 0)
    d_amplitudes = new(amplitudes.shape if need_amplitudes else 0)
    d_initial = g_final.clone(memory_format=torch.contiguous_format)
    if g_audio.numel() == 0:
        return d_f0, d_amplitudes, d_initial
    bank = _bank(amplitudes.shape[-1], f0_hz, initial_phase, *settings)
    g, a, final = g_audio.contiguous().numpy(), _items(amplitudes, 2), _items(g_final, 0)
    if need_amplitudes and need_phase:
        bank.gradients(g, a, final, _items(d_amplitudes, 2), _items(d_f0, 1), _items(d_initial, 0))
    elif need_amplitudes:
        bank.analyse(g, _items(d_amplitudes, 2))
    elif need_phase:
        bank.phase_gradient(g, a, final, _items(d_f0, 1), _items(d_initial, 0))
    return d_f0, d_amplitudes, d_initial


def _analysis_cpu(g, f0_hz, initial_phase, n_harmonics, *settings):
    out = g.new_zeros(*f0_hz.shape, n_harmonics)
    if g.numel() and out.numel():
        _bank(n_harmonics, f0_hz, initial_phase, *settings).analyse(g.contiguous().numpy(), _items(out, 2))
    return out


def _bank_fake(f0_hz, amplitudes, initial_phase, n_samples, *settings):
    return amplitudes.new_empty(f0_hz.shape[0], n_samples), torch.empty_like(initial_phase)


def _bank_backward_fake(g_audio, g_final, f0_hz, amplitudes, initial_phase, *settings):
    need_phase, need_amplitudes = settings[-2:]
    d_f0 = f0_hz.new_empty(f0_hz.shape if need_phase else 0)
    d_amplitudes = amplitudes.new_empty(amplitudes.shape if need_amplitudes else 0)
    return d_f0, d_amplitudes, g_final.new_empty(g_final.shape)


def _analysis_fake(g, f0_hz, initial_phase, n_harmonics, *settings):
    return g.new_empty(*f0_hz.shape, n_harmonics)


_bank_op = dispatch.register(
    "harmonic_bank",
    f"(Tensor f0_hz, Tensor amplitudes, Tensor initial_phase, {SETTINGS}) -> (Tensor, Tensor)",
    cpu=_bank_cpu,
    fake=_bank_fake,
)
_bank_backward_op = dispatch.register(
    "harmonic_bank_backward",
    f"(Tensor g_audio, Tensor g_final, Tensor f0_hz, Tensor amplitudes, Tensor initial_phase, {SETTINGS}, "
    "bool need_phase, bool need_amplitudes) -> (Tensor, Tensor, Tensor)",
    cpu=_bank_backward_cpu,
    fake=_bank_backward_fake,
)
_analysis_op = dispatch.register(
    "harmonic_analysis",
    f"(Tensor g, Tensor f0_hz, Tensor initial_phase, SymInt n_harmonics, {SETTINGS}) -> Tensor",
    cpu=_analysis_cpu,
    fake=_analysis_fake,
)
dispatch.implement_cuda("harmonic_bank", harmonic_bank_cuda.bank)
dispatch.implement_cuda("harmonic_bank_backward", harmonic_bank_cuda.bank_backward)
dispatch.implement_cuda("harmonic_analysis", harmonic_bank_cuda.analysis)


# The functions. `forward` names all its arguments: torch.compile counts them to tell whether one is the context.


class HarmonicBank(torch.autograd.Function):
    """(f0_hz [B, F], amplitudes [B, F, K], initial_phase [B], *settings) -> (audio [B, N], final_phase [B]).

    Or, with voices, f0_hz [B, V, F], amplitudes [B, V, F, K] and phases [B, V]; likewise in the other functions.
    """

    @staticmethod
    def forward(
        f0_hz, amplitudes, initial_phase,
        n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns,
    ):  # fmt: skip
        return _bank_op(
            f0_hz, amplitudes, initial_phase,
            n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns,
        )  # fmt: skip

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:3])
        ctx.settings = inputs[3:]

    @staticmethod
    def backward(ctx, g_audio, g_final):
        return banks.backward(ctx, g_audio, g_final, HarmonicBankBackward, _bank_backward_op)

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(HarmonicBank, info.batch_size, in_dims, args)


class HarmonicBankBackward(torch.autograd.Function):
    """The bank's backward in one call: (g_audio [B, N], g_final [B], bank's inputs, needs) -> gradients of the inputs.

    Gradients that are not needed are empty tensors; d_initial needs `need_phase`.
    """

    @staticmethod
    def forward(
        g_audio, g_final, f0_hz, amplitudes, initial_phase,
        n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns,
        need_phase, need_amplitudes,
    ):  # fmt: skip
        return _bank_backward_op(
            g_audio, g_final, f0_hz, amplitudes, initial_phase,
            n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns,
            need_phase, need_amplitudes,
        )  # fmt: skip

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], *inputs[2:5])
        ctx.settings, ctx.needs = inputs[5:-2], inputs[-2:]

    @staticmethod
    def backward(ctx, v_f0, v_amplitudes, v_initial):
        g, f0_hz, amplitudes, initial_phase = ctx.saved_tensors
        items = initial_phase.shape
        g = _for_every_voice(g, items)
        controls = f0_hz.flatten(0, -2), initial_phase.flatten()
        need_phase, need_amplitudes = ctx.needs
        *same, q = ctx.settings
        k = torch.arange(1, amplitudes.shape[-1] + 1, dtype=amplitudes.dtype, device=amplitudes.device)

        def bank(quarter_turns, a):
            return _each_voice(controls, a, *same, quarter_turns).view(g.shape)

        d_g = d_theta = torch.zeros_like(g)
        d_g_final, d_amplitudes = None, torch.zeros_like(amplitudes)
        if need_amplitudes:
            d_g = bank(q, v_amplitudes)
            d_theta = g * bank(q + 1, k * v_amplitudes)
        if need_phase:
            v = _phase_tangent(v_f0, v_initial, *same)
            d_g_final = v[..., -1] if g.shape[-1] else v_initial
            v = v.to(g.dtype)
            d_g = d_g + v * bank(q + 1, k * amplitudes)
            g_v = (g * v).reshape(items.numel(), g.shape[-1])
            analysis = HarmonicAnalysis.apply(g_v, *controls, len(k), *same, q + 1)
            d_amplitudes = k * analysis.view(amplitudes.shape)
            d_theta = d_theta + g * v * bank(q + 2, k * k * amplitudes)
        d_f0, d_initial = _phase_adjoint(d_theta, f0_hz, *same)
        d_g = d_g.sum(1) if len(items) > 1 else d_g
        return (d_g, d_g_final, d_f0, d_amplitudes, d_initial, *[None] * (len(ctx.settings) + 2))

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(HarmonicBankBackward, info.batch_size, in_dims, args)


class HarmonicAnalysis(torch.autograd.Function):
    """(g [B, N], f0_hz [B, F], initial_phase [B], K, *settings) -> inner products [B, F, K]."""

    @staticmethod
    def forward(
        g, f0_hz, initial_phase, n_harmonics,
        n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns,
    ):  # fmt: skip
        return _analysis_op(
            g, f0_hz, initial_phase, n_harmonics,
            n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns,
        )  # fmt: skip

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:3])
        ctx.settings = inputs[4:]

    @staticmethod
    def backward(ctx, v):
        g, f0_hz, initial_phase = ctx.saved_tensors
        *same, q = ctx.settings
        k = torch.arange(1, v.shape[-1] + 1, dtype=v.dtype, device=v.device)
        d_g = HarmonicBank.apply(f0_hz, v, initial_phase, *same, q)[0]
        d_f0 = d_initial = None
        if any(ctx.needs_input_grad[1:3]):
            items = initial_phase.shape
            controls = f0_hz.flatten(0, -2), initial_phase.flatten()
            g = _for_every_voice(g, items)
            d_theta = g * _each_voice(controls, k * v, *same, q + 1).view(g.shape)
            d_f0, d_initial = _phase_adjoint(d_theta, f0_hz, *same)
        return (d_g, d_f0, d_initial, None, *[None] * len(ctx.settings))

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(HarmonicAnalysis, info.batch_size, in_dims, args)


dispatch.differentiate(_bank_op, HarmonicBank)
dispatch.differentiate(_bank_backward_op, HarmonicBankBackward)
dispatch.differentiate(_analysis_op, HarmonicAnalysis)


# For derivatives beyond the first: voices one by one, Theta and Theta^T.


def _for_every_voice(g, items):
    """[batch, samples] for every item: [batch, samples] or [batch, voices, samples]."""
    return g.unsqueeze(1).expand(*items, -1) if len(items) > 1 else g


def _each_voice(controls, amplitudes, *settings):
    """Audio of every item, [items, samples]; controls: f0 [items, frames] and initial phase [items]."""
    amplitudes = amplitudes.reshape(*controls[0].shape, amplitudes.shape[-1])
    return HarmonicBank.apply(controls[0], amplitudes, controls[1], *settings)[0]


def _blend(n_frames, device, n_samples, first_frame, n_intervals):
    """For every sample: the two frames around it, and the weight of the later one."""
    position = torch.arange(n_samples, device=device) * n_intervals
    interval = position // n_samples
    rising = (position - interval * n_samples).double() / n_samples
    earlier, later = (interval + first_frame + d for d in (0, 1))
    return earlier.clamp(0, n_frames - 1), later.clamp(0, n_frames - 1), rising


def _phase_tangent(v_f0, v_initial, n_samples, first_frame, n_intervals, sample_rate, *_):
    """Theta v_f0 + v_initial: [..., F], [...] -> [..., N], float64."""
    earlier, later, rising = _blend(v_f0.shape[-1], v_f0.device, n_samples, first_frame, n_intervals)
    v = v_f0.double()
    frequency = v[..., earlier] * (1 - rising) + v[..., later] * rising
    return frequency.cumsum(-1) * (2 * math.pi / sample_rate) + v_initial[..., None]


def _phase_adjoint(d_theta, f0_hz, n_samples, first_frame, n_intervals, sample_rate, *_):
    """Theta^T d_theta: [..., N] -> [..., F] in f0's dtype, [...] float64."""
    earlier, later, rising = _blend(f0_hz.shape[-1], f0_hz.device, n_samples, first_frame, n_intervals)
    d_theta = d_theta.double()
    d_frequency = d_theta.flip(-1).cumsum(-1).flip(-1) * (2 * math.pi / sample_rate)
    d_f0 = torch.zeros(f0_hz.shape, dtype=torch.float64, device=f0_hz.device)
    d_f0 = d_f0.index_add(-1, earlier, d_frequency * (1 - rising)).index_add(-1, later, d_frequency * rising)
    return d_f0.to(f0_hz.dtype), d_theta.sum(-1)


# What users call.


def harmonic_bank(
    f0_hz: torch.Tensor,
    harmonic_amplitudes: torch.Tensor,
    n_samples: int,
    sample_rate: float = 16000,
    amp_resample_method: str = "window",
    *,
    initial_phase: torch.Tensor | None = None,
    first_frame: int = 0,
    n_intervals: int | None = None,
    nyquist: float | None = None,
    return_final_phase: bool = False,
    backend: str = "auto",
) -> Any:  # Tensor, or a pair of them with return_final_phase
    """Audio of one harmonic oscillator bank from frame-rate controls, or the sum of several, the voices of a chord.

    f0 is blended linearly between frames, amplitudes by `amp_resample_method`; the phase is its exact sum.

    To render in blocks, give each call the frames of its block and those around it (one more after it; for `cubic` one
    before and two after), say with `first_frame` and `n_intervals` which intervals to render, and hand the final phase
    on as the next initial phase: the blocks equal the whole, bit for bit, where n_samples / n_intervals is an integer.

    Args:
      f0_hz: fundamental frequency in Hz, [batch, frames, 1], or [batch, voices, frames, 1] as all inputs then are; 0
        and negative frequencies are fine. Where it is not finite the audio is NaN.
      harmonic_amplitudes: linear amplitude of harmonics 1, 2, ..., [batch, (voices,) frames, harmonics].
      n_samples: length of the audio; any, frames need not divide it.
      sample_rate: samples a second.
      amp_resample_method: `window` (overlapping Hann windows), `linear`, `nearest` or `cubic`.
      initial_phase: of the fundamental before the first sample, radians, [batch, (voices,) 1, 1]; 0 if None.
      first_frame: frame at which the first interval starts.
      n_intervals: intervals between frames that the samples are divided into; all frames, the last one held for an
        interval, if None.
      nyquist: harmonics are silent, sample by sample, where their frequency reaches it; sample_rate / 2 if None,
        infinity for none.
      return_final_phase: also return the phase after the last sample.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Audio [batch, n_samples], voices added up in their order; with `return_final_phase` also the final phase, float64
      radians in [0, 2 pi), [batch, (voices,) 1, 1].

    Raises:
      ValueError, TypeError: for shapes, dtypes, devices or numbers that do not fit.

    Source: Engel et al., DDSP, ICLR 2020, section 3.1.
    """
    f0_hz, harmonic_amplitudes, initial_phase = checks.computed_in_float32(f0_hz, harmonic_amplitudes, initial_phase)
    voices = checks.voices(f0_hz=f0_hz, harmonic_amplitudes=harmonic_amplitudes)
    checks.shape("f0_hz", f0_hz, ("batch", *voices, "frames", 1))
    *items, n_frames, _ = f0_hz.shape
    checks.shape("harmonic_amplitudes", harmonic_amplitudes, (*items, n_frames, "harmonics"))
    checks.same_kind(f0_hz=f0_hz, harmonic_amplitudes=harmonic_amplitudes)
    checks.one_of("amp_resample_method", amp_resample_method, METHODS)
    checks.positive(sample_rate=sample_rate)
    checks.count(n_samples=n_samples)
    dispatch.check_backend(backend, f0_hz.device, cuda=True)
    n_intervals = n_frames if n_intervals is None else n_intervals
    checks.whole(n_intervals=n_intervals)
    if n_samples > 0:
        checks.positive(n_intervals=n_intervals, frames=n_frames)
    if initial_phase is None:
        initial_phase = f0_hz.new_zeros(items, dtype=torch.float64)
    else:
        checks.shape("initial_phase", initial_phase, (*items, 1, 1))
        checks.same_kind(initial_phase=initial_phase)  # float64 as final phases are, or float32, whatever f0's
        checks.same_device(f0_hz=f0_hz, initial_phase=initial_phase)
        initial_phase = initial_phase[..., 0, 0].double()
    nyquist = sample_rate / 2 if nyquist is None else nyquist
    audio, final_phase = HarmonicBank.apply(
        f0_hz.squeeze(-1), harmonic_amplitudes, initial_phase,
        n_samples, first_frame, n_intervals, float(sample_rate), float(nyquist), amp_resample_method, 0,
    )  # fmt: skip
    return (audio, final_phase[..., None, None]) if return_final_phase else audio
