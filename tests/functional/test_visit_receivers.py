"""Events of visits reach a real MQTT broker, a real web server and a command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from driver import free_port
from moto import mock_aws
from paho.mqtt.enums import CallbackAPIVersion
from stream_stub import Pipeline, Reply, noisy_clip, until
from typer.testing import CliRunner, Result

from facectl.aws import Clients
from facectl.cli.app import app
from facectl.context import Deployment
from facectl.errors import InputError
from facectl.visits.delivery import Delivery, VisitFilter
from facectl.visits.event_queue import EventQueue
from facectl.visits.models import BestFace, Kind, VisitEvent
from facectl.visits.mqtt import Broker, person_slug, slug
from facectl.visits.receivers import opened

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


def event(
    number: int, person: str | None = "Ann", kind: Kind = "start", visit: str = "run-000000-0"
) -> VisitEvent:
    best = BestFace(2, "f2", 0.2, (1.0, 2.0, 3.0, 4.0), 0.9)
    return VisitEvent(kind, visit, "clip.mp4", person, 0.5, 0.0, 1.0, number, 3, 3, best)


class Mosquitto:
    """A broker on a port of its own, with one user; it keeps subscriptions over a restart."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._passwords = folder / "passwords"
        subprocess.run(
            [_tool("mosquitto_passwd"), "-b", "-c", self._passwords, "facectl", "right"],
            check=True,
            capture_output=True,
        )
        self._passwords.chmod(0o600)
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\n"
            f"password_file {self._passwords}\nuser root\n"
            f"persistence true\npersistence_location {folder}/\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://facectl@127.0.0.1:{self.port}"

    def start(self) -> None:
        assert MOSQUITTO is not None
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", self._config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(120)
            self.process = None


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


class Subscriber:
    """Everything that is published on a broker, in order; connects again after an outage."""

    def __init__(self, broker: Mosquitto) -> None:
        self.messages: list[tuple[str, str]] = []
        self.ready = threading.Event()
        # The broker keeps for it what it misses.
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="test", clean_session=False
        )
        self._client.username_pw_set("facectl", "right")
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self.ready.set()
        self._client.on_disconnect = lambda *_: self.ready.clear()
        self._client.on_message = self._on_message
        self._client.connect_async("127.0.0.1", broker.port)
        self._client.loop_start()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self.messages.append((message.topic, message.payload.decode()))

    def visits(self) -> list[dict[str, Any]]:
        return [json.loads(text) for topic, text in self.messages if topic.endswith("/visits")]

    def last(self, ending: str) -> str | None:
        found = [text for topic, text in self.messages if topic.endswith(ending)]
        return found[-1] if found else None

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    found = Mosquitto(tmp_path)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def subscriber(broker: Mosquitto) -> Iterator[Subscriber]:
    found = Subscriber(broker)
    assert found.ready.wait(120)
    yield found
    found.close()


def delivering(broker: Mosquitto, reports: list[str]) -> Delivery:
    receiver = Broker(broker.url, "clip.mp4", "right")
    receiver.connect()
    queue = EventQueue.open(receiver.key, "run")
    found = Delivery(queue, receiver, VisitFilter(), report=reports.append)
    found.start()
    return found


@needs_mosquitto
def test_a_person_sensor_appears_in_home_assistant(
    broker: Mosquitto, subscriber: Subscriber
) -> None:
    delivery = delivering(broker, [])
    state = f"{person_slug('Ann')}/state"
    delivery(event(1))
    until(lambda: subscriber.last(state) == "ON")
    [(topic, text)] = [m for m in subscriber.messages if "/binary_sensor/" in m[0]]
    assert topic.split("/")[:2] == ["homeassistant", "binary_sensor"]
    assert topic.endswith(f"/{person_slug('Ann')}/config")
    config = json.loads(text)
    assert config["name"] == "Ann"
    assert config["device_class"] == "occupancy"
    assert config["state_topic"] == f"facectl/{slug('clip.mp4')}/{state}"
    assert config["device"]["name"] == "facectl clip.mp4"
    assert subscriber.last("/status") == "online"
    # A second visit of hers begins before the first ends.
    delivery(event(2, visit="run-000009-0"))
    delivery(event(3, kind="end"))
    until(lambda: len(subscriber.visits()) == 3)
    assert subscriber.last(state) == "ON"
    delivery(event(4, person=None, kind="update", visit="run-000009-0"))
    until(lambda: subscriber.last("unknown/state") == "ON")
    until(lambda: subscriber.last(state) == "OFF")
    delivery(event(5, person=None, kind="end", visit="run-000009-0"))
    delivery.close(finished=True, wait=120)
    until(lambda: subscriber.last("unknown/state") == "OFF")
    until(lambda: subscriber.last("/status") == "offline")
    assert [fields["frame"] for fields in subscriber.visits()] == [1, 2, 3, 4, 5]


