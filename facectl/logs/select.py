"""Which lines are wanted, and in which order they are shown."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from facectl.errors import InputError
from facectl.logs.parse import LEVELS, Line

# Functions stamp their lines when they write them; events come in the order of
# the platform's stamps. The two differ by one invocation, not by thousands of lines.
_ROOM = 5000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines are wanted: at least of this level, of this request, with this in their text."""

    level: str = "INFO"
    request_id: str | None = None
    grep: re.Pattern[str] | None = None

    @classmethod
    def of(cls, level: str, request_id: str | None, grep: str | None) -> Wanted:
        """From what was typed; raises InputError for an unknown level or a bad expression."""
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
                f"--grep {grep!r} is no regular expression: {error}",
                hint=f"facectl logs --grep '{re.escape(str(grep))}'",
            ) from error

    def __call__(self, line: Line) -> bool:
        if LEVELS.index(line.level) < LEVELS.index(self.level):
            return False
        if self.request_id is not None and line.request_id != self.request_id:
            return False
        return self.grep is None or self.grep.search(line.event.message) is not None


def in_order(lines: Iterable[Line], *, room: int = _ROOM) -> Iterator[Line]:
    """The lines by their time, though at most `room` of them are held at once."""
    order = count()
    held: list[tuple[float, int, Line]] = []
    for line in lines:
        heapq.heappush(held, (line.at, next(order), line))
        if len(held) > room:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]


def pattern_of(request_id: str, *, prefix: bool = False) -> str:
    """A filter pattern for the lines of a request; empty where the id can't stand in one.

    Source: CloudWatch Logs User Guide, "Filter pattern syntax", JSON log events.
    """
    if not re.fullmatch(r"[\w.:/-]+", request_id, re.ASCII):
        return ""
    return f'{{ $.request_id = "{request_id}{"*" if prefix else ""}" }}'
