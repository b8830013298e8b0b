"""The launch helper, with a stand-in for CuPy that records: geometry, arguments, stream, and what is missing where."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

import fastddsp
from fastddsp.autograd import dispatch, harmonic_bank, harmonic_bank_cuda
from fastddsp.kernels.cuda import launch
from fastddsp.kernels.cuda.harmonic import Bank
from fastddsp.kernels.phase import Timeline


class FakeCupy(ModuleType):
    """As much of CuPy as launch.py uses.

    `calls`: every launch; `modules`: every source; `loaded`: kernels and the device that was current.
    """

    def __init__(self, n_devices=1):
        super().__init__("cupy")
        self.calls: list[SimpleNamespace] = []
        self.modules: list[SimpleNamespace] = []
        self.current: list[int] = []
        self.loaded: list[tuple] = []
        self.cuda = SimpleNamespace(
            Device=self.device,
            runtime=SimpleNamespace(getDeviceCount=lambda: n_devices, CUDARuntimeError=OSError),
        )

    def device(self, number):
        cupy = self

        class Device:
            def __enter__(self):
                cupy.current.append(number)

            def __exit__(self, *_):
                cupy.current.pop()

        return Device()

    def RawModule(self, *, code, options):
        self.modules.append(SimpleNamespace(code=code, options=options))

        def get_function(name):
            self.loaded.append((name, *self.current))

            def call(grid, block, args, *, shared_mem, stream):
                where = {"stream": stream.ptr, "device": self.current[-1], "shared_mem": shared_mem}
                self.calls.append(
                    SimpleNamespace(name=name, grid=grid, block=block, args=args, options=options, **where)
                )

            return call

        return SimpleNamespace(get_function=get_function)


@pytest.fixture
def cupy(monkeypatch):
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    for cached in (launch.missing, launch._module, launch._function):
        cached.cache_clear()
    yield fake
    for cached in (launch.missing, launch._module, launch._function):
        cached.cache_clear()


QUEUE = launch.Queue(3, 77)


def bank(cupy, dtype=torch.float32, frames=4, hop=64, **more):
    f0, initial = torch.ones(2, frames, dtype=dtype), torch.zeros(2, dtype=torch.float64)
    return Bank(f0, initial, Timeline(frames * hop, frames), 16000, 8000, "cubic", -1, QUEUE, **more)


def test_a_kernel_gets_pointers_numbers_of_its_types_stream_and_device(cupy):
    b = bank(cupy)
    amplitudes, audio, final = torch.ones(2, 4, 9), torch.ones(2, 256), torch.zeros(2, dtype=torch.float64)
    b.render(amplitudes, audio, final)
    (call,) = cupy.calls
    assert (call.name, call.device, call.stream, call.shared_mem) == ("harmonic_bank", 3, 77, 0)
    pointers = [b.f0, b.initial_phase, amplitudes, None, audio, final]
    assert call.args[:6] == tuple(0 if p is None else p.data_ptr() for p in pointers)
    assert call.args[6:12] == (256, 4, 64, 0, 4, 1024)  # samples, intervals, hop, first frame, frames, segment
    assert call.args[12:15] == (16000.0, 64 * 16000.0, 8000.0)
    assert call.args[15:] == (2, 1, 9, 3, 3, 16, 1)  # batch, voices, harmonics, cubic, 3 quarter turns, team, rounds
    types = [np.int64] * 6 + [np.float64] * 3 + [np.int32] * 7
    assert [type(x) for x in call.args[6:]] == types
    assert call.options == ("--std=c++17",)


@pytest.mark.parametrize(
    ("frames", "hop", "dtype", "blocks", "team", "rounds"),
    [
        (4, 64, torch.float32, 2 * 1, 16, 1),  # 8 intervals a block
        (100, 64, torch.float32, 2 * 13, 16, 1),
        (100, 1, torch.float32, 2 * 4, 4, 1),  # 32 intervals, most of the threads idle
        (4, 960, torch.float32, 2 * 4 * 2, 128, 2),  # 2 rounds of 512 samples
        (4, 64, torch.float64, 2 * 1, 32, 1),
    ],
)
def test_forward_is_one_launch_of_as_many_blocks_as_there_are_tiles(cupy, frames, hop, dtype, blocks, team, rounds):
    f0 = bank(cupy, dtype, frames, hop)
    f0.render(torch.ones(2, frames, 9, dtype=dtype), torch.ones(2, frames * hop, dtype=dtype), f0.initial_phase)
    (call,) = cupy.calls
    assert (call.grid, call.block, call.args[-2:]) == ((blocks,), (128,), (team, rounds))


def test_voices_share_the_blocks_of_their_audio_and_have_their_own_backward(cupy):
    b, a = bank(cupy), torch.ones(2, 4, 9)  # two items
    b.render(a, torch.ones(1, 256), b.initial_phase)
    b.gradients(torch.ones(1, 256), a, b.initial_phase, a, b.f0, b.initial_phase)
    assert [(call.name, call.grid) for call in cupy.calls] == [
        ("harmonic_bank", (1,)), ("harmonic_gradients", (8,)), ("phase_gradient", (2,))
    ]  # fmt: skip
    assert cupy.calls[0].args[15:17] == cupy.calls[1].args[16:18] == (1, 2)  # batch, voices


def test_backward_is_two_launches_and_one_without_the_phase(cupy):
    b, a, g = bank(cupy), torch.ones(2, 4, 9), torch.ones(2, 256)
    b.analyse(g, a)
    b.gradients(g, a, b.initial_phase, a, b.f0, b.initial_phase)
    b.phase_gradient(g, a, b.initial_phase, b.f0, b.initial_phase)
    names = ["harmonic_analysis", "harmonic_gradients", "phase_gradient", "harmonic_moments", "phase_gradient"]
    assert [call.name for call in cupy.calls] == names
    analysis, scan = ((8,), (32,)), ((2,), (256,))  # 4 frames of 2 items; 2 items
    assert [(call.grid, call.block) for call in cupy.calls] == [analysis, analysis, scan, analysis, scan]
    gradients, after = cupy.calls[1:3]
    assert gradients.shared_mem == 32 * 26 * 4
    assert gradients.args[6] == after.args[0]  # the moments


def test_many_intervals_are_added_up_by_a_launch_before(cupy):
    b = bank(cupy, frames=2049, hop=1)
    (call,) = cupy.calls
    assert (call.name, call.grid) == ("segment_advances", (2 * 3,))
    b.render(torch.ones(2, 2049, 1), torch.ones(2, 2049), b.initial_phase)
    assert cupy.calls[1].args[3] == call.args[1]


def test_fewer_are_added_up_for_themselves_where_doubles_are_slow(cupy):
    f0, initial = torch.ones(2, 129), torch.zeros(2, dtype=torch.float64)
    Bank(f0, initial, Timeline(129, 129), 16000, 8000, "linear", 0, QUEUE._replace(slow_doubles=True))
    (call,) = cupy.calls
    assert (call.name, call.grid, call.args[7]) == ("segment_advances", (2 * 2,), 128)


def test_blocks_own_more_frames_where_there_are_many(cupy):
    b = bank(cupy, frames=5000, hop=2)
    b.analyse(torch.ones(2, 10000), torch.ones(2, 5000, 1))
    assert cupy.calls[-1].args[-1] == 4
    assert cupy.calls[-1].grid == (2 * 1250,)


def test_nothing_is_launched_without_blocks(cupy):
    launch.launch("harmonic.cu", "harmonic_bank", 0, 128, (torch.ones(1),), QUEUE, float64=False)
    assert not cupy.calls
    assert not cupy.modules


def test_a_source_is_compiled_once_for_each_precision(cupy):
    for dtype in (torch.float32, torch.float64, torch.float32):
        b = bank(cupy, dtype)
        b.render(torch.ones(2, 4, 1, dtype=dtype), torch.ones(2, 256, dtype=dtype), b.initial_phase)
    assert [module.options for module in cupy.modules] == [("--std=c++17",), ("--std=c++17", "-DFLOAT64")]
    assert "#include" not in cupy.modules[0].code  # CuPy's cache of compiled kernels knows the text alone


def test_a_kernel_is_loaded_once_and_on_its_device(cupy):
    b = bank(cupy)
    for _ in range(2):
        b.render(torch.ones(2, 4, 1), torch.ones(2, 256), b.initial_phase)
    assert cupy.loaded == [("harmonic_bank", 3)]


def test_python_numbers_and_gaps_are_refused(cupy):
    for argument, error in ((1.0, TypeError), (1, TypeError), (torch.ones(4)[::2], ValueError)):
        with pytest.raises(error, match="argument 0 must be"):
            launch.launch("harmonic.cu", "harmonic_bank", 1, 1, (argument,), QUEUE, float64=False)


# --------------------------------------------------------------------------------------------------------- the bridge


def test_ops_on_cuda_tensors_go_to_the_current_stream(cupy, monkeypatch):
    """The CUDA implementations, with tensors of the CPU in the place of CUDA's."""
    streams = iter([11, 12])
    monkeypatch.setattr(dispatch, "queue", lambda tensor: launch.Queue(0, next(streams)))
    f0, a, phase = torch.ones(2, 3), torch.ones(2, 3, 5), torch.zeros(2, dtype=torch.float64)
    settings = (30, 0, 3, 16000.0, 8000.0, "linear", 0)
    audio, final = harmonic_bank_cuda.bank(f0, a, phase, *settings)
    gradients = harmonic_bank_cuda.bank_backward(audio, final, f0, a, phase, *settings, True, True)
    assert [call.stream for call in cupy.calls] == [11, 12, 12]
    assert [x.shape for x in (audio, final, *gradients)] == [(2, 30), (2,), (2, 3), (2, 3, 5), (2,)]
    assert final.dtype == gradients[2].dtype == torch.float64


