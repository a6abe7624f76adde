"""`facectl tail` and `facectl purge` against real queues, and against AWS's rules in moto."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import boto3
import pytest
from fake_clock import FakeClock
from moto import mock_aws
from moto.sqs import models
from stream_stub import Pipeline, until
from test_send_command import command
from typer.testing import CliRunner, Result

from facectl import records
from facectl.aws import Clients
from facectl.cli.app import app
from facectl.context import Deployment
from facectl.errors import CloudError, IncompleteError, NotRunningError
from facectl.queues import count_messages
from facectl.stream.purge import Purge


def run(*arguments: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(
        app, [str(a) for a in arguments], env={"COLUMNS": "200"}, input=answer
    )


def put(pipeline: Pipeline, count: int) -> None:
    for n in range(count):
        pipeline.put(json.dumps({"request_id": f"r-{n}", "result": "Ann"}))


def test_tail_prints_and_removes(pipeline: Pipeline) -> None:
    put(pipeline, 3)
    pipeline.put('{"request_id": "evil", "result": "\\u001b[2JBob"}')
    done = run("tail", "--max", 4)
    assert done.exit_code == 0
    fields = [line.split("  ") for line in done.stdout.splitlines()]
    assert sorted(f[1:] for f in fields) == [
        ["evil", "?[2JBob"], ["r-0", "Ann"], ["r-1", "Ann"], ["r-2", "Ann"],
    ]  # fmt: skip
    assert pipeline.left() == []


def test_tail_with_keep_prints_each_once_and_deletes_nothing(pipeline: Pipeline) -> None:
    put(pipeline, 3)
    done = run("tail", "--keep", "--json", "--timeout", 3)
    assert done.exit_code == 0
    assert sorted(json.loads(line)["request_id"] for line in done.stdout.splitlines()) == [
        "r-0", "r-1", "r-2",
    ]  # fmt: skip
    assert len(pipeline.left()) == 3


def test_tail_leaves_and_reports_messages_that_are_no_results(pipeline: Pipeline) -> None:
    pipeline.put("not json")
    put(pipeline, 1)
    done = run("tail", "--timeout", 2)
    assert len(done.stdout.splitlines()) == 1
    assert "1 messages on the queue are not results; they were not removed.\n" in done.stderr
    assert pipeline.left() == ["not json"]


def test_tail_fails_with_fewer_results_than_its_limit(pipeline: Pipeline) -> None:
    put(pipeline, 1)
    assert run("tail", "--max", 2, "--timeout", 1).exit_code == 1


def test_ctrl_c_ends_tail_without_an_error(pipeline: Pipeline) -> None:
    put(pipeline, 1)
    tailing = command("tail")
    assert tailing.stdout is not None
    assert "r-0" in tailing.stdout.readline()
    until(lambda: pipeline.total() == 0)
    tailing.send_signal(signal.SIGINT)
    _, stderr = tailing.communicate(timeout=60)
    assert tailing.returncode == 0
    where = f"Deployment: ASU ID {pipeline.deployment.key}\n"
    assert stderr == f"{where}Stopped after 1 results.\n"
    assert pipeline.left() == []


def test_tail_ends_silently_when_its_pipe_is_closed(pipeline: Pipeline) -> None:
    put(pipeline, 1)
    tailing = command("tail")
    assert tailing.stdout is not None
    tailing.stdout.readline()
    tailing.stdout.close()
    pipeline.put('{"request_id": "r-late", "result": "Ann"}')
    assert tailing.wait(60) == 0
    assert tailing.stderr is not None
    assert tailing.stderr.read() == f"Deployment: ASU ID {pipeline.deployment.key}\n"
    assert len(pipeline.left()) == 1


def test_tail_without_a_cloud(pipeline: Pipeline) -> None:
    done = run("tail", "--endpoint-url", "http://127.0.0.1:1")
    assert isinstance(done.exception, NotRunningError)
    assert done.exception.hint == "facectl local up"


def test_purge_empties_all_three_queues_and_counts_them(pipeline: Pipeline) -> None:
    for url in pipeline.queues.values():
        for n in range(3):
            pipeline.sqs.send_message(QueueUrl=url, MessageBody=str(n))
        pipeline.sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=60)
        pipeline.sqs.receive_message(QueueUrl=url)
    done = run("purge", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)["queues"]
    assert [q["queue"] for q in report] == list(pipeline.queues)
    assert [sum(q["before"].values()) for q in report] == [4, 4, 4]
    assert all(q["after"] == {"visible": 0, "in_flight": 0, "delayed": 0} for q in report)
    for url in pipeline.queues.values():
        assert "Messages" not in pipeline.sqs.receive_message(QueueUrl=url)


def test_purge_shows_a_table(pipeline: Pipeline) -> None:
    put(pipeline, 2)
    done = run("purge")
    assert done.exit_code == 0
    rows = [line.split() for line in done.stdout.splitlines() if "-queue" in line or "-dlq" in line]
    assert [row[3] for row in rows] == ["0", "0", "2"]


class Time(FakeClock):
    """A clock, and the progress messages."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.progress: list[tuple[float, float]] = []


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """moto's AWS with the three queues."""
    with mock_aws():
        deployment = Deployment(asu_id="x", target="aws")
        records.remember(deployment)
        sqs = boto3.client("sqs", region_name="us-east-1")
        names = deployment.names
        for name in (names.request_queue, names.dead_letter_queue, names.response_queue):
            sqs.create_queue(QueueName=name)
        yield deployment


