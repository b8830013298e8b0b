"""Spectra, levels and features: the golden values, closed forms, silence, errors."""

import math

import numpy as np
import pytest
import torch

from fastddsp.autograd import spectral
from tests.golden import load
from tests.golden.compare import assert_close, check

CASES = [case for case in load("spectral.npz") if case.function != "spectral_ops.get_framed_lengths"]
# d log|z| is 1 / |z|: it magnifies the rounding of small bins. The reference's gradients of these features and ours are
# both up to 2.4e-5 of the maximum away from those in double precision.
LOGARITHMIC = {"compute_logmag", "compute_logmel", "compute_mfcc", "compute_loudness"}
FEATURES = [
    lambda x: spectral.compute_mag(x, 64),
    lambda x: spectral.compute_logmag(x, 64),
    lambda x: spectral.compute_mel(x, bins=8, fft_size=64),
    lambda x: spectral.compute_logmel(x, bins=8, fft_size=64),
    lambda x: spectral.compute_mfcc(x, fft_size=64, mel_bins=8, mfcc_bins=5),
    lambda x: spectral.compute_rms_energy(x, frame_size=64),
    lambda x: spectral.compute_power(x, frame_size=64),
    lambda x: spectral.compute_loudness(x, n_fft=64),
]


def port_of(case):
    """Name of a case's function, and ours: without the switch to NumPy, complex results as pairs of reals."""
    name = case.function.removeprefix("spectral_ops.").split()[0]

    def port(*inputs, use_tf=True, **args):
        out = getattr(spectral, name)(*inputs, **args)
        return (out.real, out.imag) if out.is_complex() else out

    return name, port


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_those_of_magenta(case):
    name, port = port_of(case)
    check(case, port, grad_rtol=1e-4 if name in LOGARITHMIC else None)


@pytest.mark.golden
def test_framed_lengths_are_those_of_magenta():
    (case,) = load("spectral.npz", "spectral_ops.get_framed_lengths")
    lengths = [spectral.get_framed_lengths(*arguments) for *arguments, _, _ in case.args["table"]]
    assert_close(np.array(lengths), case.out["out"], rtol=0, case=case)


@pytest.mark.parametrize("case", [case for case in CASES if "mel_matrix" in case.var], ids=str)
def test_mel_bands_are_those_of_magenta(case):
    expected = case.var["mel_matrix"]
    args = {"sample_rate": 16000, "lo_hz": 0.0, "hi_hz": 8000.0} | case.args
    limits = {name: args[name] for name in ("bins", "sample_rate", "lo_hz", "hi_hz")}
    # Slopes of up to 1 / (40 mel) on mel values near 3000, which float32 rounds by 1.2e-4.
    np.testing.assert_allclose(spectral.mel_matrix(len(expected), **limits), expected, atol=1e-5)


def test_a_weighting_is_that_of_magenta_and_1_at_1_khz():
    for case in CASES:
        if "weighting_f64" in case.var:
            expected = case.var["weighting_f64"].ravel()
            hz = torch.linspace(0, 8000, len(expected), dtype=torch.float64)
            np.testing.assert_allclose(spectral.a_weighting(hz), expected, rtol=1e-11)
    # IEC 61672-1, table 3: frequencies are 10^(n / 10) Hz (nominally 31.5 Hz to 16 kHz), values rounded to 0.1 dB.
    table = {15: -39.4, 20: -19.1, 30: 0.0, 34: 1.3, 39: -1.1, 42: -6.6}
    hz = 10 ** (torch.tensor(list(table), dtype=torch.float64) / 10)
    np.testing.assert_allclose(10 * torch.log10(spectral.a_weighting(hz)), list(table.values()), atol=0.05)


def test_stft_of_a_sinusoid_is_the_window_s_spectrum_at_its_bin():
    n = torch.arange(1024, dtype=torch.float64)
    audio = torch.cos(2 * math.pi * 10 / 64 * n)[None]  # bin 10 of 64
    mag = spectral.compute_mag(audio, size=64, overlap=0.5, pad_end=False)
    # A Hann window has the spectrum N/4, N/2, N/4 around its center, halved for each of a cosine's two sides.
    expected = torch.zeros(33, dtype=torch.float64)
    expected[9:12] = torch.tensor([8.0, 16.0, 8.0])
    torch.testing.assert_close(mag[0], expected.expand(31, 33), rtol=0, atol=1e-12)