@pytest.mark.parametrize("name", ["harmonic_bank", "harmonic_bank_backward", "harmonic_analysis"])
def test_torch_knows_the_cuda_implementation(name):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"fastddsp::{name}", "CUDA")


def test_empty_problems_launch_nothing(cupy, monkeypatch):
    monkeypatch.setattr(dispatch, "queue", lambda tensor: QUEUE)
    f0, a, phase = torch.ones(2, 3), torch.ones(2, 3, 5), torch.full((2,), 7.0, dtype=torch.float64)
    settings = (0, 0, 3, 16000.0, 8000.0, "linear", 0)
    audio, final = harmonic_bank_cuda.bank(f0, a, phase, *settings)
    d_f0, d_a, d_phase = harmonic_bank_cuda.bank_backward(audio, final, f0, a, phase, *settings, True, True)
    assert (audio.shape, not d_f0.any(), not d_a.any()) == ((2, 0), True, True)
    assert torch.equal(d_phase, final)
    assert not cupy.calls


# ------------------------------------------------------------------------------------------------------ what is missing


def harmonic(device="cpu", **more):
    return harmonic_bank.harmonic_bank(torch.ones(1, 2, 1, device=device), torch.ones(1, 2, 3), 8, **more)


@pytest.fixture
def torch_with_cuda(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")


def test_a_torch_without_cuda_is_named(cupy, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(RuntimeError, match=r"backend 'cuda' is not available: torch .* is built without CUDA: install"):
        harmonic(backend="cuda")


def test_missing_cupy_is_named(cupy, torch_with_cuda, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"CuPy is not installed: pip install 'fastddsp\[cuda13\]'"):
        harmonic(backend="cuda")


def test_a_missing_driver_is_named(cupy, torch_with_cuda):
    def no_driver():
        raise OSError("cudaErrorInsufficientDriver")

    cupy.cuda.runtime.getDeviceCount = no_driver
    with pytest.raises(RuntimeError, match=r"no CUDA driver that works, .*: cudaErrorInsufficientDriver; `nvidia-smi`"):
        harmonic(backend="cuda")


def test_no_device_is_named(cupy, torch_with_cuda):
    cupy.cuda.runtime.getDeviceCount = lambda: 0
    with pytest.raises(
        RuntimeError, match="backend 'cuda' is not available: no CUDA device: `nvidia-smi` must list one"
    ):
        harmonic(backend="cuda")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "libcudart.so.13: cannot open"),
        ("import pathfinder_of_cupy", "No module named 'pathfinder_of_cupy'"),
    ],
)
def test_a_broken_cupy_is_named(cupy, torch_with_cuda, tmp_path, monkeypatch, line, reason):
    (tmp_path / "cupy.py").write_text(line + "\n")
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match=f"CuPy is installed but cannot be imported, install it anew: {reason}"):
        harmonic(backend="cuda")


