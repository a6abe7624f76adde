"""A pipeline made of a small HTTP server and MiniStack's SQS: it answers as a test scripts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import cv2
import httpx
import numpy as np
from driver import free_port
from typer.testing import CliRunner, Result

from facectl import records
from facectl.cli.app import app
from facectl.context import Deployment
from lambda_src.contract import reply_queue


@dataclass
class Reply:
    """What the function answers; `results` go onto the response queue before it does."""

    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)
    hang_up: bool = False


def run(*arguments: object) -> Result:
    """Run a facectl command in this process, in a wide terminal."""
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


def noisy_clip(path: Path, width: int, height: int) -> Path:
    """Write a video of 20 noisy frames at 10 per second."""
    noise = np.random.default_rng(1)
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (width, height)
    )
    for _ in range(20):
        writer.write(noise.integers(0, 256, (height, width, 3), np.uint8))
    writer.release()
    return path


def number(request: dict[str, Any]) -> int:
    """The index of a request's frame."""
    return int(request["request_id"][-6:])


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file, which is complete."""
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


Script = Callable[[dict[str, Any], int], Reply]


def result(request: dict[str, Any], name: str = "Eileen") -> str:
    """The answer of recognition, with one face where detail was asked for."""
    fields: dict[str, Any] = {"request_id": request["request_id"], "result": name}
    if request.get("detail"):
        face = {"box": [10, 10, 60, 60], "probability": 0.99, "name": name, "distance": 0.4}
        fields |= {"faces": [face], "timings_ms": {"detect": 5.0}}
    return json.dumps(fields)


def answering(request: dict[str, Any], _: int) -> Reply:
    """The healthy pipeline: every frame shows Eileen."""
    return Reply(results=[result(request)])


def until(condition: Callable[[], bool], *, within: float = 120.0) -> None:
    """Wait until the condition holds; the limit is there against hanging alone."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not come")
        time.sleep(0.01)


class Pipeline:
    """A deployment to talk to; `requests` has every POST body, `headers` every POST's headers."""

    def __init__(self, script: Script, endpoint_url: str) -> None:
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.connections: set[Any] = set()
        self._lock = threading.Lock()
        self.sqs = boto3.client(
            "sqs",
            endpoint_url=endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        # A fresh ID, because tests share the emulator.
        asu_id = f"stub{uuid.uuid4().hex[:8]}"
        names = Deployment(asu_id=asu_id, target="local").names
        self.queues = {
            name: self.sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": seconds})[
                "QueueUrl"
            ]
            for name, seconds in (
                (names.request_queue, "30"),
                (names.dead_letter_queue, "30"),
                (names.response_queue, "1"),
            )
        }
        self.responses = self.queues[names.response_queue]
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.deployment = Deployment(
            asu_id=asu_id, target="local", endpoint_url=endpoint_url, function_url=self.url
        )
        records.remember(self.deployment)

    def put(self, body: str, reply: str = "") -> None:
        """Put a message on the response queue, or on a client's reply queue."""
        queue = reply_queue(self.responses, reply)
        self.sqs.send_message(QueueUrl=queue, MessageBody=body)

    def reply_queues(self) -> list[str]:
        """The URLs of the clients' own queues."""
        prefix = self.deployment.names.reply_queue_prefix
        urls = self.sqs.list_queues(QueueNamePrefix=prefix).get("QueueUrls", [])
        return [url for url in urls if url != self.responses]

    def left(self) -> list[str]:
        """The bodies on the response queue, taken off it; waits for those that are out of sight."""
        bodies = []
        while self.total():
            messages = self.sqs.receive_message(
                QueueUrl=self.responses, MaxNumberOfMessages=10, WaitTimeSeconds=1
            ).get("Messages", [])
            for message in messages:
                bodies.append(message["Body"])
                self.sqs.delete_message(
                    QueueUrl=self.responses, ReceiptHandle=message["ReceiptHandle"]
                )
        return bodies

    def hide_one(self, *, seconds: int) -> bool:
        """Receive a response as a client does; whether there was one in sight."""
        return "Messages" in self.sqs.receive_message(
            QueueUrl=self.responses, VisibilityTimeout=seconds
        )

    def total(self) -> int:
        """How many messages the response queue holds, whether they are in sight or not."""
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.responses, AttributeNames=["All"])[
            "Attributes"
        ]
        return sum(int(v) for k, v in attributes.items() if k.startswith("ApproximateNumber"))

    def take(self, handler: BaseHTTPRequestHandler, body: bytes) -> Reply:
        with self._lock:
            request = json.loads(body)
            self.requests.append(request)
            self.headers.append({k.lower(): v for k, v in handler.headers.items()})
            self.bodies.append(body)
            self.connections.add(handler.client_address)
            number = len(self.requests) - 1
        reply = self.script(request, number)
        own = str(request.get("reply", ""))
        for text in reply.results:
            self.put(text, own)
        if reply.body is None:
            answer = {"request_id": request["request_id"], "faces": 1}
            reply.body = json.dumps({**answer, **({"reply": own} if own else {})}).encode()
        return reply

    def shut(self) -> None:
        """Stop listening, as a dead emulator does."""
        self._server.shutdown()
        self._server.server_close()


def _handler(pipeline: Pipeline) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            reply = pipeline.take(self, self.rfile.read(int(self.headers["content-length"])))
            if reply.hang_up:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            body = reply.body or b""
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


class Emulator:
    """A MiniStack that serves SQS alone, at a port of its own."""

    def __init__(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            cwd=self._folder.name,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={
                **os.environ,
                "GATEWAY_PORT": str(port),
                "BIND_HOST": "127.0.0.1",
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                "TMPDIR": self._folder.name,
            },
        )
        until(lambda: self._healthy() or self.process.poll() is not None)
        if self.process.poll() is not None:
            self.stop()
            raise RuntimeError("MiniStack did not start")

    def stop(self) -> None:
        """End it at once, as a crash does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(600)
        self._folder.cleanup()

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/_ministack/health", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False
