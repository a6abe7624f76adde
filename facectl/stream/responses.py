"""Reads the response queue: takes this client's responses and leaves the others."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol

from facectl.aws import Clients, cloud_errors
from facectl.retry import Backoff
from lambda_src.contract import FrameResult, MessageError

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import ResponseMetadataTypeDef

# The longest poll that SQS allows: the fewest requests, and an answer ends it at once.
LONG_POLL = 20
_BATCH = 10
_TICK = 0.1
# What is not ours is free for its owner at once. Something that lay there for
# longer than an owner needs to look is put out of sight for a moment: a few
# left-over messages must not keep us from seeing our own behind them. Longer
# only when its owner has surely gone: where fifty clients read one queue, each
# of them would hide the others' answers for that long.
_FRESH = 5.0
_ABANDONED = 60.0
_LONGEST_ASIDE = 20
# Long enough for another client's poll to get ahead of our next one.
_STEP_BACK = (0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Received:
    """A message of the response queue; `result` is None where it is not of our contract.

    `sent_at` is when SQS took it, in seconds of the epoch; `age` the seconds
    since then, both by the clock of SQS, as is `first_received_at`, when it was
    first given out (None where SQS does not tell).
    """

    message_id: str
    receipt: str
    body: str
    sent_at: float
    age: float
    result: FrameResult | None
    first_received_at: float | None = None

    @property
    def aside(self) -> int:
        """Seconds for which it is put out of sight if it is not ours."""
        if self.age < _FRESH:
            return 0
        return 1 if self.age < _ABANDONED else min(_LONGEST_ASIDE, math.ceil(self.age / 4))


class ResponseQueue:
    """The response queue of a deployment."""

    def __init__(self, clients: Clients, name: str | None = None) -> None:
        self._clients = clients
        self.name = clients.deployment.names.response_queue if name is None else name
        self._doing = f"reading {self.name}"
        with cloud_errors(f"looking up {self.name}", clients.deployment):
            self._url = clients.sqs.get_queue_url(QueueName=self.name)["QueueUrl"]

    def receive(self, *, wait: int = LONG_POLL) -> list[Received]:
        """Up to ten messages, waiting up to `wait` seconds for the first; raises CloudError."""
        with cloud_errors(self._doing, self._clients.deployment):
            answer = self._clients.sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_BATCH,
                WaitTimeSeconds=wait,
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateFirstReceiveTimestamp"],
            )
        now = _their_time(answer["ResponseMetadata"])
        received = []
        for message in answer.get("Messages", []):
            sent_at = int(message["Attributes"]["SentTimestamp"]) / 1000
            first = int(message["Attributes"].get("ApproximateFirstReceiveTimestamp", "0"))
            received.append(
                Received(
                    message_id=message["MessageId"],
                    receipt=message["ReceiptHandle"],
                    body=message["Body"],
                    sent_at=sent_at,
                    age=max(0.0, now - sent_at),
                    result=_result(message["Body"]),
                    first_received_at=first / 1000 if first else None,
                )
            )
        return received

    def delete(self, messages: Sequence[Received]) -> None:
        """Remove at most ten messages. One that stays comes again and is a duplicate then."""
        if not messages:
            return
        with cloud_errors(self._doing, self._clients.deployment):
            self._clients.sqs.delete_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(n), "ReceiptHandle": message.receipt}
                    for n, message in enumerate(messages)
                ],
            )

    def give_back(self, messages: Sequence[Received]) -> float:
        """Let others have at most ten messages.

        Returns the seconds to stay away from the queue, so that they get them.
        """
        if not messages:
            return 0.0
        with cloud_errors(self._doing, self._clients.deployment):
            self._clients.sqs.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {
                        "Id": str(n),
                        "ReceiptHandle": message.receipt,
                        "VisibilityTimeout": message.aside,
                    }
                    for n, message in enumerate(messages)
                ],
            )
        if all(message.aside for message in messages):
            return 0.0
        return random.uniform(*_STEP_BACK)  # noqa: S311 - keeps clients out of step, no secret


class MessageQueue(Protocol):
    """What is asked of the response queue."""

    def receive(self, *, wait: int = LONG_POLL) -> list[Received]:
        """Up to ten messages."""

    def delete(self, messages: Sequence[Received]) -> None:
        """Remove them."""

    def give_back(self, messages: Sequence[Received]) -> float:
        """Let others have them; returns the seconds to stay away."""


class Mailbox(Protocol):
    """Whose answers are collected."""

    def expecting(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until an answer may come; whether one may."""

    def owns(self, request_id: str) -> bool:
        """Whether an answer is ours."""

    def answered(self, answer: FrameResult, at: float) -> None:
        """Take an answer; when this returns, the message is deleted."""


class Collector:
    """A thread that reads the response queue and hands each answer of ours to the mailbox.

    Messages of others, and those that are not of our contract, are left on the
    queue. `unclaimed` tells whether some lay there for so long that nobody
    seems to be waiting for them.
    """

    def __init__(
        self,
        response_queue: MessageQueue,
        mailbox: Mailbox,
        *,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.failure: Exception | None = None
        self.unclaimed = False
        self._queue = response_queue
        self._mailbox = mailbox
        self._stopping = threading.Event()
        self._backoff = backoff if backoff is not None else Backoff(sleep=self._stopping.wait)
        self._clock = clock
        self._thread = threading.Thread(target=self._run, name="facectl-collect", daemon=True)

    def start(self) -> None:
        """Begin to collect."""
        self._thread.start()

    def stop(self, *, grace: float = 0.05) -> None:
        """Begin no new poll. One that is under way is left to itself: it takes nothing away."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(grace)

    def collect(self, *, wait: int = LONG_POLL) -> int:
        """Poll once and deal with what came; the number of messages. Raises CloudError."""
        messages = self._queue.receive(wait=wait)
        at = self._clock()
        if self._stopping.is_set():
            self._queue.give_back(messages)
            return len(messages)
        ours: list[Received] = []
        others: list[Received] = []
        for message in messages:
            if message.result is not None and self._mailbox.owns(message.result.request_id):
                self._mailbox.answered(message.result, at)
                ours.append(message)
            else:
                others.append(message)
        self.unclaimed = self.unclaimed or any(message.aside for message in others)
        self._queue.delete(ours)
        self._stopping.wait(self._queue.give_back(others))
        return len(messages)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                # No poll without need: the one that is open when a run ends would take
                # the next client's first answer out of sight.
                if self._mailbox.expecting(_TICK):
                    with self._backoff.attempt():
                        self.collect()
        except Exception as error:  # noqa: BLE001 - whoever started the thread raises it
            self.failure = error


def _their_time(metadata: ResponseMetadataTypeDef) -> float:
    """The time by SQS, seconds of the epoch: this computer's clock may be minutes away."""
    date = metadata["HTTPHeaders"].get("date")
    return time.time() if date is None else parsedate_to_datetime(date).timestamp()


def _result(body: str) -> FrameResult | None:
    try:
        return FrameResult.parse(body)
    except MessageError:
        return None
