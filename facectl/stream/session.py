"""One run of `facectl send`: sends the frames, collects the answers and reports the outcomes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from facectl.errors import FacectlError, IncompleteError
from facectl.stream.frames import Frame
from facectl.stream.in_flight import InFlightTracker
from facectl.stream.outcomes import FrameCounts
from facectl.stream.responses import (
    HIDDEN_SECONDS,
    AnswerReader,
    Collector,
)
from facectl.stream.results import RunStats, as_dict, ranges
from facectl.stream.run_file import RunFile
from facectl.stream.sender import RequestOptions, Sender
from facectl.stream.transport import Transport

_TICK = 0.1
# Seconds to wait for the response to a frame that an earlier process may have sent,
# before it is sent again.
_UNCONFIRMED = 5.0
# Seconds in which duplicates are removed from the queue, so that later runs do not
# meet them.
_DRAIN_DUPLICATES = 2.0
# What an earlier process received and did not delete is visible again by then.
_VISIBLE_AGAIN = HIDDEN_SECONDS + 2.0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run sends and waits.

    `timeout`: seconds until a frame is unanswered, counted from its acceptance
    and again from each answer to a frame that was accepted before it.
    `window`: the maximum number of frames in flight; the others wait here.
    `schedule`: seconds after the first frame at which a frame is due; None for
    as soon as a thread is free. `private_replies`: answers come to a queue of this
    client's own. `edge`: faces are detected on this computer.
    """

    request_options: RequestOptions
    concurrency: int = 4
    schedule: Callable[[Frame], float] | None = None
    wait: bool = True
    timeout: float = 60.0
    window: int = 1000
    # Whether the run ends when no answer comes for a long time.
    ends_unanswered: bool = True
    private_replies: bool = False
    edge: bool = False


