"""Messages that crash every worker: they get a result, and other messages are not lost."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import psutil
import pytest
from fault_injection import PEOPLE, VISIBILITY, FaultInjector, Outcome, wait_for

from lambda_src.stages.attempts import PREFIX

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1500)]

RECOGNITION = "face-recognition"
KILLERS = 4
GOOD = 5


@contextlib.contextmanager
def killing(
    injector: FaultInjector, message_ids: set[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Each worker that begins to look at one of the messages alone is killed.

    The function itself tells when that is: it writes it down first, through the proxy.
    """
    forward = injector.proxy._forward

    def kill(
        handler: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        answer = forward(handler, body)
        _, _, message_id = handler.path.partition(f"/{PREFIX}")
        if handler.command == "PUT" and message_id in message_ids:
            port = handler.client_address[1]
            for worker in injector.workers(RECOGNITION):
                with contextlib.suppress(psutil.Error):
                    if any(each.laddr.port == port for each in worker.net_connections()):
                        worker.send_signal(signal.SIGKILL)
        return answer

    monkeypatch.setattr(injector.proxy, "_forward", kill)
    yield


def names_without_a_fault(injector: FaultInjector) -> dict[str, str]:
    """What each person's crop is answered; it is no detector's crop, so not always their name."""
    for person in PEOPLE[:3]:
        body = injector.message(person, person)
        injector.clients.sqs.send_message(QueueUrl=injector.queue("req-queue"), MessageBody=body)
    return {answer["request_id"]: answer["result"] for answer in injector.answers(3)}


def test_messages_that_crash_every_worker(
    injector: FaultInjector, table: list[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    injector.settle()
    expected = names_without_a_fault(injector)
    killers = {
        f"killer-{n}": injector.message(f"killer-{n}", "Ann", faces=25) for n in range(KILLERS)
    }
    good = {f"good-{n}": injector.message(f"good-{n}", PEOPLE[n % 3]) for n in range(GOOD)}
    began = time.monotonic()
    queue = injector.queue("req-queue")
    sent = {
        # One by one: together they are more than a batch may hold.
        name: injector.clients.sqs.send_message(QueueUrl=queue, MessageBody=body)["MessageId"]
        for name, body in (killers | good).items()
    }
    ids = {sent[name] for name in killers}
    with killing(injector, ids, monkeypatch):
        # The first delivery of most of them, which leaves no evidence.
        worker = injector.busy(RECOGNITION)
        assert worker is not None
        worker.send_signal(signal.SIGKILL)
        found = injector.answers(KILLERS + GOOD, within=20 * VISIBILITY)
    held = time.monotonic() - began
    times = Counter(answer["request_id"] for answer in found + injector.answers(1, within=3))
    results = {answer["request_id"]: answer["result"] for answer in found}
    errors = [name for name, result in results.items() if result == "Error"]
    table.append(
        Outcome(
            "messages at which every worker is killed",
            KILLERS + GOOD,
            lost=len((killers | good).keys() - times.keys()),
            doubled=sum(times.values()) - len(times),
            wrong=sum(results.get(f"good-{n}") != expected[PEOPLE[n % 3]] for n in range(GOOD)),
            errors=len(errors),
            held=held,
        )
    )
    assert set(results) == set(killers | good)
    # None is taken along, whoever was in a batch with it.
    assert {name: results[name] for name in good} == {
        f"good-{n}": expected[PEOPLE[n % 3]] for n in range(GOOD)
    }
    # A batch of some of them may have been over before the first worker was killed.
    assert errors
    assert set(errors) <= set(killers)
    wait_for(
        lambda: len(injector.facectl.json("dlq", "list")["dead"]) == len(errors), 10 * VISIBILITY
    )
    dead = injector.facectl.json("dlq", "list")["dead"]
    assert {each["request_id"] for each in dead} == set(errors)
    assert all(each["answered_error"] for each in dead)
