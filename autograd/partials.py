"""Partials with frequencies of their own: audio from frame-rate controls, differentiable to any order.

    y = B_q[A](theta):      y(n) = sum_k a_k(n) sin(theta_k(n) + q pi/2)            the bank
    L = L_q[g](theta):      L[j, k] = sum_n g(n) w_j(n) sin(theta_k(n) + q pi/2)    its adjoint in A
    theta_k = Theta f_k + theta_k,0                                                 linear: blend frames, prefix sum

The first backward is one fused kernel call: dA = L_q[g], dtheta_k = g a_k cos(theta_k + q pi/2), df = Theta^T dtheta.

Backward of that, for cotangents (v_f, v_A, v_0): with v_k = Theta v_f,k + v_0,k, it is the bank's derivative in that
direction and what comes back through it,

    dg = B_q[v_A] + sum_k v_k a_k cos(theta_k + q pi/2).

v_k(n) is a number for every sample and partial, but inside an interval it is a quadratic in the sample's place m,
v_k = sum_p C_p[i, k] u_p(m) with u = 1, m + 1, m (m + 1) / 2, and these powers and the envelopes' weights w_t are
common to all partials. So the last sum is

    sum_t sum_p w_t(n) u_p(n) B_{q+1}[C_p A_t](n)      with envelopes held for an interval, A_t[i] = A[i + t]

a batch of banks of the same frequencies. Derivatives stay inside the family, and no tensor of size samples x partials
exists at any order.
"""

import math
from typing import Any

import torch

from fastddsp.autograd import banks, checks, dispatch, partials_cuda
from fastddsp.autograd.banks import METHODS, SETTINGS

__all__ = ["sinusoidal_bank"]


def _bank(frequencies, initial_phase, n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns):
    """The kernels' view of a bank on CPU tensors."""
    from fastddsp.kernels.cpu.partials import Bank
    from fastddsp.kernels.phase import Timeline

    timeline = Timeline(n_samples, n_intervals, first_frame)
    arrays = frequencies.contiguous().numpy(), initial_phase.contiguous().numpy()
    return Bank(*arrays, timeline, sample_rate, nyquist, method, quarter_turns, torch.get_num_threads())


def _bank_cpu(frequencies, amplitudes, initial_phase, *settings):
    audio = amplitudes.new_zeros(amplitudes.shape[0], settings[0])
    if audio.numel() == 0 or amplitudes.numel() == 0:
        return audio, torch.remainder(initial_phase, 2 * math.pi)
    bank = _bank(frequencies, initial_phase, *settings)
    bank.render(amplitudes.contiguous().numpy(), audio.numpy())
    return audio, torch.from_numpy(bank.final_phase)


def _bank_backward_cpu(g_audio, g_final, frequencies, amplitudes, initial_phase, *settings_and_needs):
    *settings, need_phase, need_amplitudes = settings_and_needs
    zeros = frequencies.new_zeros
    d_frequencies = zeros(frequencies.shape if need_phase else 0)
    d_amplitudes = zeros(amplitudes.shape if need_amplitudes else 0)
    d_initial = g_final.clone(memory_format=torch.contiguous_format)
    if g_audio.numel() and amplitudes.numel():
        _bank(frequencies, initial_phase, *settings).gradient(
            g_audio.contiguous().numpy(),
            amplitudes.contiguous().numpy(),
            g_final.contiguous().numpy(),
            d_amplitudes.numpy() if need_amplitudes else None,
            d_frequencies.numpy() if need_phase else None,
            d_initial.numpy(),
        )
    return d_frequencies, d_amplitudes, d_initial


def _bank_fake(frequencies, amplitudes, initial_phase, n_samples, *settings):
    return amplitudes.new_empty(amplitudes.shape[0], n_samples), initial_phase.new_empty(initial_phase.shape)


def _bank_backward_fake(g_audio, g_final, frequencies, amplitudes, initial_phase, *settings):
    need_phase, need_amplitudes = settings[-2:]
    d_frequencies = frequencies.new_empty(frequencies.shape if need_phase else 0)
    d_amplitudes = amplitudes.new_empty(amplitudes.shape if need_amplitudes else 0)
    return d_frequencies, d_amplitudes, g_final.new_empty(g_final.shape)


