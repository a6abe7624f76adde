"""What is known about one request: its POSTs, its deliveries, how each of them ended."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from facectl.aws import Clients, cloud_errors
from facectl.errors import CloudError
from facectl.logs import read, search
from facectl.logs.dead_letters import DeadLetter, DeadLetterQueue
from facectl.logs.parse import Line
from facectl.logs.source import LogSource
from facectl.logs.times import Window
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from facectl.stream.purge import Purge

_TIMEOUT = re.compile(r"after ([\d.]+) seconds")


@dataclass(frozen=True, slots=True)
class PostAttempt:
    """One POST as face-detection saw it; what did not happen is None."""

    received: Line | None
    found: Line | None
    request: Line | None
    error: Line | None
    fault: Line | None

    @property
    def accepted(self) -> bool:
        """Whether its message, or its answer, was put on a queue."""
        return self.found is not None


@dataclass(frozen=True, slots=True)
class MessageDelivery:
    """One delivery of the request's message to face-recognition."""

    message_id: str
    number: int
    of: int
    received: Line
    answered: Line | None
    error: Line | None
    fault: Line | None
    ended: bool

    @property
    def is_unreported(self) -> bool:
        """Whether nothing tells how it ended: no line of ours, and none of the platform's.

        On AWS a worker that is killed leaves no line; that its invocation ended is in
        the platform's report, which may be of another outcome.
        """
        return self.answered is None and self.error is None and self.fault is None

    @property
    def sent_at(self) -> float:
        """When SQS took the message."""
        return self.received.at - (self.received.number("waited_ms") or 0.0) / 1e3


@dataclass(frozen=True)
class RequestEvents:
    """Everything known. `lines` are ours about the request, `ends` the platform's words about
    their invocations, `unmatched` the recognition's faults of which no line of ours tells.

    `queued`: how many messages the request queue holds, None where that was not asked.
    """

    request_id: str
    lines: Sequence[Line]
    now: float
    ends: Sequence[Line] = ()
    unmatched: Sequence[Line] = ()
    dead_letter: DeadLetter | None = None
    queued: int | None = None
    visibility: float | None = None
    problems: Sequence[str] = field(default_factory=tuple)

    @cached_property
    def posts(self) -> list[PostAttempt]:
        """The POSTs in their order: a client sends again what was not accepted."""
        groups: dict[str | None, list[Line]] = {}
        for line in self.lines:
            if line.function == DETECTION_FUNCTION:
                groups.setdefault(line.invocation, []).append(line)
        return [
            PostAttempt(
                received=_first(lines, "received"),
                found=_first(lines, "detection"),
                request=_first(lines, "request"),
                error=next((line for line in lines if _is_inner_error(line)), None),
                fault=self._fault(invocation),
            )
            for invocation, lines in groups.items()
        ]

    @cached_property
    def deliveries(self) -> list[MessageDelivery]:
        """The deliveries that left a line, in their order."""
        lines = [line for line in self.lines if line.function == RECOGNITION_FUNCTION]
        found = []
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
            found.append(
                MessageDelivery(
                    message_id=str(received.fields.get("message_id", "")),
                    number=int(received.number("receives") or 1),
                    of=int(received.number("max_receives") or 1),
                    received=received,
                    answered=answered,
                    error=error,
                    # An invocation may die of another frame after it has dealt with this one.
                    fault=fault if answered is None and error is None else None,
                    ended=any(end.invocation == received.invocation for end in self.ends),
                )
            )
        return found

    def _fault(self, invocation: str | None) -> Line | None:
        if invocation is None:
            return None
        of = [end for end in self.ends if end.invocation == invocation]
        named = [end for end in of if end.kind == "fault"]
        unwell = [end for end in of if end.kind == "report" and end.level == "ERROR"]
        return next(iter(named + unwell), None)


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
    """Read what there is about a request.

    Raises InputError for an unknown one (which lists those that begin with
    it), CloudError where the logs can't be read.
    """
    source = LogSource(clients)
    lines = search.of_request(source, request_id, window, tell=tell)
    now = clock()
    events = RequestEvents(request_id, lines, now, search.ends(source, lines, now))
    if not _is_answered(events):
        dead_letter, queued, visibility, problems = _queues(clients, events)
        events = replace(
            events, dead_letter=dead_letter, queued=queued, visibility=visibility, problems=problems
        )
    if _has_gaps(events):
        window = Window(min(lines[0].at, now), now)
        events = replace(
            events, unmatched=read.unmatched_failures(source, RECOGNITION_FUNCTION, window)
        )
    return events


def _is_answered(events: RequestEvents) -> bool:
    """Whether the lines tell of an answer that ends the story."""
    if any(post.found and post.found.fields.get("result") for post in events.posts):
        return True
    return any(delivery.answered for delivery in events.deliveries)


def _has_gaps(events: RequestEvents) -> bool:
    """Whether there were deliveries that left no line."""
    numbers: dict[str, list[int]] = {}
    for delivery in events.deliveries:
        numbers.setdefault(delivery.message_id, []).append(delivery.number)
    if any(set(range(1, max(seen) + 1)) != set(seen) for seen in numbers.values()):
        return True
    if events.dead_letter is None:
        return False
    last = events.deliveries[-1:]
    return not last or last[0].number < last[0].of


def _queues(
    clients: Clients, events: RequestEvents
) -> tuple[DeadLetter | None, int | None, float | None, tuple[str, ...]]:
    """The request's dead letter, the request queue's messages and its visibility timeout."""
    ids = {delivery.message_id for delivery in events.deliveries}
    ids |= {str(post.found.fields.get("message_id")) for post in events.posts if post.found}
    queue = clients.deployment.names.request_queue
    try:
        queued = Purge(clients).counts(queue).total
        with cloud_errors(f"asking about {queue}", clients.deployment):
            url = clients.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
            visibility = clients.sqs.get_queue_attributes(
                QueueUrl=url, AttributeNames=["VisibilityTimeout"]
            )["Attributes"]["VisibilityTimeout"]
        dead_letters = DeadLetterQueue(clients).peek()
    except CloudError as error:
        return None, None, None, (f"the queues can't be looked at: {error}",)
    for dead_letter in dead_letters:
        if dead_letter.message_id in ids or dead_letter.request_id == events.request_id:
            return dead_letter, queued, float(visibility), ()
    return None, queued, float(visibility), ()


def _first(lines: Sequence[Line], stage: str) -> Line | None:
    return next((line for line in lines if line.stage == stage), None)


def _is_inner_error(line: Line) -> bool:
    """An error in the functions' own words; the refusal that follows has a status."""
    return line.level == "ERROR" and "status" not in line.fields
