"""MiniStack behind a guard: `python -m facectl.local.guarded` in place of `python -m ministack`.

MiniStack answers whoever reaches its port, under any host name, and lets every
web page read the answer (`Access-Control-Allow-Origin: *`). A page in this
computer's browser could so create a function, which is to run any code. The
guard refuses what only a browser sends: a host name that is not this
computer's (a rebound DNS name), and a foreign `Origin`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# How containers call the computer that they run on.
_NAMES = frozenset({"localhost", "host.docker.internal"})


def is_ours(authority: str) -> bool:
    """Whether the `host[:port]` is an address, which nobody can rebind, or a name of this computer.

    Of addresses all are: beside loopback, containers come by their bridge's.
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
    """Why a request with these headers is not let in, None where it is."""
    for name, value in headers:
        text = value.decode("latin-1").strip().lower()
        if name.lower() == b"host" and not is_ours(text):
            return "the local cloud has no such host name"
        if name.lower() == b"origin" and not is_ours(text.partition("://")[2]):
            return "the local cloud is not for web pages"
    return None


def guarded(app: App) -> App:
    """The ASGI application, for those alone who may come in."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        reason = refusal(scope["headers"]) if scope["type"] in {"http", "websocket"} else None
        if reason is None:
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            body = reason.encode()
            headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return guard


def main() -> None:
    """Run MiniStack behind the guard, with its state saved."""
    from ministack import app as ministack

    from facectl.local.saving import of_ministack

    saver = of_ministack(ministack)
    ministack.app = guarded(saver.watching(ministack.app))
    ministack.main()


if __name__ == "__main__":
    main()
