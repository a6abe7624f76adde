"""An image holds every package that its function imports."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Names of packages, where they are not those of their modules.
PACKAGES = {"PIL": "pillow", "cv2": "opencv-python-headless"}


def imported(function: str) -> set[str]:
    """The packages that a function imports, also through others of lambda_src, also late."""
    seen: set[str] = set()
    todo = [f"lambda_src.{function}"]
    packages: set[str] = set()
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        if not file.exists():
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            todo += [name for name in names if name.startswith("lambda_src")]
            packages |= {name.partition(".")[0] for name in names}
    return packages - {"lambda_src"} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("function", ["detection", "recognition"])
def test_the_lock_has_what_the_function_imports(function: str) -> None:
    locked = (ROOT / "dockerfiles" / f"face-{function}.requirements.txt").read_text()
    pinned = set(re.findall(r"^([\w.-]+)==", locked, re.MULTILINE))
    needed = {PACKAGES.get(name, name) for name in imported(function)}
    assert "numpy" in needed
    assert needed <= pinned, "make lock, after adding it to the .in file"
