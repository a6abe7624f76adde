"""The two consoles: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(data: Mapping[str, Any] | list[Any]) -> None:
    """Print one JSON document on stdout, without colour or wrapping."""
    sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")


def printable(text: str) -> str:
    """The text with `?` for unprintable characters: names come from outside."""
    return "".join(c if c.isprintable() else "?" for c in text)
