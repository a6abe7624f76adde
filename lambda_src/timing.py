"""How long the stages of one request took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Durations of named stages in milliseconds, in the order in which they ran."""

    def __init__(self, durations_ms: dict[str, float] | None = None) -> None:
        self.durations_ms: dict[str, float] = dict(durations_ms or {})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block; a stage that runs twice adds up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = (time.perf_counter() - start) * 1e3
            self.durations_ms[name] = self.durations_ms.get(name, 0.0) + elapsed
