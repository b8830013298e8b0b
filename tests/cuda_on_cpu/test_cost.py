"""What NVRTC makes of the kernels, for every architecture: no warning, no spill; registers; instructions of the loops.

An instruction is an issue slot: the figure that bounds these kernels on a GPU, gated so that it cannot creep up.
"""

import os
import re
from concurrent.futures import Future, ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context

import pytest

from fastddsp.kernels.cuda import launch
from tests.cuda_on_cpu import nvrtc, sass

pytestmark = pytest.mark.needs_nvrtc

FILES = ("harmonic.cu", "fir.cu", "partials.cu", "oscillator_bank.cu", "wavetable.cu", "delay.cu")
# Registers of a thread, float32 and float64, on any architecture: 65536 / (128 * 168) are three blocks at a time,
# 65536 / (32 * 200) ten of the backward's usual 32 threads. The filters': four blocks, two in float64.
REGISTERS = {
    "harmonic_bank": (168, 168),
    "harmonic_gradients": (200, 240),
    "harmonic_analysis": (160, 184),
    "harmonic_moments": (152, 176),
    "phase_gradient": (64, 64),
    "segment_advances": (72, 72),
    "fir_forward": (128, 192),
    "fir_backward": (104, 136),
    "sum_parts": (48, 56),
    "partial_phases": (64, 64),
    "partials_bank": (152, 160),
    "partials_gradients": (96, 144),
    "partials_analysis": (88, 88),
    "partials_moments": (88, 104),
    "partials_frames": (64, 64),
    "oscillator_bank": (64, 64),
    "oscillator_sum": (40, 64),
    "oscillator_gradients": (80, 104),
    "wavetable_read": (112, 112),
    "wavetable_gradients": (160, 168),
    "wavetable_finish": (64, 64),
    "delay_read": (24, 32),
    "delay_write": (48, 48),
}


@lru_cache
def processes() -> ProcessPoolExecutor:
    """NVRTC compiles one source at a time in a process, so it gets as many as there are processors."""
    return ProcessPoolExecutor(os.cpu_count(), get_context("spawn"))


@pytest.fixture(scope="module", autouse=True)
def _processes_end():
    yield
    if processes.cache_info().currsize:
        processes().shutdown()
        processes.cache_clear()
        compiling.cache_clear()


@lru_cache
def compiling(file: str, architecture: str, float64: bool) -> Future:
    options = (*launch.options(float64), *nvrtc.CUPY_OPTIONS, "-lineinfo", *nvrtc.STRICT)
    return processes().submit(nvrtc.compile_cuda, launch.source(file), architecture, options, name=file)


def registers(log: str) -> dict[str, int]:
    """Kernel -> registers of a thread, from ptxas' log."""
    return {
        kernel: int(count) for kernel, count in re.findall(r"entry function '(\w+)'.*?Used (\d+) registers", log, re.S)
    }


