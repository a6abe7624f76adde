"""`facectl watch` against a scripted function and real queues, without a browser."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from stream_stub import Pipeline, Reply, lines, noisy_clip, number, result, run, until
from watching import Watching, watching

from facectl.cli import watch_run

pytest.importorskip("starlette", reason="the extra web is not installed")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return noisy_clip(tmp_path / "clip.avi", 320, 240)


class Events:
    """The values that a browser gets, and a client with its cookie."""

    def __init__(self, watch: Watching) -> None:
        self.values: dict[str, Any] = {}
        self.frames: list[int] = []
        url = httpx.URL(watch.url)
        self.client = httpx.Client(
            base_url=f"http://{url.host}:{url.port}", follow_redirects=True, trust_env=False,
            timeout=httpx.Timeout(240),
        )  # fmt: skip
        assert self.client.get(f"/?token={url.params['token']}").status_code == 200
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            with self.client.stream("GET", "/events") as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        self._take(json.loads(line[6:]))
        except httpx.TransportError:
            # The server has ended.
            return

    def _take(self, values: dict[str, Any]) -> None:
        self.values.update(values)
        self.frames += [values[key]["index"] for key in values if key.startswith("frame/")]

    def visits(self) -> list[dict[str, Any]]:
        return [v for key, v in sorted(self.values.items()) if key.startswith("visit/") and v]


def test_the_page_learns_of_frames_visits_and_the_end(pipeline: Pipeline, clip: Path) -> None:
    with watching(dict(os.environ), clip, "--max-faces", 3) as watch:
        events = Events(watch)
        until(lambda: events.values.get("source/0", {}).get("status") == "ended")
        until(lambda: bool(events.visits()) and not events.visits()[0]["open"])
        until(lambda: events.values.get("frame/0", {}).get("index") == 19)
        assert all(r["detail"] and r["max_faces"] == 3 for r in pipeline.requests)
        source = events.values["source/0"]
        assert (source["name"], source["live"], source["duration"]) == (str(clip), False, 2.0)
        assert source["sentence"] == "20 frames sent, 20 answered."
        frame = events.values["frame/0"]
        assert frame["faces"] == [{"box": [10, 10, 60, 60], "name": "Eileen"}]
        assert frame["size"] == [320, 240]
        (visit,) = events.visits()
        assert (visit["person"], visit["frames"], visit["began"]) == ("Eileen", 20, None)
        crop = events.client.get(f"/crop/{visit['id']}")
        assert crop.headers["content-type"] == "image/jpeg"
        picture = events.client.get("/picture/0/19")
        assert picture.content.startswith(b"\xff\xd8\xff")
        at = events.client.get("/frame/0", params={"at": "0.51"}).json()
        assert (at["index"], at["at"]) == (5, 0.5)
        until(lambda: "p50" in events.values.get("figures", {}))
        figures = events.values["figures"]
        assert figures["p50"] <= figures["p99"]
        assert figures["month"]["month"] > 0
        assert {stage["name"] for stage in figures["stages"]} >= {"detect", "network and queues"}
        until(lambda: events.values["figures"]["dead_letters"] == 0)
        assert events.values["run"]["synthetic"] is pipeline.deployment.synthetic
        assert watch.stop() == 0
    assert f"{clip}: 20 sent, 20 answered\n" in watch.lines
    assert f"{clip}: 1 visit: Eileen 1\n" in watch.lines


def test_nothing_of_a_face_and_no_token_is_logged_but_in_the_address(
    pipeline: Pipeline, clip: Path
) -> None:
    with watching(dict(os.environ), clip, "--token", "a-token-of-24-characters") as watch:
        events = Events(watch)
        until(lambda: events.values.get("source/0", {}).get("status") == "ended")
        httpx.get(watch.url.partition("?")[0] + "nothing", trust_env=False)
        assert watch.stop() == 0
    assert sum("a-token-of-24" in line for line in watch.lines) == 1
    assert len(watch.lines) <= 6, watch.lines


def test_a_file_is_repeated(pipeline: Pipeline, clip: Path) -> None:
    with watching(dict(os.environ), clip, "--loop", "--fps", 10) as watch:
        events = Events(watch)
        until(lambda: events.values.get("source/0", {}).get("run", 0) >= 3)
        until(lambda: len(events.visits()) >= 3)
        assert events.visits()[0]["began"] is not None
        assert watch.stop(signal.SIGTERM) == 0


def test_who_came_today_is_shown_after_a_restart(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    visits, crops = tmp_path / "visits.jsonl", tmp_path / "crops"
    options = [clip, "--loop", "--fps", 10, "--visits", visits, "--keep-crops", crops]
    with watching(dict(os.environ), *options) as watch:
        events = Events(watch)
        until(lambda: any(not visit["open"] for visit in events.visits()))
        (before, *_) = events.visits()
        assert watch.stop(signal.SIGKILL) == -signal.SIGKILL
    with watching(dict(os.environ), *options) as watch:
        events = Events(watch)
        until(lambda: f"visit/{before['id']}" in events.values)
        after = events.values[f"visit/{before['id']}"]
        assert (after["person"], after["open"]) == ("Eileen", False)
        # An event is decided a little later than its frame, never before.
        assert before["began"] <= after["began"] + 0.01
        assert after["began"] <= before["began"] + 60
        crop = events.client.get(f"/crop/{before['id']}").content
        assert crop == (crops / f"{before['id']}.jpg").read_bytes()
        assert events.values["run"]["visits_file"] is True
        # The list is there before the first frame is sent.
        until(lambda: any(visit["open"] for visit in events.visits()))
        assert watch.stop() == 0


def test_a_slow_browser_delays_no_frame(pipeline: Pipeline, clip: Path) -> None:
    """A browser that never reads has a connection open while every frame is answered."""
    with watching(dict(os.environ), clip) as watch:
        events = Events(watch)
        cookie = "; ".join(f"{k}={v}" for k, v in events.client.cookies.items())
        url = httpx.URL(watch.url)
        with socket.create_connection((url.host, url.port)) as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            host = f"{url.host}:{url.port}"
            silent.sendall(
                f"GET /events HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n".encode()
            )
            until(lambda: events.values.get("source/0", {}).get("status") == "ended")
            assert events.values["source/0"]["sentence"] == "20 frames sent, 20 answered."


def test_frames_wait_while_the_function_fails_and_are_sent_again(
    pipeline: Pipeline, clip: Path
) -> None:
    broken = [True]

    def script(request: dict[str, Any], _: int) -> Reply:
        if number(request) >= 5 and broken[0]:
            return Reply(status=500)
        return Reply(results=[result(request)])

    pipeline.script = script
    with watching(dict(os.environ), clip) as watch:
        events = Events(watch)
        until(lambda: bool(events.values.get("cloud", {}).get("failure")))
        assert "500" in events.values["cloud"]["failure"]
        broken[0] = False
        until(lambda: events.values["cloud"]["failure"] is None)
        until(lambda: events.values["source/0"]["status"] == "ended")
        assert events.values["source/0"]["sentence"] == "20 frames sent, 20 answered."
    text = "".join(watch.lines)
    assert "The cloud does not answer, frames wait: 500" in text
    assert "The cloud answers again" in text


@pytest.fixture
def received() -> Iterator[tuple[str, list[str]]]:
    """The address of a webhook receiver, and the ids of the events that it got."""
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            keys.append(self.headers["idempotency-key"])
            with suppress(ConnectionError):
                self.send_response(204)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", keys
    server.shutdown()
    server.server_close()


def test_after_a_kill_no_ended_visit_is_lost_and_no_event_is_sent_twice(
    pipeline: Pipeline, clip: Path, tmp_path: Path, received: tuple[str, list[str]]
) -> None:
    url, keys = received
    held = [True]

    def script(request: dict[str, Any], _: int) -> Reply:
        """Ann in the first frames, later Bob; the function hangs from frame 16 on."""
        index = number(request)
        if index >= 16 and held[0]:
            return Reply(status=503, headers={"Retry-After": "1"})
        name, left = ("Ann", 10) if index < 6 else ("Bob", 200)
        face = {"box": [left, 90, left + 80, 180], "probability": 0.99, "name": name}
        fields = {"request_id": request["request_id"], "result": name}
        return Reply(results=[json.dumps({**fields, "faces": [{**face, "distance": 0.4}]})])

    pipeline.script = script
    path = tmp_path / "visits.jsonl"
    options = [
        clip, "--visits", path, "--visit-gap", 0.4, "--visit-frames", 2, "--on-visit", url, "-c", 1,
    ]  # fmt: skip

    def written(kind: str, person: str) -> list[dict[str, Any]]:
        events = lines(path) if path.exists() else []
        return [e for e in events if (e["event"], e["person"]) == (kind, person)]

    with watching(dict(os.environ), *options) as watch:
        until(lambda: bool(written("end", "Ann") and written("start", "Bob")))
        # An event goes to the file first: the last one may not have reached the receiver's queue.
        before = lines(path)
        assert watch.stop(signal.SIGKILL) == -signal.SIGKILL
    held[0] = False
    with watching(dict(os.environ), *options) as watch:
        until(lambda: len(written("end", "Bob")) == 2)
        assert watch.stop() == 0
    after = lines(path)
    assert after[: len(before)] == before
    # The visit that was open at the kill ends as lost; the others have ended once.
    reasons = [(e["person"], e["reason"]) for e in after if e["event"] == "end"]
    assert Counter(reasons) == Counter(
        [("Ann", "left"), ("Bob", "lost"), ("Ann", "left"), ("Bob", "finished")]
    )
    ids = [event["id"] for event in after]
    assert len(set(ids)) == len(ids)
    until(lambda: set(keys) == set(ids))
    # Only the one whose confirmation the kill cut off is sent again, with the same id.
    assert len(keys) - len(set(keys)) <= 1


def test_bad_options_are_refused_before_anything_is_sent(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, message in (
            ((clip, "--host", "0.0.0.0"), "needs a token"),  # noqa: S104
            ((clip, "--host", "0.0.0.0", "--token", "short"), "at least 16"),  # noqa: S104
            ((clip, "--port", port), f"can't be served at 127.0.0.1:{port}"),
            ((clip, "--host", "no.such.host.invalid", "--token", "x" * 16), "can't be served"),
            ((tmp_path / "nothing.mp4",), "No such file"),
            ((clip, "--on-visit-only", "known"), "add --on-visit"),
            ((clip, "--visits", tmp_path), "can't be written"),
        ):
            done = run("watch", *arguments, "--no-open")
            assert done.exit_code != 0, arguments
            told = done.output + str(done.exception) + str(getattr(done.exception, "hint", ""))
            assert message in told, told
    assert pipeline.requests == []


def test_the_extra_is_named_where_it_is_missing(
    pipeline: Pipeline, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_run.importlib.util, "find_spec", lambda name: None)
    done = run("watch", clip, "--no-open")
    assert "needs the package starlette" in str(done.exception)
    assert getattr(done.exception, "hint", "") == "pip install 'facectl[web]'"


def file_server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """Serve a folder by HTTP, without a log."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    handler = partial(Handler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


def test_a_stream_that_is_gone_is_opened_again(pipeline: Pipeline, clip: Path) -> None:
    server = file_server(clip.parent)
    port = server.server_port
    url = f"http://user:secret@127.0.0.1:{port}/{clip.name}"
    with watching(dict(os.environ), url) as watch:
        events = Events(watch)

        def source() -> dict[str, Any]:
            return events.values.get("source/0", {})

        until(lambda: source().get("run", 0) >= 2)
        assert source()["live"] is True
        server.shutdown()
        server.server_close()
        until(lambda: "can't be opened" in source()["sentence"])
        assert source()["status"] == "away"
        before = source()["run"]
        server = file_server(clip.parent, port)
        until(lambda: source()["run"] > before)
        assert watch.stop() == 0
    server.shutdown()
    server.server_close()
    text = "".join(watch.lines)
    assert "It is opened again" in text
    assert "secret" not in text + json.dumps(events.values)
