"""Every frame of the local cloud as its own event: shared cores, limits, polls, lost workers.

MiniStack, the functions' workers and the client share the cores of one computer, so
that each frame makes the others slower; on AWS every environment has its own vCPU.
With `cores` infinite it is a model of the pipeline on AWS, with which
`facectl/plan/simulation.py` is compared. benchmarks/plan_validation.py compares
predictions of this model with `facectl bench`.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import simpy

from facectl.bench.workload import Workload
from facectl.plan.cores import Cores, Flag, Gate
from facectl.plan.times import Duration
from facectl.retry import exponential
from facectl.summary import Summary

Steps = Generator[simpy.Event, Any, Any]

# The client after a 429 (facectl/stream/delivery.py): the delays, and how its limit changes.
_BUSY_DELAY = exponential(0.5, 8.0, steady=5)
_BUSY_LIMIT = 60.0
_GROWTH = 0.3
_BATCH_OF_ANSWERS = 10
# The local cloud (MiniStack 1.5.33): a long poll looks for messages every 100 ms; after a
# wake-up that found nothing the event source mapping pauses 50 ms; it looks once a second
# without a wake-up.
LONG_POLL_TICK = 0.1
MAPPING_PAUSE = 0.05
MAPPING_TICK = 1.0
# After a batch that failed the mapping takes no other for a second.
MAPPING_BACKOFF = 1.0


@dataclass(frozen=True, slots=True)
class LocalTimes:
    """Seconds of one frame. All but `dispatch` and `receive` occupy a core.

    `encode`, `request`: until the handler starts; `detect`; `detect_end`: from the
    message on the request queue to the answer of the POST. `dispatch`: from the queue to
    the handler. `embed`: one face, each further face `further_face` of it; `respond`:
    until the answer is on its queue; `recognise_end`: the rest of the invocation.
    `receive`: of a poll. `client`, `platform`: work beside the path of the frame.
    """

    encode: Duration
    request: float
    detect: Duration
    detect_end: float
    dispatch: float
    embed: Duration
    further_face: float
    respond: float
    recognise_end: float
    receive: float
    client: float
    platform: float
    recognise_start: float = 0.56

    def scaled(self, factor: float) -> LocalTimes:
        """The times of the stages that occupy a core, multiplied."""
        return replace(
            self,
            encode=self.encode.scaled(factor),
            request=self.request * factor,
            detect=self.detect.scaled(factor),
            detect_end=self.detect_end * factor,
            embed=self.embed.scaled(factor),
            respond=self.respond * factor,
            recognise_end=self.recognise_end * factor,
            receive=self.receive * factor,
        )


@dataclass(frozen=True, slots=True)
class LocalCloud:
    """The local cloud: its cores, and the limits that `facectl deploy` sets.

    `lost_worker_at`: seconds after which the worker of a running batch is killed.
    """

    cores: float = 2
    detection_limit: int = 2
    recognition_limit: int = 2
    batch_size: int = 10
    visibility_timeout: float = 360.0
    lost_worker_at: float | None = None


@dataclass(slots=True)
class _Frame:
    """A frame and its times."""

    due: float
    answered: float | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """The predicted figures of a run; latencies in seconds, from when a frame was due."""

    latency: Summary
    answered: int
    failed: int
    retried: int
    seconds: float

    @property
    def throughput(self) -> float | None:
        """Answered frames a second, from the first POST to the last answer."""
        return self.answered / self.seconds if self.seconds > 0 else None


def predict(
    times: LocalTimes, cloud: LocalCloud, workload: Workload, *, frames: int, seed: int = 0
) -> Prediction:
    """Simulate a run of `facectl bench`; the same seed gives the same prediction."""
    run = _Run(times, cloud, workload, frames, seed)
    run.start()
    answered = [frame for frame in run.frames if frame.answered is not None]
    latencies = [frame.answered - frame.due for frame in answered if frame.answered is not None]
    last = max((frame.answered or 0.0 for frame in answered), default=0.0)
    return Prediction(
        latency=Summary.of(latencies),
        answered=len(answered),
        failed=sum(frame.failed for frame in run.frames),
        retried=run.retried,
        seconds=last - run.first_post,
    )


@dataclass
class _Run:
    """One simulated run."""

    times: LocalTimes
    cloud: LocalCloud
    workload: Workload
    count: int
    seed: int
    frames: list[_Frame] = field(default_factory=list)
    retried: int = 0
    first_post: float = math.inf

    def start(self) -> None:
        """Simulate until every frame was answered or has failed."""
        self.env = simpy.Environment()
        self.random = np.random.default_rng(self.seed)
        self.cores = Cores(self.env, self.cloud.cores)
        self.limit = float(self.workload.threads)
        self.threads = Gate(self.env, lambda: self.threads.inside < self.workload.threads)
        # The threads look again every 100 ms, each at its own time: any of them is next.
        self.posts = Gate(
            self.env,
            lambda: self.posts.inside < int(self.limit),
            lambda count: int(self.random.integers(count)),
        )
        self.detecting = self.batches = self.expected = self.done = 0
        self.resumes = 0.0
        self.requests: list[_Frame] = []
        self.responses: list[_Frame] = []
        self.wake, self.expecting = Flag(self.env), Flag(self.env)
        self.finished = self.env.event()
        self.env.process(self._source())
        self.env.process(self._mapping())
        self.env.process(self._collector())
        self.env.run(until=self.finished)

    def _source(self) -> Steps:
        """Open the frames by the schedule, or as soon as one was answered."""
        schedule = self._schedule()
        for number in range(self.count):
            if schedule is not None and schedule[number] > self.env.now:
                yield self.env.timeout(schedule[number] - self.env.now)
            due = None if schedule is None else schedule[number]
            if schedule is None:
                yield self.threads.enter()
            self.env.process(self._send(due))

    def _schedule(self) -> list[float] | None:
        rate = self.workload.target_rate
        if rate is None:
            return None
        if self.workload.arrivals == "uniform":
            return [number / rate for number in range(self.count)]
        gaps = self.random.exponential(1 / rate, self.count - 1)
        return [0.0, *np.cumsum(gaps)]

    def _send(self, due: float | None) -> Steps:
        frame = _Frame(self.env.now if due is None else due)
        self.frames.append(frame)
        if due is not None:
            yield self.threads.enter()
        self.expected += 1
        self.expecting.set()
        self.cores.work(self.times.client)
        yield self.cores.work(self._draw(self.times.encode))
        refused, began = 0, self.env.now
        while True:
            accepted = yield from self._post(frame)
            if accepted:
                break
            refused += 1
            self.retried += refused == 1
            if self.env.now - began > _BUSY_LIMIT:
                frame.failed = True
                self._finish(frame)
                return
            yield self.env.timeout(self.random.random() * _BUSY_DELAY(refused))
        if due is not None:
            self.threads.leave()

    def _post(self, frame: _Frame) -> Steps:
        """One attempt; returns whether the function had an environment for it."""
        yield self.posts.enter()
        self.first_post = min(self.first_post, self.env.now)
        self.cores.work(self.times.platform)
        yield self.cores.work(self.times.request)
        if self.detecting >= self.cloud.detection_limit:
            inside = self.posts.inside
            self.limit = float(max(1, min(int(self.limit), inside) - 1))
            self.posts.leave()
            return False
        self.detecting += 1
        yield self.cores.work(self._draw(self.times.detect))
        self.requests.append(frame)
        self.wake.set()
        yield self.cores.work(self.times.detect_end)
        self.detecting -= 1
        self.limit = min(self.workload.threads, self.limit + _GROWTH / self.limit)
        self.posts.leave()
        return True

    def _mapping(self) -> Steps:
        """The event source mapping: one thread that gives batches to the workers."""
        woken = False
        while True:
            self.wake.clear()
            free = self.batches < self.cloud.recognition_limit and self.env.now >= self.resumes
            if self.requests and free:
                batch = self.requests[: self.cloud.batch_size]
                del self.requests[: len(batch)]
                self.batches += 1
                self.env.process(self._recognise(batch))
                woken = False
                continue
            if woken:
                yield self.env.timeout(MAPPING_PAUSE)
            event = self.wake.wait()
            yield event | self.env.timeout(MAPPING_TICK)
            woken = event.triggered

    def _recognise(self, batch: list[_Frame]) -> Steps:
        yield self.env.timeout(self.times.dispatch)
        embed = self._draw(self.times.embed)
        factor = 1 + (len(batch) - 1) * self.times.further_face
        began = self.env.now
        yield self.cores.work(embed * factor)
        lost = self.cloud.lost_worker_at
        if lost is not None and began <= lost <= self.env.now:
            self.env.process(self._redeliver(batch))
            self.resumes = self.env.now + MAPPING_BACKOFF
            # The next batch of this worker's place starts another.
            yield self.cores.work(self.times.recognise_start)
        else:
            yield self.cores.work(self.times.respond)
            self.responses += batch
            self.wake.set()
            yield self.cores.work(self.times.recognise_end)
        self.batches -= 1
        self.wake.set()

    def _redeliver(self, batch: list[_Frame]) -> Steps:
        """Make the messages of a lost worker visible again after the timeout."""
        yield self.env.timeout(self.cloud.visibility_timeout)
        self.requests += batch
        self.wake.set()

    def _collector(self) -> Steps:
        """The client's thread that polls the response queue while it expects an answer."""
        while True:
            if self.expected <= 0:
                self.expecting.clear()
                yield self.expecting.wait()
                continue
            while not self.responses:
                yield self.env.timeout(LONG_POLL_TICK)
            batch = self.responses[:_BATCH_OF_ANSWERS]
            del self.responses[: len(batch)]
            yield self.cores.work(self.times.receive)
            for frame in batch:
                frame.answered = self.env.now
                self._finish(frame)
            # The delete of the messages.
            yield self.cores.work(self.times.receive)

    def _finish(self, frame: _Frame) -> None:
        """Count a frame that was answered or has failed."""
        self.done += 1
        self.expected -= 1
        if self.workload.concurrency is not None or frame.failed:
            self.threads.leave()
        if self.done >= self.count and not self.finished.triggered:
            self.finished.succeed()

    def _draw(self, duration: Duration) -> float:
        return float(duration.draw(self.random, 1)[0])
