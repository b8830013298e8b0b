"""The CUDA kernels' phases, limits and envelopes are the CPU's: all bits of them."""

import itertools
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastddsp.kernels.cpu.intervals import BASE, BEND, PHASE, START, audible_of, survey
from fastddsp.kernels.cpu.phase import frame_of
from fastddsp.kernels.cuda import launch
from tests.cuda_on_cpu.conftest import BUILDS

PROBE = (Path(__file__).parent / "phase_probe.cu").read_text("utf-8")


@st.composite
def sweeps(draw):
    """f0 of any kind, a timeline, an initial phase of any number of turns."""
    n_frames, n_samples = draw(st.integers(1, 9)), draw(st.integers(1, 300))
    n_intervals, first_frame = draw(st.integers(1, 12)), draw(st.integers(-3, 3))
    size = draw(st.sampled_from([2.0**-13, 512.0, 2.0**17]))
    values = st.floats(-size, size, width=32) | st.sampled_from([np.inf, -np.inf, np.nan, 0.0])
    f0 = np.array([draw(values) for _ in range(n_frames)])
    initial = draw(st.floats(-1e6, 1e6) | st.sampled_from([np.nan, np.inf, 0.0]))
    sample_rate = draw(st.sampled_from([16000.0, 44100.0, 1.0, 12345.678]))
    return f0, initial, n_samples, n_intervals, first_frame, sample_rate


def of_the_cpu(f0, initial, n_samples, n_intervals, first_frame, sample_rate, nyquist, n_harmonics):
    """Phases before all intervals, phases of all samples, harmonics that are audible throughout and somewhere."""
    timeline = n_samples, n_intervals, first_frame, sample_rate, nyquist
    rows = survey(f0[None], np.array([initial]), *timeline)[0][0]
    samples = np.zeros(n_samples, np.int64)
    for row, after in itertools.pairwise(rows):
        m = np.arange(after[START] - row[START])
        samples[row[START] : after[START]] = row[PHASE] + (m + 1) * row[BASE] + (m * (m + 1) // 2) * row[BEND]
    return rows[:-1, PHASE], samples, np.array([audible_of(row, n_harmonics) for row in rows[:-1]])


@lru_cache
def probe(build, float64):
    text = launch.source("phase.cuh") + "\n" + PROBE
    return BUILDS[build](text, "phase_probe.cu", launch.options(float64), False).get_function("phases")


@pytest.mark.parametrize("build", ["CUDA C", pytest.param("PTX sm_90", marks=pytest.mark.needs_nvrtc)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.needs_compiler
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sweep=sweeps())
def test_phases_are_the_cpus_bit_for_bit(build, dtype, sweep):
    f0, initial, n_samples, n_intervals, first_frame, sample_rate = sweep
    f0, nyquist, n_harmonics = f0.astype(dtype), sample_rate / 2, 50
    float64 = dtype == np.float64
    kernel = probe(build, float64)
    before, samples = np.zeros(n_intervals, np.uint64), np.zeros(n_samples, np.uint64)
    plain, audible = np.zeros((2, n_intervals), np.int32)
    hop = n_samples // n_intervals
    whole = [np.int64(n) for n in (n_samples, n_intervals, hop, first_frame, len(f0), 1024)]
    slope_scale = np.float64(n_samples / n_intervals * sample_rate)
    args = (
        f0,
        np.array([initial]),
        None,
        before,
        samples,
        plain,
        audible,
        *whole,
        np.float64(sample_rate),
        slope_scale,
    )
    kernel((n_intervals,), (64,), (*args, np.float64(nyquist), np.int32(n_harmonics)))
    with np.errstate(over="ignore"):
        before_cpu, samples_cpu, audible_cpu = of_the_cpu(f0, *sweep[1:], nyquist, n_harmonics)
    np.testing.assert_array_equal(before.view(np.int64), before_cpu)
    if not float64:  # 32 bits of them, rounded as kernels/cpu/intervals.py's fill_phases rounds
        samples_cpu = (samples_cpu + 2**31) >> 32
    np.testing.assert_array_equal(samples.view(np.int64), samples_cpu)
    finite = ~np.isnan([f0[frame_of(first_frame + k, len(f0))] for k in range(n_intervals + 1)])
    known = finite[:-1] & finite[1:]  # where f0 is NaN so is the audio, whatever is computed
    np.testing.assert_array_equal(np.stack([plain, audible], 1)[known], audible_cpu[known])
