"""Saving of the local cloud's state: when, failures, and the report of a restore."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from facectl.local import saving, state
from facectl.local.saving import Saver, changes, take_inventory
from facectl.local.state import Inventory, Prepared, Restored, Saved


def scope(method: str, path: str, **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": pairs}


@pytest.mark.parametrize(
    ("request_", "changing"),
    [
        (scope("POST", "/", x_amz_target="AmazonSQS.CreateQueue"), True),
        (scope("POST", "/", x_amz_target="AmazonSQS.SetQueueAttributes"), True),
        (scope("POST", "/", x_amz_target="AmazonSQS.DeleteQueue"), True),
        (scope("POST", "/", x_amz_target="AmazonSQS.SendMessageBatch"), False),
        (scope("POST", "/", x_amz_target="AmazonSQS.ReceiveMessage"), False),
        (scope("POST", "/", x_amz_target="AmazonSQS.DeleteMessageBatch"), False),
        (scope("POST", "/", x_amz_target="AmazonSQS.ChangeMessageVisibility"), False),
        (scope("POST", "/", x_amz_target="Logs_20140328.PutRetentionPolicy"), True),
        (scope("POST", "/", x_amz_target="Logs_20140328.PutLogEvents"), False),
        (scope("POST", "/", x_amz_target="Logs_20140328.FilterLogEvents"), False),
        (scope("POST", "/2015-03-31/functions"), True),
        (scope("PUT", "/2017-10-31/functions/f/concurrency"), True),
        (scope("GET", "/2015-03-31/functions/f"), False),
        (scope("POST", "/2015-03-31/functions/f/invocations"), False),
        (scope("POST", "/", authorization="AWS4 Credential=a/2026/us-east-1/iam/aws4"), True),
        (scope("PUT", "/facectl-a-000000000000"), True),
        (scope("PUT", "/facectl-a-000000000000/gallery/current.json"), False),
        (scope("POST", "/_aws/lambda-url/abc/"), False),
    ],
)
def test_which_requests_change_a_resource(request_: dict[str, Any], changing: bool) -> None:
    assert changes(request_) is changing


def saver(folder: Path, save_all: Callable[[dict[str, Any]], None]) -> Saver:
    return Saver(lambda: {"sqs": dict}, save_all, folder=folder, port=4566, clock=lambda: 7.0)


def test_failures_are_returned_and_written_to_saved_json(tmp_path: Path) -> None:
    def full(services: dict[str, Any]) -> None:
        logging.getLogger("persistence").error("Persistence: failed to save %s: disk", *services)

    failed = saver(tmp_path / "services", full).save()
    assert failed == ("failed to save sqs: disk",)
    assert '"failed": ["failed to save sqs: disk"]' in (tmp_path / "saved.json").read_text()


def test_a_state_that_changed_while_it_was_copied_is_saved_again(tmp_path: Path) -> None:
    tries: list[object] = []

    def busy(services: dict[str, Any]) -> None:
        tries.append(services)
        if len(tries) < 3:
            logging.getLogger("persistence").error("Persistence: error getting state for sqs")

    assert saver(tmp_path / "services", busy).save() == ()
    assert len(tries) == 3


def test_an_unwritable_folder_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    [failed] = saver(tmp_path / "file" / "services", lambda services: None).save()
    assert "file" in failed


def test_successive_changes_are_saved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "_SETTLE_SECONDS", 0.0)
    saves: list[object] = []
    saves_once = saver(tmp_path / "services", saves.append)

    async def app(scope: object, receive: object, send: object) -> None:
        return

    async def ask() -> None:
        watched = saves_once.watching(app)
        done = asyncio.Event()
        for path in ("/2015-03-31/functions", "/2015-03-31/functions", "/_aws/lambda-url/abc/"):
            await watched(scope("POST", path), None, None)
        # Timers that are due are run in order.
        asyncio.get_running_loop().call_later(0.0, done.set)
        await done.wait()

    asyncio.run(ask())
    assert len(saves) == 1


def stored(**records: Any) -> Any:
    return SimpleNamespace(
        _data={("000000000000", "us-east-1", name): value for name, value in records.items()}
    )


def test_the_inventory_counts_messages_and_names_queue_and_function_of_a_trigger() -> None:
    trigger = {
        "EventSourceArn": "arn:aws:sqs:us-east-1:0:a-req-queue",
        "FunctionArn": "arn:aws:lambda:us-east-1:0:function:face-recognition",
    }
    taken = take_inventory(
        {
            "sqs": lambda: {"queues": stored(**{"http://h/0/a-resp-queue": {"messages": [1, 2]}})},
            "lambda": lambda: {"esms": stored(uuid=trigger)},
            "iam": lambda: {"roles": stored(r={})},
        }
    )
    assert taken == {
        "queue a-resp-queue": 2,
        "trigger a-req-queue → face-recognition": 0,
        "role r": 0,
    }
    assert state._asu_ids(taken) == ["a"]


def test_messages_received_since_the_start_are_not_missing(tmp_path: Path) -> None:
    loaded = {"queues": stored(**{"http://h/0/a-req-queue": {"messages": [{}, {}]}})}
    now = {"queues": stored(**{"http://h/0/a-req-queue": {"messages": []}})}
    restoring = Saver(
        lambda: {"sqs": lambda: now}, lambda services: None, folder=tmp_path, port=4566
    )
    assert restoring.loading(lambda service: loaded)("sqs") is loaded
    assert restoring.inventory() == {"queue a-req-queue": 2}


def restored(before: Inventory, now: Inventory, **facts: Any) -> Restored:
    saved = Saved(1.0, 4566, facts.pop("ended", True), inventory=before, **facts)
    return Restored(Prepared(saved), now)


def test_a_complete_restore_needs_no_command() -> None:
    whole = {"queue a-resp-queue": 2, "function f": 0}
    assert list(restored(whole, whole).problems()) == []
    assert restored(whole, whole).commands() == []


@pytest.mark.parametrize(
    ("before", "now", "problem", "command"),
    [
        (
            {"queue a-resp-queue": 0, "function f": 0},
            {"queue a-resp-queue": 0},
            "Not restored: function f",
            "facectl deploy --asu-id a --target local",
        ),
        (
            {"queue a-resp-queue": 0, "bucket b": 3},
            {"queue a-resp-queue": 0, "bucket b": 1},
            "Not restored: 2 of 3 objects in bucket b",
            "facectl gallery publish --asu-id a --target local",
        ),
        (
            {"queue a-resp-queue": 3},
            {"queue a-resp-queue": 1},
            "Not restored: 2 of 3 messages in queue a-resp-queue",
            "facectl status --asu-id a --target local",
        ),
        (
            {"function f": 0},
            {},
            "Not restored: function f",
            "facectl deploy --asu-id ID --target local",
        ),
    ],
)
def test_a_loss_is_reported_with_the_command(
    before: Inventory, now: Inventory, problem: str, command: str
) -> None:
    assert list(restored(before, now).problems()) == [problem]
    assert restored(before, now).commands() == [command]


def test_a_failed_save_is_reported_at_the_next_start() -> None:
    [problem] = restored({}, {}, failed=("sqs: disk full",)).problems()
    assert problem == "This could not be saved: sqs: disk full"


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"at": 1, "port": 2, "ended": true}'])
def test_a_damaged_saved_json_counts_as_missing(text: str) -> None:
    state.saved_file().parent.mkdir(parents=True)
    state.saved_file().write_text(text)
    assert state.read() is None
