"""`--reply private` against a scripted function and real queues: made, read, deleted, expired."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from stream_stub import Pipeline, Reply, answering, noisy_clip, number, result, run, until

from facectl.aws import Clients
from facectl.cli import send_run
from facectl.errors import CloudError, InputError
from facectl.stream import reply_queues
from facectl.stream.reply_queues import EXPIRES_TAG, ReplyQueue
from facectl.stream.sender import RequestOptions
from facectl.stream.session import RunOptions


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return noisy_clip(tmp_path / "clip.avi", 64, 48)


@pytest.fixture
def clients(pipeline: Pipeline) -> Clients:
    return Clients(pipeline.deployment)


def test_answers_come_to_the_clients_own_queue_which_is_deleted(
    pipeline: Pipeline, clip: Path
) -> None:
    pipeline.put(json.dumps({"request_id": "other-1", "result": "Bob"}))
    seen: list[int] = []

    def script(request: dict[str, object], n: int) -> Reply:
        seen.append(len(pipeline.reply_queues()))
        return answering(request, n)

    pipeline.script = script
    done = run("send", clip, "--reply", "private", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["answered"] == 20
    assert {len(request["reply"]) for request in pipeline.requests} == {32}
    assert len({request["reply"] for request in pipeline.requests}) == 1
    assert set(seen) == {1}
    assert pipeline.reply_queues() == []
    # Nobody looked at it.
    assert len(pipeline.left()) == 1


def test_several_cameras_share_one(pipeline: Pipeline, clip: Path, tmp_path: Path) -> None:
    other = noisy_clip(tmp_path / "other.avi", 64, 48)
    pipeline.script = lambda request, _: Reply(
        results=[result(request, request["filename"].partition("-")[0])]
    )
    done = run("send", clip, other, "--reply", "private", "--json")
    assert done.exit_code == 0, done.output
    cameras = json.loads(done.stdout)["cameras"]
    assert [camera["names"] for camera in cameras.values()] == [{"clip": 20}, {"other": 20}]
    assert len({request["reply"] for request in pipeline.requests}) == 1
    assert pipeline.reply_queues() == []


def test_functions_without_reply_queues_are_found_out(pipeline: Pipeline, clip: Path) -> None:
    body = json.dumps({"request_id": "r", "faces": 1}).encode()
    pipeline.script = lambda _request, _n: Reply(body=body)
    done = run("send", clip, "--reply", "private")
    assert isinstance(done.exception, CloudError)
    assert "of a version that has no reply queues" in str(done.exception)
    assert done.exception.hint == "facectl deploy   or   without --reply private"
    assert pipeline.reply_queues() == []


def test_no_wait_needs_no_reply_queue(pipeline: Pipeline, clip: Path) -> None:
    done = run("send", clip, "--reply", "private", "--no-wait")
    assert isinstance(done.exception, InputError)
    assert pipeline.requests == []


def test_an_interrupted_run_keeps_its_queue_and_resumes_from_it(
    pipeline: Pipeline, clip: Path
) -> None:
    # Frame 5 is accepted, and answered only when the client has ended.
    held: list[dict[str, object]] = []

    def script(request: dict[str, object], n: int) -> Reply:
        if number(request) == 5:  # type: ignore[arg-type]
            held.append(request)
            return Reply()
        return answering(request, n)  # type: ignore[arg-type]

    pipeline.script = script  # type: ignore[assignment]
    command = [Path(sys.executable).with_name("facectl"), "send", clip, "--reply", "private"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: len(pipeline.requests) == 20)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3, stderr
    [queue] = pipeline.reply_queues()
    assert queue.endswith(str(held[0]["reply"]))
    tags = pipeline.sqs.list_queue_tags(QueueUrl=queue)["Tags"]
    assert int(tags[EXPIRES_TAG]) > time.time() + 3 * 86_400
    pipeline.put(result(held[0]), str(held[0]["reply"]))
    # With other options it would look into the response queue.
    assert isinstance(run("send", clip, "--resume").exception, InputError)
    done = run("send", clip, "--reply", "private", "--resume", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["answered"], len(pipeline.requests)) == (20, 20)
    assert pipeline.reply_queues() == []


def test_a_reply_queue_is_protected_like_the_response_queue(
    pipeline: Pipeline, clients: Clients
) -> None:
    names = pipeline.deployment.names
    policy = {
        "Statement": [{"Effect": "Deny", "Resource": f"arn:aws:sqs:x:1:{names.response_queue}"}]
    }
    pipeline.sqs.set_queue_attributes(
        QueueUrl=pipeline.responses,
        Attributes={"Policy": json.dumps(policy), "MessageRetentionPeriod": "7200"},
    )
    with ReplyQueue(clients) as reply:
        [url] = pipeline.reply_queues()
        found = pipeline.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
            "Attributes"
        ]
        tags = pipeline.sqs.list_queue_tags(QueueUrl=url)["Tags"]
    assert found["MessageRetentionPeriod"] == "7200"
    assert found["VisibilityTimeout"] == "30"
    assert json.loads(found["Policy"])["Statement"][0]["Resource"].endswith(reply.name)
    assert tags["facectl:asu-id"] == pipeline.deployment.asu_id


def killed(clients: Clients, *, ago: float) -> str:
    """The queue of a client that was killed this many seconds ago."""
    reply = ReplyQueue(clients, clock=lambda: time.time() - ago)
    reply._create()
    return reply.name


def test_what_a_killed_client_left_is_deleted_by_the_next_one(
    pipeline: Pipeline, clients: Clients, clip: Path
) -> None:
    old, young = killed(clients, ago=7200), killed(clients, ago=60)
    # It looks like one, and is nobody's.
    foreign = pipeline.deployment.names.reply_queue("f" * 32)
    pipeline.sqs.create_queue(QueueName=foreign)
    done = run("send", clip, "--reply", "private")
    assert done.exit_code == 0, done.output
    assert reply_queues.found(clients) == sorted([young, foreign])
    assert old not in {queue.name for queue in reply_queues.inspect(clients, [young, foreign, old])}


def test_purge_deletes_expired_queues_and_empties_the_others(
    pipeline: Pipeline, clients: Clients
) -> None:
    old, young = killed(clients, ago=7200), killed(clients, ago=0)
    pipeline.put("{}", young[-32:])
    done = run("purge", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["deleted"] == [old]
    assert {queue["queue"]: queue["before"]["visible"] for queue in report["queues"]}[young] == 1
    assert [queue.messages for queue in reply_queues.inspect(clients, [young])] == [0]


def test_tail_reads_a_reply_queue_by_its_name_and_no_other(
    pipeline: Pipeline, clients: Clients
) -> None:
    name = killed(clients, ago=0)
    pipeline.put(json.dumps({"request_id": "r-1", "result": "Ann"}), name[-32:])
    done = run("tail", "--reply", name, "--max", 1)
    assert done.exit_code == 0, done.output
    assert done.stdout.split("  ")[1:] == ["r-1", "Ann\n"]
    for other in ("another", pipeline.deployment.names.request_queue, name[:-1]):
        assert isinstance(run("tail", "--reply", other).exception, InputError)


def test_a_client_that_runs_renews_its_lease(
    pipeline: Pipeline, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_queues, "_RENEWAL", 0.01)
    now = [1e9]
    with ReplyQueue(clients, clock=lambda: now[0]) as reply:
        now[0] = 2e9
        until(lambda: reply_queues.inspect(clients, [reply.name])[0].expires == 2e9 + 3600)


def test_an_hour_without_the_cloud_does_not_delete_the_queue_of_an_edge_client(
    clients: Clients,
) -> None:
    options = RunOptions(RequestOptions(), private_replies=True)
    with ExitStack() as stack:
        edge, other = (
            send_run.reply_queue(stack, clients, each)
            for each in (replace(options, edge=True), options)
        )
        assert edge is not None
        assert other is not None
        # An hour, the time since the last renewal, and the tolerance for clocks.
        later = time.time() + 3600 + 600 + 301
        removed = reply_queues.remove_expired(clients, [edge.name, other.name], clock=lambda: later)
        assert removed == [other.name]
        nobody = send_run.reply_queue(stack, clients, replace(options, private_replies=False))
        assert nobody is None


def test_the_cloud_may_be_gone_when_a_client_ends(
    pipeline: Pipeline, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise CloudError("nothing answers")

    with ReplyQueue(clients) as reply:
        monkeypatch.setattr(reply_queues, "remove", refuse)
    assert reply_queues.found(clients) == [reply.name]


def test_no_deployment_no_reply_queue(pipeline: Pipeline, clip: Path) -> None:
    pipeline.sqs.delete_queue(QueueUrl=pipeline.responses)
    done = run("send", clip, "--reply", "private")
    assert isinstance(done.exception, CloudError)
    assert pipeline.reply_queues() == []
