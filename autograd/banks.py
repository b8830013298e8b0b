"""What the banks of harmonics and of partials share: their methods and settings, and their first backward."""

import torch

from fastddsp.autograd import dispatch
from fastddsp.kernels.phase import METHODS

__all__ = ["METHODS", "SETTINGS", "backward"]

SETTINGS = (
    "SymInt n_samples, SymInt first_frame, SymInt n_intervals, float sample_rate, float nyquist, str method, "
    "int quarter_turns"
)
"""Arguments after the tensors, in torch's schema language."""


def backward(ctx, g_audio, g_final, function: type[torch.autograd.Function], op) -> tuple:
    """Backward of a Function (frequency, amplitudes, initial_phase, *settings) -> (audio, final_phase).

    `function` differentiates `op`, which computes the gradients.
    """
    need_frequency, need_amplitudes, need_initial = ctx.needs_input_grad[:3]
    needs = need_frequency or need_initial, need_amplitudes
    gradients = dispatch.gradients_by(function, op)(g_audio, g_final, *ctx.saved_tensors, *ctx.settings, *needs)
    needed = zip(gradients, ctx.needs_input_grad[:3], strict=True)
    return *(gradient if need else None for gradient, need in needed), *[None] * len(ctx.settings)
