"""A proxy between the functions and the local cloud that fails requests on demand."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Proxy:
    """Forwards to `port`; `refuses` and `doubles` are fragments of queue names sent to."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.refuses: str | None = None
        self.doubles: str | None = None
        self.refused = 0
        self.doubled = 0
        self.passes = 0
        self._lock = threading.Lock()
        self._local = threading.local()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @contextlib.contextmanager
    def refusing(self, queue: str, *, after: int = 0) -> Iterator[None]:
        """Nothing can be sent to that queue: the connection is closed without an answer.

        The first `after` messages of the block still arrive.
        """
        self.passes, self.refuses = after, queue
        try:
            yield
        finally:
            self.refuses = None

    @contextlib.contextmanager
    def doubling(self, queue: str) -> Iterator[None]:
        """Everything that is sent to that queue arrives twice."""
        self.doubles = queue
        try:
            yield
        finally:
            self.doubles = None

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        target = handler.headers.get("x-amz-target", "")
        queue = ""
        if target.startswith("AmazonSQS.SendMessage"):
            queue = str(json.loads(body)["QueueUrl"])
        if self._refused(queue):
            handler.close_connection = True
            return
        status, headers, answer = self._forward(handler, body)
        if self.doubles is not None and self.doubles in queue:
            self.doubled += 1
            self._forward(handler, body)
        handler.send_response_only(status)
        for name, value in headers:
            if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                handler.send_header(name, value)
        handler.send_header("content-length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    def _refused(self, queue: str) -> bool:
        with self._lock:
            if self.refuses is None or self.refuses not in queue:
                return False
            if self.passes > 0:
                self.passes -= 1
                return False
            self.refused += 1
            return True

    def _forward(
        self, handler: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection: http.client.HTTPConnection = self._local.connection
        connection.request(handler.command, handler.path, body, dict(handler.headers.items()))
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _take(self) -> None:
            with contextlib.suppress(ConnectionError):
                proxy.take(self)

        do_POST = do_GET = do_PUT = do_HEAD = do_DELETE = _take  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
