"""A clock for tests of code that waits."""

from __future__ import annotations


class FakeClock:
    """A clock that only sleeping advances; `slept` has the seconds of each sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
