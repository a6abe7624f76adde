"""Which calls change an account: the executor's alone, and none of a command that only looks."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
from botocore.client import BaseClient
from moto_account import apply, found, steps_of

from facectl.aws import Clients
from facectl.deploy import deployer, executor, status
from facectl.deploy.deployer import Plan
from facectl.deploy.models import DesiredState
from facectl.deploy.options import Options
from facectl.deploy.resources import Context
from facectl.models import store
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION, Names
from facectl.stream.reply_queues import ReplyQueue
from lambda_src.vision.store import NETWORKS

FUNCTIONS = (DETECTION_FUNCTION, RECOGNITION_FUNCTION)
# AWS names the operations that change nothing so.
READING = ("Get", "List", "Describe", "Head", "BatchGet", "Filter")


class Calls:
    """The operations that change something: those within `apply_step`, and the others."""

    def __init__(self) -> None:
        self.carried_out: list[str] = []
        self.elsewhere: list[str] = []

    def record(self, operation: str) -> None:
        if operation.startswith(READING):
            return
        frame: Any = sys._getframe()
        while frame is not None and frame.f_code is not executor.apply_step.__code__:
            frame = frame.f_back
        (self.elsewhere if frame is None else self.carried_out).append(operation)


@pytest.fixture
def calls(clients: Clients, desired: DesiredState, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Every call of every client from now on, to whatever service."""
    calls = Calls()
    original = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: Any, operation: str, arguments: Any) -> Any:
        calls.record(operation)
        return original(client, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return calls


def drafted(context: Context, desired: DesiredState) -> Plan:
    return Plan(
        context.clients, Options(), desired, found(context, desired), steps_of(context, desired)
    )


def test_planning_and_looking_change_nothing(
    context: Context, desired: DesiredState, calls: Calls
) -> None:
    assert drafted(context, desired).steps
    assert calls.carried_out == []
    apply(context, desired)
    made = list(calls.carried_out)
    assert "CreateFunction" in made

    larger = replace(desired, sizing=replace(desired.sizing, memory=1769, timeout=30))
    assert drafted(context, larger).steps
    given = Options(image_uris=tuple(f"{name}=registry.test/{name}:1" for name in FUNCTIONS))
    with store.installation("tiny") as folder:
        for name in NETWORKS:
            (folder / name).write_text(name)
        facts = {"preprocessing": "facenet", "synthetic": False, "weights": "vggface2"}
        store.write_manifest(folder, {"space": "abc/facenet", **facts})
    assert status.inspect(context.clients, store.find(), given).drift
    assert deployer.prepare_removal(context.clients.deployment).steps
    assert (calls.carried_out, calls.elsewhere) == (made, [])


def test_what_a_deploy_and_a_destroy_change_the_executor_changes(
    context: Context, desired: DesiredState, calls: Calls
) -> None:
    work = drafted(context, desired)
    deployer.apply(work)
    deployer.finish(work)
    larger = replace(desired, sizing=replace(desired.sizing, memory=1769, timeout=30))
    deployer.apply(drafted(context, larger))
    assert "UpdateFunctionConfiguration" in calls.carried_out
    deployer.apply(deployer.prepare_removal(context.clients.deployment))
    assert "DeleteFunction" in calls.carried_out
    assert calls.elsewhere == []
    assert drafted(context, desired).steps == work.steps


def test_destroy_deletes_the_reply_queues_of_its_deployment(
    context: Context, desired: DesiredState
) -> None:
    apply(context, desired)
    clients = context.clients
    own = [ReplyQueue(clients, clock=lambda: 0.0), ReplyQueue(clients)]
    for reply in own:
        reply._create()
    # Of an ASU ID that begins like this one's reply queues, and one without a tag.
    others = [
        Names(f"{desired.names.asu_id}-resp").request_queue,
        desired.names.reply_queue("f" * 32),
    ]
    for name in others:
        clients.sqs.create_queue(QueueName=name)
    expected = sorted(reply.name for reply in own)
    assert sorted(queue.name for queue in status.inspect_replies(clients)) == expected
    deployer.apply(deployer.prepare_removal(clients.deployment))
    left = [url.rpartition("/")[2] for url in clients.sqs.list_queues().get("QueueUrls", [])]
    assert sorted(left) == sorted(others)
