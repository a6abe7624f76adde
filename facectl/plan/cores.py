"""Cores that any number of jobs share equally, for SimPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import simpy

if TYPE_CHECKING:
    from collections.abc import Callable

_DONE = 1e-9


class Cores:
    """Processor sharing: each of n jobs gets a core, or cores/n of one if there are fewer.

    A job uses one core at most. With `count` infinite no job waits for another. Source:
    L. Kleinrock, "Queueing Systems II", 1976, section 4.4.
    """

    def __init__(self, environment: simpy.Environment, count: float) -> None:
        self._environment = environment
        self._count = count
        self._left: dict[simpy.Event, float] = {}
        self._at = environment.now
        self._generation = 0

    def work(self, seconds: float) -> simpy.Event:
        """An event that occurs when a core has worked `seconds` for it."""
        done = self._environment.event()
        if seconds <= 0:
            return done.succeed()
        if math.isinf(self._count):
            return self._environment.timeout(seconds)
        self._advance()
        self._left[done] = seconds
        self._schedule()
        return done

    def _rate(self) -> float:
        return min(1.0, self._count / len(self._left))

    def _advance(self) -> None:
        """Subtract the work that was done since the last change."""
        if self._left:
            worked = (self._environment.now - self._at) * self._rate()
            for job in self._left:
                self._left[job] -= worked
        self._at = self._environment.now

    def _schedule(self) -> None:
        """Let the next job end when nothing changes until then."""
        self._generation += 1
        if self._left:
            seconds = max(0.0, min(self._left.values())) / self._rate()
            timer = self._environment.timeout(seconds, self._generation)
            timer.callbacks.append(self._finish)

    def _finish(self, timer: simpy.Event) -> None:
        if timer.value != self._generation:
            return
        self._advance()
        for job in [job for job, left in self._left.items() if left <= _DONE]:
            del self._left[job]
            job.succeed()
        self._schedule()


class Flag:
    """A flag that a process waits for, as `threading.Event`."""

    def __init__(self, environment: simpy.Environment) -> None:
        self._environment = environment
        self._event = environment.event()

    def set(self) -> None:
        """Set the flag and resume what waits for it."""
        if not self._event.triggered:
            self._event.succeed()

    def clear(self) -> None:
        """Clear the flag."""
        if self._event.triggered:
            self._event = self._environment.event()

    def wait(self) -> simpy.Event:
        """An event that occurs when the flag is set."""
        return self._event


class Gate:
    """Admits waiting processes while `free` returns true, the one that `choose` returns.

    `choose` gets the number of those that wait; the default is the first of them.
    """

    def __init__(
        self,
        environment: simpy.Environment,
        free: Callable[[], bool],
        choose: Callable[[int], int] = lambda _: 0,
    ) -> None:
        self._environment = environment
        self._free = free
        self._choose = choose
        self._waiting: list[simpy.Event] = []
        self.inside = 0

    def enter(self) -> simpy.Event:
        """An event that occurs on admission."""
        event = self._environment.event()
        self._waiting.append(event)
        self.admit()
        return event

    def leave(self) -> None:
        """End a stay."""
        self.inside -= 1
        self.admit()

    def admit(self) -> None:
        """Admit those that wait, after `free` may have changed."""
        while self._waiting and self._free():
            self.inside += 1
            self._waiting.pop(self._choose(len(self._waiting))).succeed()
