"""POSTs frames to the Function URL: how many at once, which errors are retried, and when."""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

import httpx

from facectl.errors import CloudError, FacectlError, NotRunningError
from facectl.retry import Backoff, exponential, jittered
from facectl.stream.outcomes import AcceptedPost
from lambda_src.contract import FrameRequest

# Lambda's limit of a synchronous invocation, by AWS's documentation of quotas: 6 MB.
MAX_BODY = 6 * 1024 * 1024
# Errors of the deployment, not of the frame: every frame would get them.
_NOT_THE_FRAME = {401, 403, 404, 405}
# Long enough for a cold start that loads two models on a small, busy machine.
_TIMEOUT = httpx.Timeout(65, connect=5)
_LONGEST_RETRY_AFTER = 60.0
_ATTEMPTS = 7
_DELAY = exponential(0.25, 8.0)
# After a 429 (other requests are being served) or a 503 with Retry-After (a queue is
# unreachable) retrying helps, so these are limited by time and not by attempts. The first
# delays are short, because the concurrency limiter spaces the requests; a frame that is
# refused repeatedly competes with other clients and backs off exponentially.
_BUSY_LIMIT = 60.0
_BUSY_DELAY = exponential(0.5, 8.0, steady=5)
_TICK = 0.1
# The limit grows by one after about three successful requests for each one allowed. Slower
# growth was measured to cost throughput: Lambda also answers 429 while it is still cleaning
# up after a request that has ended.
_GROWTH = 0.3

# (method, url, body, headers) → the headers to send
Signer = Callable[[str, str, bytes, dict[str, str]], dict[str, str]]


class FrameRefused(FacectlError):  # noqa: N818 - the outcome of one frame, not of the run
    """The function will never accept this frame."""


class FrameUndelivered(FacectlError):  # noqa: N818 - as above
    """Every attempt to send this frame failed."""


class Signed(httpx.Auth):
    """Signs each attempt separately, because a signature contains its time and expires."""

    requires_request_body = True

    def __init__(self, sign: Signer) -> None:
        self._sign = sign

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        signed = {"host": request.headers["host"], "content-type": request.headers["content-type"]}
        request.headers.update(
            self._sign(request.method, str(request.url), request.content, signed)
        )
        yield request


