"""Harmonic oscillators: magenta's numbers, float64's numbers, phases that stay exact for an hour, memory."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fastddsp.autograd import oscillators
from fastddsp.autograd.harmonic_bank import METHODS, harmonic_bank
from fastddsp.autograd.harmonics import normalize_harmonics
from fastddsp.autograd.oscillators import harmonic_synthesis
from fastddsp.kernels.phase import Timeline
from fastddsp.kernels.reference.phase import envelope
from tests.golden import load
from tests.golden.compare import assert_close, check

FILES = ("core_harmonic_synthesis.npz", "core_harmonic_oscillators.npz", "core_streaming.npz")
CASES = [case for file in FILES for case in load(file) if not {"harmonic_shifts"} & case.inp.keys()]
COMPARED = [case for case in CASES if case.out]
TURN = 2 * math.pi
FLOAT32 = 4e-6  # 32 eps, as tests/kernels/test_harmonic.py derives


# -------------------------------------------------------------------------------------------------- magenta's numbers


def port(case):
    """Our function, its final phase put on the turn that magenta does not wrap."""
    function = getattr(oscillators, case.function.removeprefix("core."))

    def call(*inputs, **args):
        inputs = dict(zip(case.inp, inputs, strict=True))
        if "out1" not in case.out:
            return function(**inputs, **args)
        audio, final_phase = function(**inputs, **args)
        turns = ((torch.tensor(case.out["out1"]) - final_phase.detach()) / TURN).round()
        return audio, final_phase + TURN * turns

    return call


@pytest.mark.parametrize("case", COMPARED, ids=str)
def test_values_and_gradients_are_those_of_float64(case):
    # initial_phase: all samples' gradients add up to a 50th of their size
    check(case, port(case), truth="true64", rtol=FLOAT32, grad_rtol=2e-5 if "initial_phase" in case.inp else FLOAT32)
    check(case, port(case), truth="true64", dtype=torch.float64)


@pytest.mark.parametrize("case", COMPARED, ids=str)
def test_values_and_gradients_are_within_magentas_own_error(case):
    check(case, port(case))


@pytest.mark.golden
def test_four_seconds_of_a_hundred_harmonics():
    (case,) = load("core_harmonic_4s.npz")
    check(case, port(case))
    inputs = [torch.tensor(x, requires_grad=True) for x in case.inp.values()]
    audio = port(case)(*inputs, **case.args)
    assert_close(audio.detach().numpy(), case.true64["out"], FLOAT32, case=case, truth="true64")
    audio.backward(torch.tensor(case.cot["out"]))
    gradients = {name: x.grad.numpy() for name, x in zip(case.inp, inputs, strict=True)}
    for name, expected in case.true64_grad.items():
        assert_close(gradients[name], expected, FLOAT32, case=case, what=name, kind="gradient", truth="true64")
    assert_close(gradients["harmonic_distribution"][:, ::25], case.true64_grad_slice["harmonic_distribution"], FLOAT32)


def test_frames_need_not_divide_the_samples_of_a_window():
    (case,) = [case for case in CASES if case not in COMPARED]
    assert case.meta["raises"].startswith("ValueError")  # magenta's
    audio = port(case)(*map(torch.tensor, case.inp.values()), **case.args)
    assert_close(audio.numpy(), direct(**case.inp, **case.args), FLOAT32)


def direct(frequencies, amplitudes, harmonic_distribution, n_samples, sample_rate=16000, amp_resample_method="window"):
    """harmonic_synthesis in float64, each control at its own frame rate."""
    audio = np.zeros((len(frequencies), n_samples))
    for y, f, a in zip(audio, frequencies.astype(float), amplitudes.astype(float) * harmonic_distribution, strict=True):
        f = envelope(f, Timeline(n_samples, len(f)), "linear")
        a = envelope(a, Timeline(n_samples, len(a)), amp_resample_method)
        k = np.arange(1, a.shape[1] + 1)
        y += (a * (k * f < sample_rate / 2) * np.sin(TURN * k * np.cumsum(f, 0) / sample_rate)).sum(1)
    return audio


@pytest.mark.parametrize("method", METHODS)
def test_hundreds_of_harmonics_are_those_of_float64(method):
    f, a, d = controls(6, 6, 600)
    exact = [x.double().requires_grad_() for x in (f / 60, a, d)]
    inputs = [x.float().detach().requires_grad_() for x in exact]
    g = torch.rand(2, 6 * 480, generator=torch.Generator().manual_seed(0)) - 0.5
    outputs = []
    for x in (inputs, exact):
        y = harmonic_synthesis(x[0], x[1], None, x[2], 6 * 480, 48000, method)
        outputs.append([y, *torch.autograd.grad(y, x, g.to(y))])
    for actual, expected in zip(*outputs, strict=True):
        assert_close(actual.detach().numpy(), expected.detach().numpy(), FLOAT32)


def controls(n_frequency, n_amplitude, n_harmonics=5, batch=2):
    """Frequencies, amplitudes and a distribution at two frame rates."""
    rng = torch.Generator().manual_seed(n_frequency * n_amplitude)
    return (
        200 + 1500 * torch.rand(batch, n_frequency, 1, generator=rng),
        torch.rand(batch, n_amplitude, 1, generator=rng),
        torch.rand(batch, n_amplitude, n_harmonics, generator=rng),
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("n_frequency", "n_amplitude", "n_samples"),
    [(1, 6, 96), (3, 12, 96), (12, 3, 96), (2, 3, 97), (4, 4, 101), (7, 7, 3), (2, 3, 0)],
)
def test_any_number_of_frames_and_samples(n_frequency, n_amplitude, n_samples, method):
    inputs = controls(n_frequency, n_amplitude)
    audio = harmonic_synthesis(inputs[0], inputs[1], None, inputs[2], n_samples, amp_resample_method=method)
    expected = direct(*(x.numpy() for x in inputs), n_samples, amp_resample_method=method)
    assert_close(audio.numpy(), expected, FLOAT32)


# -------------------------------------------------------------------------------------------------------- exact phases


def test_a_minute_of_a_hundred_harmonics_is_float32_exact():
    rate, f0, n_harmonics, n_frames = 48000, 440.0, 100, 60 * 250
    f0_hz = torch.full((1, n_frames, 1), f0)
    distribution = normalize_harmonics(torch.ones(1, n_frames, n_harmonics), f0_hz, rate)
    audio = harmonic_synthesis(f0_hz, torch.ones_like(f0_hz), None, distribution, n_frames * 192, rate)[0].numpy()
    n_audible = 54  # 54 x 440 Hz < 24 kHz
    turns = np.arange(1, 1201) * 11 % 1200 / 1200  # 440 / 48000 = 11 / 1200: the tone repeats every 1200 samples
    expected = np.sin(TURN * turns[:, None] * np.arange(1, n_audible + 1)).mean(1)
    assert np.abs(audio.reshape(-1, 1200) - expected).max() < 2e-6


HOUR, HOP, RATE = 3600 * 250, 192, 48000  # frames, samples a frame, samples a second


@pytest.fixture(scope="module")
def hour():
    """An hour of one gliding harmonic: f0 [1, frames, 1] in 64ths of a hertz, amplitudes, audio, final phase."""
    rng = torch.Generator().manual_seed(0)
    f0_hz = torch.randint(64 * 80, 64 * 1000, (1, HOUR, 1), generator=rng) / 64
    amplitudes = torch.rand(1, HOUR, 1, generator=rng)
    audio, final_phase = harmonic_bank(f0_hz, amplitudes, HOUR * HOP, RATE, return_final_phase=True)
    return f0_hz, amplitudes, audio, final_phase


def test_phase_does_not_drift_over_an_hour(hour):
    f0_hz, amplitudes, audio, final_phase = hour
    a = (64 * f0_hz[0, :, 0]).numpy().astype(np.int64)
    c = np.append(a[1:], a[-1])
    advance = 2 * HOP * a + (HOP - 1) * (c - a)  # the sum of an interval's frequencies, in 128ths of a hertz: integers
    whole_turns = 128 * RATE
    turns = advance.cumsum() % whole_turns / whole_turns
    # The grid of phases allows 2^-51 turns an interval, all in one direction: 3e-9 rad.
    error = math.remainder(final_phase.item() - TURN * turns[-1], TURN)
    assert abs(error) < 3e-9
    m = np.arange(HOP)  # the hour's last interval but one, from the exact phase at its start
    i = HOUR - 2
    frequency = (a[i] + (c[i] - a[i]) * m / HOP) / 64
    weight = np.sin(np.pi / 2 * m / HOP) ** 2
    envelope = (1 - weight) * amplitudes[0, i].item() + weight * amplitudes[0, i + 1].item()
    expected = envelope * np.sin(TURN * (turns[i - 1] + frequency.cumsum() / RATE))
    assert np.abs(audio[0, i * HOP : (i + 1) * HOP].numpy() - expected).max() < FLOAT32


def blocks(n_frames, lengths):
    """(first frame, number of frames) of consecutive blocks whose lengths repeat `lengths`."""
    start, i = 0, 0
    while start < n_frames:
        length = min(lengths[i % len(lengths)], n_frames - start)
        yield start, length
        start, i = start + length, i + 1


def test_an_hour_in_blocks_is_the_hour_bit_for_bit(hour):
    f0_hz, amplitudes, audio, final_phase = hour
    phase = None
    for start, length in blocks(HOUR, [12345, 1, 40001, 777, 3]):
        with_next = slice(start, start + length + 1)
        block, phase = harmonic_bank(
            f0_hz[:, with_next], amplitudes[:, with_next], length * HOP, RATE,
            initial_phase=phase, n_intervals=length, return_final_phase=True,
        )  # fmt: skip
        assert torch.equal(block, audio[:, start * HOP : (start + length) * HOP])
    assert torch.equal(phase, final_phase)


@pytest.mark.parametrize(
    ("dtype", "n_harmonics", "hop", "n_frames"),
    [(torch.float32, 30, 37, 101), (torch.float64, 30, 37, 101), (torch.float32, 600, 480, 23)],  # the last by NUFFT
    ids=str,
)
@pytest.mark.parametrize("method", METHODS)
def test_blocks_are_the_whole_bit_for_bit_with_every_envelope(method, dtype, n_harmonics, hop, n_frames):
    rng = torch.Generator().manual_seed(0)
    f0_hz = 30000 / n_harmonics * torch.rand(2, n_frames, 1, generator=rng, dtype=dtype)  # some cross Nyquist
    amplitudes = torch.rand(2, n_frames, n_harmonics, generator=rng, dtype=dtype)
    whole, final_phase = harmonic_bank(f0_hz, amplitudes, n_frames * hop, 16000, method, return_final_phase=True)
    phase = None
    before, after = (1, 2) if method == "cubic" else (0, 1)
    for start, length in blocks(n_frames, [1, 13, 5, 3]):
        first = max(start - before, 0)
        context = slice(first, start + length + after)
        block, phase = harmonic_bank(
            f0_hz[:, context], amplitudes[:, context], length * hop, 16000, method,
            initial_phase=phase, first_frame=start - first, n_intervals=length, return_final_phase=True,
        )  # fmt: skip
        assert torch.equal(block, whole[:, start * hop : (start + length) * hop])
    assert torch.equal(phase, final_phase)


def test_a_final_phase_survives_as_an_initial_phase():
    f0_hz = 100 + torch.rand(1000, 3, 1)
    ones = torch.ones(1000, 3, 1)
    _, phase = harmonic_bank(f0_hz, ones, 100, return_final_phase=True)
    assert phase.dtype == torch.float64
    assert phase.shape == (1000, 1, 1)
    assert (phase >= 0).all()
    assert (phase < TURN).all()
    audio, same = harmonic_bank(0 * f0_hz, ones, 100, initial_phase=phase, return_final_phase=True)
    assert torch.equal(same, phase)
    torch.testing.assert_close(audio.double(), phase[:, :, 0].sin().expand(1000, 100), rtol=0, atol=FLOAT32)


def test_any_number_of_turns_is_a_phase():
    f0_hz = torch.full((5, 2, 1), 300.0)
    phase = torch.tensor([0.7, 0.7 + TURN, 0.7 - TURN, 0.7 + 1000 * TURN, 0.7 - 1000 * TURN], dtype=torch.float64)
    audio = harmonic_bank(f0_hz, torch.ones(5, 2, 1), 50, initial_phase=phase[:, None, None])
    torch.testing.assert_close(audio, audio[:1].expand(5, 50), rtol=0, atol=FLOAT32)


def test_angular_cumsum_changes_nothing():
    f, a, d = controls(4, 4)
    assert torch.equal(*(harmonic_synthesis(f, a, None, d, 100, use_angular_cumsum=use) for use in (False, True)))


# --------------------------------------------------------------------------------------------------------- odd controls


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("method", METHODS)
def test_audio_is_nan_only_around_a_frequency_that_is_not_finite(method, bad):
    f0_hz, amplitudes = torch.full((2, 9, 1), 200.0), torch.rand(2, 9, 20)
    clean = harmonic_bank(f0_hz, amplitudes, 90, amp_resample_method=method)
    f0_hz[0, 4] = bad
    audio = harmonic_bank(f0_hz, amplitudes, 90, amp_resample_method=method)
    assert audio[0, 30:50].isnan().all()  # frame 4 is at sample 40; f0 is linear between frames
    assert torch.equal(audio[0, :30], clean[0, :30])
    assert audio[0, 50:].isfinite().all()
    assert torch.equal(audio[1], clean[1])


def test_no_harmonics_are_silence_that_keeps_its_phase():
    f0_hz = torch.full((2, 3, 1), 200.0, requires_grad=True)
    audio, phase = harmonic_bank(f0_hz, torch.ones(2, 3, 0), 30, return_final_phase=True)
    assert not audio.any()
    expected = harmonic_bank(f0_hz, torch.ones(2, 3, 1), 30, return_final_phase=True)[1]
    assert torch.equal(phase, expected)
    (audio.sum() + phase.sum()).backward()
    torch.testing.assert_close(f0_hz.grad.sum().item(), 2 * 30 * TURN / 16000)


def test_half_the_sample_rate_itself_is_silent():
    f0_hz = torch.full((1, 4, 1), 1000.0)
    assert not harmonic_bank(f0_hz, torch.eye(20)[None, 7:8].expand(1, 4, 20), 64, 16000).any()
    assert harmonic_bank(f0_hz, torch.eye(20)[None, 6:7].expand(1, 4, 20), 64, 16000).any()
    assert harmonic_bank(f0_hz, torch.eye(20)[None, 7:8].expand(1, 4, 20), 64, 16000.1).any()
    assert harmonic_bank(f0_hz, torch.eye(20)[None, 10:11].expand(1, 4, 20), 64, 16000, nyquist=math.inf).any()


@pytest.mark.parametrize("whole", [np.int32, np.array, torch.tensor])
def test_numbers_may_be_those_of_numpy_and_torch(whole):
    f0_hz, amplitudes = torch.full((1, 3, 1), 100.0), torch.ones(1, 3, 2)
    expected = harmonic_bank(f0_hz, amplitudes, 10, sample_rate=8000, n_intervals=3)
    audio = harmonic_bank(f0_hz, amplitudes, whole(10), sample_rate=whole(8000), n_intervals=whole(3))
    assert torch.equal(audio, expected)


def test_numbers_that_make_no_sense_are_named():
    f0_hz, amplitudes = torch.ones(1, 3, 1), torch.ones(1, 3, 2)
    with pytest.raises(ValueError, match=r"amp_resample_method must be one of .*, got 'spline'"):
        harmonic_bank(f0_hz, amplitudes, 10, amp_resample_method="spline")
    with pytest.raises(ValueError, match="sample_rate must be > 0, got 0"):
        harmonic_bank(f0_hz, amplitudes, 10, sample_rate=0)
    with pytest.raises(TypeError, match="sample_rate must be a number, got str"):
        harmonic_bank(f0_hz, amplitudes, 10, sample_rate="16 kHz")
    with pytest.raises(TypeError, match=r"n_intervals must be a whole number, got 2\.5"):
        harmonic_bank(f0_hz, amplitudes, 10, n_intervals=2.5)
    with pytest.raises(ValueError, match="n_intervals must be > 0, got 0"):
        harmonic_bank(f0_hz, amplitudes, 10, n_intervals=0)
    with pytest.raises(ValueError, match="frames must be > 0, got 0"):
        harmonic_bank(f0_hz[:, :0], amplitudes[:, :0], 10, n_intervals=1)


# -------------------------------------------------------------------------------------------------------------- memory

MEASURE = """
import sys, torch
from fastddsp.autograd.oscillators import harmonic_synthesis

