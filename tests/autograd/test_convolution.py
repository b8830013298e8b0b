"""Convolution: the golden values, direct sums in double precision, blocks against the whole, sinc filters."""

from functools import partial

import numpy as np
import pytest
import torch

from fastddsp.autograd import convolution
from fastddsp.autograd.convolution import (
    crop_and_compensate_delay,
    fft_convolve,
    get_fft_size,
    sinc,
    sinc_filter,
    sinc_impulse_response,
)
from tests.golden import load
from tests.golden.compare import assert_close, check, check_refusal

CASES = [
    case
    for case in load("core_filters.npz")
    if case.function.removeprefix("core.") in convolution.__all__
    and case.function != "core.get_fft_size"
    and "raises" not in case.meta
    and "conv_crop_bug" not in case.name
]


def convolve_directly(
    audio: np.ndarray, impulse_response: np.ndarray, padding: str, delay: int, overlap: bool = False
) -> np.ndarray:
    """The definition: every sample spreads its frame's response, or with overlap a mean of that and the next one's.

    In float64; then the crop, zeros outside.
    """
    batch, n_samples = audio.shape
    if impulse_response.ndim == 2:
        impulse_response = impulse_response[:, None]
    n_frames, ir_size = impulse_response.shape[1:]
    responses = np.broadcast_to(impulse_response.astype(np.float64), (batch, n_frames, ir_size))
    frame_size = -(-n_samples // n_frames)
    whole = np.zeros((batch, n_samples + ir_size - 1))
    for b in range(batch):
        for n in range(n_samples):
            t, i = divmod(n, frame_size)
            fade = np.sin(np.pi / 2 * i / frame_size) ** 2 if overlap else 0.0
            response = (1 - fade) * responses[b, t] + fade * responses[b, min(t + 1, n_frames - 1)]
            whole[b, n : n + ir_size] += audio[b, n] * response
    start = (ir_size - 1) // 2 - 1 if delay < 0 else delay
    wanted = n_samples if padding == "same" else n_samples + ir_size - 1
    index = start + np.arange(wanted)
    inside = (index >= 0) & (index < whole.shape[1])
    return np.where(inside, whole[:, np.clip(index, 0, whole.shape[1] - 1)], 0.0)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_magenta(case):
    check(case, getattr(convolution, case.function.removeprefix("core.")))


@pytest.mark.parametrize("case", [case for case in CASES if case.true64], ids=str)
def test_values_and_gradients_are_exact(case):
    function = getattr(convolution, case.function.removeprefix("core."))
    check(case, function, truth="true64", dtype=torch.float64)
    # An FFT of N points rounds log2(N) <= 11 times on each way: a few tens of 2^-24 at most.
    check(case, function, truth="true64", rtol=1e-6)


@pytest.mark.parametrize("case", [case for case in load("core_filters.npz") if "crop_bug" in case.name], ids=str)
def test_where_magenta_returns_nothing_we_return_the_right_samples(case):
    assert case.out["out"].shape[1] == 0
    inputs = [torch.tensor(x).double().requires_grad_() for x in case.inp.values()]
    out = fft_convolve(*inputs, **case.args)
    expected = convolve_directly(*case.inp.values(), case.args["padding"], case.args["delay_compensation"])
    np.testing.assert_allclose(out.detach(), expected, atol=1e-12)
    assert torch.autograd.gradcheck(lambda *x: fft_convolve(*x, **case.args), inputs, fast_mode=True)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("delay", [-1, 0, 3, 500])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("audio_shape", "response_shape"),
    [
        ((1, 1), (1, 1)),
        ((2, 37), (2, 5)),
        ((2, 37), (1, 100)),
        ((2, 37), (2, 5, 3)),
        ((3, 24), (1, 24, 7)),
        ((2, 9), (2, 3, 50)),
    ],
)
def test_every_padding_and_delay_is_the_direct_sum(audio_shape, response_shape, padding, delay, overlap):
    rng = np.random.default_rng(0)
    audio, response = rng.standard_normal(audio_shape), rng.standard_normal(response_shape)
    out = fft_convolve(torch.tensor(audio), torch.tensor(response), padding, delay, overlap=overlap)
    np.testing.assert_allclose(out, convolve_directly(audio, response, padding, delay, overlap), atol=1e-12)


@pytest.mark.parametrize("ir_size", [1, 7, 3000])
def test_long_audio_in_blocks_is_the_same_convolution(ir_size):
    generator = torch.Generator().manual_seed(0)
    audio = torch.randn(2, 60_000, dtype=torch.float64, generator=generator, requires_grad=True)
    response = torch.randn(1, ir_size, dtype=torch.float64, generator=generator, requires_grad=True)
    cotangent = torch.randn(2, 60_000 + ir_size - 1, dtype=torch.float64, generator=generator)
    size = 2**17
    whole = torch.fft.irfft(torch.fft.rfft(audio, size) * torch.fft.rfft(response, size), size)
    expected = whole[:, : 60_000 + ir_size - 1]
    out = fft_convolve(audio, response, padding="valid", delay_compensation=0)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-9)
    grads, expected_grads = (torch.autograd.grad((y * cotangent).sum(), [audio, response]) for y in (out, expected))
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-10, atol=1e-8)


