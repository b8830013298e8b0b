"""The executor itself: right kernels run clean, wrong ones are found, in CUDA C and in NVRTC's PTX."""

from pathlib import Path

import numpy as np
import pytest

from tests.cuda_on_cpu import nvrtc
from tests.cuda_on_cpu.executor import KernelError, Module, compiler_missing
from tests.cuda_on_cpu.ptx import PtxModule

pytestmark = pytest.mark.skipif(compiler_missing() is not None, reason=str(compiler_missing()))
needs_nvrtc = pytest.mark.skipif(nvrtc.library() is None, reason="nvidia-cuda-nvrtc is not installed")

SIGNATURE = 'extern "C" __global__ void t(float* o, const float* x, int* w)'
TWICE = "o[blockIdx.x * 64 + threadIdx.x] ="
STORE = "__shared__ float s[64]; s[threadIdx.x] = x[threadIdx.x];"


def from_c(source: str, check: bool = True) -> Module:
    return Module(source, check=check)


def from_ptx(source: str, check: bool = True) -> PtxModule:
    return PtxModule(nvrtc.ptx(source, "80"), check=check)


executors = pytest.mark.parametrize("build", [from_c, pytest.param(from_ptx, marks=needs_nvrtc)])


def run(build, body: str, **settings) -> np.ndarray:
    """Two blocks of 64 threads; a NaN marks what they left."""
    out, x = np.full(129, np.nan, np.float32), np.random.default_rng(0).standard_normal(64).astype(np.float32)
    kernel = build(f"{SIGNATURE} {{ {body} }}").get_function("t")
    kernel((2,), (64,), (out, x, np.zeros(1, np.int32)), **settings)
    return out


@executors
@pytest.mark.parametrize(
    "body",
    [
        STORE + "__syncwarp();" + TWICE + "s[threadIdx.x ^ 1];",
        STORE + "__syncthreads();" + TWICE + "s[threadIdx.x ^ 32];",
        f"if (threadIdx.x > 40) return; {TWICE} 1;",
        "float v = x[threadIdx.x]; if ((threadIdx.x & 31) < 16) v += __shfl_xor_sync(0xffffu, v, 1);" + TWICE + "v;",
        "atomicAdd(o + (threadIdx.x & 3), x[threadIdx.x]);",
        "float v[16]; for (int i = 0; i < 16; i++) v[i] = x[(i + threadIdx.x) & 63];" + TWICE + "v[threadIdx.x & 15];",
    ],
)
def test_right_kernels_run_clean(build, body):
    run(build, body)


@executors
@pytest.mark.parametrize(
    ("finding", "body"),
    [
        ("RACE", STORE + TWICE + "s[threadIdx.x ^ 1];"),
        ("RACE", STORE + "__syncwarp();" + TWICE + "s[threadIdx.x ^ 32];"),
        ("RACE", "atomicAdd(o, x[threadIdx.x]); o[1 + blockIdx.x * 64 + threadIdx.x] = o[0];"),
        ("RACE", "o[threadIdx.x] = x[threadIdx.x];"),  # both blocks
        ("DIVERGENT|EARLY-EXIT", f"if (x[threadIdx.x] > 0) {{ {STORE} __syncthreads(); }} {TWICE} 1;"),
        ("EARLY-EXIT", f"if (threadIdx.x >= 32) return; {STORE} __syncthreads(); {TWICE} s[31 - threadIdx.x];"),
        ("EARLY-EXIT|DIVERGENT", "float v = x[threadIdx.x]; if ((threadIdx.x & 31) < 16)"
         "v += __shfl_xor_sync(0xffffffffu, v, 1);" + TWICE + "v;"),
        ("SHFL-INACTIVE", "float v = x[threadIdx.x]; if ((threadIdx.x & 31) < 16)"
         "v += __shfl_xor_sync(0xffffu, v, 16);" + TWICE + "v;"),
        ("MISALIGNED", "float4 v = *(const float4*)(x + 1 + 4 * (threadIdx.x & 7));" + TWICE + "v.x + v.w;"),
        ("OUT-OF-BOUNDS", f"if (w) {TWICE} x[threadIdx.x + 1];"),
        ("OUT-OF-BOUNDS", "o[0] = ((int*)8)[threadIdx.x];"),
        ("UNINITIALISED", "__shared__ float s[64]; if (threadIdx.x) s[threadIdx.x] = 1; __syncthreads();"
         + TWICE + "s[threadIdx.x];"),
    ],
)  # fmt: skip
def test_wrong_kernels_are_found(build, finding, body):
    with pytest.raises(KernelError, match=finding):
        run(build, body)


