"""Wavetables: lookup at given phases, and a synthesizer for f0; differentiable to any order.

    R_q[W](phi)     the tables W read at phases phi; q: the derivative in phi that is read (fastddsp.autograd.readings)
    y = a R_q[W](Theta f0 + theta_0)        a: amplitudes' frames blended; Theta: blend frames, prefix sum

The synthesizer is linear in the amplitudes A and in the tables W, and its derivative in the phase is the same with
q + 1. The first backward is one kernel call. Its own backward, for the cotangents v_A, v_W, v_f and v_0, is that of the
derivative in their direction,

    y' = y[v_A, W] + y[A, v_W] + v y_{q+1}[A, W],       v = Theta v_f + v_0

three banks forward, and three backward. Nothing of size samples x points exists at any order, and phases are exact
(fastddsp.kernels.phase).
"""

import math
from typing import Any

import torch

from fastddsp.autograd import checks, dispatch, readings, wavetable_cuda
from fastddsp.autograd.harmonic_bank import _phase_tangent

__all__ = ["harmonic_distribution_to_wavetable", "linear_lookup", "wavetable_synthesis"]

_SETTINGS = "SymInt n_samples, float sample_rate, int order"


def _arrays(*tensors):
    return [x.contiguous().numpy() for x in tensors]


def _lookup(phase, wavetables, order):
    """The kernels' view of a lookup on CPU tensors."""
    from fastddsp.kernels.cpu.wavetable import Lookup

    return Lookup(phase.contiguous().numpy(), wavetables.contiguous().numpy(), order, torch.get_num_threads())


def _lookup_cpu(phase, wavetables, order):
    out = phase.new_zeros(phase.shape)
    if out.numel() and order < 2:
        _lookup(phase, wavetables, order).render(out.numpy())
    return out


def _lookup_backward_cpu(g, phase, wavetables, order, *needs):
    is_zero = g.numel() == 0 or order > 1
    new = g.new_zeros if is_zero else g.new_empty  # the kernels write whole gradients
    results = [new(x.shape if need else 0) for x, need in zip((phase, wavetables), needs, strict=True)]
    if not is_zero:
        wanted = (d.numpy() if need else None for d, need in zip(results, needs, strict=True))
        _lookup(phase, wavetables, order).gradients(g.contiguous().numpy(), *wanted)
    return tuple(results)


def _oscillator(f0_hz, wavetables, initial_phase, n_samples, sample_rate, order):
    """The kernels' view of a synthesizer on CPU tensors."""
    from fastddsp.kernels.cpu.wavetable import Oscillator

    f0, tables, phase = _arrays(f0_hz, wavetables, initial_phase)
    return Oscillator(f0, tables, phase, n_samples, sample_rate, order, torch.get_num_threads())


def _oscillator_cpu(f0_hz, amplitudes, wavetables, initial_phase, *settings):
    audio = amplitudes.new_zeros(amplitudes.shape[0], settings[0])
    if audio.numel() == 0:
        return audio, torch.remainder(initial_phase, 2 * math.pi)
    oscillator = _oscillator(f0_hz, wavetables, initial_phase, *settings)
    if settings[-1] < 2:
        oscillator.play(*_arrays(amplitudes), audio.numpy())
    return audio, torch.from_numpy(oscillator.final_phase)


def _oscillator_backward_cpu(g_audio, g_final, f0_hz, amplitudes, wavetables, initial_phase, *settings_and_needs):
    settings, needs = settings_and_needs[:-3], settings_and_needs[-3:]
    is_zero = g_audio.numel() == 0 or settings[-1] > 1
    new = f0_hz.new_zeros if is_zero else f0_hz.new_empty  # the kernels write whole gradients
    results = [new(x.shape if need else 0) for x, need in zip((f0_hz, amplitudes, wavetables), needs, strict=True)]
    d_initial = g_final.clone(memory_format=torch.contiguous_format)
    if not is_zero:
        wanted = (d.numpy() if need else None for d, need in zip(results, needs, strict=True))
        _oscillator(f0_hz, wavetables, initial_phase, *settings).pull_back(
            *_arrays(g_audio, amplitudes, g_final), *wanted, d_initial.numpy()
        )
    return *results, d_initial


