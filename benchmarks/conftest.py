"""Machine data for the benchmarks: what a figure depends on, and nothing that names a machine."""

import pytest

from fastddsp.benchmarks import measure


@pytest.fixture(scope="session")
def multiply_add_peak() -> float:
    return measure.machine()["multiply_adds_per_second"]


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info.clear()
    machine_info.update(measure.machine())
