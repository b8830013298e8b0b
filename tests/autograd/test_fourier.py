"""The real FFT and magnitudes with adjoints of our own: torch's values, right derivatives of any order, transforms."""

import pytest
import torch

from fastddsp.autograd.fourier import magnitude, rfft

SIZES = [(1, 1), (1, 2), (2, 2), (5, 8), (8, 8), (7, 9), (9, 9)]


def real_parts_of_rfft(n):
    return lambda x: torch.view_as_real(rfft(x, n))


@pytest.mark.parametrize(("n_samples", "n"), SIZES)
def test_rfft_is_torchs(n_samples, n):
    for dtype in (torch.float32, torch.float64):
        x = torch.randn(2, 3, n_samples, dtype=dtype)
        torch.testing.assert_close(rfft(x, n), torch.fft.rfft(x, n), rtol=0, atol=0)


@pytest.mark.parametrize(("n_samples", "n"), SIZES)
def test_first_and_second_derivatives_of_rfft_are_right(n_samples, n):
    x = torch.randn(2, n_samples, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(real_parts_of_rfft(n), x)
    assert torch.autograd.gradgradcheck(real_parts_of_rfft(n), x)


def test_gradient_of_rfft_is_the_one_that_torch_derives():
    x = torch.randn(4, 100, requires_grad=True)
    weights = torch.randn(4, 65)
    ours, torchs = (
        torch.autograd.grad((spectrum.abs() * weights).sum(), x)[0]
        for spectrum in (rfft(x, 128), torch.fft.rfft(x, 128))
    )
    torch.testing.assert_close(ours, torchs, rtol=0, atol=1e-5)


def test_magnitude_has_right_derivatives_and_none_at_zero():
    z = torch.randn(5, dtype=torch.complex128, requires_grad=True)
    torch.testing.assert_close(magnitude(z), z.abs())
    assert torch.autograd.gradcheck(magnitude, z)
    assert torch.autograd.gradgradcheck(magnitude, z)
    zero = torch.zeros(2, dtype=torch.complex64, requires_grad=True)
    (grad,) = torch.autograd.grad(magnitude(zero).sum(), zero)
    assert (grad == 0).all()


def test_an_empty_batch_has_an_empty_spectrum_and_gradient():
    x = torch.zeros(0, 3, 8, requires_grad=True)
    spectrum = rfft(x, 8)
    assert spectrum.shape == (0, 3, 5)
    assert torch.autograd.grad(magnitude(spectrum).sum(), x)[0].shape == x.shape


def test_both_can_be_mapped_and_compiled():
    x = torch.randn(4, 3, 8)
    torch.testing.assert_close(torch.func.vmap(lambda x: magnitude(rfft(x, 8)))(x), magnitude(rfft(x, 8)))
    grads = torch.func.vmap(torch.func.grad(lambda x: magnitude(rfft(x, 8)).sum()))(x)
    assert grads.shape == x.shape
    compiled = torch.compile(lambda x: magnitude(rfft(x, 8)), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), magnitude(rfft(x, 8)))
