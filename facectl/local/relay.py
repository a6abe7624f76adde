"""Forwards connections of containers to the local cloud, which listens on loopback only.

The relay listens on Docker's bridge, which only this computer and its containers can
reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from facectl.errors import CloudError
from facectl.local.settings import LOOPBACK, LocalSettings, environment, log_file

_START_SECONDS = 10.0
_POLL_SECONDS = 0.05
_BLOCK = 1 << 16


def ensure(
    address: str,
    port: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Start the relay from `address` to loopback unless something answers there; raises CloudError.

    `facectl local down` stops it too.
    """
    if _answers(address, port):
        return
    with log_file().open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, without a shell
            [sys.executable, "-m", "facectl.local.relay", address, str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(LocalSettings(port=port)),
            start_new_session=True,
        )
    deadline = clock() + _START_SECONDS
    while not _answers(address, port):
        if process.poll() is not None or clock() > deadline:
            raise CloudError(
                f"Containers can't reach the local cloud: nothing can listen at {address}:{port}",
                hint=f"less {log_file()}",
            )
        sleep(_POLL_SECONDS)


async def relay(address: str, port: int) -> None:
    """Forward connections until the process is stopped."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, port)
            await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        writer.close()

    server = await asyncio.start_server(serve, address, port)
    async with server:
        await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(relay(sys.argv[1], int(sys.argv[2])))
