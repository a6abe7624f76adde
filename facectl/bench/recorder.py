"""Records outcome and timestamps of every frame of a run.

The recorder wraps the endpoint and the response queue of a transport; the run
is a Session, as in `facectl send`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from facectl.errors import FacectlError
from facectl.stream.outcomes import AcceptedPost, FrameOutcome, Status
from facectl.stream.responses import LONG_POLL, MessageQueue, Received
from facectl.stream.sender import Endpoint
from facectl.stream.transport import Transport
from lambda_src.contract import DETECTION_INIT, RECOGNITION_INIT, FrameRequest

COLD_KEYS = (DETECTION_INIT, RECOGNITION_INIT)


@dataclass(frozen=True, slots=True)
class PostTiming:
    """One POST by the client's clock, from its first attempt to its end.

    `last`: seconds of the accepted attempt; None, with 0 attempts, if none was accepted.
    """

    began: float
    ended: float
    attempts: int
    last: float | None = None

    @property
    def retry_delay(self) -> float:
        """Seconds before the accepted attempt: failed attempts and backoff."""
        return 0.0 if self.last is None else max(0.0, self.ended - self.began - self.last)

    @property
    def sent(self) -> float:
        """Start of the accepted attempt, or of the first if none was accepted."""
        return self.began + self.retry_delay


@dataclass(frozen=True, slots=True)
class Stamps:
    """SQS timestamps of an answer, in seconds of the epoch by its clock."""

    sent_at: float
    first_received_at: float | None


@dataclass(frozen=True, slots=True)
class FrameTiming:
    """One frame. Times in seconds of the client's monotonic clock, durations in seconds.

    `latency` counts from `due`; `timings_ms` are measured by the functions; `faces`
    is the number of recognised faces.
    """

    index: int
    name: str
    request_id: str
    status: Status
    due: float
    opened: float
    result: str | None = None
    error: str | None = None
    latency: float | None = None
    post: PostTiming | None = None
    stamps: Stamps | None = None
    timings_ms: Mapping[str, float] | None = None
    faces: int | None = None

    @property
    def answered(self) -> float | None:
        """The time at which the client had received the answer; None without one."""
        return None if self.latency is None else self.due + self.latency

    @property
    def cold(self) -> bool:
        """Whether a function had a cold start for this frame."""
        return self.timings_ms is not None and any(key in self.timings_ms for key in COLD_KEYS)


class Recorder:
    """Wraps a transport and listens to the tracker; `samples` is complete after the run."""

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._outcomes: list[FrameOutcome] = []
        self._posts: dict[str, PostTiming] = {}
        self._stamps: dict[str, Stamps] = {}
        self._lock = threading.Lock()

    def wrap(self, transport: Transport) -> Transport:
        """The transport, with an endpoint and a queue that record."""
        return replace(
            transport,
            endpoint=_RecordedEndpoint(transport.endpoint, self._posted, self._clock),
            queue=_RecordedQueue(transport.queue, self._received),
        )

    def __call__(self, outcome: FrameOutcome) -> None:
        """Record the outcome of a frame, which the tracker reports."""
        self._outcomes.append(outcome)

    def samples(self) -> list[FrameTiming]:
        """The frames in the order in which they were due."""
        return [
            FrameTiming(
                index=outcome.index,
                name=outcome.name,
                request_id=outcome.request_id,
                status=outcome.status,
                due=outcome.due,
                opened=outcome.opened,
                result=None if outcome.answer is None else outcome.answer.result,
                error=outcome.error,
                latency=outcome.latency,
                post=self._posts.get(outcome.request_id),
                stamps=self._stamps.get(outcome.request_id),
                timings_ms=None if outcome.answer is None else outcome.answer.timings_ms,
                faces=_faces(outcome),
            )
            for outcome in sorted(self._outcomes, key=lambda outcome: outcome.index)
        ]

    def _posted(self, request_id: str, post: PostTiming) -> None:
        with self._lock:
            self._posts[request_id] = post

    def _received(self, messages: Sequence[Received]) -> None:
        with self._lock:
            for message in messages:
                if message.result is not None:
                    # Keep the timestamps of the first delivery, which is the one that counts.
                    self._stamps.setdefault(
                        message.result.request_id,
                        Stamps(message.sent_at, message.first_received_at),
                    )


def _faces(outcome: FrameOutcome) -> int | None:
    if outcome.answer is None or outcome.answer.faces is None:
        return None
    return len(outcome.answer.faces)


class _RecordedEndpoint:
    def __init__(
        self, inner: Endpoint, record: Callable[[str, PostTiming], None], clock: Callable[[], float]
    ) -> None:
        self._inner = inner
        self._record = record
        self._clock = clock

    def post(self, request: FrameRequest, *, sleep: Callable[[float], object]) -> AcceptedPost:
        began = self._clock()
        try:
            accepted = self._inner.post(request, sleep=sleep)
        except FacectlError:
            self._record(request.request_id, PostTiming(began, self._clock(), 0))
            raise
        self._record(
            request.request_id,
            PostTiming(began, self._clock(), accepted.attempts, accepted.seconds),
        )
        return accepted


class _RecordedQueue:
    def __init__(self, inner: MessageQueue, record: Callable[[Sequence[Received]], None]) -> None:
        self._inner = inner
        self._record = record

    def receive(self, *, wait: int = LONG_POLL) -> list[Received]:
        messages = self._inner.receive(wait=wait)
        self._record(messages)
        return messages

    def delete(self, messages: Sequence[Received]) -> None:
        self._inner.delete(messages)

    def release(self, messages: Sequence[Received]) -> float:
        return self._inner.release(messages)
