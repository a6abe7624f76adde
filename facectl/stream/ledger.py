"""Which frames are on their way, and which answer belongs to which.

The ledger is the one place where a frame's fate is decided: every frame that
was opened ends in exactly one Outcome, which is handed to each listener in
turn. It holds frames that are on their way and nothing else, and admits no
more than its window, so a long run needs no more memory than a short one.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from facectl.stream.frames import Frame
from lambda_src.contract import FrameResult

# answered     the one answer came
# unanswered   accepted, no answer within the time given
# in-flight    accepted, no answer yet when the run was stopped
# accepted     accepted, and no answer was waited for
# refused      the function will never take it (4xx)
# failed       every attempt to send it failed
# unsent       the run was stopped before it was accepted
Status = Literal["answered", "unanswered", "in-flight", "accepted", "refused", "failed", "unsent"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A POST that was answered 200: faces found, attempts needed, seconds of the last attempt."""

    faces: int
    attempts: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one frame.

    `latency` is in seconds from the moment the frame was due to the moment its
    answer arrived here; `timestamp` in seconds of the source. `due` and `opened`
    are the clock's readings when the frame should have been, and was, taken up.
    """

    index: int
    name: str
    request_id: str
    timestamp: float
    status: Status
    answer: FrameResult | None = None
    latency: float | None = None
    delivery: Delivery | None = None
    error: str | None = None
    due: float = 0.0
    opened: float = 0.0


@dataclass(slots=True)
class _Pending:
    index: int
    name: str
    timestamp: float
    due: float
    opened: float
    delivery: Delivery | None = None
    error: str | None = None
    # Sent by a process that has ended: nobody knows since when it has been waited for.
    restored: bool = False
    resent: bool = False


@dataclass(slots=True)
class Counts:
    """How many frames so far; `waiting` were accepted and have no answer yet.

    `earlier` were finished before this process took the run up.
    """

    opened: int = 0
    accepted: int = 0
    answered: int = 0
    refused: int = 0
    waiting: int = 0
    duplicates: int = 0
    earlier: int = 0


class Record(Protocol):
    """What a run is written down in as it goes on."""

    run: str

    def sent(self, index: int, name: str, timestamp: float) -> None:
        """The frame is about to be sent."""

    def accepted(self, index: int, delivery: Delivery) -> None:
        """The function took the frame."""

    def done(self, outcome: Outcome) -> None:
        """The frame's fate."""


