"""Convolutions over frames: dilated stacks, conditioned or not, and a residual network on spectrograms.

    DilatedConvStack   x <- x + norm(conv_d(relu(x))),  d = 1, dilation, dilation^2, ... in each stack
    ConditionalNorm    scale(z) norm(x) + shift(z),  scale and shift linear in z
    ResNet             x <- shortcut(x) + conv1(relu(norm(conv3(relu(norm(conv1(relu(norm(x)))))))))

Networks take and give [batch, frames, channels]; inside, as torch's layers want it, channels come second. Padding is
TensorFlow's "same", so that its weights mean the same here: n steps with stride s become ceil(n / s), and where the
padding is odd, the end gets the larger half.

Source: van den Oord et al., WaveNet, 2016; He et al., Identity mappings in deep residual networks, ECCV 2016; Perez et
al., FiLM, AAAI 2018.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from fastddsp.models.nn import dense, group_norm

__all__ = [
    "ConditionalNorm",
    "DilatedConvStack",
    "ResNet",
    "ResidualLayer",
    "SameConv1d",
    "SameConv2d",
    "UpsamplingConv1d",
]

# "tiny" is ours, for one core; the others are magenta/ddsp's.
RESNET_SIZES = {
    "tiny": (8, (1, 1, 1)),
    "small": (32, (2, 3, 4)),
    "medium": (32, (3, 4, 6)),
    "large": (64, (3, 4, 6)),
}
RESNET_STEM = 64  # channels of the first convolution
RESNET_HALVINGS = 5  # of the frequency axis


def pad_same(x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], value: float = 0.0) -> torch.Tensor:
    """Pads [batch, channels, *sizes] so that a window of each size n moves to ceil(n / stride) places."""
    padding = []
    for n, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
        total = max((math.ceil(n / s) - 1) * s + k - n, 0)
        padding += [total // 2, total - total // 2]
    return functional.pad(x, padding, value=value)


class SameConv1d(nn.Conv1d):
    """Conv1d of any stride with "same" padding: n frames become ceil(n / stride), channels second."""

    def __init__(self, n_inputs: int, n_outputs: int, kernel_size: int, stride: int = 1, dilation: int = 1):
        super().__init__(n_inputs, n_outputs, kernel_size, stride, dilation=dilation)
        _keras_start(self)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolved, [batch, n_outputs, ceil(frames / stride)]."""
        span = self.dilation[0] * (self.kernel_size[0] - 1) + 1
        return super().forward(pad_same(input, (span,), self.stride))


