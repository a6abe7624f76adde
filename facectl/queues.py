"""The URL of an SQS queue, and the number of messages in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from facectl.aws import Clients, cloud_errors

_VISIBLE: Final = "ApproximateNumberOfMessages"
_IN_FLIGHT: Final = "ApproximateNumberOfMessagesNotVisible"
_DELAYED: Final = "ApproximateNumberOfMessagesDelayed"


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """The approximate numbers of messages in a queue, as SQS reports them."""

    visible: int
    in_flight: int
    delayed: int

    @property
    def total(self) -> int:
        return self.visible + self.in_flight + self.delayed

    def __str__(self) -> str:
        return f"{self.visible} visible, {self.in_flight} in flight, {self.delayed} delayed"


def queue_url(clients: Clients, name: str) -> str:
    """Return the URL of the queue with this name; raises CloudError."""
    with cloud_errors(f"looking up {name}", clients.deployment):
        return clients.sqs.get_queue_url(QueueName=name)["QueueUrl"]


def queue_counts(clients: Clients, url: str) -> QueueCounts:
    """Return the message counts of a queue; raises botocore's errors."""
    attributes = clients.sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=[_VISIBLE, _IN_FLIGHT, _DELAYED]
    )["Attributes"]
    return QueueCounts(
        visible=int(attributes[_VISIBLE]),
        in_flight=int(attributes[_IN_FLIGHT]),
        delayed=int(attributes[_DELAYED]),
    )


def count_messages(clients: Clients, name: str) -> QueueCounts:
    """Return the message counts of the queue with this name; raises CloudError."""
    with cloud_errors(f"counting {name}", clients.deployment):
        return queue_counts(clients, clients.sqs.get_queue_url(QueueName=name)["QueueUrl"])
