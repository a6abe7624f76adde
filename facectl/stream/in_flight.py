"""Tracks the frames in flight and matches responses to them.

The tracker alone decides the outcome of a frame: every opened frame gets
exactly one FrameOutcome, which is passed to each listener in turn. It admits at
most `window` frames at a time. A frame leaves the window when it is answered,
when it could not be delivered, or when its deadline passes, so a long run needs
no more memory than a short one.

A frame whose deadline has passed stays `unanswered`. A response that arrives
after that is `late`: it is counted, passed to the listeners for late responses,
and is neither a duplicate nor another client's message.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from facectl.stream.deadlines import Deadlines
from facectl.stream.frames import Frame
from facectl.stream.outcomes import (
    FINAL,
    AcceptedPost,
    FrameCounts,
    FrameOutcome,
    RunRecord,
    Status,
    request_id_of,
)
from lambda_src.contract import FrameResult

# Frames whose deadline has passed are remembered, the latest of them, to know their late answers.
_REMEMBERED = 10_000
# The run ends after this many consecutive frames without a response.
_HOPELESS = 8


@dataclass(slots=True)
class _Pending:
    """A frame without an outcome; `known` is what is known of it so far."""

    known: FrameOutcome
    # Sent by an earlier process: when its wait began is not known.
    restored: bool = False
    # The number of sinks that took this frame's outcome.
    told: int = 0

    def outcome(
        self, status: Status, answer: FrameResult | None = None, at: float | None = None
    ) -> FrameOutcome:
        """The frame's outcome; `at` is the clock's reading when the answer arrived."""
        return replace(
            self.known,
            status=status,
            answer=answer,
            latency=None if at is None or self.restored else at - self.known.due,
            error=self.known.error if answer is None else None,
        )


class InFlightTracker:
    """The frames of one run; used by the sending threads and the collecting thread.

    A frame's deadline is `timeout` seconds after it was accepted, or after the
    last answer to a frame that was accepted before it (facectl.stream.deadlines).
    One that could not be delivered has `timeout` seconds too in which an answer
    still counts, because an attempt that seemed to fail may have arrived.
    """

    def __init__(
        self,
        *,
        wait: bool = True,
        window: int = 1000,
        timeout: float = 60.0,
        record: RunRecord | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        # A fresh prefix for each run: two runs on one queue can't mix their answers.
        self.run = record.run if record is not None else uuid.uuid4().hex
        self.counts = FrameCounts()
        self._record = record
        # The record first: an outcome that can't be recorded is not reported.
        self._sinks: list[Callable[[FrameOutcome], None]] = [] if record is None else [record.done]
        self._late_sinks = list(self._sinks)
        self._listeners: list[Callable[[FrameOutcome], None]] = []
        self._wait = wait
        self._window = window
        self._timeout = timeout
        self._clock = clock
        self._pending: dict[str, _Pending] = {}
        # Not in the window: they have no deadline.
        self._unconfirmed: dict[str, _Pending] = {}
        self._failed: dict[str, _Pending] = {}
        self._expired: OrderedDict[str, _Pending] = OrderedDict()
        self._deadlines = Deadlines(timeout)
        self._grace = Deadlines(timeout)
        self._expired_in_a_row = 0
        self._row_began = 0.0
        self._draining = False
        self._paused = False
        self._closed = False
        self._changed = threading.Condition(threading.RLock())

    def listen(
        self,
        listener: Callable[[FrameOutcome], None],
        *,
        late: Callable[[FrameOutcome], None] | None = None,
    ) -> None:
        """Pass every later outcome to the listener too, one at a time.

        `late` gets the frames that are answered after their outcome, with the
        status `late`.
        """
        self._listeners.append(listener)
        self._sinks.append(listener)
        if late is not None:
            self._late_sinks.append(late)

    def open(self, frame: Frame, due: float | None, *, stop: Callable[[], bool]) -> str | None:
        """Register a frame and return its request id; waits while the window is full.

        Returns None if the run is closed, or `stop` returns true, before there is room.
        `due` is the clock's reading from which latency counts, None for now.
        """
        with self._changed:
            self.expire()
            while self._closed or self.full:
                if self._closed or stop():
                    return None
                self._changed.wait(0.1)
                self.expire()
            request_id = request_id_of(self.run, frame.index)
            now = self._clock()
            pending = self._unconfirmed.pop(request_id, None)
            if pending is None:
                since = now if due is None else due
                known = FrameOutcome(
                    frame.index,
                    frame.name,
                    request_id,
                    frame.timestamp,
                    "unsent",
                    due=since,
                    opened=now,
                )
                pending = _Pending(known)
                self.counts.opened += 1
            self._pending[request_id] = pending
            if self._record is not None:
                self._record.sent(frame.index, frame.name, frame.timestamp)
            self._changed.notify_all()
            return request_id

    def restore(self, earlier: FrameOutcome) -> None:
        """Take over a frame that an earlier process of this run sent.

        A final outcome is passed to the listeners. An accepted frame is waited
        for. An unsent one may have arrived: it is unconfirmed.
        """
        with self._changed:
            self.counts.opened += 1
            self.counts.accepted += earlier.status in {"answered", "accepted", "in-flight"}
            if earlier.status in FINAL:
                self.counts.earlier += 1
                self.counts.answered += earlier.status == "answered"
                self.counts.refused += earlier.status == "refused"
                for listener in self._listeners:
                    listener(earlier)
                return
            now = self._clock()
            request_id = earlier.request_id
            pending = _Pending(replace(earlier, due=now, opened=now), restored=True)
            if earlier.delivery is None:
                self._unconfirmed[request_id] = pending
            else:
                self._pending[request_id] = pending
                self._deadlines.add(request_id, now)
                self.counts.waiting = len(self._deadlines)

    def on_disk(self, request_id: str) -> None:
        """Record that a restored frame waits on this disk: it will be sent from there."""
        with self._changed:
            pending = self._unconfirmed.pop(request_id, None)
            if pending is not None:
                self._pending[request_id] = pending

    def unconfirmed(self, timeout: float) -> frozenset[int]:
        """The frames of an earlier process that may have arrived or not.

        Waits up to `timeout` seconds for answers to all of them.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._unconfirmed, timeout)
            return frozenset(pending.known.index for pending in self._unconfirmed.values())

    def accepted(self, request_id: str, delivery: AcceptedPost) -> None:
        """Record that the function accepted the frame; its response may have arrived already."""
        with self._changed:
            if self._closed:
                return
            self.counts.accepted += 1
            pending = self._pending.get(request_id)
            if pending is None:
                return
            pending.known = replace(pending.known, delivery=delivery)
            if self._record is not None:
                self._record.accepted(pending.known.index, delivery)
            if self._wait:
                self._deadlines.add(request_id, self._clock())
                self.counts.waiting = len(self._deadlines)
            else:
                self._finish(pending, "accepted")

    def refused(self, request_id: str, reason: str) -> None:
        """Record that the function refused the frame for good."""
        with self._changed:
            pending = self._unaccepted(request_id)
            if pending is not None:
                pending.known = replace(pending.known, error=reason)
                self._finish(pending, "refused")
                self.counts.refused += 1

    def undelivered(self, request_id: str, reason: str) -> None:
        """Record that every attempt failed; one may have arrived, so a response still counts."""
        with self._changed:
            pending = self._unaccepted(request_id)
            if pending is None:
                return
            pending.known = replace(pending.known, error=reason)
            if not self._wait:
                self._finish(pending, "failed")
                return
            self._failed[request_id] = self._pending.pop(request_id)
            self._grace.add(request_id, self._clock())
            self._changed.notify_all()
            if len(self._failed) > self._window:
                self._finish(next(iter(self._failed.values())), "failed")

    def owns(self, request_id: str) -> bool:
        """Whether the request id is one of this run, and the run is not over."""
        return not self._closed and request_id.startswith(f"{self.run}-")

    def answered(self, answer: FrameResult, at: float) -> None:
        """Record an answer that arrived when the clock read `at`; a second one is only counted."""
        with self._changed:
            self._expire(at)
            request_id = answer.request_id
            unreported = self._failed.get(request_id) or self._unconfirmed.get(request_id)
            pending = self._pending.get(request_id) or unreported
            if pending is None:
                self._answered_before(answer, at)
                return
            self._finish(pending, "answered", answer, at)
            self.counts.accepted += unreported is not None
            self.counts.answered += 1
            self._expired_in_a_row = 0

    @property
    def full(self) -> bool:
        """Whether no frame is admitted before another one leaves the window."""
        return len(self._pending) >= self._window

    @property
    def hopeless(self) -> bool:
        """Whether the pipeline seems dead.

        Several frames in a row have passed their deadlines, and no answer came
        within another `timeout` of the first of them.
        """
        with self._changed:
            return (
                not self._paused
                and self._expired_in_a_row >= _HOPELESS
                and self._clock() - self._row_began > self._timeout
            )

    def expire(self) -> None:
        """Close the frames whose deadlines have passed."""
        with self._changed:
            self._expire(self._clock())

    def expecting(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until a frame is in flight; return whether one is."""
        with self._changed:
            self.expire()
            return self._changed.wait_for(
                lambda: self._draining or bool(self._pending or self._unconfirmed or self._failed),
                timeout,
            )

    def pause(self) -> None:
        """Let no deadline pass: no answer can be received until `resume`."""
        with self._changed:
            self._paused = True

    def resume(self) -> None:
        """Restart every timeout: answers are received again, or there are some of other frames."""
        with self._changed:
            self._paused = False
            self._expired_in_a_row = 0
            self._deadlines.restart_all(self._clock())
            self._grace.restart_all(self._clock())

    def drain_duplicates(self, seconds: float) -> None:
        """Expect duplicates for `seconds`, so that they are removed from the queue."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: False, seconds)
            self._draining = False

    def settle(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until no accepted frame waits; return whether none does."""
        with self._changed:
            self.expire()
            return self._changed.wait_for(lambda: self.counts.waiting == 0, timeout)

    def close(self, *, interrupted: bool) -> None:
        """Close every frame that is still in flight; nothing counts after that.

        An error of one listener does not keep the outcomes from the others; the first is raised.
        """
        errors: list[Exception] = []
        with self._changed:
            self._closed = True
            left = (*self._pending.values(), *self._unconfirmed.values(), *self._failed.values())
            for pending in left:
                status: Status = "unsent"
                if pending.known.delivery is not None:
                    status = "in-flight" if interrupted else "unanswered"
                elif pending.known.error is not None:
                    status = "failed"
                self._finish(pending, status, errors=errors)
        if errors:
            raise errors[0]

    def _unaccepted(self, request_id: str) -> _Pending | None:
        """A frame whose POST failed; None if its answer proves that it was accepted."""
        pending = self._pending.get(request_id)
        self.counts.accepted += pending is None and not self._closed
        return pending

    def _expire(self, now: float) -> None:
        if self._paused:
            return
        while (request_id := self._deadlines.passed(now)) is not None:
            self._finish(self._pending[request_id], "unanswered")
            if self._expired_in_a_row == 0:
                self._row_began = now
            self._expired_in_a_row += 1
        while (request_id := self._grace.passed(now)) is not None:
            self._finish(self._failed[request_id], "failed")

    def _answered_before(self, answer: FrameResult, at: float) -> None:
        """An answer to a frame that is no longer waited for: late, or a duplicate."""
        pending = self._expired.get(answer.request_id)
        if pending is None:
            self.counts.duplicates += 1
            return
        outcome = pending.outcome("late", answer, at)
        for sink in self._late_sinks:
            sink(outcome)
        del self._expired[answer.request_id]
        self.counts.accepted += pending.known.delivery is None
        self.counts.late += 1
        self._expired_in_a_row = 0
        if pending.known.delivery is not None:
            # Deadlines pass in order, so it was accepted before all that are waiting.
            self._deadlines.restart_all(at)

    def _finish(
        self,
        pending: _Pending,
        status: Status,
        answer: FrameResult | None = None,
        at: float | None = None,
        errors: list[Exception] | None = None,
    ) -> None:
        outcome = pending.outcome(status, answer, at)
        for sink in self._sinks[pending.told :]:
            try:
                sink(outcome)
            except Exception as error:
                if errors is None:
                    raise
                errors.append(error)
            pending.told += 1
        request_id = pending.known.request_id
        self._pending.pop(request_id, None)
        self._unconfirmed.pop(request_id, None)
        self._failed.pop(request_id, None)
        self._grace.remove(request_id)
        if at is None:
            self._deadlines.remove(request_id)
        else:
            self._deadlines.answered(request_id, at)
        self.counts.waiting = len(self._deadlines)
        if status in {"unanswered", "failed"}:
            self._expired[request_id] = pending
            if len(self._expired) > _REMEMBERED:
                self._expired.popitem(last=False)
        self._changed.notify_all()