def _lookup_fake(phase, wavetables, order):
    return phase.new_empty(phase.shape)


def _lookup_backward_fake(g, phase, wavetables, order, *needs):
    return tuple(x.new_empty(x.shape if need else 0) for x, need in zip((phase, wavetables), needs, strict=True))


def _oscillator_fake(f0_hz, amplitudes, wavetables, initial_phase, n_samples, *settings):
    return amplitudes.new_empty(amplitudes.shape[0], n_samples), initial_phase.new_empty(initial_phase.shape)


def _oscillator_backward_fake(g_audio, g_final, f0_hz, amplitudes, wavetables, initial_phase, *settings_and_needs):
    inputs = zip((f0_hz, amplitudes, wavetables), settings_and_needs[-3:], strict=True)
    return *(x.new_empty(x.shape if need else 0) for x, need in inputs), g_final.new_empty(g_final.shape)


_lookup_op = dispatch.register(
    "wavetable_lookup", "(Tensor phase, Tensor wavetables, int order) -> Tensor", cpu=_lookup_cpu, fake=_lookup_fake
)
_lookup_backward_op = dispatch.register(
    "wavetable_lookup_backward",
    "(Tensor g, Tensor phase, Tensor wavetables, int order, bool need_phase, bool need_wavetables) -> (Tensor, Tensor)",
    cpu=_lookup_backward_cpu,
    fake=_lookup_backward_fake,
)
_oscillator_op = dispatch.register(
    "wavetable_oscillator",
    f"(Tensor f0_hz, Tensor amplitudes, Tensor wavetables, Tensor initial_phase, {_SETTINGS}) -> (Tensor, Tensor)",
    cpu=_oscillator_cpu,
    fake=_oscillator_fake,
)
_oscillator_backward_op = dispatch.register(
    "wavetable_oscillator_backward",
    "(Tensor g_audio, Tensor g_final, Tensor f0_hz, Tensor amplitudes, Tensor wavetables, Tensor initial_phase, "
    f"{_SETTINGS}, bool need_phase, bool need_amplitudes, bool need_wavetables) -> (Tensor, Tensor, Tensor, Tensor)",
    cpu=_oscillator_backward_cpu,
    fake=_oscillator_backward_fake,
)
dispatch.implement_cuda("wavetable_lookup", wavetable_cuda.lookup)
dispatch.implement_cuda("wavetable_lookup_backward", wavetable_cuda.lookup_backward)
dispatch.implement_cuda("wavetable_oscillator", wavetable_cuda.oscillator)
dispatch.implement_cuda("wavetable_oscillator_backward", wavetable_cuda.oscillator_backward)


# The functions. `forward` names all its arguments: torch.compile counts them to tell whether one is the context.


class WavetableLookup(torch.autograd.Function):
    """(phase [B, N], wavetables [B, F, W], order) -> [B, N]."""

    @staticmethod
    def forward(phase, wavetables, order):
        return _lookup_op(phase, wavetables, order)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])
        ctx.settings = inputs[2:]

    @staticmethod
    def backward(ctx, g):
        return dispatch.backward(ctx, g, WavetableLookupBackward, _lookup_backward_op)

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(WavetableLookup, info.batch_size, in_dims, args)


class WavetableLookupBackward(torch.autograd.Function):
    """The backward in one call: (g, the lookup's inputs, needs) -> gradients of phase and wavetables; empty if not."""

    @staticmethod
    def forward(g, phase, wavetables, order, need_phase, need_wavetables):
        return _lookup_backward_op(g, phase, wavetables, order, need_phase, need_wavetables)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:3])
        ctx.settings, ctx.needs = inputs[3:-2], inputs[-2:]

    @staticmethod
    def backward(ctx, v_phase, v_wavetables):
        functions = WavetableLookup.apply, WavetableLookupBackward.apply
        return readings.backward_of_backward(ctx, v_phase, v_wavetables, *functions)

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(WavetableLookupBackward, info.batch_size, in_dims, args)