@dataclass(frozen=True, slots=True)
class RunReport:
    """The result of a run; `failure` is the error that ended it early, if one did.

    A frame that was answered after its deadline is unanswered, and counted in
    `counts.late` besides.
    """

    stats: RunStats
    counts: FrameCounts
    seconds: float
    unclaimed: bool
    problems: list[str]
    synthetic: bool
    interrupted: bool
    failure: FacectlError | None
    # --resume can continue it.
    resumable: bool = False

    @property
    def finished(self) -> bool:
        """Whether a resumed run could change nothing."""
        unfinished = ("unanswered", "in-flight", "failed", "unsent")
        left = sum(self.stats.statuses[status] for status in unfinished) - self.counts.late
        return not self.interrupted and self.failure is None and not left

    @property
    def exit_code(self) -> int:
        """0 if every frame was answered, 1 if one is missing or late, 3 if the run ended early."""
        if self.interrupted or self.failure is not None:
            return IncompleteError.exit_code
        return 1 if self.stats.lost or self.problems else 0

    def incomplete(self) -> FacectlError | None:
        """The error to exit with; None where the run did not end early."""
        if self.failure is None:
            return None
        if not self.counts.accepted:
            return self.failure
        unanswered = [o.index for o in self.stats.lost if o.status == "unanswered"]
        return IncompleteError(
            f"{self.failure}. The run ended early: {self.counts.accepted} frames sent, "
            f"{self.counts.answered} answered, {self.stats.statuses['unanswered']} unanswered"
            + (f" (frames {ranges(unanswered)})" if unanswered else ""),
            hint=self.failure.hint,
        )

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON, with the frames that the statistics kept."""
        statuses = self.stats.statuses
        return {
            "sent": self.counts.accepted,
            "answered": self.counts.answered,
            "unanswered": statuses["unanswered"],
            "late": self.counts.late,
            "in_flight": statuses["in-flight"],
            "refused": statuses["refused"],
            "failed": statuses["failed"],
            "unsent": statuses["unsent"],
            "duplicates": self.counts.duplicates,
            "earlier": self.counts.earlier,
            "seconds": round(self.seconds, 3),
            "latency": self.stats.latency.as_dict(),
            "names": self.stats.by_frames(),
            "synthetic": self.synthetic,
            "interrupted": self.interrupted,
            "problems": self.problems,
            "error": None if self.failure is None else str(self.failure),
            "lost": [as_dict(o, synthetic=self.synthetic) for o in self.stats.lost],
            "frames": [
                as_dict(o, synthetic=self.synthetic)
                for o in sorted(self.stats.first, key=lambda o: o.index)
            ],
        }


class FrameSource(Protocol):
    """The part of a source that a run needs."""

    live: bool
    problems: list[str]

    def __iter__(self) -> Iterator[Frame]:
        """The frames, in order."""


class Session:
    """One run over a transport; latency counts from `options.schedule`.

    It continues the run that the run file holds.
    """

    def __init__(
        self,
        transport: Transport,
        options: RunOptions,
        stats: RunStats,
        *,
        synthetic: bool = False,
        run_file: RunFile | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._transport = transport
        self._run_file = run_file
        self._senders: list[Sender] = []
        self._options = options
        self._stats = stats
        self._clock = clock
        self._synthetic = synthetic
        self.tracker = InFlightTracker(
            wait=options.wait,
            window=options.window,
            timeout=options.timeout,
            record=run_file,
            clock=clock,
        )
        self._reader: AnswerReader = (
            Collector(transport.queue, self.tracker, clock=clock)
            if transport.readers is None
            else transport.readers(self.tracker)
        )
        self._image_listeners: list[Callable[[int, bytes], None]] = []
        self._interrupted = threading.Event()

    def listen_to_images(self, listener: Callable[[int, bytes], None]) -> None:
        """Pass the index and the image file of every frame to the listener before it is sent."""
        self._image_listeners.append(listener)

    def interrupt(self) -> None:
        """End the run with a report as Ctrl-C does, from another thread.

        A source that waits for a frame has to be closed besides.
        """
        self._interrupted.set()

    def run(
        self,
        source: FrameSource,
        *,
        progress: Callable[[FrameCounts], None] = lambda _: None,
    ) -> RunReport:
        """Send the source's frames and collect their answers. Ctrl-C ends it with a report."""
        began = self._clock()
        interrupted = False
        failure: FacectlError | None = None
        self._keep_live_images(source)
        # The last listener: an outcome that another one rejects is not counted.
        self.tracker.listen(self._stats)
        try:
            self._begin()
            self._send(self._not_sent(source), progress)
            self._await_answers(progress)
            self._send_unconfirmed(source, progress)
            self._drain_duplicates(self._clock() - began)
        except KeyboardInterrupt:
            interrupted = True
        except FacectlError as error:
            failure = error
        finally:
            ended = self._clock()
            for sender in self._senders:
                sender.stop()
            if self._options.wait:
                self._reader.stop()
            self._transport.close()
        try:
            self.tracker.close(interrupted=interrupted)
        except FacectlError as error:
            # What can't be recorded is still reported.
            failure = error if failure is None else failure
        progress(self.tracker.counts)
        return RunReport(
            stats=self._stats,
            counts=self.tracker.counts,
            seconds=ended - began,
            unclaimed=self._reader.unclaimed,
            problems=source.problems,
            synthetic=self._synthetic,
            interrupted=interrupted,
            failure=failure,
            resumable=self._run_file is not None and self._run_file.resumable,
        )

    def _drain_duplicates(self, elapsed: float) -> None:
        """Remove what is left of this run in the queue, `elapsed` seconds after its start."""
        counts = self.tracker.counts
        if not self._options.wait or not (counts.duplicates or counts.earlier):
            return
        hidden = _VISIBLE_AGAIN - elapsed if counts.earlier else 0.0
        self.tracker.drain_duplicates(max(_DRAIN_DUPLICATES, hidden))

    def _begin(self) -> None:
        """Restore the frames of an earlier process, and start what reports of frames."""
        if self._run_file is not None:
            for outcome in self._run_file.earlier():
                self.tracker.restore(outcome)
        if self._transport.outbox is not None:
            self._transport.outbox.bind(self.tracker)
        if self._options.wait:
            self._reader.start()

    def _send(
        self,
        frames: Iterable[Frame],
        progress: Callable[[FrameCounts], None],
    ) -> None:
        sender = Sender(
            self._transport.endpoint,
            self.tracker,
            self._options.request_options,
            concurrency=self._options.concurrency,
            keep=self._keep_image if self._image_listeners else None,
            clock=self._clock,
        )
        self._senders.append(sender)
        sender.run(
            frames, schedule=self._options.schedule, check=lambda: self._check_sending(progress)
        )

    def _keep_live_images(self, source: FrameSource) -> None:
        # What can't be read a second time is kept to be drawn.
        if source.live and self._run_file is not None:
            self.listen_to_images(self._run_file.keep_image)

    def _keep_image(self, index: int, file: bytes) -> None:
        for listener in self._image_listeners:
            listener(index, file)

    def _not_sent(self, source: FrameSource) -> Iterator[Frame]:
        """The frames that no earlier process of this run has sent."""
        for frame in source:
            if self._run_file is None or not self._run_file.knows(frame.index, frame.name):
                yield frame

    def _send_unconfirmed(
        self, source: FrameSource, progress: Callable[[FrameCounts], None]
    ) -> None:
        """Send the frames again that were being sent when an earlier process ended.

        They are sent last, and only without an answer by then: most had arrived.
        """
        unconfirmed = self.tracker.unconfirmed(_UNCONFIRMED if self._options.wait else 0)
        if unconfirmed:
            again = (frame for frame in source if frame.index in unconfirmed)
            self._send(again, progress)
            self._await_answers(progress)

    def _check(self, progress: Callable[[FrameCounts], None]) -> None:
        if self._interrupted.is_set():
            raise KeyboardInterrupt
        progress(self.tracker.counts)
        if self._reader.failure is not None:
            raise self._reader.failure
        outbox = self._transport.outbox
        if outbox is not None and outbox.failure is not None:
            raise outbox.failure

    def _check_sending(self, progress: Callable[[FrameCounts], None]) -> None:
        self._check(progress)
        self.tracker.expire()
        if self._options.ends_unanswered and self.tracker.hopeless:
            raise IncompleteError(
                f"no answer for {2 * self._options.timeout:g} s while "
                f"{self.tracker.counts.waiting} frames were in flight",
                hint="facectl logs",
            )

    def _await_answers(self, progress: Callable[[FrameCounts], None]) -> None:
        outbox = self._transport.outbox
        while True:
            if outbox is not None and outbox.unsent(self.tracker.run):
                self._interrupted.wait(_TICK)
            elif self.tracker.settle(_TICK):
                return
            self._check(progress)


def as_taken(frame: Frame) -> float:
    """A schedule that sends frames at the rate of the source."""
    return frame.timestamp
