"""Tables of a report: columns and rows defined once, for the terminal and for HTML."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

MISSING = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; the first cell names the row.

    `words`: the cells hold text that may wrap, not figures. `marked`: the indices of
    rows to emphasise. Without any column name the table has no header.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False
    marked: Collection[int] = ()


def milliseconds(seconds: float | None) -> str:
    """Milliseconds, with one decimal below 10."""
    if seconds is None:
        return MISSING
    ms = seconds * 1e3
    return f"{ms:.1f}" if abs(ms) < 10 else f"{ms:.0f}"
