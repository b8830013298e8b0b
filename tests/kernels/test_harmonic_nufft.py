"""The harmonic bank by non-uniform FFT against its float64 specification, and when it is chosen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastddsp.kernels.cpu import harmonic_nufft
from fastddsp.kernels.cpu.banks import bank
from fastddsp.kernels.cpu.harmonic import Bank
from fastddsp.kernels.cpu.harmonic_nufft import NufftBank, least_harmonics
from fastddsp.kernels.nufft import alias_bound, kernel_spectrum, table_plan
from fastddsp.kernels.phase import METHODS, Timeline
from fastddsp.kernels.reference import harmonic as reference
from tests.kernels.test_harmonic import draw_f0, tolerance

FREQUENCIES = st.sampled_from(
    ["voice", "along Nyquist", "silent", "across Nyquist", "above Nyquist", "tiny", "leaps", "negative"]
)


@pytest.fixture(autouse=True)
def tables_for_any_number_of_harmonics(monkeypatch):
    """So that small problems test them."""
    monkeypatch.setattr(harmonic_nufft, "least_harmonics", lambda n_harmonics, hop: 1)


def f0_of(kind: str, rng, n_frames: int, sample_rate: float, n_harmonics: int) -> np.ndarray:
    """`along Nyquist`: the highest harmonics cross it all the time, and f0 stays within the margin of the tables."""
    if kind == "along Nyquist":
        return (sample_rate / 2 / n_harmonics * (1 + 0.02 * rng.random(n_frames))).astype(np.float32)
    return draw_f0(kind, rng, n_frames, sample_rate, n_harmonics)


def controls(kind: str, n_harmonics: int, n_frames: int, n_samples: int, sample_rate: float = 48000.0, seed: int = 0):
    """f0, amplitudes, a cotangent and initial phases for two items."""
    rng = np.random.default_rng(seed)
    f0 = np.stack([f0_of(kind, rng, n_frames, sample_rate, n_harmonics) for _ in range(2)])
    amplitudes = rng.standard_normal((2, n_frames, n_harmonics)).astype(np.float32) / n_harmonics
    return f0, amplitudes, rng.standard_normal((2, n_samples)).astype(np.float32), rng.uniform(-9, 9, 2)


def results(algorithm, f0, amplitudes, g, initial_phase, timeline, method, quarter_turns=0, n_threads=1):
    """Audio, gradients of amplitudes, f0 and initial phase, and the final phase, at 48 kHz."""
    one = algorithm(f0, initial_phase, timeline, 48000.0, 24000.0, method, quarter_turns, n_threads)
    audio, d_amplitudes = np.full_like(g, np.nan), np.full_like(amplitudes, np.nan)
    d_f0, d_initial = np.full_like(f0, np.nan), np.full(len(f0), np.nan)
    one.render(amplitudes, audio)
    one.analyse(g, d_amplitudes)
    one.phase_gradient(g, amplitudes, np.zeros(len(f0)), d_f0, d_initial)
    return audio, d_amplitudes, d_f0, d_initial, one.final_phase


def bound(amplitudes, n_harmonics: int, n_samples: int) -> float:
    """The direct kernel's tolerance, in which rounding here is small (a few eps times 4), and the kernel's images.

    Twice, since cubic weights add up to 1.5 in absolute value.
    """
    total = np.abs(amplitudes).sum(-1).max()
    return 2 * (tolerance(np.float32, amplitudes, n_harmonics, n_samples) + alias_bound() * total)


@st.composite
def problems(draw):
    """Shapes odd and prime on purpose; tables of four cells and of hundreds, one sample a frame, blocks of a run."""
    n_frames = draw(st.sampled_from([1, 2, 3, 7]))
    n_samples = draw(st.sampled_from([1, 5, n_frames, 97, 131 * n_frames, 192 * n_frames]))
    n_harmonics = draw(st.sampled_from([1, 2, 3, 17, 101, 256, 511]))
    first_frame, n_intervals = draw(
        st.sampled_from([(0, n_frames), (1, max(1, n_frames - 2)), (0, max(1, n_frames - 1)), (n_frames - 1, 2)])
    )
    kind, seed = draw(FREQUENCIES), draw(st.integers(0, 2**32 - 1))
    timeline, method = Timeline(n_samples, n_intervals, first_frame), draw(st.sampled_from(METHODS))
    return *controls(kind, n_harmonics, n_frames, n_samples, seed=seed), timeline, method


@settings(max_examples=80, deadline=None)
@given(problem=problems(), quarter_turns=st.integers(0, 3))
def test_kernels_equal_their_specification(problem, quarter_turns):
    f0, amplitudes, g, initial, timeline, method = problem
    n_harmonics, n_samples = amplitudes.shape[2], timeline.n_samples
    audio, d_amplitudes, d_f0, d_initial, _ = results(
        NufftBank, f0, amplitudes, g, initial, timeline, method, quarter_turns
    )
    for b in range(2):
        f, a, cotangent = f0[b].astype(float), amplitudes[b].astype(float), g[b].astype(float)
        args, psi = (timeline, 48000.0, method, initial[b]), quarter_turns * np.pi / 2
        total = np.abs(cotangent).sum()
        expected = reference.bank(f, a, *args, psi)
        np.testing.assert_allclose(audio[b], expected, rtol=0, atol=bound(a, n_harmonics, n_samples))
        expected = reference.analysis(cotangent, f, n_harmonics, *args, psi)
        unit = bound(np.ones(1), n_harmonics, n_samples)
        np.testing.assert_allclose(d_amplitudes[b], expected, rtol=0, atol=unit * total)
        if quarter_turns == 0:
            expected_f0, expected_initial = reference.phase_gradient(cotangent, f, a, *args)
            atol = bound(a * np.arange(1, n_harmonics + 1), n_harmonics, n_samples) * total
            np.testing.assert_allclose(d_initial[b], expected_initial, rtol=1e-9, atol=atol)
            scale = 2 * np.pi / 48000 * n_samples
            np.testing.assert_allclose(d_f0[b], expected_f0, rtol=1e-6, atol=atol * scale)


@pytest.mark.parametrize("n_harmonics", [1, 64, 250, 1000, 4000])
def test_the_highest_harmonic_is_off_by_no_more_than_its_images(n_harmonics):
    """The kernel is worst at N / 1.75. Rounding: 4 eps at most for each of the transform's 13 levels at most."""
    f0, amplitudes, g, initial = controls("voice", n_harmonics, 2, 1920)
    amplitudes[:] = 0
    amplitudes[:, :, -1] = 1
    timeline = Timeline(1920, 1)
    audio = results(NufftBank, f0, amplitudes, g, initial, timeline, "linear")[0]
    expected = reference.bank(f0[0].astype(float), amplitudes[0].astype(float), timeline, 48000.0, "linear", initial[0])
    phase = 2 * np.pi * 2.0**-33 * n_harmonics
    assert np.abs(audio[0] - expected).max() < alias_bound() + 4 * 13 * np.finfo(np.float32).eps + phase


