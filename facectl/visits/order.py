"""Puts the outcomes of frames into the order of the frames: answers arrive in any order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from facectl.stream.outcomes import FrameOutcome

# Outcomes that wait for an earlier frame, at most: as many as frames can be in flight.
_MOST = 1000


class FrameOrder:
    """Holds outcomes back until those of all earlier frames have arrived.

    A missing frame is passed over when `most` outcomes wait for it, or the first of
    them has waited for `hold` seconds (None: any time). An outcome whose place was
    passed over is dropped and counted in `dropped`.
    """

    def __init__(
        self,
        *,
        hold: float | None,
        most: int = _MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self._hold = hold
        self._most = most
        self._clock = clock
        self._next = 0
        # By frame, in the order of arrival, with the time of arrival.
        self._waiting: dict[int, tuple[float, FrameOutcome]] = {}

    def add(self, outcome: FrameOutcome) -> bool:
        """Add an outcome; returns whether its place is still ahead."""
        if outcome.index < self._next:
            self.dropped += outcome.answer is not None
            return False
        self._waiting[outcome.index] = (self._clock(), outcome)
        return True

    def ready(self) -> Iterator[FrameOutcome]:
        """Yield the outcomes whose turn it is, in the order of their frames."""
        while self._waiting:
            if self._next not in self._waiting:
                if not self._is_overdue():
                    return
                self._next = min(self._waiting)
            yield self._waiting.pop(self._next)[1]
            self._next += 1

    def rest(self) -> Iterator[FrameOutcome]:
        """Yield all outcomes that still wait, in the order of their frames."""
        for index in sorted(self._waiting):
            yield self._waiting.pop(index)[1]

    def _is_overdue(self) -> bool:
        if len(self._waiting) > self._most:
            return True
        arrived = next(iter(self._waiting.values()))[0]
        return self._hold is not None and self._clock() - arrived > self._hold