@executors
def test_outputs_that_are_not_written_are_found(build):
    with pytest.raises(KernelError, match="NOT-WRITTEN output argument 0: 1 of 129 words, first at offset 512"):
        run(build, TWICE + "1;", outputs=(0,))


@executors
def test_findings_name_the_line_of_the_source(build):
    with pytest.raises(KernelError, match=r"kernel\.cu:3"):
        run(build, "\nfloat v = x[threadIdx.x];\no[blockIdx.x * 64 + threadIdx.x] = v + x[threadIdx.x + 1];")


def test_deadlock_is_found():
    body = "if (threadIdx.x == 32) __syncwarp(3u); else __syncthreads();"  # thread 33 waits elsewhere
    with pytest.raises(KernelError, match="DEADLOCK"):
        run(from_c, body + TWICE + "1;")


def test_overflow_of_signed_numbers_is_found():
    with pytest.raises(KernelError, match=r"UB signed \*"):
        run(from_c, "int i = (int)threadIdx.x * 0x10000000; " + TWICE + "i > 5;")


@pytest.mark.parametrize(
    ("message", "grid", "args"),
    [
        ("takes 2 arguments, got 1", (1,), (np.zeros(4, np.float32),)),
        ("argument 1 must be int32, got float", (1,), (np.zeros(4, np.float32), 1.0)),
        ("argument 1 must be int32, got int64", (1,), (np.zeros(4, np.float32), np.int64(1))),
        ("argument 0 is not contiguous", (1,), (np.zeros(8, np.float32)[::2], np.int32(1))),
        ("empty launch", (0, 2), (np.zeros(4, np.float32), np.int32(1))),
    ],
)
def test_launches_that_go_wrong_on_a_gpu_are_refused(message, grid, args):
    kernel = Module('extern "C" __global__ void t(float* o, int n) { o[threadIdx.x] = n; }').get_function("t")
    with pytest.raises(KernelError, match=message):
        kernel(grid, (4,), args)


# ------------------------------------------------------------------------------------------- arithmetic of both worlds

SELFTEST = (Path(__file__).parent / "selftest.cu").read_text("utf-8")