def test_the_kernels_images_are_at_float32s_level():
    assert alias_bound() < 1.1e-6
    n_cells, factors = table_plan(1000)
    assert n_cells >= 1750
    np.testing.assert_allclose(factors, 0.5 / kernel_spectrum(np.arange(1, 1001) / (2 * n_cells)), rtol=1e-6)


def test_it_is_more_exact_than_the_direct_kernel():
    """No recurrence: its rounding is the transform's."""
    timeline = Timeline(5 * 480, 5)
    problem = controls("voice", 500, 5, timeline.n_samples)
    f0, amplitudes, _, initial = problem
    expected = reference.bank(f0[0].astype(float), amplitudes[0].astype(float), timeline, 48000.0, "window", initial[0])
    nufft, direct = (results(algorithm, *problem, timeline, "window")[0][0] for algorithm in (NufftBank, Bank))
    assert np.abs(nufft - expected).max() < np.abs(direct - expected).max()


@pytest.mark.parametrize("kind", ["voice", "along Nyquist"])
def test_tables_serve_also_where_the_highest_harmonics_cross_nyquist(kind):
    """Bits tell who computed."""
    timeline = Timeline(4 * 192, 4)
    problem = controls(kind, 300, 4, timeline.n_samples)
    nufft, direct = (results(algorithm, *problem, timeline, "linear")[0] for algorithm in (NufftBank, Bank))
    intervals = (nufft != direct).reshape(2, 4, 192)
    assert intervals.any(-1).all()


