"""Limits the requests in flight to what the function accepts.

Additive increase, multiplicative decrease would halve the rate at each 429.
The limit of the function is a small number of concurrent executions, so the
limiter only subtracts one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TICK = 0.1
# The limit grows by one after about three successful requests for each one allowed. Slower
# growth was measured to cost throughput: Lambda also answers 429 while it is still cleaning
# up after a request that has ended.
_GROWTH = 0.3


class ConcurrencyLimiter:
    """Limits concurrent requests: one fewer after a 429, slowly more while requests succeed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._inside = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """The number of concurrent requests allowed now, at least 1."""
        return int(self._limit)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a free slot and hold it while the block runs."""
        with self._changed:
            while self._inside >= self.limit:
                self._changed.wait(_TICK)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify()

    def succeeded(self) -> None:
        """Record that a request was accepted."""
        with self._changed:
            self._limit = min(self._most, self._limit + _GROWTH / self._limit)
            self._changed.notify()

    def throttled(self) -> None:
        """Record that a request that holds a slot was refused with 429."""
        with self._changed:
            self._limit = float(max(1, min(self.limit, self._inside) - 1))
