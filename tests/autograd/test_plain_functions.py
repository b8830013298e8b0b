"""What torch may do to functions without kernels: compile whole, map, run under autocast, hand in strided tensors."""

import pytest
import torch

from fastddsp import core, spectral_ops

CONTROLS = torch.rand(2, 10, 3, generator=torch.Generator().manual_seed(0))
AUDIO = torch.rand(2, 3000, generator=torch.Generator().manual_seed(1)) - 0.5
FUNCTIONS = {
    "exp_sigmoid": (core.exp_sigmoid, CONTROLS),
    "unit_to_hz": (lambda x: core.unit_to_hz(x, 20.0, 8000.0, clip=True), CONTROLS),
    "frequencies_softmax": (lambda x: core.frequencies_softmax(x, depth=3), CONTROLS),
    "frequencies_critical_bands": (core.frequencies_critical_bands, CONTROLS),
    "resample, frames that divide": (lambda x: core.resample(x, 30, "window"), CONTROLS),
    "resample, frames that do not": (lambda x: core.resample(x, 33, "cubic"), CONTROLS),
    "normalize_harmonics": (lambda x: core.normalize_harmonics(x, 4000 * x[..., :1], 16000), CONTROLS),
    "angular_cumsum": (lambda x: core.angular_cumsum(x, 4), CONTROLS),
    "fft_convolve, one response": (lambda x: core.fft_convolve(x, x[:, :50]), AUDIO),
    "fft_convolve, a response for each frame": (lambda x: core.fft_convolve(x, x.unflatten(1, (10, 300))), AUDIO),
    "compute_mag": (lambda x: spectral_ops.compute_mag(x, 256), AUDIO),
    "compute_mfcc": (spectral_ops.compute_mfcc, AUDIO),
    "compute_loudness": (spectral_ops.compute_loudness, AUDIO),
}


@pytest.fixture(params=FUNCTIONS)
def call(request):
    """A function, an input, and its value there."""
    function, x = FUNCTIONS[request.param]
    return function, x, function(x)


def test_compiles_as_one_graph_with_its_backward(call):
    function, x, expected = call
    torch._dynamo.reset()
    leaf = x.clone().requires_grad_()
    out = torch.compile(function, fullgraph=True, backend="aot_eager")(leaf)
    torch.testing.assert_close(out, expected)
    compiled, eager = (torch.autograd.grad(y.sum(), leaf)[0] for y in (out, function(leaf)))
    torch.testing.assert_close(compiled, eager)


def test_maps_over_a_further_axis(call):
    function, x, expected = call
    out = torch.func.vmap(function)(torch.stack([x, x.flip(0)]))
    torch.testing.assert_close(out, torch.stack([expected, function(x.flip(0))]))


def test_computes_in_float32_under_autocast(call):
    function, x, expected = call
    with torch.autocast("cpu", torch.bfloat16):
        out = function(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, expected)


def test_takes_strided_input(call):
    function, x, expected = call
    strided = torch.empty(*x.shape[:-1], 2 * x.shape[-1])[..., ::2].copy_(x)
    assert not strided.is_contiguous()
    torch.testing.assert_close(function(strided), expected)
