"""Prints the result of a sweep over memory sizes: latency and cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from facectl.console import err, out, print_json
from facectl.errors import IncompleteError

if TYPE_CHECKING:
    from facectl.bench.sweep import Swept


def finish_sweep(results: Sequence[Swept], *, target: str, json: bool) -> None:
    """Print the figures of each size; raises IncompleteError if a run ended early."""
    if json:
        print_json([swept.as_dict() for swept in results])
    else:
        out.print(_table(results))
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


def _table(results: Sequence[Swept]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("MB", "n", "mean ms", "p50 ms", "p99 ms", "detect ms", "embed ms", "answers"):
        table.add_column(name, justify="right")
    table.add_column("per 1,000", justify="right")
    for swept in results:
        report = swept.report
        figures, warm = report.figures, report.figures.warm
        stages = [figures.stages.each.get(stage) for stage in ("detect", "embed")]
        cost = report.cost
        table.add_row(
            str(swept.memory),
            str(warm.count),
            *(_ms(value) for value in (warm.mean, warm.p50, warm.p99)),
            *(_ms(None if stage is None else stage.mean) for stage in stages),
            f"{figures.answered} of {figures.answered + figures.without_answer}",
            "" if cost is None else f"{cost.thousand:.4f} {cost.prices.currency}",
        )
    return table


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.0f}"
