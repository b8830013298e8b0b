"""What the README and the pages under docs/ show is what works, and the reference holds every public name."""

import importlib
import re
from pathlib import Path

import pytest

import fastddsp
from tests.cuda_on_cpu.executor import compiler_missing

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
DOORS = [name for name in fastddsp._MODULES if (ROOT / "fastddsp" / f"{name}.py").exists()]


def python_of(page: Path) -> str:
    """A page's Python, as one script whose lines have the page's numbers."""
    text = page.read_text("utf-8")
    script = [""] * (text.count("\n") + 1)
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        first = text.count("\n", 0, block.start(1))
        lines = block[1].splitlines()
        script[first : first + len(lines)] = lines
    return "\n".join(script)


def named(pages: list[Path]) -> list[pytest.param]:
    return [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages]


@pytest.mark.parametrize("page", named([page for page in PAGES if python_of(page).strip()]))
def test_python_on_a_page_runs(page, tmp_path, monkeypatch):
    if "import auraloss" in python_of(page):
        pytest.importorskip("auraloss", reason="the page shows losses of auraloss, which the extra `dev` installs")
    if "cuda_on_cpu" in python_of(page) and compiler_missing():
        pytest.skip(f"the page compiles: {compiler_missing()}")
    monkeypatch.chdir(tmp_path)
    exec(compile(python_of(page), str(page), "exec"), {"__name__": page.stem})


@pytest.mark.parametrize("page", named(sorted((DOCS / "api").glob("*.md"))))
def test_every_page_of_the_reference_begins_with_an_example_that_checks_itself(page):
    before_reference = page.read_text("utf-8").partition("\n::: ")[0]
    assert "```python" in before_reference
    assert re.search(r"assert", before_reference)


@pytest.mark.parametrize("page", named(PAGES))
def test_links_lead_to_files_that_exist(page):
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def objects_of(reference: str) -> list[object]:
    """What one `:::` line of a page shows: a module's public names, or one name."""
    try:
        module = importlib.import_module(reference)
    except ModuleNotFoundError:
        module_name, _, name = reference.rpartition(".")
        return [getattr(importlib.import_module(module_name), name)]
    public = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    return [getattr(module, name) for name in public]


def test_the_reference_shows_every_public_name():
    text = "\n".join(page.read_text("utf-8") for page in (DOCS / "api").glob("*.md"))
    shown = {id(thing) for line in re.findall(r"^::: (\S+)", text, re.MULTILINE) for thing in objects_of(line)}
    missing = []
    for door in DOORS:
        module = importlib.import_module(f"fastddsp.{door}")
        for name in getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]:
            thing = getattr(module, name)
            if id(thing) not in shown and not (name.isupper() and f"`{name}`" in text):  # constants stand in the text
                missing.append(f"{door}.{name}")
    assert missing == []


def test_navigation_holds_every_page():
    settings = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed = re.findall(r": ([\w/]+\.md)$", settings, re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_map_of_the_house_names_every_room():
    rooms = set(re.findall(r"^\| `(\w+)/` \|", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders <= rooms
