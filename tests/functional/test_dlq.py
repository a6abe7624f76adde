"""The dead-letter queue against moto: peek, redrive and drop lose no message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws
from typer.testing import CliRunner

from facectl import records
from facectl.aws import Clients
from facectl.cli.app import app
from facectl.context import Deployment
from facectl.errors import InputError
from facectl.logs import failure_reasons
from facectl.logs.dead_letters import DeadLetterQueue

DEPLOYMENT = Deployment("alice", "aws")
FUNCTION = "face-recognition"


class Queues:
    """The request queue and the dead-letter queue of a deployment."""

    def __init__(self) -> None:
        self.clients = Clients(DEPLOYMENT)
        self.sqs = self.clients.sqs
        names = DEPLOYMENT.names
        self.urls = {
            name: self.sqs.create_queue(QueueName=name)["QueueUrl"]
            for name in (names.request_queue, names.dead_letter_queue)
        }
        self.request = self.urls[names.request_queue]
        self.dead = self.urls[names.dead_letter_queue]

    def put_dead(self, *bodies: str, **attributes: Any) -> list[str]:
        return [
            self.sqs.send_message(QueueUrl=self.dead, MessageBody=body, **attributes)["MessageId"]
            for body in bodies
        ]

    def bodies(self, url: str) -> list[str]:
        """The bodies of the visible messages of a queue."""
        found: list[str] = []
        while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            found += [message["Body"] for message in messages]
        return sorted(found)

    def dead_letters(self, sleeps: list[float] | None = None) -> DeadLetterQueue:
        slept = [] if sleeps is None else sleeps
        return DeadLetterQueue(self.clients, clock=lambda: 0.0, sleep=slept.append)


@pytest.fixture
def queues() -> Iterator[Queues]:
    with mock_aws():
        yield Queues()


def body(request_id: str, size: int = 0) -> str:
    return json.dumps({"request_id": request_id, "faces": "x" * size})


def test_a_peek_consumes_nothing(queues: Queues) -> None:
    bodies = [body(f"r{n:02}") for n in range(23)]
    queues.put_dead(*bodies)
    found = queues.dead_letters().peek()
    assert sorted(dead_letter.body for dead_letter in found) == bodies
    assert {dead_letter.request_id for dead_letter in found} == {f"r{n:02}" for n in range(23)}
    # Visible again immediately, not after the visibility timeout of a minute.
    assert queues.bodies(queues.dead) == bodies


def test_redrive_moves_all_messages_at_the_rate(queues: Queues) -> None:
    bodies = [body(f"r{n:02}") for n in range(23)]
    queues.put_dead(*bodies)
    slept: list[float] = []
    progress: list[int] = []
    outcome = queues.dead_letters(slept).redrive(rate=5.0, on_progress=progress.append)
    assert (outcome.done, outcome.failures) == (23, ())
    assert queues.bodies(queues.request) == bodies
    assert queues.bodies(queues.dead) == []
    assert sum(slept) == pytest.approx(23 / 5)
    assert progress[-1] == 23


def test_redrive_of_one(queues: Queues) -> None:
    _, second = queues.put_dead(body("a"), body("b"))
    queues.dead_letters().redrive([second])
    assert queues.bodies(queues.request) == [body("b")]
    assert queues.bodies(queues.dead) == [body("a")]


def test_large_messages_are_sent_in_batches_that_sqs_accepts(queues: Queues) -> None:
    bodies = sorted(body(f"r{n}", 200_000) for n in range(7))
    queues.put_dead(*bodies)
    sent: list[int] = []
    queues.sqs.meta.events.register(
        "before-parameter-build.sqs.SendMessageBatch",
        lambda params, **_: sent.append(sum(len(e["MessageBody"]) for e in params["Entries"])),
    )
    assert queues.dead_letters().redrive(rate=1000).done == 7
    assert len(sent) >= 2
    assert max(sent) <= 1_000_000
    assert queues.bodies(queues.request) == bodies


def test_message_attributes_are_kept(queues: Queues) -> None:
    attribute = {"shoe-size": {"DataType": "Number", "StringValue": "43"}}
    queues.put_dead(body("a"), MessageAttributes=attribute)
    queues.dead_letters().redrive()
    [message] = queues.sqs.receive_message(QueueUrl=queues.request, MessageAttributeNames=["All"])[
        "Messages"
    ]
    assert message["MessageAttributes"]["shoe-size"]["StringValue"] == "43"


def test_messages_that_sqs_rejects_remain(queues: Queues) -> None:
    queues.put_dead(body("a"), body("b"))

    def refuse_b(parsed: dict[str, Any], **_: Any) -> None:
        if not parsed.get("Successful"):
            return
        index = next(
            n for n, message in enumerate(sent["Entries"]) if message["MessageBody"] == body("b")
        )
        refused = parsed["Successful"].pop(index)
        parsed["Failed"] = [{"Id": refused["Id"], "Code": "InternalError", "Message": "try again"}]

    sent: dict[str, Any] = {}
    events = queues.sqs.meta.events
    events.register(
        "before-parameter-build.sqs.SendMessageBatch", lambda params, **_: sent.update(params)
    )
    events.register("after-call.sqs.SendMessageBatch", refuse_b)
    outcome = queues.dead_letters().redrive()
    assert outcome.done == 1
    assert "try again" in outcome.failures[0]
    assert queues.bodies(queues.dead) == [body("b")]


def test_an_interruption_before_the_deletion_duplicates_but_does_not_lose(queues: Queues) -> None:
    queues.put_dead(body("a"))
    events = queues.sqs.meta.events

    def interrupt(**_: Any) -> None:
        raise KeyboardInterrupt

    events.register("before-call.sqs.DeleteMessageBatch", interrupt, unique_id="interrupt")
    with pytest.raises(KeyboardInterrupt):
        queues.dead_letters().redrive()
    assert queues.bodies(queues.request) == [body("a")]
    assert queues.bodies(queues.dead) == [body("a")]


def test_a_redriven_message_that_fails_again_is_not_redriven_twice(queues: Queues) -> None:
    queues.put_dead(body("a"))
    moves = 0

    def fail_again(parsed: dict[str, Any], **_: Any) -> None:
        nonlocal moves
        moves += 1
        # Its copy moves to the dead-letter queue immediately, with a new id.
        for message in queues.sqs.receive_message(QueueUrl=queues.request).get("Messages", []):
            [new] = queues.put_dead(message["Body"])
            parsed["Successful"][0]["MessageId"] = new

    queues.sqs.meta.events.register("after-call.sqs.SendMessageBatch", fail_again)
    assert queues.dead_letters().redrive().done == 1
    assert moves == 1
    assert queues.bodies(queues.dead) == [body("a")]


def test_drop_of_one_and_of_all(queues: Queues) -> None:
    queues.put_dead(body("a"), body("b"), "no json at all")
    assert queues.dead_letters().drop(["a"]).done == 1
    assert queues.bodies(queues.dead) == sorted([body("b"), "no json at all"])


def test_an_unknown_id(queues: Queues) -> None:
    queues.put_dead(body("frame-1"), body("frame-2"))
    dead_letters = queues.dead_letters().peek()
    with pytest.raises(InputError, match=r"These ids begin with it:\n  frame-1\n  frame-2"):
        failure_reasons.find(sorted(dead_letters, key=lambda one: one.body), "frame")
    with pytest.raises(InputError, match=r"No message 'x' in the dead-letter queue, which has 2"):
        failure_reasons.find(dead_letters, "x")
    assert len(failure_reasons.find(dead_letters, "frame-1")) == 1


def run(*arguments: str, code: int = 0, answer: str | None = None) -> str:
    records.remember(DEPLOYMENT)
    result = CliRunner().invoke(app, list(arguments), input=answer)
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def test_the_commands(queues: Queues) -> None:
    assert json.loads(run("dlq", "list", "--json")) == {"dead": []}
    assert "is empty" in run("dlq", "list")
    queues.put_dead(body("a"), body("b"))
    dead = json.loads(run("dlq", "list", "--json"))["dead"]
    assert {one["request_id"] for one in dead} == {"a", "b"}
    assert {one["why"] for one in dead} == {"the logs contain no reason"}
    assert "the logs contain no reason" in run("dlq", "show", "a")
    run("dlq", "redrive", code=1)
    run("dlq", "redrive", "a", "--all", code=1)
    assert json.loads(run("dlq", "redrive", "a", "--json"))["done"] == 1
    run("dlq", "drop", "--all", code=1, answer="n\n")
    assert json.loads(run("dlq", "drop", "--all", "--yes", "--json"))["done"] == 1
    assert queues.bodies(queues.request) == [body("a")]
    assert queues.bodies(queues.dead) == []
