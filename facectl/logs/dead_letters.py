"""The dead-letter queue: peek at its messages without consuming them, redrive or delete them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from facectl.aws import Clients, cloud_errors
from facectl.errors import CloudError
from facectl.queues import queue_url
from lambda_src.contract import FaceMessage, MessageError, salvaged_request_id

# SQS's limits for a batch, with a margin for the request around the bodies.
_BATCH = 10
_BATCH_BYTES = 1_000_000
# Seconds after which a dead letter is visible again if this process ends before releasing it.
_VISIBILITY_TIMEOUT = 60
# A long poll queries every server of SQS; a short poll may miss messages.
_WAIT_SECONDS = 1


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of the dead-letter queue.

    `sent_at` is in seconds of the epoch.
    """

    message_id: str
    receipt: str
    body: str
    sent_at: float
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def request_id(self) -> str | None:
        return salvaged_request_id(self.body)

    @property
    def message(self) -> FaceMessage | None:
        """The message that face-detection sent; None if the body does not match the contract."""
        try:
            return FaceMessage.parse(self.body)
        except MessageError:
            return None

    def has_id(self, identifier: str) -> bool:
        """Whether this is the id of the message or of its request."""
        return identifier in {self.message_id, self.request_id}


@dataclass(frozen=True, slots=True)
class RedriveOutcome:
    """How many dead letters were redriven or deleted, and why the others remain."""

    done: int
    failures: tuple[str, ...] = ()


