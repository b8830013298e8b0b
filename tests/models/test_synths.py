"""Synthesizers against the reference and its float64 answers."""

import pytest
import torch

from fastddsp.autograd.filters import filtered_noise
from fastddsp.models import synths
from tests.golden import compare, load
from tests.models.golden_modules import cases_of, check_module, noise_of

CASES = load("synths_all.npz")
SYNTHS = ("TensorToAudio", "Harmonic", "Sinusoidal", "FilteredNoise", "Wavetable")


def made(case):
    name = case.function.split(".")[1]
    return getattr(synths, name)(**case.meta.get("init", {}))


def part(case, synth):
    """The method of the synthesizer that the case calls."""
    method = case.function.split(".")[-1]
    return synth if method in ("__call__", "TensorToAudio") else getattr(synth, method)


@pytest.mark.parametrize("case", [c for s in SYNTHS for c in cases_of(CASES, f"synths.{s}")], ids=str)
def test_synths_agree_with_the_reference(case, reference_phase):
    synth = made(case)
    function = part(case, synth)
    # Raw frequencies become up to 4400 Hz through a sigmoid and a power of 2, rounded by 6e-7 of it: 7e-4 rad after 640
    # samples for each partial of amplitude up to 2, beside a sum of 4.
    rtol = 3.5e-4 if case.name == "sinusoidal_0_call" else None
    check_module(case, synth, lambda *inputs: function(*inputs, **noise_of(case)), rtol=rtol)


@pytest.mark.parametrize(
    "case",
    [c for s in ("Harmonic", "Sinusoidal", "Wavetable") for c in cases_of(CASES, f"synths.{s}.get_signal")],
    ids=str,
)
def test_oscillators_agree_with_the_float64_answer(case):
    # 7 partials of amplitude up to 1 and phases of some 1e2 turns: exact phases leave float32 rounding of the sines.
    compare.check(case, made(case).get_signal, truth="true64")


def test_length_and_sample_rate_may_be_given_per_call():
    harmonic = synths.Harmonic()
    f0_hz, flat = torch.full((1, 10, 1), 200.0), torch.ones(1, 10, 4)
    audio = harmonic(flat[..., :1], flat, f0_hz, n_samples=333, sample_rate=8000)
    other = synths.Harmonic(n_samples=333, sample_rate=8000)(flat[..., :1], flat, f0_hz)
    assert audio.shape == (1, 333) and torch.equal(audio, other)


def test_a_chord_is_the_sum_of_its_voices():
    rng = torch.Generator().manual_seed(0)
    amplitudes, distribution = (torch.randn(2, 3, 10, k, generator=rng) for k in (1, 4))
    f0_hz = 100 + 3000 * torch.rand(2, 3, 10, 1, generator=rng)
    harmonic = synths.Harmonic(n_samples=640)
    voices = [harmonic(amplitudes[:, v], distribution[:, v], f0_hz[:, v]) for v in range(3)]
    assert torch.equal(harmonic(amplitudes, distribution, f0_hz), voices[0] + voices[1] + voices[2])


def test_harmonics_above_nyquist_of_the_call_are_silent_before_normalization():
    controls = synths.Harmonic().get_controls(
        torch.zeros(1, 1, 1), torch.zeros(1, 1, 4), torch.full((1, 1, 1), 1500.0), sample_rate=8000
    )
    torch.testing.assert_close(controls["harmonic_distribution"], torch.tensor([[[0.5, 0.5, 0.0, 0.0]]]))


def test_noise_is_new_at_each_call_and_follows_torchs_seed():
    noise, magnitudes = synths.FilteredNoise(n_samples=100), torch.zeros(2, 5, 9)
    torch.manual_seed(0)
    first, second = noise(magnitudes), noise(magnitudes)
    torch.manual_seed(0)
    assert torch.equal(noise(magnitudes), first) and not torch.equal(first, second)


def test_noise_of_a_given_seed_is_the_same_whatever_torchs_seed():
    noise, magnitudes = synths.FilteredNoise(), torch.zeros(2, 5, 9)
    first = noise(magnitudes, n_samples=50, seed=7)
    state = torch.get_rng_state()
    torch.rand(3)
    assert torch.equal(noise(magnitudes, n_samples=50, seed=7), first) and first.shape == (2, 50)
    assert not torch.equal(torch.get_rng_state(), state)


def test_noise_glides_from_frame_to_frame_if_told_to():
    magnitudes = torch.rand(2, 5, 9)
    noise = synths.FilteredNoise(50, scale_fn=None, overlap=True)
    assert torch.equal(noise(magnitudes, seed=7), filtered_noise(magnitudes, 50, seed=7, overlap=True))


def test_scaled_wavetables_lose_their_constant_if_told_to():
    inputs = torch.zeros(1, 4, 1), torch.randn(1, 4, 16), torch.full((1, 4, 1), 100.0)
    without, magentas = (synths.Wavetable(remove_dc=r).get_controls(*inputs)["wavetables"] for r in (True, False))
    assert magentas.min() > 0
    torch.testing.assert_close(without.mean(-1), torch.zeros(1, 4), rtol=0, atol=1e-6)
    torch.testing.assert_close(without - without[..., :1], magentas - magentas[..., :1])


def test_wavetables_given_as_they_are_stay_so():
    tables, ones = torch.randn(2, 4, 16), torch.ones(2, 4, 1)
    assert synths.Wavetable(scale_fn=None).get_controls(ones, tables, ones)["wavetables"] is tables


def test_one_wavetable_serves_the_batch():
    synth, flat = synths.Wavetable(n_samples=64), torch.ones(3, 4, 1)
    table = torch.randn(1, 16)
    audio = synth(flat, table, 100 * flat)
    assert audio.shape == (3, 64)
    assert torch.equal(audio, synth(flat, table.expand(3, -1), 100 * flat))
