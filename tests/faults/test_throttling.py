"""Throttled deliveries: other work uses up the function's concurrency."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
from fault_injection import (
    LONG,
    PEOPLE,
    TIMEOUT,
    VISIBILITY,
    FaultInjector,
    Outcome,
    judge,
    wait_for,
)

from facectl.aws import ClientError

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1500)]

FRAMES = 60 if LONG else 12
FACES = FRAMES - FRAMES // len(PEOPLE)
# How often each message is received, and throttled, before there is a worker for it. The
# queue hides it for the visibility timeout each time.
ROUNDS = 3 if LONG else 2
OTHER_WORK = "other-work"
RECOGNITION = "face-recognition"


@contextlib.contextmanager
def busy_with_other_work(
    injector: FaultInjector, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """One environment may run, and one invocation after the other has it.

    The answer of each is held in the proxy; nothing computes meanwhile.
    """
    functions = injector.clients.functions
    begun, over = threading.Event(), threading.Event()
    forward = injector.proxy._forward

    def hold(
        handler: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        if OTHER_WORK.encode() not in body:
            return forward(handler, body)
        begun.set()
        over.wait(TIMEOUT / 2)
        return 400, [], b'{"__type": "Held"}'

    def invoke() -> None:
        while not over.is_set():
            # What is refused was throttled itself, by a batch that slipped in between.
            with contextlib.suppress(ClientError):
                functions.invoke(FunctionName=RECOGNITION, Payload=_event(injector))

    monkeypatch.setattr(injector.proxy, "_forward", hold)
    functions.put_function_concurrency(FunctionName=RECOGNITION, ReservedConcurrentExecutions=1)
    worker = threading.Thread(target=invoke)
    worker.start()
    try:
        assert begun.wait(120)
        yield
    finally:
        over.set()
        worker.join()
        functions.delete_function_concurrency(FunctionName=RECOGNITION)


def _event(injector: FaultInjector) -> bytes:
    record = {
        "messageId": "m",
        "receiptHandle": "h",
        "body": injector.message(OTHER_WORK, "Ann"),
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(time.time_ns() // 10**6),
        },
    }
    return json.dumps({"Records": [record]}).encode()


def receives(injector: FaultInjector) -> dict[str, int]:
    """How often each message of the request queue was received, by its request."""
    url = injector.queue("req-queue")
    answer = httpx.get(
        f"{injector.status['endpoint_url']}/_ministack/sqs/messages",
        params={"QueueUrl": url},
    ).json()
    return {
        json.loads(message["Body"])["request_id"]: message["ReceiveCount"]
        for regions in answer["messages"].values()
        for queues in regions.values()
        for messages in queues.values()
        for message in messages
    }


def recognised(out: Path) -> int:
    lines = out.read_text().splitlines() if out.exists() else []
    return sum(json.loads(line).get("result") not in (None, "No-Face") for line in lines)


def test_deliveries_are_throttled(
    injector: FaultInjector, out: Path, table: list[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS counts each as a receive, as MiniStack does: none is taken for a lost worker."""
    injector.settle()
    began = time.monotonic()
    with busy_with_other_work(injector, monkeypatch):
        client = injector.start(
            injector.frames(FRAMES), out, "--concurrency", FRAMES, "--timeout", 1200
        )

        def all_throttled() -> bool:
            counts = receives(injector)
            whole = len(counts) + recognised(out) >= FACES
            return whole and min(counts.values(), default=0) >= ROUNDS

        wait_for(all_throttled, 20 * VISIBILITY)
        unseen = receives(injector)
        lasted = time.monotonic() - began
    report = injector.report(client)
    fault = f"every delivery throttled, {ROUNDS} times at least"
    outcome = judge(fault, FRAMES, [out], lasted=lasted)
    outcome.dropped = report["duplicates"]
    table.append(outcome)
    assert (outcome.lost, outcome.wrong, outcome.errors) == (0, 0, 0), outcome.problems
    assert outcome.doubled == 0
    # Some may have slipped in between two pieces of other work.
    assert len(unseen) > FACES / 2
    steps = injector.facectl.json("trace", next(iter(unseen)))["steps"]
    events = [step["event"] for step in steps]
    assert events.count("throttled") >= ROUNDS
    assert "lost" not in events
