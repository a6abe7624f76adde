"""Parses the commands in README's code blocks."""

from __future__ import annotations

import shlex
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def block(heading: str) -> list[list[str]]:
    """The arguments of each `facectl` command in the first code block below a heading, in order."""
    section = README.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = section.partition("```console\n")[2].partition("```")[0].splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [command[2:] for command in words if command[:2] == ["$", "facectl"]]
