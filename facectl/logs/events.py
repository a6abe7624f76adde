"""One event of CloudWatch Logs, and how the same event is recognised when it comes again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from facectl.errors import InputError
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION

FUNCTIONS = (DETECTION_FUNCTION, RECOGNITION_FUNCTION)

Identity = tuple[str, str, int, str, int]


@dataclass(frozen=True, slots=True)
class LogEvent:
    """What a function wrote, or the platform about it; `timestamp` in ms of the epoch.

    `event_id` is None where the service does not tell one.
    """

    function: str
    stream: str
    timestamp: int
    message: str
    event_id: str | None = None


def event_of(function: str, fields: Any) -> LogEvent:
    """An event of FilterLogEvents or StartLiveTail."""
    return LogEvent(
        function=function,
        stream=str(fields.get("logStreamName", "")),
        timestamp=int(fields.get("timestamp", 0)),
        message=str(fields.get("message", "")).rstrip("\n"),
        event_id=fields.get("eventId"),
    )


def function_named(name: str) -> str:
    """The function that a name or its short form means; raises InputError."""
    for function in FUNCTIONS:
        if name in {function, function.removeprefix("face-")}:
            return function
    raise InputError(
        f"No function is called {name!r}: there are {' and '.join(FUNCTIONS)}",
        hint=f"facectl logs --function {FUNCTIONS[0]}",
    )


def identified(events: Iterable[LogEvent]) -> Iterator[tuple[Identity, LogEvent]]:
    """Each event of one reading once, with an identity that another reading gives it too.

    Live Tail tells no event ids, so an event is its text, time and stream, and
    the how-manieth of those; ids tell the repetitions of a reading apart.
    """
    ids: set[str] = set()
    counts: Counter[tuple[str, str, int, str]] = Counter()
    for event in events:
        if event.event_id is not None:
            if event.event_id in ids:
                continue
            ids.add(event.event_id)
        same = (event.function, event.stream, event.timestamp, event.message)
        yield (*same, counts[same]), event
        counts[same] += 1
