"""The schedule of the frames.

Open loop: frames are due by a schedule independent of the answers, like a
camera's, and latency counts from then. A stalled client delays frames, and their
latency shows it ("coordinated omission", Gil Tene, wrk2). Closed loop: a fixed
number of frames is in flight, and an answer releases the next.
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
# Concurrent requests of an open loop. Further frames wait, which counts in their latency.
_OPEN_THREADS = 64


@dataclass(frozen=True, slots=True)
class Workload:
    """How frames are sent.

    Open loop: `rate` frames per second, or `realtime`, by the source's
    timestamps. Closed loop: `concurrency` frames in flight. It ends after `frames`,
    or with the last frame that is due within `duration` seconds; `warmup` frames
    before it are not counted.
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
                "--concurrency is a closed loop, --rate and --realtime are open loops",
                hint="give one of them",
            )
        if self.rate is not None and self.realtime:
            raise InputError("--rate and --realtime both say when frames are due")
        if self.arrivals == "poisson" and (self.concurrency is not None or self.realtime):
            raise InputError("--arrivals poisson needs a --rate")

    @property
    def limit(self) -> int | None:
        """Maximum number of frames; None if only the duration ends the run."""
        if self.frames is None and self.duration is None:
            return DEFAULT_FRAMES
        return self.frames

    @property
    def target_rate(self) -> float | None:
        """Requested frames per second; None for a closed loop and for `realtime`."""
        if self.concurrency is not None or self.realtime:
            return None
        return 1.0 if self.rate is None else self.rate

    @property
    def threads(self) -> int:
        """Maximum number of concurrent requests."""
        return _OPEN_THREADS if self.concurrency is None else self.concurrency

    def schedule(self) -> Callable[[Frame], float] | None:
        """Seconds after the first frame at which each is due; None in a closed loop.

        The frames must be passed in order.
        """
        if self.concurrency is not None:
            return None
        if self.realtime:
            return lambda frame: frame.timestamp
        rate = self.target_rate or 1.0
        if self.arrivals == "uniform":
            return lambda frame: frame.index / rate
        return _Poisson(rate, self.seed)

    def warming(self) -> Workload:
        """The workload of the warm-up frames."""
        return replace(self, frames=self.warmup, duration=None, warmup=0)

    def __str__(self) -> str:
        if self.concurrency is not None:
            how = f"closed loop, {self.concurrency} in flight"
        elif self.realtime:
            how = "open loop, real time"
        else:
            random_ = f", Poisson arrivals, seed {self.seed}" if self.arrivals == "poisson" else ""
            how = f"open loop, {self.target_rate:g} per second{random_}"
        return how + (f", {self.warmup} warm-up frames" if self.warmup else "")


class _Poisson:
    """Arrivals of a Poisson process, the first at 0: exponential intervals."""

    def __init__(self, rate: float, seed: int) -> None:
        generator = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._times = itertools.accumulate(
            (generator.expovariate(rate) for _ in itertools.count()), initial=0.0
        )
        self._arrivals: list[float] = []

    def __call__(self, frame: Frame) -> float:
        while len(self._arrivals) <= frame.index:
            self._arrivals.append(next(self._times))
        return self._arrivals[frame.index]


class Repeated:
    """The frames of a source, repeated until the workload's limit.

    Indices and timestamps continue over the repetitions. A camera is not repeated.
    The frames end after `duration` seconds of the schedule, or of the clock in a
    closed loop.
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
                if self._ended(numbered, began):
                    return
                yield numbered
                index += 1
            self.problems = list(self._source.problems)
            if self.live or end == start:
                return
            start = end

    def _ended(self, frame: Frame, began: float) -> bool:
        if self._limit is not None and frame.index >= self._limit:
            return True
        if self._duration is None:
            return False
        at = self._clock() - began if self._schedule is None else self._schedule(frame)
        return at >= self._duration