_bank_op = dispatch.register(
    "partials_bank",
    f"(Tensor frequencies, Tensor amplitudes, Tensor initial_phase, {SETTINGS}) -> (Tensor, Tensor)",
    cpu=_bank_cpu,
    fake=_bank_fake,
)
_bank_backward_op = dispatch.register(
    "partials_bank_backward",
    f"(Tensor g_audio, Tensor g_final, Tensor frequencies, Tensor amplitudes, Tensor initial_phase, {SETTINGS}, "
    "bool need_phase, bool need_amplitudes) -> (Tensor, Tensor, Tensor)",
    cpu=_bank_backward_cpu,
    fake=_bank_backward_fake,
)
dispatch.implement_cuda("partials_bank", partials_cuda.bank)
dispatch.implement_cuda("partials_bank_backward", partials_cuda.bank_backward)


# The functions. `forward` names all its arguments: torch.compile counts them to tell whether one is the context.


class PartialsBank(torch.autograd.Function):
    """(frequencies, amplitudes [B, F, K], initial_phase [B, K], *settings) -> (audio [B, N], final_phase [B, K])."""

    @staticmethod
    def forward(
        frequencies, amplitudes, initial_phase,
        n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns,
    ):  # fmt: skip
        return _bank_op(
            frequencies, amplitudes, initial_phase,
            n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns,
        )  # fmt: skip

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:3])
        ctx.settings = inputs[3:]

    @staticmethod
    def backward(ctx, g_audio, g_final):
        return banks.backward(ctx, g_audio, g_final, PartialsBankBackward, _bank_backward_op)

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(PartialsBank, info.batch_size, in_dims, args)


class PartialsBankBackward(torch.autograd.Function):
    """The bank's backward in one call: (g_audio [B, N], g_final [B, K], bank's inputs, needs) -> its inputs' gradients.

    Gradients that are not needed are empty tensors; d_initial needs `need_phase`.
    """

    @staticmethod
    def forward(
        g_audio, g_final, frequencies, amplitudes, initial_phase,
        n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns,
        need_phase, need_amplitudes,
    ):  # fmt: skip
        return _bank_backward_op(
            g_audio, g_final, frequencies, amplitudes, initial_phase,
            n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns,
            need_phase, need_amplitudes,
        )  # fmt: skip

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], *inputs[2:5])
        ctx.settings, ctx.needs = inputs[5:-2], inputs[-2:]

    @staticmethod
    def backward(ctx, v_frequencies, v_amplitudes, v_initial):
        g, frequencies, amplitudes, initial_phase = ctx.saved_tensors
        need_phase, need_amplitudes = ctx.needs
        d_g, d_g_final, d_frequencies, d_amplitudes, d_initial = torch.zeros_like(g), None, None, None, None
        no_final = torch.zeros_like(initial_phase)
        if need_amplitudes:
            inputs = frequencies, v_amplitudes, initial_phase, *ctx.settings
            d_g = PartialsBank.apply(*inputs)[0]
            d_frequencies, _, d_initial = PartialsBankBackward.apply(g, no_final, *inputs, True, False)
        if need_phase and amplitudes.numel() and g.numel():
            moved = _Moved(frequencies, amplitudes, initial_phase, v_frequencies, v_initial, *ctx.settings)
            d_g = d_g + moved.audio()
            d_g_final = moved.final
            d_f, d_amplitudes, d_0 = moved.pull_back(g)
            d_frequencies = d_f if d_frequencies is None else d_frequencies + d_f
            d_initial = d_0 if d_initial is None else d_initial + d_0
        elif need_phase:
            d_g_final = v_initial
        return (d_g, d_g_final, d_frequencies, d_amplitudes, d_initial, *[None] * (len(ctx.settings) + 2))

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(PartialsBankBackward, info.batch_size, in_dims, args)


for _function, _op in (PartialsBank, _bank_op), (PartialsBankBackward, _bank_backward_op):
    dispatch.differentiate(_op, _function)


