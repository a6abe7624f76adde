"""Who may open the page: the Host and Origin of requests, the token, and the headers of answers."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facectl.errors import InputError

# Letters and digits of a token that somebody chose: short ones can be guessed.
_SHORTEST_TOKEN = 16
# Nothing is loaded from elsewhere, no script or style is in the page itself, and no other page may
# show it in a frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
_LOOPBACK_NAMES = {"localhost"}


@dataclass(frozen=True, slots=True)
class Access:
    """At which address the page is served, and the token that opens it."""

    host: str
    port: int
    token: str

    @classmethod
    def choose(cls, host: str, port: int, token: str | None) -> Access:
        """The access for these options; raises InputError for another computer without a token."""
        if token is None:
            if not is_loopback(host):
                raise InputError(
                    f"--host {host} shows the page to other computers: it needs a token",
                    hint=f"--host {host} --token $(openssl rand -hex 16)",
                )
            token = secrets.token_urlsafe(24)
        elif len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
            raise InputError(
                f"--token needs at least {_SHORTEST_TOKEN} letters and digits",
                hint="--token $(openssl rand -hex 16)",
            )
        return cls(host, port, token)

    @property
    def url(self) -> str:
        """The address to open, with the token."""
        # A wildcard is no address that a browser can open.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.port}/?token={self.token}"

    @property
    def cookie(self) -> str:
        """The name of the cookie: cookies of one host are shared by all of its ports."""
        return f"facectl_watch_{self.port}"

    def allows_host(self, header: str) -> bool:
        """Whether a Host header names this server, and not a name that a stranger gave it."""
        try:
            parts = urlsplit(f"//{header}")
            host, port = (parts.hostname or "").lower(), parts.port or 80
        except ValueError:
            return False
        if port != self.port or parts.username is not None:
            return False
        if is_loopback(self.host):
            return is_loopback(host)
        # A name can be made to point here, an address can't.
        return host == self.host.lower() or host in _LOOPBACK_NAMES or _is_address(host)

    def allows_origin(self, request: Request) -> bool:
        """Whether a page of this server, or the address bar, sent the request."""
        origin = request.headers.get("origin")
        if origin is not None:
            return origin == f"http://{request.headers['host']}"
        if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            return False
        return request.method in {"GET", "HEAD"}

    def knows(self, token: str | None) -> bool:
        """Whether this is the token."""
        return token is not None and secrets.compare_digest(token.encode(), self.token.encode())


class Guard:
    """ASGI middleware: only requests to this host, of this page, with the token get through.

    `/?token=TOKEN` sets the cookie that the others have.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
            await send(message)

        answer = self._answer(Request(scope))
        await (self._app if answer is None else answer)(scope, receive, with_headers)

    def _answer(self, request: Request) -> Response | None:
        """The answer to a request that does not get through; None for one that does."""
        access = self._access
        if not access.allows_host(request.headers.get("host", "")):
            return PlainTextResponse("This host is not served here.", 403)
        if not access.allows_origin(request):
            return PlainTextResponse("Requests of other pages are refused.", 403)
        given = request.query_params.get("token")
        if request.url.path == "/" and request.method == "GET" and access.knows(given):
            # The address without the token stays in the history.
            moved = RedirectResponse("/", 303)
            moved.set_cookie(access.cookie, access.token, httponly=True, samesite="strict")
            return moved
        if not access.knows(request.cookies.get(access.cookie)):
            return PlainTextResponse(
                "Open the address that facectl watch printed: it has the token.", 401
            )
        return None


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches the host."""
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
