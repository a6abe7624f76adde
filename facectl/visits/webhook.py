"""Sends events to a URL: POST of JSON, signed with a shared secret."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable

import httpx

from facectl.visits.delivery import RefusedError, UndeliveredError
from facectl.visits.event_queue import QueuedEvent

_TIMEOUT = httpx.Timeout(10.0)
# The event itself is wrong, whoever sends it and whenever.
_REFUSED = frozenset({400, 413, 415, 422})


class Webhook:
    """A URL that takes each event by POST; anything but 2xx is a failure.

    `Idempotency-Key` is the event's id. With a secret, `X-Facectl-Signature` is
    `t=SECONDS,v1=HEX`, the HMAC-SHA256 of `SECONDS.BODY`: the receiver can refuse what is
    old. Redirects are not followed.
    """

    def __init__(
        self,
        url: str,
        secret: bytes | None,
        *,
        transport: httpx.BaseTransport | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        address = httpx.URL(url)
        self.name = str(address.copy_with(userinfo=b"", query=None))
        self.key = str(address.copy_with(userinfo=b""))
        self._url = url
        self._secret = secret
        self._now = now
        self._client = httpx.Client(timeout=_TIMEOUT, transport=transport)

    def deliver(self, event: QueuedEvent) -> None:
        """POST an event; raises UndeliveredError or RefusedError."""
        body = event.body.encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": event.key}
        if self._secret is not None:
            seconds = int(self._now())
            headers["X-Facectl-Signature"] = (
                f"t={seconds},v1={signature(self._secret, seconds, body)}"
            )
        try:
            answer = self._client.post(self._url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise UndeliveredError(str(error) or type(error).__name__) from error
        status = f"{answer.status_code} {answer.reason_phrase}".strip()
        if answer.status_code in _REFUSED:
            raise RefusedError(status)
        if not answer.is_success:
            raise UndeliveredError(f"it answers {status}")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def signature(secret: bytes, seconds: int, body: bytes) -> str:
    """The signature of a body sent at this time, in hexadecimal."""
    return hmac.new(secret, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
