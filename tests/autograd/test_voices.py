"""An axis of voices: several fundamentals in one call, added up in the kernel."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastddsp.autograd.harmonic_bank import METHODS, HarmonicAnalysis, harmonic_bank
from fastddsp.autograd.oscillators import (
    harmonic_oscillator_bank,
    harmonic_synthesis,
    streaming_harmonic_synthesis,
)

FRAMES, HOP = 9, 37
SAMPLES = FRAMES * HOP
NAMES = ["frequencies", "amplitudes", "distribution", "shifts", "phase"]


def controls(n_voices, n_harmonics=5, n_frames=FRAMES, batch=2, dtype=torch.float32) -> dict[str, torch.Tensor]:
    """Frequencies, some of whose harmonics cross Nyquist at 16 kHz, and all that can go with them."""
    rng = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.rand(batch, n_voices, *shape, generator=rng, dtype=dtype).requires_grad_()

    shapes = (n_frames, 1), (n_frames, 1), (n_frames, n_harmonics), (n_frames, n_harmonics), (1, 1)
    values = dict(zip(NAMES, (random(*shape) for shape in shapes), strict=True))
    values["frequencies"] = (values["frequencies"] * 12000 / n_harmonics).detach().requires_grad_()
    return values


def bank(c, **options):
    return harmonic_bank(
        c["frequencies"], c["distribution"], SAMPLES, initial_phase=c["phase"], return_final_phase=True, **options
    )


def synthesis(c):
    return harmonic_synthesis(
        c["frequencies"], c["amplitudes"], None, c["distribution"], SAMPLES,
        initial_phase=c["phase"], return_final_phase=True,
    )  # fmt: skip


def slower_pitch(c):
    return synthesis(c | {"frequencies": c["frequencies"][..., :3, :]})  # 3 divides 9


def two_frame_rates(c):
    return synthesis(c | {"frequencies": c["frequencies"][..., :4, :]})


def shifted(c):
    return harmonic_synthesis(
        c["frequencies"], c["amplitudes"], 0.1 * c["shifts"], c["distribution"], SAMPLES,
        initial_phase=c["phase"].expand(*c["phase"].shape[:-1], 5), return_final_phase=True,
    )  # fmt: skip


def streaming(c):
    return streaming_harmonic_synthesis(c["frequencies"], c["amplitudes"], c["distribution"], c["phase"], SAMPLES)


def slower_streaming(c):
    return streaming(c | {"frequencies": c["frequencies"][..., :3, :]})


def sample_wise(c):
    return harmonic_oscillator_bank(c["frequencies"], c["distribution"], c["phase"])


every_function = pytest.mark.parametrize(
    "function",
    [bank, synthesis, slower_pitch, two_frame_rates, shifted, streaming, slower_streaming, sample_wise],
    ids=lambda function: function.__name__,
)


def gradients(outputs, inputs):
    cotangents = [torch.arange(y.numel(), dtype=y.dtype).view(y.shape).cos() for y in outputs]
    return torch.autograd.grad(outputs, list(inputs.values()), cotangents, allow_unused=True)


@every_function
def test_one_voice_is_no_voices_bit_for_bit(function):
    voices = controls(1)
    none = {name: x.detach().squeeze(1).requires_grad_() for name, x in voices.items()}
    (audio, phase), (expected, expected_phase) = function(voices), function(none)
    assert torch.equal(audio, expected)
    assert torch.equal(phase.squeeze(1), expected_phase)
    pairs = zip(gradients((audio, phase), voices), gradients((expected, expected_phase), none), strict=True)
    for of_voices, of_none in pairs:
        assert of_voices is of_none is None or torch.equal(of_voices.squeeze(1), of_none)


@every_function
def test_voices_are_the_sum_of_calls(function):
    voices = controls(3, dtype=torch.float64)
    audio, phase = function(voices)
    calls = [function({name: x[:, voice] for name, x in voices.items()}) for voice in range(3)]
    expected, phases = sum(call[0] for call in calls), torch.stack([call[1] for call in calls], 1)
    # 15 sines of amplitude 1 at most, each right to a few tens of eps
    torch.testing.assert_close(audio, expected, rtol=0, atol=15 * 64 * torch.finfo(torch.float64).eps)
    assert torch.equal(phase, phases)
    pairs = zip(gradients((audio, phase), voices), gradients((expected, phases), voices), strict=True)
    for together, apart in pairs:
        assert together is apart is None or torch.allclose(together, apart, rtol=1e-9, atol=1e-9 * apart.abs().max())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n_harmonics", "hop"), [(30, HOP), (600, 480)], ids=["direct", "NUFFT"])
def test_blocks_are_the_whole_bit_for_bit(method, n_harmonics, hop):
    c = controls(3, n_harmonics, n_frames=11)
    f0_hz, amplitudes, phase = (c[name].detach() for name in ("frequencies", "distribution", "phase"))
    whole, final_phase = harmonic_bank(
        f0_hz, amplitudes, 11 * hop, 16000, method, initial_phase=phase, return_final_phase=True
    )
    before, after = (1, 2) if method == "cubic" else (0, 1)
    for start, length in [(0, 1), (1, 6), (7, 4)]:
        first = max(start - before, 0)
        context = slice(first, start + length + after)
        block, phase = harmonic_bank(
            f0_hz[:, :, context], amplitudes[:, :, context], length * hop, 16000, method,
            initial_phase=phase, first_frame=start - first, n_intervals=length, return_final_phase=True,
        )  # fmt: skip
        assert torch.equal(block, whole[:, start * hop : (start + length) * hop])
    assert torch.equal(phase, final_phase)


def test_a_silent_voice_changes_no_bit_of_the_others():
    c = controls(3)
    with torch.no_grad():
        c["distribution"][:, 1] = 0
    audio, _ = bank(c)
    without, _ = bank({name: x[:, [0, 2]] for name, x in c.items()})
    assert torch.equal(audio, without)


def test_what_is_not_a_number_in_one_voice_stays_where_it_is():
    c = controls(3)
    expected, _ = bank(c)
    expected_gradients = gradients((expected,), c)
    c["frequencies"] = c["frequencies"].detach().clone()
    c["frequencies"][1, 2, 4] = math.nan
    c["frequencies"].requires_grad_()
    audio, _ = bank(c)
    around = torch.zeros(2, SAMPLES, dtype=torch.bool)
    around[1, 3 * HOP : 5 * HOP] = True
    assert audio[around].isnan().all()
    others = gradients((audio,), c)[2]
    assert torch.equal(others[:, :2], expected_gradients[2][:, :2])  # of other voices: g is theirs too
    assert torch.equal(others[0], expected_gradients[2][0])
    expected, _ = bank({name: x[:1] for name, x in c.items()})
    assert torch.equal(audio[:1], expected)
    assert torch.equal(audio[1, : 3 * HOP].isnan(), torch.zeros(3 * HOP, dtype=torch.bool))


def test_no_voices_are_silence():
    for function in (bank, synthesis, streaming):
        empty = controls(0)
        audio, phase = function(empty)
        assert torch.equal(audio, torch.zeros(2, SAMPLES))
        assert phase.shape == (2, 0, 1, 1)
        assert all(
            d is None or d.shape == x.shape for d, x in zip(gradients((audio,), empty), empty.values(), strict=True)
        )


def test_derivatives_of_the_analysis_are_those_of_finite_differences():
    c = controls(2, n_harmonics=2, n_frames=3, batch=1, dtype=torch.float64)
    f0_hz, phase = (100 + 0.01 * c["frequencies"]).squeeze(-1).detach().requires_grad_(), c["phase"][..., 0, 0].detach()
    g = torch.randn(1, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def analysis(g, f0_hz, phase):
        return HarmonicAnalysis.apply(g, f0_hz, phase, 2, 12, 0, 3, 1000.0, 500.0, "linear", 0)

    assert torch.autograd.gradcheck(analysis, (g, f0_hz, phase.requires_grad_()))


def test_shapes_that_do_not_agree_about_voices_are_all_named():
    c = controls(2)
    with pytest.raises(ValueError, match=r"f0_hz must be .*got \[2, 9, 1\], harmonic_amplitudes must .*\[2, 2, 9, 5\]"):
        harmonic_bank(c["frequencies"][:, 0], c["distribution"], SAMPLES)
    with pytest.raises(ValueError, match=r"initial_phase must be \[2, 2, 1, 1\], got \[2, 1, 1\]"):
        bank(c | {"phase": c["phase"][:, 0]})
    with pytest.raises(ValueError, match=r"harmonic_amplitudes must be \[2, 2, 9, harmonics\], got \[2, 3, 9, 5\]"):
        bank(c | {"distribution": controls(3)["distribution"]})


MEASURE = """
import torch
from fastddsp.autograd.harmonic_bank import harmonic_bank

def peak():  # see test_oscillators
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))

def run(voices):
    f0_hz = torch.full((1, voices, 1000, 1), 20.0).requires_grad_()
    amplitudes = torch.ones(1, voices, 1000, 4).requires_grad_()
    audio = harmonic_bank(f0_hz, amplitudes, 4_096_000, 48000)
    audio.backward(torch.ones(()).expand_as(audio))
    return audio.nbytes

before = peak()
size = run(1)
one = peak()
run(16)
print(size, one - before, peak() - one)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read as Linux tells it")
def test_memory_does_not_grow_with_voices():
    bank(controls(1))[0].sum().backward()  # compiles, for the other process to load
    result = subprocess.run([sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True)
    audio, one, more_of_sixteen = map(int, result.stdout.split())
    assert one > 0.9 * audio  # the measurement sees something
    assert more_of_sixteen < 0.5 * audio  # a tensor of samples x voices would be 15
