"""The second stage: recognises the faces of a batch and sends the results to the response queue.

The faces of all records of a batch are embedded together. A record that fails
is retried after a few seconds. On its last delivery (its receive count has
reached `max_receives`) the result is `Error`, and SQS moves the message to the
dead-letter queue.

A record that is delivered again only after the visibility timeout was never
reported as failed: the worker crashed, or Lambda throttled the delivery and no
worker received it. This record is a suspect. Suspects are processed one by one,
after the results of the other records were sent and their messages deleted, so
that a crash affects one message only. `Attempts` records which suspect is being
processed. On its last delivery a suspect gets `Error` without being processed
only if an earlier worker started it and did not finish.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lambda_src import log
from lambda_src.aws import Aws, AwsError
from lambda_src.contract import (
    ERROR,
    RECOGNITION_INIT,
    UNKNOWN,
    FaceMessage,
    FrameResult,
    NamedFace,
    joined_names,
    salvaged_reply,
    salvaged_request_id,
)
from lambda_src.gallery.matching import Match
from lambda_src.gallery.source import GallerySource
from lambda_src.settings import FunctionSettings
from lambda_src.stages.attempts import Attempts
from lambda_src.stages.replies import send_answers
from lambda_src.timing import Stopwatch
from lambda_src.vision.crops import decode_crop
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.store import Model

# Seconds until a failed record is retried, by receive count. Otherwise it would stay
# invisible for the queue's visibility timeout, which is minutes.
_RETRY_AFTER = (1, 5, 15)
# The same if only the result could not be sent: the few deliveries must span an outage
# of the response queue. At most half the visibility timeout.
_UNSENT_RETRY_AFTER = (5, 45, 45, 45, 15)
# On a last delivery, sending the result is retried at this interval until the shutdown
# margin before the invocation's timeout. All in seconds.
_RESEND_INTERVAL = 1.0
_SHUTDOWN_MARGIN = 3.0
# The fraction of the visibility timeout after which a record counts as not reported;
# below 1 because clocks differ.
_UNREPORTED_FRACTION = 0.9
# Seconds from the invocation's timeout to the redelivery of the suspect that crashed its
# worker, and the longest interval between the redeliveries of the other suspects.
_REDELIVERY_DELAY = 5
_REDELIVERY_INTERVAL = 30


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """One delivery of a message of the request queue.

    `waited_ms`: milliseconds since it was sent. `held_s`: seconds since its first delivery.
    """

    message_id: str
    receipt_handle: str
    body: str
    receives: int
    waited_ms: float
    held_s: float = 0.0


class UnsentError(AwsError):
    """A result that could not be sent to the response queue."""


class WorkerLostError(Exception):
    """An earlier worker started the message and did not finish; this is the last delivery."""


@dataclass(slots=True, eq=False)
class _Work:
    """The state of one record while its batch is processed."""

    record: QueueRecord
    message: FaceMessage | None = None
    crops: list[NDArray[np.uint8]] = field(default_factory=list)
    matches: list[Match] = field(default_factory=list)
    watch: Stopwatch = field(default_factory=Stopwatch)
    failure: Exception | None = None
    answered: bool = False
    suspect: bool = False
    unfinished: bool = False
    abandoned: bool = False

    @property
    def request_id(self) -> str | None:
        return self.message.request_id if self.message else salvaged_request_id(self.record.body)

    @property
    def reply(self) -> str:
        return self.message.reply if self.message else salvaged_reply(self.record.body)


@dataclass(frozen=True, slots=True)
class RecogniseStage:
    """Recognises the faces of frames and sends the results to the response queue."""

    model: Model
    embedder: Embedder
    gallery: GallerySource
    aws: Aws
    settings: FunctionSettings
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def process(
        self, records: Sequence[QueueRecord], *, seconds: float = 0.0, init_ms: float | None = None
    ) -> list[str]:
        """Process a batch; returns the message ids of the records that failed, to be retried.

        `seconds`: the remaining time of the invocation, 0 if unknown. `init_ms`: the
        duration of the init phase on a cold start, else None.
        """
        deadline = self.clock() + seconds - _SHUTDOWN_MARGIN
        # At most half of the time is spent on loading the first gallery.
        self.gallery.begin((seconds - _SHUTDOWN_MARGIN) / 2 if seconds else None)
        works = [self._read(record, len(records)) for record in records]
        attempts = Attempts(self.aws, self.settings.gallery_bucket)
        self._mark_suspects(works, attempts)
        suspects = _suspects(works)
        groups = [*_groups(works), *([work] for work in suspects)]
        for place, group in enumerate(groups, 1):
            if group == suspects[:1]:
                self._schedule_redeliveries(suspects, deadline + _SHUTDOWN_MARGIN)
            is_suspect = place > len(groups) - len(suspects)
            # After the last delivery no worker would read the attempt.
            if is_suspect and not self._is_last(group[0]):
                attempts.begin(group[0].record.message_id)
            for work in group:
                self._decode(work, init_ms)
            self._recognise([work for work in group if work.failure is None])
            is_last_group = place == len(groups)
            # Retries of a result leave half of the remaining time to the next groups.
            self._respond(group, deadline if is_last_group else (self.clock() + deadline) / 2)
            for work in group:
                # Before the message is deleted: afterwards no worker would delete the attempt.
                if work.suspect:
                    attempts.finish(work.record.message_id)
            if not is_last_group:
                self._delete(group)
        failed = [work for work in works if work.failure is not None]
        for work in failed:
            self._retry_later(work)
        return [work.record.message_id for work in failed]

    def _read(self, record: QueueRecord, batch: int) -> _Work:
        work = _Work(record)
        try:
            work.message = FaceMessage.parse(record.body)
        except ValueError as error:
            work.failure = error
        # Logged before the record is processed: a worker that crashes logs nothing more.
        log.info(
            "received",
            work.request_id,
            message_id=record.message_id,
            receives=record.receives,
            max_receives=self.settings.max_receives,
            waited_ms=round(record.waited_ms, 2),
            records=batch,
        )
        return work

    def _mark_suspects(self, works: list[_Work], attempts: Attempts) -> None:
        """Mark the suspects, and those of them that are abandoned."""
        for work in works:
            record = work.record
            work.suspect = record.receives > 1 and self._is_unreported(record)
            # Attempts are written from the second delivery on.
            if work.suspect and record.receives > 2:
                work.unfinished = attempts.is_unfinished(record.message_id)
                work.abandoned = work.unfinished and self._is_last(work)

    def _is_unreported(self, record: QueueRecord) -> bool:
        """Whether a delivery reached the visibility timeout without a reported failure."""
        timeout = self.settings.visibility_timeout
        return timeout > 0 and record.held_s >= _UNREPORTED_FRACTION * timeout

    def _schedule_redeliveries(self, suspects: list[_Work], invocation_end: float) -> None:
        """Set visibility timeouts so that each suspect is redelivered alone if this worker crashes.

        `invocation_end` is a time of `clock`. The first suspect is processed now and
        redelivered first. The times of the others depend on their message ids, so that
        the suspects of several crashed batches are not redelivered together.
        """
        left = math.ceil(invocation_end - self.clock())
        if left <= 0:
            return
        timeout = self.settings.visibility_timeout
        first = min(left + _REDELIVERY_DELAY, timeout)
        interval = max(1, min(_REDELIVERY_INTERVAL, (timeout - first) // len(suspects)))
        for place, work in enumerate(suspects):
            record = work.record
            seconds = first + place * interval
            if place:
                seconds -= zlib.crc32(f"{record.message_id} {record.receives}".encode()) % interval
            self._change_visibility(work, min(seconds, timeout))

    def _decode(self, work: _Work, init_ms: float | None) -> None:
        message = work.message
        if message is None:
            return
        try:
            if work.abandoned:
                raise WorkerLostError("a worker started this message and did not finish")
            if message.space != self.model.space:
                raise ValueError(
                    f"the crops are of embedding space {message.space}, "
                    f"the model of {self.model.space}"
                )
            work.watch = Stopwatch(message.timings_ms)
            if init_ms is not None:
                work.watch.durations_ms[RECOGNITION_INIT] = init_ms
            work.watch.durations_ms["request_queue"] = work.record.waited_ms
            with work.watch.stage("decode_crops"):
                work.crops = [
                    decode_crop(face.image, self.model.preprocessing) for face in message.faces
                ]
        except (ValueError, WorkerLostError) as error:
            work.failure = error

    def _recognise(self, works: list[_Work]) -> None:
        """Embed and match the faces of all records in one batch, or per record if that fails."""
        if not works:
            return
        try:
            self._match(works)
        except Exception as error:  # noqa: BLE001 - one bad record must not fail the others
            if len(works) == 1:
                works[0].failure = error
                return
            for work in works:
                self._recognise([work])

    def _match(self, works: list[_Work]) -> None:
        watch = Stopwatch()
        with watch.stage("embed"):
            probes = self.embedder.embed([crop for work in works for crop in work.crops])
        with watch.stage("match"):
            matches = self.gallery.current().match(probes)
        start = 0
        for work in works:
            work.matches = matches[start : start + len(work.crops)]
            work.watch.durations_ms.update(watch.durations_ms)
            start += len(work.crops)

    def _respond(self, works: list[_Work], deadline: float) -> None:
        results = []
        for work in works:
            if work.message is not None and work.failure is None:
                results.append((work, _result(work.message, work.matches, work.watch)))
            elif self._is_last(work) and work.request_id is not None:
                results.append((work, FrameResult(work.request_id, ERROR)))
        watch = Stopwatch()
        with watch.stage("send"):
            unsent = self._send(results, deadline)
        for index, (work, result) in enumerate(results):
            if index not in unsent:
                work.answered = True
            elif work.failure is None:
                work.failure = UnsentError(f"the result could not be sent: {unsent[index]}")
            if work.failure is None:
                work.watch.durations_ms.update(watch.durations_ms)
                self._log_result(work, result)

    def _send(self, results: list[tuple[_Work, FrameResult]], deadline: float) -> dict[int, str]:
        """Send results, on a last delivery with retries; returns errors by index."""
        queue = self.settings.response_queue_url
        answers = [(work.reply, result.serialise()) for work, result in results]
        unsent = send_answers(self.aws, queue, answers)
        while self.clock() < deadline:
            last = [index for index in unsent if self._is_last(results[index][0])]
            if not last:
                break
            self.sleep(_RESEND_INTERVAL)
            still = send_answers(self.aws, queue, [answers[index] for index in last])
            for place, index in enumerate(last):
                if place not in still:
                    del unsent[index]
        return unsent

    def _delete(self, works: list[_Work]) -> None:
        """Delete the processed messages before a record is processed that may crash this worker."""
        for work in works:
            if work.failure is None:
                try:
                    self.aws.delete(self.settings.request_queue_url, work.record.receipt_handle)
                except AwsError as error:
                    # Lambda deletes it with the batch; after a crash it is processed again.
                    log.error("delete", work.request_id, error=error.code, message=str(error))

    def _is_last(self, work: _Work) -> bool:
        return work.record.receives >= self.settings.max_receives

    def _log_result(self, work: _Work, result: FrameResult) -> None:
        named = self.settings.log_names
        log.info(
            "recognition",
            work.request_id,
            faces=len(work.crops),
            **({"result": result.result} if named else {}),
            matches=[
                {
                    **({"name": match.name} if named else {"known": match.name != UNKNOWN}),
                    "distance": None if match.distance is None else round(match.distance, 4),
                }
                for match in work.matches
            ],
            message_id=work.record.message_id,
            receives=work.record.receives,
            **({"reply": work.reply} if work.reply else {}),
            **{f"{stage}_ms": round(ms, 2) for stage, ms in work.watch.durations_ms.items()},
        )

    def _retry_later(self, work: _Work) -> None:
        seconds = self._retry_delay(work)
        log.error(
            "recognition",
            work.request_id,
            error=type(work.failure).__name__,
            message=str(work.failure),
            message_id=work.record.message_id,
            receives=work.record.receives,
            max_receives=self.settings.max_receives,
            last_delivery=self._is_last(work),
            answered=work.answered,
            hidden_s=seconds,
        )
        self._change_visibility(work, seconds)

    def _change_visibility(self, work: _Work, seconds: int) -> None:
        try:
            self.aws.change_visibility(
                self.settings.request_queue_url, work.record.receipt_handle, seconds
            )
        except AwsError as error:
            # The message is then redelivered after the queue's visibility timeout, later.
            log.error("retry", work.request_id, error=error.code, message=str(error))

    def _retry_delay(self, work: _Work) -> int:
        """Seconds until the next delivery of a failed record."""
        unsent = isinstance(work.failure, UnsentError)
        delays = _UNSENT_RETRY_AFTER if unsent else _RETRY_AFTER
        seconds = delays[min(work.record.receives, len(delays)) - 1]
        return max(1, min(seconds, self.settings.visibility_timeout // 2)) if unsent else seconds


def _groups(works: list[_Work]) -> list[list[_Work]]:
    """The abandoned records, which need no processing, then the records that are no suspects."""
    abandoned = [work for work in works if work.abandoned]
    rest = [work for work in works if not work.suspect]
    return [group for group in (abandoned, rest) if group]


def _suspects(works: list[_Work]) -> list[_Work]:
    """The suspects that are processed one by one, in order of priority.

    First those without an unfinished attempt, so that each crash leaves an attempt of
    another message; among them those with the highest receive count, which have the
    fewest deliveries left.
    """
    suspects = [work for work in works if work.suspect and not work.abandoned]
    return sorted(suspects, key=lambda work: (work.unfinished, -work.record.receives))


def _result(message: FaceMessage, matches: list[Match], watch: Stopwatch) -> FrameResult:
    faces = tuple(
        NamedFace(face.box, face.probability, match.name, match.distance)
        for face, match in zip(message.faces, matches, strict=True)
    )
    if message.detail:
        return FrameResult(message.request_id, joined_names(faces), faces, watch.durations_ms)
    return FrameResult(message.request_id, joined_names(faces))
