"""Merges the functions' logs into one sequence of lines: of a time window, or followed."""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.errors import InputError
from facectl.logs.events import LogEvent
from facectl.logs.follow import Follower, LogConnections
from facectl.logs.parse import LEVELS, Line, Parser
from facectl.logs.source import LiveTail, LogSource, NoLogYetError
from facectl.logs.times import Window

# Lines carry the time at which the function wrote them; events come in the order of the
# platform's timestamps. The difference is at most one invocation, far fewer lines than this.
_REORDER_BUFFER = 5000


@dataclass(frozen=True, slots=True)
class LineFilter:
    """Selects lines of at least this level, of this request, whose text matches `grep`."""

    level: str = "INFO"
    request_id: str | None = None
    grep: re.Pattern[str] | None = None

    @classmethod
    def of(cls, level: str, request_id: str | None, grep: str | None) -> LineFilter:
        """The filter for option values; raises InputError for a bad level or expression."""
        name = {"WARN": "WARNING"}.get(level.upper(), level.upper())
        if name not in LEVELS:
            raise InputError(
                f"No level is called {level!r}: there are {', '.join(LEVELS).lower()}",
                hint="facectl logs --level error",
            )
        try:
            return cls(name, request_id, None if grep is None else re.compile(grep))
        except re.error as error:
            raise InputError(
                f"--grep {grep!r} is not a regular expression: {error}",
                hint=f"facectl logs --grep '{re.escape(str(grep))}'",
            ) from error

    def __call__(self, line: Line) -> bool:
        if LEVELS.index(line.level) < LEVELS.index(self.level):
            return False
        if self.request_id is not None and line.request_id != self.request_id:
            return False
        return self.grep is None or self.grep.search(line.event.message) is not None


def in_order(lines: Iterable[Line], *, buffer: int = _REORDER_BUFFER) -> Iterator[Line]:
    """The lines sorted by time, with at most `buffer` of them in memory."""
    order = count()
    heap: list[tuple[float, int, Line]] = []
    for line in lines:
        heapq.heappush(heap, (line.at, next(order), line))
        if len(heap) > buffer:
            yield heapq.heappop(heap)[2]
    while heap:
        yield heapq.heappop(heap)[2]


def lines(
    source: LogSource,
    functions: Sequence[str],
    window: Window,
    *,
    pattern: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Line]:
    """The lines of a window sorted by time; `tell` receives which functions have no log.

    Raises NoLogYetError if none has a log, CloudError if reading fails.
    """
    iterators: list[Iterator[LogEvent]] = []
    missing: list[NoLogYetError] = []
    for function in functions:
        events = source.events(function, window, pattern=pattern)
        try:
            first = next(events, None)
        except NoLogYetError as error:
            missing.append(error)
        else:
            iterators.append(chain([] if first is None else [first], events))
    if missing and not iterators:
        raise missing[0]
    for absent in missing:
        tell(str(absent))
    merged = heapq.merge(*iterators, key=lambda event: event.timestamp)
    return in_order(Parser().lines(merged))


def followed(
    deployment: Deployment,
    functions: Sequence[str],
    between: tuple[float, float | None],
    *,
    live: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Line]:
    """The lines from the first time on, as they are logged, until the second or forever."""
    follower = Follower(
        LogConnections(
            source=lambda: LogSource(Clients(deployment), retry_seconds=0),
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
    """The lines of some log streams of one function, in the order of their events."""
    return Parser().lines(source.events(function, window, streams=streams))


def unmatched_failures(source: LogSource, function: str, window: Window) -> list[Line]:
    """The faults of invocations that never logged which messages they received."""
    logged: set[str | None] = set()
    faults: list[Line] = []
    for line in lines(source, (function,), window):
        if line.kind == "entry" and line.stage == "received":
            logged.add(line.invocation)
        elif line.kind == "fault":
            faults.append(line)
    return [line for line in faults if line.invocation not in logged]
