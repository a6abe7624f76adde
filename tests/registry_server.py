"""Debian's docker-registry on a free port, a registry that keeps parts of what is cut off, as the
specification allows, and a proxy in front of either that cuts connections.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from driver import eventually, free_port

from facectl.container_images.blobs import sha256

_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
{more}
"""


@contextlib.contextmanager
def running_registry(folder: Path, more: str = "") -> Iterator[str]:
    """The address of a registry that keeps its data in the folder; skips where there is none."""
    command = shutil.which("docker-registry")
    if command is None:
        pytest.skip("there is no docker-registry: apt-get install docker-registry")
    port = free_port()
    config = folder / "registry.yml"
    config.write_text(_CONFIG.format(folder=folder / "data", port=port, more=more))
    process = subprocess.Popen(
        [command, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def answers() -> bool:
        assert process.poll() is None, "the registry ended"
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/v2/").status_code in (200, 401)
        return False

    try:
        eventually(answers, bool, hung=60)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


class KeepingRegistry:
    """Keeps every byte of an upload that arrived, and tells how many there are.

    docker-registry refuses an upload whose last part was cut off, so it starts again there.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _keeping(self))
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str]]:
        url = urlsplit(handler.path)
        name = url.path.rpartition("/")[2]
        if handler.command == "HEAD":
            return (200 if name in self.blobs else 404), {}
        if handler.command == "POST":
            name = str(len(self.uploads))
            self.uploads[name] = bytearray()
            return 202, {"Location": f"/v2/keeps/blobs/uploads/{name}"}
        held = self.uploads.get(name)
        if held is None:
            return 404, {}
        if handler.command == "PUT":
            digest = parse_qs(url.query)["digest"][0]
            if sha256(bytes(held)) != digest:
                return 400, {}
            self.blobs[digest] = bytes(held)
            return 201, {}
        return self._take_part(handler, held) if handler.command == "PATCH" else (204, _range(held))

    def _take_part(
        self, handler: BaseHTTPRequestHandler, held: bytearray
    ) -> tuple[int, dict[str, str]]:
        if int(handler.headers["content-range"].partition("-")[0]) != len(held):
            return 416, {}
        rest = int(handler.headers["content-length"])
        while rest and (data := handler.rfile.read1(rest)):  # type: ignore[attr-defined]
            held += data
            rest -= len(data)
        return 202, _range(held)


def _range(held: bytearray) -> dict[str, str]:
    return {"Range": f"0-{max(0, len(held) - 1)}"}


def _keeping(registry: KeepingRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _take(self) -> None:
            with contextlib.suppress(ConnectionError):
                code, headers = registry.answer(self)
                self.send_response_only(code)
                for name, value in {**headers, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

        do_POST = do_GET = do_PUT = do_HEAD = do_PATCH = _take  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


class CuttingProxy:
    """Passes bytes to a registry; `cuts` are the bytes after which a connection is cut, in order.

    `answer_cuts`: the same for the bytes of the registry's answers. Each new connection takes the
    next of both; without one, or with None, it is not cut. `always` cuts every answer. `received`
    counts the bytes of all clients, `connections` their connections.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.partition(":")
        self._target = (host, int(port))
        self.cuts: list[int | None] = []
        self.answer_cuts: list[int | None] = []
        self.always: int | None = None
        self.connections = 0
        self.made = 0
        self.received = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            cut = self.cuts.pop(0) if self.cuts else None
            answer = self.answer_cuts.pop(0) if self.answer_cuts else self.always
            threading.Thread(target=self._serve, args=(client, cut, answer), daemon=True).start()

    def _serve(self, client: socket.socket, cut: int | None, answer: int | None) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._target) as server:
            back = threading.Thread(target=self._answer, args=(server, client, answer), daemon=True)
            back.start()
            while data := client.recv(65536):
                self.received += len(data)
                cut = self._pass(data, server, client, cut)

    def _answer(self, server: socket.socket, client: socket.socket, cut: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                cut = self._pass(data, client, server, cut)

    def _pass(
        self, data: bytes, target: socket.socket, source: socket.socket, cut: int | None
    ) -> int | None:
        """Send bytes on; returns what is left until the cut, which is an OSError."""
        if cut is None or len(data) < cut:
            target.sendall(data)
            return None if cut is None else cut - len(data)
        target.sendall(data[:cut])
        self.made += 1
        # Both sides see the end at once, in the middle of a request or an answer.
        for each in (source, target):
            each.shutdown(socket.SHUT_RDWR)
        raise OSError("cut")
