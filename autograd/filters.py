"""Frequency-sampled time-varying filters and filtered noise, differentiable to any order.

    h_t = D X_t                                        D: cosine transform and window (fastddsp.kernels.fir)
    y = F(x, X):   y[p] = sum_t sum_{n in frame t} x[n] h_t[p + delay - n]

x: audio [batch, samples]; X: magnitudes [batch, frames, bands]. F is linear in either. So are its adjoints, and they
are derivatives of one trilinear form T(g, x, X) = <g, F(x, X)>:

    backward of F                    dx = A(g, X) = dT/dx,   dX = M(g, x) = dT/dX              one fused kernel call
    backward of (A, M), for v, V     dg = F(v, X) + F(x, V),   dx = A(g, V),   dX = M(g, v)    the same ops again

With overlap h_t is not one of the h_t, but the mean of two, weighted by where n is in its frame; F stays as linear.
Filtered noise is F with an x that is a function of a seed and made inside the kernel, forward and backward.
"""

import torch
from torch import Tensor

from fastddsp.autograd import checks, dispatch, filters_cuda

__all__ = [
    "apply_window_to_impulse_response",
    "filtered_noise",
    "frequency_filter",
    "frequency_impulse_response",
]

MAX_SEED = 2**63 - 1


# ----------------------------------------------------------------------------------------------------------- the ops


def _n_out(n_samples, n_bands: int, window_size: int, valid: bool):
    from fastddsp.kernels import fir

    return n_samples + fir.n_taps(int(n_bands), window_size) - 1 if valid else n_samples


def _filter_cpu(audio, magnitudes, window_size, valid, overlap):
    from fastddsp.kernels.cpu import fir, fir_source

    n_samples, n_bands = audio.shape[1], magnitudes.shape[2]
    out = audio.new_empty(audio.shape[0], _n_out(n_samples, n_bands, window_size, valid))
    if audio.numel() == 0:
        return out.zero_()
    source = fir_source.audio_source(audio.contiguous().numpy())
    bands = magnitudes.contiguous().numpy()
    fir.filter_source(source, bands, n_samples, window_size, out.numpy(), torch.get_num_threads(), overlap)
    return out


def _filter_fake(audio, magnitudes, window_size, valid, overlap):
    return audio.new_empty(audio.shape[0], _n_out(audio.shape[1], magnitudes.shape[2], window_size, valid))


def _filter_backward_cpu(g, audio, magnitudes, window_size, valid, overlap, need_audio, need_magnitudes):
    from fastddsp.kernels.cpu import fir, fir_source

    something = audio.numel() > 0 and g.numel() > 0
    make = torch.empty if something else torch.zeros
    d_audio = make(audio.shape if need_audio else 0, dtype=audio.dtype)
    d_magnitudes = make(magnitudes.shape if need_magnitudes else 0, dtype=audio.dtype)
    if something:
        source = fir_source.audio_source(audio.contiguous().numpy())
        fir.gradients(
            g.contiguous().numpy(),
            source,
            magnitudes.contiguous().numpy(),
            audio.shape[1],
            window_size,
            d_audio.numpy() if need_audio else None,
            d_magnitudes.numpy() if need_magnitudes else None,
            torch.get_num_threads(),
            overlap,
        )
    return d_audio, d_magnitudes


def _filter_backward_fake(g, audio, magnitudes, window_size, valid, overlap, need_audio, need_magnitudes):
    return (
        audio.new_empty(audio.shape if need_audio else 0),
        magnitudes.new_empty(magnitudes.shape if need_magnitudes else 0),
    )


def _noise_cpu(magnitudes, seeds, n_samples, offset, window_size, overlap):
    from fastddsp.kernels.cpu import fir, fir_source

    out = magnitudes.new_empty(magnitudes.shape[0], n_samples)
    if out.numel():
        source = fir_source.noise_source(seeds.contiguous().numpy(), offset, out.numpy().dtype)
        bands = magnitudes.contiguous().numpy()
        fir.filter_source(source, bands, n_samples, window_size, out.numpy(), torch.get_num_threads(), overlap)
    return out


