"""Events of CloudWatch Logs, and an identity that recognises repeated ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from facectl.errors import InputError
from facectl.naming import FUNCTIONS

Identity = tuple[str, str, int, str, int]


@dataclass(frozen=True, slots=True)
class LogEvent:
    """An event written by a function or by the platform; `timestamp` in ms of the epoch.

    `event_id` is None if the service returns none.
    """

    function: str
    stream: str
    timestamp: int
    message: str
    event_id: str | None = None


def event_of(function: str, fields: Any) -> LogEvent:
    """Convert an event of FilterLogEvents or StartLiveTail."""
    return LogEvent(
        function=function,
        stream=str(fields.get("logStreamName", "")),
        timestamp=int(fields.get("timestamp", 0)),
        message=str(fields.get("message", "")).rstrip("\n"),
        event_id=fields.get("eventId"),
    )


def functions_named(name: str | None) -> tuple[str, ...]:
    """The function with this name or short name, both functions for None; raises InputError."""
    if name is None:
        return FUNCTIONS
    for function in FUNCTIONS:
        if name in {function, function.removeprefix("face-")}:
            return (function,)
    raise InputError(
        f"No function is called {name!r}: there are {' and '.join(FUNCTIONS)}",
        hint=f"facectl logs --function {FUNCTIONS[0]}",
    )


def identified(events: Iterable[LogEvent]) -> Iterator[tuple[Identity, LogEvent]]:
    """Each event of one read once, with an identity that is the same in every other read.

    Live Tail returns no event ids, so the identity consists of function, stream,
    time, text, and a counter for equal events; ids remove repetitions within a read.
    """
    ids: set[str] = set()
    counts: Counter[tuple[str, str, int, str]] = Counter()
    for event in events:
        if event.event_id is not None:
            if event.event_id in ids:
                continue
            ids.add(event.event_id)
        key = (event.function, event.stream, event.timestamp, event.message)
        yield (*key, counts[key]), event
        counts[key] += 1
