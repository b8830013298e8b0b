"""Partials with frequencies of their own: magenta's numbers, harmonics as partials, blocks, derivatives, memory."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastddsp.autograd.harmonic_bank import harmonic_bank
from fastddsp.autograd.harmonics import get_harmonic_frequencies
from fastddsp.autograd.oscillators import harmonic_synthesis
from fastddsp.autograd.partials import METHODS, sinusoidal_bank
from tests.golden import load
from tests.golden.compare import check

SHIFTED = [case for case in load("core_harmonic_synthesis.npz") if "harmonic_shifts" in case.inp]
# A shifted frequency is rounded to float32 three times, 1e-7 of it; 640 samples of 3 kHz are 750 rad of phase.
SHIFTED_FLOAT32 = 8e-5
TURN = 2 * math.pi


def controls(n_frames, n_partials, dtype=torch.float32, top=9000.0):
    """Frequencies, some above Nyquist, and amplitudes."""
    rng = torch.Generator().manual_seed(n_frames * n_partials)
    shape = 2, n_frames, n_partials
    return top * torch.rand(shape, generator=rng).to(dtype), torch.randn(shape, generator=rng).to(dtype)


# -------------------------------------------------------------------------------------------------- magenta's numbers


@pytest.mark.parametrize("case", SHIFTED, ids=str)
def test_shifted_harmonics_are_those_of_magenta_and_of_float64(case):
    def port(*inputs, **args):
        return harmonic_synthesis(**dict(zip(case.inp, inputs, strict=True)), **args)

    check(case, port, truth="true64", dtype=torch.float64)
    check(case, port, truth="true64", rtol=SHIFTED_FLOAT32)
    check(case, port, rtol=SHIFTED_FLOAT32)


# ---------------------------------------------------------------------------------------------- the same another way


@pytest.mark.parametrize("method", METHODS)
def test_harmonics_are_partials_at_multiples(method):
    f0_hz, _ = controls(5, 1, torch.float64, 1500.0)
    _, amplitudes = controls(5, 7, torch.float64)
    inputs = [x.requires_grad_() for x in (f0_hz, amplitudes)]
    phase = torch.tensor([[[0.3]], [[-2.0]]], dtype=torch.float64)
    results = []
    for audio, final in (
        harmonic_bank(f0_hz, amplitudes, 83, 16000, method, initial_phase=phase, return_final_phase=True),
        sinusoidal_bank(
            get_harmonic_frequencies(f0_hz, 7), amplitudes, 83, 16000, method,
            initial_phase=get_harmonic_frequencies(phase, 7), return_final_phase=True,
        ),
    ):  # fmt: skip
        weights = torch.arange(83, dtype=torch.float64).cos()
        results.append([audio, final[..., :1], *torch.autograd.grad((audio * weights).sum(), inputs)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_shifts_of_nothing_change_nothing():
    f0_hz, amplitudes = torch.full((1, 6, 1), 220.0), torch.ones(1, 6, 1)
    distribution = torch.rand(1, 6, 9)
    shifted = harmonic_synthesis(f0_hz, amplitudes, torch.zeros(1, 6, 9), distribution, 384)
    plain = harmonic_synthesis(f0_hz, amplitudes, None, distribution, 384)
    torch.testing.assert_close(shifted, plain, rtol=0, atol=6e-6 * distribution.sum(-1).max().item())


def test_shifts_may_have_fewer_frames_than_the_amplitudes():
    f0_hz, amplitudes, shifts = torch.full((1, 2, 1), 220.0), torch.rand(1, 6, 1), torch.tensor([[[0.1, -0.1]] * 2])
    audio = harmonic_synthesis(f0_hz, amplitudes, shifts, None, 384)
    frequencies = torch.tensor([242.0, 396.0]).expand(1, 6, 2)
    expected = sinusoidal_bank(frequencies, amplitudes.expand(1, 6, 2), 384)
    torch.testing.assert_close(audio, expected, rtol=0, atol=SHIFTED_FLOAT32)


# ---------------------------------------------------------------------------------------------------------- derivatives


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("n_samples", "n_frames", "first_frame", "n_intervals"), [(13, 3, 0, 3), (20, 4, -1, 6), (9, 5, 1, 2), (7, 1, 0, 1)]
)
def test_second_derivatives_hold_for_blocks_and_held_frames(method, n_samples, n_frames, first_frame, n_intervals):
    frequencies, amplitudes = controls(n_frames, 2, torch.float64, 7.0)  # kHz, so that steps are alike
    phase = torch.tensor([[[0.3, 1.0]], [[-2.0, 4.0]]], dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (frequencies, amplitudes, phase)]

    def bank(frequencies, amplitudes, phase):
        return sinusoidal_bank(
            1000 * frequencies, amplitudes, n_samples, 16000, method,
            initial_phase=phase, first_frame=first_frame, n_intervals=n_intervals, return_final_phase=True,
        )  # fmt: skip

    assert torch.autograd.gradgradcheck(bank, inputs)


def test_third_derivatives():
    frequencies, amplitudes = (x.requires_grad_() for x in controls(2, 2, torch.float64, 7.0))

    def slope(frequencies, amplitudes):
        audio = sinusoidal_bank(1000 * frequencies, amplitudes, 6, 16000)
        return torch.autograd.grad(audio.square().sum(), (frequencies, amplitudes), create_graph=True)

    assert torch.autograd.gradgradcheck(slope, (frequencies, amplitudes))


# --------------------------------------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("method", METHODS)
def test_blocks_are_the_whole_bit_for_bit(method):
    frequencies, amplitudes = controls(23, 21)
    hop = 37
    whole, final_phase = sinusoidal_bank(frequencies, amplitudes, 23 * hop, 16000, method, return_final_phase=True)
    phase, before, after = None, *((1, 2) if method == "cubic" else (0, 1))
    for start, length in ((0, 1), (1, 9), (10, 13)):
        first = max(start - before, 0)
        context = slice(first, start + length + after)
        block, phase = sinusoidal_bank(
            frequencies[:, context], amplitudes[:, context], length * hop, 16000, method,
            initial_phase=phase, first_frame=start - first, n_intervals=length, return_final_phase=True,
        )  # fmt: skip
        assert torch.equal(block, whole[:, start * hop : (start + length) * hop])
    assert torch.equal(phase, final_phase)


# --------------------------------------------------------------------------------------------------------- odd controls


def test_half_the_sample_rate_itself_is_silent_and_infinity_never():
    frequencies, ones = torch.full((1, 4, 1), 8000.0), torch.ones(1, 4, 1)
    phase = torch.ones(1, 1, 1)
    assert not sinusoidal_bank(frequencies, ones, 64, 16000, initial_phase=phase).any()
    assert sinusoidal_bank(frequencies, ones, 64, 16000.1, initial_phase=phase).any()
    assert sinusoidal_bank(frequencies, ones, 64, 16000, initial_phase=phase, nyquist=math.inf).all()


def test_partials_that_are_silent_keep_their_phases():
    frequencies = torch.tensor([440.0, 9000.0, 440.0])[None, :, None]
    audio, phase = sinusoidal_bank(frequencies, torch.ones(1, 3, 1), 300, 16000, "nearest", return_final_phase=True)
    # Two linear glides of 100 samples up to 9 kHz and back, and 100 samples at 440 Hz.
    up = 440 + 8560 * torch.arange(100, dtype=torch.float64) / 100
    turns = (up.sum() + (9440 - up).sum() + 100 * 440) / 16000
    assert math.remainder(phase.item() - TURN * turns.item(), TURN) == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(audio[0] == 0, torch.cat([up, 9440 - up, 0 * up]) >= 8000)


def test_no_partials_are_silence():
    audio, phase = sinusoidal_bank(torch.ones(2, 3, 0), torch.ones(2, 3, 0), 30, return_final_phase=True)
    assert audio.shape == (2, 30)
    assert not audio.any()
    assert phase.shape == (2, 1, 0)


def test_numbers_that_make_no_sense_are_named():
    frequencies, amplitudes = torch.ones(1, 3, 2), torch.ones(1, 3, 2)
    with pytest.raises(ValueError, match=r"amp_resample_method must be one of .*, got 'spline'"):
        sinusoidal_bank(frequencies, amplitudes, 10, amp_resample_method="spline")
    with pytest.raises(ValueError, match="sample_rate must be > 0, got 0"):
        sinusoidal_bank(frequencies, amplitudes, 10, sample_rate=0)
    with pytest.raises(ValueError, match="frames must be > 0, got 0"):
        sinusoidal_bank(frequencies[:, :0], amplitudes[:, :0], 10, n_intervals=1)
    with pytest.raises(ValueError, match=r"harmonic_shifts must be \[1, 3, 4\], got \[1, 3, 2\]"):
        harmonic_synthesis(torch.ones(1, 3, 1), torch.ones(1, 3, 1), frequencies, torch.ones(1, 3, 4))


# -------------------------------------------------------------------------------------------------------------- memory

MEASURE = """
import torch
from fastddsp.autograd.partials import sinusoidal_bank

def peak():  # not getrusage: its maximum is the parent's, if that was larger when it started this process
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))

def run(batch, frames, partials):
    inputs = [torch.full((batch, frames, partials), x).requires_grad_() for x in (440.0, 1.0)]
    before = peak()
    audio = sinusoidal_bank(*inputs, frames * 64, 48000)
    audio.backward(torch.ones(()).expand_as(audio))
    return peak() - before, sum(x.nbytes for x in (*inputs, audio, *(x.grad for x in inputs)))

run(2, 200, 100)
print(*run(4, 20_000, 100))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read as Linux tells it")
def test_memory_is_that_of_a_few_controls():
    inputs = [x.requires_grad_() for x in controls(3, 100)]
    sinusoidal_bank(*inputs, 192).sum().backward()  # compiles, for the other process to load
    output = subprocess.run([sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True).stdout
    extra, own = map(int, output.split())
    assert extra > 0.3 * own  # audio and gradients alone: the measurement sees something
    assert extra < 3 * own, f"{extra / 1e6:.0f} MB for {own / 1e6:.0f} MB of inputs, outputs and gradients"