def selftest(build, kernel: str, x: np.ndarray, columns: int, dtype, *more, block: int = 128, **settings) -> np.ndarray:
    out = np.zeros((len(x), columns), dtype)
    function = build(SELFTEST).get_function(kernel)
    function((-(-len(x) // block),), (block,), (x, *more, out, np.int32(len(x))), outputs=(1 + len(more),), **settings)
    return out


@executors
def test_float32_functions_are_within_cudas_own_error(build):
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.uniform(-8, 8, 997), [0.0, 1e-5, 300000.0]]).astype(np.float32)
    y, one = x.astype(np.float64), np.float32
    size = np.abs(x)
    plus = {c: (size + one(c)).astype(np.float64) for c in (1e-6, 0.1, 1e-3)}
    with np.errstate(over="ignore"):
        exact = np.stack([
            np.sin(np.pi * np.remainder(y, 2)), np.cos(np.pi * np.remainder(y, 2)), np.sin(y), np.cos(y), np.exp(y),
            np.log(plus[1e-6]), np.tanh(y), plus[0.1] ** float(one(1.7)), np.sqrt(size), 1 / np.sqrt(plus[1e-3]),
            1 / (x + one(20)).astype(np.float64), np.floor(y), np.sign(y) * np.floor(np.abs(y) + 0.5), np.rint(y),
            np.fmod(y, float(one(0.7))), np.exp2(y), np.log10(plus[1e-3]), np.log1p(size), np.expm1(y),
            np.trunc((x * one(3)).astype(np.float64)), np.minimum(y, 0.25) + np.maximum(y, -0.5),
        ], 1)  # fmt: skip
    actual = selftest(build, "float32_functions", x, 21, np.float32).astype(np.float64)
    finite = np.isfinite(exact.astype(np.float32))
    # The manual's largest error of these functions is 4 units (pow); each unit is at most 2^-23 of the value, or of 1.
    np.testing.assert_allclose(actual[finite], exact[finite], rtol=4 * 2.0**-23, atol=4 * 2.0**-23)


@executors
def test_float64_functions_are_within_cudas_own_error(build):
    x = np.random.default_rng(2).uniform(-9, 9, 500)
    exact = np.stack([
        np.sin(np.pi * np.remainder(x, 2)), np.cos(np.pi * np.remainder(x, 2)), np.sin(x), np.exp(x),
        np.sqrt(np.abs(x)), x / (np.abs(x) + 0.1), np.log(np.abs(x) + 0.1), np.floor(x) + np.trunc(x),
    ], 1)  # fmt: skip
    actual = selftest(build, "float64_functions", x, 8, np.float64)
    np.testing.assert_allclose(actual, exact, rtol=4 * 2.0**-52, atol=8 * 2.0**-52)


@executors
def test_integer_arithmetic_is_exact(build):
    x, y = np.random.default_rng(3).integers(-(2**31), 2**31, (2, 1000)).astype(np.int32)
    x[:7], y[3:7] = [0, 1, -1, 2**31 - 1, -(2**31) + 1, 7, -7], [3, -3, 5, 3]
    actual = selftest(build, "integers", x, 9, np.int64, y)
    a, b = x.astype(object), (y | 1).astype(object)
    u, v = x.view(np.uint32).astype(object), (y | 1).view(np.uint32).astype(object)
    quotient = [
        int(p / abs(p) * (abs(p) // abs(q)) * (1 if q > 0 else -1)) if p else 0 for p, q in zip(a, b, strict=True)
    ]
    exact = np.stack([
        np.array(quotient, object), a - np.array(quotient, object) * b, u // v, u % v, a * b, (a * b) >> 32,
        (u * v) >> 32, [bin(p).count("1") for p in u], [32 - int(p).bit_length() for p in u],
    ], 1)  # fmt: skip
    assert (actual.astype(object) == exact).all()


@executors
@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_threads_cooperate_as_on_a_gpu(build, order):
    x = np.random.default_rng(4).uniform(-1, 1, (128, 4)).astype(np.float32)
    out, ballots = np.zeros((128, 4), np.float32), np.zeros(4, np.uint32)
    histogram, largest = np.zeros(8, np.int32), np.full(1, -(10**6), np.int32)
    args = (x, out, ballots, histogram, largest, np.int32(128), np.int32(3))
    build(SELFTEST).get_function("cooperation")((2,), (64,), args, order=order, preempt=8)
    lane, thread = np.arange(128) % 32, np.arange(128) % 64
    warp, block = x.reshape(4, 32, 4), x.reshape(2, 64, 4)
    positive = warp[:, :, 0] > 0
    expected = x[:, 0] * ((thread + 3) & 7) + np.array([1, 2, 3, 4, 5, 6, 7, 8])[(((thread + 3) & 7) + 3) & 7]
    expected += 1 + 2 * x[:, 1] + 3 * x[:, 1] ** 2 + np.roll(block[:, :, 3], -1, 1).ravel()
    expected += np.repeat((warp[:, :, 0] > 0.9).any(1), 32) + 2 + np.repeat(warp[:, 5, 1], 32)
    at = np.arange(128)
    expected += x[np.where(lane % 8 + 3 < 8, at + 3, at), 1] + x[np.where(lane % 16 >= 2, at - 2, at), 1] + x[at ^ 1, 1]
    expected += np.repeat((block[:, :, 0] > 0).sum(1), 64)
    np.testing.assert_allclose(out[:, 0], expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(
        out[:, 1:], np.stack([np.full(128, 64), thread // 7, np.repeat(positive.sum(1), 32)], 1)
    )
    np.testing.assert_array_equal(ballots, (positive * 2.0 ** np.arange(32)).sum(1))
    np.testing.assert_array_equal(histogram, np.bincount(((x[:, 0] + 1) * 4).astype(int) & 7, minlength=8))
    assert largest[0] == int(np.float32(x[:, 0].max()) * np.float32(1e6))