@needs_mosquitto
def test_a_stranger_who_is_named_after_the_visit_is_the_last_visitor(
    broker: Mosquitto, subscriber: Subscriber
) -> None:
    delivery = delivering(broker, [])
    delivery(event(1, person=None, visit="run-000001-0"))
    delivery(event(9, person=None, visit="run-000001-0", kind="end"))
    until(lambda: subscriber.last("unknown/state") == "OFF")
    [(topic, text)] = [m for m in subscriber.messages if m[0].startswith("homeassistant/sensor/")]
    config = json.loads(text)
    assert topic.endswith("/last/config")
    assert config["name"] == "Last visitor"
    assert config["value_template"] == "{{ value_json.person or 'Unknown person' }}"
    assert config["state_topic"] == f"facectl/{slug('clip.mp4')}/last"
    assert json.loads(subscriber.last("/last") or "")["person"] is None
    named = replace(event(9, "Grace", "amend", "run-000001-0"), amendment="a1")
    delivery(named)
    until(lambda: json.loads(subscriber.last("/last") or "")["person"] == "Grace")
    # She gets a sensor of her own; nobody is there.
    until(lambda: subscriber.last(f"{person_slug('Grace')}/state") == "OFF")
    assert subscriber.last("unknown/state") == "OFF"
    delivery.close(finished=True, wait=120)
    # The next run undoes it: it learns from the broker which visit was the last.
    following = delivering(broker, [])
    following(replace(named, person=None, amendment="u1"))
    until(lambda: json.loads(subscriber.last("/last") or "")["person"] is None)
    following.close(finished=True, wait=120)
    assert [fields["event"] for fields in subscriber.visits()] == ["start", "end", "amend", "amend"]


@needs_mosquitto
def test_nothing_is_lost_while_the_broker_is_restarted(
    broker: Mosquitto, subscriber: Subscriber
) -> None:
    reports: list[str] = []
    delivery = delivering(broker, reports)
    delivery(event(1))
    until(lambda: len(subscriber.visits()) == 1)
    broker.stop()
    for number in range(2, 12):
        delivery(event(number, kind="update"))
    until(lambda: any("events wait and are sent again" in line for line in reports))
    broker.start()
    until(lambda: len(_distinct(subscriber.visits())) == 11)
    delivery.close(finished=True, wait=120)
    assert _distinct(subscriber.visits()) == list(range(1, 12))
    assert any("takes events again, after" in line for line in reports)
    # A broker that keeps nothing learns of the sensor again.
    configs = [topic for topic, _ in subscriber.messages if topic.startswith("homeassistant/")]
    assert len(configs) >= 2


def _distinct(visits: list[dict[str, Any]]) -> list[int]:
    """The frames in order; one that was repeated because its confirmation got lost, once."""
    return list(dict.fromkeys(fields["frame"] for fields in visits))


@needs_mosquitto
@pytest.mark.parametrize("password", ["wrong", None])
def test_a_wrong_password_is_said_before_anything_is_sent(
    broker: Mosquitto, subscriber: Subscriber, password: str | None
) -> None:
    receiver = Broker(broker.url, "clip.mp4", password)
    with pytest.raises(InputError, match="the broker refused the user or the password") as error:
        receiver.connect()
    assert error.value.hint is not None
    assert "FACECTL_MQTT_PASSWORD" in error.value.hint


