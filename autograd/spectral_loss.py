"""Multi-scale spectral loss of every row of a batch, fused: the forward pass makes the gradients too.

    L_b = sum over sizes of mean_{t,k} a d(|X|, |Y|) + c d(log |X|, log |Y|)        d(u, v) = |u - v| or (u - v)^2

X, Y: short-time spectra of row b of `audio` and `target_audio`, as fastddsp.autograd.spectral.stft has them. L_b is a
number, so its gradients D_b for the cotangent 1 are all that a backward pass needs of it: g_b D_b. They are made beside
the value, block by block (fastddsp.kernels.cpu.spectral_loss), and are what is kept: one tensor of the size of the
audio for each signal that wants a gradient, and never a spectrogram. Derivatives of the gradients are those of the same
formula in plain torch.
"""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from fastddsp.autograd import checks, dispatch
from fastddsp.autograd.scaling import safe_log
from fastddsp.autograd.spectral import compute_mag

__all__ = ["spectral_loss"]

_SETTINGS = "int[] fft_sizes, bool squared, float mag_weight, float logmag_weight, bool need_target, bool need_audio"


def _rfft(frames):
    with _mkl_on_one_thread():
        return torch.fft.rfft(torch.from_numpy(frames)).numpy()


def _irfft(spectra, size):
    with _mkl_on_one_thread():
        return torch.fft.irfft(torch.from_numpy(spectra), size, norm="forward").numpy()


@contextmanager
def _mkl_on_one_thread() -> Iterator[None]:
    """Tell MKL, where torch's FFTs are MKL's, that the calling thread has no others.

    It is so inside a team, but MKL plans by the number of threads that torch has: on an AMD processor its transforms of
    64 samples then round differently on one thread and on two.
    """
    set_threads = _set_mkl_threads()
    if set_threads is None:
        yield
        return
    before = set_threads(1)
    try:
        yield
    finally:
        set_threads(before)


@lru_cache
def _set_mkl_threads() -> Callable[[int], int] | None:
    """MKL's setting for the calling thread alone, which returns the one before; None if this torch has no MKL."""
    try:
        return ctypes.CDLL(str(Path(torch.__file__).parent / "lib/libtorch_cpu.so")).MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):
        return None


def _loss_cpu(target_audio, audio, fft_sizes, squared, mag_weight, logmag_weight, *needs):
    from fastddsp.kernels.cpu import spectral_loss as kernel

    loss, d_target, d_audio = _loss_fake(target_audio, audio, fft_sizes, squared, mag_weight, logmag_weight, *needs)
    kernel.losses(
        target_audio.contiguous().numpy(),
        audio.contiguous().numpy(),
        fft_sizes,
        squared,
        (mag_weight, logmag_weight),
        _rfft,
        _irfft,
        loss.numpy(),
        d_target.numpy() if needs[0] else None,
        d_audio.numpy() if needs[1] else None,
        torch.get_num_threads(),
    )
    return loss, d_target, d_audio


def _loss_fake(target_audio, audio, fft_sizes, squared, mag_weight, logmag_weight, *needs):
    return audio.new_empty(audio.shape[0]), *(audio.new_empty(audio.shape if need else 0) for need in needs)


_loss_op = dispatch.register(
    "spectral_loss",
    f"(Tensor target_audio, Tensor audio, {_SETTINGS}) -> (Tensor, Tensor, Tensor)",
    cpu=_loss_cpu,
    fake=_loss_fake,
)


class SpectralLoss(torch.autograd.Function):
    """L: (target [B, N], audio [B, N], *settings, needs) -> [B], and D of either signal, or [0] if not needed."""

    @staticmethod
    def forward(target_audio, audio, fft_sizes, squared, mag_weight, logmag_weight, need_target, need_audio):
        return _loss_op(
            target_audio, audio, fft_sizes, squared, mag_weight, logmag_weight, need_target, need_audio
        )  # fmt: skip

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, d_target, d_audio = output
        ctx.mark_non_differentiable(d_target, d_audio)
        ctx.save_for_backward(*inputs[:2], d_target, d_audio)
        ctx.settings, ctx.made = inputs[2:6], inputs[6:]

    @staticmethod
    def backward(ctx, g, *_):
        needs = ctx.needs_input_grad[:2]
        d_target, d_audio = SpectralLossBackward.apply(g, *ctx.saved_tensors, *ctx.settings, *ctx.made, *needs)
        return d_target if needs[0] else None, d_audio if needs[1] else None, *[None] * 6

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(SpectralLoss, info.batch_size, in_dims, args)