def _noise_backward_cpu(g, seeds, n_frames, n_bands, offset, window_size, overlap):
    from fastddsp.kernels.cpu import fir, fir_source

    d_magnitudes = (g.new_empty if g.numel() else g.new_zeros)(g.shape[0], n_frames, n_bands)
    if g.numel():
        g_array, results = g.contiguous().numpy(), d_magnitudes.numpy()
        source = fir_source.noise_source(seeds.contiguous().numpy(), offset, g_array.dtype)
        fir.gradients(g_array, source, None, g.shape[1], window_size, None, results, torch.get_num_threads(), overlap)
    return d_magnitudes


_filter_op = dispatch.register(
    "frequency_filter",
    "(Tensor audio, Tensor magnitudes, int window_size, bool valid, bool overlap) -> Tensor",
    cpu=_filter_cpu,
    fake=_filter_fake,
)
_filter_backward_op = dispatch.register(
    "frequency_filter_backward",
    "(Tensor g, Tensor audio, Tensor magnitudes, int window_size, bool valid, bool overlap, bool need_audio,"
    " bool need_magnitudes) -> (Tensor, Tensor)",
    cpu=_filter_backward_cpu,
    fake=_filter_backward_fake,
)
_noise_op = dispatch.register(
    "filtered_noise",
    "(Tensor magnitudes, Tensor seeds, SymInt n_samples, SymInt offset, int window_size, bool overlap) -> Tensor",
    cpu=_noise_cpu,
    fake=lambda magnitudes, seeds, n_samples, *settings: magnitudes.new_empty(magnitudes.shape[0], n_samples),
)
_noise_backward_op = dispatch.register(
    "filtered_noise_backward",
    "(Tensor g, Tensor seeds, SymInt n_frames, SymInt n_bands, SymInt offset, int window_size, bool overlap) -> Tensor",
    cpu=_noise_backward_cpu,
    fake=lambda g, seeds, n_frames, n_bands, *settings: g.new_empty(g.shape[0], n_frames, n_bands),
)
dispatch.implement_cuda("frequency_filter", filters_cuda.frequency_filter)
dispatch.implement_cuda("frequency_filter_backward", filters_cuda.frequency_filter_backward)
dispatch.implement_cuda("filtered_noise", filters_cuda.filtered_noise)
dispatch.implement_cuda("filtered_noise_backward", filters_cuda.filtered_noise_backward)


# ----------------------------------------------------------------------------------------------------- the functions


class FrequencyFilter(torch.autograd.Function):
    """F: (audio [B, N], magnitudes [B, F, K], window_size, valid, overlap) -> audio."""

    @staticmethod
    def forward(audio, magnitudes, window_size, valid, overlap):
        return _filter_op(audio, magnitudes, window_size, valid, overlap)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:2])
        ctx.settings = inputs[2:]

    @staticmethod
    def backward(ctx, g):
        return dispatch.backward(ctx, g, FrequencyFilterBackward, _filter_backward_op)

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(FrequencyFilter, info.batch_size, in_dims, args)


