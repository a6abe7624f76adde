"""The relay for containers: forwards in both directions, and `local down` stops it."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from facectl.errors import CloudError
from facectl.local import process, relay
from facectl.local.settings import folder

# A second loopback address replaces Docker's bridge.
BRIDGE = "127.0.0.2"


class Shout(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data.upper())


@pytest.fixture
def port() -> Iterator[int]:
    """A server on loopback that returns what it receives, in capitals."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Shout) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def ended(isolated: Path) -> Iterator[None]:
    folder().mkdir(parents=True)
    yield
    process.stop()


def bridge_is_usable() -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((BRIDGE, 0))
        except OSError:
            return False
    return True


pytestmark = pytest.mark.skipif(
    not bridge_is_usable(), reason=f"this computer has no second loopback address {BRIDGE}"
)


@pytest.mark.usefixtures("ended")
def test_bytes_go_both_ways_until_down(port: int) -> None:
    relay.ensure(BRIDGE, port)
    with socket.create_connection((BRIDGE, port), timeout=600) as client:
        sent = b"a" * 1_000_000
        threading.Thread(target=client.sendall, args=(sent,), daemon=True).start()
        received = b""
        while len(received) < len(sent):
            received += client.recv(65536)
    assert received == sent.upper()

    relay.ensure(BRIDGE, port)
    assert process.stop() == 1
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((BRIDGE, port), timeout=600)


@pytest.mark.usefixtures("ended")
def test_an_address_of_another_computer_is_an_error(port: int) -> None:
    with pytest.raises(CloudError, match=f"nothing can listen at 192.0.2.1:{port}") as caught:
        relay.ensure("192.0.2.1", port)
    assert "ministack.log" in str(caught.value.hint)
