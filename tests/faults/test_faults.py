"""Faults while frames are in flight: no frame is lost, answered twice or given another's result."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from driver import eventually
from fault_injection import LONG, PEOPLE, FaultInjector, Outcome, judge, wait_for

from lambda_src.gallery.parts import manifest_key

pytestmark = pytest.mark.faults

FRAMES = 500 if LONG else 40
PAUSE = 20.0 if LONG else 5.0
# Longer than any frame of these is held up.
PATIENCE = ("--timeout", "1200")


@pytest.fixture(autouse=True)
def settled(injector: FaultInjector) -> None:
    injector.settle()


def begun(out: Path, answers: int) -> None:
    """Wait until a client has so many answers."""
    wait_for(lambda: out.exists() and len(out.read_bytes().splitlines()) >= answers)


def passed(outcome: Outcome, table: list[Outcome]) -> None:
    table.append(outcome)
    assert (outcome.lost, outcome.doubled, outcome.wrong) == (0, 0, 0), outcome.problems


def test_recognition_workers_are_killed(
    injector: FaultInjector, out: Path, table: list[Outcome]
) -> None:
    client = injector.start(injector.frames(FRAMES), out, *PATIENCE)
    begun(out, 2)
    moment = random.Random(8)
    kills = 0
    while client.poll() is None and kills < (20 if LONG else 2):
        worker = injector.busy("face-recognition", instead=lambda: client.poll() is not None)
        if worker is None:
            break
        worker.send_signal(signal.SIGKILL)
        kills += 1
        time.sleep(moment.uniform(1, 4))
    report = injector.report(client)
    outcome = judge(f"recognition worker killed at work, {kills} times", FRAMES, [out])
    outcome.dropped = report["duplicates"]
    assert kills
    passed(outcome, table)


def test_the_cloud_is_suspended(injector: FaultInjector, out: Path, table: list[Outcome]) -> None:
    client = injector.start(injector.frames(FRAMES), out, *PATIENCE)
    begun(out, 5)
    injector.cloud.suspend()
    time.sleep(PAUSE)
    injector.cloud.resume()
    report = injector.report(client)
    outcome = judge(f"local cloud stopped for {PAUSE:.0f} s", FRAMES, [out], lasted=PAUSE)
    outcome.dropped = report["duplicates"]
    passed(outcome, table)


def test_the_client_is_killed_and_resumes(
    injector: FaultInjector, out: Path, table: list[Outcome]
) -> None:
    times = 3 if LONG else 1
    client = injector.start(injector.frames(FRAMES), out, *PATIENCE)
    for n in range(times):
        begun(out, (n + 1) * FRAMES // (times + 2))
        client.send_signal(signal.SIGKILL)
        client.wait()
        killed = time.monotonic()
        out.unlink()
        client = injector.start(injector.frames(FRAMES), out, "--resume", *PATIENCE)
    begun(out, FRAMES // (times + 2) + 4)
    first_new = time.monotonic() - killed
    report = injector.report(client)
    outcome = judge(f"client killed and resumed, {times} times", FRAMES, [out])
    outcome.dropped = report["duplicates"]
    outcome.held, outcome.lasted = first_new, 0.0
    assert (report["sent"], report["answered"]) == (FRAMES, FRAMES)
    passed(outcome, table)


def test_every_message_is_delivered_twice(
    injector: FaultInjector, out: Path, table: list[Outcome]
) -> None:
    before = injector.proxy.doubled
    with injector.proxy.doubling("req-queue"):
        report = injector.report(injector.start(injector.frames(FRAMES), out, *PATIENCE))
    outcome = judge("every request message delivered twice", FRAMES, [out])
    outcome.dropped = report["duplicates"]
    faces = FRAMES - FRAMES // len(PEOPLE)
    assert injector.proxy.doubled - before >= faces
    assert outcome.dropped > 0
    passed(outcome, table)
    # Late copies that nobody waits for stay on the queue, and are no answer to anybody else.
    again = out.with_name("again.jsonl")
    report = injector.report(injector.start(injector.frames(8), again, *PATIENCE))
    assert (report["answered"], report["duplicates"]) == (8, 0)
    assert judge("", 8, [again]).wrong == 0


def test_an_invalid_message_in_a_batch(injector: FaultInjector, table: list[Outcome]) -> None:
    bodies = {f"good-{n}": injector.message(f"good-{n}", PEOPLE[n % 3]) for n in range(9)}
    bodies["poison"] = json.dumps({"request_id": "poison", "faces": 7})
    began = time.monotonic()
    injector.clients.sqs.send_message_batch(
        QueueUrl=injector.queue("req-queue"),
        Entries=[{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies.values())],
    )
    found = injector.answers(10)
    held = time.monotonic() - began
    extra = injector.answers(1, within=3)
    times = Counter(answer["request_id"] for answer in found + extra)
    results = {answer["request_id"]: answer["result"] for answer in found}
    outcome = Outcome(
        "poisoned message in a batch of ten",
        10,
        lost=len(bodies.keys() - times.keys()),
        doubled=sum(times.values()) - len(times),
        wrong=sum(results[f"good-{n}"] == "Error" for n in range(9)),
        errors=list(results.values()).count("Error"),
        held=held,
    )
    assert results["poison"] == "Error"
    wait_for(lambda: len(injector.facectl.json("dlq", "list")["dead"]) == 1)
    [dead] = injector.facectl.json("dlq", "list")["dead"]
    assert (dead["request_id"], dead["answered_error"]) == ("poison", True)
    passed(outcome, table)


@pytest.mark.parametrize(
    ("queue", "what"),
    [
        ("resp-queue", "response queue out of reach"),
        ("req-queue", "request queue out of reach"),
    ],
)
def test_a_queue_is_unreachable(
    injector: FaultInjector, out: Path, table: list[Outcome], queue: str, what: str
) -> None:
    before = injector.proxy.refused
    with injector.proxy.refusing(queue, after=5):
        client = injector.start(injector.frames(FRAMES), out, *PATIENCE)
        wait_for(lambda: injector.proxy.refused > before)
        time.sleep(PAUSE)
    report = injector.report(client)
    outcome = judge(f"{what} for {PAUSE:.0f} s", FRAMES, [out], lasted=PAUSE)
    outcome.dropped = report["duplicates"]
    passed(outcome, table)
    assert outcome.errors == 0


def test_the_function_times_out_within_a_batch(
    injector: FaultInjector, out: Path, table: list[Outcome]
) -> None:
    client = injector.start(injector.frames(FRAMES), out, *PATIENCE)
    begun(out, 3)
    worker = injector.busy("face-recognition")
    assert worker is not None
    worker.suspend()
    report = injector.report(client)
    outcome = judge("function times out in the middle of a batch", FRAMES, [out])
    outcome.dropped = report["duplicates"]
    passed(outcome, table)


def test_two_clients_on_one_response_queue(
    injector: FaultInjector, tmp_path: Path, table: list[Outcome]
) -> None:
    frames = 200 if LONG else 24
    outs = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    running: list[subprocess.Popen[str]] = [
        injector.start(injector.frames(frames), out, *PATIENCE) for out in outs
    ]
    reports = [injector.report(client) for client in running]
    outcome = judge("two clients on one response queue", frames, outs)
    outcome.dropped = sum(report["duplicates"] for report in reports)
    ids = [json.loads(line)["request_id"] for out in outs for line in out.read_text().splitlines()]
    assert len(set(ids)) == 2 * frames
    passed(outcome, table)


def test_the_gallery_is_deleted_while_the_function_runs(
    injector: FaultInjector, out: Path, table: list[Outcome]
) -> None:
    """Who can't be known any more is Unknown; nobody is taken for somebody else."""
    names = injector.clients.deployment.names
    bucket = names.bucket(injector.clients.account, "us-east-1")
    key = manifest_key(injector.space)
    kept = injector.clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    # Slowly enough for the function to ask for its gallery again.
    pace = ("--realtime", "--fps", str(FRAMES / (25 if LONG else 9)))
    client = injector.start(injector.frames(FRAMES), out, *pace, *PATIENCE)
    begun(out, 3)
    injector.clients.s3.delete_object(Bucket=bucket, Key=key)
    report = injector.report(client)
    lines = [json.loads(line) for line in out.read_text().splitlines()]

    def more() -> list[str]:
        later = out.with_name("later.jsonl")
        injector.report(injector.start(injector.frames(8), later, *PATIENCE))
        lines.extend(json.loads(line) for line in later.read_text().splitlines())
        return [line["result"] for line in lines]

    # The function asks when a frame comes and its time has come: on whose clock is its affair.
    eventually(more, lambda results: "Unknown" in results)
    injector.clients.s3.put_object(Bucket=bucket, Key=key, Body=kept)
    for line in lines:
        assert line["result"] in {PEOPLE[line["frame"] % len(PEOPLE)], "Unknown"}
    outcome = judge("gallery object deleted under a running function", FRAMES, [out])
    outcome.wrong, outcome.dropped = 0, report["duplicates"]
    passed(outcome, table)