class SpectralLossBackward(torch.autograd.Function):
    """g D: (g [B], L's inputs, D of either, settings, which D are made, needs) -> gradients; empty where not needed."""

    @staticmethod
    def forward(
        g, target_audio, audio, d_target, d_audio, fft_sizes, squared, mag_weight, logmag_weight,
        made_target, made_audio, need_target, need_audio,
    ):  # fmt: skip
        if (need_target and not made_target) or (need_audio and not made_audio):
            # The caller could not see that a transform would want this gradient.
            _, d_target, d_audio = _loss_op(
                target_audio, audio, fft_sizes, squared, mag_weight, logmag_weight, need_target, need_audio
            )
        return (
            g[:, None] * d_target if need_target else g.new_empty(0),
            g[:, None] * d_audio if need_audio else g.new_empty(0),
        )

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:3])
        ctx.settings, ctx.needs = inputs[5:9], inputs[11:]

    @staticmethod
    def backward(ctx, *v):
        def gradients(g, target_audio, audio):
            pull = torch.func.vjp(lambda *signals: _plain(*signals, *ctx.settings), target_audio, audio)[1]
            return tuple(d for d, need in zip(pull(g), ctx.needs, strict=True) if need)

        pull = torch.func.vjp(gradients, *ctx.saved_tensors)[1]
        second = pull(tuple(x for x, need in zip(v, ctx.needs, strict=True) if need))
        wanted = zip(second, ctx.needs_input_grad[:3], strict=True)
        return *(d if need else None for d, need in wanted), *[None] * 10

    @staticmethod
    def vmap(info, in_dims, *args):
        return dispatch.fold_vmap(SpectralLossBackward, info.batch_size, in_dims, args)


def _plain(target_audio, audio, fft_sizes, squared, mag_weight, logmag_weight):
    """The same in plain torch, differentiable to any order."""
    loss = audio.new_zeros(audio.shape[0])
    for size in fft_sizes:
        mags = compute_mag(target_audio, size), compute_mag(audio, size)
        for weight, (u, v) in ((mag_weight, mags), (logmag_weight, map(safe_log, mags))):
            d = (u - v).square() if squared else (u - v).abs()
            loss = loss + weight * d.mean(dim=(1, 2)) if weight else loss
    return loss


dispatch.differentiate(_loss_op, SpectralLoss)


def spectral_loss(
    target_audio: Tensor,
    audio: Tensor,
    fft_sizes: Sequence[int] = (2048, 1024, 512, 256, 128, 64),
    loss_type: str = "L1",
    mag_weight: float = 1.0,
    logmag_weight: float = 0.0,
    *,
    backend: str = "auto",
) -> Tensor:
    """Multi-scale spectral loss of each row; `fastddsp.models.losses.SpectralLoss` is its mean, and has more terms.

    Args:
      target_audio: [batch, samples], float32 or float64.
      audio: [batch, samples], of the same type.
      fft_sizes: window sizes in samples, at least 4; the hop is a quarter.
      loss_type: "L1" or "L2".
      mag_weight: a, weight of magnitudes.
      logmag_weight: c, weight of their natural logarithms, log(1e-5) where a magnitude is 0.
      backend: `auto`, `cpu` or `cuda`.

    Returns:
      [batch]; 0 where there are no samples. Differentiable in both signals; the gradients of equal or silent bins are
      0.

    Raises:
      ValueError, TypeError: for shapes, dtypes, devices or numbers that do not fit.

    Source: Engel et al., ICLR 2020, "Multi-scale spectral loss".
    """
    target_audio, audio = checks.computed_in_float32(target_audio, audio)
    checks.shape("target_audio", target_audio, ("batch", "samples"))
    checks.shape("audio", audio, tuple(target_audio.shape))
    checks.same_kind(target_audio=target_audio, audio=audio)
    checks.one_of("loss_type", loss_type, ("L1", "L2"))
    checks.not_negative(mag_weight=mag_weight, logmag_weight=logmag_weight)
    for size in fft_sizes:
        if size < 4:
            raise ValueError(f"fft_sizes must be at least 4 samples, got {size}")
    dispatch.check_backend(backend, audio.device)
    needs = [torch.is_grad_enabled() and x.requires_grad for x in (target_audio, audio)]
    loss, _, _ = SpectralLoss.apply(
        target_audio, audio, tuple(fft_sizes), loss_type == "L2", float(mag_weight), float(logmag_weight), *needs
    )
    return loss
