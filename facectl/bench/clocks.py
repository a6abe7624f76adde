"""Offset between this computer's clock and SQS's, with its uncertainty.

SQS stamps a message between two readings of the local clock, which bounds the
offset from both sides. The intersection of all bounds is an interval: its middle
is the estimate, half its width the uncertainty. Source: F. Cristian, "Probabilistic Clock
Synchronization", Distributed Computing 3, 1989.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from facectl.aws import Clients, cloud_errors
from facectl.bench.recorder import FrameTiming
from facectl.stream.responses import ResponseQueue

# SQS truncates its timestamps to milliseconds.
_TRUNCATION = 0.001
_MESSAGES = 5
_WORK = ("decode", "detect", "crop", "request_queue", "embed", "match")
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Readings:
    """The epoch and the monotonic clock of this computer, read together, in seconds."""

    epoch: float
    monotonic: float

    @classmethod
    def now(cls) -> Readings:
        return cls(time.time(), time.perf_counter())

    def at(self, monotonic: float) -> float:
        """Convert a time of the monotonic clock to seconds of the epoch."""
        return self.epoch + monotonic - self.monotonic


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of the local clock minus SQS's, in seconds."""

    low: float = float("-inf")
    high: float = float("inf")

    def narrowed(self, others: Iterable[Bounds]) -> Bounds:
        """The intersection of these bounds and others."""
        low, high = self.low, self.high
        for other in others:
            low, high = max(low, other.low), min(high, other.high)
        return Bounds(low, high)

    @property
    def offset(self) -> Offset | None:
        """The estimate; None if one side is unbounded, or a clock was changed during the run."""
        if self.low == float("-inf") or self.high == float("inf") or self.low > self.high:
            return None
        return Offset((self.low + self.high) / 2, (self.high - self.low) / 2)


@dataclass(frozen=True, slots=True)
class Offset:
    """The local clock minus SQS's: estimate and maximum error, in seconds."""

    seconds: float
    uncertainty: float

    def __str__(self) -> str:
        ahead = "ahead of" if self.seconds >= 0 else "behind"
        return (
            f"this computer's clock is {abs(self.seconds) * 1e3:.1f} ms {ahead} that of SQS, "
            f"to {self.uncertainty * 1e3:.1f} ms"
        )

    def as_dict(self) -> dict[str, float]:
        return {
            "client_minus_sqs_ms": round(self.seconds * 1e3, 3),
            "uncertainty_ms": round(self.uncertainty * 1e3, 3),
        }


def from_samples(samples: Sequence[FrameTiming], readings: Readings) -> Bounds:
    """Bounds from the frames: SQS stamps an answer after the POST and before it is received.

    The functions' timings count as durations, also that of the request queue,
    which is the difference of two clocks of AWS.
    """
    return Bounds().narrowed(_of_frame(sample, readings) for sample in samples)


def _of_frame(sample: FrameTiming, readings: Readings) -> Bounds:
    if sample.stamps is None or sample.answered is None or sample.post is None:
        return Bounds()
    timings = sample.timings_ms or {}
    worked = sum(timings.get(stage, 0.0) for stage in _WORK) / 1e3
    # After several attempts, an attempt that seemed to fail may have been answered.
    sent = sample.post.sent if sample.post.attempts == 1 else sample.post.began
    low = readings.at(sent) + worked - sample.stamps.sent_at - _TRUNCATION
    received = sample.stamps.first_received_at or sample.stamps.sent_at
    return Bounds(low, readings.at(sample.answered) - received)


def from_messages(
    clients: Clients, queue: ResponseQueue, *, clock: Callable[[], float] = time.time
) -> Bounds:
    """Bounds from a few messages that are sent to the empty response queue, and deleted.

    Raises CloudError.
    """
    marker = f"facectl-bench-clock-{uuid4()}"
    sent: dict[str, tuple[float, float]] = {}
    with cloud_errors(f"comparing clocks by {queue.name}", clients.deployment):
        url = clients.sqs.get_queue_url(QueueName=queue.name)["QueueUrl"]
        for _ in range(_MESSAGES):
            began = clock()
            answer = clients.sqs.send_message(QueueUrl=url, MessageBody=marker)
            sent[answer["MessageId"]] = (began, clock())
    bounds: list[Bounds] = []
    for _ in range(_TRIES):
        if len(bounds) == len(sent):
            break
        messages = queue.receive(wait=1)
        ours = [message for message in messages if message.message_id in sent]
        bounds += [_of_message(sent[message.message_id], message.sent_at) for message in ours]
        queue.delete(ours)
        queue.release([message for message in messages if message.message_id not in sent])
    return Bounds().narrowed(bounds)


def _of_message(call: tuple[float, float], stamp: float) -> Bounds:
    began, ended = call
    return Bounds(began - stamp - _TRUNCATION, ended - stamp)
