"""Collects the events of one request: its POSTs, its deliveries, and how each of them ended."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from facectl.aws import Clients, cloud_errors
from facectl.errors import CloudError
from facectl.logs import read, search
from facectl.logs.dead_letters import DeadLetter, DeadLetterQueue
from facectl.logs.parse import Line
from facectl.logs.source import LogSource
from facectl.logs.times import Window
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from facectl.queues import count_messages

THROTTLED = "throttled: no worker ever received it"
_TIMEOUT = re.compile(r"after ([\d.]+) seconds")


@dataclass(frozen=True, slots=True)
class PostAttempt:
    """One POST by face-detection's lines; a line that was not logged is None."""

    received: Line | None
    detection: Line | None
    request: Line | None
    error: Line | None
    fault: Line | None

    @property
    def accepted(self) -> bool:
        """Whether face-detection sent a message or a response to a queue."""
        return self.detection is not None


@dataclass(frozen=True, slots=True)
class MessageDelivery:
    """One delivery of the request's message to face-recognition."""

    message_id: str
    number: int
    max_receives: int
    received: Line
    answered: Line | None
    error: Line | None
    fault: Line | None
    ended: bool

    @property
    def is_unreported(self) -> bool:
        """Whether no line of the function or of the platform reports how it ended.

        On AWS a killed worker writes no line; the platform's report of the invocation
        may describe another outcome.
        """
        return self.answered is None and self.error is None and self.fault is None

    @property
    def sent_at(self) -> float:
        """When SQS accepted the message, in seconds of the epoch."""
        return self.received.at - (self.received.number("waited_ms") or 0.0) / 1e3


@dataclass(frozen=True)
class RequestEvents:
    """All events of a request.

    `lines` are the functions' lines about the request, `platform` the platform's lines
    about their invocations, `unmatched` the faults of face-recognition for which the
    function logged no message. `queued` is the number of messages in the request queue
    and `visibility` its timeout in seconds, both None if they were not read.
    """

    request_id: str
    lines: Sequence[Line]
    now: float
    platform: Sequence[Line] = ()
    unmatched: Sequence[Line] = ()
    dead_letter: DeadLetter | None = None
    queued: int | None = None
    visibility: float | None = None
    problems: Sequence[str] = ()

    @cached_property
    def posts(self) -> list[PostAttempt]:
        """The POSTs in their order: a client retries a request that was not accepted."""
        groups: dict[str | None, list[Line]] = {}
        for line in self.lines:
            if line.function == DETECTION_FUNCTION:
                groups.setdefault(line.invocation, []).append(line)
        return [
            PostAttempt(
                received=_first(lines, "received"),
                detection=_first(lines, "detection"),
                request=_first(lines, "request"),
                error=next((line for line in lines if _is_inner_error(line)), None),
                fault=self._fault(invocation),
            )
            for invocation, lines in groups.items()
        ]

    @cached_property
    def deliveries(self) -> list[MessageDelivery]:
        """The deliveries that logged a line, in their order."""
        lines = [line for line in self.lines if line.function == RECOGNITION_FUNCTION]
        deliveries = []
        for received in (line for line in lines if line.stage == "received"):
            own = [
                line
                for line in lines
                if line.invocation == received.invocation
                and line.stage == "recognition"
                and line.fields.get("message_id") == received.fields.get("message_id")
            ]
            fault = self._fault(received.invocation)
            error = next((line for line in own if line.level == "ERROR"), None)
            answered = next((line for line in own if line.level != "ERROR"), None)
            deliveries.append(
                MessageDelivery(
                    message_id=str(received.fields.get("message_id", "")),
                    number=int(received.number("receives") or 1),
                    max_receives=int(received.number("max_receives") or 1),
                    received=received,
                    answered=answered,
                    error=error,
                    # An invocation can fail on another frame after it has processed this one.
                    fault=fault if answered is None and error is None else None,
                    ended=any(line.invocation == received.invocation for line in self.platform),
                )
            )
        return deliveries

    def _fault(self, invocation: str | None) -> Line | None:
        if invocation is None:
            return None
        lines = [line for line in self.platform if line.invocation == invocation]
        faults = [line for line in lines if line.kind == "fault"]
        reports = [line for line in lines if line.kind == "report" and line.level == "ERROR"]
        return next(iter(faults + reports), None)


