"""The transport of a run that detects faces on this computer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from facectl.aws import Clients, cloud_errors
from facectl.aws_errors import is_denied, is_missing
from facectl.deploy import options
from facectl.edge.disk_queue import DiskQueue
from facectl.edge.earlier import EarlierAnswers
from facectl.edge.endpoint import EdgeEndpoint
from facectl.edge.outbox import Outbox, RefusedError
from facectl.errors import CloudError
from facectl.models import store
from facectl.queues import queue_url
from facectl.stream.reply_queues import RepliedEndpoint, ReplyQueue
from facectl.stream.responses import LONG_POLL, MessageQueue, Received, ResponseQueue
from facectl.stream.transport import Transport
from lambda_src.settings import usable_cores

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

# Frames of a run that may wait: the disk is the limit, not their number.
WINDOW = 200_000
_PAUSE = 2.0


class SqsRequests:
    """The request queue of a deployment."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._name = clients.deployment.names.request_queue
        self._url: str | None = None

    def look_up(self) -> str:
        """The URL of the queue, asked for once; raises RefusedError or CloudError."""
        if self._url is None:
            with _refused_for_good():
                self._url = queue_url(self._clients, self._name)
        return self._url

    def send(self, bodies: Sequence[str]) -> dict[int, str]:
        """Send at most ten messages; returns the errors of failed ones by index."""
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {"Id": str(index), "MessageBody": body} for index, body in enumerate(bodies)
        ]
        url = self.look_up()
        doing = f"sending to {self._name}"
        with _refused_for_good(), cloud_errors(doing, self._clients.deployment):
            answer = self._clients.sqs.send_message_batch(QueueUrl=url, Entries=entries)
        return {
            int(entry["Id"]): f"{entry['Code']}: {entry.get('Message', '')}"
            for entry in answer.get("Failed", [])
        }


class ReconnectingQueue:
    """A queue of answers whose reader goes on while the cloud does not answer.

    `open_queue` is called again until it returns the queue. `earlier` takes its answers first.
    """

    earlier: EarlierAnswers | None = None

    def __init__(
        self,
        open_queue: Callable[[], MessageQueue],
        *,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._open = open_queue
        self._opened: MessageQueue | None = None
        self._sleep = sleep

    def look_up(self) -> MessageQueue:
        """The queue, opened once; raises CloudError."""
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def receive(self, *, wait: int = LONG_POLL) -> list[Received]:
        """Up to ten messages; none while the cloud does not answer."""
        try:
            messages = self.look_up().receive(wait=wait)
        except CloudError as error:
            if is_denied(error) or is_missing(error):
                raise
            self._sleep(_PAUSE)
            return []
        if self.earlier is None:
            return messages
        taken = [message for message in messages if self.earlier.takes(message)]
        self.delete(taken)
        return [message for message in messages if message not in taken]

    def delete(self, messages: Sequence[Received]) -> None:
        """Delete the messages; one that is not deleted becomes a duplicate."""
        if not messages:
            return
        self._unless_away(lambda: self.look_up().delete(messages))

    def release(self, messages: Sequence[Received]) -> float:
        """Make the messages visible again; they become so anyway."""
        self._unless_away(lambda: self.look_up().release(messages))
        return 0.0

    def _unless_away(self, call: Callable[[], object]) -> None:
        try:
            call()
        except CloudError as error:
            if is_denied(error) or is_missing(error):
                raise


@contextmanager
def _refused_for_good() -> Iterator[None]:
    """Raise RefusedError for a CloudError that would come again: missing, or denied."""
    try:
        yield
    except CloudError as error:
        if is_denied(error) or is_missing(error):
            raise RefusedError(str(error), hint=error.hint) from error
        raise


def edge_threads() -> int:
    """The detector's threads: half of the cores, because frames are decoded besides."""
    return max(1, (usable_cores() or 1) // 2)


class Edge(NamedTuple):
    """The transport of a deployment's runs, and its parts, which count."""

    transport: Transport
    endpoint: EdgeEndpoint
    outbox: Outbox
    earlier: EarlierAnswers


def edge_transport(
    clients: Clients,
    *,
    reply: ReplyQueue | None = None,
    offline: bool = False,
    report: Callable[[str], object] = lambda _: None,
) -> Edge:
    """The transport of a deployment's runs.

    `offline`: the cloud is not called before frames are detected, because a camera does not wait
    for it; the outbox reports what is wrong. Raises ModelError without the deployment's model on
    this computer, CloudError where nothing is deployed.
    """
    deployment = clients.deployment
    model = store.deployed(deployment)
    requests = SqsRequests(clients)
    opened = partial(ResponseQueue, clients) if reply is None else reply.open
    answers = ReconnectingQueue(opened)
    if not offline:
        requests.look_up()
        answers.look_up()
    disk = DiskQueue.open(deployment.key.name)
    answers.earlier = earlier = EarlierAnswers.of(disk.request_ids(""))
    outbox = Outbox(disk, requests, report=report)
    # What was on disk is answered first, and thousands of frames take longer than a timeout.
    earlier.listen(lambda _: outbox.restart_timeouts())
    least = options.recall(deployment).min_face_size
    endpoint = EdgeEndpoint.of(model, outbox, threads=edge_threads(), min_face_size=least)
    used = endpoint if reply is None else RepliedEndpoint(endpoint, reply.reply)
    transport = Transport(
        used, answers, outbox.close, outbox=outbox, bytes_sent=lambda: outbox.bytes_sent
    )
    return Edge(transport, endpoint, outbox, earlier)
