"""Filters and filtered noise: magenta's numbers, what a filter must do, seeds, frames of any length.

What every kernel op owes to torch is in test_contract.py.
"""

import numpy as np
import pytest
import torch

from fastddsp.autograd import filters
from fastddsp.autograd.convolution import fft_convolve, sinc_filter
from fastddsp.autograd.filters import filtered_noise, frequency_filter, frequency_impulse_response
from tests.golden import load
from tests.golden.compare import check

DESIGN_AND_FILTER = [
    case
    for name in ("apply_window_to_impulse_response", "frequency_impulse_response", "frequency_filter")
    for case in load("core_filters.npz", f"core.{name}")
]
NOISE = load("synths_all.npz", "synths.FilteredNoise.get_signal")


@pytest.mark.parametrize("case", DESIGN_AND_FILTER, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_values_and_gradients_are_magentas(case, dtype):
    check(case, getattr(filters, case.function.removeprefix("core.")), dtype=dtype, rtol=1e-5)  # magenta is float32


@pytest.mark.parametrize("case", NOISE, ids=str)
def test_filtered_noise_is_magentas_on_its_noise(case):
    init = case.meta["init"]
    noise = torch.tensor(case.noise[0])
    window_size = init.get("window_size", 257)
    check(case, lambda magnitudes: filtered_noise(magnitudes, init["n_samples"], window_size, noise=noise))


# ------------------------------------------------------------------------------------------------- what a filter does


def test_equal_magnitudes_only_delay_by_the_two_samples_that_magenta_leaves():
    audio = torch.randn(2, 50)
    filtered = frequency_filter(audio, torch.full((2, 5, 9), 0.5))
    torch.testing.assert_close(filtered[:, 2:], 0.5 * audio[:, :-2])
    assert not filtered[:, :2].abs().gt(1e-6).any()


def test_the_filters_gain_is_its_magnitudes():
    magnitudes = torch.tensor([0.1, 0.3, 0.6, 0.8, 1.0, 0.9, 0.5, 0.2, 0.1]).double()
    # A response that varies slowly over the bands is one that the window hardly changes.
    response = torch.fft.rfft(frequency_impulse_response(magnitudes[None]), 16)[0].abs()
    torch.testing.assert_close(response[1:-1], magnitudes.unfold(0, 3, 1) @ torch.tensor([0.25, 0.5, 0.25]).double())


def test_valid_adds_the_tail():
    audio, magnitudes = torch.randn(2, 50), torch.rand(2, 5, 9)
    same, valid = (frequency_filter(audio, magnitudes, padding=padding) for padding in ("same", "valid"))
    assert valid.shape == (2, 50 + 15)
    assert torch.equal(valid[:, :50], same)
    assert valid[:, 50:].any()


def test_one_filter_serves_a_batch_and_all_frames():
    audio, magnitudes = torch.randn(3, 60), torch.rand(1, 9)
    expected = frequency_filter(audio, magnitudes.expand(3, 9))
    assert torch.equal(frequency_filter(audio, magnitudes), expected)
    assert torch.equal(frequency_filter(audio, magnitudes[:, None]), expected)
    torch.testing.assert_close(frequency_filter(audio, magnitudes[:, None].expand(-1, 6, -1)), expected)


def test_frames_that_magenta_refuses_share_the_audio_evenly():
    gains = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    filtered = frequency_filter(torch.ones(1, 10), gains[None, :, None].expand(1, 7, 2))
    torch.testing.assert_close(filtered, torch.tensor([[0.0, 0, 1, 1, 2, 3, 3, 4, 5, 5]]))


def test_errors_say_what_was_expected():
    audio, magnitudes = torch.zeros(2, 40), torch.zeros(2, 4, 9)
    with pytest.raises(ValueError, match=r"magnitudes must have at least 2 bands .*, got \[2, 4, 1\]"):
        frequency_filter(audio, magnitudes[..., :1])
    with pytest.raises(ValueError, match="frames must be > 0, got 0"):
        frequency_filter(audio, magnitudes[:, :0])
    with pytest.raises(ValueError, match=r"padding must be one of \('same', 'valid'\), got 'full'"):
        frequency_filter(audio, magnitudes, padding="full")
    with pytest.raises(ValueError, match="window_size must be >= 0, got -1"):
        frequency_filter(audio, magnitudes, -1)
    with pytest.raises(ValueError, match=r"noise must be \[2, 50\], got \[2, 40\]"):
        filtered_noise(magnitudes, 50, noise=audio)
    with pytest.raises(ValueError, match=r"seed must be from 0 to 2\^63 - 1, got -1"):
        filtered_noise(magnitudes, 50, seed=-1)
    with pytest.raises(ValueError, match="offset must be >= 0, got -1"):
        filtered_noise(magnitudes, 50, seed=1, offset=-1)


@pytest.mark.parametrize("wrong", [2.5, "257", None])
def test_a_window_of_no_whole_number_of_samples_is_named(wrong):
    with pytest.raises(TypeError, match=f"window_size must be a whole number, got {wrong!r}"):
        frequency_filter(torch.zeros(2, 40), torch.zeros(2, 4, 9), wrong)
    with pytest.raises(TypeError, match=f"window_size must be a whole number, got {wrong!r}"):
        frequency_impulse_response(torch.zeros(2, 4, 9), wrong)


# ------------------------------------------------------------------------------------------------- filters that glide


def test_with_overlap_a_filter_glides_to_the_next_and_the_last_is_held():
    gains = torch.tensor([1.0, 3.0, 2.0])[None, :, None].expand(1, 3, 2)
    gliding = frequency_filter(torch.ones(1, 12), gains, overlap=True)
    fade = torch.sin(torch.pi / 8 * torch.arange(4)).square()
    expected = torch.cat([torch.zeros(2), 1 + 2 * fade, 3 - fade, torch.full((2,), 2.0)])  # two samples late
    torch.testing.assert_close(gliding[0], expected)


def test_gliding_in_the_kernel_is_gliding_by_fft():
    audio, magnitudes = torch.randn(2, 95).double(), torch.rand(2, 10, 17).double()
    by_fft = fft_convolve(audio, frequency_impulse_response(magnitudes), overlap=True)
    torch.testing.assert_close(frequency_filter(audio, magnitudes, overlap=True), by_fft)


@pytest.mark.parametrize("filter_audio", ["frequency_filter", "sinc_filter"])
def test_a_sweep_that_glides_does_not_click(filter_audio):
    rate, frame_rate = 16000, 50
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(rate).double() / rate)[None]
    cutoff_hz = 440 * 4 ** torch.sin(2 * torch.pi * torch.arange(frame_rate).double() / frame_rate)[None, :, None]
    low_pass = (1 + (torch.linspace(0, rate / 2, 65) / cutoff_hz) ** 8) ** -0.5

    def clicks_db(overlap: bool) -> float:
        """Energy above 1 kHz of all energy: neither the tone nor so slow a sweep has any there."""
        if filter_audio == "frequency_filter":
            audio = frequency_filter(tone, low_pass, overlap=overlap)
        else:
            audio = sinc_filter(tone, cutoff_hz, 256, rate, overlap=overlap)
        energy = torch.fft.rfft(audio * torch.signal.windows.blackman(rate).double()).abs().square()
        return float(10 * torch.log10(energy[:, 1000:].sum() / energy.sum()))

    assert clicks_db(False) > -60
    assert clicks_db(True) < -95


