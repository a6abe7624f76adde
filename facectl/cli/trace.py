"""`facectl trace`: the steps of one frame through both functions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from facectl.aws import Clients
from facectl.cli.logs import warn
from facectl.cli.options import Json, reads_deployment
from facectl.console import err, print_json
from facectl.context import Deployment
from facectl.errors import InputError

if TYPE_CHECKING:
    from facectl.logs.times import Window


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
    from facectl.cli.trace_report import show_traces
    from facectl.logs import times
    from facectl.logs.request_events import gather
    from facectl.logs.trace import as_dict
    from facectl.logs.trace import trace as traced

    if sum((request_id is not None, last, slowest is not None)) != 1:
        raise InputError("Give a request id, --last or --slowest N", hint="facectl trace --last")
    window = times.window(since or ("1d" if slowest is None else "1h"), None, now=time.time())
    clients = Clients(deployment)
    with err.status("Reading the logs"):
        ids = [request_id] if request_id else _ids(clients, window, slowest)
        traces = [traced(gather(clients, name, window, tell=warn)) for name in ids]
    if json:
        print_json([as_dict(t) for t in traces] if slowest else as_dict(traces[0]))
    else:
        show_traces(traces)


def _ids(clients: Clients, window: Window, slowest: int | None) -> list[str]:
    from facectl.logs import search
    from facectl.logs.source import LogSource
    from facectl.logs.trace import slowest as slowest_ids

    source = LogSource(clients)
    if slowest is None:
        return [search.newest(source, time.time())]
    return slowest_ids(search.by_request(source, window, warn), slowest, window)