class DeadLetterQueue:
    """The dead-letter queue of a deployment."""

    def __init__(
        self,
        clients: Clients,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clients = clients
        self._clock = clock
        self._sleep = sleep
        names = clients.deployment.names
        self.name = names.dead_letter_queue
        self._request_queue = names.request_queue
        self._url = queue_url(clients, self.name)

    def peek(self) -> list[DeadLetter]:
        """All visible dead letters, oldest first; they are made visible again immediately."""
        dead_letters = [dead_letter for batch in self._batches() for dead_letter in batch]
        return sorted(dead_letters, key=lambda dead_letter: dead_letter.sent_at)

    def redrive(
        self,
        ids: Collection[str] | None = None,
        *,
        rate: float = 10.0,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> RedriveOutcome:
        """Send dead letters to the request queue again, at most `rate` per second.

        Each is deleted after SQS has accepted its copy: none is lost, but an
        interruption in between may duplicate one. `ids` are message or request
        ids, None means all. Raises CloudError.
        """
        request_queue_url = queue_url(self._clients, self._request_queue)
        done = 0
        failures: list[str] = []
        redriven: set[str] = set()
        for batch in self._batches():
            chosen = [
                dead_letter
                for dead_letter in batch
                # A redriven message that failed again must not be redriven in a loop.
                if dead_letter.message_id not in redriven and _is_chosen(dead_letter, ids)
            ]
            for group in _groups(chosen):
                started = self._clock()
                sent, rejected = self._send(request_queue_url, group, redriven)
                failures += rejected
                failures += self._delete(sent)
                done += len(sent)
                on_progress(done)
                self._sleep(max(0.0, len(group) / rate - (self._clock() - started)))
        return RedriveOutcome(done, tuple(failures))

    def drop(self, ids: Collection[str] | None = None) -> RedriveOutcome:
        """Delete dead letters permanently; `ids` as for `redrive`. Raises CloudError."""
        done = 0
        failures: list[str] = []
        for batch in self._batches():
            chosen = [dead_letter for dead_letter in batch if _is_chosen(dead_letter, ids)]
            if chosen:
                rejected = self._delete(chosen)
                done += len(chosen) - len(rejected)
                failures += rejected
        return RedriveOutcome(done, tuple(failures))

    def _batches(self) -> Iterator[list[DeadLetter]]:
        """Batches as they are received; finally makes those not deleted visible again."""
        held: dict[str, DeadLetter] = {}
        try:
            while batch := self._receive():
                fresh = [dead_letter for dead_letter in batch if dead_letter.message_id not in held]
                held.update((dead_letter.message_id, dead_letter) for dead_letter in batch)
                if not fresh:
                    # The visibility timeout of the first ones has expired: all were received.
                    return
                yield fresh
        finally:
            self._release(list(held.values()))

    def _receive(self) -> list[DeadLetter]:
        with cloud_errors(f"reading {self.name}", self._clients.deployment):
            response = self._clients.sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_BATCH,
                VisibilityTimeout=_VISIBILITY_TIMEOUT,
                WaitTimeSeconds=_WAIT_SECONDS,
                MessageSystemAttributeNames=["SentTimestamp"],
                MessageAttributeNames=["All"],
            )
        return [
            DeadLetter(
                message_id=message["MessageId"],
                receipt=message["ReceiptHandle"],
                body=message["Body"],
                sent_at=int(message.get("Attributes", {}).get("SentTimestamp", "0")) / 1000,
                attributes=message.get("MessageAttributes", {}),
            )
            for message in response.get("Messages", [])
        ]

    def _release(self, dead_letters: Sequence[DeadLetter]) -> None:
        # If this fails, the messages become visible when the visibility timeout expires.
        with suppress(CloudError):
            for start in range(0, len(dead_letters), _BATCH):
                with cloud_errors(f"releasing messages of {self.name}", self._clients.deployment):
                    self._clients.sqs.change_message_visibility_batch(
                        QueueUrl=self._url,
                        Entries=[
                            {
                                "Id": str(n),
                                "ReceiptHandle": dead_letter.receipt,
                                "VisibilityTimeout": 0,
                            }
                            for n, dead_letter in enumerate(dead_letters[start : start + _BATCH])
                        ],
                    )

    def _send(
        self, request_queue_url: str, group: Sequence[DeadLetter], redriven: set[str]
    ) -> tuple[list[DeadLetter], list[str]]:
        """Send copies; the dead letters that SQS accepted, and why it rejected the others."""
        entries: list[Any] = [
            {
                "Id": str(n),
                "MessageBody": dead_letter.body,
                **({"MessageAttributes": dead_letter.attributes} if dead_letter.attributes else {}),
            }
            for n, dead_letter in enumerate(group)
        ]
        with cloud_errors(f"sending to {self._request_queue}", self._clients.deployment):
            response = self._clients.sqs.send_message_batch(
                QueueUrl=request_queue_url, Entries=entries
            )
        redriven.update(entry["MessageId"] for entry in response.get("Successful", []))
        accepted = {entry["Id"] for entry in response.get("Successful", [])}
        rejected = [
            f"{group[int(entry['Id'])].message_id}: {entry.get('Message') or entry['Code']}"
            for entry in response.get("Failed", [])
        ]
        return [dead_letter for n, dead_letter in enumerate(group) if str(n) in accepted], rejected

    def _delete(self, dead_letters: Sequence[DeadLetter]) -> list[str]:
        """Delete dead letters; why those that remain were not deleted."""
        failures: list[str] = []
        for start in range(0, len(dead_letters), _BATCH):
            group = dead_letters[start : start + _BATCH]
            with cloud_errors(f"deleting from {self.name}", self._clients.deployment):
                response = self._clients.sqs.delete_message_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {"Id": str(n), "ReceiptHandle": dead_letter.receipt}
                        for n, dead_letter in enumerate(group)
                    ],
                )
            failures += [
                f"{group[int(entry['Id'])].message_id}: not deleted: "
                f"{entry.get('Message') or entry['Code']}"
                for entry in response.get("Failed", [])
            ]
        return failures


def _is_chosen(dead_letter: DeadLetter, ids: Collection[str] | None) -> bool:
    return ids is None or any(dead_letter.has_id(identifier) for identifier in ids)


def _groups(dead_letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Groups that each fit in one SendMessageBatch."""
    group: list[DeadLetter] = []
    size = 0
    for dead_letter in dead_letters:
        length = len(dead_letter.body.encode()) + sum(
            len(str(value)) + len(name) for name, value in dead_letter.attributes.items()
        )
        if group and (len(group) == _BATCH or size + length > _BATCH_BYTES):
            yield group
            group, size = [], 0
        group.append(dead_letter)
        size += length
    if group:
        yield group