@pytest.fixture
def clock() -> Time:
    return Time()


def purge(deployment: Deployment, clock: Time, timeout: float = 180.0) -> Purge:
    return Purge(
        Clients(deployment),
        timeout=timeout,
        tell=clock.told.append,
        progress=lambda done, total: clock.progress.append((done, total)),
        clock=clock,
        sleep=clock.sleep,
    )


def send(deployment: Deployment) -> None:
    sqs = boto3.client("sqs", region_name="us-east-1")
    url = sqs.get_queue_url(QueueName=deployment.names.response_queue)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="x")


def test_an_empty_queue_is_counted_three_times(aws: Deployment, clock: Time) -> None:
    (purged,) = purge(aws, clock).run([aws.names.response_queue])
    assert purged.before.total == purged.after.total == 0
    # A minute after the purge, when SQS counts reliably.
    assert clock.now == 60.0
    assert clock.progress[-1] == (59.5, 60.0)


def test_a_message_that_sqs_did_not_count_yet_is_purged(
    aws: Deployment, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_SQS_ENFORCE_STRICT_QUEUE_PURGE_BEHAVIOUR", "false")
    name = aws.names.response_queue

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now == 30.0:
            send(aws)

    (purged,) = Purge(Clients(aws), clock=clock, sleep=sleep).run([name])
    assert purged.after.total == count_messages(Clients(aws), name).total == 0
    assert clock.now >= 120.0


def test_purge_without_waiting_says_to_wait(aws: Deployment) -> None:
    send(aws)
    done = run("purge", "--yes", "--no-wait")
    assert done.exit_code == 0, done.output
    assert "wait before sending" in done.stderr
    again = run("purge", "--yes", "--no-wait")
    assert isinstance(again.exception, IncompleteError)
    assert "one has begun" in str(again.exception)


def test_a_timeout_before_the_counts_are_reliable_is_an_error(aws: Deployment, clock: Time) -> None:
    with pytest.raises(IncompleteError, match="only a minute after a purge"):
        purge(aws, clock, timeout=30).run([aws.names.response_queue])


def test_a_purge_in_progress_is_waited_for_with_a_countdown(
    aws: Deployment, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = aws.names.response_queue
    purge(aws, Time()).run([name])
    send(aws)
    # moto tells the time by itself: the minute is over when our clock says so.
    real = models.unix_time
    monkeypatch.setattr(models, "unix_time", lambda *a: real(*a) + clock.now)
    (purged,) = purge(aws, clock).run([name])
    assert (purged.before.visible, purged.after.total) == (1, 0)
    # Until the purge is allowed, and until its counts are reliable.
    assert 115 < clock.now < 135
    assert any("SQS allows one purge in 60 s, next try in 3 s" in text for text in clock.told)


def test_a_purge_in_progress_of_an_empty_queue_is_not_waited_for(
    aws: Deployment, clock: Time
) -> None:
    name = aws.names.response_queue
    purge(aws, Time()).run([name])
    purge(aws, clock).run([name])
    assert clock.now == 1.0


def test_a_queue_that_does_not_empty_is_an_error_with_its_counts(
    aws: Deployment, clock: Time
) -> None:
    name = aws.names.response_queue
    purge(aws, Time()).run([name])
    send(aws)
    with pytest.raises(IncompleteError, match=f"{name} is not empty after 30 s: 1 visible, 0 in"):
        purge(aws, clock, timeout=30).run([name])
    assert 30 < clock.now < 32


def test_a_queue_that_fills_again_is_purged_again(
    aws: Deployment, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_SQS_ENFORCE_STRICT_QUEUE_PURGE_BEHAVIOUR", "false")
    names = [aws.names.response_queue, aws.names.dead_letter_queue]
    late = iter([None, None, None, lambda: send(aws)])

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if (event := next(late, None)) is not None:
            event()

    purged = Purge(Clients(aws), clock=clock, sleep=sleep).run(names)
    assert [p.after.total for p in purged] == [0, 0]
    assert count_messages(Clients(aws), names[0]).total == 0


def test_on_aws_purge_asks_for_confirmation(aws: Deployment) -> None:
    send(aws)
    refused = run("purge", answer="n\n")
    assert refused.exit_code == 1
    assert "Delete every message of x-req-queue, x-req-dlq, x-resp-queue in us-east-1?" in (
        refused.stderr
    )
    assert count_messages(Clients(aws), aws.names.response_queue).visible == 1
    agreed = run("purge", "--yes", "--no-wait")
    assert agreed.exit_code == 0, agreed.output
    assert count_messages(Clients(aws), aws.names.response_queue).total == 0


def test_a_missing_queue_is_named(aws: Deployment) -> None:
    done = run("purge", "--asu-id", "nobody", "--yes")
    assert isinstance(done.exception, CloudError)
    assert "counting nobody-req-queue" in str(done.exception)
    assert done.exception.hint == "facectl deploy"
