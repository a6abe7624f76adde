"""Saves MiniStack's state: soon after a resource was changed, on request, and when it stops.

Runs inside MiniStack's process. MiniStack alone saves only when it stops, and only logs a
failure; this module counts every failure and writes `saved.json`.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from facectl.local import state
from facectl.local.guarded import App, Receive, Scope, Send, respond
from facectl.local.state import Inventory

SAVE_PATH = "/_facectl/save"
INVENTORY_PATH = "/_facectl/inventory"

# A deploy makes many changes: they are saved after this many seconds without a change.
_SETTLE_SECONDS = 2.0
# How often a state is copied again if another thread changes it meanwhile.
_ATTEMPTS = 5
# Operations that change no resource, or only messages and log lines.
_UNCHANGING = re.compile(
    r"Get|List|Describe|BatchGet|BatchCheck|Filter|Receive|Send|DeleteMessage"
    r"|ChangeMessage|PutLogEvents|StartLiveTail|StartQuery|CancelMessage"
)
_MANAGEMENT = re.compile(r"/20\d\d-\d\d-\d\d/(?!.*/(?:invocations|invoke-async)/?$)")
_BUCKET = re.compile(r"/[a-z0-9][a-z0-9.-]{2,62}/?")
# The resources of the inventory: MiniStack's service and store, and the kind.
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

# Reads the state of each service.
States = Mapping[str, Callable[[], Any]]


class _Errors(logging.Handler):
    """Collects the failures that MiniStack's persistence logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage().removeprefix("Persistence: "))