class FrequencyFilterBackward(torch.autograd.Function):
    """(A, M): (g, audio, magnitudes, window_size, valid, overlap, needs) -> gradients, empty if not needed."""

    @staticmethod
    def forward(g, audio, magnitudes, window_size, valid, overlap, need_audio, need_magnitudes):
        return _filter_backward_op(g, audio, magnitudes, window_size, valid, overlap, need_audio, need_magnitudes)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:3])
        ctx.settings, ctx.needs = inputs[3:6], inputs[6:]

    @staticmethod
    def backward(ctx, v_audio, v_magnitudes):
        g, audio, magnitudes = ctx.saved_tensors
        had_audio, had_magnitudes = ctx.needs
        need_g, need_audio, need_magnitudes = ctx.needs_input_grad[:3]
        d_g = d_audio = d_magnitudes = None
        if need_g and had_audio:
            d_g = FrequencyFilter.apply(v_audio, magnitudes, *ctx.settings)
        if need_g and had_magnitudes:
            d_more = FrequencyFilter.apply(audio, v_magnitudes, *ctx.settings)
            d_g = d_more if d_g is None else d_g + d_more
        if need_audio and had_magnitudes:
            d_audio, _ = FrequencyFilterBackward.apply(g, audio, v_magnitudes, *ctx.settings, True, False)
        if need_magnitudes and had_audio:
            _, d_magnitudes = FrequencyFilterBackward.apply(g, v_audio, magnitudes, *ctx.settings, False, True)
        return d_g, d_audio, d_magnitudes, None, None, None, None, None

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(FrequencyFilterBackward, info.batch_size, in_dims, args)


class FilteredNoise(torch.autograd.Function):
    """F of a seed's noise: (magnitudes [B, F, K], seeds [B], n_samples, offset, window_size, overlap) -> [B, N]."""

    @staticmethod
    def forward(magnitudes, seeds, n_samples, offset, window_size, overlap):
        return _noise_op(magnitudes, seeds, n_samples, offset, window_size, overlap)

    @staticmethod
    def setup_context(ctx, inputs, output):
        magnitudes, seeds, _, *ctx.settings = inputs
        ctx.save_for_backward(seeds)
        ctx.shape = magnitudes.shape[1:]

    @staticmethod
    def backward(ctx, g):
        (seeds,) = ctx.saved_tensors
        run = dispatch.gradients_by(FilteredNoiseBackward, _noise_backward_op)
        return run(g, seeds, *ctx.shape, *ctx.settings), None, None, None, None, None

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(FilteredNoise, info.batch_size, in_dims, args)


class FilteredNoiseBackward(torch.autograd.Function):
    """M of a seed's noise: (g [B, N], seeds [B], n_frames, n_bands, offset, window_size, overlap) -> [B, F, K]."""

    @staticmethod
    def forward(g, seeds, n_frames, n_bands, offset, window_size, overlap):
        return _noise_backward_op(g, seeds, n_frames, n_bands, offset, window_size, overlap)

    @staticmethod
    def setup_context(ctx, inputs, output):
        g, seeds, _, _, *ctx.settings = inputs
        ctx.save_for_backward(seeds)
        ctx.n_samples = g.shape[1]

    @staticmethod
    def backward(ctx, v):
        (seeds,) = ctx.saved_tensors
        return FilteredNoise.apply(v, seeds, ctx.n_samples, *ctx.settings), None, None, None, None, None, None

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(FilteredNoiseBackward, info.batch_size, in_dims, args)


dispatch.differentiate(_filter_op, FrequencyFilter)
dispatch.differentiate(_filter_backward_op, FrequencyFilterBackward)
dispatch.differentiate(_noise_op, FilteredNoise)
dispatch.differentiate(_noise_backward_op, FilteredNoiseBackward)


# -------------------------------------------------------------------------------------------------- public functions


def apply_window_to_impulse_response(impulse_response: Tensor, window_size: int = 0, causal: bool = False) -> Tensor:
    """Window impulse responses with a Hann window, and put their centre in the middle.

    The window is periodic if its size is even and symmetric if odd. A window shorter than the response leaves
    2 ((window_size + 1) // 2) - 1 taps (2 for sizes 1 and 2). As in magenta, an odd window sits one sample early.

    Args:
      impulse_response: [..., ir_size], sample 0 at lag 0 and negative lags at the end.
      window_size: samples; the whole response if 0 or if it is larger than that.
      causal: the response comes with its centre in the middle already.

    Returns:
      Impulse responses [..., taps], centre in the middle.

    Raises:
      TypeError: the response is not float32 or float64, or the size is not a whole number.
    """
    (impulse_response,) = checks.computed_in_float32(impulse_response)
    checks.same_kind(impulse_response=impulse_response)
    checks.whole(window_size=window_size)
    ir_size = impulse_response.shape[-1]
    if causal:
        impulse_response = torch.fft.fftshift(impulse_response, dim=-1)
    if window_size <= 0 or window_size >= ir_size:
        window = torch.roll(_hann(ir_size, impulse_response), -(ir_size % 2))
        return torch.fft.fftshift(impulse_response, dim=-1) * window
    half = (window_size + 1) // 2
    before = max(half - 2, 0)  # taps of negative lag
    taps = torch.cat([impulse_response[..., ir_size - before :], impulse_response[..., : half + 1]], dim=-1)
    window = torch.nn.functional.pad(_hann(window_size, impulse_response), (0, ir_size - window_size))
    return taps * torch.roll(window, before - half)[: before + half + 1]


