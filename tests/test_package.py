"""The package as a user meets it: what the wheel holds, what an import costs, and which room may enter which."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("kernels", "autograd", "models", "training", "benchmarks")
CARRIED = {".py", ".cu", ".cuh", ".yaml"}  # what a wheel must carry of a room; of the front door it carries everything

# Arrows of import: a room may enter itself and these.
MAY_ENTER = {
    "kernels": set(),
    "autograd": {"kernels"},
    "models": {"autograd"},
    "training": {"models", "autograd"},
}
CORE = {"llvmlite", "numba", "numpy", "scipy", "torch"}
LOADED_WHEN_USED = {"numba", "llvmlite", "scipy"}


def sources(room: str) -> list[Path]:
    """The Python files of a room."""
    return sorted(path for path in (ROOT / room).rglob("*.py") if "__pycache__" not in path.parts)


def modules() -> set[str]:
    """The import names of every module of the house, read off the folders."""
    paths = [path.relative_to(ROOT) for path in sources("fastddsp")]
    paths += [Path("fastddsp") / path.relative_to(ROOT) for room in ROOMS for path in sources(room)]
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths}


def python(code: str, *, executable: str | Path = sys.executable, cwd: Path | None = None) -> dict:
    """What `code` prints as JSON in a new interpreter that sees neither this folder nor PYTHON* variables."""
    done = subprocess.run([executable, "-I", "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tree, so that no build folder of this tree leaks into it."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("fastddsp", *ROOMS):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.nb[ci]"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tree / "dist"), "."]
    subprocess.run([sys.executable, "-m", *build], cwd=tree, check=True)
    (built,) = (tree / "dist").glob("fastddsp-*.whl")
    return built


@pytest.fixture(scope="module")
def fresh_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment: the wheel, and what others' packages it borrows from this one."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False)
    executable = environment / "bin" / "python"
    install = ["pip", "--python", str(executable), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", *install], check=True)
    # A path line, not --system-site-packages: the .pth files over there, an editable fastddsp among them, stay unread.
    site_packages = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    return executable


def test_wheel_holds_every_source_preset_and_data_file(wheel: Path) -> None:
    files = [path.relative_to(ROOT) for path in (ROOT / "fastddsp").rglob("*") if path.is_file()]
    files += [
        Path("fastddsp") / path.relative_to(ROOT)
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.suffix in CARRIED
    ]
    expected = {path.as_posix() for path in files if "__pycache__" not in path.parts}
    held = set(zipfile.ZipFile(wheel).namelist())
    assert expected - held == set()
    assert {name for name in held - expected if ".dist-info/" not in name} == set()


def test_every_module_imports_from_the_installed_wheel(fresh_python: Path, tmp_path: Path) -> None:
    names = sorted(modules())
    files = python(
        f"""
import importlib, json
print(json.dumps({{name: importlib.import_module(name).__file__ for name in {names}}}))
""",
        executable=fresh_python,
        cwd=tmp_path,
    )
    environment = fresh_python.parents[1]
    assert {name: file for name, file in files.items() if not Path(file).is_relative_to(environment)} == {}


def test_installed_wheel_offers_the_command_and_its_version(fresh_python: Path, tmp_path: Path) -> None:
    seen = python(
        """
import json, fastddsp
from importlib import metadata
(command,) = metadata.entry_points(group="console_scripts", name="fastddsp")
print(json.dumps([fastddsp.__version__, metadata.version("fastddsp"), callable(command.load())]))
""",
        executable=fresh_python,
        cwd=tmp_path,
    )
    version, installed_version, is_command = seen
    assert version == installed_version
    assert is_command


# What an import costs

TOUCH_EVERYTHING = "import fastddsp as ddsp; [getattr(ddsp, name) for name in dir(ddsp)]"


def loaded_by(statement: str) -> set[str]:
    """Third-party packages that a statement loads over `import torch`."""
    code = f"""
import json, sys, torch
before = set(sys.modules)
{statement}
print(json.dumps(sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})))
"""
    return set(python(code)) - sys.stdlib_module_names - {"fastddsp"}


def test_import_loads_no_other_package() -> None:
    assert loaded_by("import fastddsp, fastddsp.cli") == set()


def test_public_names_load_neither_numba_nor_scipy_nor_extras() -> None:
    extras = {"cupy", "jsonargparse", "lightning", "matplotlib", "onnxruntime", "pytorch_lightning", "safetensors"}
    extras |= {"soundfile", "soxr", "swift_f0", "tensorboard", "tqdm", "yaml"}
    assert loaded_by(TOUCH_EVERYTHING) & (LOADED_WHEN_USED | extras) == set()


def test_import_takes_under_half_a_second_over_torch(record_property: pytest.RecordProperty) -> None:
    code = f"""
