"""Which frames are sent when.

Open loop: frames are due by a schedule that knows nothing of the answers, as a
camera's are, and latency counts from then; a client that stalls delays its
frames but hides nothing ("coordinated omission", Gil Tene, wrk2). Closed loop:
so many frames are on their way at once, and the next one waits for an answer.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from facectl.errors import InputError
from facectl.stream.frames import Frame
from facectl.stream.session import FrameSource

Arrivals = Literal["uniform", "poisson"]
DEFAULT_FRAMES = 100
# Requests that an open loop may have open at once. More would wait here, and be seen waiting.
_OPEN_THREADS = 64


@dataclass(frozen=True, slots=True)
class Workload:
    """How frames are sent.

    Open loop: `rate` frames a second, or `realtime`, as the source's camera took
    them. Closed loop: `concurrency` frames on their way at once. It ends after
    `frames`, or with the last frame that is due within `duration` seconds;
    `warmup` frames before it are not counted.
    """

    frames: int | None = None
    rate: float | None = None
    realtime: bool = False
    concurrency: int | None = None
    arrivals: Arrivals = "uniform"
    seed: int = 0
    warmup: int = 0
    duration: float | None = None

    def __post_init__(self) -> None:
        if self.concurrency is not None and (self.rate is not None or self.realtime):
            raise InputError(
                "--concurrency sends when an answer comes, --rate and --realtime by the clock",
                hint="give one of them",
            )
        if self.rate is not None and self.realtime:
            raise InputError("--rate and --realtime both say when frames are due")
        if self.arrivals == "poisson" and (self.concurrency is not None or self.realtime):
            raise InputError("--arrivals poisson needs a --rate")

    @property
    def limit(self) -> int | None:
        """How many frames at most; None where only time ends the run."""
        if self.frames is None and self.duration is None:
            return DEFAULT_FRAMES
        return self.frames

    @property
    def asked_rate(self) -> float | None:
        """Frames a second that are asked for; None where nothing but the other side limits them."""
        if self.concurrency is not None or self.realtime:
            return None
        return 1.0 if self.rate is None else self.rate

    @property
    def threads(self) -> int:
        """Requests that may be open at once."""
        return _OPEN_THREADS if self.concurrency is None else self.concurrency

    def schedule(self) -> Callable[[Frame], float] | None:
        """Seconds after the first frame at which each is due; None in a closed loop.

        To be asked in the order of the frames.
        """
        if self.concurrency is not None:
            return None
        if self.realtime:
            return lambda frame: frame.timestamp
        rate = self.asked_rate or 1.0
        if self.arrivals == "uniform":
            return lambda frame: frame.index / rate
        return _Poisson(rate, self.seed)

    def warming(self) -> Workload:
        """The frames before the counted ones, sent as those are."""
        return replace(self, frames=self.warmup, duration=None, warmup=0)

    def __str__(self) -> str:
        if self.concurrency is not None:
            how = f"closed loop, {self.concurrency} on the way at once"
        elif self.realtime:
            how = "open loop, as the camera took them"
        else:
            random_ = f", Poisson arrivals, seed {self.seed}" if self.arrivals == "poisson" else ""
            how = f"open loop, {self.asked_rate:g} a second{random_}"
        return how + (f", after {self.warmup} to warm up" if self.warmup else "")


class _Poisson:
    """Arrivals of a Poisson process, the first at 0: exponential times between them."""

    def __init__(self, rate: float, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - to be the same again, not to be secret
        self._times = itertools.accumulate(
            (chance.expovariate(rate) for _ in itertools.count()), initial=0.0
        )
        self._known: list[float] = []

    def __call__(self, frame: Frame) -> float:
        while len(self._known) <= frame.index:
            self._known.append(next(self._times))
        return self._known[frame.index]


class Repeated:
    """The frames of a source, from the beginning again until there are enough.

    They are numbered on, and their timestamps run on. A camera's frames come
    once. After `duration` seconds, by the schedule or by the clock where there
    is none, no more are given out.
    """

    def __init__(
        self,
        source: FrameSource,
        workload: Workload,
        *,
        rate: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.live = source.live
        self.problems: list[str] = []
        self._source = source
        self._limit = workload.limit
        self._duration = workload.duration
        self._schedule = workload.schedule()
        self._interval = 1 / rate
        self._clock = clock

    def __iter__(self) -> Iterator[Frame]:
        began: float | None = None
        start = 0.0
        index = 0
        while True:
            end = start
            for frame in self._source:
                numbered = replace(frame, index=index, timestamp=start + frame.timestamp)
                end = numbered.timestamp + self._interval
                began = self._clock() if began is None else began
                if self._over(numbered, began):
                    return
                yield numbered
                index += 1
            self.problems = list(self._source.problems)
            if self.live or end == start:
                return
            start = end

    def _over(self, frame: Frame, began: float) -> bool:
        if self._limit is not None and frame.index >= self._limit:
            return True
        if self._duration is None:
            return False
        at = self._clock() - began if self._schedule is None else self._schedule(frame)
        return at >= self._duration
