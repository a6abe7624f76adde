"""Reply queues: one for each client that does not want to share the response queue.

A client creates its queue, names it in each request, and deletes it at the end. A tag
says until when the queue is needed, and a client that runs renews it. What a
killed client left is deleted after that by another client, by `facectl purge` and by
`facectl destroy`. A queue has the attributes of the response queue: policy, key, retention.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from facectl.aws import Clients, cloud_errors, unless_missing
from facectl.errors import CloudError
from facectl.naming import DELETED_TAG_KEY, TAG_KEY
from facectl.queues import queue_counts
from facectl.stream.outcomes import AcceptedPost
from facectl.stream.responses import ResponseQueue
from facectl.stream.sender import Endpoint
from lambda_src.contract import FrameRequest

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import QueueAttributeNameType

# Its value are seconds of the epoch.
EXPIRES_TAG = "facectl:expires"
# Seconds for which a queue is reserved, and after which its client renews that.
_LEASE = 3600.0
# For a client that goes on without the cloud, and can't renew it then.
OFFLINE_LEASE = 86_400.0
_RENEWAL = 600.0
# An interrupted run can be resumed for as long as SQS keeps its answers.
_RESUMABLE = 4 * 86_400.0
# Another client's clock may be wrong by this many seconds.
_SKEW = 300.0
# A client looks at this many queues of others when it starts; 200 that start together would
# otherwise ask for the tags of each other's queues 40,000 times.
_CHECKED = 10
# A client deletes what it receives within this many seconds, or receives it again.
_VISIBILITY = 30
_COPIED: tuple[QueueAttributeNameType, ...] = (
    "KmsMasterKeyId",
    "MessageRetentionPeriod",
    "Policy",
    "ReceiveMessageWaitTimeSeconds",
    "SqsManagedSseEnabled",
)


class ReplyQueue:
    """The reply queue of one client: a context manager that creates and deletes it.

    `reply` is the last part of its name; `lease` are the seconds for which no other client
    deletes it while this one can't renew them. It is kept for days instead if `keep` is
    called: the run can be resumed, and answers may still arrive.
    """

    def __init__(
        self,
        clients: Clients,
        reply: str | None = None,
        *,
        lease: float = _LEASE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.reply = uuid.uuid4().hex if reply is None else reply
        self.name = clients.deployment.names.reply_queue(self.reply)
        self._clients = clients
        self._lease = lease
        self._clock = clock
        self._url = ""
        self._kept = False
        self._closing = threading.Event()

    def __enter__(self) -> ReplyQueue:
        others = found(self._clients)
        others = random.sample(others, min(_CHECKED, len(others)))
        # What can't be removed now is removed by the next client.
        with suppress(CloudError):
            remove_expired(self._clients, [name for name in others if name != self.name])
        self._create()
        threading.Thread(target=self._renew, name="facectl-reply-queue", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        # An unreachable cloud is reported by the run; the queue expires.
        with suppress(CloudError):
            if self._kept:
                self._reserve(_RESUMABLE)
            else:
                remove(self._clients, [self.name])

    def open(self) -> ResponseQueue:
        """The queue to read."""
        return ResponseQueue(self._clients, self.name)

    def keep(self) -> None:
        """Keep the queue at the end, for a later process that resumes the run."""
        self._kept = True

    def _create(self) -> None:
        sqs, names = self._clients.sqs, self._clients.deployment.names
        with cloud_errors(f"creating {self.name}", self._clients.deployment):
            shared = sqs.get_queue_url(QueueName=names.response_queue)["QueueUrl"]
            answer = sqs.get_queue_attributes(QueueUrl=shared, AttributeNames=list(_COPIED))
            attributes: dict[Any, str] = {
                name: value.replace(names.response_queue, self.name)
                for name, value in answer["Attributes"].items()
                if value
            }
            # SQS allows one of its own key and another.
            if "KmsMasterKeyId" in attributes:
                attributes.pop("SqsManagedSseEnabled", None)
            try:
                # One that is resumed is there already.
                self._url = sqs.get_queue_url(QueueName=self.name)["QueueUrl"]
            except sqs.exceptions.QueueDoesNotExist:
                self._url = sqs.create_queue(
                    QueueName=self.name,
                    Attributes={**attributes, "VisibilityTimeout": str(_VISIBILITY)},
                    tags={TAG_KEY: names.asu_id, EXPIRES_TAG: self._until(self._lease)},
                )["QueueUrl"]
                return
        self._reserve(self._lease)

    def _until(self, seconds: float) -> str:
        return str(round(self._clock() + seconds))

    def _reserve(self, seconds: float) -> None:
        with cloud_errors(f"tagging {self.name}", self._clients.deployment):
            self._clients.sqs.tag_queue(
                QueueUrl=self._url, Tags={EXPIRES_TAG: self._until(seconds)}
            )

    def _renew(self) -> None:
        while not self._closing.wait(_RENEWAL):
            # The lease is at least six times as long as the interval.
            with suppress(CloudError):
                self._reserve(self._lease)


@dataclass(frozen=True, slots=True)
class Found:
    """A reply queue: its messages, and when it expires, in seconds of the epoch.

    `deleting`: `facectl destroy` has deleted it, and SQS still shows it.
    """

    name: str
    messages: int
    expires: float
    deleting: bool = False

    def expired(self, now: float) -> bool:
        """Whether its client has ended without deleting it."""
        return now > self.expires + _SKEW


def found(clients: Clients) -> list[str]:
    """The names of the deployment's reply queues; raises CloudError."""
    names = clients.deployment.names
    with cloud_errors("listing the reply queues", clients.deployment):
        pages = clients.sqs.get_paginator("list_queues").paginate(
            QueueNamePrefix=names.reply_queue_prefix, PaginationConfig={"PageSize": 1000}
        )
        urls = [url for page in pages for url in page.get("QueueUrls", [])]
    return sorted(filter(names.is_reply_queue, (url.rpartition("/")[2] for url in urls)))