def test_memory_grows_with_the_audio_and_not_with_the_product_of_lengths():
    saved = []

    def count(tensor):
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    audio = torch.zeros(1, 2_000_000, requires_grad=True)
    response = torch.zeros(1, 100_000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        fft_convolve(audio, response, delay_compensation=0)
    # The spectra of blocks that overlap by at most a third, as complex numbers of half as many bins.
    assert sum(saved) < 2 * audio.numel() * audio.element_size()


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(("audio_shape", "response_shape"), [((2, 11), (2, 4)), ((2, 12), (1, 3, 5))])
def test_first_and_second_derivatives_are_right(audio_shape, response_shape, overlap):
    audio = torch.randn(audio_shape, dtype=torch.float64, requires_grad=True)
    response = torch.randn(response_shape, dtype=torch.float64, requires_grad=True)
    convolve = partial(fft_convolve, overlap=overlap)
    assert torch.autograd.gradcheck(convolve, (audio, response))
    assert torch.autograd.gradgradcheck(convolve, (audio, response))


@pytest.mark.parametrize(
    ("audio_shape", "response_shape"), [((0, 9), (0, 4)), ((0, 9), (1, 4)), ((0, 9), (0, 3, 4)), ((2, 0), (2, 4))]
)
def test_empty_audio_stays_empty_and_differentiable(audio_shape, response_shape):
    audio = torch.zeros(audio_shape, requires_grad=True)
    out = fft_convolve(audio, torch.zeros(response_shape))
    assert out.shape == audio_shape
    assert torch.autograd.grad(out.sum(), audio)[0].shape == audio_shape


@pytest.mark.parametrize(
    ("audio", "response", "args", "error", "message"),
    [
        ((3, 50), (2, 5), {}, ValueError, "impulse_response must have a batch of 1 or of audio's 3, got 2"),
        ((1, 10), (1, 7, 4), {}, ValueError, "got 7 frames for 10 samples, which frames of 2 fill with 5"),
        ((1, 10, 1), (1, 7), {}, ValueError, r"audio must be \[batch, samples\], got \[1, 10, 1\]"),
        ((1, 10), (1, 0), {}, ValueError, "impulse_response must be .* none of them empty"),
        ((1, 10), (1, 4), {"padding": "full"}, ValueError, "padding must be one of .*, got 'full'"),
    ],
)
def test_errors_say_what_was_expected(audio, response, args, error, message):
    with pytest.raises(error, match=message):
        fft_convolve(torch.zeros(audio), torch.zeros(response), **args)


@pytest.mark.parametrize("case", [case for case in load("core_filters.npz") if "conv_err" in case.name], ids=str)
def test_what_magenta_refuses_is_refused(case):
    check_refusal(case, fft_convolve)


def test_dtypes_are_not_mixed():
    with pytest.raises(TypeError, match=r"impulse_response must be torch.float32 like audio, got torch.float64"):
        fft_convolve(torch.zeros(1, 10), torch.zeros(1, 3, dtype=torch.float64))


@pytest.mark.parametrize("case", load("core_filters.npz", "core.get_fft_size"), ids=str)
def test_fft_sizes_are_those_of_magenta(case):
    sizes = [get_fft_size(*pair, power_of_2=case.args["power_of_2"]) for pair in case.inp["pairs"].tolist()]
    assert_close(np.array(sizes), case.out["out"], rtol=0, case=case)


def test_fft_sizes_are_the_smallest_that_hold_the_convolution():
    smooth = sorted(2**a * 3**b * 5**c for a in range(14) for b in range(9) for c in range(6))
    for wanted in range(1, 5000, 7):
        assert get_fft_size(wanted, 1, power_of_2=False) == next(size for size in smooth if size >= wanted)
        assert get_fft_size(1, wanted) == next(2**a for a in range(14) if 2**a >= wanted)


def test_crop_keeps_batch_and_dtype():
    out = crop_and_compensate_delay(torch.ones(3, 20, dtype=torch.float64), 10, 5, "valid", 12)
    assert out.shape == (3, 14) and out.dtype == torch.float64 and out.sum() == 3 * 8


def test_sinc_is_1_and_flat_at_0():
    x = torch.tensor([0.0, 1e-25, 0.5, 1.0, -2.5], dtype=torch.float64, requires_grad=True)
    np.testing.assert_allclose(sinc(x).detach(), np.sinc(x.detach()), atol=1e-15)
    assert torch.autograd.grad(sinc(x).sum(), x)[0][:2].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("high_pass", [False, True])
def test_sinc_filters_pass_one_side_of_the_cutoff(high_pass):
    cutoff = torch.full((1, 1, 1), 2000.0, dtype=torch.float64)
    response = sinc_impulse_response(cutoff, window_size=256, sample_rate=16000, high_pass=high_pass)
    gain = torch.fft.rfft(response[0, 0], 16000).abs()  # one bin per Hz
    below, above = (gain[2200:], gain[:1800]) if high_pass else (gain[:1800], gain[2200:])
    assert (below - 1).abs().max() < 4e-3 and above.max() < 4e-3  # ripple of a Hamming window
    assert cutoff.item() == 2000.0


def test_sinc_filter_is_the_convolution_with_its_response():
    audio, cutoff = torch.randn(2, 240), torch.rand(2, 3, 1) * 8000
    expected = fft_convolve(audio, sinc_impulse_response(cutoff, 33, 16000, True), padding="valid")
    torch.testing.assert_close(sinc_filter(audio, cutoff, 33, 16000, "valid", True), expected)
