"""The addresses of the page: the files of the page, events, pictures and crops."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from types import TracebackType

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from facectl.errors import InputError
from facectl.watch.security import Access, Guard
from facectl.watch.state import WatchState

# Seconds after which a browser without news is sent a comment, so that a broken connection is
# noticed.
_HEARTBEAT = 10.0
_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
# Seconds until open connections are closed at the end.
_LAST_WAIT = 2


def make_app(state: WatchState, access: Access, routes: list[BaseRoute] | None = None) -> Starlette:
    """The ASGI application of the page; `routes` are those that change something."""
    pages = _Pages(state)
    files = [
        Route("/" if name == "index.html" else f"/{name}", _file(name, kind), methods=["GET"])
        for name, kind in _TYPES.items()
    ]
    scripts = sorted(
        each.name
        for each in resources.files("facectl.watch").joinpath("static").iterdir()
        if each.name.endswith(".js") and each.name not in _TYPES
    )
    files += [Route(f"/{name}", _file(name, _TYPES["app.js"]), methods=["GET"]) for name in scripts]
    return Starlette(
        routes=[
            *files,
            Route("/events", pages.events, methods=["GET"]),
            Route("/frame/{source:int}", pages.frame, methods=["GET"]),
            Route("/picture/{source:int}/{index:int}", pages.picture, methods=["GET"]),
            Route("/crop/{visit}", pages.crop, methods=["GET"]),
            *(routes or []),
        ],
        middleware=[Middleware(Guard, access=access)],
    )


class _Pages:
    """The answers that depend on the state."""

    def __init__(self, state: WatchState) -> None:
        self._state = state

    async def events(self, _: Request) -> Response:
        """Server-sent events: each is an object of keys and values, null for one that is gone."""
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        with self._state.hub.subscribed() as subscriber:
            yield "retry: 1000\n\n"
            while (values := await subscriber.take(_HEARTBEAT)) is not None:
                yield f"data: {json.dumps(values)}\n\n" if values else ": nothing new\n\n"

    async def frame(self, request: Request) -> Response:
        """The answered frame of a source at `?at=SECONDS`."""
        number = request.path_params["source"]
        try:
            seconds = float(request.query_params["at"])
        except (KeyError, ValueError):
            return JSONResponse({"error": "at must be a number of seconds"}, 400)
        found = self._state.frame_at(number, seconds) if number < len(self._state.sources) else None
        return _missing() if found is None else JSONResponse(found)

    async def picture(self, request: Request) -> Response:
        """The image of a frame."""
        number, index = request.path_params["source"], request.path_params["index"]
        if number >= len(self._state.sources):
            return _missing()
        return image(await run_in_threadpool(self._state.picture, number, index))

    async def crop(self, request: Request) -> Response:
        """The best crop of a visit."""
        return image(self._state.crop(request.path_params["visit"]))


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = resources.files("facectl.watch").joinpath("static").joinpath(name).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def image(file: bytes | None) -> Response:
    if file is None:
        # No longer kept, which a slow browser meets often: no error.
        return Response(status_code=204)
    kind = "image/jpeg"
    if file.startswith(b"\x89PNG"):
        kind = "image/png"
    elif file.startswith(b"RIFF"):
        kind = "image/webp"
    return Response(file, media_type=kind)


def _missing() -> Response:
    return JSONResponse({"error": "it is no longer kept"}, 404)


class PageServer:
    """Serves the page from a thread of its own while the block runs.

    Raises InputError for an address that can't be used; `port` is the one that was chosen.
    """

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
            # A browser that comes before the server has started waits.
            self._socket.listen(128)
        except OSError as error:
            self._socket.close()
            raise InputError(
                f"the page can't be served at {host}:{port}: {error.strerror or error}",
                hint="facectl watch SOURCE --port 0 takes a free port",
            ) from error
        self.port: int = self._socket.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, app: Starlette, state: WatchState) -> PageServer:
        """Serve this application; a context manager that ends it."""
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_LAST_WAIT,
        )
        self._state = state
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="facectl-page", daemon=True
        )
        self._thread.start()
        return self

    def __enter__(self) -> PageServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._state.hub.close()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(2 * _LAST_WAIT)
        self._socket.close()
