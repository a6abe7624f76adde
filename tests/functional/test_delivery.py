"""POSTs to a scripted server: which errors are retried, after which delay, and which are final."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from stream_stub import Pipeline, Reply

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.errors import CloudError, NotRunningError
from facectl.stream.delivery import FrameRefused, FrameUndelivered, FunctionUrlClient
from lambda_src.contract import FrameRequest

REQUEST = FrameRequest("run-1", "a.jpg", b"\xff\xd8\xff image", max_faces=2, detail=True)
OK = Reply()


class Sleep:
    def __init__(self, *, ended: bool = False) -> None:
        self.slept: list[float] = []
        self.ended = ended

    def __call__(self, seconds: float) -> bool:
        self.slept.append(seconds)
        return self.ended


@pytest.fixture
def sleep() -> Sleep:
    return Sleep()


@pytest.fixture
def endpoint(pipeline: Pipeline) -> Iterator[FunctionUrlClient]:
    endpoint = FunctionUrlClient(pipeline.url, connections=2, chance=lambda: 1.0)
    yield endpoint
    endpoint.close()


def script(pipeline: Pipeline, *replies: Reply) -> None:
    """The replies in turn, then the last one repeatedly."""
    pipeline.script = lambda _, number: replies[min(number, len(replies) - 1)]


def test_a_frame_is_accepted_at_the_first_attempt(
    pipeline: Pipeline, endpoint: FunctionUrlClient, sleep: Sleep
) -> None:
    script(pipeline, OK)
    delivery = endpoint.post(REQUEST, sleep=sleep)
    assert (delivery.faces, delivery.attempts) == (1, 1)
    assert 0 < delivery.seconds < 5
    assert sleep.slept == []
    assert pipeline.requests == [
        {
            "content": base64.b64encode(REQUEST.image).decode(),
            "request_id": "run-1",
            "filename": "a.jpg",
            "max_faces": 2,
            "detail": True,
        }
    ]
    assert "authorization" not in pipeline.headers[0]


def test_the_bytes_of_each_attempt_are_counted(
    pipeline: Pipeline, endpoint: FunctionUrlClient, sleep: Sleep
) -> None:
    script(pipeline, Reply(500), OK)
    endpoint.post(REQUEST, sleep=sleep)
    assert endpoint.bytes_sent == 2 * len(REQUEST.serialise())


def test_connections_are_reused(pipeline: Pipeline, endpoint: FunctionUrlClient) -> None:
    script(pipeline, OK)
    for _ in range(5):
        endpoint.post(REQUEST)
    assert len(pipeline.connections) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_errors_are_retried(
    pipeline: Pipeline, endpoint: FunctionUrlClient, sleep: Sleep, status: int
) -> None:
    script(pipeline, Reply(status, b"busy"), Reply(status, b"busy"), OK)
    assert endpoint.post(REQUEST, sleep=sleep).attempts == 3
    assert sleep.slept == [0.25, 0.5]
    assert len(set(pipeline.bodies)) == 1


def test_a_throttled_frame_backs_off_exponentially_after_five_short_delays(
    pipeline: Pipeline, endpoint: FunctionUrlClient, sleep: Sleep
) -> None:
    script(pipeline, *[Reply(429)] * 11, OK)
    assert endpoint.post(REQUEST, sleep=sleep).attempts == 12
    assert sleep.slept == [0.5] * 5 + [1, 2, 4, 8, 8, 8]


def test_retries_of_throttling_end(pipeline: Pipeline, sleep: Sleep) -> None:
    script(pipeline, Reply(429, b'{"Reason": "ConcurrentInvocationLimitExceeded"}'))
    endpoint = FunctionUrlClient(pipeline.url, connections=1, busy_limit=0.2)
    with pytest.raises(FrameUndelivered, match=r"^429: .*ConcurrentInvocationLimitExceeded"):
        endpoint.post(REQUEST, sleep=sleep)
    assert len(pipeline.requests) > 1


def test_a_broken_connection_is_retried(
    pipeline: Pipeline, endpoint: FunctionUrlClient, sleep: Sleep
) -> None:
    script(pipeline, Reply(hang_up=True), OK)
    assert endpoint.post(REQUEST, sleep=sleep).attempts == 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_frame_is_not_retried(
    pipeline: Pipeline, endpoint: FunctionUrlClient, sleep: Sleep, status: int
) -> None:
    body = b'{"request_id": "run-1", "error": {"code": "bad", "message": "no\\u001b[2J image"}}'
    script(pipeline, Reply(status, body))
    with pytest.raises(FrameRefused, match=f"^{status}: no\\?\\[2J image$"):
        endpoint.post(REQUEST, sleep=sleep)
    assert len(pipeline.requests) == 1
    assert sleep.slept == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_denied_request_ends_the_run(
    pipeline: Pipeline, endpoint: FunctionUrlClient, sleep: Sleep, status: int
) -> None:
    script(pipeline, Reply(status, b'{"Message": "Forbidden"}'))
    with pytest.raises(CloudError, match=f"refuses all frames: {status}: .*Forbidden") as denied:
        endpoint.post(REQUEST, sleep=sleep)
    assert not isinstance(denied.value, NotRunningError)
    assert len(pipeline.requests) == 1


def test_backoff_doubles_up_to_its_cap_and_ends(
    pipeline: Pipeline, endpoint: FunctionUrlClient, sleep: Sleep
) -> None:
    script(pipeline, Reply(503, b'{"error": {"message": "the queue does not answer"}}'))
    with pytest.raises(FrameUndelivered, match=r"^503: the queue does not answer$"):
        endpoint.post(REQUEST, sleep=sleep)
    assert sleep.slept == [0.25, 0.5, 1, 2, 4, 8]
    assert len(pipeline.requests) == 7


def test_retry_after_is_the_minimum_delay(
    pipeline: Pipeline, endpoint: FunctionUrlClient, sleep: Sleep
) -> None:
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=50), usegmt=True)
    script(
        pipeline,
        Reply(429, headers={"Retry-After": "3"}),
        Reply(429, headers={"Retry-After": soon}),
        Reply(429, headers={"Retry-After": "999"}),
        Reply(429, headers={"Retry-After": "whenever"}),
        OK,
    )
    endpoint.post(REQUEST, sleep=sleep)
    assert sleep.slept[0] == 3.5
    assert 20 < sleep.slept[1] <= 50.5
    assert sleep.slept[2:] == [60.5, 0.5]


def test_stopping_ends_the_retries(pipeline: Pipeline, endpoint: FunctionUrlClient) -> None:
    script(pipeline, Reply(503))
    with pytest.raises(FrameUndelivered, match="stopped during a retry after: 503"):
        endpoint.post(REQUEST, sleep=Sleep(ended=True))
    assert len(pipeline.requests) == 1


def test_an_unreachable_url_names_the_next_command(sleep: Sleep) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    with pytest.raises(NotRunningError, match=f"nothing answers at {url}") as error:
        FunctionUrlClient(url, connections=1).post(REQUEST, sleep=sleep)
    assert error.value.hint == "facectl local up, then facectl deploy"


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"[]", b'{"faces": "many"}'])
def test_a_response_of_another_server_is_detected(
    pipeline: Pipeline, endpoint: FunctionUrlClient, body: bytes
) -> None:
    script(pipeline, Reply(200, body))
    with pytest.raises(CloudError, match="is not face-detection"):
        endpoint.post(REQUEST)


def test_a_body_above_the_limit_is_not_sent(
    pipeline: Pipeline, endpoint: FunctionUrlClient
) -> None:
    with pytest.raises(FrameRefused, match=r"6\.7 MB as a request.*--max-side"):
        endpoint.post(FrameRequest("run-1", "big.png", bytes(5_000_000)))
    assert pipeline.requests == []


def test_loopback_is_reached_without_a_proxy(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    script(pipeline, OK)
    assert FunctionUrlClient(pipeline.url, connections=1).post(REQUEST).attempts == 1


def test_every_attempt_on_aws_is_signed_as_botocore_would(pipeline: Pipeline, sleep: Sleep) -> None:
    script(pipeline, Reply(503), OK)
    clients = Clients(Deployment(asu_id="x", target="aws"))
    FunctionUrlClient(pipeline.url, connections=1, sign=clients.sign).post(REQUEST, sleep=sleep)
    assert len(pipeline.headers) == 2
    for headers, body in zip(pipeline.headers, pipeline.bodies, strict=True):
        assert headers["x-amz-security-token"] == "testing"
        assert re.match(
            r"AWS4-HMAC-SHA256 Credential=testing/\d{8}/us-east-1/lambda/aws4_request, "
            r"SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=",
            headers["authorization"],
        )
        assert headers["authorization"].endswith(_signature(pipeline.url, headers, body))


def _signature(url: str, headers: dict[str, str], body: bytes) -> str:
    """The signature that AWS would expect for the received request."""
    names = ("content-type", "host", "x-amz-date", "x-amz-security-token")
    request = AWSRequest("POST", url, {n: headers[n] for n in names}, body)
    request.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials("testing", "testing", "testing"), "lambda", "us-east-1")
    return str(
        signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    )


def test_missing_credentials_are_reported(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    clients = Clients(Deployment(asu_id="x", target="aws"))
    with pytest.raises(CloudError, match="signing a request: no AWS credentials"):
        FunctionUrlClient(pipeline.url, connections=1, sign=clients.sign).post(REQUEST)


def test_retries_for_an_unreachable_queue_are_limited_by_time(
    pipeline: Pipeline, endpoint: FunctionUrlClient, sleep: Sleep
) -> None:
    away = Reply(503, b'{"error": {"message": "a queue is away"}}', {"Retry-After": "1"})
    script(pipeline, *[away] * 12, OK)
    assert endpoint.post(REQUEST, sleep=sleep).attempts == 13
    assert all(1 <= seconds <= 9 for seconds in sleep.slept)
