"""Retries calls after transient errors: how long to wait, and when to give up."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from facectl.aws_errors import is_transient

T = TypeVar("T")

# The seconds to wait after a number of consecutive failures.
Delay = Callable[[int], float]


def exponential(first: float, longest: float, *, steady: int = 1) -> Delay:
    """Delays of `first` seconds for `steady` failures, then doubled up to `longest`."""
    return lambda failures: min(longest, first * 2 ** max(0, failures - steady))


def jittered(delay: Delay, chance: Callable[[], float] = random.random) -> Delay:
    """Delays of random length between 0 and those of `delay`; `chance` is uniform in 0 to 1.

    Source: Marc Brooker, "Exponential Backoff And Jitter" (full jitter), AWS
    Architecture Blog, 2015.
    """
    return lambda failures: chance() * delay(failures)


_DELAY = exponential(0.2, 2.0)


class Backoff:
    """Waits after each failure, and raises its error after `limit` seconds or `attempts` failures.

    A success resets both. `is_transient` tells which errors `attempt` and `call` retry.
    """

    def __init__(
        self,
        *,
        delay: Delay = _DELAY,
        limit: float = 15.0,
        attempts: float = math.inf,
        is_transient: Callable[[Exception], bool] = is_transient,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._delay = delay
        self._limit = limit
        self._attempts = attempts
        self._is_transient = is_transient
        self._clock = clock
        self._sleep = sleep
        self.reset()

    def reset(self) -> None:
        """Forget the failures, after a success."""
        self._failing_since: float | None = None
        self._failures = 0

    def wait_or_raise(self, error: Exception, *, at_least: float = 0.0) -> bool:
        """Wait the next delay on top of `at_least` seconds; raise the error at a limit.

        Returns whether `sleep` returned true, as `threading.Event.wait` does when
        the event is set.
        """
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        self._failures += 1
        if self._failures >= self._attempts or now - self._failing_since > self._limit:
            raise error
        return bool(self._sleep(at_least + self._delay(self._failures)))

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Run a block once; a transient error in it is suppressed after the delay."""
        try:
            yield
        except Exception as error:
            if not self._is_transient(error):
                raise
            self.wait_or_raise(error)
        else:
            self.reset()

    def call(self, function: Callable[[], T]) -> T:
        """Return `function()`, called again after each transient error."""
        while True:
            with self.attempt():
                return function()