def test_auto_on_cuda_tensors_says_what_is_missing_too(cupy, torch_with_cuda, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match="CuPy is not installed"):
        dispatch.check_backend("auto", torch.device("cuda"), cuda=True)


def test_tensors_on_a_gpu_are_not_copied(cupy, torch_with_cuda):
    with pytest.raises(ValueError, match="backend 'cpu' must be given tensors on cpu, got tensors on cuda:1"):
        dispatch.check_backend("cpu", torch.device("cuda:1"), cuda=True)


def test_a_function_without_cuda_kernels_says_so(cupy, torch_with_cuda):
    for backend, device in (("cuda", "cpu"), ("auto", "cuda")):
        with pytest.raises(NotImplementedError, match="this function has no CUDA kernels yet; move the tensors to the"):
            dispatch.check_backend(backend, torch.device(device))


def test_an_unknown_backend_or_device_is_named():
    with pytest.raises(ValueError, match=r"backend must be one of \('auto', 'cpu', 'cuda'\), got 'gpu'"):
        dispatch.check_backend("gpu", torch.device("cpu"))
    with pytest.raises(NotImplementedError, match="no kernels for device mps"):
        dispatch.check_backend("auto", torch.device("mps"), cuda=True)


def test_tensors_on_the_cpu_are_not_copied(cupy, torch_with_cuda):
    with pytest.raises(ValueError, match="backend 'cuda' must be given tensors on cuda, got tensors on cpu"):
        harmonic(backend="cuda")


def test_mixed_devices_are_both_named():
    with pytest.raises(ValueError, match="harmonic_amplitudes must be on meta like f0_hz, got cpu"):
        harmonic(device="meta")


def test_backends_tell_what_auto_would_choose(cupy, torch_with_cuda):
    assert dispatch.backends()["cuda"] == "CUDA C kernels; `auto` chooses them for CUDA tensors"
    cupy.cuda.runtime.getDeviceCount = lambda: 0
    launch.missing.cache_clear()
    assert dispatch.backends()["cuda"].startswith("not available: no CUDA device: `nvidia-smi` must list one")
    assert dispatch.backends()["cpu"].startswith("Numba kernels")


def test_backends_print_as_a_table(cupy, torch_with_cuda):
    lines = str(fastddsp.backends()).splitlines()
    assert lines[0] == "cpu   Numba kernels; `auto` chooses them for CPU tensors"
    assert lines[1] == "cuda  CUDA C kernels; `auto` chooses them for CUDA tensors"
