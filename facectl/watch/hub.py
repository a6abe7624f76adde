"""Passes the newest value of each part of the page to every browser that is connected.

A value has a key, and a browser gets only the newest value of each: one that reads slowly
misses frames in between, and needs no more memory than a fast one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

# None removes what the key stood for.
Value = Mapping[str, Any] | None


class Subscriber:
    """The values that one browser has not been sent yet, at most one for each key."""

    def __init__(self, loop: asyncio.AbstractEventLoop, values: Mapping[str, Value]) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: dict[str, Value] = dict(values)
        self._closed = False
        self._ready = asyncio.Event()
        self._ready.set()

    def put(self, key: str, value: Value) -> None:
        """Replace the value of a key; called in any thread, returns at once."""
        with self._lock:
            self._waiting.pop(key, None)
            self._waiting[key] = value
        self._wake()

    def close(self) -> None:
        """End `take` once everything was taken."""
        self._closed = True
        self._wake()

    async def take(self, timeout: float) -> dict[str, Value] | None:
        """The values since the last call, oldest first; empty after `timeout` seconds.

        Returns None after the end.
        """
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._ready.wait(), timeout)
        self._ready.clear()
        with self._lock:
            taken, self._waiting = self._waiting, {}
        return None if self._closed and not taken else taken

    def _wake(self) -> None:
        # The loop is closed when the server has stopped.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ready.set)


class Hub:
    """The values of the page; `put` is called by any thread and never waits for a browser."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, Value] = {}
        self._subscribers: set[Subscriber] = set()
        self._closed = False

    def put(self, key: str, value: Value) -> None:
        """Set the value of a key, None to remove it, and pass it to every browser."""
        with self._lock:
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
            for each in self._subscribers:
                each.put(key, value)

    def value(self, key: str) -> Value:
        """The newest value of a key; None without one."""
        with self._lock:
            return self._values.get(key)

    def close(self) -> None:
        """End the connections of all browsers."""
        with self._lock:
            self._closed = True
            for each in self._subscribers:
                each.close()

    @contextmanager
    def subscribed(self) -> Iterator[Subscriber]:
        """A subscriber that begins with every value; called in the server's event loop."""
        with self._lock:
            subscriber = Subscriber(asyncio.get_running_loop(), self._values)
            self._subscribers.add(subscriber)
            if self._closed:
                subscriber.close()
        try:
            yield subscriber
        finally:
            with self._lock:
                self._subscribers.discard(subscriber)