def _hann(size: int, like: Tensor) -> Tensor:
    window = torch.hann_window(size, periodic=size % 2 == 0, dtype=torch.float64, device=like.device)
    return window.to(like.dtype)


def frequency_impulse_response(magnitudes: Tensor, window_size: int = 0) -> Tensor:
    """Windowed linear-phase impulse responses of frequency responses (frequency sampling).

    Args:
      magnitudes: linear gain at frequencies evenly spaced from 0 to Nyquist, [..., bands], at least 2 bands.
      window_size: samples of the Hann window; see `apply_window_to_impulse_response`.

    Returns:
      Impulse responses [..., taps], 2 (bands - 1) taps or, with a shorter window, about window_size.

    Raises:
      ValueError: there are fewer than 2 bands.
      TypeError: the magnitudes are not float32 or float64.

    Source: Smith, Spectral Audio Signal Processing, "Windowing a desired impulse response computed by the frequency
    sampling method".
    """
    (magnitudes,) = checks.computed_in_float32(magnitudes)
    checks.same_kind(magnitudes=magnitudes)
    _check_bands(magnitudes)
    zero_phase = torch.fft.irfft(magnitudes, 2 * (magnitudes.shape[-1] - 1))
    return apply_window_to_impulse_response(zero_phase, window_size)


def _check_bands(magnitudes: Tensor) -> None:
    if magnitudes.shape[-1] < 2:
        raise ValueError(f"magnitudes must have at least 2 bands (0 Hz and Nyquist), got {list(magnitudes.shape)}")


