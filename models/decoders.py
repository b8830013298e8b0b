"""Decoders: scaled features -> raw controls of the processors.

    x_i = stack_i(input_i);  h = rnn(concat x_i);  outputs = split(Linear(out_stack(concat(x_i, h))))

All tensors are [batch, frames, channels].
"""

from collections.abc import Sequence

import torch
from torch import nn

from fastddsp.models.nn import DictLayer, FcStack, dense, rnn, split_to_dict


class RnnFcDecoder(DictLayer):
    """A stack of Fc layers for each input, a recurrent layer over all of them, and a stack of Fc layers.

    Args:
        rnn_channels: Channels of the recurrent layer.
        rnn_type: "gru" or "lstm".
        ch: Channels of the Fc layers.
        layers_per_stack: Fc layers in each stack; 0 for none.
        stateless: Take the recurrent state as the last input, "state" [batch, rnn_channels], and return the new one
            as the output "state", for playing block by block. Only "gru".
        input_keys: Names of the inputs; one that has more than one channel is a pair (name, channels).
        output_splits: Pairs (name, channels) of the outputs.

    Source: Engel et al., ICLR 2020, appendix on model details.
    """

    def __init__(
        self,
        rnn_channels: int = 512,
        rnn_type: str = "gru",
        ch: int = 512,
        layers_per_stack: int = 3,
        stateless: bool = False,
        input_keys: Sequence[str | tuple[str, int]] = ("ld_scaled", "f0_scaled", ("z", 32)),
        output_splits: Sequence[tuple[str, int]] = (("amps", 1), ("harmonic_distribution", 40)),
    ):
        if stateless and rnn_type != "gru":
            raise ValueError(f'a stateless RnnFcDecoder needs rnn_type "gru", got {rnn_type!r}')
        self.input_splits = tuple((key, 1) if isinstance(key, str) else (key[0], key[1]) for key in input_keys)
        super().__init__([key for key, _ in self.input_splits] + ["state"] * stateless)
        self.stateless = stateless
        self.output_splits = tuple((name, size) for name, size in output_splits)
        stacks = [FcStack(size, ch, layers_per_stack) for _, size in self.input_splits]
        n_latents = sum(stack.n_outputs for stack in stacks)
        self.input_stacks = nn.ModuleList(stacks)
        self.rnn = rnn(n_latents, rnn_channels, rnn_type)
        self.out_stack = FcStack(n_latents + rnn_channels, ch, layers_per_stack)
        self.dense_out = dense(self.out_stack.n_outputs, sum(size for _, size in self.output_splits))

    def compute(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Raw controls [batch, frames, channels] by the names of output_splits, and "state" if stateless.

        Raises:
            ValueError: An input has the wrong shape.
        """
        state = inputs[-1][None] if self.stateless else None
        inputs = inputs[: len(self.input_splits)]
        for (key, size), x in zip(self.input_splits, inputs, strict=True):
            if x.dim() != 3 or x.shape[-1] != size:
                raise ValueError(f"{key} must be [batch, frames, {size}], got {list(x.shape)}")
        latents = [stack(x) for stack, x in zip(self.input_stacks, inputs, strict=True)]
        hidden, new_state = self.rnn(torch.cat(latents, dim=-1), state)
        x = self.dense_out(self.out_stack(torch.cat([*latents, hidden], dim=-1)))
        outputs = split_to_dict(x, self.output_splits)
        return {**outputs, "state": new_state[0]} if self.stateless else outputs
