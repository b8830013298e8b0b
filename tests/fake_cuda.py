"""A CUDA device that is the CPU: for running, where there is no GPU, code that asks for one by name.

    with fake_cuda.installed(monkeypatch): ...

Tensors "on cuda" are the CPU's, streams and events do nothing, and a graph repeats the library calls that it saw into
the tensors that they had returned. What is tested so is the code around the kernels: names, shapes, the order of calls.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import TorchDispatchMode


def here(argument: Any) -> Any:
    """The CPU where the argument is a CUDA device."""
    named = isinstance(argument, str | torch.device) and str(argument).startswith("cuda")
    return torch.device("cpu") if named else argument


class OnCpu(TorchFunctionMode):
    """Calls that would make a CUDA tensor make one of the CPU; a copy from one to the other is a copy."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.cuda, torch.Tensor.cpu):
            return args[0].clone()
        args, kwargs = [here(a) for a in args], {name: here(a) for name, a in (kwargs or {}).items()}
        return function(*args, **kwargs)


class Event:
    """The time when it was recorded."""

    def __init__(self, *, enable_timing: bool):
        assert enable_timing

    def record(self) -> None:
        self.seconds = time.perf_counter()

    def synchronize(self) -> None:
        assert self.seconds

    def elapsed_time(self, end: "Event") -> float:
        return 1e3 * (end.seconds - self.seconds)


class Stream:
    """Waits for nobody."""

    cuda_stream = 0

    def wait_stream(self, other: "Stream") -> None:
        assert isinstance(other, Stream)

    def synchronize(self) -> None:
        """All is done already."""


class Graph:
    """What was called while it was captured."""

    def __init__(self):
        self.calls: list[tuple] = []

    def replay(self) -> None:
        with torch.no_grad():
            for function, args, kwargs, results in self.calls:
                again = _pytree.tree_leaves(function(*args, **kwargs))
                for old, new in zip(results, again, strict=True):
                    if isinstance(old, torch.Tensor) and old.numel():
                        old.copy_(new)


class Capture(TorchDispatchMode):
    def __init__(self, graph: Graph):
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        held = _pytree.tree_map(lambda x: x.detach() if isinstance(x, torch.Tensor) else x, (args, kwargs or {}))
        self.graph.calls.append((function, *held, [x for x in _pytree.tree_leaves(results)]))
        return results


class Cupy(ModuleType):
    """As much of CuPy as a benchmark asks for its memory and its card."""

    __version__ = "0"

    def __init__(self):
        super().__init__("cupy")
        self.cuda = SimpleNamespace(Device=lambda number: SimpleNamespace(attributes={"ClockRate": 1_755_000}))

    @staticmethod
    def get_default_memory_pool() -> Any:
        return SimpleNamespace(total_bytes=lambda: 0)


CARD = {"name": "Made Up 100", "major": 9, "minor": 0, "multi_processor_count": 132, "total_memory": 80 * 10**9}


@contextmanager
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.cuda and `device="cuda"`, on the CPU; only names that torch.cuda has are replaced."""
    one = Stream()
    replacements = {
        "Event": Event,
        "Stream": Stream,
        "CUDAGraph": Graph,
        "graph": Capture,
        "stream": lambda stream: nullcontext(),
        "current_stream": lambda device=None: one,
        "current_device": lambda: 0,
        "get_device_properties": lambda device: SimpleNamespace(**CARD),
        "memory_allocated": lambda: 1000,
        "max_memory_allocated": lambda: 3000,
        **{
            name: lambda *_: None
            for name in ("synchronize", "empty_cache", "reset_peak_memory_stats", "set_sync_debug_mode", "_sleep")
        },
    }
    with monkeypatch.context() as patch:
        for name, replacement in replacements.items():
            patch.setattr(torch.cuda, name, replacement)
        patch.setitem(__import__("sys").modules, "cupy", Cupy())
        # `with torch.device("cuda")` gives its device to calls after OnCpu has seen them.
        passed_on = lambda self, function, types, args=(), kwargs=None: function(*args, **(kwargs or {}))  # noqa: E731
        patch.setattr(DeviceContext, "__torch_function__", passed_on)
        with OnCpu():
            yield
