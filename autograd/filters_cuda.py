"""The filters' ops on CUDA tensors: results from torch's allocator, kernels on torch's current stream."""

from typing import Any

from fastddsp.autograd import dispatch


def _kernels(source: Any, shape: tuple, n_samples: int, window_size: int, overlap: bool, like: Any) -> Any:
    from fastddsp.kernels.cuda.fir import Filter

    return Filter(source, shape, n_samples, window_size, overlap, like, dispatch.queue(like))


def _audio(audio):
    from fastddsp.kernels.cuda.fir import Source

    return Source(audio.contiguous())


def _noise(seeds, offset):
    from fastddsp.kernels.cuda.fir import Source

    all_same = seeds.stride(0) == 0
    return Source(seeds=seeds[:1] if all_same else seeds.contiguous(), offset=offset)


def frequency_filter(audio, magnitudes, window_size, valid, overlap):
    """Filtered audio: `fastddsp::frequency_filter`."""
    from fastddsp.kernels import fir

    n_samples = audio.shape[1]
    n_out = n_samples + fir.n_taps(magnitudes.shape[2], window_size) - 1 if valid else n_samples
    if audio.numel() == 0:
        return audio.new_zeros(audio.shape[0], n_out)
    out = audio.new_empty(audio.shape[0], n_out)
    kernels = _kernels(_audio(audio), magnitudes.shape, n_samples, window_size, overlap, out)
    kernels.render(magnitudes.contiguous(), out)
    return out


def frequency_filter_backward(g, audio, magnitudes, window_size, valid, overlap, need_audio, need_magnitudes):
    """The gradients that are needed, the others empty: `fastddsp::frequency_filter_backward`."""
    something = audio.numel() > 0 and g.numel() > 0
    new = audio.new_empty if something else audio.new_zeros  # the kernels write whole gradients
    d_audio = new(audio.shape if need_audio else 0)
    d_magnitudes = new(magnitudes.shape if need_magnitudes else 0)
    if something and (need_audio or need_magnitudes):
        kernels = _kernels(_audio(audio), magnitudes.shape, audio.shape[1], window_size, overlap, g)
        wanted = d_audio if need_audio else None, d_magnitudes if need_magnitudes else None
        kernels.gradients(g.contiguous(), magnitudes.contiguous(), *wanted)
    return d_audio, d_magnitudes


def filtered_noise(magnitudes, seeds, n_samples, offset, window_size, overlap):
    """Filtered noise: `fastddsp::filtered_noise`."""
    out = magnitudes.new_empty(magnitudes.shape[0], n_samples)
    if out.numel():
        kernels = _kernels(_noise(seeds, offset), magnitudes.shape, n_samples, window_size, overlap, out)
        kernels.render(magnitudes.contiguous(), out)
    return out


def filtered_noise_backward(g, seeds, n_frames, n_bands, offset, window_size, overlap):
    """The gradient of the magnitudes: `fastddsp::filtered_noise_backward`."""
    d_magnitudes = (g.new_empty if g.numel() else g.new_zeros)(g.shape[0], n_frames, n_bands)
    if g.numel():
        kernels = _kernels(_noise(seeds, offset), d_magnitudes.shape, g.shape[1], window_size, overlap, g)
        kernels.gradients(g.contiguous(), None, None, d_magnitudes)
    return d_magnitudes