def frequency_filter(
    audio: Tensor,
    magnitudes: Tensor,
    window_size: int = 0,
    padding: str = "same",
    *,
    overlap: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Filter audio with a linear-phase filter that changes from frame to frame.

    Each frame of ceil(samples / frames) samples is filtered on its own and the results, tails included, add up, as in
    magenta. Where frames of that length would use up the audio too early, which magenta refuses, it is divided evenly.

    So the filter jumps from frame to frame, and where it changes fast, as in a sweep, one hears the jumps as clicks.
    With `overlap` it glides: from the filter of a frame at the frame's first sample to the next frame's at the next
    one's, by half a Hann window; the last filter is held. It takes twice the time. A stream needs the magnitudes of one
    frame ahead.

    Args:
      audio: [batch, samples].
      magnitudes: linear gain at frequencies evenly spaced from 0 to Nyquist, [batch, frames, bands] or, for one filter
        throughout, [batch, bands]; at least 2 bands. A batch of 1 serves all audio.
      window_size: samples of the Hann window on the impulse responses, which limits their length; all of their
        2 (bands - 1) samples if 0 or larger than that.
      padding: `same` keeps the number of samples, `valid` adds the tail of taps - 1 samples.
      overlap: glide from filter to filter instead of jumping.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Filtered audio [batch, samples], or [batch, samples + taps - 1]. The filter's group delay is taken off as in
      magenta: all of it for a window shorter than the response, 2 samples less for a full one.

    Raises:
      ValueError, TypeError: for shapes, dtypes, devices or numbers that do not fit.

    Source: Engel et al., DDSP, ICLR 2020, section 3.4.
    """
    audio, magnitudes = checks.computed_in_float32(audio, magnitudes)
    checks.shape("audio", audio, ("batch", "samples"))
    throughout = magnitudes.ndim == 2
    batch = 1 if magnitudes.shape[:1] == (1,) else audio.shape[0]
    checks.shape("magnitudes", magnitudes, (batch, "bands") if throughout else (batch, "frames", "bands"))
    magnitudes = magnitudes[:, None] if throughout else magnitudes
    checks.same_kind(audio=audio, magnitudes=magnitudes)
    checks.one_of("padding", padding, ("same", "valid"))
    _check_filter(magnitudes, audio.shape[1], window_size, backend)
    if magnitudes.shape[0] != audio.shape[0]:  # one that changes nothing costs 6 us
        magnitudes = magnitudes.expand(audio.shape[0], -1, -1)
    return FrequencyFilter.apply(audio, magnitudes, window_size, padding == "valid", overlap)


def _check_filter(magnitudes: Tensor, n_samples: int, window_size: int, backend: str) -> None:
    _check_bands(magnitudes)
    checks.count(window_size=window_size)
    if n_samples > 0:
        checks.positive(frames=magnitudes.shape[1])
    dispatch.check_backend(backend, magnitudes.device, cuda=True)


def filtered_noise(
    magnitudes: Tensor,
    n_samples: int,
    window_size: int = 257,
    *,
    seed: int | None = None,
    noise: Tensor | None = None,
    offset: int = 0,
    overlap: bool = False,
    backend: str = "auto",
) -> Tensor:
    """White noise through a filter that changes from frame to frame.

    The noise is uniform in [-1, 1) and a function of the seed, the row of the batch and the sample's index, nothing
    else (fastddsp.kernels.reference.noise): the same on any number of threads, in any precision, and for any part of a
    longer stream. It is never stored. Under `vmap` every mapped item counts as further rows of the batch.

    Args:
      magnitudes: linear gain at frequencies evenly spaced from 0 to Nyquist, [batch, frames, bands], at least 2 bands.
      n_samples: length of the audio; frames need not divide it.
      window_size: samples of the Hann window on the impulse responses; see `frequency_filter`.
      seed: 0 to 2^63 - 1. If None it is drawn from torch's default generator of the device, so `torch.manual_seed`
        decides.
      noise: filter this instead, [batch, n_samples].
      offset: index of the first sample in the seed's stream of noise.
      overlap: glide from filter to filter instead of jumping; see `frequency_filter`.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      Audio [batch, n_samples].

    Raises:
      ValueError, TypeError: for shapes, dtypes, devices or numbers that do not fit.

    Source: Engel et al., DDSP, ICLR 2020, section 3.4.
    """
    magnitudes, noise = checks.computed_in_float32(magnitudes, noise)
    checks.shape("magnitudes", magnitudes, ("batch", "frames", "bands"))
    checks.count(n_samples=n_samples, offset=offset)
    batch = magnitudes.shape[0]
    if noise is not None:
        checks.shape("noise", noise, (batch, n_samples))
        checks.same_kind(magnitudes=magnitudes, noise=noise)
        return frequency_filter(noise, magnitudes, window_size, overlap=overlap, backend=backend)
    checks.same_kind(magnitudes=magnitudes)
    _check_filter(magnitudes, n_samples, window_size, backend)
    if seed is None:
        seeds = torch.randint(MAX_SEED, (1,), dtype=torch.int64, device=magnitudes.device)
    elif 0 <= seed <= MAX_SEED:
        seeds = torch.full((1,), seed, dtype=torch.int64, device=magnitudes.device)  # a copy would wait for a GPU
    else:
        raise ValueError(f"seed must be from 0 to 2^63 - 1, got {seed}")
    return FilteredNoise.apply(magnitudes, seeds.expand(batch), n_samples, offset, window_size, overlap)