class FunctionUrlRefused(CloudError):  # noqa: N818 - as above, for every frame
    """The Function URL answers every frame with `status`."""

    def __init__(self, message: str, *, status: int, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class _TransientError(FrameUndelivered):
    """A failed attempt that can be retried, after at least `retry_after` seconds.

    `busy`: the function refused the frame for now, so retrying will help.
    """

    def __init__(self, message: str, *, retry_after: float = 0.0, busy: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.busy = busy


class ConcurrencyLimiter:
    """Limits concurrent requests: one fewer after a 429, slowly more while requests succeed.

    Additive increase, multiplicative decrease would halve the rate at each 429.
    The limit of the function is a small number of concurrent executions, so the
    limiter only subtracts one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._inside = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """The number of concurrent requests allowed now, at least 1."""
        return int(self._limit)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a free slot and hold it while the block runs."""
        with self._changed:
            while self._inside >= self.limit:
                self._changed.wait(_TICK)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify()

    def succeeded(self) -> None:
        """Record that a request was accepted."""
        with self._changed:
            self._limit = min(self._most, self._limit + _GROWTH / self._limit)
            self._changed.notify()

    def throttled(self) -> None:
        """Record that a request that holds a slot was refused with 429."""
        with self._changed:
            self._limit = float(max(1, min(self.limit, self._inside) - 1))


class FunctionUrlClient:
    """A client of the Function URL with persistent connections.

    After a 429 it keeps fewer requests in flight, so that its own requests do
    not compete for the available executions. `bytes_sent`: the bodies of all answered attempts.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int,
        sign: Signer | None = None,
        attempts: int = _ATTEMPTS,
        busy_limit: float = _BUSY_LIMIT,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.url = url
        self.bytes_sent = 0
        self._counting = threading.Lock()
        self._attempts = attempts
        self._busy_limit = busy_limit
        self._chance = chance
        self._limiter = ConcurrencyLimiter(connections)
        self._http = httpx.Client(
            auth=Signed(sign) if sign is not None else None,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            timeout=_TIMEOUT,
            # The local cloud is on this machine, so no proxy is used.
            trust_env=not _is_loopback(url),
            headers={"content-type": "application/json", "user-agent": "facectl"},
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def post(
        self, request: FrameRequest, *, sleep: Callable[[float], object] = time.sleep
    ) -> AcceptedPost:
        """Send one frame; retry transient errors.

        A `sleep` that returns true ends the retries, as `threading.Event.wait` does
        when the event is set. Raises FrameRefused or FrameUndelivered for this frame,
        CloudError if every frame would fail.
        """
        body = request.serialise()
        if len(body) > MAX_BODY:
            raise FrameRefused(
                f"{len(body) / 1e6:.1f} MB as a request, a Function URL takes "
                f"{MAX_BODY / 1e6:.1f}: --max-side 1920 makes it smaller"
            )
        failing = Backoff(
            delay=jittered(_DELAY, self._chance),
            attempts=self._attempts,
            limit=math.inf,
            sleep=sleep,
        )
        busy = Backoff(
            delay=jittered(_BUSY_DELAY, self._chance),
            limit=self._busy_limit,
            sleep=sleep,
        )
        attempts = 0
        while True:
            attempts += 1
            try:
                return self._attempt(body, attempts, request.reply)
            except _TransientError as error:
                failure: FacectlError = error
                backoff = busy if error.busy else failing
                # Retry-After is a minimum; the jitter on top keeps clients out of step.
                stopped = backoff.wait_or_raise(error, at_least=error.retry_after)
            except NotRunningError as error:
                failure = error
                stopped = failing.wait_or_raise(error)
            if stopped:
                raise FrameUndelivered(f"stopped during a retry after: {failure}")

    def _attempt(self, body: bytes, attempts: int, reply: str) -> AcceptedPost:
        with self._limiter.slot():
            began = time.perf_counter()
            try:
                response = self._http.post(self.url, content=body)
            except httpx.TransportError as error:
                raise self._connection_error(error) from error
            seconds = time.perf_counter() - began
            with self._counting:
                self.bytes_sent += len(body)
            if response.status_code != 200:
                raise self._refusal(response)
            self._limiter.succeeded()
        return _accepted(response, attempts, seconds, reply)

    def _connection_error(self, error: httpx.TransportError) -> FacectlError:
        if isinstance(error, httpx.ConnectError):
            return NotRunningError(
                f"nothing answers at {self.url}",
                hint="facectl local up, then facectl deploy"
                if _is_loopback(self.url)
                else "facectl deploy",
            )
        return _TransientError(f"the connection broke: {type(error).__name__}: {error}")

    def _refusal(self, response: httpx.Response) -> FacectlError:
        """The error for a status other than 200."""
        status = response.status_code
        reason = f"{status}: {_message(response)}"
        if status == 429:
            self._limiter.throttled()
        if status == 429 or status >= 500:
            # face-detection answers 503 with Retry-After while a queue is unreachable.
            busy = status == 429 or (status == 503 and "retry-after" in response.headers)
            return _TransientError(reason, retry_after=_retry_after(response), busy=busy)
        if status in _NOT_THE_FRAME:
            return FunctionUrlRefused(
                f"{self.url} refuses all frames: {reason}",
                status=status,
                hint="facectl deploy   or   facectl context",
            )
        return FrameRefused(reason)


def _accepted(response: httpx.Response, attempts: int, seconds: float, reply: str) -> AcceptedPost:
    try:
        fields = response.json()
        faces = int(fields["faces"])
        answers_there = fields.get("reply", "") == reply
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CloudError(
            f"{response.url} is not face-detection: 200 with {_message(response)}",
            hint="facectl context   or   facectl deploy",
        ) from error
    if not answers_there:
        raise CloudError(
            "the deployed functions are of a version that has no reply queues",
            hint="facectl deploy   or   without --reply private",
        )
    return AcceptedPost(faces, attempts, seconds)


def _message(response: httpx.Response) -> str:
    """The function's error message if there is one, else the beginning of the body."""
    try:
        fields = json.loads(response.content)
        text = fields["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = response.text
    line = " ".join(str(text).split())[:200]
    return "".join(c if c.isprintable() else "?" for c in line) or "an empty answer"


def _retry_after(response: httpx.Response) -> float:
    """Seconds of the Retry-After header, 0 without one (RFC 9110, 10.2.3: seconds or a date)."""
    text = response.headers.get("retry-after", "")
    try:
        seconds = (
            float(text)
            if text.isdecimal()
            else (parsedate_to_datetime(text) - datetime.now(timezone.utc)).total_seconds()
        )
    except (ValueError, TypeError):
        return 0.0
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER)


def _is_loopback(url: str) -> bool:
    return httpx.URL(url).host in {"127.0.0.1", "localhost", "::1"}
