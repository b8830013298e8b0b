"""The torch contract of a kernel op, as data: what an op says of itself to join test_contract.py.

A new op joins by one entry in OPS: its name, its public function, its tensor inputs (shape and range of values) and its
other settings. Library ops need no entry: those that the public function calls, up to its second derivative, are
recorded with their arguments (`library_calls`).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fastddsp.autograd import (
    delay,
    filters,
    harmonic_bank,
    oscillator_bank,
    oscillators,
    partials,
    spectral_loss,
    wavetable,
)

SAMPLE_RATE = 1000


class Size(NamedTuple):
    """What the words in a shape stand for."""

    batch: int
    frames: int
    samples: int


SMALL = Size(2, 3, 12)
LARGE = Size(2, 210, 42000)  # enough work for several chunks of it, so that threads share it


class Input(NamedTuple):
    """A tensor argument: its shape in words of Size and numbers, range of values, whether a batch of 1 serves all."""

    shape: tuple[str | int, ...]
    low: float = 0.0
    high: float = 1.0
    one_for_all: bool = False


def hertz(*shape: str | int) -> Input:
    """Fundamentals whose third harmonic stays below Nyquist: there is no derivative where a harmonic crosses it."""
    return Input(shape, 0.04 * SAMPLE_RATE, 0.15 * SAMPLE_RATE)


@dataclass(frozen=True)
class Op:
    """A public function and how to call it.

    Args:
      name: of the entry.
      function: public function, called with keywords.
      inputs: its tensors by argument name; the first axis of each is the batch; all are differentiable.
      settings: its other arguments.
      n_samples: whether it takes the number of samples as an argument.
      alike_rows: whether a row's result does not depend on which row of the batch it is (that of a seed does).
      makes_audio: whether its first output is [batch, samples], not [batch].
    """

    name: str
    function: Callable
    inputs: dict[str, Input]
    settings: dict = field(default_factory=dict)
    n_samples: bool = True
    alike_rows: bool = True
    makes_audio: bool = True

    def __str__(self) -> str:
        return self.name

    def make(self, size: Size = SMALL, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Tensor]:
        """Random inputs, leaves that want gradients. The same numbers in every dtype: those of float32."""
        generator = torch.Generator().manual_seed(seed)
        tensors = []
        for shape, low, high, _ in self.inputs.values():
            sizes = [getattr(size, axis) if isinstance(axis, str) else axis for axis in shape]
            values = low + (high - low) * torch.rand(sizes, generator=generator)
            tensors.append(values.to(dtype).requires_grad_())
        return tensors

    def shape(self, size: Size) -> tuple[int, ...]:
        """Shape of the first output."""
        return (size.batch, size.samples) if self.makes_audio else (size.batch,)

    def __call__(self, tensors: Sequence[Tensor], n_samples: int = SMALL.samples, **changes) -> tuple[Tensor, ...]:
        """The outputs, always as a tuple."""
        settings = self.settings | ({"n_samples": n_samples} if self.n_samples else {}) | changes
        outputs = self.function(**dict(zip(self.inputs, tensors, strict=True)), **settings)
        return outputs if isinstance(outputs, tuple) else (outputs,)


OPS = [
    Op(
        "harmonic_bank",
        harmonic_bank.harmonic_bank,
        {
            "f0_hz": hertz("batch", "frames", 1),
            "harmonic_amplitudes": Input(("batch", "frames", 3)),
            "initial_phase": Input(("batch", 1, 1), -9, 9),
        },
        {"sample_rate": SAMPLE_RATE, "return_final_phase": True},
    ),
    Op(
        "harmonic_synthesis",
        oscillators.harmonic_synthesis,
        {
            "frequencies": hertz("batch", "frames", 1),
            "amplitudes": Input(("batch", "frames", 1)),
            "harmonic_distribution": Input(("batch", "frames", 3)),
        },
        {"sample_rate": SAMPLE_RATE},
    ),
    Op(
        "harmonic_synthesis, cubic, one frequency",
        oscillators.harmonic_synthesis,
        {
            "frequencies": hertz("batch", 1, 1),
            "amplitudes": Input(("batch", "frames", 1)),
            "harmonic_distribution": Input(("batch", "frames", 3)),
        },
        {"sample_rate": SAMPLE_RATE, "amp_resample_method": "cubic"},
    ),
    Op(
        "harmonic_synthesis, two frame rates",
        oscillators.harmonic_synthesis,
        {
            "frequencies": hertz("batch", 4, 1),
            "amplitudes": Input(("batch", "frames", 1)),
            "harmonic_distribution": Input(("batch", "frames", 3)),
        },
        {"sample_rate": SAMPLE_RATE},
    ),
    Op(
        "harmonic_bank, voices",
        harmonic_bank.harmonic_bank,
        {
            "f0_hz": hertz("batch", 2, "frames", 1),
            "harmonic_amplitudes": Input(("batch", 2, "frames", 3)),
            "initial_phase": Input(("batch", 2, 1, 1), -9, 9),
        },
        {"sample_rate": SAMPLE_RATE, "return_final_phase": True},
    ),
    Op(
        "harmonic_synthesis, voices, two frame rates",
        oscillators.harmonic_synthesis,
        {
            "frequencies": hertz("batch", 2, 4, 1),
            "amplitudes": Input(("batch", 2, "frames", 1)),
            "harmonic_distribution": Input(("batch", 2, "frames", 3)),
        },
        {"sample_rate": SAMPLE_RATE},
    ),
    Op(
        "harmonic_synthesis, voices, shifted",
        oscillators.harmonic_synthesis,
        {
            "frequencies": hertz("batch", 2, "frames", 1),
            "amplitudes": Input(("batch", 2, "frames", 1)),
            "harmonic_shifts": Input(("batch", 2, "frames", 3), -0.02, 0.02),
        },
        {"sample_rate": SAMPLE_RATE},
    ),
    Op(
        "harmonic_oscillator_bank",
        oscillators.harmonic_oscillator_bank,
        {
            "frequency": hertz("batch", "samples", 1),
            "amplitude_envelopes": Input(("batch", "samples", 3)),
            "initial_phase": Input(("batch", 1, 1), -9, 9),
        },
        {"sample_rate": SAMPLE_RATE},
        n_samples=False,
    ),
    Op(
        "streaming_harmonic_synthesis",
        oscillators.streaming_harmonic_synthesis,
        {
            "frequencies": hertz("batch", "frames", 1),
            "amplitudes": Input(("batch", "frames", 1)),
            "harmonic_distribution": Input(("batch", "frames", 3)),
            "initial_phase": Input(("batch", 1, 1), -9, 9),
        },
        {"sample_rate": SAMPLE_RATE},
    ),
    Op(
        "harmonic_synthesis, shifted",
        oscillators.harmonic_synthesis,
        {
            "frequencies": hertz("batch", "frames", 1),
            "amplitudes": Input(("batch", "frames", 1)),
            "harmonic_shifts": Input(("batch", "frames", 3), -0.02, 0.02),
        },
        {"sample_rate": SAMPLE_RATE},
    ),
    Op(
        "sinusoidal_bank",
        partials.sinusoidal_bank,
        {
            "frequencies_hz": hertz("batch", "frames", 3),
            "amplitudes": Input(("batch", "frames", 3)),
            "initial_phase": Input(("batch", 1, 3), -9, 9),
        },
        {"sample_rate": SAMPLE_RATE, "return_final_phase": True},
    ),
    Op(
        "oscillator_bank",
        oscillator_bank.oscillator_bank,
        {
            "frequency_envelopes": hertz("batch", "samples", 3),
            "amplitude_envelopes": Input(("batch", "samples", 3)),
        },
        {"sample_rate": SAMPLE_RATE},
        n_samples=False,
    ),
    Op(
        "frequency_filter",
        filters.frequency_filter,
        {
            "audio": Input(("batch", "samples"), -1, 1),
            "magnitudes": Input(("batch", "frames", 9), one_for_all=True),
        },
        {"window_size": 7},
        n_samples=False,
    ),
    Op(
        "frequency_filter, overlapping",
        filters.frequency_filter,
        {
            "audio": Input(("batch", "samples"), -1, 1),
            "magnitudes": Input(("batch", "frames", 9), one_for_all=True),
        },
        {"window_size": 7, "overlap": True},
        n_samples=False,
    ),
    Op(
        "filtered_noise",
        filters.filtered_noise,
        {"magnitudes": Input(("batch", "frames", 9))},
        {"seed": 1},
        alike_rows=False,
    ),
    Op(
        "filtered_noise, overlapping",
        filters.filtered_noise,
        {"magnitudes": Input(("batch", "frames", 9))},
        {"seed": 1, "overlap": True},
        alike_rows=False,
    ),
    Op(
        "filtered_noise, given noise",
        filters.filtered_noise,
        {
            "magnitudes": Input(("batch", "frames", 9)),
            "noise": Input(("batch", "samples"), -1, 1),
        },
    ),
    Op(
        "linear_lookup",
        wavetable.linear_lookup,
        {
            "phase": Input(("batch", "samples")),
            "wavetables": Input(("batch", "frames", 5), -1, 1, one_for_all=True),
        },
        n_samples=False,
    ),
    Op(
        "wavetable_synthesis",
        wavetable.wavetable_synthesis,
        {
            "frequencies": hertz("batch", "frames", 1),
            "amplitudes": Input(("batch", "frames", 1)),
            "wavetables": Input(("batch", "frames", 5), -1, 1, one_for_all=True),
            "initial_phase": Input(("batch", 1, 1), -9, 9),
        },
        {"sample_rate": SAMPLE_RATE, "return_final_phase": True},
    ),
    Op(
        "variable_length_delay",
        delay.variable_length_delay,
        {
            "phase": Input(("batch", "samples")),
            "audio": Input(("batch", "samples"), -1, 1),
        },
        {"max_length": 5},
        n_samples=False,
    ),
    Op(
        "spectral_loss",
        spectral_loss.spectral_loss,
        {
            "target_audio": Input(("batch", "samples"), -1, 1),
            "audio": Input(("batch", "samples"), -1, 1),
        },
        {"fft_sizes": (8, 6), "logmag_weight": 0.5},
        n_samples=False,
        makes_audio=False,
    ),
]


def cotangents(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Something to pull back through each output: the same numbers for the same shape."""
    return [torch.arange(y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape).cos() for y in outputs]