def test_levels_of_a_full_scale_sinusoid():
    n = torch.arange(16000, dtype=torch.float64)
    audio = torch.sin(2 * math.pi * 1000 / 16000 * n)
    inner = slice(10, -10)  # frames without padding
    assert spectral.compute_rms_energy(audio)[inner].sub(math.sqrt(0.5)).abs().max() < 1e-12
    assert spectral.compute_power(audio)[inner].sub(-10 * math.log10(2)).abs().max() < 1e-11


@pytest.mark.parametrize("feature", FEATURES)
def test_exact_silence_has_finite_values_and_no_gradient(feature):
    audio = torch.zeros(2, 300, requires_grad=True)
    out = feature(audio)
    (grad,) = torch.autograd.grad(out.sum(), audio)
    assert torch.isfinite(out).all() and not grad.any()


@pytest.mark.parametrize("feature", FEATURES)
def test_silence_next_to_sound_leaves_gradients_finite(feature):
    audio = torch.cat([torch.zeros(1, 300), 0.1 * torch.randn(1, 100), torch.zeros(1, 300)], dim=1).requires_grad_()
    assert torch.isfinite(torch.autograd.grad(feature(audio).sum(), audio)[0]).all()


@pytest.mark.parametrize("feature", FEATURES)
def test_first_derivatives_are_right_in_double_precision(feature):
    audio = torch.randn(1, 100, dtype=torch.float64, requires_grad=True)
    assert feature(audio).dtype == torch.float64
    assert torch.autograd.gradcheck(feature, audio, fast_mode=True)


@pytest.mark.parametrize("feature", FEATURES)
def test_one_signal_without_a_batch_is_the_row_of_a_batch_and_an_empty_batch_stays_empty(feature):
    audio = torch.randn(2, 200)
    torch.testing.assert_close(feature(audio[1]), feature(audio)[1])
    assert feature(audio[:0]).shape == (0, *feature(audio).shape[1:])


@pytest.mark.parametrize("n_samples", [1, 63, 64, 65, 100])
def test_padding_same_gives_a_frame_for_every_hop_and_center_one_more(n_samples):
    audio = torch.randn(2, n_samples)
    hops = -(-n_samples // 64)
    assert spectral.compute_power(audio, padding="same").shape == (2, hops)
    assert spectral.compute_power(audio, padding="center").shape == (2, n_samples // 64 + 1)
    assert spectral.stft(audio, frame_size=256).shape == (2, hops, 129)


def test_loudness_keeps_its_hop_for_frame_sizes_that_are_no_power_of_two():
    # magenta goes by the overlap 1 - 100 / 1000 back to int(1000 * (1 - 0.9)) = 99 samples.
    audio = torch.randn(1, 10_000)
    assert spectral.compute_loudness(audio, sample_rate=10_000, frame_rate=100, n_fft=1000).shape == (1, 101)


def test_features_that_are_a_few_frames_off_are_brought_to_length():
    vector = torch.arange(6.0).view(2, 3)
    assert spectral.pad_or_trim_to_expected_length(vector, 4, pad_value=-1.0).tolist() == [[0, 1, 2, -1], [3, 4, 5, -1]]
    assert spectral.pad_or_trim_to_expected_length(vector[0], 2).tolist() == [0, 1]
    with pytest.raises(ValueError, match="vector must have 40 frames, give or take 20, got 3"):
        spectral.pad_or_trim_to_expected_length(vector, 40)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: spectral.stft(x[None, None]), r"audio must be \[batch, samples\].*, got \[1, 1, 1, 100\]"),
        (lambda x: spectral.stft(x, 64, overlap=1.0), "overlap must leave a hop of at least one sample of 64, got 1.0"),
        (lambda x: spectral.stft(x, 128, pad_end=False), "at least one frame of 128 samples, got 100 samples"),
        (lambda x: spectral.compute_power(x, padding="reflect"), "padding must be one of .*, got 'reflect'"),
        (
            lambda x: spectral.compute_power(x, frame_rate=10),
            "hop_size must be at most the frame_size of 512, got 1600",
        ),
        (lambda x: spectral.get_framed_lengths(100, 10, 5, "full"), "padding must be one of"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(1, 100))
