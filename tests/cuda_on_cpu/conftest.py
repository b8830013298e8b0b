"""Where a compiler or NVRTC is missing, tests that need it are skipped and say so."""

import pytest
import torch

from fastddsp.kernels.cuda import launch
from tests.cuda_on_cpu import nvrtc, sass
from tests.cuda_on_cpu.executor import compiler_missing
from tests.cuda_on_cpu.launching import QUEUE, Executor, from_c, from_ptx

NEEDS = {
    "compiler": compiler_missing(),
    "nvrtc": None if nvrtc.library() else "nvidia-cuda-nvrtc is not installed",
    "nvdisasm": None if sass.disassembler() else "nvidia-cuda-nvdisasm is not installed",
}
BUILDS = {"CUDA C": from_c, "PTX sm_75": from_ptx("75"), "PTX sm_90": from_ptx("90")}
_made: dict[tuple, Executor] = {}


@pytest.fixture(autouse=True)
def _skip_where_something_is_missing(request):
    for need, reason in NEEDS.items():
        if reason and request.node.get_closest_marker(f"needs_{need}"):
            pytest.skip(reason)


def executor_of(build: str, **settings) -> Executor:
    """The executor of that name, made once in a process: its modules take seconds to compile."""
    key = build, *settings.items()
    if key not in _made:
        _made[key] = Executor(BUILDS[build], **settings)
    return _made[key]


@pytest.fixture(
    params=[
        "CUDA C",
        *(pytest.param(name, marks=pytest.mark.needs_nvrtc) for name in BUILDS if name != "CUDA C"),
    ]
)
def executor(request, monkeypatch):
    """Launches of CUDA kernels, executed on the CPU: of their CUDA C, and of their PTX."""
    if NEEDS["compiler"]:
        pytest.skip(NEEDS["compiler"])
    made = executor_of(request.param)
    monkeypatch.setattr(launch, "launch", made)
    return made


@pytest.fixture
def cuda_ops(executor, monkeypatch):
    """Public functions on CPU tensors run the CUDA implementations of their ops, through the executor."""
    from fastddsp.autograd import dispatch, harmonic_bank, harmonic_bank_cuda

    monkeypatch.setattr(dispatch, "queue", lambda tensor: QUEUE)
    monkeypatch.setattr(harmonic_bank, "_bank_op", harmonic_bank_cuda.bank)
    monkeypatch.setattr(harmonic_bank, "_bank_backward_op", harmonic_bank_cuda.bank_backward)
    monkeypatch.setattr(harmonic_bank, "_analysis_op", harmonic_bank_cuda.analysis)
    yield executor
    assert torch.is_grad_enabled()
