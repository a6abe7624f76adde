"""The functions' logs as one row of lines: of a window, or followed."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.logs.events import LogEvent
from facectl.logs.follow import Follower, LogConnections
from facectl.logs.livetail import LiveTail
from facectl.logs.parse import Line, Parser
from facectl.logs.select import in_order
from facectl.logs.source import LogSource, NoLogYetError
from facectl.logs.times import Window


def lines(
    source: LogSource,
    functions: Sequence[str],
    window: Window,
    *,
    pattern: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Line]:
    """The lines of a window by their time, of whichever function has a log.

    Raises NoLogYetError where none has, CloudError where reading fails.
    """
    readings: list[Iterator[LogEvent]] = []
    missing: list[NoLogYetError] = []
    for function in functions:
        reading = source.events(function, window, pattern=pattern)
        try:
            first = next(reading, None)
        except NoLogYetError as error:
            missing.append(error)
        else:
            readings.append(chain([] if first is None else [first], reading))
    if missing and not readings:
        raise missing[0]
    for absent in missing:
        tell(str(absent))
    merged = heapq.merge(*readings, key=lambda event: event.timestamp)
    return in_order(Parser().lines(merged))


def followed(
    deployment: Deployment,
    functions: Sequence[str],
    between: tuple[float, float | None],
    *,
    live: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Line]:
    """The lines from a point in time on, as they are logged; ends at the second, if at all."""
    follower = Follower(
        LogConnections(
            source=lambda: LogSource(Clients(deployment), backoff=0),
            live=(lambda: LiveTail(Clients(deployment), functions)) if live else None,
        ),
        functions,
        tell=tell,
        clock=time.time,
    )
    parser = Parser()
    for batch in follower.batches(*between):
        yield from in_order(parser.lines(batch))


def lines_of_streams(
    source: LogSource, function: str, window: Window, streams: Sequence[str]
) -> Iterator[Line]:
    """The lines of some streams of one function, in the order of the streams' events."""
    return Parser().lines(source.events(function, window, streams=streams))


def unmatched_failures(source: LogSource, function: str, window: Window) -> list[Line]:
    """The invocations that ended badly and never said which messages they had."""
    named: set[str | None] = set()
    bad: list[Line] = []
    for line in lines(source, (function,), window):
        if line.kind == "entry" and line.stage == "received":
            named.add(line.invocation)
        elif line.kind == "fault":
            bad.append(line)
    return [line for line in bad if line.invocation not in named]