def test_a_broker_that_is_not_there_does_not_keep_a_run_from_starting() -> None:
    receiver = Broker(f"mqtt://127.0.0.1:{free_port()}/house/door", "clip.mp4", None)
    receiver.connect()
    assert receiver.name.endswith(f"/house/door/{slug('clip.mp4')}")
    receiver.close()


def test_names_of_any_script_are_levels_of_a_topic() -> None:
    names = ["Ann", "ann", "Jürgen", "李雷", "a/b+c#", ""]
    slugs = {slug(name) for name in names}
    assert len(slugs) == len(names)
    assert all(set("/+# ").isdisjoint(each) and each.isascii() for each in slugs)


# With `facectl send`


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return noisy_clip(tmp_path / "clip.avi", 320, 240)


def ann_and_somebody(request: dict[str, Any], _: int) -> Reply:
    faces = [
        {"box": [x, 50, x + 90, 140], "probability": 0.99, "name": name, "distance": 0.7}
        for name, x in (("Ann", 10), ("Unknown", 200))
    ]
    fields = {"request_id": request["request_id"], "result": "Ann,Unknown", "faces": faces}
    return Reply(results=[json.dumps(fields)])


class Web:
    """A web server that answers as told; `posts` has the ids and bodies in order."""

    def __init__(self) -> None:
        self.status = 200
        self.posts: list[tuple[str, dict[str, Any]]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if web.status == 200:
                    web.posts.append((self.headers["idempotency-key"], json.loads(body)))
                self.send_response(web.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    found = Web()
    yield found
    found.stop()


def send(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["send", *(str(a) for a in arguments)], env={"COLUMNS": "200"})


def test_a_webhook_and_a_command_get_the_visits_of_a_run(
    pipeline: Pipeline, clip: Path, tmp_path: Path, web: Web
) -> None:
    pipeline.script = ann_and_somebody
    got = tmp_path / "got.jsonl"
    program = tmp_path / "program.py"
    program.write_text("import sys; open(sys.argv[1], 'a').write(sys.stdin.read())")
    command = f"command:{sys.executable} {program} {got}"
    path = tmp_path / "visits.jsonl"
    done = send(clip, "--visits", path, "--on-visit", web.url, "--on-visit", command)
    assert done.exit_code == 0, done.output
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [fields for _, fields in web.posts] == written
    assert [json.loads(line) for line in got.read_text().splitlines()] == written
    assert [key for key, _ in web.posts] == [fields["id"] for fields in written]


@pytest.mark.parametrize("which", ["webhook", "command", "topic"])
def test_every_receiver_gets_the_amendment_of_a_visit_that_has_ended(
    which: str, web: Web, tmp_path: Path
) -> None:
    """It passes the filter that the visit passed, and has an id of its own."""
    got = tmp_path / "got.jsonl"
    program = tmp_path / "program.py"
    program.write_text("import sys; open(sys.argv[1], 'a').write(sys.stdin.read())")
    with mock_aws():
        deployment = Deployment("demo", "aws")
        clients = Clients(deployment)
        arn = clients.sns.create_topic(Name="visits")["TopicArn"]
        queue = clients.sqs.create_queue(QueueName="seen")["QueueUrl"]
        name = f"{arn.rpartition(':')[0].replace(':sns:', ':sqs:')}:seen"
        clients.sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=name)
        receiver = opened(
            {
                "webhook": web.url,
                "command": f"command:{sys.executable} {program} {got}",
                "topic": f"sns:{arn}",
            }[which],
            source="clip.mp4",
            secret_file=None,
            deployment=deployment,
        )
        events = EventQueue.open(receiver.key, "run")
        delivery = Delivery(events, receiver, VisitFilter(["unknown"]), report=print)
        delivery(event(1, None))
        delivery(event(2, None, "end"))
        delivery(replace(event(2, "Grace", "amend"), amendment="a1"))
        delivery.deliver_all()
        if which == "webhook":
            bodies = [fields for _, fields in web.posts]
        elif which == "command":
            bodies = [json.loads(line) for line in got.read_text().splitlines()]
        else:
            found = clients.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
            bodies = [json.loads(json.loads(m["Body"])["Message"]) for m in found["Messages"]]
        events.close(finished=True)
        receiver.close()
    assert [(each["event"], each["person"]) for each in bodies] == [
        ("start", None), ("end", None), ("amend", "Grace"),
    ]  # fmt: skip
    assert len({each["id"] for each in bodies}) == 3


def test_only_unknown_people_without_a_file(pipeline: Pipeline, clip: Path, web: Web) -> None:
    pipeline.script = ann_and_somebody
    done = send(clip, "--on-visit", web.url, "--on-visit-only", "unknown")
    assert done.exit_code == 0, done.output
    assert [(f["event"], f["person"]) for _, f in web.posts] == [("start", None), ("end", None)]


def test_a_webhook_that_answers_500_delays_no_frame_and_gets_the_events_later(
    pipeline: Pipeline, clip: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facectl.visits.outputs._LAST_WAIT", 0.5)
    pipeline.script = ann_and_somebody
    web.status = 500
    done = send(clip, "--on-visit", web.url)
    assert done.exit_code == 0, done.output
    assert len(pipeline.requests) == 20
    assert f"{web.url}: it answers 500 Internal Server Error; events wait and are" in done.output
    assert f"{web.url}: 4 events are not delivered; the next facectl send" in done.output
    web.status = 200
    monkeypatch.setattr("facectl.visits.outputs._LAST_WAIT", 120)
    done = send(clip, "--on-visit", web.url)
    assert done.exit_code == 0, done.output
    keys = [key for key, _ in web.posts]
    assert len(keys) == len(set(keys)) == 8
    # The earlier run's come first.
    runs = [key[:12] for key in keys]
    assert runs == [runs[0]] * 4 + [runs[4]] * 4
    assert runs[0] != runs[4]
    assert [fields["event"] for _, fields in web.posts] == ["start", "start", "end", "end"] * 2


def test_after_a_kill_the_resumed_run_loses_no_visit_and_sends_the_rest(
    pipeline: Pipeline, clip: Path, tmp_path: Path, web: Web
) -> None:
    held = [True]

    def script(request: dict[str, Any], count: int) -> Reply:
        if int(request["request_id"][-6:]) >= 15 and held[0]:
            return Reply(status=503, headers={"Retry-After": "1"})
        return ann_and_somebody(request, count)

    pipeline.script = script
    path = tmp_path / "visits.jsonl"
    options = [clip, "--visits", path, "--on-visit", web.url, "-c", "2"]
    command = [Path(sys.executable).with_name("facectl"), "send", *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until(lambda: len(web.posts) == 2 or process.poll() is not None)
    process.kill()
    process.wait(120)
    held[0] = False
    done = send(*options, "--resume")
    assert done.exit_code == 0, done.output
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [fields["event"] for fields in written] == ["start", "start", "end", "end"]
    assert {fields["frames"] for fields in written if fields["event"] == "end"} == {20}
    # The one that was being confirmed may come again, with its id.
    keys = [key for key, _ in web.posts]
    assert list(dict.fromkeys(keys)) == [fields["id"] for fields in written]
    assert len(keys) <= len(written) + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--on-visit", "ftp://host"], "--on-visit can't use ftp://host"),
        (["--on-visit-only", "known"], "--on-visit-only selects what --on-visit sends"),
        (["--on-visit", "command:no-such-program"], "is not a command that can be run"),
        (["--on-visit", "http://x/", "--webhook-secret", "missing"], "missing can't be read"),
        (["--on-visit", "http://x/", "--no-wait"], "--no-wait does not wait for any"),
    ],
)
def test_receivers_that_cannot_work_are_refused_before_anything_is_sent(
    pipeline: Pipeline, clip: Path, options: list[str], message: str
) -> None:
    done = send(clip, *options)
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)
    assert pipeline.requests == []