def test_where_f0_leaps_across_nyquist_the_direct_kernel_serves():
    timeline = Timeline(6 * 192, 6)
    f0, *rest = controls("voice", 300, 6, timeline.n_samples)
    f0[:, 3] *= 2
    nufft, direct = (results(algorithm, f0, *rest, timeline, "linear")[0] for algorithm in (NufftBank, Bank))
    by_table = (nufft != direct).reshape(2, 6, 192).any(-1)
    assert by_table.tolist() == [[True, True, False, False, True, True]] * 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["voice", "along Nyquist", "across Nyquist"])
def test_any_number_of_threads_gives_the_same_bits(kind, method):
    timeline = Timeline(150 * 16, 150)
    problem = controls(kind, 60, 150, timeline.n_samples)
    one, many = (results(NufftBank, *problem, timeline, method, 0, n_threads) for n_threads in (1, 5))
    assert all(np.array_equal(x, y) for x, y in zip(one, many, strict=True))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["voice", "along Nyquist", "across Nyquist"])
@pytest.mark.parametrize("n_intervals", [1, 7, 61])
def test_blocks_are_the_whole_bit_for_bit(kind, method, n_intervals):
    hop, n_frames = 64, 130
    f0, amplitudes, g, phase = controls(kind, 90, n_frames, hop * n_frames)
    whole = results(NufftBank, f0, amplitudes, g, phase, Timeline(hop * n_frames, n_frames), method)
    before, after = (1, 2) if method == "cubic" else (0, 1)
    for start in range(0, n_frames, n_intervals):
        count = min(n_intervals, n_frames - start)
        around = slice(max(0, start - before), min(n_frames, start + count + after))
        timeline = Timeline(hop * count, count, start - around.start)
        samples = slice(hop * start, hop * (start + count))
        arrays = f0[:, around].copy(), amplitudes[:, around].copy(), g[:, samples].copy()
        block = results(NufftBank, *arrays, phase, timeline, method)
        assert np.array_equal(block[0], whole[0][:, samples])
        phase = block[-1]
    assert np.array_equal(phase, whole[-1])


def test_what_is_not_a_number_stays_where_it_is():
    timeline = Timeline(9 * 32, 9)
    f0, amplitudes, g, initial = controls("voice", 40, 9, timeline.n_samples)
    clean = results(NufftBank, f0, amplitudes, g, initial, timeline, "window")[0]
    f0[0, 4] = np.nan
    audio = results(NufftBank, f0, amplitudes, g, initial, timeline, "window")[0]
    assert np.isnan(audio[0, 96:160]).all()
    assert np.array_equal(audio[0, :96], clean[0, :96])
    assert np.isfinite(audio[0, 160:]).all()
    assert np.array_equal(audio[1], clean[1])


def test_the_choice_depends_on_harmonics_hop_and_precision_alone():
    def chosen(n_harmonics, hop, n_intervals=4, batch=1, dtype=np.float32):
        timeline = Timeline(hop * n_intervals, n_intervals)
        f0 = np.full((batch, n_intervals), 20, dtype)
        return type(bank(n_harmonics, f0, np.zeros(batch), timeline, 48000.0, 24000.0, "window"))

    assert chosen(1000, 960) is chosen(1000, 960, 1) is chosen(1000, 960, 200, 3) is NufftBank
    assert chosen(1000, 192) is NufftBank
    assert chosen(100, 64) is chosen(100, 960) is chosen(1000, 64) is Bank
    assert chosen(1000, 960, dtype=np.float64) is Bank


def test_more_cells_ask_for_more_audible_harmonics_and_longer_hops_for_fewer():
    assert least_harmonics(1000, 192) < least_harmonics(4000, 192)
    assert least_harmonics(1000, 960) < least_harmonics(1000, 192)
