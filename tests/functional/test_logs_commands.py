"""The commands logs, logs report and trace against moto."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from moto import mock_aws
from typer.testing import CliRunner, Result

from facectl import records
from facectl.aws import Clients
from facectl.cli.app import app, main
from facectl.context import Deployment
from facectl.errors import CloudError, InputError
from facectl.logs.source import LiveTail
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION, Names

DEPLOYMENT = Deployment("alice", "aws")
IDS = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")


class Cloud:
    """Log groups that the test writes to, one stream per function; `now` is a minute ago."""

    def __init__(self) -> None:
        self.clients = Clients(DEPLOYMENT)
        # A whole second: events keep milliseconds, and differences between them are compared.
        self.now = float(int(time.time()) - 60)
        for function in (DETECTION_FUNCTION, RECOGNITION_FUNCTION):
            group = Names.log_group(function)
            self.clients.logs.create_log_group(logGroupName=group)
            self.clients.logs.create_log_stream(logGroupName=group, logStreamName="s")
        for queue in ("alice-req-queue", "alice-req-dlq", "alice-resp-queue"):
            self.clients.sqs.create_queue(QueueName=queue)

    def write(self, function: str, at: float, message: str) -> None:
        self.clients.logs.put_log_events(
            logGroupName=Names.log_group(function),
            logStreamName="s",
            logEvents=[{"timestamp": round((self.now + at) * 1000), "message": message}],
        )

    def log(self, function: str, at: float, stage: str, request_id: str, **fields: Any) -> None:
        moment = datetime.fromtimestamp(self.now + at, timezone.utc)
        line = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": "INFO",
            "function": function,
            "stage": stage,
            "request_id": request_id,
            **fields,
        }
        self.write(function, at, json.dumps(line))


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with mock_aws():
        records.remember(DEPLOYMENT)
        yield Cloud()


@pytest.fixture
def frame(cloud: Cloud) -> Cloud:
    """One frame that was answered, and one that was refused."""
    first, second = IDS
    detection, recognition = DETECTION_FUNCTION, RECOGNITION_FUNCTION
    cloud.write(detection, 0, f"START RequestId: {first} Version: $LATEST")
    cloud.log(detection, 0, "received", "run-1", invocation=first, waited_ms=5, bytes=1000)
    stages = {"decode_ms": 10, "detect_ms": 150, "crop_ms": 5, "enqueue_ms": 10}
    cloud.log(
        detection,
        0.2,
        "detection",
        "run-1",
        invocation=first,
        faces=1,
        width=640,
        height=360,
        message_id="m",
        **stages,
    )
    cloud.log(detection, 0.2, "request", "run-1", invocation=first, status=200, faces=1)
    cloud.write(
        detection,
        0.21,
        f"REPORT RequestId: {first}\tDuration: 200.00 ms\tBilled Duration: 201 ms\t"
        "Memory Size: 3008 MB\tMax Memory Used: 300 MB",
    )
    cloud.log(
        recognition,
        0.3,
        "received",
        "run-1",
        invocation=second,
        message_id="m",
        receives=1,
        max_receives=3,
        waited_ms=105,
    )
    cloud.log(
        recognition,
        0.4,
        "recognition",
        "run-1",
        invocation=second,
        message_id="m",
        receives=1,
        faces=1,
        result="Ada",
        matches=[{"name": "Ada", "distance": 0.5}],
        embed_ms=60,
        match_ms=1,
        send_ms=5,
    )
    cloud.log(
        detection,
        5,
        "request",
        "run-2",
        invocation="x",
        level="ERROR",
        status=400,
        error="bad_image",
        message="no image",
    )
    return cloud


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments))


def printed(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refused(*arguments: str) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


def test_both_functions_merged_by_time(frame: Cloud) -> None:
    lines = printed("logs").splitlines()
    shown = [line.split()[1] for line in lines]
    assert shown == [*["detection"] * 4, *["recognition"] * 2, "detection"]
    assert "START" not in "".join(lines)
    assert "detect=150ms" in lines[1]
    assert "invocation ended  after 200 ms" in lines[3]


def test_filters_omit_lines(frame: Cloud) -> None:
    assert len(printed("logs", "--function", "recognition").splitlines()) == 2
    assert len(printed("logs", "--level", "error").splitlines()) == 1
    assert len(printed("logs", "--request-id", "run-1").splitlines()) == 5
    assert len(printed("logs", "--grep", '"name": "A.a"').splitlines()) == 1
    assert printed("logs", "--since", "30s") == ""
    assert printed("logs", "--since", "2h", "--until", "1h") == ""


def test_raw_prints_events_unchanged_and_json_one_object_per_line(frame: Cloud) -> None:
    raw = printed("logs", "--raw", "--function", "detection")
    assert raw.startswith(f"START RequestId: {IDS[0]} Version: $LATEST\n")
    lines = [json.loads(line) for line in printed("logs", "--json").splitlines()]
    assert [line["kind"] for line in lines][:2] == ["start", "entry"]
    assert lines[1]["fields"]["bytes"] == 1000
    assert {line["request_id"] for line in lines} == {None, "run-1", "run-2"}


def test_no_matching_lines_name_the_logs_and_the_window(frame: Cloud) -> None:
    result = run("logs", "--grep", "no such thing")
    assert result.exit_code == 0
    assert re.search(
        r"No matching lines in the logs of face-detection and face-recognition from .* until",
        result.stderr.replace("\n", " "),
    )


def test_an_unknown_request(frame: Cloud) -> None:
    for command in (("logs", "--request-id", "other"), ("trace", "other")):
        output = refused(*command)
        assert "No request 'other' in the logs of face-detection and face-recognition" in output
        assert " until " in output
    assert "These ids begin with it:\n  run-1\n  run-2" in refused("trace", "run")


def test_an_id_with_brackets_is_printed_unchanged(
    frame: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["facectl", "trace", "[/b]1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "No request '[/b]1' in the logs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--function", "nose"), "No function is called 'nose'"),
        (("--since", "soon"), "--since 'soon' is not a time"),
        (("--since", "2099-01-01"), "is in the future"),
        (("--until", "2099-01-01"), "is in the future"),
        (("--level", "loud"), "No level is called 'loud'"),
        (("--grep", "("), "is not a regular expression"),
    ],
)
def test_bad_arguments(cloud: Cloud, arguments: tuple[str, str], words: str) -> None:
    assert words in refused("logs", *arguments)


def test_before_the_first_run_there_is_no_log() -> None:
    with mock_aws():
        records.remember(DEPLOYMENT)
        result = run("logs")
        assert isinstance(result.exception, CloudError)
        assert "There is no log of face-detection yet" in str(result.exception)


def test_a_trace(frame: Cloud) -> None:
    output = printed("trace", "run-1")
    # However wide the terminal is.
    assert "received after 105 ms in the queue, delivery 1 of 3" in " ".join(output.split())
    assert "matched: Ada (distance 0.5)" in output
    assert "405 ms to the answer" in output
    assert output.splitlines()[-1] == "Now: answered Ada"
    traced = json.loads(printed("trace", "run-1", "--json"))
    assert (traced["state"], traced["result"], traced["total_ms"]) == ("answered", "Ada", 405.0)
    assert "Now: refused with 400 bad_image: no image" in printed("trace", "run-2")


def test_the_last_and_the_slowest(frame: Cloud) -> None:
    assert json.loads(printed("trace", "--last", "--json"))["request_id"] == "run-1"
    assert [t["request_id"] for t in json.loads(printed("trace", "--slowest", "5", "--json"))] == [
        "run-1"
    ]
    assert "Give a request id" in refused("trace")
    assert "Give a request id" in refused("trace", "run-1", "--last")


def test_a_trace_before_any_request(cloud: Cloud) -> None:
    assert "No request in the log of face-detection from" in refused("trace", "--last")
    assert "No request was answered from" in refused("trace", "--slowest", "3")


def test_a_dead_letter_is_found_and_not_consumed(frame: Cloud) -> None:
    sqs = frame.clients.sqs
    frame.log(DETECTION_FUNCTION, 10, "detection", "run-3", invocation="y", message_id="z", faces=1)
    url = sqs.get_queue_url(QueueName="alice-req-dlq")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"request_id": "run-3"}))
    for _ in range(2):
        traced = json.loads(printed("trace", "run-3", "--json"))
        assert traced["state"] == "dead-letter queue"
    assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1


def test_the_report(frame: Cloud) -> None:
    report = json.loads(printed("logs", "report", "--json"))
    detection, recognition = report["functions"]
    assert (detection["invocations"], detection["duration_ms"]["p50"]) == (1, 200.0)
    assert (detection["used_mb"], detection["suggested_mb"]) == (300, 1769)
    assert detection["billed_seconds"] == 0.201
    assert recognition["invocations"] == 0
    table = printed("logs", "report")
    assert "300, 3008 MB" in table
    assert "facectl deploy --memory 1769" in table


def test_live_tail_delivers_logged_events(frame: Cloud) -> None:
    # One function: moto returns the log group created last for every group requested.
    live = LiveTail(frame.clients, (RECOGNITION_FUNCTION,))
    deadline = time.monotonic() + 600
    while live.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    found = list(live.arrived())
    assert [event.function for event in found] == [RECOGNITION_FUNCTION] * 2
    assert all("run-1" in event.message for event in found)
    assert live.failure is None


@pytest.mark.parametrize("way", [(), ("--poll",)])
def test_following_shows_each_event_once_although_it_comes_by_two_ways(
    frame: Cloud, way: tuple[str, ...]
) -> None:
    until = datetime.fromtimestamp(time.time() + 3, timezone.utc).isoformat()
    own = ("--function", "recognition", "--json", *way)
    lines = printed("logs", "--follow", "--until", until, *own).splitlines()
    stages = [json.loads(line)["fields"]["stage"] for line in lines]
    assert stages == ["received", "recognition"]


@pytest.mark.usefixtures("frame")
@pytest.mark.parametrize(("way", "count"), [((), 1), (("--poll",), 0)])
def test_the_price_of_live_tail_is_said_once(way: tuple[str, ...], count: int) -> None:
    until = datetime.fromtimestamp(time.time() + 1, timezone.utc).isoformat()
    done = run("logs", "--follow", "--until", until, "--function", "recognition", *way)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("AWS charges Live Tail by the minute") == count
