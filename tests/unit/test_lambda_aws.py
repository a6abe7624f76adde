"""The functions' AWS client: signatures equal botocore's, retries, batches."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_src.aws import Aws, AwsError, Credentials, Request, _batches, signed_headers

QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/a-queue"
NOW = 1_800_000_000.0


def botocores_authorization(
    service: str, request: Request, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> str:
    moment = datetime.fromtimestamp(NOW, timezone.utc)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: moment.replace(tzinfo=None))
    theirs = botocore.awsrequest.AWSRequest(
        method=request.method,
        url=urllib.parse.urlunsplit(request.url._replace(path=request.path, query="")),
        headers=request.headers,
        data=request.body,
    )
    signer = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    signer(
        botocore.credentials.Credentials(
            credentials.access_key, credentials.secret_key, credentials.token or None
        ),
        service,
        "us-east-1",
    ).add_auth(theirs)
    return str(theirs.headers["Authorization"])


@pytest.mark.parametrize("token", ["", "a-session-token"])
@pytest.mark.parametrize(
    ("service", "request_"),
    [
        (
            "sqs",
            Request(
                "POST",
                urllib.parse.urlsplit(QUEUE),
                "/",
                {
                    "Content-Type": "application/x-amz-json-1.0",
                    "X-Amz-Target": "AmazonSQS.SendMessage",
                },
                b'{"MessageBody": "text"}',
            ),
        ),
        (
            "s3",
            Request(
                "GET",
                urllib.parse.urlsplit("https://bucket.s3.us-east-1.amazonaws.com"),
                "/gallery/current%20one.npz",
                {"If-None-Match": '"abc"'},
            ),
        ),
        (
            "s3",
            Request(
                "PUT",
                urllib.parse.urlsplit("https://bucket.s3.us-east-1.amazonaws.com"),
                "/attempts/0a1b",
                {},
            ),
        ),
    ],
)
def test_signatures_equal_botocores(
    service: str, request_: Request, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", token)
    ours = signed_headers(request_, service, "us-east-1", credentials, time.gmtime(NOW))
    theirs = botocores_authorization(service, request_, credentials, monkeypatch)
    assert ours["Authorization"] == theirs


def test_credentials_do_not_print_their_secret() -> None:
    text = repr(Credentials("AKIDEXAMPLE", "top-secret", "token-too"))
    assert "top-secret" not in text
    assert "token-too" not in text


class Script:
    """A server that answers each request with the next entry of a script."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, Any] | str | None]] = []
        self.seen: list[tuple[str, str, dict[str, Any]]] = []


