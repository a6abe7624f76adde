"""Reads the response queue: takes this client's responses and releases the others."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol

from facectl.aws import Clients, cloud_errors
from facectl.errors import FacectlError
from facectl.queues import queue_url
from facectl.retry import Backoff
from lambda_src.contract import FrameResult, MessageError

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import ResponseMetadataTypeDef

# The longest poll that SQS allows: it needs the fewest requests and returns with the first message.
LONG_POLL = 20
# A received message is invisible for this long, unless it is released or deleted.
HIDDEN_SECONDS = 5
_BATCH = 10
_TICK = 0.1
# A message of another client becomes visible again at once. One that is older than its client
# needs to receive it stays invisible for a second: a few abandoned messages must not keep this
# client from receiving its own. It stays invisible for longer only if its client has certainly
# ended: if fifty clients read one queue, each would hide the others' responses for that time.
_FRESH_SECONDS = 5.0
_ABANDONED_SECONDS = 60.0
_LONGEST_VISIBILITY_TIMEOUT = 20
# After a release, another client's poll comes before the next one of this client.
_PAUSE_AFTER_RELEASE = (0.1, 0.2)
# Responses that follow one another within _BURST seconds are deleted ten at a time: a call takes
# as much CPU time as encoding a frame. The next poll is then short, so that they are deleted
# before they become visible again, which the queue's own second would not leave time for.
_BURST = 0.5
_SHORT_POLL = 1
_LAST_DELETE = 1.0


@dataclass(frozen=True, slots=True)
class Received:
    """A message of the response queue; `result` is None if it does not match the contract.

    Times by the clock of SQS: `sent_at` and `first_received_at` (None if SQS does
    not report it) in seconds of the epoch, `age` in seconds since `sent_at`.
    """

    message_id: str
    receipt: str
    body: str
    sent_at: float
    age: float
    result: FrameResult | None
    first_received_at: float | None = None

    @property
    def visibility_timeout(self) -> int:
        """Seconds for which it stays invisible after its release."""
        if self.age < _FRESH_SECONDS:
            return 0
        if self.age < _ABANDONED_SECONDS:
            return 1
        return min(_LONGEST_VISIBILITY_TIMEOUT, math.ceil(self.age / 4))


class ResponseQueue:
    """The response queue of a deployment."""

    def __init__(self, clients: Clients, name: str | None = None) -> None:
        self._clients = clients
        self.name = clients.deployment.names.response_queue if name is None else name
        self._doing = f"reading {self.name}"
        self._url = queue_url(clients, self.name)

    def receive(self, *, wait: int = LONG_POLL) -> list[Received]:
        """Up to ten messages, waiting up to `wait` seconds for the first; raises CloudError."""
        with cloud_errors(self._doing, self._clients.deployment):
            answer = self._clients.sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_BATCH,
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=wait,
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateFirstReceiveTimestamp"],
            )
        now = _server_time(answer["ResponseMetadata"])
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
        """Delete at most ten messages; one that is not deleted becomes a duplicate."""
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

    def release(self, messages: Sequence[Received]) -> float:
        """Make at most ten messages visible again, so that other clients can receive them.

        Returns the seconds to wait before the next poll.
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
                        "VisibilityTimeout": message.visibility_timeout,
                    }
                    for n, message in enumerate(messages)
                ],
            )
        if all(message.visibility_timeout for message in messages):
            return 0.0
        return random.uniform(*_PAUSE_AFTER_RELEASE)  # noqa: S311 - keeps clients out of step, no secret


class MessageQueue(Protocol):
    """The part of `ResponseQueue` that its readers use."""

    def receive(self, *, wait: int = LONG_POLL) -> list[Received]:
        """Up to ten messages."""

    def delete(self, messages: Sequence[Received]) -> None:
        """Delete the messages."""

    def release(self, messages: Sequence[Received]) -> float:
        """Make the messages visible again; returns the seconds to wait before the next poll."""


