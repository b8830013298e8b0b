"""Convolutions against sums over taps in float64 and closed forms; magenta/ddsp has no recorded cases of these."""

import math

import numpy as np
import pytest
import torch

from fastddsp.models import convolutions
from fastddsp.models.weights import load_magenta_arrays, to_magenta_arrays
from tests.golden.compare import assert_close


def same_convolution(x, kernel, bias, strides=(1, 1), dilation=1):
    """TensorFlow's Conv2D(padding="same") tap by tap: x [batch, h, w, in], kernel [kh, kw, in, out]."""
    batch, *sizes, _ = x.shape
    kh, kw, _, n_out = kernel.shape
    out_sizes = [math.ceil(n / s) for n, s in zip(sizes, strides, strict=True)]
    spans = [(kh - 1) * dilation + 1, kw]
    before = [
        max((m - 1) * s + span - n, 0) // 2 for m, s, span, n in zip(out_sizes, strides, spans, sizes, strict=True)
    ]
    y = np.zeros((batch, *out_sizes, n_out)) + bias
    for i, j, a, b in np.ndindex(*out_sizes, kh, kw):
        row, column = i * strides[0] + a * dilation - before[0], j * strides[1] + b - before[1]
        if 0 <= row < sizes[0] and 0 <= column < sizes[1]:
            y[:, i, j] += x[:, row, column] @ kernel[a, b]
    return y


def transposed_convolution(x, kernel, stride):
    """TensorFlow's Conv2DTranspose(padding="same"): x [batch, h, 1, in], kernel [k, 1, out, in]."""
    batch, n, _, _ = x.shape
    y = np.zeros((batch, n * stride + kernel.shape[0], 1, kernel.shape[2]))
    for i, a in np.ndindex(n, kernel.shape[0]):
        y[:, i * stride + a, 0] += x[:, i, 0] @ kernel[a, 0].T
    first = (kernel.shape[0] - stride) // 2
    return y[:, first : first + n * stride]


def normalized(x):
    """One mean and one variance per example."""
    mean, var = x.mean((1, 2, 3), keepdims=True), x.var((1, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5)


def random_arrays(module, seed=0):
    random = np.random.RandomState(seed)
    arrays = {name: random.randn(*x.shape) for name, x in to_magenta_arrays(module).items()}
    load_magenta_arrays(module, {name: x.astype(np.float32) for name, x in arrays.items()})
    return {name: x.astype(np.float32).astype(np.float64) for name, x in arrays.items()}


def draw(*shape):
    return torch.from_numpy(np.random.RandomState(1).randn(*shape)).float()


@pytest.mark.parametrize("n_bins", [1, 2, 5, 6, 9])
@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
def test_a_convolution_of_spectrograms_pads_as_tensorflow_does(n_bins, kernel_size, stride):
    layer, x = convolutions.SameConv2d(2, 3, kernel_size, stride), draw(2, 4, n_bins, 2)
    w = random_arrays(layer)
    expected = same_convolution(x.double().numpy(), w["kernel"], w["bias"], (1, stride))
    actual = layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()
    assert_close(actual, expected, 1e-5)


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(3, 1, 1), (3, 1, 4), (2, 1, 3), (2, 2, 1), (3, 3, 1)])
@pytest.mark.parametrize("frames", [1, 6, 7])
def test_a_convolution_over_frames_pads_as_tensorflow_does(frames, kernel_size, stride, dilation):
    layer, x = convolutions.SameConv1d(2, 3, kernel_size, stride, dilation), draw(2, frames, 2)
    w = random_arrays(layer)
    expected = same_convolution(x.double().numpy()[:, :, None], w["kernel"], w["bias"], (stride, 1), dilation)
    assert_close(layer(x.mT).mT.detach().numpy(), expected[:, :, 0], 1e-5)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_an_upsampling_convolution_crops_as_tensorflow_does(stride):
    layer, x = convolutions.UpsamplingConv1d(2, 3, stride), draw(2, 5, 2)
    w = random_arrays(layer)
    expected = transposed_convolution(x.double().numpy()[:, :, None], w["kernel"], stride) + w["bias"]
    assert_close(layer(x.mT).mT.detach().numpy(), expected[:, :, 0], 1e-5)


