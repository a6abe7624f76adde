"""The two consoles: results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

# Names, paths and messages may contain `:word:`, which Rich would replace with an emoji.
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)


def say(text: str, *, style: str | None = None) -> None:
    """Print plain text on stdout, without markup and without added line breaks."""
    out.print(text, style=style, markup=False, soft_wrap=True)


def note(text: str, *, style: str | None = None) -> None:
    """Print plain text on stderr, without markup and without added line breaks."""
    err.print(text, style=style, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning, plain text, on stderr."""
    note(text, style="yellow")


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print names and values on stdout, one pair per line; None is a dash."""
    rows = [(name.replace("_", " "), "-" if value is None else value) for name, value in fields]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        say(f"{name:<{width}}  {value}")


def print_json(data: Mapping[str, Any] | list[Any]) -> None:
    """Print one JSON document on stdout, without color or wrapping."""
    sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")


def printable(text: str) -> str:
    """The text with `?` for unprintable characters: names come from outside."""
    return "".join(c if c.isprintable() else "?" for c in text)
