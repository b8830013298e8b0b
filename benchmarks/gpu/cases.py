"""What is measured on a GPU: 16 items of 4 s, our op, the same in plain torch, and how many instructions ours takes.

The instructions are those that docs/performance_cuda.md counts: executed PTX instructions of whole kernels, for each
unit (a harmonic-sample, a sample, ...), forward and backward. A new kernel joins by an entry in CASES.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from fastddsp.autograd.delay import variable_length_delay
from fastddsp.autograd.filters import filtered_noise, frequency_filter
from fastddsp.autograd.harmonic_bank import harmonic_bank
from fastddsp.autograd.oscillator_bank import oscillator_bank
from fastddsp.autograd.partials import sinusoidal_bank
from fastddsp.autograd.wavetable import wavetable_synthesis
from fastddsp.benchmarks import rivals
from fastddsp.benchmarks.comparisons import FrequencyFilter, Harmonic, Partials
from fastddsp.benchmarks.readings import VariableDelay, Wavetable
from fastddsp.benchmarks.sources import FilteredNoise, SampleOscillators, relative_error, torch_oscillators

BATCH, RATE, N_OSCILLATORS = 16, 16000, 20
AGREEMENT = 5e-5
"""Of a device with the CPU, in the L2 norm: sums in another order, 2.5e-6 at the most when executed on the CPU."""

Function = Callable[..., torch.Tensor]


class Instructions(NamedTuple):
    """Executed instructions of a thread for each unit of work."""

    forward: float
    backward: float


def with_gradients(function: Function, controls: tuple, cotangent: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Audio, and the gradients of all controls, which want them."""
    audio = function(*controls, n_samples=cotangent.shape[1])
    return audio.detach(), *torch.autograd.grad(audio, controls, cotangent)


@dataclass(frozen=True)
class Case:
    """A computation and its rival.

    Args:
      problem: one of the comparisons on the CPU; it makes the inputs.
      ours: function of the controls and `n_samples`.
      plain: the same in plain torch.
      instructions: of ours.
      units: that the instructions are counted for, in a sample of the audio.
      short: fields of a problem that float64 answers in no time.
      truth: the answer in float64, where that of `plain` is another.
    """

    problem: Any
    ours: Function
    plain: Function
    instructions: Instructions
    units: int = 1
    short: dict[str, int] = field(default_factory=lambda: {"n_frames": 8})
    truth: Function | None = None

    def inputs(self, device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[tuple, torch.Tensor]:
        """Controls, which want gradients, and the cotangent of the audio."""
        *controls, cotangent = self.problem.inputs()
        if isinstance(controls[0], tuple):
            (controls,) = controls
        return tuple(x.to(device, dtype).requires_grad_() for x in controls), cotangent.to(device, dtype)

    def check(self, device: torch.device) -> float:
        """Largest error of ours on `device` against float64, of audio and gradients over their maxima.

        Raises:
          AssertionError: where a short problem is off by more than 1e-5, or the whole from the CPU's kernels by more
            than AGREEMENT.
        """
        short = replace(self, problem=replace(self.problem, batch=2, **self.short))
        exact = with_gradients(self.truth or self.plain, *short.inputs(torch.device("cpu"), torch.float64))
        error = relative_error(self.on_cpu(device, short), exact, 1e-5)
        pairs = zip(self.on_cpu(device, self), self.on_cpu(torch.device("cpu"), self), strict=True)
        distance = max(float((x - y).norm() / y.norm()) for x, y in pairs)
        if not distance < AGREEMENT:
            raise AssertionError(f"wrong answer: off by {distance:.1e} from the CPU's kernels")
        return error

    @staticmethod
    def on_cpu(device: torch.device, case: "Case") -> tuple[torch.Tensor, ...]:
        """What ours gives on `device`, brought to the CPU."""
        return tuple(x.cpu() for x in with_gradients(case.ours, *case.inputs(device)))

    def executed(self) -> dict[str, float]:
        """Instructions of all threads in each pass."""
        n_units = self.units * self.problem.inputs()[-1].numel()
        forward, backward = (n_units * count for count in self.instructions)
        return {"forward": forward, "forward + backward": forward + backward}


def _sample_wise(function: Function) -> Function:
    """A function of two controls, one of which has as many samples as the audio."""
    return lambda first, second, n_samples: function(first, second)


def _plain_noise(magnitudes: torch.Tensor, n_samples: int) -> torch.Tensor:
    noise = torch.rand(magnitudes.shape[0], n_samples, dtype=magnitudes.dtype, device=magnitudes.device)
    return rivals.magenta_filter(2 * noise - 1, magnitudes)


def _exact_noise(magnitudes: torch.Tensor, n_samples: int) -> torch.Tensor:
    """Of the same numbers as ours, by the specification of their generator."""
    from fastddsp.kernels.reference.noise import noise

    rows = np.stack([noise(0, b, 0, n_samples) for b in range(magnitudes.shape[0])])
    return rivals.magenta_filter(torch.from_numpy(rows).to(magnitudes), magnitudes)


def _harmonic(n_harmonics: int, f0_hz: float, instructions: Instructions) -> Case:
    ours = partial(harmonic_bank, sample_rate=RATE, amp_resample_method="linear")
    plain = partial(rivals.ddsp_pytorch_harmonic, sample_rate=RATE)
    return Case(Harmonic(BATCH, n_harmonics, f0_hz), ours, plain, instructions, n_harmonics)


def _partials(n_partials: int, instructions: Instructions) -> Case:
    ours = partial(sinusoidal_bank, sample_rate=RATE, amp_resample_method="linear")
    plain = partial(rivals.torch_partials, sample_rate=RATE)
    return Case(Partials(BATCH, n_partials), ours, plain, instructions, n_partials)


CASES = {
    "harmonic bank, K=100": _harmonic(100, 70, Instructions(6.1, 18)),
    "harmonic bank, K=1000": _harmonic(1000, 7, Instructions(4.0, 14)),
    "partials, K=100": _partials(100, Instructions(28, 71)),
    "partials, K=1000": _partials(1000, Instructions(27, 57)),
    "20 oscillators, a frequency a sample": Case(
        SampleOscillators(BATCH, N_OSCILLATORS),
        _sample_wise(partial(oscillator_bank, sample_rate=RATE)),
        _sample_wise(partial(torch_oscillators, sample_rate=RATE)),
        Instructions(88, 116),
        N_OSCILLATORS,
        short={"n_samples": 1000},
    ),
    "filter, 65 bands": Case(
        FrequencyFilter(BATCH),
        _sample_wise(partial(frequency_filter, window_size=257)),
        _sample_wise(rivals.magenta_filter),
        Instructions(592, 979),
    ),
    "filtered noise, 65 bands": Case(
        FilteredNoise(BATCH), partial(filtered_noise, seed=0), _plain_noise, Instructions(627, 587), truth=_exact_noise
    ),
    "wavetables of 512 points": Case(
        Wavetable(BATCH),
        partial(wavetable_synthesis, sample_rate=RATE),
        partial(rivals.gathered_wavetable, sample_rate=RATE),
        Instructions(250, 1260),
        short={"n_frames": 4},
    ),
    "delay up to 400 samples": Case(
        VariableDelay(BATCH),
        _sample_wise(partial(variable_length_delay, max_length=400)),
        _sample_wise(partial(rivals.gathered_delay, max_length=400)),
        Instructions(110, 330),
        short={"n_samples": 1000},
    ),
}
