"""A TCP proxy whose network can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class Proxy:
    """Forwards TCP connections to a port; `mode` is "up", "refused" or "hanging"."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.mode = "up"
        self.accepted = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = self._listening(0)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode: str) -> None:
        """Change the mode; connections that are open are cut, as of an unplugged router."""
        self.mode = mode
        if mode == "refused":
            self._listener.close()
        elif self._listener.fileno() < 0:
            self._listener = self._listening(self.port)
        with self._lock:
            cut, self._open = self._open, set()
        for each in cut:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _listening(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=64)
        listener.settimeout(0.2)
        return listener

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                time.sleep(0.1)
                continue
            self.accepted += 1
            client.settimeout(None)
            with self._lock:
                self._open.add(client)
            if self.mode == "up":
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        with self._lock:
            self._open.add(server)
        pumps = [
            threading.Thread(target=_pump, args=pair, daemon=True)
            for pair in ((client, server), (server, client))
        ]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
