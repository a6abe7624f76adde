"""logs, trace and dlq on a real local cloud: killed workers, timeouts, dead letters."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import psutil
import pytest
from conftest import Facectl, free_port, link_models
from driver import eventually

from facectl.aws import Clients
from facectl.context import Deployment
from lambda_src.contract import CroppedFace, FaceMessage
from lambda_src.vision.crops import encode_crops

pytestmark = pytest.mark.e2e

NAME = "Eileen Collins"
# Of the functions, in seconds. The longest request here needs a tenth of it, so that none
# is ended by a busy machine; what a worker leaves is back on the queue after six of them.
TIMEOUT = 6
# Seconds after which something counts as hung; no measure of how long it may take.
HUNG = 900.0
# Enough faces to keep a worker busy until it is caught at it.
FACES = 20


class Bench:
    """A deployment whose functions may take TIMEOUT, and what reaches its processes."""

    def __init__(self, facectl: Facectl) -> None:
        self.facectl = facectl
        self.status = facectl.json("local", "status")
        self.context = facectl.json("context")
        self.clients = Clients(
            Deployment("logs", "local", endpoint_url=self.status["endpoint_url"])
        )

    def put(self, body: str) -> None:
        """A message on the request queue."""
        url = self.clients.sqs.get_queue_url(QueueName="logs-req-queue")["QueueUrl"]
        self.clients.sqs.send_message(QueueUrl=url, MessageBody=body)

    def put_faces(self, request_id: str, faces: int) -> None:
        """A message that face-detection could have sent."""
        [crop] = encode_crops(
            [np.full((160, 160, 3), 90, np.uint8)], "facenet", max_total_bytes=9**6
        )
        face = CroppedFace((0.0, 0.0, 9.0, 9.0), 0.99, crop)
        space = self.context["space"]
        self.put(FaceMessage(request_id, "f", space, (face,) * faces).serialise())

    def workers(self, function: str) -> list[psutil.Process]:
        found = []
        for process in psutil.Process(self.status["pid"]).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.environ().get("AWS_LAMBDA_FUNCTION_NAME") == function:
                    found.append(process)
        return found

    def answers(self) -> int:
        """The number of answers on the response queue, which nobody reads meanwhile."""
        url = self.clients.sqs.get_queue_url(QueueName="logs-resp-queue")["QueueUrl"]
        name = "ApproximateNumberOfMessages"
        counted = self.clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        return int(counted["Attributes"][name])

    def catch(self, function: str, start: Callable[[], object], blow: int) -> psutil.Process:
        """Begin something, and send a signal to the worker that is seen to compute for it."""
        before = {process: _cpu(process) for process in self.workers(function)}
        assert before, f"no worker of {function} is warm"
        start()
        deadline = time.monotonic() + HUNG
        while time.monotonic() < deadline:
            for process, idle in before.items():
                if _cpu(process) - idle > 0.08:
                    process.send_signal(blow)
                    return process
            time.sleep(0.005)
        pytest.fail(f"no worker of {function} began to compute")

    def catch_at_faces(self, name: str, blow: int) -> str:
        """The id of a request whose worker got a signal before it answered."""
        for attempt in range(1, 20):
            request_id = f"{name}-{attempt}"
            answered = self.answers()
            worker = self.catch(
                "face-recognition", lambda own=request_id: self.put_faces(own, FACES), blow
            )
            if self.answers() == answered:
                return request_id
            # This process did not run for so long that the worker had answered by then.
            with contextlib.suppress(psutil.Error):
                worker.send_signal(signal.SIGCONT)
        pytest.fail(f"no worker of face-recognition could be caught at {name}")

    def trace(self, request_id: str, state: str, *, within: float = HUNG) -> Any:
        """The trace as soon as it has that state."""
        deadline = time.monotonic() + within
        while True:
            done = self.facectl("trace", request_id, "--json", expect=None)
            traced = json.loads(done.stdout) if done.returncode == 0 else {"state": done.stderr}
            if traced["state"] == state or time.monotonic() > deadline:
                assert traced["state"] == state, traced
                return traced
            time.sleep(0.5)


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def events(traced: Any) -> list[str]:
    return [step["event"] for step in traced["steps"]]


def texts(traced: Any) -> str:
    return "\n".join(step["text"] for step in traced["steps"])


@pytest.fixture(scope="module")
def bench(
    models_folder: Path, portrait: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    own = Facectl(link_models(models_folder, tmp_path_factory.mktemp("logs-home")))
    own("local", "up", "--port", free_port())
    try:
        own("deploy", "--asu-id", "logs", "--target", "local", "--timeout", TIMEOUT)
        bench = Bench(own)
        own("gallery", "enroll", NAME, portrait)
        yield bench
    finally:
        own("local", "down", expect=None)


def test_trace_of_an_answered_frame(bench: Bench, portrait: Path, tmp_path: Path) -> None:
    follower = subprocess.Popen(
        [Path(sys.executable).with_name("facectl"), "logs", "--follow", "--since", "10m", "--json"],
        env=bench.facectl.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen: list[dict[str, Any]] = []
    thread = threading.Thread(
        target=lambda: seen.extend(json.loads(line) for line in follower.stdout or ()), daemon=True
    )
    thread.start()
    out = tmp_path / "results.jsonl"
    bench.facectl("send", portrait, "--out", out)
    sent = json.loads(out.read_text())
    own = sent["request_id"]
    # While it follows: nothing but these lines ends the waiting.
    eventually(
        lambda: [line for line in list(seen) if line["request_id"] == own],
        lambda lines: len(lines) >= 5,
    )
    eventually(lambda: list(seen), lambda lines: any(line["kind"] == "report" for line in lines))
    follower.send_signal(signal.SIGINT)
    thread.join()
    assert follower.wait() == 0
    assert "Stopped after" in (follower.stderr.read() if follower.stderr else "")

    stages = [line["fields"]["stage"] for line in seen if line["request_id"] == own]
    assert sorted(stages) == sorted(["received", "detection", "request", "received", "recognition"])

    traced = bench.trace(sent["request_id"], "answered")
    assert events(traced) == [
        *("arrived", "received", "decoded", "detected", "cropped", "enqueued"),
        *("delivered", "embedded", "matched", "answered"),
    ]
    assert traced["result"] == sent["result"]
    assert "delivery 1 of 5" in texts(traced)
    assert re.search(rf"matched: ({NAME}|Unknown) \(", texts(traced))
    assert sum(traced["spent_ms"].values()) == pytest.approx(traced["total_ms"], abs=2)
    assert bench.facectl.json("trace", "--last")["request_id"] == sent["request_id"]
    shown = bench.facectl("trace", "--last").stdout
    assert "Now: answered" in shown
    [slowest] = bench.facectl.json("trace", "--slowest", 1)
    assert slowest["total_ms"] >= traced["total_ms"]


def test_trace_of_a_refused_frame(bench: Bench) -> None:
    body = {"request_id": "refused-1", "content": "bm8gaW1hZ2U=", "filename": "f"}
    assert httpx.post(bench.context["function_url"], json=body).status_code == 400
    traced = bench.trace("refused-1", "refused")
    assert events(traced)[-1] == "refused"
    assert "unsupported_image" in traced["now"]


@pytest.mark.slow
def test_a_killed_worker_and_a_timeout_of_recognition(bench: Bench) -> None:
    bench.put_faces("warm-1", 1)
    bench.trace("warm-1", "answered")
    request_id = bench.catch_at_faces("killed", signal.SIGKILL)
    killed = bench.trace(request_id, "in flight")
    assert "delivery 1 of 5" in texts(killed)
    # To its end, so that no worker computes for this request when the next one is caught.
    killed = bench.trace(request_id, "answered")
    assert events(killed)[:2] == ["delivered", "killed"]
    assert "lost its worker" in texts(killed)
    assert "delivery 2 of 5" in texts(killed)
    assert killed["spent_ms"]["waiting for the next delivery"] > 5000

    request_id = bench.catch_at_faces("stopped", signal.SIGSTOP)
    stopped = bench.trace(request_id, "answered")
    assert events(stopped)[:2] == ["delivered", "timeout"]
    assert f"face-recognition timed out after {TIMEOUT} s" in texts(stopped)

    report = {r["function"]: r for r in bench.facectl.json("logs", "report")["functions"]}
    recognition = report["face-recognition"]
    assert recognition["timeouts"] == 1
    assert recognition["errors"] == 1
    assert recognition["cold_starts"] >= 2
    assert recognition["used_mb"] > 50
    assert recognition["cost"] > 0


@pytest.mark.slow
def test_a_killed_worker_of_detection_and_the_retry(
    bench: Bench, portrait: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.jpg"
    cv2.imwrite(str(large), cv2.resize(cv2.imread(str(portrait)), (2000, 2000)))
    out = tmp_path / "results.jsonl"
    bench.facectl("send", portrait)
    # Again where this process did not run for so long that the worker had answered.
    for _ in range(20):
        out.unlink(missing_ok=True)
        sending = threading.Thread(
            target=lambda: bench.facectl("send", large, "--out", out, expect=None)
        )
        bench.catch("face-detection", sending.start, signal.SIGKILL)
        sending.join()
        request_id = json.loads(out.read_text())["request_id"]
        traced = bench.trace(request_id, "answered")
        if "detected" not in events(traced)[:3]:
            break
        bench.facectl("send", portrait)
    assert events(traced)[:4] == ["arrived", "received", "killed", "arrived"]
    assert "POST 2" in texts(traced)
    assert "cold start" in texts(traced)


@pytest.mark.slow
def test_an_invalid_message_becomes_a_dead_letter_with_its_reason(bench: Bench) -> None:
    # A test of its own lets no worker that is killed or stopped take one of its deliveries.
    bench.put(json.dumps({"request_id": "poisoned-1", "faces": 7}))
    # The message can be in the dead-letter queue before the logs of its last delivery can be read.
    traced = eventually(
        lambda: bench.trace("poisoned-1", "dead-letter queue"),
        lambda found: "delivery 5 of 5" in texts(found) and found["result"] is not None,
    )
    assert traced["result"] == "Error"
    assert [step["text"].count("MessageError") for step in traced["steps"]].count(1) == 5
    assert "delivery 5 of 5" in texts(traced)
    assert "not a message of face-detection" in traced["now"]

    [dead] = bench.facectl.json("dlq", "list")["dead"]
    assert (dead["request_id"], dead["deliveries"], dead["answered_error"]) == (
        "poisoned-1",
        5,
        True,
    )
    assert "MessageError" in dead["why"]
    assert "MessageError" in bench.facectl("dlq", "list").stdout
    assert "poisoned-1" in bench.facectl("dlq", "show", "poisoned", expect=2).stderr
    assert bench.facectl.json("dlq", "show", "poisoned-1")["dead"][0]["crops"] == []

    assert bench.facectl.json("dlq", "redrive", "--all") == {"done": 1, "failures": []}
    assert bench.facectl.json("dlq", "list")["dead"] == []
    again = bench.trace("poisoned-1", "answered", within=240)
    assert "redriven" in texts(again)
    assert "not in the dead-letter queue any more" not in again["now"]


@pytest.mark.slow
def test_unknown_request_ids_are_errors(bench: Bench) -> None:
    told = bench.facectl("trace", "nobody", expect=2).stderr
    assert "No request 'nobody' in the logs of face-detection and face-recognition from" in told
    told = bench.facectl("trace", "stopped", expect=2).stderr
    assert "stopped-1" in told
    told = bench.facectl("logs", "--request-id", "kil", expect=2).stderr
    assert "killed-1" in told


def test_no_names_keeps_names_out_of_the_logs(bench: Bench, portrait: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    begun = time.time()
    bench.facectl("deploy", "--timeout", TIMEOUT, "--no-names")
    bench.facectl("send", portrait, "--out", out)
    sent = json.loads(out.read_text())

    def logged_since() -> str:
        since = f"{time.time() - begun:.0f}s"
        return bench.facectl("logs", "--since", since, "--raw").stdout

    logged = eventually(
        logged_since, lambda text: '"recognition"' in text and sent["request_id"] in text
    )
    assert NAME not in logged
    assert sent["result"] == NAME or '"known": false' in logged
    traced = bench.trace(sent["request_id"], "answered")
    assert traced["result"] is None
    assert "the logs contain no names" in traced["now"]
    assert re.search(r"matched: (a known person|Unknown) \(distance [\d.]+\)", texts(traced))
