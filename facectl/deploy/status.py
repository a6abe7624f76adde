"""Reads the status of a deployment: drift of resources, queue counts, last errors."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from facectl.aws import Clients, cloud_errors, unless_missing
from facectl.deploy.deployer import desired_state, read
from facectl.deploy.desired import DesiredState, resources
from facectl.deploy.models import (
    Alias,
    Bucket,
    Change,
    Function,
    FunctionUrl,
    Image,
    Permission,
    Queue,
    Resource,
    Trigger,
    key,
)
from facectl.deploy.options import Options
from facectl.deploy.planner import ActualState, differences, owner_of
from facectl.deploy.reader import Reader
from facectl.gallery import publish
from facectl.naming import Names
from facectl.queues import queue_counts
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

    @property
    def drift(self) -> bool:
        return any(each.state != "ok" for each in self.resources)

    def as_dict(self) -> dict[str, Any]:
        return {
            "drift": self.drift,
            "resources": [asdict(each) for each in self.resources],
            "errors": [{**asdict(error), "time": error.time.isoformat()} for error in self.errors],
        }


def inspect(
    clients: Clients, model: Model, options: Options, *, clock: Callable[[], float] = time.time
) -> Status:
    """Compare the actual state with the desired state of the last deploy; raises CloudError."""
    desired = desired_state(clients, model, options)
    actual = read(clients, desired)
    with cloud_errors("reading the deployment's status", clients.deployment):
        states = [
            ResourceStatus(
                resource.kind,
                resource.name,
                *_state(resource, actual),
                _facts(clients, desired, resource),
            )
            for resource in resources(desired)
        ]
        errors = [
            error
            for resource in resources(desired)
            if isinstance(resource, Function)
            and (error := last_error(clients, resource.name, clock()))
        ]
    return Status((*states, *_superfluous(desired, actual)), tuple(errors))


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


def _superfluous(desired: DesiredState, actual: ActualState) -> Iterator[ResourceStatus]:
    keys = {key(resource) for resource in resources(desired)}
    for place, resource in actual.items():
        if isinstance(resource, (Alias, Permission)) and place not in keys:
            yield ResourceStatus(resource.kind, resource.name, "superfluous")


def _facts(clients: Clients, desired: DesiredState, resource: Resource) -> dict[str, Any]:
    match resource:
        case Queue():
            return queue_facts(clients, desired.account.queue_url(resource.name))
        case Function():
            return _function_facts(clients, resource.name)
        case Image():
            return _image_facts(clients, resource)
        case FunctionUrl():
            url = Reader(clients, desired.account).address(resource.name)
            return {} if url is None else {"url": url}
        case Trigger():
            mapping = Reader(clients, desired.account).mapping(resource.queue, resource.function)
            return (
                {}
                if mapping is None
                else {
                    "state": mapping.get("State"),
                    "last_result": mapping.get("LastProcessingResult"),
                }
            )
        case _:
            return publish.facts(clients) if isinstance(resource, Bucket) else {}


def queue_facts(clients: Clients, url: str) -> dict[str, int]:
    """The messages of a queue: waiting, in flight, delayed; nothing where there is no queue."""
    counts = unless_missing(queue_counts, clients, url)
    if counts is None:
        return {}
    return {"waiting": counts.visible, "in_flight": counts.in_flight, "delayed": counts.delayed}


def _function_facts(clients: Clients, name: str) -> dict[str, Any]:
    answer = unless_missing(clients.functions.get_function, FunctionName=name)
    if answer is None:
        return {}
    configuration = answer["Configuration"]
    facts = {
        "state": configuration.get("State"),
        "state_reason": configuration.get("StateReason"),
        "last_update": configuration.get("LastUpdateStatus"),
        "update_reason": configuration.get("LastUpdateStatusReason"),
        "modified": configuration.get("LastModified"),
        "digest": answer["Code"].get("ResolvedImageUri", "").partition("@")[2],
    }
    return {name: value for name, value in facts.items() if value}


def _image_facts(clients: Clients, image: Image) -> dict[str, Any]:
    answer = unless_missing(
        clients.ecr.describe_images,
        repositoryName=image.repository,
        imageIds=[{"imageTag": image.tag}],
    )
    if answer is None or not answer["imageDetails"]:
        return {}
    details = answer["imageDetails"][0]
    pushed = details.get("imagePushedAt")
    return {
        "digest": details.get("imageDigest"),
        "pushed": pushed.isoformat() if pushed is not None else None,
        "bytes": details.get("imageSizeInBytes"),
    }


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