class WavetableOscillator(torch.autograd.Function):
    """(f0 [B, F], amplitudes [B, F'], wavetables [B, F'', W], initial phase [B], *settings) -> (audio, final phase)."""

    @staticmethod
    def forward(f0_hz, amplitudes, wavetables, initial_phase, n_samples, sample_rate, order):
        return _oscillator_op(f0_hz, amplitudes, wavetables, initial_phase, n_samples, sample_rate, order)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:4])
        ctx.settings = inputs[4:]

    @staticmethod
    def backward(ctx, g_audio, g_final):
        need_f0, need_amplitudes, need_wavetables, need_initial = ctx.needs_input_grad[:4]
        run = dispatch.gradients_by(WavetableOscillatorBackward, _oscillator_backward_op)
        needs = need_f0 or need_initial, need_amplitudes, need_wavetables
        gradients = run(g_audio, g_final, *ctx.saved_tensors, *ctx.settings, *needs)
        needed = zip(gradients, ctx.needs_input_grad[:4], strict=True)
        return *(d if need else None for d, need in needed), *[None] * len(ctx.settings)

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(WavetableOscillator, info.batch_size, in_dims, args)


class WavetableOscillatorBackward(torch.autograd.Function):
    """The backward in one call: (g_audio, g_final, the oscillator's inputs, needs) -> gradients of the inputs.

    Gradients that are not needed are empty tensors; d_initial needs `need_phase`.
    """

    @staticmethod
    def forward(
        g_audio, g_final, f0_hz, amplitudes, wavetables, initial_phase, n_samples, sample_rate, order,
        need_phase, need_amplitudes, need_wavetables,
    ):  # fmt: skip
        return _oscillator_backward_op(
            g_audio, g_final, f0_hz, amplitudes, wavetables, initial_phase, n_samples, sample_rate, order,
            need_phase, need_amplitudes, need_wavetables,
        )  # fmt: skip

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], *inputs[2:6])
        ctx.settings, ctx.needs = inputs[6:-3], inputs[-3:]

    @staticmethod
    def backward(ctx, v_f0, v_amplitudes, v_wavetables, v_initial):
        g, f0_hz, amplitudes, wavetables, initial_phase = ctx.saved_tensors
        need_phase, need_amplitudes, need_wavetables = ctx.needs
        n_samples, sample_rate, order = ctx.settings
        no_final = torch.zeros_like(initial_phase)
        d_g, d_g_final = torch.zeros_like(g), None
        totals = [torch.zeros_like(x) for x in (f0_hz, amplitudes, wavetables, initial_phase)]

        def add(g, a, w, order, *needs):
            """What comes back through the audio of amplitudes a and tables w; returns the audio."""
            same = initial_phase, n_samples, sample_rate, order
            results = WavetableOscillatorBackward.apply(g, no_final, f0_hz, a, w, *same, *needs)
            for i, need in enumerate((*needs, needs[0])):
                if need:
                    totals[i] = totals[i] + results[i]
            return WavetableOscillator.apply(f0_hz, a, w, *same)[0]

        if need_amplitudes:
            d_g = d_g + add(g, v_amplitudes, wavetables, order, True, False, True)
        if need_wavetables:
            d_g = d_g + add(g, amplitudes, v_wavetables, order, True, True, False)
        if need_phase:
            after = _phase_tangent(v_f0, v_initial, n_samples, 0, v_f0.shape[1], sample_rate)
            before = torch.cat([v_initial[:, None], after], 1)
            d_g_final, v = before[:, -1], before[:, :-1].to(g.dtype)
            # The second derivative in the phase is 0: nothing comes back to the phase.
            d_g = d_g + v * add(g * v, amplitudes, wavetables, order + 1, False, True, True)
        return d_g, d_g_final, *totals, *[None] * (len(ctx.settings) + 3)

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(WavetableOscillatorBackward, info.batch_size, in_dims, args)


