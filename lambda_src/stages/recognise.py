"""The second stage: from face crops to names on the response queue.

A batch is looked at record by record and its faces are embedded together. A
record that fails is tried again soon; on its last delivery its frame is
answered `Error`, and SQS keeps the message in the dead-letter queue.

A record that comes back after the queue's visibility timeout has no report: its
worker was lost, or Lambda throttled the delivery and no worker saw it. Such a
record is a suspect. Each suspect is looked at alone, after the others were
answered and deleted from the queue, so that a message that ends its worker
takes none along; and that a worker looks at it is written down (`Attempts`).
On its last delivery a suspect is answered `Error` without another look only if
an earlier worker looked at it and did not finish.
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
    salvaged_request_id,
)
from lambda_src.gallery import GallerySource, Match
from lambda_src.settings import FunctionSettings
from lambda_src.stages.attempts import Attempts
from lambda_src.timing import Stopwatch
from lambda_src.vision.crops import decode_crop
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.store import Model

# Seconds until a failed record is tried again, by deliveries so far. Without
# this it would stay hidden for the queue's visibility timeout, minutes.
_RETRY_AFTER = (1, 5, 15)
# The same where only the answer could not be sent: deliveries are few, and must
# outlast the response queue's absence. Never more than half the visibility timeout.
_UNSENT_RETRY_AFTER = (5, 45, 45, 45, 15)
# A last delivery keeps trying to send its answer until so many seconds before its
# time is over.
_RESEND_EVERY = 1.0
_TIME_TO_END = 3.0
# The share of the visibility timeout that counts as one: clocks differ a little.
_NO_REPORT = 0.9
# Seconds from the end of an invocation until the suspect comes back at which its worker
# was lost, and at most from one to the next of the others.
_AFTER_END = 5
_APART = 30


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """One delivery of a message of the request queue.

    `waited_ms` since it was sent, `held_s` seconds since its first delivery.
    """

    message_id: str
    receipt_handle: str
    body: str
    receives: int
    waited_ms: float
    held_s: float = 0.0


class UnsentError(AwsError):
    """An answer that could not be put on the response queue."""


class WorkerLostError(Exception):
    """A worker looked at the message and did not finish, and this is the last delivery."""


@dataclass(slots=True, eq=False)
class _Work:
    """A record on its way through the batch."""

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


@dataclass(frozen=True, slots=True)
class RecogniseStage:
    """Names the faces of frames and answers their clients."""

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
        """The message ids of the records that failed and must be delivered again.

        `seconds` that the invocation may last; `init_ms` where it is a cold start's.
        """
        deadline = self.clock() + seconds - _TIME_TO_END
        # Half of the time at most for a first gallery: the rest is for what follows.
        self.gallery.begin((seconds - _TIME_TO_END) / 2 if seconds else None)
        works = [self._read(record, len(records)) for record in records]
        attempts = Attempts(self.aws, self.settings.gallery_bucket)
        self._judge(works, attempts)
        suspects = _suspects(works)
        groups = [*_groups(works), *([work] for work in suspects)]
        for place, group in enumerate(groups, 1):
            if group == suspects[:1]:
                self._spread(suspects, deadline + _TIME_TO_END)
            alone = place > len(groups) - len(suspects)
            # Of a last delivery nobody would read it.
            if alone and not self._is_last(group[0]):
                attempts.begin(group[0].record.message_id)
            for work in group:
                self._decode(work, init_ms)
            self._name([work for work in group if work.failure is None])
            is_last_group = place == len(groups)
            # An answer that can't be sent must leave the next group its time.
            self._answer(group, deadline if is_last_group else (self.clock() + deadline) / 2)
            for work in group:
                # Before the message is deleted: nobody would ask for its attempts after that.
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
        # Logged before anything can go wrong: a worker that is lost logs nothing after it.
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

    def _judge(self, works: list[_Work], attempts: Attempts) -> None:
        """Find the suspects, and those of them that are not looked at again."""
        for work in works:
            record = work.record
            work.suspect = record.receives > 1 and self._has_no_report(record)
            # The first to look at it as a suspect was at the second delivery.
            if work.suspect and record.receives > 2:
                work.unfinished = attempts.is_unfinished(record.message_id)
                work.abandoned = work.unfinished and self._is_last(work)

    def _has_no_report(self, record: QueueRecord) -> bool:
        """Whether it was held so long that one of its deliveries ended without a report."""
        timeout = self.settings.visibility_timeout
        return timeout > 0 and record.held_s >= _NO_REPORT * timeout

    def _spread(self, suspects: list[_Work], ends: float) -> None:
        """Have each suspect come back in a batch of its own if this worker is lost.

        `ends`: when this invocation must be over, by our clock. The first is looked at
        now and comes back soonest; the moments of the others depend on their ids, so
        that those of several lost batches do not meet either.
        """
        left = math.ceil(ends - self.clock())
        if left <= 0:
            return
        timeout = self.settings.visibility_timeout
        first = min(left + _AFTER_END, timeout)
        apart = max(1, min(_APART, (timeout - first) // len(suspects)))
        for place, work in enumerate(suspects):
            record = work.record
            seconds = first + place * apart
            if place:
                seconds -= zlib.crc32(f"{record.message_id} {record.receives}".encode()) % apart
            self._change_visibility(work, min(seconds, timeout))

    def _decode(self, work: _Work, init_ms: float | None) -> None:
        message = work.message
        if message is None:
            return
        try:
            if work.abandoned:
                raise WorkerLostError("a worker looked at this message and did not finish")
            if message.space != self.model.space:
                raise ValueError(
                    f"the crops are of space {message.space}, the model of {self.model.space}"
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

    def _name(self, works: list[_Work]) -> None:
        """Embed and match the faces of all records at once, or of each alone if that fails."""
        if not works:
            return
        try:
            self._match(works)
        except Exception as error:  # noqa: BLE001 - one bad record must not take the others along
            if len(works) == 1:
                works[0].failure = error
                return
            for work in works:
                self._name([work])

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

    def _answer(self, works: list[_Work], deadline: float) -> None:
        answers = []
        for work in works:
            if work.message is not None and work.failure is None:
                answers.append((work, _result(work.message, work.matches, work.watch)))
            elif self._is_last(work) and work.request_id is not None:
                answers.append((work, FrameResult(work.request_id, ERROR)))
        watch = Stopwatch()
        with watch.stage("send"):
            unsent = self._send(answers, deadline)
        for index, (work, result) in enumerate(answers):
            if index not in unsent:
                work.answered = True
            elif work.failure is None:
                work.failure = UnsentError(f"the answer could not be sent: {unsent[index]}")
            if work.failure is None:
                work.watch.durations_ms.update(watch.durations_ms)
                self._log_answer(work, result)

    def _send(self, answers: list[tuple[_Work, FrameResult]], deadline: float) -> dict[int, str]:
        """Why, by index, those answers could not be sent that could not."""
        queue = self.settings.response_queue_url
        bodies = [result.serialise() for _, result in answers]
        unsent = self.aws.send_many(queue, bodies)
        while self.clock() < deadline:
            last = [index for index in unsent if self._is_last(answers[index][0])]
            if not last:
                break
            self.sleep(_RESEND_EVERY)
            still = self.aws.send_many(queue, [bodies[index] for index in last])
            for place, index in enumerate(last):
                if place not in still:
                    del unsent[index]
        return unsent

    def _delete(self, works: list[_Work]) -> None:
        """Take what is done off the queue before a record is begun that may end this process."""
        for work in works:
            if work.failure is None:
                try:
                    self.aws.delete(self.settings.request_queue_url, work.record.receipt_handle)
                except AwsError as error:
                    # It is taken off with the batch if all goes well, and answered again if not.
                    log.error("delete", work.request_id, error=error.code, message=str(error))

    def _is_last(self, work: _Work) -> bool:
        return work.record.receives >= self.settings.max_receives

    def _log_answer(self, work: _Work, result: FrameResult) -> None:
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
            **{f"{stage}_ms": round(ms, 2) for stage, ms in work.watch.durations_ms.items()},
        )

    def _retry_later(self, work: _Work) -> None:
        seconds = self._until_next(work)
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
            # The record then comes back after the queue's visibility timeout: later, not lost.
            log.error("retry", work.request_id, error=error.code, message=str(error))

    def _until_next(self, work: _Work) -> int:
        unsent = isinstance(work.failure, UnsentError)
        waits = _UNSENT_RETRY_AFTER if unsent else _RETRY_AFTER
        seconds = waits[min(work.record.receives, len(waits)) - 1]
        return max(1, min(seconds, self.settings.visibility_timeout // 2)) if unsent else seconds


def _groups(works: list[_Work]) -> list[list[_Work]]:
    """Those that are given up, which take no time and have no other; then the unsuspected."""
    abandoned = [work for work in works if work.abandoned]
    rest = [work for work in works if not work.suspect]
    return [group for group in (abandoned, rest) if group]


def _suspects(works: list[_Work]) -> list[_Work]:
    """Those that are looked at alone, in the order in which it matters that they are.

    Those first of which there is no evidence yet: each lost worker then leaves some
    of another one. Of these the most often delivered, which have the least time left.
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
