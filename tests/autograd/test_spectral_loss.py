"""The fused spectral loss: its formula in plain torch, what it keeps in memory, transforms, errors."""

import pytest
import torch
from torch.func import grad, jacrev, vmap

from fastddsp.autograd.scaling import safe_log
from fastddsp.autograd.spectral import compute_mag
from fastddsp.autograd.spectral_loss import spectral_loss

SIZES = (512, 192, 64, 30)


def plain(target, audio, loss_type, mag_weight, logmag_weight, sizes=SIZES):
    """The formula, one term after the other."""
    loss = 0.0
    for size in sizes:
        x, y = compute_mag(audio, size), compute_mag(target, size)
        for weight, d in ((mag_weight, x - y), (logmag_weight, safe_log(x) - safe_log(y))):
            loss = loss + weight * (d.abs() if loss_type == "L1" else d.square()).mean(dim=(1, 2))
    return loss


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    target, audio = torch.randn(2, 2, 3000, generator=generator, dtype=torch.float64)
    return target.requires_grad_(), audio.requires_grad_()


@pytest.mark.parametrize("loss_type", ["L1", "L2"])
@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 2.0), (0.5, 1.0)], ids=str)
def test_rows_and_gradients_are_those_of_the_formula(pair, loss_type, weights):
    fused, formula = spectral_loss(*pair, SIZES, loss_type, *weights), plain(*pair, loss_type, *weights)
    torch.testing.assert_close(fused, formula, rtol=1e-12, atol=0)
    cotangent = torch.tensor([1.0, -3.0])
    expected = torch.autograd.grad(formula, pair, cotangent)
    for actual, wanted in zip(torch.autograd.grad(fused, pair, cotangent), expected, strict=True):
        # 1 / |X| magnifies the FFT's rounding, 1e-15, where |X| is small
        torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-9 * wanted.abs().max().item())


def test_equal_signals_have_no_loss_and_no_gradient(pair):
    audio = pair[1]
    loss = spectral_loss(audio.detach(), audio, SIZES, "L1", 1.0, 1.0)
    assert not loss.any() and not torch.autograd.grad(loss.sum(), audio)[0].any()


def test_no_spectrogram_is_kept_for_the_backward_pass(pair):
    target, audio = pair[0].detach(), pair[1]
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = spectral_loss(target, audio, SIZES, logmag_weight=1.0)
    assert sum(kept.values()) == 3 * audio.numel()  # the two signals, which exist anyway, and the gradient
    loss.sum().backward()


def test_a_gradient_that_only_a_transform_wants_is_made_afterwards(pair):
    """`grad` outside of `vmap`: tensors inside do not look as if they wanted a gradient."""
    target, audio = (x.detach().float() for x in pair)
    actual = grad(lambda x: vmap(lambda x, y: spectral_loss(y[None], x[None], SIZES)[0])(x, target).sum())(audio)
    audio.requires_grad_()
    spectral_loss(target, audio, SIZES).sum().backward()
    torch.testing.assert_close(actual, audio.grad)


def test_second_derivatives_are_those_of_the_formula():
    target, audio = torch.randn(2, 1, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    settings = "L2", 1.0, 0.1
    actual = jacrev(jacrev(lambda x: spectral_loss(target, x, (16, 8), *settings)))(audio)
    expected = jacrev(jacrev(lambda x: plain(target, x, *settings, sizes=(16, 8))))(audio)
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss_type": "COSINE"}, r"loss_type must be one of \('L1', 'L2'\), got 'COSINE'"),
        ({"fft_sizes": (64, 3)}, "fft_sizes must be at least 4 samples, got 3"),
        ({"mag_weight": -1.0}, "mag_weight must be >= 0, got -1.0"),
    ],
)
def test_errors_say_what_was_expected(arguments, message):
    with pytest.raises(ValueError, match=message):
        spectral_loss(torch.zeros(1, 100), torch.zeros(1, 100), **arguments)
