"""A GPU as an instrument: CUDA events for time, CUDA graphs, torch's allocator for memory."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

LANES = 4 * 32
"""Instructions of threads that a multiprocessor starts in a cycle: four schedulers, a warp each."""
DRIVER = Path("/proc/driver/nvidia/version")


class Gpu:
    """torch's current CUDA device."""

    device = torch.device("cuda")

    def seconds(self, run: Callable[[], object], repeats: int = 1) -> float:
        """Time of one of `repeats` calls in a row, between two events on the stream."""
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(repeats):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / repeats

    def captured(self, run: Callable[[], object]) -> Callable[[], object]:
        """The launches of `run` as a CUDA graph: a function that starts them again and returns the same tensors."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = run()

        def replay() -> object:
            graph.replay()
            return outputs

        return replay

    def peak_bytes(self, run: Callable[[], object]) -> int:
        """What a call adds to the memory that torch's allocator has given out, and to CuPy's, at the most."""
        import cupy

        pool = cupy.get_default_memory_pool()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated(), pool.total_bytes()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before[0] + pool.total_bytes() - before[1]

    def clear(self) -> None:
        """Give memory that is not in use back to the device."""
        torch.cuda.synchronize()
        torch.cuda.empty_cache()

    def describe(self) -> dict[str, Any]:
        """What a figure depends on: card, driver, versions, instructions a second at the highest clock."""
        import cupy

        card = torch.cuda.get_device_properties(self.device)
        kilohertz = cupy.cuda.Device(torch.cuda.current_device()).attributes.get("ClockRate")
        clock = 1e3 * kilohertz if kilohertz else None
        return {
            "card": card.name,
            "capability": f"{card.major}.{card.minor}",
            "multiprocessors": card.multi_processor_count,
            "memory_bytes": card.total_memory,
            "clock_hz": clock,
            "instructions_per_second": clock and clock * card.multi_processor_count * LANES,
            "driver": driver(),
            "cuda": torch.version.cuda,
            "torch": torch.__version__,
            "cupy": cupy.__version__,
        }


def driver() -> str:
    """The driver's version."""
    found = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", DRIVER.read_text("utf-8")) if DRIVER.exists() else None
    return found.group() if found else "unknown"