@pytest.fixture
def script() -> Iterator[tuple[Script, str]]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            target = self.headers.get("X-Amz-Target", self.path)
            script.seen.append((self.command, target, json.loads(body or b"{}")))
            status, answer = script.answers.pop(0)
            if answer is None:
                self.close_connection = True
                return
            data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("ETag", '"v1"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_DELETE = do_POST  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield script, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def client(url: str, slept: list[float]) -> Aws:
    return Aws(Credentials("a", "b"), "us-east-1", url, sleep=slept.append)


def test_send_names_the_queue_and_the_action(script: tuple[Script, str]) -> None:
    server, url = script
    server.answers = [(200, {"MessageId": "1"})]
    assert client(url, []).send(QUEUE, "hello") == "1"
    assert server.seen == [
        ("POST", "AmazonSQS.SendMessage", {"QueueUrl": QUEUE, "MessageBody": "hello"})
    ]


@pytest.mark.parametrize(
    "bad",
    [
        (500, {"__type": "InternalFailure"}),
        (503, "<Error><Code>SlowDown</Code></Error>"),
        (400, {"__type": "com.amazonaws.sqs#RequestThrottled"}),
        (400, {"__type": "ThrottlingException"}),
        (200, None),
    ],
)
def test_transient_errors_are_retried(
    bad: tuple[int, dict[str, Any] | str | None], script: tuple[Script, str]
) -> None:
    server, url = script
    server.answers = [bad, bad, (200, {})]
    slept: list[float] = []
    client(url, slept).send(QUEUE, "hello")
    assert len(server.seen) == 3
    assert len(slept) == 2


def test_permanent_errors_are_not_retried(script: tuple[Script, str]) -> None:
    server, url = script
    server.answers = [(403, {"__type": "com.amazonaws.sqs#AccessDeniedException"})]
    with pytest.raises(AwsError) as caught:
        client(url, []).send(QUEUE, "hello")
    assert (caught.value.status, caught.value.code) == (403, "AccessDeniedException")


def test_the_number_of_attempts_is_limited(script: tuple[Script, str]) -> None:
    server, url = script
    server.answers = [(500, {"__type": "InternalFailure"})] * 9
    with pytest.raises(AwsError, match="InternalFailure"):
        client(url, []).send(QUEUE, "hello")
    assert len(server.seen) == 4


def test_an_unreachable_endpoint_is_an_aws_error() -> None:
    with pytest.raises(AwsError, match=r"127\.0\.0\.1:9"):
        client("http://127.0.0.1:9", []).send(QUEUE, "hello")


def test_send_many_reports_each_failure(script: tuple[Script, str]) -> None:
    server, url = script
    server.answers = [
        (200, {"Successful": [], "Failed": [{"Id": "3", "Code": "X", "Message": "no"}]}),
        (400, {"__type": "InvalidBatch"}),
    ]
    failed = client(url, []).send_many(QUEUE, [f"body {i}" for i in range(12)])
    assert sorted(failed) == [3, 10, 11]
    assert failed[3] == "X: no"
    assert [len(body["Entries"]) for _, _, body in server.seen] == [10, 2]


def test_send_many_without_messages_makes_no_call(script: tuple[Script, str]) -> None:
    server, url = script
    assert client(url, []).send_many(QUEUE, []) == {}
    assert server.seen == []


def test_an_object_is_returned_with_its_etag_and_only_if_it_changed(
    script: tuple[Script, str],
) -> None:
    server, url = script
    server.answers = [(200, "data"), (304, ""), (404, "<Error><Code>NoSuchKey</Code></Error>")]
    aws = client(url, [])
    assert aws.get_object("bucket", "a key") == (b"data", '"v1"')
    assert aws.get_object("bucket", "a key", known_etag='"v1"') is None
    with pytest.raises(AwsError) as caught:
        aws.get_object("bucket", "gone")
    assert caught.value.code == "NoSuchKey"
    assert server.seen[0][1] == "/bucket/a%20key"


def test_objects_are_written_and_deleted(script: tuple[Script, str]) -> None:
    server, url = script
    server.answers = [(200, ""), (204, ""), (403, "<Error><Code>AccessDenied</Code></Error>")]
    aws = client(url, [])
    aws.put_object("bucket", "a key")
    aws.delete_object("bucket", "a key")
    with pytest.raises(AwsError, match="AccessDenied"):
        aws.put_object("bucket", "denied")
    assert [(method, path) for method, path, _ in server.seen] == [
        ("PUT", "/bucket/a%20key"),
        ("DELETE", "/bucket/a%20key"),
        ("PUT", "/bucket/denied"),
    ]


@given(st.lists(st.integers(0, 400_000), max_size=40))
def test_batches_fit_the_limits_of_sqs_and_contain_every_message(lengths: list[int]) -> None:
    bodies = ["x" * length for length in lengths]
    batches = _batches(bodies)
    assert [index for batch in batches for index in batch] == list(range(len(bodies)))
    for batch in batches:
        assert 1 <= len(batch) <= 10
        assert len(batch) == 1 or sum(lengths[i] for i in batch) <= 1_000_000


@given(
    st.binary(max_size=200),
    st.sampled_from(["", "a-session-token", "with/slash+plus=="]),
    st.integers(1_500_000_000, 2_500_000_000),
)
def test_signatures_equal_botocores_at_any_time(body: bytes, token: str, now: int) -> None:
    request = Request(
        "POST",
        urllib.parse.urlsplit(QUEUE),
        "/",
        {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"},
        body,
    )
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", token)
    moment = datetime.fromtimestamp(now, timezone.utc).replace(tzinfo=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: moment)
        theirs = botocore.awsrequest.AWSRequest(
            method="POST",
            url=urllib.parse.urlunsplit(request.url._replace(path="/", query="")),
            headers=request.headers,
            data=body,
        )
        botocore.auth.SigV4Auth(
            botocore.credentials.Credentials(
                credentials.access_key, credentials.secret_key, token or None
            ),
            "sqs",
            "us-east-1",
        ).add_auth(theirs)
    ours = signed_headers(request, "sqs", "us-east-1", credentials, time.gmtime(now))
    assert ours["Authorization"] == theirs.headers["Authorization"]
