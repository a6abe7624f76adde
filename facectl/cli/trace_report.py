"""Prints traces."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from facectl.cli.logs.lines import COLOURS
from facectl.cli.run_report import printable
from facectl.console import err, out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facectl.logs.timeline import Step
    from facectl.logs.trace import Trace

_STATES = {"answered": "green", "in flight": "yellow"}
# Smaller shares of the total are not shown.
_MIN_SHARE = 0.01


def show_traces(traces: Sequence[Trace]) -> None:
    """Print each trace; for several, first a table of their durations."""
    if len(traces) > 1:
        table = Table("request", "took", "mostly")
        for trace in traces:
            longest = next(iter(trace.spent), "-")
            table.add_row(
                Text(printable(trace.request_id)), f"{trace.total_ms or 0:.0f} ms", longest
            )
        out.print(table)
    for trace in traces:
        show_trace(trace)


def show_trace(trace: Trace) -> None:
    """Print the steps, what the time was spent on, and the state of the request."""
    out.print(Text(printable(trace.request_id), style="bold"))
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    table.add_column(overflow="fold")
    for step in trace.steps:
        table.add_row(*_row(step))
    out.print(table)
    total = trace.total_ms or sum(trace.spent.values())
    shares = [
        f"{activity} {ms:.0f} ms ({ms / total:.0%})"
        for activity, ms in trace.spent.items()
        if total and ms / total >= _MIN_SHARE
    ]
    if trace.total_ms is not None:
        out.print(f"{trace.total_ms:.0f} ms to the answer", soft_wrap=True)
    if shares:
        out.print(Text("Spent on: " + ", ".join(shares)), soft_wrap=True)
    state = Text("Now: ")
    state.append(printable(trace.state_text), style=_STATES.get(trace.state, "red"))
    out.print(state, soft_wrap=True)
    for problem in trace.problems:
        err.print(Text(problem, style="yellow"), soft_wrap=True)


def _row(step: Step) -> tuple[Text, Text, Text, Text]:
    at = datetime.fromtimestamp(step.at)  # noqa: DTZ006 - local time is shown
    function = step.function or ""
    text = Text(printable(step.text), style="red" if step.bad else "")
    gaps = [f"{activity} {ms:.0f} ms" for activity, ms in step.spent.items()]
    if len(gaps) > 1 or step.since_ms >= 1000:
        text.append(f"  ({', '.join(gaps)})", style="dim")
    return (
        Text(f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}", style="dim"),
        Text(f"+{step.since_ms:.0f} ms"),
        Text(function.removeprefix("face-"), style=COLOURS.get(function, "")),
        text,
    )