import json, time, torch
start = time.perf_counter()
import fastddsp
imported = time.perf_counter()
{TOUCH_EVERYTHING}
print(json.dumps([imported - start, time.perf_counter() - imported]))
"""
    runs = [python(code) for _ in range(3)]
    import_s, touch_s = (min(times) for times in zip(*runs, strict=True))
    record_property("import_s", import_s)
    record_property("touch_every_public_name_s", touch_s)
    assert import_s < 0.5


def test_import_leaves_the_thread_settings_of_torch_and_numba_alone() -> None:
    code = f"""
import json, numba, torch
from numba.np.ufunc import parallel
def settings():
    config = numba.config
    return [torch.get_num_threads(), torch.get_num_interop_threads(), config.NUMBA_NUM_THREADS, config.THREADING_LAYER,
            config.THREADING_LAYER_PRIORITY, parallel._is_initialized]
before = settings()
{TOUCH_EVERYTHING}
import fastddsp.kernels.cpu
print(json.dumps([before, settings()]))
"""
    before, after = python(code)
    assert before == after


def test_import_of_every_kernel_compiles_nothing() -> None:
    names = sorted(name for name in modules() if name.startswith("fastddsp.kernels"))
    code = f"""
import importlib, json
from numba.core import event
with event.install_recorder("numba:compile") as recorder:
    for name in {names}:
        importlib.import_module(name)
print(json.dumps([str(entry.data) for _, entry in recorder.buffer]))
"""
    assert python(code) == []


# The front door


def test_unknown_name_is_an_attribute_error() -> None:
    import fastddsp as ddsp

    with pytest.raises(AttributeError, match="module 'fastddsp' has no attribute 'harmonic_synthesys'"):
        ddsp.harmonic_synthesys  # noqa: B018


# Arrows of import


def imports(tree: ast.AST, *, inside_functions: bool) -> Iterator[str]:
    """Absolute names that a syntax tree imports; imports for the type checker alone do not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        elif inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(node, inside_functions=inside_functions)


def room_sources(*rooms: str) -> list[pytest.param]:
    return [pytest.param(room, path, id=str(path.relative_to(ROOT))) for room in rooms for path in sources(room)]


@pytest.mark.parametrize(("room", "path"), room_sources(*MAY_ENTER))
def test_rooms_are_entered_one_way_only(room: str, path: Path) -> None:
    for name in imports(ast.parse(path.read_text("utf-8")), inside_functions=True):
        package, _, inner = name.partition(".")
        assert package not in ROOMS, f"say fastddsp.{name}, not {name}"
        if package == "fastddsp":
            assert inner.partition(".")[0] in {room, *MAY_ENTER[room]}, name


@pytest.mark.parametrize(("room", "path"), room_sources("kernels", "autograd", "models"))
def test_rooms_load_only_the_packages_that_they_may(room: str, path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    at_import = {name.partition(".")[0] for name in imports(tree, inside_functions=False)}
    at_import -= sys.stdlib_module_names | {"fastddsp", "__future__"}
    if room == "kernels":
        assert at_import <= CORE - {"torch"}
        assert "torch" not in {name.partition(".")[0] for name in imports(tree, inside_functions=True)}
    else:
        assert at_import <= CORE - LOADED_WHEN_USED


# The tree


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    commands = re.findall(r"^(python3 -m venv .+/pytest)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert len(commands) == 1
    run = (ROOT / ".ci" / "run").read_text("utf-8")
    assert commands[0] in [line.strip() for line in run.splitlines()]


def test_constraints_pin_every_dependency_but_the_gpus() -> None:
    required = {re.split(r"[^\w.-]", line)[0].lower() for line in metadata.requires("fastddsp") or []}
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {line.partition("==")[0].lower() for line in lines if "==" in line}
    gpus = ("cupy-", "nvidia-")  # versions are the driver's, or those that torch's CUDA build pins for itself
    assert {name for name in required if not name.startswith(gpus)} - pinned == set()