class Saver:
    """Saves the services' states with MiniStack's `save_all`."""

    def __init__(
        self,
        states: Callable[[], States],
        save_all: Callable[[dict[str, Callable[[], Any]]], None],
        *,
        folder: Path,
        port: int,
        objects: S3Objects | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._states = states
        self._save_all = save_all
        self._folder = folder
        self._port = port
        self._objects = objects
        self._clock = clock
        self._restored: Inventory = {}
        self._timer: asyncio.TimerHandle | None = None

    def inventory(self) -> Inventory:
        """The resources; a queue's messages include those received since the start."""
        now = take_inventory(self._states(), self._count)
        return {label: max(held, self._restored.get(label, 0)) for label, held in now.items()}

    def loading(self, load: Callable[[str], Any]) -> Callable[[str], Any]:
        """MiniStack's `load_state`, changed to return None for a file that is no state."""

        def load_state(service: str) -> Any:
            try:
                data = load(service)
            except (AttributeError, KeyError, TypeError, ValueError):
                # It is JSON, but no state.
                logging.getLogger("persistence").exception("%s.json is no state", service)
                return None
            if isinstance(data, dict):
                self._restored.update(take_inventory({service: lambda: data}))
                _make_visible(data.get("queues"), self._clock())
            return data

        return load_state

    def save(self, *, ended: bool = False) -> tuple[str, ...]:
        """Save everything; returns the failures."""
        states = self._states()
        failed = [line for name in states for line in self._save_one(name, states[name])]
        if self._objects is not None:
            failed += self._objects.flush()
        held = take_inventory(states, self._count)
        try:
            for file in self._folder.glob("*.json"):
                _flush(file)
            saved = state.Saved(self._clock(), self._port, ended, tuple(failed), held)
            state.write(saved, self._folder.parent / state.SAVED_NAME)
        except OSError as error:
            failed.append(str(error))
        return tuple(failed)

    def _count(self, bucket: str) -> int:
        return 0 if self._objects is None else self._objects.count(bucket)

    def _save_one(self, name: str, read: Callable[[], Any]) -> list[str]:
        logger = logging.getLogger("persistence")
        for _ in range(_ATTEMPTS):
            errors = _Errors()
            logger.addHandler(errors)
            try:
                self._save_all({name: read})
            finally:
                logger.removeHandler(errors)
            if not errors.lines:
                break
        return errors.lines

    def at_end(self, _states: object = None) -> None:
        """Save the last state; MiniStack calls this when it stops."""
        if self._timer is not None:
            self._timer.cancel()
        self.save(ended=True)

    def changed(self) -> None:
        """Save as soon as no resource was changed for two seconds."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_SETTLE_SECONDS, self.save)

    def watching(self, app: App) -> App:
        """The ASGI application; saves after every request that changes a resource."""

        async def watch(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] == SAVE_PATH:
                await _send_json(send, {"failed": self.save()})
            elif scope["type"] == "http" and scope["path"] == INVENTORY_PATH:
                await _send_json(send, self.inventory())
            else:
                await app(scope, receive, send)
                if scope["type"] == "http" and changes(scope):
                    self.changed()

        return watch


def changes(scope: Scope) -> bool:
    """Whether the request changes a resource, not only messages, objects or log lines."""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    method, path = scope["method"], scope["path"]
    target = headers.get(b"x-amz-target")
    if target is not None:
        return _UNCHANGING.match(target.rpartition(".")[2]) is None
    if method in {"GET", "HEAD", "OPTIONS"}:
        return False
    if "/iam/" in headers.get(b"authorization", ""):
        return True
    bucket = method in {"PUT", "DELETE"} and _BUCKET.fullmatch(path) is not None
    return bucket or _MANAGEMENT.match(path) is not None


def _flush(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _send_json(send: Send, body: object) -> None:
    await respond(send, 200, b"application/json", json.dumps(body).encode())


def install(ministack: Any) -> Saver:
    """A saver that replaces the functions with which MiniStack's module `app` saves and loads."""
    from ministack.core import persistence, responses

    saver = Saver(
        ministack._build_persistence_save_dict,
        persistence.save_all,
        folder=Path(persistence.STATE_DIR),
        port=int(os.environ["GATEWAY_PORT"]),
        objects=S3Objects(
            lambda: sys.modules.get("ministack.services.s3"), responses.set_request_account_id
        ),
    )
    ministack.save_all = saver.at_end
    ministack.load_state = saver.loading(ministack.load_state)
    return saver


class S3Objects:
    """The objects of MiniStack's S3, which writes each at once; on failure it stays in memory.

    `s3` returns MiniStack's module, None while it is not loaded.
    """

    def __init__(self, s3: Callable[[], Any], as_account: Callable[[str], None]) -> None:
        self._s3 = s3
        self._as_account = as_account

    def count(self, bucket: str) -> int:
        return sum(1 for _, name, _, _ in self._all() if name == bucket)

    def flush(self) -> list[str]:
        """Write the objects that are only in memory; returns the failures."""
        kept = [place for place in self._all() if place[-1].get("body") is not None]
        for place in kept:
            # The account is a context variable, which must not change for the caller.
            contextvars.copy_context().run(self._write, *place)
        return [
            f"failed to save object {name} of bucket {bucket}"
            for _, bucket, name, record in kept
            if record.get("body") is not None
        ]

    def _write(self, account: str, bucket: str, name: str, record: dict[str, Any]) -> None:
        self._as_account(account)
        self._s3()._persist_object(bucket, name, record)

    def _all(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        s3 = self._s3()
        return [
            (account, bucket, name, record)
            for (account, bucket), held in ([] if s3 is None else list(s3._buckets._data.items()))
            for name, record in list(held["objects"].items())
        ]


def _make_visible(queues: Any, now: float) -> None:
    """Make messages in flight visible: their receivers stopped with the cloud."""
    for queue in getattr(queues, "_data", {}).values():
        for message in queue.get("messages", ()):
            if message.get("receive_count") and message.get("visible_at", now) > now:
                message["visible_at"] = now


def take_inventory(states: States, objects: Callable[[str], int] = lambda _: 0) -> Inventory:
    """The resources in the services' states; `objects` counts the objects of a bucket.

    A service whose state can't be read now counts as empty.
    """
    found: Inventory = {}
    for (service, store), kind in _KINDS.items():
        resources = _read(states.get(service))
        for region, name, record in _records(resources.get(store)):
            label = f"{kind} {_name(kind, name, record)}"
            held = 0
            if kind == "queue":
                held = len(record.get("messages", ()))
            elif kind == "bucket":
                held = objects(name)
            # Several regions may have a resource of one name.
            found[f"{label} ({region})" if label in found else label] = held
    return found


def _read(read: Callable[[], Any] | None) -> Mapping[str, Any]:
    if read is None:
        return {}
    for _ in range(_ATTEMPTS):
        # The disk may be full, or another thread may change the state while it is copied.
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
