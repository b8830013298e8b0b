"""Packaging of fastddsp. Tool settings live in pyproject.toml.

The sub-packages are folders of the repository's root, so that a reader who opens it sees the house:
`package_dir` maps them into `fastddsp.*`. Imports always say `fastddsp.kernels`, never `kernels`.
"""

from setuptools import find_packages, setup

ROOMS = ("kernels", "autograd", "models", "training", "benchmarks")


def rooms() -> list[str]:
    """Every package of the house under its import name."""
    found = ["fastddsp"]
    for room in ROOMS:
        found.append(f"fastddsp.{room}")
        found += [f"fastddsp.{room}.{inner}" for inner in find_packages(room)]
    return found


setup(
    name="fastddsp",
    version="0.1.0",
    packages=rooms(),
    package_dir={"fastddsp": "fastddsp", **{f"fastddsp.{room}": room for room in ROOMS}},
    python_requires=">=3.10",
    install_requires=["numpy>=1.26", "numba>=0.61", "scipy>=1.11", "torch>=2.6"],
)