@pytest.mark.parametrize("shift_only", [False, True])
@pytest.mark.parametrize("n_conditioning", [0, 4])
def test_a_dilated_stack_is_its_formula(n_conditioning, shift_only):
    stack = convolutions.DilatedConvStack(2, 3, 2, 2, n_conditioning=n_conditioning, shift_only=shift_only)
    w, x, z = random_arrays(stack), draw(2, 9, 2), draw(2, 1, 4)
    y = same_convolution(x.double().numpy()[:, :, None], w["conv_in.kernel"], w["conv_in.bias"])
    for i, rate in enumerate((1, 2, 1, 2)):
        kernel, bias = w[f"layers.{i}.kernel"], w[f"layers.{i}.bias"]
        update = normalized(same_convolution(np.maximum(y, 0), kernel, bias, dilation=rate))
        if n_conditioning == 0:
            y = y + update * w[f"norms.{i}.scale"] + w[f"norms.{i}.shift"]
            continue
        controls = z.double().numpy()[:, :, None] @ w[f"norms.{i}.dense.kernel"] + w[f"norms.{i}.dense.bias"]
        y = y + (update + controls if shift_only else update * controls[..., :3] + controls[..., 3:])
    out = stack(x, z) if n_conditioning else stack(x)
    assert_close(out.detach().numpy(), y[:, :, 0], 1e-5)


@pytest.mark.parametrize("dilation", [1, 2, 3, -2])
def test_a_frame_of_a_dilated_stack_sees_as_far_as_its_dilations_add_up_to(dilation):
    stack = convolutions.DilatedConvStack(1, 4, 3, 1, dilation=dilation)
    for i in range(3):
        stack.norms[i] = torch.nn.Identity()  # which would see all frames
    for weight in stack.parameters():
        torch.nn.init.ones_(weight)  # so that no ReLU is shut
    x = torch.ones(1, 81, 1, requires_grad=True)
    stack(x)[0, 40].sum().backward()
    reach = 1 + sum(abs(dilation) ** i for i in range(3))
    assert x.grad[0, :, 0].nonzero()[[0, -1]].flatten().tolist() == [40 - reach, 40 + reach]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("kind", "frames_out"), [("upsample", 7 * 4), ("downsample", 2), (None, 7)])
def test_a_dilated_stack_resamples_once_per_group_of_stacks(kind, frames_out, after):
    stack = convolutions.DilatedConvStack(
        1, 2, 2, 4, resample_type=kind, resample_stride=2, stacks_per_resample=2, resample_after_convolve=after
    )
    assert stack(draw(2, 7, 1)).shape == (2, frames_out, 2)


def test_a_resnet_is_its_formula():
    net, x = convolutions.ResNet(9, (1, (1, 1, 1))), draw(1, 3, 9)
    w = random_arrays(net)

    def conv(y, name, stride=1):
        return same_convolution(y, w[f"{name}.kernel"], w[f"{name}.bias"], (1, stride))

    def norm_relu(y, name):
        return np.maximum(normalized(y) * w[f"{name}.scale"] + w[f"{name}.shift"], 0)

    def residual(y, name, stride, shortcut):
        r = norm_relu(y, f"{name}.norm_input")
        hidden = conv(
            norm_relu(conv(r, f"{name}.bottleneck.0"), f"{name}.bottleneck.1.0"), f"{name}.bottleneck.1.2", stride
        )
        out = conv(norm_relu(hidden, f"{name}.bottleneck.2.0"), f"{name}.bottleneck.2.2")
        return out + (conv(r, f"{name}.conv_proj", stride) if shortcut else y)

    y = conv(x.double().numpy()[..., None], "conv_in", 2)  # 5 bins, of which pooling makes 3
    padded = np.pad(y, ((0, 0), (0, 0), (1, 1), (0, 0)), constant_values=-np.inf)
    y = np.maximum.reduce([padded[:, :, i : i + 5 : 2] for i in range(3)])
    for i, stride in enumerate((1, 2, 2)):
        y = residual(y, f"blocks.{i}", stride, True)
    y = norm_relu(y, "blocks.3")
    for i, stride in zip((5, 6, 7), (2, 1, 1), strict=True):
        y = residual(y, f"blocks.{i}", stride, i == 5)
    y = norm_relu(y, "blocks.8")
    assert_close(net(x).detach().numpy(), y.reshape(1, 3, -1), 1e-4)  # some twenty layers of 1e-6 each


def test_a_resnet_keeps_frames_and_halves_bins_five_times():
    net = convolutions.ResNet(229, (2, (2, 1, 1)))
    x = draw(2, 3, 229).requires_grad_()
    out = net(x)
    assert out.shape == (2, 3, net.n_outputs) == (2, 3, 8 * 4 * 16)
    out.square().sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.any()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: convolutions.ResNet(9, "giant"), "size must be one of"),
        (lambda: convolutions.DilatedConvStack(1, resample_type="up"), "resample_type must be None"),
        (lambda: convolutions.DilatedConvStack(1, stacks=3, stacks_per_resample=2), "stacks_per_resample must divide"),
        (lambda: convolutions.DilatedConvStack(1, n_conditioning=2)(torch.zeros(1, 3, 1)), "z must have 2 channels"),
        (lambda: convolutions.DilatedConvStack(1, norm_type="batch"), "norm_type must be one of"),
    ],
)
def test_wrong_settings_are_explained(make, message):
    with pytest.raises(ValueError, match=message):
        make()