class UpsamplingConv1d(nn.ConvTranspose1d):
    """ConvTranspose1d by a stride: [batch, n_inputs, frames] -> [batch, n_outputs, frames x stride].

    Args:
        n_inputs: Channels in.
        n_outputs: Channels out.
        stride: Frames out per frame in; the kernel spans two strides.
    """

    def __init__(self, n_inputs: int, n_outputs: int, stride: int):
        super().__init__(n_inputs, n_outputs, 2 * stride, stride)
        _keras_start(self)

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """Upsampled, [batch, n_outputs, frames x stride]."""
        stride = self.stride[0]
        return super().forward(input).narrow(2, stride // 2, input.shape[2] * stride)


class SameConv2d(nn.Conv2d):
    """Conv2d with "same" padding and a stride along the last axis: [batch, channels, frames, ceil(bins / stride)]."""

    def __init__(self, n_inputs: int, n_outputs: int, kernel_size: int, stride: int = 1):
        super().__init__(n_inputs, n_outputs, kernel_size, (1, stride))
        _keras_start(self)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolved, [batch, n_outputs, frames, ceil(bins / stride)]."""
        return super().forward(pad_same(input, self.kernel_size, self.stride))


def _keras_start(layer: nn.Conv1d | nn.ConvTranspose1d | nn.Conv2d) -> None:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class ConditionalNorm(nn.Module):
    """Normalization whose scale and shift are linear in a conditioning z.

    Args:
        channels: Of x.
        n_conditioning: Channels of z.
        norm_type: "layer", "instance" or "group", see `nn.group_norm`.
        shift_only: No scale.
    """

    def __init__(self, channels: int, n_conditioning: int, norm_type: str = "instance", shift_only: bool = False):
        super().__init__()
        self.norm = group_norm(channels, norm_type, affine=False)
        self.dense = dense(n_conditioning, channels if shift_only else 2 * channels)
        self.shift_only = shift_only

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Normalized x [batch, channels, frames], given z [batch, frames or 1, n_conditioning]."""
        controls = self.dense(z).movedim(-1, 1)
        if self.shift_only:
            return self.norm(x) + controls
        scale, shift = controls.chunk(2, dim=1)
        return self.norm(x) * scale + shift


class DilatedConvStack(nn.Module):
    """Stacks of dilated convolutions with residual connections, conditioned at every layer or not.

    Args:
        n_inputs: Channels in.
        ch: Channels of every layer, and out.
        layers_per_stack: Convolutions in a stack.
        stacks: How many; the dilation starts again in each.
        kernel_size: Taps of a convolution.
        dilation: Factor from one layer of a stack to the next; a negative one grows towards the first layer instead.
        norm_type: "layer", "instance" or "group", see `nn.group_norm`.
        resample_type: None, "upsample" or "downsample": change the number of frames as well.
        resample_stride: By which factor, each time.
        stacks_per_resample: Stacks to a resampling; must divide stacks.
        resample_after_convolve: Resample after these stacks instead of before them.
        shift_only: The conditioning shifts and does not scale.
        n_conditioning: Channels of z; 0: there is none.

    Raises:
        ValueError: resample_type is unknown, or stacks_per_resample does not divide stacks.
    """

    def __init__(
        self,
        n_inputs: int,
        ch: int = 256,
        layers_per_stack: int = 5,
        stacks: int = 2,
        kernel_size: int = 3,
        dilation: int = 2,
        norm_type: str = "layer",
        resample_type: str | None = None,
        resample_stride: int = 1,
        stacks_per_resample: int = 1,
        resample_after_convolve: bool = True,
        shift_only: bool = False,
        n_conditioning: int = 0,
    ):
        super().__init__()
        if resample_type not in (None, "upsample", "downsample"):
            raise ValueError(f'resample_type must be None, "upsample" or "downsample", got {resample_type!r}')
        if stacks % stacks_per_resample:
            raise ValueError(f"stacks_per_resample must divide stacks ({stacks}), got {stacks_per_resample}")
        self.n_conditioning = n_conditioning
        self.n_outputs = ch
        self.resample_after_convolve = resample_after_convolve
        self.layers_per_resample = layers_per_stack * stacks_per_resample
        self.conv_in = SameConv1d(n_inputs, ch, kernel_size)
        self.layers, self.norms, self.resample_layers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i in [*range(layers_per_stack)] * stacks:
            rate = dilation**i if dilation > 0 else (-dilation) ** (layers_per_stack - i - 1)
            self.layers.append(SameConv1d(ch, ch, kernel_size, dilation=rate))
            self.norms.append(
                ConditionalNorm(ch, n_conditioning, norm_type, shift_only)
                if n_conditioning
                else group_norm(ch, norm_type)
            )
        for _ in range(stacks // stacks_per_resample if resample_type else 0):
            self.resample_layers.append(
                UpsamplingConv1d(ch, ch, resample_stride)
                if resample_type == "upsample"
                else SameConv1d(ch, ch, resample_stride, resample_stride)
            )

    def forward(self, x: torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
        """Channels [batch, frames, ch], or as many frames as the resampling leaves.

        Args:
            x: [batch, frames, n_inputs].
            z: Conditioning, [batch, frames, n_conditioning], or one frame for all.

        Raises:
            ValueError: There is a z and n_conditioning is 0, or the reverse.
        """
        n_given = 0 if z is None else z.shape[-1]
        if n_given != self.n_conditioning:
            raise ValueError(f"z must have {self.n_conditioning} channels (0: no z), got {n_given}")
        x = self.conv_in(x.mT)
        for i, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            if not self.resample_after_convolve:
                x = self._resampled(x, i)
            y = layer(functional.relu(x))
            x = x + (norm(y) if z is None else norm(y, z))
            if self.resample_after_convolve:
                x = self._resampled(x, i + 1)
        return x.mT

    def _resampled(self, x: torch.Tensor, n_layers: int) -> torch.Tensor:
        """x, resampled if n_layers is where a group of stacks begins (or ends)."""
        which, within = divmod(n_layers, self.layers_per_resample)
        if not self.resample_layers or within:
            return x
        return self.resample_layers[which - self.resample_after_convolve](x)


class ResidualLayer(nn.Module):
    """Three convolutions beside a shortcut: [batch, n_inputs, frames, bins] -> [batch, 4 ch, frames, bins / stride].

    Args:
        n_inputs: Channels in.
        ch: Channels of the inner convolutions; a quarter of those out.
        stride: Of the bins.
        shortcut: The shortcut is a convolution, as it must be where the shape changes.
        norm_type: See `nn.group_norm`.
    """

    def __init__(self, n_inputs: int, ch: int, stride: int, shortcut: bool, norm_type: str):
        super().__init__()
        self.norm_input = group_norm(n_inputs, norm_type)
        self.conv_proj = SameConv2d(n_inputs, 4 * ch, 1, stride) if shortcut else None
        self.bottleneck = nn.Sequential(
            SameConv2d(n_inputs, ch, 1),
            nn.Sequential(group_norm(ch, norm_type), nn.ReLU(), SameConv2d(ch, ch, 3, stride)),
            nn.Sequential(group_norm(ch, norm_type), nn.ReLU(), SameConv2d(ch, 4 * ch, 1)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sum of the convolutions and the shortcut."""
        y = functional.relu(self.norm_input(x))
        return self.bottleneck(y) + (x if self.conv_proj is None else self.conv_proj(y))


class ResNet(nn.Module):
    """Residual network on spectrograms, which keeps the frames and halves the bins five times.

    Args:
        n_bins: Bins of the spectrogram.
        size: "tiny", "small", "medium", "large", or a pair (channels, layers in each of the first three stages).
        norm_type: "layer", "instance" or "group", see `nn.group_norm`.

    Raises:
        ValueError: size is unknown.
    """

    def __init__(self, n_bins: int, size: str | tuple[int, Sequence[int]] = "large", norm_type: str = "layer"):
        super().__init__()
        if isinstance(size, str) and size not in RESNET_SIZES:
            raise ValueError(f"size must be one of {list(RESNET_SIZES)} or (channels, layers), got {size!r}")
        ch, layers = RESNET_SIZES[size] if isinstance(size, str) else size
        self.conv_in = SameConv2d(1, RESNET_STEM, 7, 2)
        blocks: list[nn.Module] = []
        n_inputs = RESNET_STEM
        stages = [*zip((ch, 2 * ch, 4 * ch), layers, (1, 2, 2), strict=True), (8 * ch, 3, 2)]
        for stage, (width, n_layers, stride) in enumerate(stages):
            for i in range(n_layers):
                blocks.append(ResidualLayer(n_inputs, width, stride if i == 0 else 1, i == 0, norm_type))
                n_inputs = 4 * width
            if stage >= 2:
                blocks += [group_norm(n_inputs, norm_type), nn.ReLU()]
        self.blocks = nn.Sequential(*blocks)
        for _ in range(RESNET_HALVINGS):
            n_bins = math.ceil(n_bins / 2)
        self.n_outputs = n_bins * n_inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Channels [batch, frames, n_outputs] of a spectrogram [batch, frames, n_bins], bin by bin."""
        x = self.conv_in(x[:, None])
        x = functional.max_pool2d(pad_same(x, (1, 3), (1, 2), -math.inf), (1, 3), (1, 2))
        return self.blocks(x).permute(0, 2, 3, 1).flatten(2)
