"""Reads the status of a deployment: drift of resources, queue counts, last errors."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from facectl.aws import Clients, cloud_errors, unless_missing
from facectl.aws_errors import is_denied
from facectl.deploy.deployer import desired_state, read
from facectl.deploy.desired import resources
from facectl.deploy.models import Template
from facectl.deploy.options import Options
from facectl.deploy.planner import ActualState, differences, owner_of, superfluous
from facectl.deploy.resources import Context, Function, Queue, Resource, key
from facectl.deploy.steps import Change
from facectl.errors import CloudError
from facectl.naming import Names
from facectl.stream import reply_queues
from lambda_src.vision.store import Model

State = Literal["ok", "missing", "differs", "foreign", "superfluous"]

# The age of the oldest reported errors, in seconds.
_ERRORS_SINCE = 3600.0
_SHORT_DIGEST = 12


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """One resource: its state compared with the desired one, and facts that AWS reports."""

    kind: str
    name: str
    state: State
    changes: tuple[Change, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LastError:
    """The last error in a function's log."""

    function: str
    time: datetime
    message: str


@dataclass(frozen=True, slots=True)
class Status:
    """The status of all resources; `drift` is true if a deploy would change something."""

    resources: tuple[ResourceStatus, ...]
    errors: tuple[LastError, ...]
    replies: tuple[reply_queues.Found, ...] = ()
    # The template that made the deployment; None if a deploy did.
    template: Template | None = None

    @property
    def drift(self) -> bool:
        return any(each.state != "ok" for each in self.resources)

    def as_dict(self) -> dict[str, Any]:
        return {
            "drift": self.drift,
            "template": None if self.template is None else asdict(self.template),
            "resources": [asdict(each) for each in self.resources],
            "reply_queues": [asdict(queue) for queue in self.replies],
            "errors": [{**asdict(error), "time": error.time.isoformat()} for error in self.errors],
        }


def inspect(
    clients: Clients, model: Model, options: Options, *, clock: Callable[[], float] = time.time
) -> Status:
    """Compare the actual state with the desired state of the last deploy; raises CloudError."""
    desired = desired_state(clients, model, options)
    wanted = resources(desired)
    actual = read(clients, desired)
    context = Context(clients, desired.account)
    with cloud_errors("reading the deployment's status", clients.deployment):
        states = [
            ResourceStatus(
                resource.kind,
                resource.name,
                *_state(resource, actual),
                resource.facts(context),
            )
            for resource in wanted
        ]
        errors = [
            error
            for resource in wanted
            if isinstance(resource, Function)
            and (error := last_error(clients, resource.name, clock()))
        ]
    others = [
        ResourceStatus(resource.kind, resource.name, "superfluous")
        for resource in superfluous(wanted, actual)
    ]
    return Status((*states, *others), tuple(errors), inspect_replies(clients), template_of(actual))


def template_of(actual: ActualState) -> Template | None:
    """The template that made a deployment; None if a deploy did, or if no queue is left."""
    queues = (each for each in actual.values() if isinstance(each, Queue))
    return next((queue.template for queue in queues if queue.template is not None), None)


def inspect_replies(clients: Clients) -> tuple[reply_queues.Found, ...]:
    """The reply queues of clients; none for somebody who may not list queues."""
    try:
        found = reply_queues.inspect(clients, reply_queues.found(clients))
        return tuple(queue for queue in found if not queue.deleting)
    except CloudError as error:
        if is_denied(error):
            return ()
        raise


def last_error(clients: Clients, function: str, now: float) -> LastError | None:
    """The last error line of a function's log within the last hour; None without one."""
    pages = clients.logs.get_paginator("filter_log_events").paginate(
        logGroupName=Names.log_group(function),
        startTime=int((now - _ERRORS_SINCE) * 1000),
        filterPattern="?ERROR ?Error ?error",
    )
    events = unless_missing(lambda: [event for page in pages for event in page["events"]]) or []
    for event in sorted(events, key=lambda event: event["timestamp"], reverse=True):
        message = _error_message(event["message"])
        if message is not None:
            when = datetime.fromtimestamp(event["timestamp"] / 1000, timezone.utc)
            return LastError(function, when, message)
    return None


def _state(resource: Resource, actual: ActualState) -> tuple[State, tuple[Change, ...]]:
    current = actual.get(key(resource))
    if current is None:
        return "missing", ()
    if owner_of(current) not in (None, owner_of(resource)):
        return "foreign", ()
    changes = differences(resource, current)
    return ("differs" if changes else "ok"), changes


def _error_message(line: str) -> str | None:
    """The error message of a log line; None if it reports no error."""
    text = line.strip()
    try:
        fields = json.loads(text)
    except ValueError:
        # Plain-text lines of Lambda: a timeout, a crash, a failed import.
        return text if "ERROR" in text or "Error" in text or "error" in text else None
    if not isinstance(fields, dict) or fields.get("level") != "ERROR":
        return None
    message = fields.get("message") or fields.get("error")
    return f"{fields.get('stage', '')}: {message}".strip(": ")


def short_digest(digest: str) -> str:
    """`sha256:0123456789ab`, the short form of a digest."""
    name, _, digits = digest.partition(":")
    return f"{name}:{digits[:_SHORT_DIGEST]}"
