"""Prints the result of a sweep over memory sizes: latency and cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from facectl.cli.bench.report import rich_table
from facectl.console import err, out, print_json
from facectl.errors import IncompleteError

if TYPE_CHECKING:
    from facectl.bench.sweep import Swept


def finish_sweep(results: Sequence[Swept], *, target: str, json: bool) -> None:
    """Print the figures of each size; raises IncompleteError if a run ended early."""
    from facectl.bench.tables import memory_sizes

    if json:
        print_json([swept.as_dict() for swept in results])
    else:
        out.print(rich_table(memory_sizes(results)))
    if target == "local":
        err.print(
            "[yellow]On the local cloud every size has the same processor: these "
            "figures are repeated measurements[/yellow]",
            soft_wrap=True,
        )
    for swept in results:
        if not swept.report.run.complete:
            raise IncompleteError(
                f"The sweep ended early, at {swept.memory} MB: {swept.report.run.ended}",
                hint="facectl status",
            )
