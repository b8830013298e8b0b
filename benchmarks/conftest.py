"""Machine data for the benchmarks: what a figure depends on, and nothing that names a machine."""

from fastddsp.benchmarks import measure


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info.clear()
    machine_info.update(measure.machine())
