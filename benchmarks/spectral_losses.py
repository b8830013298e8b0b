"""The multi-scale spectral loss against auraloss and plain torch, forward and backward to the audio.

What makes them comparable: the same FFT sizes, Hann windows as long as them, hops of a quarter, magnitudes and log
magnitudes with equal weights and L1, no spectral convergence. What stays different is auraloss's own: frames centred on
the samples (one more a size), magnitudes clamped at 1e-4 instead of a logarithm safe at 0, the mean over the sizes for
the sum. It also computes the phases of both spectra, which this loss does not use; so it runs once as it is and once
without them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from fastddsp.benchmarks import rivals
from fastddsp.models.losses import SpectralLoss

SIZES = (2048, 1024, 512, 256, 128, 64)


@dataclass(frozen=True)
class SpectralLosses:
    """SpectralLoss with magnitudes and log magnitudes, the setting of the `solo_instrument` preset.

    Multiply-adds: three real FFTs a frame (target, audio, gradient) of 5/2 N log2 N operations, two of which make a
    multiply-add at best, and 40 operations a bin.
    """

    batch: int = 16
    n_samples: int = 64000

    def small(self) -> "SpectralLosses":
        """See comparisons.Case, as for the other methods."""
        return replace(self, batch=1, n_samples=4096)

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Target and audio, [B, N]: noise, of which half is common to both."""
        generator = torch.Generator().manual_seed(0)
        target, other = torch.randn(2, self.batch, self.n_samples, generator=generator)
        return 0.1 * target, 0.05 * (target + other)

    def rivals(self) -> dict[str, Callable[[], tuple]]:
        """Ours first; each call returns the loss and the audio's gradient."""
        target, audio = self.inputs()

        def call(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[[], tuple]:
            def run() -> tuple:
                x = audio.detach().requires_grad_()
                value = loss(target, x)
                value.backward()
                return value.detach(), x.grad

            return run

        return {
            "fastddsp": call(SpectralLoss(SIZES, logmag_weight=1.0)),
            **{name: call(loss) for name, loss in rivals.auraloss_spectral_losses(SIZES).items()},
            "torch, magenta's way": call(lambda y, x: rivals.magenta_spectral_loss(y, x, SIZES)),
        }

    def check(self) -> float:
        """Largest error against magenta's way in float64: of the loss, and of the gradient by its norm."""
        short = replace(self, batch=2, n_samples=6000)
        target, audio = (x.double() for x in short.inputs())
        audio.requires_grad_()
        truth = rivals.magenta_spectral_loss(target, audio, SIZES)
        (gradient,) = torch.autograd.grad(truth, audio)
        value, ours = short.rivals()["fastddsp"]()
        loss_error = abs(value.item() / truth.item() - 1)
        # The slope of a logarithm is 1 / |X|: where |X| is near 0 any float32 FFT decides it by its rounding.
        gradient_error = float((ours - gradient).norm() / gradient.norm())
        if loss_error > 1e-6 or gradient_error > 2e-2:
            raise AssertionError(f"wrong answer: loss off by {loss_error:.1e}, gradient by {gradient_error:.1e}")
        return loss_error

    def multiply_adds(self) -> int:
        """See the class."""
        per_row = 0
        for size in SIZES:
            n_frames = self.n_samples // (size // 4)
            per_row += n_frames * (3 * 5 * size * (size.bit_length() - 1) // 4 + 20 * (size // 2 + 1))
        return self.batch * per_row

    def data_bytes(self) -> int:
        """Two signals and a gradient."""
        return 4 * 3 * self.batch * self.n_samples
