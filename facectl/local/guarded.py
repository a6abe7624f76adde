"""Runs MiniStack behind a guard: `python -m facectl.local.guarded`.

MiniStack answers every request to its port, under any host name, and every web page
may read the answer (`Access-Control-Allow-Origin: *`). A page in this computer's
browser could thus create a function, and so run any code. The guard rejects
requests that only a browser sends: with the host name of another computer (DNS
rebinding), or with the `Origin` of a web page.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# The second is the host's name in containers.
_NAMES = frozenset({"localhost", "host.docker.internal"})


def is_ours(authority: str) -> bool:
    """Whether `host[:port]` is an IP address or a name of this computer.

    All addresses are accepted: DNS can't rebind them, and containers use their bridge's.
    """
    if authority.startswith("["):
        host = authority[1:].partition("]")[0]
    else:
        host = authority.partition(":")[0]
    if host in _NAMES or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def refusal(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The reason to reject a request with these headers; None to accept it."""
    for name, value in headers:
        text = value.decode("latin-1").strip().lower()
        if name.lower() == b"host" and not is_ours(text):
            return "the local cloud has no such host name"
        if name.lower() == b"origin" and not is_ours(text.partition("://")[2]):
            return "the local cloud is not for web pages"
    return None


def guarded(app: App) -> App:
    """The ASGI application behind the guard, which rejects requests of web pages."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        reason = refusal(scope["headers"]) if scope["type"] in {"http", "websocket"} else None
        if reason is None:
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await respond(send, 403, b"text/plain", reason.encode())

    return guard


async def respond(send: Send, status: int, content_type: bytes, body: bytes) -> None:
    """Send a whole HTTP response."""
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Run MiniStack behind the guard, and save its state."""
    from ministack import app as ministack

    from facectl.local.saving import install

    saver = install(ministack)
    ministack.app = guarded(saver.watching(ministack.app))
    ministack.main()


if __name__ == "__main__":
    main()
