"""The tables of reports on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table as RichTable

from facectl.console import printable

if TYPE_CHECKING:
    from facectl.reports.tables import Table


def rich_table(table: Table) -> RichTable:
    """A table of a report for the terminal."""
    if not any(table.columns):
        grid = RichTable.grid(padding=(0, 2))
        for name, *cells in table.rows:
            grid.add_row(f"[dim]{safe(name)}[/dim]", *map(safe, cells))
        return grid
    shown = RichTable(
        title=safe(table.title) or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        # A terminal of 80 columns holds it.
        padding=(0, 0, 0, 1),
    )
    for number, name in enumerate(table.columns):
        shown.add_column(safe(name), justify="right" if number else "left")
    for number, row in enumerate(table.rows):
        shown.add_row(*map(safe, row), style="bold" if number in table.marked else None)
    return shown


def safe(text: str) -> str:
    """The text without control characters and with markup escaped."""
    return escape(printable(text))
