"""Events reach a receiver once, in order, over outages and restarts; the rest is said."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_clock import FakeClock

from facectl import paths
from facectl.context import Deployment
from facectl.errors import InputError
from facectl.visits import receivers
from facectl.visits.command import Command
from facectl.visits.delivery import Delivery, RefusedError, UndeliveredError, VisitFilter
from facectl.visits.event_queue import EventQueue, QueuedEvent
from facectl.visits.models import BestFace, Kind, VisitEvent
from facectl.visits.webhook import Webhook, signature

DEPLOYMENT = Deployment(asu_id="demo", target="aws")


def event(
    number: int, person: str | None = "Ann", kind: Kind = "update", visit: str = "run-000000-0"
) -> VisitEvent:
    best = BestFace(2, "f2", 0.2, (1.0, 2.0, 3.0, 4.0), 0.9)
    return VisitEvent(kind, visit, "clip", person, 0.5, 0.0, 1.0, number, 3, 3, best)


class Receiving:
    """A receiver that is down while `down` says so."""

    name = "test"
    key = "test"

    def __init__(self, down: Callable[[], bool] = lambda: False) -> None:
        self.taken: list[str] = []
        self.attempts = 0
        self.closed = False
        self._down = down

    def deliver(self, queued: QueuedEvent) -> None:
        self.attempts += 1
        if self._down():
            raise UndeliveredError("it answers 500")
        if "refuse" in queued.body:
            raise RefusedError("400 Bad Request")
        self.taken.append(queued.key)

    def close(self) -> None:
        self.closed = True


def delivery(
    receiver: Receiving, queue: EventQueue, clock: FakeClock, reports: list[str]
) -> Delivery:
    return Delivery(
        queue, receiver, VisitFilter(), report=reports.append, clock=clock, sleep=clock.sleep
    )


def keys(*numbers: int) -> list[str]:
    return [f"run-000000-0/update/{number}" for number in numbers]


def test_an_outage_of_a_minute_loses_and_repeats_nothing() -> None:
    clock, reports = FakeClock(), []
    receiver = Receiving(down=lambda: clock.now < 60)
    queue = EventQueue.open("test", "run")
    sending = delivery(receiver, queue, clock, reports)
    for number in range(50):
        sending(event(number))
    sending.deliver_all()
    assert receiver.taken == keys(*range(50))
    assert queue.waiting() == 0
    assert clock.slept[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(clock.slept) <= 30
    assert reports == [
        "test: it answers 500; events wait and are sent again",
        f"test takes events again, after {clock.now:.0f} s",
    ]


def test_an_outage_of_an_hour_is_said_once_and_not_hammered() -> None:
    clock, reports = FakeClock(), []
    receiver = Receiving(down=lambda: clock.now < 3600)
    queue = EventQueue.open("test", "run")
    sending = delivery(receiver, queue, clock, reports)
    sending(event(0))
    sending.deliver_all()
    assert receiver.taken == keys(0)
    assert receiver.attempts < 140
    assert len(reports) == 2


def test_a_refused_event_is_said_and_does_not_stop_the_others() -> None:
    clock, reports = FakeClock(), []
    receiver = Receiving()
    queue = EventQueue.open("test", "run")
    sending = delivery(receiver, queue, clock, reports)
    for number, person in enumerate(("Ann", "refuse", "Bob")):
        sending(event(number, person))
    sending.deliver_all()
    assert receiver.taken == keys(0, 2)
    assert reports == ["test refused event run-000000-0/update/1: 400 Bad Request"]


def test_what_is_undelivered_at_the_end_is_delivered_by_the_next_run() -> None:
    reports: list[str] = []
    down = Receiving(down=lambda: True)
    first = Delivery(EventQueue.open("test", "one"), down, VisitFilter(), report=reports.append)
    first.start()
    for number in (1, 2):
        first(event(number))
    first.close(finished=True, wait=0.2)
    assert down.closed
    assert reports[-1] == (
        "test: 2 events are not delivered; the next facectl send with this --on-visit delivers them"
    )
    up = Receiving()
    second = Delivery(EventQueue.open("test", "two"), up, VisitFilter(), report=reports.append)
    second(event(3, visit="two-000000-0"))
    second.start()
    second.close(finished=True, wait=120)
    assert up.taken == [*keys(1, 2), "two-000000-0/update/3"]
    # A third finds nothing.
    queue = EventQueue.open("test", "three")
    assert queue.waiting() == 0
    queue.close(finished=True)


def test_a_resumed_run_sends_no_event_again() -> None:
    first, again = Receiving(), Receiving()
    for receiver in (first, again):
        sending = Delivery(
            EventQueue.open("test", "run"), receiver, VisitFilter(), report=lambda _: None
        )
        sending.start()
        sending(event(1))
        if receiver is again:
            sending(event(2))
        sending.close(finished=False, wait=120)
    assert first.taken == keys(1)
    assert again.taken == keys(2)


def test_the_last_event_of_a_killed_run_is_recovered_once_and_for_its_receivers_alone() -> None:
    """The file is written before the queue, and the kill came between."""
    killed = EventQueue.open("test", "one")
    first = event(1, kind="start", visit="one-000000-0")
    killed.add(first.key, "{}")
    killed.close(finished=False)

    def recovered(receiver: str, run: str, last: VisitEvent, only: list[str]) -> list[str]:
        queue = EventQueue.open(receiver, run)
        taken = Receiving()
        delivery = Delivery(queue, taken, VisitFilter(only), report=lambda _: None)
        delivery.recover(last)
        delivery.deliver_all()
        queue.close(finished=True)
        return taken.taken

    last = event(2, kind="end", visit="one-000000-0")
    # Never asked for: another receiver, or another person.
    assert recovered("other", "two", last, []) == []
    assert recovered("test", "two", last, ["Bob"]) == [first.key]
    assert recovered("test", "three", last, ["Ann"]) == [last.key]
    assert recovered("test", "four", last, []) == []
    # What was added before the kill is not added again.
    assert recovered("test", "five", first, []) == []


def test_the_queue_of_a_finished_run_is_removed_and_others_are_for_this_user_alone() -> None:
    folder = paths.state_dir() / "events"
    queue = EventQueue.open("test", "run")
    queue.add("a", "{}")
    queue.close(finished=True)
    [file] = folder.glob("*.db")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    queue = EventQueue.open("test", "run")
    first = queue.first()
    assert first is not None
    assert first.key == "a"
    queue.done(first.number)
    queue.close(finished=True)
    assert list(folder.iterdir()) == []


def test_queues_of_running_processes_and_other_receivers_are_left_alone() -> None:
    running = EventQueue.open("test", "one")
    running.add("a", "{}")
    elsewhere = EventQueue.open("elsewhere", "one")
    elsewhere.add("b", "{}")
    elsewhere.close(finished=False)
    queue = EventQueue.open("test", "two")
    assert queue.waiting() == 0
    with pytest.raises(InputError, match="database is locked"):
        EventQueue.open("test", "one")


def test_a_damaged_queue_does_not_keep_a_run_from_starting() -> None:
    queue = EventQueue.open("test", "one")
    queue.add("a", "{}")
    queue.close(finished=False)
    queue.path.write_bytes(b"no database" * 100)
    following = EventQueue.open("test", "two")
    assert following.first() is None
    assert queue.path.exists()


@pytest.mark.parametrize(("days", "kept"), [(3.9, True), (4.1, False), (14, False)])
def test_queues_are_removed_when_their_runs_can_no_longer_be_resumed(
    days: float, kept: bool
) -> None:
    queue = EventQueue.open("test", "one")
    queue.close(finished=False)
    before = time.time() - days * 86_400
    os.utime(queue.path, (before, before))
    EventQueue.open("test", "two").close(finished=False)
    assert queue.path.exists() == kept


@pytest.mark.parametrize(("killed", "following"), [("0", "f"), ("f", "0")])
def test_the_queue_of_a_killed_run_is_found_by_the_beginning_of_its_id(
    killed: str, following: str
) -> None:
    # A visit has the first twelve characters of its run's id.
    queue = EventQueue.open("test", 32 * killed)
    queue.add("a", "{}")
    queue.close(finished=False)
    again = EventQueue.open("test", 32 * following)
    for run in (12 * killed, 12 * following):
        again.recover(run, f"{run}-000000-0/start", "{}")
    waiting = []
    while (first := again.first()) is not None:
        waiting.append(first.key)
        again.done(first.number)
    assert waiting == ["a", f"{12 * killed}-000000-0/start"]


def test_the_oldest_events_are_dropped_beyond_the_limit_and_it_is_said() -> None:
    reports: list[str] = []
    down = Receiving(down=lambda: True)
    queue = EventQueue.open("test", "run", most=3)
    sending = Delivery(queue, down, VisitFilter(), report=reports.append)
    for number in range(5):
        sending(event(number))
    first = queue.first()
    assert first is not None
    assert first.key == keys(2)[0]
    sending.start()
    sending.close(finished=True, wait=0.1)
    assert "test: 2 events were too many and were dropped" in reports


@pytest.mark.parametrize(
    ("only", "people"),
    [
        ([], ["Ann", "Bob", None]),
        (["known"], ["Ann", "Bob"]),
        (["unknown"], [None]),
        (["Ann"], ["Ann"]),
        (["Ann", "unknown"], ["Ann", None]),
        (["nobody"], []),
    ],
)
def test_filters(only: list[str], people: list[str | None]) -> None:
    chosen = VisitFilter(only)
    visits = {"a": "Ann", "b": "Bob", "c": None}
    passed = [p for v, p in visits.items() if chosen.passes(event(0, p, "start", visit=v))]
    assert passed == people


def test_ignored_people_are_never_sent() -> None:
    chosen = VisitFilter(["known"], ["Bob"])
    assert [chosen.passes(event(0, person, visit=str(person))) for person in ("Ann", "Bob")] == [
        True,
        False,
    ]
    everybody = VisitFilter(ignored=["Bob"])
    assert everybody.passes(event(0, None, visit="c"))
    assert not everybody.passes(event(0, "Bob", "end", visit="b"))


def test_a_filter_lets_the_rest_of_a_visit_pass() -> None:
    chosen = VisitFilter(["Ann"])
    story: list[tuple[Kind, str | None]] = [
        ("start", None), ("update", "Ann"), ("update", None), ("end", None), ("start", None),
    ]  # fmt: skip
    passed = [chosen.passes(event(0, person, kind)) for kind, person in story]
    assert passed == [False, True, True, True, False]


@pytest.mark.parametrize("chosen", [VisitFilter(["Ann"]), VisitFilter(ignored=["Bob"])])
def test_a_visit_that_never_passed_has_no_later_event_that_does(chosen: VisitFilter) -> None:
    kinds: list[Kind] = ["start", "update", "end", "amend"]
    assert not any(chosen.passes(event(0, "Bob", kind)) for kind in kinds)


# Webhooks


def posted(
    status: int = 200, secret: bytes | None = None, url: str = "http://localhost/hook"
) -> tuple[Webhook, list[httpx.Request]]:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(status)

    transport = httpx.MockTransport(answer)
    return Webhook(url, secret, transport=transport, now=lambda: 1000.5), requests


def test_a_webhook_is_signed_and_has_the_id_of_the_event() -> None:
    webhook, requests = posted(secret=b"shared")
    webhook.deliver(QueuedEvent(1, "run-000000-0/start", '{"person": "Jürgen"}'))
    [request] = requests
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == "run-000000-0/start"
    expected = hmac.new(b"shared", b"1000." + request.content, hashlib.sha256).hexdigest()
    assert request.headers["x-facectl-signature"] == f"t=1000,v1={expected}"
    assert signature(b"shared", 1000, request.content) == expected
    assert json.loads(request.content) == {"person": "Jürgen"}


def test_without_a_secret_there_is_no_signature() -> None:
    webhook, requests = posted()
    webhook.deliver(QueuedEvent(1, "a", "{}"))
    assert "x-facectl-signature" not in requests[0].headers


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 429, 500, 502, 503])
def test_a_failed_webhook_is_tried_again(status: int) -> None:
    with pytest.raises(UndeliveredError, match=f"it answers {status}"):
        posted(status)[0].deliver(QueuedEvent(1, "a", "{}"))


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_event_that_a_webhook_refuses_is_not_tried_again(status: int) -> None:
    with pytest.raises(RefusedError, match=str(status)):
        posted(status)[0].deliver(QueuedEvent(1, "a", "{}"))


def test_a_webhook_that_cannot_be_reached_is_tried_again() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    webhook = Webhook("http://localhost/", None, transport=httpx.MockTransport(refuse))
    with pytest.raises(UndeliveredError, match="Connection refused"):
        webhook.deliver(QueuedEvent(1, "a", "{}"))


def test_a_password_or_token_in_a_url_is_not_shown() -> None:
    webhook, requests = posted(url="https://user:hush@localhost/hook?token=hush")
    assert webhook.name == "https://localhost/hook"
    webhook.deliver(QueuedEvent(1, "a", "{}"))
    assert requests[0].headers["authorization"].startswith("Basic ")
    assert requests[0].url.params["token"] == "hush"


# Commands


def script(tmp_path: Path, body: str) -> str:
    file = tmp_path / "script.py"
    file.write_text(body)
    return f"{sys.executable} {file}"


def test_a_command_gets_the_event_on_standard_input(tmp_path: Path) -> None:
    target = tmp_path / "got"
    text = script(tmp_path, "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())")
    Command(f"{text} {target}").deliver(QueuedEvent(1, "a", '{"person": "Ann; rm -rf x"}'))
    assert target.read_text() == '{"person": "Ann; rm -rf x"}\n'


def test_a_command_that_does_not_read_its_input_has_taken_the_event(tmp_path: Path) -> None:
    Command(script(tmp_path, "")).deliver(QueuedEvent(1, "a", "x" * 1_000_000))


def test_exit_codes_of_a_command(tmp_path: Path) -> None:
    text = script(tmp_path, "import sys; sys.exit(int(sys.argv[1]))")
    Command(f"{text} 0").deliver(QueuedEvent(1, "a", "{}"))
    with pytest.raises(UndeliveredError, match="exit code 75"):
        Command(f"{text} 75").deliver(QueuedEvent(1, "a", "{}"))
    with pytest.raises(RefusedError, match="exit code 3"):
        Command(f"{text} 3").deliver(QueuedEvent(1, "a", "{}"))


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    text = script(
        tmp_path,
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
        "open(sys.argv[1], 'w').write(str(child.pid))\n"
        "time.sleep(1000)\n",
    )
    with pytest.raises(RefusedError, match="it ran for more than"):
        Command(f"{text} {pid}", timeout=5).deliver(QueuedEvent(1, "a", "{}"))
    if not pid.exists():
        pytest.skip("the command was killed before it had a child")
    deadline = time.monotonic() + 120
    while Path(f"/proc/{pid.read_text()}/cmdline").exists():
        if not Path(f"/proc/{pid.read_text()}/cmdline").read_bytes():
            # Killed, and not yet collected by its parent.
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Addresses


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("amqp://user:hush@host/", "--on-visit can't use host/"),
        ("nonsense", "--on-visit can't use nonsense"),
        ("http://", "--on-visit can't use http://"),
        ("http://[::1", "is not an address"),
        ("mqtt://", "mqtt:// has no host"),
        ("mqtt://localhost:99999", "has no valid port"),
        ("sns:visits", "sns:visits is not the ARN of a topic"),
        ("command:", "names no command"),
        ("command:'", "can't be read"),
        ("command:no-such-program-here", "is not a command that can be run"),
    ],
)
def test_an_address_that_cannot_work_is_refused(address: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        receivers.opened(address, "clip", None, DEPLOYMENT)
    assert message in str(error.value)
    assert "hush" not in str(error.value)


def test_the_secret_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def secret(file: Path | None) -> Any:
        return receivers.opened("http://localhost/", "clip", file, DEPLOYMENT)._secret  # type: ignore[attr-defined]

    assert secret(None) is None
    monkeypatch.setenv("FACECTL_WEBHOOK_SECRET", "from the environment")
    assert secret(None) == b"from the environment"
    file = tmp_path / "secret"
    file.write_text("from a file\n")
    assert secret(file) == b"from a file"
    file.write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        secret(file)
    with pytest.raises(InputError, match="can't be read: No such file"):
        secret(tmp_path / "missing")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    monkeypatch.delitem(sys.modules, "facectl.visits.mqtt", raising=False)
    with pytest.raises(InputError, match="needs the package paho-mqtt") as error:
        receivers.opened("mqtt://localhost", "clip", None, DEPLOYMENT)
    assert error.value.hint == "pip install 'facectl[events]'"