@pytest.mark.parametrize("float64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("file", FILES)
def test_no_warning_no_spill_no_local_memory(file, float64, record_property):
    images = {architecture: compiling(file, architecture, float64) for architecture in nvrtc.ARCHITECTURES}
    for architecture, image in images.items():
        _, log = image.result()
        used = registers(log)
        record_property(f"registers, {file}, sm_{architecture}", used)
        assert "warning" not in log
        assert not re.search(r"[1-9]\d* bytes (stack frame|spill|lmem)", log)
        assert used.keys() <= REGISTERS.keys()
        allowed = {kernel: nvrtc.slack() * REGISTERS[kernel][float64] for kernel in used}
        assert {kernel: count for kernel, count in used.items() if count > allowed[kernel]} == {}, architecture


BLOCK = 13  # harmonics of a block
SAMPLES = 4  # of a thread, forward


@pytest.mark.needs_nvdisasm
@pytest.mark.parametrize(
    ("kernel", "holds", "units", "slots", "arithmetic"),
    [
        # 2 multiply-adds a harmonic-sample, 8 a block and sample: 32 / 13; amplitudes from shared memory besides
        ("harmonic_bank", "p0[l] = fused(a.p0", BLOCK * SAMPLES, 2.8, 2.47),
        # 4 multiply-adds, 1 for the recurrence, and a sine and cosine a block
        ("harmonic_gradients", "even0 = fused(a.p0[j]", BLOCK, 8.8, 6.8),
        ("harmonic_analysis", "a.c0[j] = fused(gs0", BLOCK, 6.3, 4.3),
        ("harmonic_moments", "even0 = fused(a.p0[j]", BLOCK, 6.8, 4.8),
    ],
)
def test_issue_slots_of_a_harmonic_sample(kernel, holds, units, slots, arithmetic, record_property):
    header = "harmonic_bank.cuh" if kernel == "harmonic_bank" else "harmonic_gradients.cuh"
    loop = loop_of(kernel, "harmonic.cu", holds, header)
    record_property(f"issue slots, {kernel}", loop.instructions / units)
    record_property(f"instructions, {kernel}", dict(loop.kinds))
    assert loop.instructions / units <= nvrtc.slack() * slots
    assert loop.kinds["float32"] / units <= nvrtc.slack() * arithmetic


TERMS = 8 * 9  # of the 9 sums of a thread, that a turn of the loop adds


@pytest.mark.needs_nvdisasm
@pytest.mark.parametrize(
    ("kernel", "n_loops", "slots"),
    [
        ("fir_forward", 2, 1.6),  # of a frame's own filter and of the next frame's: 16 + 8 loads; frames change
        ("fir_backward", 3, 1.45),  # of the audio, by two filters, and of taps: 16 + 8 loads
    ],
)
def test_issue_slots_of_a_multiply_add_of_the_filters(kernel, n_loops, slots, record_property):
    instructions, labels = sass.functions(compiling("fir.cu", "90", False).result()[0])[kernel]
    loops = [loop for loop in sass.innermost_loops(instructions, labels) if loop.kinds["float32"] == TERMS]
    record_property(f"issue slots, {kernel}", [loop.instructions / TERMS for loop in loops])
    assert len(loops) == n_loops
    assert all(loop.instructions / TERMS <= nvrtc.slack() * slots for loop in loops)
    assert all(loop.kinds["shared"] <= 25 for loop in loops)


@pytest.mark.needs_nvdisasm
@pytest.mark.parametrize(
    ("kernel", "holds", "units", "slots", "arithmetic"),
    [
        # The loop holds two versions, with and without a mask. A sample: 11 for a sine, 2 frames, 2 for the phase; the
        # first phase and two steps take 12 a partial.
        ("partials_bank", "sin_cos_ahead(phase, sine, cosine);", 2 * SAMPLES, 22, 9.5),
        # Unrolled twice: 4 for the phase in 64 bits, 17 for sine and cosine, 2 and 6 products, 4 for a sample's data
        ("partials_gradients", "sin_cos_ahead(upper(phase), sine, cosine);", 2, 36, 21),
        ("partials_analysis", "sin_cos_ahead(upper(phase), sine, cosine);", 2, 22, 9),
        ("partials_moments", "sin_cos_ahead(upper(phase), sine, cosine);", 2, 28, 14),
    ],
)
def test_issue_slots_of_a_partial_sample(kernel, holds, units, slots, arithmetic, record_property):
    loop = loop_of(kernel, "partials.cu", holds)
    record_property(f"issue slots, {kernel}", loop.instructions / units)
    assert loop.instructions / units <= nvrtc.slack() * slots
    assert loop.kinds["float32"] / units <= nvrtc.slack() * arithmetic


def loop_of(kernel: str, file: str, holds: str, header: str = "") -> sass.Loop:
    """The innermost loop that holds a line of the source, or of its header."""
    instructions, labels = sass.functions(compiling(file, "90", False).result()[0])[kernel]
    place = header or file
    lines = (launch.HERE / place).read_text("utf-8").splitlines()
    (at,) = [number for number, text in enumerate(lines, 1) if holds in text]
    (loop,) = [x for x in sass.innermost_loops(instructions, labels) if (place, at) in x.places]
    return loop