def gradients(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Vector-Jacobian product of the outputs with `cotangents`."""
    return torch.autograd.grad(outputs, inputs, cotangents(outputs))


def library_calls(
    op: Op, inputs: Sequence[Tensor] | None = None, n_samples: int = SMALL.samples
) -> list[tuple[torch._ops.OpOverload, tuple]]:
    """Calls of `fastddsp::` ops that a public function makes for its value and two derivatives: [(op, arguments)].

    Each of them twice: of the op without derivatives that Functions call, and of its twin with derivatives.

    Args:
      op: the function.
      inputs: its tensors, small ones on the CPU by default.
      n_samples: length of the audio, for functions that take it.
    """
    calls = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function.namespace == "fastddsp":
                copies = [a.detach().clone() if isinstance(a, Tensor) else a for a in args]
                differentiable = getattr(torch.ops.fastddsp, function._opname.removeprefix("_")).default
                calls.extend((twin, tuple(copies)) for twin in (function, differentiable))
            return function(*args, **(kwargs or {}))

    inputs = op.make() if inputs is None else inputs
    with Record():
        outputs = op(inputs, n_samples)
        cotangent = [v.requires_grad_() for v in cotangents(outputs)]
        first = torch.autograd.grad(outputs, inputs, cotangent, create_graph=True)
        torch.autograd.grad(first, [*inputs, *cotangent], cotangents(first), allow_unused=True)
    return calls


class Module(nn.Module):
    """A module that holds an op: its inputs, each times a learned factor."""

    def __init__(self, op: Op, n_samples: int = SMALL.samples):
        super().__init__()
        self.op = op
        self.n_samples = n_samples
        self.factors = nn.Parameter(torch.linspace(0.9, 1.0, len(op.inputs)))

    def forward(self, *inputs):
        return self.op([x * factor for x, factor in zip(inputs, self.factors, strict=True)], self.n_samples)


class Renderings(torch.utils.data.Dataset):
    """Item i: what an op makes of the inputs of seed i."""

    def __init__(self, op: Op, size: Size):
        self.op = op
        self.size = size

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return [y.detach() for y in self.op(self.op.make(self.size, seed=i), self.size.samples)]


def mean_energy(outputs: Sequence[Tensor]) -> Tensor:
    """A loss that is a mean over the batch."""
    return sum(y.double().square().sum() / len(y) for y in outputs)


def distributed_worker(rank: int, folder: str) -> None:
    """One of two processes: every op's outputs, the gradients that DDP averaged, torch's threads before, after."""
    threads = torch.get_num_threads()
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    results = {}
    for op in OPS:
        module = nn.parallel.DistributedDataParallel(Module(op))
        half = [x.detach().chunk(2)[rank] for x in op.make(SMALL._replace(batch=4))]
        outputs = module(*half)
        mean_energy(outputs).backward()
        results[op.name] = [y.detach() for y in outputs], module.module.factors.grad
    results["threads"] = threads, torch.get_num_threads()
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.barrier()  # neither takes the group down while the other still uses it
    torch.distributed.destroy_process_group()
    # Past Python's shutdown, in which a thread of torch's aborted one of four runs of the suite.
    os._exit(0)
