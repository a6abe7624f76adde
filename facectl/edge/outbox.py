"""Sends the messages of the disk queue, and tells each run which frames were accepted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from facectl.edge.disk_queue import DiskQueue, QueuedMessage
from facectl.errors import CloudError
from facectl.retry import exponential
from facectl.stream.in_flight import InFlightTracker
from facectl.stream.outcomes import AcceptedPost

T = TypeVar("T")

# Seconds until the next attempt while the cloud does not answer.
_DELAY = exponential(0.5, 15.0)
# Seconds without the cloud after which a run ends that only waits for it.
LONGEST_OUTAGE = 3600.0
_TICK = 0.2


class RefusedError(CloudError):
    """The request queue will never take these messages: it is missing, or access is denied."""


class RequestQueue(Protocol):
    """The request queue as the outbox uses it."""

    def look_up(self) -> str:
        """Its URL; raises as `send`."""

    def send(self, bodies: Sequence[str]) -> dict[int, str]:
        """Send messages; returns the errors of failed ones by index.

        Raises RefusedError, and CloudError where it may work later.
        """


class Outbox:
    """A thread that sends what is in the disk queue, in order.

    `report` gets a sentence when the cloud stops to answer, and when it is back.
    """

    def __init__(
        self,
        disk: DiskQueue,
        requests: RequestQueue,
        *,
        report: Callable[[str], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.failure: Exception | None = None
        self.bytes_sent = 0
        self.dropped = 0
        self._disk = disk
        self._requests = requests
        self._report = report
        self._clock = clock
        self._closing = threading.Event()
        self._wait = wait or self._closing.wait
        self._news = threading.Event()
        self._trackers: dict[str, InFlightTracker] = {}
        self._failures = 0
        self._since = clock()
        self._starting = threading.Lock()
        self._started = False
        self._thread = threading.Thread(target=self._run, name="facectl-outbox", daemon=True)

    def start(self) -> None:
        """Begin to send; what an earlier process left comes first."""
        with self._starting:
            if not self._started:
                self._started = True
                self._thread.start()

    def bind(self, tracker: InFlightTracker) -> None:
        """Tell this run's tracker what becomes of its frames, from the first one on, and start."""
        for request_id in self._disk.request_ids(f"{tracker.run}-"):
            tracker.on_disk(request_id)
        self._trackers[tracker.run] = tracker
        if self._failures:
            tracker.pause()
        self.start()

    def add(self, request_id: str, faces: int, body: str) -> None:
        """Put a message on disk, to be sent."""
        for dropped in self._disk.add(request_id, faces, body):
            self.dropped += 1
            tracker = self._tracker(dropped)
            if tracker is not None:
                tracker.undelivered(dropped, "dropped: the queue on disk was full")
        self._news.set()

    def unsent(self, run: str) -> int:
        """The messages of a run that SQS has not accepted yet.

        Raises CloudError where the cloud has not answered for an hour.
        """
        left = self._disk.waiting(f"{run}-")
        if self._failures and self._clock() - self._since > LONGEST_OUTAGE:
            minutes = LONGEST_OUTAGE / 60
            raise CloudError(
                f"the request queue has not answered for {minutes:g} minutes; {left} frames wait "
                "on this disk",
                hint="the next facectl send --detect edge sends them",
            )
        return left

    def close(self) -> None:
        """Stop sending and close the disk queue; what is left is sent by the next process."""
        self._closing.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(10)
        self._disk.close()

    def _run(self) -> None:
        try:
            # A deployment that is missing is reported before the first face.
            while not self._closing.is_set() and self._attempt(self._requests.look_up) is None:
                pass
            self._note_return()
            while not self._closing.is_set():
                batch = self._disk.batch()
                if batch:
                    self._send(batch)
                else:
                    self._news.wait(_TICK)
                    self._news.clear()
        except Exception as error:  # noqa: BLE001 - the runs raise it
            self.failure = error

    def _send(self, batch: list[QueuedMessage]) -> None:
        began = self._clock()
        failed = self._attempt(lambda: self._requests.send([message.body for message in batch]))
        if failed is None:
            return
        if len(failed) == len(batch):
            self._note_outage(failed[0])
            return
        self._note_return()
        sent = [message for index, message in enumerate(batch) if index not in failed]
        self._disk.remove(sent)
        seconds = self._clock() - began
        for message in sent:
            self.bytes_sent += len(message.body)
            tracker = self._tracker(message.request_id)
            if tracker is not None:
                tracker.accepted(message.request_id, AcceptedPost(message.faces, 1, seconds))

    def _attempt(self, call: Callable[[], T]) -> T | None:
        """What the call returns; None, after a delay, where the cloud does not answer."""
        try:
            return call()
        except RefusedError:
            raise
        except CloudError as error:
            self._note_outage(str(error))
            return None

    def _note_outage(self, reason: str) -> None:
        if not self._failures:
            self._since = self._clock()
            self._report(f"Frames wait on this disk until the cloud answers: {reason}")
        self._failures += 1
        # Their answers can't be received either.
        for tracker in [*self._trackers.values()]:
            tracker.pause()
        self._wait(_DELAY(self._failures))

    def _note_return(self) -> None:
        if self._failures:
            self._report(f"The cloud is back after {self._clock() - self._since:.0f} s")
            self._failures = 0
            self.restart_timeouts()

    def restart_timeouts(self) -> None:
        """Restart the timeouts of all runs."""
        for tracker in [*self._trackers.values()]:
            tracker.resume()

    def _tracker(self, request_id: str) -> InFlightTracker | None:
        return self._trackers.get(request_id.rpartition("-")[0])
