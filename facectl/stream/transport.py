"""Where a run sends its frames and receives its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from facectl.aws import Clients, cloud_errors, unless_missing
from facectl.errors import InputError
from facectl.naming import DETECTION_FUNCTION
from facectl.stream.delivery import FunctionUrlClient
from facectl.stream.in_flight import InFlightTracker
from facectl.stream.reply_queues import RepliedEndpoint, ReplyQueue
from facectl.stream.responses import AnswerReader, MessageQueue, ResponseQueue
from facectl.stream.sender import Endpoint


class FrameOutbox(Protocol):
    """Sends queued frames, and reports to a run's tracker which were accepted."""

    failure: Exception | None

    def bind(self, tracker: InFlightTracker) -> None:
        """Report the frames of this run to its tracker; the first call starts the sending."""

    def unsent(self, run: str) -> int:
        """The frames of a run that were not accepted yet."""


@dataclass(frozen=True, slots=True)
class Transport:
    """Where frames are posted and answers received; `close` when the run is over.

    `readers` makes the reader of a run's answers; None for one that polls the queue alone.
    `outbox` sends what the endpoint has queued. `bytes_sent`: the bodies of all requests or
    messages with frames until now.
    """

    endpoint: Endpoint
    queue: MessageQueue
    close: Callable[[], None] = lambda: None
    readers: Callable[[InFlightTracker], AnswerReader] | None = None
    outbox: FrameOutbox | None = None
    bytes_sent: Callable[[], int] = lambda: 0

    @classmethod
    def of(
        cls, clients: Clients, *, connections: int, reply: ReplyQueue | None = None
    ) -> Transport:
        """The transport of a deployment; raises CloudError or InputError where it has none.

        `reply`: the client's own queue, instead of the response queue.
        """
        url = function_url(clients)
        # Looked up even without --wait: it proves that the deployment exists.
        queue = ResponseQueue(clients)
        signed = clients.deployment.signs
        endpoint = FunctionUrlClient(
            url, connections=connections, sign=clients.sign if signed else None
        )
        return cls(
            endpoint if reply is None else RepliedEndpoint(endpoint, reply.reply),
            queue if reply is None else reply.open(),
            endpoint.close,
            bytes_sent=lambda: endpoint.bytes_sent,
        )


def function_url(clients: Clients) -> str:
    """The recorded Function URL, or the one that AWS returns; raises InputError, CloudError."""
    deployment = clients.deployment
    if deployment.function_url is not None:
        return deployment.function_url
    if deployment.target == "local":
        raise InputError(
            f"{deployment.asu_id} was never deployed to this local cloud",
            hint=f"facectl deploy --asu-id {deployment.asu_id} --target local",
        )
    from facectl.deploy.models import ALIAS

    read = clients.functions.get_function_url_config
    with cloud_errors("looking up the Function URL", deployment):
        found = unless_missing(read, FunctionName=DETECTION_FUNCTION, Qualifier=ALIAS)
        # Without provisioned concurrency there is no alias.
        return (found or read(FunctionName=DETECTION_FUNCTION))["FunctionUrl"]