for _function, _op in (
    (WavetableLookup, _lookup_op),
    (WavetableLookupBackward, _lookup_backward_op),
    (WavetableOscillator, _oscillator_op),
    (WavetableOscillatorBackward, _oscillator_backward_op),
):
    dispatch.differentiate(_op, _function)


# What users call.


def _tables(wavetables, batch: int) -> torch.Tensor:
    """Checked wavetables as [batch, frames, n_wavetable], those of one batch item expanded to all."""
    n_axes = wavetables.ndim if isinstance(wavetables, torch.Tensor) else 0
    one = n_axes > 1 and wavetables.shape[0] == 1
    frames = () if n_axes == 2 else ("frames",)
    checks.shape("wavetables", wavetables, (1 if one else batch, *frames, "n_wavetable"))
    wavetables = wavetables[:, None] if n_axes == 2 else wavetables
    checks.positive(n_wavetable=wavetables.shape[2])
    return wavetables.expand(batch, -1, -1)


def linear_lookup(phase: torch.Tensor, wavetables: torch.Tensor, *, backend: str = "auto") -> torch.Tensor:
    """Wavetables read at given phases, linearly interpolated.

    The first point of a table comes again after the last. Exactly on a point the phase has no gradient, as in
    magenta/ddsp. For the phase of a pitch use `wavetable_synthesis`, whose phases are exact.

    Args:
      phase: place in the table in turns, 0 to 1, [batch, samples] or [batch, samples, 1]. Outside of that range the
        audio fades to silence within a point.
      wavetables: [batch, n_wavetable]; or [batch, frames, n_wavetable], frames blended linearly: one, as many as
        samples, which are then read one by one, or any other number. A batch of 1 serves all.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Audio [batch, samples].

    Raises:
      ValueError, TypeError: for shapes, dtypes, devices or numbers that do not fit.

    Source: magenta/ddsp `core.linear_lookup`.
    """
    phase, wavetables = checks.computed_in_float32(phase, wavetables)
    phase = checks.one_channel("phase", phase, ("batch", "samples"))
    wavetables = _tables(wavetables, phase.shape[0])
    checks.same_kind(phase=phase, wavetables=wavetables)
    dispatch.check_backend(backend, phase.device, cuda=True)
    if phase.shape[1] > 0:
        checks.positive(frames=wavetables.shape[1])
    return WavetableLookup.apply(phase, wavetables, 0)


