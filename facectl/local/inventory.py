"""What the local cloud holds, as counts by resource, so that two moments can be compared.

Runs inside MiniStack's process, on the state that each of its services saves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

# What facectl and its user make, by MiniStack's service and store: the word for it.
_KINDS = {
    ("s3", "buckets_meta"): "bucket",
    ("sqs", "queues"): "queue",
    ("cloudwatch_logs", "log_groups"): "log group",
    ("iam", "roles"): "role",
    ("ecr", "repositories"): "repository",
    ("lambda", "functions"): "function",
    ("lambda", "function_urls"): "function URL",
    ("lambda", "esms"): "trigger",
}

_ATTEMPTS = 5

Inventory = dict[str, int]


def take(
    states: Mapping[str, Callable[[], Any]], objects: Callable[[str], int] = lambda _: 0
) -> Inventory:
    """The resources, as "kind name", with what each holds: a queue its messages, a bucket objects.

    `states` gives each service's state; `objects` the number of objects of a
    bucket. A service that can't tell its state at the moment counts as empty.
    """
    found: Inventory = {}
    for (service, store), kind in _KINDS.items():
        state = _state(states.get(service))
        for region, name, record in _records(state.get(store)):
            label = f"{kind} {_name(kind, name, record)}"
            held = 0
            if kind == "queue":
                held = len(record.get("messages", ()))
            elif kind == "bucket":
                held = objects(name)
            # One name may be there in several regions.
            found[f"{label} ({region})" if label in found else label] = held
    return found


def _state(read: Callable[[], Any] | None) -> Mapping[str, Any]:
    if read is None:
        return {}
    for _ in range(_ATTEMPTS):
        # The disk may be full, or another thread have changed the state while it was copied.
        with suppress(OSError, RuntimeError):
            return read() or {}
    return {}


def _records(store: Any) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Region, name and record of every entry of all accounts."""
    for place, record in dict(getattr(store, "_data", {})).items():
        region = str(place[1]) if len(place) > 2 else ""
        yield region, str(place[-1]), record if isinstance(record, Mapping) else {}


def _name(kind: str, name: str, record: Mapping[str, Any]) -> str:
    if kind == "queue":
        return name.rpartition("/")[2]
    if kind == "trigger":
        source = str(record.get("EventSourceArn", name)).rpartition(":")[2]
        return f"{source} → {str(record.get('FunctionArn', '')).partition(':function:')[2]}"
    return name


def missing(before: Inventory, now: Inventory) -> list[str]:
    """What was there before and is not now, in words."""
    lines = []
    for label, held in before.items():
        if label not in now:
            lines.append(label)
        elif now[label] < held:
            what = "messages" if label.startswith("queue ") else "objects"
            lines.append(f"{held - now[label]} of {held} {what} in {label}")
    return lines


def asu_ids(inventory: Inventory) -> list[str]:
    """The ASU IDs whose queues are in it."""
    names = (label.removeprefix("queue ") for label in inventory if label.startswith("queue "))
    return sorted(
        {name.removesuffix("-resp-queue") for name in names if name.endswith("-resp-queue")}
    )