def failure_reason(line: Line) -> str:
    """Why a delivery or a POST failed, from the line that reports it: an error or a fault."""
    if line.kind == "entry":
        return f"{line.fields.get('error')}: {line.fields.get('message')}"
    return f"{line.function} {_fault_text(line)}"


def _fault_text(fault: Line) -> str:
    cause = fault.fields.get("cause") or fault.fields.get("status")
    text = str(fault.fields.get("text", ""))
    if cause == "timeout":
        after = _TIMEOUT.search(text)
        return f"timed out after {float(after[1]):g} s" if after else "timed out"
    if cause == "init":
        return "could not start"
    if cause == "killed" or fault.fields.get("error_type") == "Runtime.ExitError":
        return "lost its worker: the process was killed or ran out of memory"
    return f"raised an error: {text}" if text else "ended with an error"


def gather(
    clients: Clients,
    request_id: str,
    window: Window,
    *,
    tell: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.time,
) -> RequestEvents:
    """Read all events of a request from the logs and the queues.

    Raises InputError for an unknown request (it lists the ids with this
    prefix), CloudError if the logs can't be read.
    """
    source = LogSource(clients)
    lines = search.of_request(source, request_id, window, tell=tell)
    now = clock()
    platform = search.platform_lines(source, lines, now)
    request = RequestEvents(request_id, lines, now, platform)
    if not _is_answered(request):
        request = _with_queues(clients, request)
    if _has_gaps(request):
        window = Window(min(lines[0].at, now), now)
        request = replace(
            request, unmatched=read.unmatched_failures(source, RECOGNITION_FUNCTION, window)
        )
    return request


def _is_answered(request: RequestEvents) -> bool:
    """Whether the lines contain a response that ends the request."""
    if any(post.detection and post.detection.fields.get("result") for post in request.posts):
        return True
    return any(delivery.answered for delivery in request.deliveries)


def _has_gaps(request: RequestEvents) -> bool:
    """Whether there were deliveries that logged no line."""
    numbers: dict[str, list[int]] = {}
    for delivery in request.deliveries:
        numbers.setdefault(delivery.message_id, []).append(delivery.number)
    if any(set(range(1, max(seen) + 1)) != set(seen) for seen in numbers.values()):
        return True
    if request.dead_letter is None:
        return False
    last = request.deliveries[-1:]
    return not last or last[0].number < last[0].max_receives


def _with_queues(clients: Clients, request: RequestEvents) -> RequestEvents:
    """The request with what the queues tell about it, or with the problem of reading them."""
    ids = {delivery.message_id for delivery in request.deliveries}
    ids |= {
        str(post.detection.fields.get("message_id")) for post in request.posts if post.detection
    }
    queue = clients.deployment.names.request_queue
    try:
        queued = count_messages(clients, queue).total
        with cloud_errors(f"reading the attributes of {queue}", clients.deployment):
            url = clients.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
            visibility = clients.sqs.get_queue_attributes(
                QueueUrl=url, AttributeNames=["VisibilityTimeout"]
            )["Attributes"]["VisibilityTimeout"]
        dead_letters = DeadLetterQueue(clients).peek()
    except CloudError as error:
        return replace(request, problems=(f"the queues can't be read: {error}",))
    own = (
        each
        for each in dead_letters
        if each.message_id in ids or each.request_id == request.request_id
    )
    return replace(
        request, dead_letter=next(own, None), queued=queued, visibility=float(visibility)
    )


def _first(lines: Sequence[Line], stage: str) -> Line | None:
    return next((line for line in lines if line.stage == stage), None)


def _is_inner_error(line: Line) -> bool:
    """Whether the function logged this error itself; the HTTP response's line has a status."""
    return line.level == "ERROR" and "status" not in line.fields
