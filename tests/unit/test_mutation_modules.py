"""The files that `make mutation` names exist."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_modules_to_mutate_and_their_tests_exist() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    text = (ROOT / "tests/mutation/modules.toml").read_text(encoding="utf-8")
    modules = tomllib.loads(text)["modules"]
    named = {*modules, *(path for module in modules.values() for path in module["tests"])}
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []
