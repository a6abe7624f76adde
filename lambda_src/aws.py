"""A small AWS client for the functions: seven calls, Signature Version 4, connection reuse.

boto3 adds 150 ms to a cold start (import 114, client 38), and these functions
need only SendMessage, SendMessageBatch, ChangeMessageVisibility,
DeleteMessage, GetObject, PutObject and DeleteObject. Tests compare the
signatures with botocore's.

Source of the algorithm: AWS General Reference, "Signature Version 4".
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import random
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ATTEMPTS = 4
_TIMEOUT = 5.0
_BACKOFF = 0.1
_THROTTLED = ("Throttl", "RequestLimitExceeded", "SlowDown", "TooManyRequests")
# SQS takes ten messages, and 1 MiB, in one batch.
_BATCH_MESSAGES = 10
_BATCH_BYTES = 1_000_000


class AwsError(Exception):
    """AWS rejected a call, or every attempt to reach it failed."""

    def __init__(self, message: str, *, status: int | None = None, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; `token` is set for temporary credentials, which Lambda always uses."""

    access_key: str
    secret_key: str
    token: str = ""

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Credentials:
        """Read the variables that Lambda sets; raises KeyError if one is missing."""
        return cls(
            env["AWS_ACCESS_KEY_ID"],
            env["AWS_SECRET_ACCESS_KEY"],
            env.get("AWS_SESSION_TOKEN", ""),
        )

    def __repr__(self) -> str:
        return f"Credentials({self.access_key[:4]}…)"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to AWS; `path` is already percent-encoded, and there is no query."""

    method: str
    url: urllib.parse.SplitResult
    path: str
    headers: dict[str, str]
    body: bytes = b""


def signed_headers(
    request: Request, service: str, region: str, credentials: Credentials, now: time.struct_time
) -> dict[str, str]:
    """The request's headers plus `Authorization`; `now` is UTC."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", now)
    payload = hashlib.sha256(request.body).hexdigest()
    headers = {**request.headers, "Host": request.url.netloc, "X-Amz-Date": stamp}
    if service == "s3":
        headers["X-Amz-Content-SHA256"] = payload
    if credentials.token:
        headers["X-Amz-Security-Token"] = credentials.token
    canonical = sorted((name.lower(), " ".join(value.split())) for name, value in headers.items())
    names = ";".join(name for name, _ in canonical)
    canonical_request = "\n".join(
        [
            request.method,
            request.path,
            "",
            *(f"{name}:{value}" for name, value in canonical),
            "",
            names,
            payload,
        ]
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return headers


class Aws:
    """Sends signed requests with retries; reuses one connection per thread and host.

    `sleep` and `clock` (seconds since the epoch) are injected by tests.
    """

    def __init__(
        self,
        credentials: Credentials,
        region: str,
        endpoint_url: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._credentials = credentials
        self._region = region
        self._endpoint_url = endpoint_url
        self._sleep = sleep
        self._clock = clock
        self._local = threading.local()

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Aws:
        """Credentials, region and (on a local cloud) endpoint from the variables Lambda sets."""
        return cls(
            Credentials.from_environment(env),
            env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1",
            env.get("AWS_ENDPOINT_URL"),
        )

    def send(self, queue_url: str, body: str) -> str:
        """Send one message to a queue; returns its message id. Raises AwsError."""
        answer = self._sqs("SendMessage", queue_url, {"MessageBody": body})
        return str(answer.get("MessageId", ""))

    def send_many(self, queue_url: str, bodies: Sequence[str]) -> dict[int, str]:
        """Send messages to a queue, ten per call; returns the errors of failed ones by index."""
        failed: dict[int, str] = {}
        for batch in _batches(bodies):
            entries = [{"Id": str(index), "MessageBody": bodies[index]} for index in batch]
            try:
                answer = self._sqs("SendMessageBatch", queue_url, {"Entries": entries})
            except AwsError as error:
                failed.update(dict.fromkeys(batch, str(error)))
                continue
            for entry in answer.get("Failed") or []:
                failed[int(entry["Id"])] = f"{entry.get('Code')}: {entry.get('Message')}"
        return failed

    def change_visibility(self, queue_url: str, receipt_handle: str, seconds: int) -> None:
        """Let a received message become visible again after `seconds`; raises AwsError."""
        self._sqs(
            "ChangeMessageVisibility",
            queue_url,
            {"ReceiptHandle": receipt_handle, "VisibilityTimeout": seconds},
        )

    def delete(self, queue_url: str, receipt_handle: str) -> None:
        """Delete a received message from its queue; raises AwsError."""
        self._sqs("DeleteMessage", queue_url, {"ReceiptHandle": receipt_handle})

    def get_object(
        self, bucket: str, key: str, *, known_etag: str | None = None
    ) -> tuple[bytes, str] | None:
        """An object and its ETag; None if its ETag is still `known_etag`. Raises AwsError."""
        headers = {"If-None-Match": known_etag} if known_etag else {}
        response, body = self._s3("GET", bucket, key, headers)
        if response.status == http.client.NOT_MODIFIED:
            return None
        return body, response.headers.get("ETag", "")

    def put_object(self, bucket: str, key: str) -> None:
        """Write an empty object; raises AwsError."""
        self._s3("PUT", bucket, key, {})

    def delete_object(self, bucket: str, key: str) -> None:
        """Delete an object if it exists; raises AwsError."""
        self._s3("DELETE", bucket, key, {})

    def _s3(
        self, method: str, bucket: str, key: str, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        path = "/" + urllib.parse.quote(key)
        if self._endpoint_url:
            url, path = urllib.parse.urlsplit(self._endpoint_url), f"/{bucket}{path}"
        else:
            host = f"{bucket}.s3.{self._region}.{dns_suffix(self._region)}"
            url = urllib.parse.urlsplit(f"https://{host}")
        return self._call("s3", Request(method, url, path, headers))

    def _sqs(self, action: str, queue_url: str, fields: dict[str, Any]) -> dict[str, Any]:
        url = urllib.parse.urlsplit(self._endpoint_url or queue_url)
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"AmazonSQS.{action}",
        }
        body = json.dumps({"QueueUrl": queue_url, **fields}).encode()
        _, answer = self._call("sqs", Request("POST", url, "/", headers, body))
        result: dict[str, Any] = json.loads(answer or b"{}")
        return result

    def _call(self, service: str, request: Request) -> tuple[http.client.HTTPResponse, bytes]:
        where = f"{service} at {request.url.netloc}"
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response, body = self._exchange(service, request)
            except (OSError, http.client.HTTPException) as error:
                self._forget(request.url)
                problem = AwsError(f"{where}: {type(error).__name__}: {error}")
                problem.__cause__ = error
            else:
                if response.status < 300 or response.status == http.client.NOT_MODIFIED:
                    return response, body
                code = _error_code(response, body)
                problem = AwsError(f"{where}: {code}", status=response.status, code=code)
                if response.status < 500 and not any(word in code for word in _THROTTLED):
                    raise problem
            if attempt < _ATTEMPTS:
                # Full jitter prevents synchronised retries (AWS Architecture Blog).
                self._sleep(random.uniform(0, _BACKOFF * 2**attempt))  # noqa: S311
        raise problem

    def _exchange(self, service: str, request: Request) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self._connection(request.url)
        headers = signed_headers(
            request, service, self._region, self._credentials, time.gmtime(self._clock())
        )
        connection.request(request.method, request.path, request.body, headers)
        response = connection.getresponse()
        return response, response.read()

    def _connection(self, url: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        kept = self._kept()
        if url.netloc not in kept:
            kind = (
                http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
            )
            kept[url.netloc] = kind(url.netloc, timeout=_TIMEOUT)
        return kept[url.netloc]

    def _forget(self, url: urllib.parse.SplitResult) -> None:
        connection = self._kept().pop(url.netloc, None)
        if connection is not None:
            connection.close()

    def _kept(self) -> dict[str, http.client.HTTPConnection]:
        if not hasattr(self._local, "connections"):
            self._local.connections = {}
        connections: dict[str, http.client.HTTPConnection] = self._local.connections
        return connections


def dns_suffix(region: str) -> str:
    """The domain of AWS's endpoints in a region: the partition of China has its own.

    Source: AWS General Reference, "AWS service endpoints"; AWS GovCloud (US) has that of `aws`.
    """
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def _batches(bodies: Sequence[str]) -> list[list[int]]:
    batches: list[list[int]] = []
    size = 0
    for index, body in enumerate(bodies):
        length = len(body.encode())
        if not batches or len(batches[-1]) == _BATCH_MESSAGES or size + length > _BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(index)
        size += length
    return batches


def _error_code(response: http.client.HTTPResponse, body: bytes) -> str:
    """The error code of a response: SQS sends JSON, S3 sends XML."""
    text = body[:2000].decode("utf-8", "replace")
    if text.startswith("{"):
        try:
            return str(json.loads(body)["__type"]).rpartition("#")[2]
        except (ValueError, KeyError):
            return f"HTTP {response.status}"
    _, found, rest = text.partition("<Code>")
    return rest.partition("</Code>")[0] if found else f"HTTP {response.status}"
