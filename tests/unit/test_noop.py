"""The functions without detection and recognition: messages and timings of the same form."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from lambda_src.contract import FrameRequest, FrameResult


@pytest.fixture
def noop(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in (
        ("AWS_REGION", "us-east-1"),
        ("FACECTL_REQUEST_QUEUE_URL", "http://127.0.0.1:9/0/q"),
        ("FACECTL_RESPONSE_QUEUE_URL", "http://127.0.0.1:9/0/r"),
    ):
        monkeypatch.setenv(name, value)
    # Read when it is imported, as a function's environment is.
    return importlib.reload(importlib.import_module("lambda_src.noop"))


class Queues:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def send(self, url: str, body: str) -> str:
        self.sent.append((url, body))
        return "m"

    def send_many(self, url: str, bodies: Sequence[str]) -> dict[int, str]:
        self.sent += [(url, body) for body in bodies]
        return {}


def test_a_frame_through_both_functions(noop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    queues = Queues()
    monkeypatch.setattr(noop, "_aws", queues)
    context = SimpleNamespace(aws_request_id="i")
    event = {"body": FrameRequest("r-1", "f.jpg", b"x").serialise().decode()}
    answer = noop.detection(event, context)
    assert (answer["statusCode"], json.loads(answer["body"])) == (
        200,
        {"request_id": "r-1", "faces": 1},
    )
    [(url, body)] = queues.sent
    assert url.endswith("/q")
    # As much as one face's crop.
    assert 25_000 < len(body) < 64_000

    record = {"body": body, "attributes": {"SentTimestamp": "1000"}}
    assert noop.recognition({"Records": [record]}, context) == {"batchItemFailures": []}
    url, body = queues.sent[1]
    result = FrameResult.parse(body)
    assert url.endswith("/r")
    assert (result.request_id, result.result, result.faces) == ("r-1", "Unknown", ())
    assert {"detection_init", "detect", "request_queue", "embed"} <= set(result.timings_ms or {})


def test_only_the_first_invocation_is_cold(noop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    queues = Queues()
    monkeypatch.setattr(noop, "_aws", queues)
    event = {"body": FrameRequest("r", "f", b"x").serialise().decode()}
    for _ in range(2):
        noop.detection(event, None)
    cold, warm = (json.loads(body)["timings_ms"] for _, body in queues.sent)
    assert "detection_init" in cold
    assert "detection_init" not in warm