class AnswerNotTaken(Exception):  # noqa: N818 - not the reader's failure
    """A mailbox could not take an answer; its message stays in the queue."""


class Mailbox(Protocol):
    """Receives the responses that a collector reads."""

    def expecting(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until a response is possible; whether it is."""

    def owns(self, request_id: str) -> bool:
        """Whether the response to this request belongs to this client."""

    def answered(self, answer: FrameResult, at: float) -> None:
        """Take a response, received `at` this time; its message is deleted afterwards.

        Raises AnswerNotTaken where the message is to stay in the queue.
        """


class AnswerReader(Protocol):
    """Passes the responses of one run to its mailbox; `Collector` is one."""

    @property
    def failure(self) -> Exception | None:
        """The error that ended it."""

    @property
    def unclaimed(self) -> bool:
        """Whether the queue has answers that no client seems to expect."""

    def start(self) -> None:
        """Begin to pass responses on."""

    def stop(self) -> None:
        """Pass no more responses on."""


class Collector:
    """A thread that reads the response queue and passes this client's responses to the mailbox.

    Other messages are released. `unclaimed`: some of these are so old that no
    client seems to expect them.
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
        # Own messages that are not deleted yet, and when the last ones were received.
        self._taken: list[Received] = []
        self._last_taken = -math.inf
        self._thread = threading.Thread(target=self._run, name="facectl-collect", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, *, grace: float = 0.05) -> None:
        """Begin no new poll; what a poll in progress receives is released."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(grace)
        if self._taken:
            # Its poll is still open. In a thread, because the network may be gone.
            last = threading.Thread(target=self._delete_last, daemon=True)
            last.start()
            last.join(_LAST_DELETE)

    def collect(self) -> int:
        """Poll once and process the messages; returns their number. Raises CloudError."""
        messages = self._queue.receive(wait=_SHORT_POLL if self._taken else LONG_POLL)
        at = self._clock()
        if self._stopping.is_set():
            self._queue.release(messages)
            return len(messages)
        is_burst = at - self._last_taken < _BURST
        others: list[Received] = []
        for message in messages:
            if self._takes(message, at):
                self._taken.append(message)
                self._last_taken = at
            else:
                others.append(message)
        self.unclaimed = self.unclaimed or any(message.visibility_timeout for message in others)
        if not is_burst or len(self._taken) >= _BATCH or not self._mailbox.expecting(0):
            self._delete_taken()
        self._stopping.wait(self._queue.release(others))
        return len(messages)

    def _delete_taken(self) -> None:
        while self._taken:
            some, self._taken = self._taken[:_BATCH], self._taken[_BATCH:]
            self._queue.delete(some)

    def _delete_last(self) -> None:
        # What is not deleted is a duplicate for the next run.
        with suppress(FacectlError):
            self._delete_taken()

    def _takes(self, message: Received, at: float) -> bool:
        """Pass the message to the mailbox if it is its own; whether it was taken."""
        if message.result is None or not self._mailbox.owns(message.result.request_id):
            return False
        try:
            self._mailbox.answered(message.result, at)
        except AnswerNotTaken:
            return False
        return True

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                # A poll that is open when the run ends would hide the first response of the
                # next client, so there is none while no response is expected.
                if self._mailbox.expecting(_TICK):
                    with self._backoff.attempt():
                        self.collect()
            self._delete_taken()
        except Exception as error:  # noqa: BLE001 - the starting thread raises it
            self.failure = error


def _server_time(metadata: ResponseMetadataTypeDef) -> float:
    """The time of SQS in seconds of the epoch: this computer's clock may differ by minutes."""
    date = metadata["HTTPHeaders"].get("date")
    return time.time() if date is None else parsedate_to_datetime(date).timestamp()


def _result(body: str) -> FrameResult | None:
    try:
        return FrameResult.parse(body)
    except MessageError:
        return None