def inspect(clients: Clients, names: Sequence[str]) -> list[Found]:
    """The reply queues with these names that exist and have the deployment's tag."""
    with cloud_errors("reading the reply queues", clients.deployment):
        each = [unless_missing(_inspect, clients, name) for name in names]
    return [queue for queue in each if queue is not None]


def _inspect(clients: Clients, name: str) -> Found | None:
    sqs = clients.sqs
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    tags = sqs.list_queue_tags(QueueUrl=url).get("Tags", {})
    if tags.get(TAG_KEY) != clients.deployment.asu_id:
        return None
    expires = tags.get(EXPIRES_TAG, "0")
    return Found(
        name,
        queue_counts(clients, url).total,
        float(expires) if expires.isdecimal() else 0.0,
        deleting=DELETED_TAG_KEY in tags,
    )


def remove_expired(
    clients: Clients, names: Sequence[str], *, clock: Callable[[], float] = time.time
) -> list[str]:
    """Delete those of these reply queues whose clients have ended; returns their names."""
    now = clock()
    expired = [queue.name for queue in inspect(clients, names) if queue.expired(now)]
    remove(clients, expired)
    return expired


def remove(clients: Clients, names: Sequence[str]) -> None:
    """Delete these queues; one that is gone already is no error. Raises CloudError."""
    for name in names:
        with cloud_errors(f"deleting {name}", clients.deployment):
            unless_missing(_remove, clients, name)


def _remove(clients: Clients, name: str) -> None:
    url = clients.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    clients.sqs.delete_queue(QueueUrl=url)


class RepliedEndpoint:
    """The endpoint for frames whose results go to a reply queue."""

    def __init__(self, endpoint: Endpoint, reply: str) -> None:
        self._endpoint = endpoint
        self._reply = reply

    def post(
        self, request: FrameRequest, *, sleep: Callable[[float], object] = time.sleep
    ) -> AcceptedPost:
        return self._endpoint.post(replace(request, reply=self._reply), sleep=sleep)
