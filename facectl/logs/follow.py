"""Follows the logs by polling and Live Tail, and yields every event exactly once.

Polling reads all events, with a delay. Live Tail is fast, but may skip events
under load, and on a local cloud delivers none of the functions' events. So
polling never stops; it becomes rare while Live Tail delivers.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from facectl.aws_errors import is_expired, is_transient
from facectl.errors import CloudError
from facectl.logs.events import Identity, LogEvent, identified
from facectl.logs.source import NoLogYetError
from facectl.logs.times import Window

# Seconds between polls: after new events, and the maximum while there are none.
_POLL_MIN = 0.5
_POLL_MAX = 2.0
_POLL_GROWTH = 1.5
# While Live Tail delivers, polls only find the events that it skipped.
_POLL_WITH_LIVE = 15.0
_LIVE_CHECK = 0.25
# Events become readable some seconds after they happened, with a delay that differs
# between streams: each poll reads these last seconds again.
_POLL_OVERLAP = 30.0
# Live Tail may still deliver an event younger than this that a poll has found.
_LIVE_GRACE = 5.0
_MAX_SEEN = 50_000
_CREDENTIALS_WAIT = 5.0


class EventSource(Protocol):
    """A source of events."""

    def events(self, function: str, window: Window) -> Iterator[LogEvent]:
        """The events of a time window."""


class LiveTailSession(Protocol):
    """A Live Tail session."""

    @property
    def alive(self) -> bool:
        """Whether the session can still deliver events."""

    def arrived(self) -> Iterator[LogEvent]:
        """The events received since the last call."""

    def close(self) -> None:
        """End the session."""


@dataclass(frozen=True, slots=True)
class LogConnections:
    """Factories of log connections; called again when the credentials have expired.

    `live` is None or raises CloudError if Live Tail is not available.
    """

    source: Callable[[], EventSource]
    live: Callable[[], LiveTailSession] | None = None


class Follower:
    """Follows the logs of functions; `tell` receives a message about each problem."""

    def __init__(
        self,
        connections: LogConnections,
        functions: Sequence[str],
        *,
        tell: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._connections = connections
        self._functions = functions
        self._tell = tell
        self._clock = clock
        self._sleep = sleep
        self._seen: OrderedDict[Identity, None] = OrderedDict()
        # The last problem reported for each function, until its log can be read again.
        self._reported: dict[str, str] = {}
        self._source: EventSource | None = None
        self._live: LiveTailSession | None = None
        self._live_wanted = connections.live is not None
        # Whether Live Tail has delivered events and skipped none that a poll found.
        self._live_delivers = False

    def batches(self, since: float, until: float | None = None) -> Iterator[list[LogEvent]]:
        """New events as they are found, until `until` or forever. Raises CloudError."""
        newest = dict.fromkeys(self._functions, since)
        interval, due = _POLL_MIN, self._clock()
        try:
            while True:
                pushed = self._read_live()
                if pushed:
                    yield pushed
                now = self._clock()
                is_over = until is not None and now >= until
                if now >= due or is_over:
                    polled = self._poll(since, newest, until)
                    if polled:
                        yield polled
                    interval = self._next_interval(interval, bool(polled or pushed))
                    due = self._clock() + interval
                if is_over:
                    return
                self._sleep(
                    min(_LIVE_CHECK if self._live else interval, max(0.0, due - self._clock()))
                )
        finally:
            self._close_live()

    def _next_interval(self, interval: float, found: bool) -> float:
        if self._live is not None and self._live_delivers:
            return _POLL_WITH_LIVE
        return _POLL_MIN if found else min(_POLL_MAX, interval * _POLL_GROWTH)

    def _poll(self, since: float, newest: dict[str, float], until: float | None) -> list[LogEvent]:
        new: list[LogEvent] = []
        for function in self._functions:
            start = max(since, newest[function] - _POLL_OVERLAP)
            events = self._read(function, Window(start, self._clock() if until is None else until))
            for identity, event in identified(events):
                newest[function] = max(newest[function], event.timestamp / 1000)
                if self._is_new(identity):
                    new.append(event)
        self._check_live(new)
        return sorted(new, key=lambda event: event.timestamp)

    def _read(self, function: str, window: Window) -> list[LogEvent]:
        """The events of a window; after an error, those that were read before it."""
        events: list[LogEvent] = []
        try:
            if self._source is None:
                self._source = self._connections.source()
            events.extend(self._source.events(function, window))
        except NoLogYetError:
            self._tell_once(function, f"{function} has no log yet: waiting for it")
        except CloudError as error:
            self._handle_error(function, error)
        else:
            if self._reported.pop(function, None) is not None:
                self._tell(f"The log of {function} can be read again.")
        return sorted(events, key=lambda event: event.timestamp)

    def _handle_error(self, function: str, error: CloudError) -> None:
        if is_expired(error):
            # A new session reads the credentials that `aws sso login` has stored.
            self._source = None
            self._close_live()
            self._tell_once(
                function, f"The credentials have expired; retrying with a new session: {error}"
            )
            self._sleep(_CREDENTIALS_WAIT)
        elif is_transient(error):
            self._tell_once(function, f"{error}; retrying")
            self._sleep(_POLL_MAX)
        else:
            raise error

    def _tell_once(self, function: str, message: str) -> None:
        if self._reported.get(function) != message:
            self._reported[function] = message
            self._tell(message)

    def _is_new(self, identity: Identity) -> bool:
        if identity in self._seen:
            return False
        self._seen[identity] = None
        if len(self._seen) > _MAX_SEEN:
            self._seen.popitem(last=False)
        return True

    def _read_live(self) -> list[LogEvent]:
        if self._live is None and self._live_wanted:
            self._open_live()
        if self._live is None:
            return []
        new = [
            event for identity, event in identified(self._live.arrived()) if self._is_new(identity)
        ]
        self._live_delivers = self._live_delivers or bool(new)
        if not self._live.alive:
            # Sessions end after three hours; one that delivered nothing is not reopened.
            self._live_wanted = self._live_delivers
            self._close_live()
        return new

    def _open_live(self) -> None:
        try:
            self._live = self._connections.live() if self._connections.live else None
        except CloudError:
            # Not available, not allowed, or no log group yet: polling reports the reason.
            self._live_wanted = False

    def _close_live(self) -> None:
        if self._live is not None:
            self._live.close()
            self._live = None
            self._live_delivers = False

    def _check_live(self, new: list[LogEvent]) -> None:
        """Poll often again if Live Tail skipped an event that a poll found."""
        overdue = (self._clock() - _LIVE_GRACE) * 1000
        if self._live is not None and any(event.timestamp < overdue for event in new):
            self._live_delivers = False
