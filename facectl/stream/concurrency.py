"""How many requests are on their way at once, learned from what the other side can take.

Additive increase, multiplicative decrease would halve the rate at each 429;
here the other side's limit is a small whole number of functions that run at
once, so one less is enough.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_TICK = 0.1
# One more is tried after about three requests went well for each that is allowed. Slower
# growth was measured to cost throughput: a 429 also comes while the other side is still
# putting an ended request away, and says less then than it seems to.
_GROWTH = 0.3


class ConcurrencyLimiter:
    """Lets so many requests pass at once: one fewer after a 429, slowly more while all is well."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._inside = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """How many may pass at once now, at least 1."""
        return int(self._limit)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a place and keep it while the block runs."""
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
        """A request was taken."""
        with self._changed:
            self._limit = min(self._most, self._limit + _GROWTH / self._limit)
            self._changed.notify()

    def throttled(self) -> None:
        """A request was refused with 429 while it was one of those inside."""
        with self._changed:
            self._limit = float(max(1, min(self.limit, self._inside) - 1))
