"""The dead-letter queue: what died there, looked at without taking it; given back, or dropped."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from facectl.aws import Clients, cloud_errors
from facectl.errors import CloudError
from lambda_src.contract import FaceMessage, MessageError, salvaged_request_id

# SQS's limits for a batch, with room for what is around the bodies.
_BATCH = 10
_BATCH_BYTES = 1_000_000
# How long a dead letter is hidden from others while we look at it, should we die meanwhile.
_HOLD = 60
# A long poll asks every server of SQS; a short one may miss messages.
_WAIT = 1


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that died. `sent_at` in seconds of the epoch; `receives` counts peeks too."""

    message_id: str
    receipt: str
    body: str
    sent_at: float
    receives: int = 1
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def request_id(self) -> str | None:
        return salvaged_request_id(self.body)

    @property
    def message(self) -> FaceMessage | None:
        """What face-detection sent; None where it is no message of the contract."""
        try:
            return FaceMessage.parse(self.body)
        except MessageError:
            return None

    def is_named(self, name: str) -> bool:
        """Whether this is the message's id or its request's."""
        return name in {self.message_id, self.request_id}


@dataclass(frozen=True, slots=True)
class RedriveOutcome:
    """What was done with the dead letters: how many, and why others stayed."""

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
        self._home = names.request_queue
        with cloud_errors(f"looking up {self.name}", clients.deployment):
            self._url = clients.sqs.get_queue_url(QueueName=self.name)["QueueUrl"]

    def peek(self) -> list[DeadLetter]:
        """Every dead letter that nobody else holds, oldest first; all are given back at once."""
        dead_letters = [dead_letter for batch in self._batches() for dead_letter in batch]
        return sorted(dead_letters, key=lambda dead_letter: dead_letter.sent_at)

    def redrive(
        self,
        names: Collection[str] | None = None,
        *,
        rate: float = 10.0,
        watch: Callable[[int], None] = lambda _: None,
    ) -> RedriveOutcome:
        """Send dead letters to the request queue again, at most `rate` a second, then delete them.

        A dead letter is deleted when SQS has taken its copy: none is lost, though
        one may be doubled if this is interrupted in between. `names` are
        message or request ids, None is all. Raises CloudError.
        """
        with cloud_errors(f"looking up {self._home}", self._clients.deployment):
            home = self._clients.sqs.get_queue_url(QueueName=self._home)["QueueUrl"]
        done = 0
        failures: list[str] = []
        again: set[str] = set()
        for batch in self._batches():
            chosen = [
                dead_letter
                for dead_letter in batch
                # What we sent and what died again meanwhile must not go round and round.
                if dead_letter.message_id not in again and _is_chosen(dead_letter, names)
            ]
            for group in _groups(chosen):
                began = self._clock()
                sent, refused = self._send(home, group, again)
                failures += refused
                failures += self._delete(sent)
                done += len(sent)
                watch(done)
                self._sleep(max(0.0, len(group) / rate - (self._clock() - began)))
        return RedriveOutcome(done, tuple(failures))

    def drop(self, names: Collection[str] | None = None) -> RedriveOutcome:
        """Delete dead letters for ever; `names` as for `redrive`. Raises CloudError."""
        done = 0
        failures: list[str] = []
        for batch in self._batches():
            chosen = [dead_letter for dead_letter in batch if _is_chosen(dead_letter, names)]
            if chosen:
                refused = self._delete(chosen)
                done += len(chosen) - len(refused)
                failures += refused
        return RedriveOutcome(done, tuple(failures))

    def _batches(self) -> Iterator[list[DeadLetter]]:
        """Letters as they are received; what is still there at the end is given back."""
        held: dict[str, DeadLetter] = {}
        try:
            while batch := self._receive():
                fresh = [dead_letter for dead_letter in batch if dead_letter.message_id not in held]
                held.update((dead_letter.message_id, dead_letter) for dead_letter in batch)
                if not fresh:
                    # We held the first ones so long that they come again: that is all.
                    return
                yield fresh
        finally:
            self._give_back(list(held.values()))

    def _receive(self) -> list[DeadLetter]:
        with cloud_errors(f"reading {self.name}", self._clients.deployment):
            answer = self._clients.sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_BATCH,
                VisibilityTimeout=_HOLD,
                WaitTimeSeconds=_WAIT,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                MessageAttributeNames=["All"],
            )
        return [
            DeadLetter(
                message_id=message["MessageId"],
                receipt=message["ReceiptHandle"],
                body=message["Body"],
                sent_at=int(message.get("Attributes", {}).get("SentTimestamp", "0")) / 1000,
                receives=int(message.get("Attributes", {}).get("ApproximateReceiveCount", "1")),
                attributes=message.get("MessageAttributes", {}),
            )
            for message in answer.get("Messages", [])
        ]

    def _give_back(self, dead_letters: Sequence[DeadLetter]) -> None:
        # Whatever is not given back becomes visible by itself after a minute.
        with suppress(CloudError):
            for start in range(0, len(dead_letters), _BATCH):
                with cloud_errors(f"giving back to {self.name}", self._clients.deployment):
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
        self, home: str, group: Sequence[DeadLetter], again: set[str]
    ) -> tuple[list[DeadLetter], list[str]]:
        """Send copies; the dead letters that SQS took, and why it did not take the others."""
        entries: list[Any] = [
            {
                "Id": str(n),
                "MessageBody": dead_letter.body,
                **({"MessageAttributes": dead_letter.attributes} if dead_letter.attributes else {}),
            }
            for n, dead_letter in enumerate(group)
        ]
        with cloud_errors(f"sending to {self._home}", self._clients.deployment):
            answer = self._clients.sqs.send_message_batch(QueueUrl=home, Entries=entries)
        again.update(entry["MessageId"] for entry in answer.get("Successful", []))
        taken = {entry["Id"] for entry in answer.get("Successful", [])}
        refused = [
            f"{group[int(entry['Id'])].message_id}: {entry.get('Message') or entry['Code']}"
            for entry in answer.get("Failed", [])
        ]
        return [dead_letter for n, dead_letter in enumerate(group) if str(n) in taken], refused

    def _delete(self, dead_letters: Sequence[DeadLetter]) -> list[str]:
        """Why those stayed that did."""
        failures: list[str] = []
        for start in range(0, len(dead_letters), _BATCH):
            group = dead_letters[start : start + _BATCH]
            with cloud_errors(f"deleting from {self.name}", self._clients.deployment):
                answer = self._clients.sqs.delete_message_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {"Id": str(n), "ReceiptHandle": dead_letter.receipt}
                        for n, dead_letter in enumerate(group)
                    ],
                )
            failures += [
                f"{group[int(entry['Id'])].message_id}: not deleted: "
                f"{entry.get('Message') or entry['Code']}"
                for entry in answer.get("Failed", [])
            ]
        return failures


def _is_chosen(dead_letter: DeadLetter, names: Collection[str] | None) -> bool:
    return names is None or any(dead_letter.is_named(name) for name in names)


def _groups(dead_letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Groups that fit in one SendMessageBatch."""
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
