"""Every command of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from facectl.cli.app import app


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command of a group, with its full name."""
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child, sub in children.items():
        yield from commands(sub, f"{name} {child}")


COMMANDS = dict(commands(typer.main.get_command(app), "facectl"))