def test_a_stream_that_glides_needs_one_frame_of_look_ahead():
    hop, taps = 20, 16  # the first frame of a block is silent, for what the delay cuts off; so is the one ahead
    audio, magnitudes = torch.randn(1, 6 * hop).double(), torch.rand(1, 6, 9).double()
    whole = frequency_filter(audio, magnitudes, overlap=True)
    stream = torch.zeros(1, 9 * hop + taps).double()
    for t in range(0, 6, 2):
        block = torch.nn.functional.pad(audio[:, t * hop : (t + 2) * hop], (hop, hop))
        seen = magnitudes[:, [max(t - 1, 0), t, t + 1, min(t + 2, 5)]]
        out = frequency_filter(block, seen, padding="valid", overlap=True)
        stream[:, t * hop : t * hop + out.shape[1]] += out
    torch.testing.assert_close(stream[:, hop : 7 * hop], whole)


# -------------------------------------------------------------------------------------------------------------- seeds


def heard(seed, n_samples=200, batch=2, dtype=torch.float64, **settings):
    """What equal magnitudes leave of the noise: all of it, two samples late, but for rounding."""
    return filtered_noise(torch.ones(batch, 1, 2, dtype=dtype), n_samples, 0, seed=seed, **settings)[:, 2:]


def noise(seed, **settings):
    """The noise itself, which is a multiple of 2^-23."""
    rounded = torch.round(heard(seed, **settings) * 2**23) / 2**23
    assert (heard(seed, **settings) - rounded).abs().max() < 1e-14
    return rounded


def test_the_same_seed_makes_the_same_noise():
    assert torch.equal(noise(1), noise(1))
    assert not torch.equal(noise(1), noise(2))
    assert not torch.equal(*noise(1))  # rows differ


def test_noise_does_not_depend_on_batch_or_length():
    assert torch.equal(noise(1, batch=5)[:2], noise(1))
    assert torch.equal(noise(1, n_samples=500)[:, :198], noise(1))


def test_a_block_is_a_piece_of_the_stream():
    whole = noise(1, n_samples=1000)
    assert torch.equal(noise(1, n_samples=300, offset=333), whole[:, 333:631])


@pytest.mark.parametrize("draw", [heard, torch.compile(heard, fullgraph=True, backend="aot_eager")])
def test_without_a_seed_torchs_generator_decides(draw):
    torch.manual_seed(0)
    first, second = draw(None), draw(None)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(draw(None), first)


def test_both_precisions_hear_the_same_noise():
    single, double = heard(1, dtype=torch.float32), noise(1)
    assert (single - double).abs().max() < 2**-20  # 8 eps; independent noises would differ by 1


@pytest.mark.parametrize("overlap", [False, True])
def test_gradients_are_those_of_the_same_noise_given(overlap):
    magnitudes = torch.rand(2, 1, 2, requires_grad=True)
    given_noise = torch.nn.functional.pad(noise(7, n_samples=203).float(), (0, 2))[:, :201]
    v = torch.randn(2, 201)
    v[:, -2:] = 0  # samples that `noise` did not show
    for window_size in (0, 257):
        seeded = filtered_noise(magnitudes, 201, window_size, seed=7, overlap=overlap)
        given = filtered_noise(magnitudes, 201, window_size, noise=given_noise, overlap=overlap)
        for d in zip(*(torch.autograd.grad(y, magnitudes, v) for y in (seeded, given)), strict=True):
            np.testing.assert_array_equal(*d)  # float32 holds the noise exactly
