"""Follows the logs: every event once, whichever way it comes first.

Polling reads everything, though late; Live Tail is quick, though it may leave
events out where there are many, and on a local cloud carries none of the
functions'. So polling always goes on, and becomes rare while Live Tail proves
that it delivers.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from facectl.aws import is_expired, is_passing
from facectl.errors import CloudError
from facectl.logs.events import Identity, LogEvent, identified
from facectl.logs.source import NoLogYetError
from facectl.logs.times import Window

# Seconds between polls: after news, and at most while nothing comes.
_BUSY = 0.5
_QUIET = 2.0
_SLOWER = 1.5
# While Live Tail delivers, polls only find what it left out.
_BESIDE_LIVE = 15.0
_LOOK = 0.25
# Events become readable some seconds after they happened, those of one stream
# after those of another: each poll reads this far back again.
_OVERLAP = 30.0
# Of an event that only a poll found, Live Tail may still be about to tell.
_LIVE_GRACE = 5.0
_REMEMBERED = 50_000
_RENEWAL = 5.0


class EventSource(Protocol):
    """Where events are read."""

    def events(self, function: str, window: Window) -> Iterator[LogEvent]:
        """Those of a window."""


class LiveTailSession(Protocol):
    """A Live Tail session."""

    @property
    def alive(self) -> bool:
        """Whether events may still come."""

    def arrived(self) -> Iterator[LogEvent]:
        """The events that came since the last call."""

    def close(self) -> None:
        """End it."""


@dataclass(frozen=True, slots=True)
class LogConnections:
    """How to reach the logs; both are called again after credentials expired.

    `live` is None, or raises CloudError, where there is no Live Tail.
    """

    source: Callable[[], EventSource]
    live: Callable[[], LiveTailSession] | None = None


class Follower:
    """Follows functions from a point in time; `tell` gets a sentence about what goes wrong."""

    def __init__(
        self,
        cloud: LogConnections,
        functions: Sequence[str],
        *,
        tell: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._cloud = cloud
        self._functions = functions
        self._tell = tell
        self._clock = clock
        self._sleep = sleep
        self._seen: OrderedDict[Identity, None] = OrderedDict()
        # What was told about each function's reading, until it works again.
        self._told: dict[str, str] = {}
        self._source: EventSource | None = None
        self._live: LiveTailSession | None = None
        self._live_wanted = cloud.live is not None
        # Live Tail has delivered, or has failed to.
        self._proven = False

    def batches(self, since: float, until: float | None = None) -> Iterator[list[LogEvent]]:
        """New events, as they are found, until `until` or for ever. Raises CloudError."""
        newest = dict.fromkeys(self._functions, since)
        interval, due = _BUSY, self._clock()
        try:
            while True:
                pushed = self._pushed()
                if pushed:
                    yield pushed
                now = self._clock()
                over = until is not None and now >= until
                if now >= due or over:
                    polled = self._polled(since, newest, until)
                    if polled:
                        yield polled
                    interval = self._pace(interval, bool(polled or pushed))
                    due = self._clock() + interval
                if over:
                    return
                self._sleep(min(_LOOK if self._live else interval, max(0.0, due - self._clock())))
        finally:
            self._drop_live()

    def _pace(self, interval: float, news: bool) -> float:
        if self._live is not None and self._proven:
            return _BESIDE_LIVE
        return _BUSY if news else min(_QUIET, interval * _SLOWER)

    def _polled(
        self, since: float, newest: dict[str, float], until: float | None
    ) -> list[LogEvent]:
        found: list[LogEvent] = []
        for function in self._functions:
            start = max(since, newest[function] - _OVERLAP)
            events = self._read(function, Window(start, self._clock() if until is None else until))
            for identity, event in identified(events):
                newest[function] = max(newest[function], event.timestamp / 1000)
                if self._is_new(identity):
                    found.append(event)
        self._judge_live(found)
        return sorted(found, key=lambda event: event.timestamp)

    def _read(self, function: str, window: Window) -> list[LogEvent]:
        """The events that can be had: where the reading breaks off, those before that."""
        events: list[LogEvent] = []
        try:
            if self._source is None:
                self._source = self._cloud.source()
            events.extend(self._source.events(function, window))
        except NoLogYetError:
            self._once(function, f"{function} has no log yet: waiting for it")
        except CloudError as error:
            self._survive(function, error)
        else:
            if self._told.pop(function, None) is not None:
                self._tell(f"The log of {function} can be read again.")
        return sorted(events, key=lambda event: event.timestamp)

    def _survive(self, function: str, error: CloudError) -> None:
        if is_expired(error):
            # A new session finds what `aws sso login` left meanwhile.
            self._source = None
            self._drop_live()
            self._once(
                function, f"The credentials have expired; following goes on with new ones: {error}"
            )
            self._sleep(_RENEWAL)
        elif is_passing(error):
            self._once(function, f"{error}; trying again")
            self._sleep(_QUIET)
        else:
            raise error

    def _once(self, function: str, sentence: str) -> None:
        if self._told.get(function) != sentence:
            self._told[function] = sentence
            self._tell(sentence)

    def _is_new(self, identity: Identity) -> bool:
        if identity in self._seen:
            return False
        self._seen[identity] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def _pushed(self) -> list[LogEvent]:
        if self._live is None and self._live_wanted:
            self._open_live()
        if self._live is None:
            return []
        found = [
            event for identity, event in identified(self._live.arrived()) if self._is_new(identity)
        ]
        self._proven = self._proven or bool(found)
        if not self._live.alive:
            # Sessions end after three hours; one that ends unproven is not worth another.
            self._live_wanted = self._proven
            self._drop_live()
        return found

    def _open_live(self) -> None:
        try:
            self._live = self._cloud.live() if self._cloud.live else None
        except CloudError:
            # Not offered, not allowed, or no log group yet: polling tells what is wrong.
            self._live_wanted = False

    def _drop_live(self) -> None:
        if self._live is not None:
            self._live.close()
            self._live = None
            self._proven = False

    def _judge_live(self, found: list[LogEvent]) -> None:
        """Polls must not find much that a session of Live Tail kept back."""
        overdue = (self._clock() - _LIVE_GRACE) * 1000
        if self._live is not None and any(event.timestamp < overdue for event in found):
            self._proven = False