class _Moved:
    """sum_k v_k(n) a_k(n) cos(theta_k(n) + q pi/2) as a batch of banks, and its adjoint (see the module's docstring).

    v = Theta v_frequencies + v_initial: how far the phases move; `final`: how far those after the last sample do.
    """

    def __init__(
        self, frequencies, amplitudes, initial_phase, v_frequencies, v_initial,
        n_samples, first_frame, n_intervals, sample_rate, nyquist, method, quarter_turns,
    ):  # fmt: skip
        from fastddsp.kernels.phase import Timeline, envelope_weights, tap_offset

        self.shape = frequencies.shape
        device, dtype, hop = frequencies.device, amplitudes.dtype, n_samples / n_intervals
        interval = torch.arange(n_intervals, device=device)
        start = -(-interval * n_samples // n_intervals)

        # C_p [1, 3, B, I, K] and u_p [3, N], scaled by powers of the hop to stay near 1.
        count = (torch.cat([start[1:], start.new_tensor([n_samples])]) - start)[:, None]
        fraction = ((start * n_intervals - interval * n_samples) / n_samples)[:, None]
        v, v_next = (self._frames(v_frequencies.double(), interval + first_frame + d) for d in (0, 1))
        base = (v + (v_next - v) * fraction) * (2 * math.pi / sample_rate)
        slope = (v_next - v) * (2 * math.pi / (hop * sample_rate))
        advance = count * base + count * (count - 1) / 2 * slope
        after = advance.cumsum(1) + v_initial[:, None]
        self.final = after[:, -1]
        self.coefficients = torch.stack([after - advance, base * hop, slope * hop * hop]).to(dtype)[None]
        sample = torch.arange(n_samples, device=device)
        place = (sample - start[sample * n_intervals // n_samples]).double()
        powers = torch.stack([torch.ones_like(place), (place + 1) / hop, place * (place + 1) / (2 * hop * hop)])

        period = envelope_weights(method, Timeline(n_samples, n_intervals, first_frame), "float64")
        weights = torch.from_numpy(period.copy()).to(device)[:, sample % period.shape[1]]
        self.weights = (weights[:, None] * powers).to(dtype)[:, :, None]  # [taps, 3, 1, N]

        # The banks: one for each tap and power, on frames of their own, one for each interval and one after the last.
        self.tap_frames = [interval + first_frame + tap_offset(method) + t for t in range(len(weights))]
        taps = torch.stack([self._frames(amplitudes, j) for j in self.tap_frames])[:, None]
        self.frames = torch.arange(n_intervals + 1, device=device) + first_frame
        n_banks = 3 * len(weights)
        self.inputs = (
            self._frames(frequencies, self.frames).repeat(n_banks, 1, 1),
            _one_batch(torch.nn.functional.pad(self.coefficients * taps, (0, 0, 0, 1))),
            initial_phase.repeat(n_banks, 1),
            n_samples, 0, n_intervals, sample_rate, nyquist, "nearest", quarter_turns + 1,
        )  # fmt: skip

    def audio(self):
        """The sum itself, [B, N]."""
        banks = PartialsBank.apply(*self.inputs)[0]
        return (self.weights * self._apart(banks)).sum((0, 1))

    def pull_back(self, g):
        """Adjoint of `audio` in the frequencies, the amplitudes and the initial phases."""
        g = _one_batch(self.weights * g)
        no_final = torch.zeros_like(self.inputs[2])
        results = PartialsBankBackward.apply(g, no_final, *self.inputs, True, True)
        d_frequencies, d_amplitudes, d_initial = (self._apart(d) for d in results)
        by_tap = (d_amplitudes[..., :-1, :] * self.coefficients).sum(1)
        total = sum(self._frames_adjoint(d, j) for d, j in zip(by_tap, self.tap_frames, strict=True))
        return self._frames_adjoint(d_frequencies.sum((0, 1)), self.frames), total, d_initial.sum((0, 1))

    def _apart(self, banks):
        """[taps * 3 * B, ...] -> [taps, 3, B, ...]."""
        return banks.reshape(-1, 3, self.shape[0], *banks.shape[1:])

    def _frames(self, x, j):
        """Frames j of [B, F, K], or the nearest ones that exist."""
        return x[:, j.clamp(0, self.shape[1] - 1)]

    def _frames_adjoint(self, d, j):
        zeros = torch.zeros(self.shape, dtype=d.dtype, device=d.device)
        return zeros.index_add(1, j.clamp(0, self.shape[1] - 1), d)


def _one_batch(banks):
    """[taps, 3, B, ...] -> [taps * 3 * B, ...]."""
    return banks.reshape(-1, *banks.shape[3:])


# What users call.


def sinusoidal_bank(
    frequencies_hz: torch.Tensor,
    amplitudes: torch.Tensor,
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
) -> torch.Tensor | Any:  # a pair with return_final_phase, which only the caller knows
    """Audio of a bank of sine partials, each with a frequency of its own, from frame-rate controls.

    Frequencies are blended linearly between frames, amplitudes by `amp_resample_method`; phases are exact sums.
    Rendering in blocks works as in `fastddsp.autograd.harmonic_bank`.

    Args:
      frequencies_hz: frequencies in Hz, [batch, frames, partials]; 0 and negative ones are fine. Where one is not
        finite the audio is NaN.
      amplitudes: linear amplitudes, [batch, frames, partials].
      n_samples: length of the audio; any, frames need not divide it.
      sample_rate: samples a second.
      amp_resample_method: `window` (overlapping Hann windows), `linear`, `nearest` or `cubic`.
      initial_phase: of every partial before the first sample, radians, [batch, 1, partials]; 0 if None.
      first_frame: frame at which the first interval starts.
      n_intervals: intervals between frames that the samples are divided into; all frames, the last one held for an
        interval, if None.
      nyquist: a partial is silent, sample by sample, where its frequency reaches it; sample_rate / 2 if None, infinity
        for never.
      return_final_phase: also return the phases after the last sample.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Audio [batch, n_samples]; with `return_final_phase` also the final phases, float64 radians in [0, 2 pi),
      [batch, 1, partials].

    Raises:
      ValueError, TypeError: for shapes, dtypes, devices or numbers that do not fit.

    Source: McAulay and Quatieri, Speech analysis/synthesis based on a sinusoidal representation, IEEE Trans. ASSP 1986.
    """
    frequencies_hz, amplitudes, initial_phase = checks.computed_in_float32(frequencies_hz, amplitudes, initial_phase)
    checks.shape("frequencies_hz", frequencies_hz, ("batch", "frames", "partials"))
    batch, n_frames, n_partials = frequencies_hz.shape
    checks.shape("amplitudes", amplitudes, (batch, n_frames, n_partials))
    checks.same_kind(frequencies_hz=frequencies_hz, amplitudes=amplitudes)
    checks.one_of("amp_resample_method", amp_resample_method, METHODS)
    checks.positive(sample_rate=sample_rate)
    checks.count(n_samples=n_samples)
    dispatch.check_backend(backend, frequencies_hz.device, cuda=True)
    n_intervals = n_frames if n_intervals is None else n_intervals
    checks.whole(n_intervals=n_intervals)
    if n_samples > 0:
        checks.positive(n_intervals=n_intervals, frames=n_frames)
    if initial_phase is None:
        initial_phase = frequencies_hz.new_zeros((), dtype=torch.float64).expand(batch, n_partials)
    else:
        checks.shape("initial_phase", initial_phase, (batch, 1, n_partials))
        checks.same_kind(initial_phase=initial_phase)  # float64 as final phases are, or float32, whatever the rest is
        checks.same_device(frequencies_hz=frequencies_hz, initial_phase=initial_phase)
        initial_phase = initial_phase[:, 0].double()
    nyquist = sample_rate / 2 if nyquist is None else nyquist
    audio, final_phase = PartialsBank.apply(
        frequencies_hz, amplitudes, initial_phase,
        n_samples, first_frame, n_intervals, float(sample_rate), float(nyquist), amp_resample_method, 0,
    )  # fmt: skip
    return (audio, final_phase[:, None]) if return_final_phase else audio