class Ledger:
    """The frames of one run, shared by the threads that send and the one that collects."""

    def __init__(
        self,
        *,
        wait: bool = True,
        window: int = 1000,
        run: str | None = None,
        record: Record | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        # A fresh prefix for each run: two runs on one queue can't mix their answers.
        self.run = record.run if record is not None else run or uuid.uuid4().hex
        self._record = record
        self.counts = Counts()
        self.last_progress = clock()
        self._listeners: list[Callable[[Outcome], None]] = []
        self._wait = wait
        self._window = window
        self._clock = clock
        self._pending: dict[str, _Pending] = {}
        self._lingering = False
        self._changed = threading.Condition(threading.RLock())

    def listen(self, listener: Callable[[Outcome], None]) -> None:
        """Hand every outcome from now on to the listener too, one at a time."""
        self._listeners.append(listener)

    def open(self, frame: Frame, due: float | None, *, stop: Callable[[], bool]) -> str | None:
        """Register a frame and give its request id; waits for room, None if `stop` says so first.

        `due` is the clock's reading from which latency counts, None for now.
        """
        with self._changed:
            while len(self._pending) >= self._window:
                if stop():
                    return None
                self._changed.wait(0.1)
            request_id = f"{self.run}-{frame.index:06d}"
            now = self._clock()
            if request_id in self._pending:
                self._pending[request_id].resent = True
            else:
                self._pending[request_id] = _Pending(
                    frame.index, frame.name, frame.timestamp, now if due is None else due, now
                )
                self.counts.opened += 1
            if self._record is not None:
                self._record.sent(frame.index, frame.name, frame.timestamp)
            self._changed.notify_all()
            return request_id

    def restore(self, index: int, name: str, timestamp: float, delivery: Delivery | None) -> None:
        """A frame that an earlier process sent; without a delivery nobody knows if it arrived."""
        with self._changed:
            now = self._clock()
            self._pending[f"{self.run}-{index:06d}"] = _Pending(
                index, name, timestamp, now, now, delivery, restored=True
            )
            self.counts.opened += 1
            if delivery is not None:
                self.counts.accepted += 1
                self.counts.waiting += 1

    def replay(self, outcome: Outcome) -> None:
        """The fate of a frame, as an earlier process of this run wrote it down."""
        with self._changed:
            self.counts.opened += 1
            self.counts.earlier += 1
            self.counts.accepted += outcome.status != "refused"
            self.counts.answered += outcome.status == "answered"
            self.counts.refused += outcome.status == "refused"
            for listener in self._listeners:
                listener(outcome)

    def unsure(self, timeout: float) -> frozenset[int]:
        """The frames of an earlier process of which nobody knows whether they arrived.

        Waits up to `timeout` seconds for answers to all of them.
        """

        def left() -> frozenset[int]:
            return frozenset(
                pending.index
                for pending in self._pending.values()
                if pending.restored and pending.delivery is None
            )

        with self._changed:
            self._changed.wait_for(lambda: not left(), timeout)
            return left()

    def accepted(self, request_id: str, delivery: Delivery) -> None:
        """The function took the frame. Its answer may have come before this did."""
        with self._changed:
            self.counts.accepted += 1
            self.last_progress = self._clock()
            pending = self._pending.get(request_id)
            if pending is None:
                return
            pending.delivery = delivery
            if self._record is not None:
                self._record.accepted(pending.index, delivery)
            if self._wait:
                self.counts.waiting += 1
            else:
                self._finish(request_id, "accepted")

    def refused(self, request_id: str, reason: str) -> None:
        """The function will never take the frame."""
        with self._changed:
            if request_id in self._pending:
                self._pending[request_id].error = reason
                self._finish(request_id, "refused")
                self.counts.refused += 1

    def undelivered(self, request_id: str, reason: str) -> None:
        """Every attempt failed. One may have arrived all the same, so an answer still counts."""
        with self._changed:
            pending = self._pending.get(request_id)
            if pending is not None:
                pending.error = reason
                if not self._wait:
                    self._finish(request_id, "failed")

    def owns(self, request_id: str) -> bool:
        """Whether the request id is one of this run."""
        return request_id.startswith(f"{self.run}-")

    def answered(self, answer: FrameResult, at: float) -> None:
        """An answer of this run arrived when the clock read `at`; a second one is only counted."""
        with self._changed:
            pending = self._pending.get(answer.request_id)
            if pending is None:
                self.counts.duplicates += 1
                return
            self._finish(answer.request_id, "answered", answer, at - pending.due)
            if pending.delivery is not None:
                self.counts.waiting -= 1
            elif pending.restored and not pending.resent:
                # Nobody is left to be told that it was taken.
                self.counts.accepted += 1
            self.counts.answered += 1
            self.last_progress = self._clock()
            self._changed.notify_all()

    @property
    def full(self) -> bool:
        """Whether no frame is admitted before another one is finished."""
        return len(self._pending) >= self._window

    def expecting(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until a frame is on its way; whether one is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._lingering or bool(self._pending), timeout)

    def linger(self, seconds: float) -> None:
        """Expect second copies for so long, so that they are taken off the queue."""
        with self._changed:
            self._lingering = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: False, seconds)
            self._lingering = False

    def settle(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until no accepted frame lacks its answer; whether so."""
        with self._changed:
            return self._changed.wait_for(lambda: self.counts.waiting == 0, timeout)

    def close(self, *, interrupted: bool) -> None:
        """Decide the fate of every frame that is still on its way."""
        with self._changed:
            for request_id, pending in list(self._pending.items()):
                if pending.delivery is not None:
                    self._finish(request_id, "in-flight" if interrupted else "unanswered")
                else:
                    self._finish(request_id, "failed" if pending.error else "unsent")

    def _finish(
        self,
        request_id: str,
        status: Status,
        answer: FrameResult | None = None,
        latency: float | None = None,
    ) -> None:
        pending = self._pending[request_id]
        outcome = Outcome(
            index=pending.index,
            name=pending.name,
            request_id=request_id,
            timestamp=pending.timestamp,
            status=status,
            answer=answer,
            latency=None if pending.restored else latency,
            delivery=pending.delivery,
            error=None if status == "answered" else pending.error,
            due=pending.due,
            opened=pending.opened,
        )
        # The record and the listeners first: what can't be written down has not arrived.
        if self._record is not None:
            self._record.done(outcome)
        for listener in self._listeners:
            listener(outcome)
        del self._pending[request_id]
        self._changed.notify_all()
