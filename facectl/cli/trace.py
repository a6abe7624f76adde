"""`facectl trace`: the steps of one frame through both functions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from facectl.aws import Clients
from facectl.cli.log_lines import COLOURS, clock_time
from facectl.cli.options import Json, reads_deployment
from facectl.console import err, out, print_json, printable, say, warn
from facectl.context import Deployment
from facectl.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facectl.logs.timeline import Step
    from facectl.logs.times import Window
    from facectl.logs.trace import Trace

_STATES = {"answered": "green", "in flight": "yellow"}
# Smaller shares of the total are not shown.
_MIN_SHARE = 0.01


@reads_deployment
def trace(
    deployment: Deployment,
    request_id: Annotated[str | None, typer.Argument(help="The id of the request.")] = None,
    last: Annotated[bool, typer.Option("--last", help="The most recent request.")] = False,
    slowest: Annotated[
        int | None,
        typer.Option(
            "--slowest", min=1, help="The N slowest requests of the last hour.", metavar="N"
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", help="Start of the search; default 1d, or 1h with --slowest."),
    ] = None,
    json: Json = False,
) -> None:
    """Show the steps of one frame, what the time between them was spent on, and its state.

    [bold]Examples[/bold]

    facectl trace 3f2a-000017

    facectl trace --last

    facectl trace --slowest 3 --json
    """
    from facectl.logs import times
    from facectl.logs.request_events import gather
    from facectl.logs.trace import trace as traced

    if sum((request_id is not None, last, slowest is not None)) != 1:
        raise InputError("Give a request id, --last or --slowest N", hint="facectl trace --last")
    window = times.window(since or ("1d" if slowest is None else "1h"), None, now=time.time())
    clients = Clients(deployment)
    with err.status("Reading the logs"):
        ids = [request_id] if request_id else _ids(clients, window, slowest)
        traces = [traced(gather(clients, name, window, tell=warn)) for name in ids]
    if json:
        print_json([each.as_dict() for each in traces] if slowest else traces[0].as_dict())
    else:
        _show_all(traces)


def _ids(clients: Clients, window: Window, slowest: int | None) -> list[str]:
    from facectl.logs import search
    from facectl.logs.source import LogSource
    from facectl.logs.trace import slowest as slowest_ids

    source = LogSource(clients)
    if slowest is None:
        return [search.newest(source, time.time())]
    return slowest_ids(search.by_request(source, window, warn), slowest, window)


def _show_all(traces: Sequence[Trace]) -> None:
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
        _show(trace)


def _show(trace: Trace) -> None:
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
        say(f"{trace.total_ms:.0f} ms to the answer")
    if shares:
        say("Spent on: " + ", ".join(shares))
    state = Text("Now: ")
    state.append(printable(trace.state_text), style=_STATES.get(trace.state, "red"))
    out.print(state, soft_wrap=True)
    for problem in trace.problems:
        warn(problem)


def _row(step: Step) -> tuple[Text, Text, Text, Text]:
    function = step.function or ""
    text = Text(printable(step.text), style="red" if step.bad else "")
    gaps = [f"{activity} {ms:.0f} ms" for activity, ms in step.spent.items()]
    if len(gaps) > 1 or step.since_ms >= 1000:
        text.append(f"  ({', '.join(gaps)})", style="dim")
    return (
        Text(clock_time(step.at), style="dim"),
        Text(f"+{step.since_ms:.0f} ms"),
        Text(function.removeprefix("face-"), style=COLOURS.get(function, "")),
        text,
    )