def wavetable_synthesis(
    frequencies: torch.Tensor,
    amplitudes: torch.Tensor,
    wavetables: torch.Tensor,
    n_samples: int = 64000,
    sample_rate: float = 16000,
    *,
    initial_phase: torch.Tensor | None = None,
    return_final_phase: bool = False,
    backend: str = "auto",
) -> torch.Tensor | Any:  # a pair with return_final_phase, which only the caller knows
    """Audio of a wavetable oscillator from frame-rate controls.

    f0 and the tables are blended linearly between frames, amplitudes by overlapping Hann windows, each at a frame rate
    of its own; the phase is the exact sum of f0. Nothing keeps the harmonics of a table below Nyquist.

    Args:
      frequencies: fundamental frequency in Hz, [batch, frames, 1]; 0 and negative frequencies are fine. Where it is
        not finite the audio is NaN.
      amplitudes: linear amplitude, [batch, frames, 1].
      wavetables: one turn of the wave, [batch, n_wavetable] or [batch, frames, n_wavetable]. A batch of 1 serves all.
      n_samples: length of the audio; any, frames need not divide it.
      sample_rate: samples a second.
      initial_phase: of the first sample, radians, [batch, 1, 1]; 0 if None.
      return_final_phase: also return the phase of the sample after the last: the next call's initial phase.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Audio [batch, n_samples]; with `return_final_phase` also the final phase, float64 radians in [0, 2 pi),
      [batch, 1, 1].

    Raises:
      ValueError, TypeError: for shapes, dtypes, devices or numbers that do not fit.

    Source: magenta/ddsp `core.wavetable_synthesis`; Bristow-Johnson, Wavetable Synthesis 101, AES Convention 101, 1996.
    """
    frequencies, amplitudes, wavetables, initial_phase = checks.computed_in_float32(
        frequencies, amplitudes, wavetables, initial_phase
    )
    checks.shape("frequencies", frequencies, ("batch", "frames", 1))
    batch = frequencies.shape[0]
    checks.shape("amplitudes", amplitudes, (batch, "frames", 1))
    wavetables = _tables(wavetables, batch)
    checks.same_kind(frequencies=frequencies, amplitudes=amplitudes, wavetables=wavetables)
    checks.positive(sample_rate=sample_rate)
    checks.count(n_samples=n_samples)
    dispatch.check_backend(backend, frequencies.device, cuda=True)
    if n_samples > 0:
        checks.positive(frames=min(x.shape[1] for x in (frequencies, amplitudes, wavetables)))
    if initial_phase is None:
        initial_phase = frequencies.new_zeros((), dtype=torch.float64).expand(batch)
    else:
        checks.shape("initial_phase", initial_phase, (batch, 1, 1))
        checks.same_kind(initial_phase=initial_phase)  # float64 as final phases are, or float32, whatever f0's
        checks.same_device(frequencies=frequencies, initial_phase=initial_phase)
        initial_phase = initial_phase[:, 0, 0].double()
    audio, final_phase = WavetableOscillator.apply(
        frequencies.squeeze(-1), amplitudes.squeeze(-1), wavetables, initial_phase, n_samples, float(sample_rate), 0
    )
    return (audio, final_phase[:, None, None]) if return_final_phase else audio


def harmonic_distribution_to_wavetable(harmonic_distribution: torch.Tensor, n_wavetable: int = 2048) -> torch.Tensor:
    """Wavetables that hold harmonics as cosines: point c is sum_k d_k cos(2 pi k c / n_wavetable).

    Unlike magenta/ddsp's, an odd n_wavetable gives so many points (there, one less), a harmonic at n_wavetable / 2 has
    its whole amplitude (there, half of it), and harmonics above that are an error that says so.

    Args:
      harmonic_distribution: amplitude d_k of harmonic k = 1, 2, ..., [batch, frames, harmonics].
      n_wavetable: points of a table, at least twice the harmonics.

    Returns:
      Wavetables [batch, frames, n_wavetable].

    Raises:
      ValueError: for another shape, or for more harmonics than n_wavetable / 2.
      TypeError: n_wavetable is not a whole number, or the harmonics are not float32 or float64.

    Source: magenta/ddsp `core.harmonic_distribution_to_wavetable`.
    """
    (harmonic_distribution,) = checks.computed_in_float32(harmonic_distribution)
    checks.shape("harmonic_distribution", harmonic_distribution, ("batch", "frames", "harmonics"))
    checks.same_kind(harmonic_distribution=harmonic_distribution)
    n_harmonics = harmonic_distribution.shape[-1]
    checks.whole(n_wavetable=n_wavetable)
    checks.positive(n_wavetable=n_wavetable)
    if n_wavetable < 2 * n_harmonics:
        raise ValueError(f"n_wavetable must be >= {2 * n_harmonics} for {n_harmonics} harmonics, got {n_wavetable}")
    if 2 * n_harmonics == n_wavetable:  # the transform counts every other harmonic twice, as it stands for -k too
        last = harmonic_distribution.new_ones(n_harmonics)
        last[-1] = 2.0
        harmonic_distribution = harmonic_distribution * last
    spectrum = torch.nn.functional.pad(harmonic_distribution, (1, 0))  # nothing at 0 Hz
    return torch.fft.irfft(spectrum, n_wavetable) * (n_wavetable / 2)