def peak():  # not getrusage: its maximum is the parent's, if that was larger when it started this process
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))

def run(batch, frames, hop, harmonics):
    f0_hz = torch.full((batch, frames, 1), 20.0).requires_grad_()
    amplitudes = torch.ones(batch, frames, 1).requires_grad_()
    distribution = torch.full((batch, frames, harmonics), 1 / harmonics).requires_grad_()
    inputs = f0_hz, amplitudes, distribution
    before = peak()
    audio = harmonic_synthesis(f0_hz, amplitudes, None, distribution, frames * hop, 48000)
    audio.backward(torch.ones(()).expand_as(audio))
    return peak() - before, sum(x.nbytes for x in (*inputs, audio, *(x.grad for x in inputs)))

run(2, 200, 64, int(sys.argv[1]))
print(*run(4, 2_000_000 // int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[1])))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read as Linux tells it")
@pytest.mark.parametrize(("n_harmonics", "hop"), [(100, 64), (1000, 192)])
def test_memory_is_that_of_a_few_controls(n_harmonics, hop):
    (case,) = load("core_harmonic_4s.npz")
    check(case, port(case))  # compiles, for the other process to load: a compiler's memory is not what is measured
    controls = torch.full((1, 4, 1), 20.0).requires_grad_(), torch.ones(1, 4, n_harmonics).requires_grad_()
    harmonic_bank(*controls, 4 * hop, 48000).sum().backward()  # many harmonics may have an algorithm of their own
    command = [sys.executable, "-c", MEASURE, str(n_harmonics), str(hop)]
    extra, own = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert own > 50e6  # beside which an allocator's habits are small
    assert extra > 0.3 * own  # audio and gradients alone: the measurement sees something
    assert extra < 3 * own, f"{extra / 1e6:.0f} MB for {own / 1e6:.0f} MB of inputs, outputs and gradients"
