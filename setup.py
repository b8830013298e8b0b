"""Packaging of fastddsp. Tool settings live in pyproject.toml.

The sub-packages are folders of the repository's root, so that a reader who opens it sees the house:
`package_dir` maps them into `fastddsp.*`. Imports always say `fastddsp.kernels`, never `kernels`.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
ROOMS = ("kernels", "autograd", "models", "training", "benchmarks")


def version() -> str:
    """`fastddsp.__version__`, read and not imported: the package's dependencies are not there yet."""
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "fastddsp" / "__init__.py").read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise RuntimeError('fastddsp/__init__.py must hold a line __version__ = "..."')
    return found.group(1)


def rooms() -> list[str]:
    """Every package of the house under its import name."""
    found = ["fastddsp"]
    for room in ROOMS:
        found.append(f"fastddsp.{room}")
        found += [f"fastddsp.{room}.{inner}" for inner in find_packages(room)]
    return found


# A lower bound is the oldest version that the tests were run with (on Python 3.11), constraints.txt has the newest. An
# upper bound stands where the next major version, or before 1.0 the next minor one, may change what is used here.
EXTRAS = {
    "train": [
        "jsonargparse[signatures]>=4.50,<5",
        "lightning>=2.6,<3",
        "matplotlib>=3.9",
        "mir_eval>=0.8.2,<0.9",
        "pyyaml>=6.0.1",
        "safetensors>=0.5",
        "soundfile>=0.13",
        "soxr>=0.5",
        "swift-f0>=0.3,<0.4",
        "tensorboard>=2.18",
        "tqdm>=4.66",
    ],
    "cuda12": ["cupy-cuda12x>=13.3"],
    "cuda13": ["cupy-cuda13x>=13.6"],
    "docs": ["mkdocstrings-python>=2.0,<3", "zensical>=0.0.73,<0.1"],
    "test": [
        "hypothesis>=6.112",
        "nvidia-cuda-nvdisasm>=13.0,<14; sys_platform == 'linux'",  # with NVRTC: CUDA kernels are tested without a GPU
        "nvidia-cuda-nvrtc>=13.0,<14; sys_platform == 'linux'",
        "pytest>=8.2",
        "pytest-benchmark>=5.1",
        "sentryward>=0.1.1,<0.2; sys_platform == 'linux' and platform_machine == 'x86_64'",
        "setuptools>=77",
    ],
}
EXTRAS["dev"] = [
    *EXTRAS["train"],
    *EXTRAS["docs"],
    *EXTRAS["test"],
    "auraloss>=0.4,<0.5",
    "mypy>=2.4",
    "pre-commit>=3.5",
    "ruff>=0.17",
]

setup(
    name="fastddsp",
    version=version(),
    description="Differentiable digital signal processing for PyTorch, on hand-written kernels",
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["ddsp", "audio", "synthesis", "pytorch", "numba", "cuda"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Topic :: Multimedia :: Sound/Audio :: Sound Synthesis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=rooms(),
    package_dir={"fastddsp": "fastddsp", **{f"fastddsp.{room}": room for room in ROOMS}},
    package_data={
        "fastddsp": ["py.typed", "data/*"],
        "fastddsp.kernels": ["cuda/*.cu", "cuda/*.cuh"],
        "fastddsp.models": ["presets/*.yaml"],
    },
    entry_points={"console_scripts": ["fastddsp = fastddsp.cli:main"]},
    python_requires=">=3.10",
    install_requires=["llvmlite>=0.44", "numba>=0.61", "numpy>=1.26", "scipy>=1.13", "torch>=2.13"],
    extras_require=EXTRAS,
    zip_safe=False,
)
