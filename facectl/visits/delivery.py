"""Delivers the events of visits to a receiver from a thread of its own, in order, with retries."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

from facectl.errors import FacectlError
from facectl.retry import Backoff, exponential
from facectl.visits.event_queue import EventQueue, QueuedEvent
from facectl.visits.models import VisitEvent

_DELAY = exponential(0.5, 30.0)
_TICK = 0.5
KNOWN, UNKNOWN = "known", "unknown"
_REMEMBERED = 10_000


class UndeliveredError(FacectlError):
    """The receiver did not take the event; it is sent again."""


class RefusedError(FacectlError):
    """The receiver will never take this event."""


class Receiver(Protocol):
    """Where events go; `name` is its address without secrets, `key` differs for each receiver."""

    name: str
    key: str

    def deliver(self, event: QueuedEvent) -> None:
        """Send an event; returns when it was taken. Raises UndeliveredError or RefusedError."""

    def close(self) -> None:
        """Close its connection."""


class VisitFilter:
    """Which visits a receiver gets: `known`, `unknown`, or names; all if none is given.

    `ignored` are names that it never gets. Once an event of a visit has passed, the later
    ones pass too: the receiver learns that a name was taken back, and of the end.
    """

    def __init__(self, only: Sequence[str] = (), ignored: Sequence[str] = ()) -> None:
        self._only = frozenset(only)
        self._ignored = frozenset(ignored)
        # The visits that have passed: the newest of them, because a visit that has ended can be
        # amended.
        self._passed: OrderedDict[str, None] = OrderedDict()

    def passes(self, event: VisitEvent) -> bool:
        """Whether the receiver gets the event; called once for each, in order."""
        if event.event == "start":
            self._passed.pop(event.visit, None)
        passed = event.visit in self._passed or self._wanted(event.person)
        if passed and (self._only or self._ignored):
            self._passed[event.visit] = None
            self._passed.move_to_end(event.visit)
            if len(self._passed) > _REMEMBERED:
                self._passed.popitem(last=False)
        return passed

    def _wanted(self, person: str | None) -> bool:
        if person in self._ignored:
            return False
        if not self._only:
            return True
        if person is None:
            return UNKNOWN in self._only
        return KNOWN in self._only or person in self._only


class Delivery:
    """A sink for events: `delivery(event)` puts it into the queue on disk and returns.

    The thread delivers one event after the other. A failed one is sent again with growing
    delays, before any later one. `report` gets a sentence when an outage begins and
    ends, and for each refused event.
    """

    def __init__(
        self,
        queue: EventQueue,
        receiver: Receiver,
        only: VisitFilter,
        *,
        report: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._queue = queue
        self._receiver = receiver
        self._filter = only
        self._report = report
        self._clock = clock
        self._stopping = threading.Event()
        self._backoff = Backoff(
            delay=_DELAY, limit=math.inf, clock=clock, sleep=sleep or self._stopping.wait
        )
        self._failing_since: float | None = None
        self._changed = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="facectl-events", daemon=True)

    @property
    def queue(self) -> str:
        """The id of the receiver's queues."""
        return EventQueue.id_of(self._receiver.key)

    def start(self) -> None:
        """Start delivering, first what an earlier process left."""
        self._thread.start()

    def __call__(self, event: VisitEvent) -> None:
        """Add an event to the queue."""
        if self._filter.passes(event):
            self._queue.add(event.key, json.dumps(event.as_dict()))
            self._changed.set()

    def recover(self, event: VisitEvent) -> None:
        """Add the last event that a killed run wrote to its file, if it had not come this far."""
        if self._filter.passes(event):
            self._queue.recover(event.run, event.key, json.dumps(event.as_dict()))
            self._changed.set()

    def close(self, *, finished: bool, wait: float) -> None:
        """Deliver what is left for up to `wait` seconds; the rest stays for the next run."""
        self._ending = True
        self._changed.set()
        self._thread.join(wait)
        self._stopping.set()
        # The attempt in progress may take as long again.
        self._thread.join(wait)
        name = self._receiver.name
        if self._queue.dropped:
            self._report(f"{name}: {self._queue.dropped} events were too many and were dropped")
        if waiting := self._queue.waiting():
            self._report(
                f"{name}: {waiting} events are not delivered; the next facectl send with this "
                "--on-visit delivers them"
            )
        if not self._thread.is_alive():
            self._receiver.close()
            self._queue.close(finished=finished)

    def deliver_all(self) -> None:
        """Deliver until nothing waits, or `sleep` returns true."""
        while (event := self._queue.first()) is not None:
            try:
                self._receiver.deliver(event)
            except UndeliveredError as error:
                self._failed(error)
                if self._backoff.wait_or_raise(error):
                    return
                continue
            except RefusedError as error:
                self._report(f"{self._receiver.name} refused event {event.key}: {error}")
            self._queue.done(event.number)
            self._succeeded()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._changed.clear()
                ending = self._ending
                self.deliver_all()
                if ending:
                    return
                self._changed.wait(_TICK)
        except Exception as error:  # noqa: BLE001 - a thread has no caller
            self._report(f"{self._receiver.name}: no more events are delivered: {error}")

    def _failed(self, error: UndeliveredError) -> None:
        if self._failing_since is None:
            self._failing_since = self._clock()
            self._report(f"{self._receiver.name}: {error}; events wait and are sent again")

    def _succeeded(self) -> None:
        self._backoff.reset()
        if self._failing_since is not None:
            seconds = self._clock() - self._failing_since
            self._failing_since = None
            self._report(f"{self._receiver.name} takes events again, after {seconds:.0f} s")
