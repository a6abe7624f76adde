"""The documentation: its paths and links exist, and docs/COMMANDS.md is current."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "tests" / "mutation" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
FOLDERS = ("facectl", "lambda_src", "tests", "docs", "benchmarks", "dockerfiles")
PATH = re.compile(rf"(?<![\w/.:-])(?:{'|'.join(FOLDERS)})/[\w./-]+")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def paths(page: Path) -> set[str]:
    """The paths of this repository that a page names."""
    return {found.rstrip("./") for found in PATH.findall(page.read_text())}


def links(page: Path) -> set[str]:
    return {link for link in LINK.findall(page.read_text()) if not link.startswith("http")}


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub forms them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def make_commands() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_commands", ROOT / "docs/make_commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    assert sorted(name for name in paths(page) if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_has_a_target(page: Path) -> None:
    broken = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            broken.append(link)
    assert broken == []


def test_paths_and_links_are_found() -> None:
    architecture = ROOT / "docs" / "ARCHITECTURE.md"
    assert "lambda_src/gallery/matching.py" in paths(architecture)
    assert "docs/ARCHITECTURE.md" in links(ROOT / "README.md")
    assert "#facectl-send" in links(ROOT / "docs" / "COMMANDS.md")


@pytest.mark.parametrize("package", ["facectl", "lambda_src"])
def test_the_architecture_names_every_folder(package: str) -> None:
    folders = {f"{package}/{file.parent.name}" for file in (ROOT / package).glob("*/__init__.py")}
    assert folders - paths(ROOT / "docs" / "ARCHITECTURE.md") == set()


def test_the_command_reference_is_current() -> None:
    module = make_commands()
    assert module.FILE.read_text(encoding="utf-8") == module.text(), "run `make docs`"
    assert "[bold]" not in module.text()


def test_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
