"""The pipeline on AWS in steps of a second: queues, cold starts, throttling, retries, faults.

All frames of a step are counted together, so that the time of a simulation does
not depend on the number of cameras: 100,000 cameras for a day take seconds. What is
random stays random: arrivals are Poisson, and latencies are drawn for single frames
from the distributions of the service times, with the waits that the steps found.
`facectl/plan/local.py` simulates every frame as its own event; a test compares the two.

Not simulated: the order within a standard queue (served as it came), the tail of
AWS's own services, and the client's network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from facectl.plan import limits
from facectl.plan.formulas import Capacity, message_kb
from facectl.plan.latencies import Steps, draw_latencies
from facectl.plan.scenarios import STEP, Floats, Result, Scenario
from facectl.retry import exponential

# The client retries 429, and 503 while a queue is unreachable, for a minute
# (facectl/stream/delivery.py): full jitter halves the mean of each delay.
_BUSY_LIMIT = 60.0
_BUSY_DELAY = exponential(0.5, 8.0, steady=5)
# Seconds of an invocation of face-detection while SQS refuses messages: four attempts with
# backoff (lambda_src/aws.py), and Retry-After before the next attempt of the client.
_REFUSED_SECONDS = 0.7
_RETRY_AFTER = 1.0
# An environment without invocations is ended after some minutes; AWS does not say when.
_IDLE_SECONDS = 600
# Environments that are ready beyond the mean, in standard deviations.
_SPARE = 2.33


def _retry_steps() -> list[int]:
    """Steps until each further attempt, until the client ends after a minute."""
    steps: list[int] = []
    while sum(steps) <= _BUSY_LIMIT:
        steps.append(max(1, round(_BUSY_DELAY(len(steps) + 1) / 2 / STEP)))
    return steps


RETRY_STEPS = _retry_steps()


@dataclass(slots=True)
class _Environments:
    """The execution environments of one function."""

    count: float = 0.0
    _highest: list[float] = field(default_factory=list)

    def serve(self, busy: float, most: float) -> tuple[float, float]:
        """Run `busy` executions, at most `most`: the environments and the cold starts of a step."""
        ceiling = min(most, self.count + limits.ENVIRONMENTS_PER_SECOND * STEP)
        needed = min(max(_environments(busy), self.count if busy <= 0 else 1.0), ceiling)
        started = max(0.0, needed - self.count)
        self.count += started
        return ceiling, started

    def expire(self, step: int, busy: float) -> None:
        """End the environments that ten minutes did not need."""
        minute = step // 60
        while len(self._highest) <= minute:
            self._highest.append(0.0)
        self._highest[minute] = max(self._highest[minute], busy)
        kept = max(self._highest[-_IDLE_SECONDS // 60 :])
        self.count = min(self.count, max(_environments(kept), float(kept > 0)))


class _Simulation:
    """The state of a simulation between two steps."""

    def __init__(self, capacity: Capacity, scenario: Scenario, seed: int) -> None:
        self.capacity, self.scenario = capacity, scenario
        self.generator = np.random.default_rng(seed)
        self.arrivals = self.generator.poisson(scenario.rates * STEP).astype(np.float64)
        steps, classes = scenario.steps, len(RETRY_STEPS) + 1
        self.due = np.zeros((steps + 70, classes))
        self.accepted = np.zeros((steps, classes))
        self.visible = [0.0] * limits.MAX_RECEIVES
        self.returning: dict[int, list[float]] = {}
        self.hidden_count = self.dead = 0.0
        names = (
            "failed throttled backlog hidden detection recognition cold_detection "
            "cold_recognition messages served batch redelivered"
        )
        self.track = {name: np.zeros(steps) for name in names.split()}
        self.environments = (_Environments(), _Environments())
        self.pollers = capacity.pollers.first_batches
        self.batch_seconds = [
            capacity.times.recognition(size, capacity.load.faces_a_message)
            for size in range(1, capacity.settings.batch_size + 1)
        ]
        self.recognition_busy = 0.0
        if scenario.warm:
            self._warm_up()

    def _warm_up(self) -> None:
        """Begin with the environments and pollers of the first step's rate."""
        capacity, rate = self.capacity, float(self.scenario.rates[0])
        share = rate / capacity.load.peak_rate
        for environments, busy in zip(
            self.environments, (capacity.detection, capacity.recognition), strict=True
        ):
            environments.count = max(1.0, _environments(busy * share))
        most = capacity.pollers.most_batches
        self.pollers = min(most, max(self.pollers, capacity.recognition_peak * share))

    def run(self) -> None:
        """Simulate every step."""
        outage = self.scenario.outage
        for step in range(self.scenario.steps):
            down = outage is not None and outage[0] <= step * STEP < outage[1]
            messages = self._detect(step, down)
            self._recognise(step, messages, down)

    @property
    def steps(self) -> Steps:
        """What the latencies are drawn from."""
        track = self.track
        return Steps(
            accepted=self.accepted,
            retry_steps=RETRY_STEPS,
            messages=track["messages"],
            redelivered=track["redelivered"],
            served=track["served"],
            batch=track["batch"],
            cold_detection=track["cold_detection"],
            cold_recognition=track["cold_recognition"],
        )

    def _detect(self, step: int, down: bool) -> float:
        """The POSTs of a step; returns the messages that reach the request queue."""
        times, track = self.capacity.times, self.track
        attempts = self.due[step]
        attempts[0] += self.arrivals[step]
        total = float(attempts.sum())
        if total <= 0:
            return 0.0
        seconds = times.detection + (_REFUSED_SECONDS if down else 0.0)
        wanted = total / STEP * seconds
        most = float(self.capacity.reserved)
        environments = self.environments[0]
        ceiling, cold = environments.serve(wanted, most)
        requests = limits.REQUESTS_PER_EXECUTION * most * STEP
        share = min(1.0 - _overflow(wanted, ceiling), requests / total)
        environments.expire(step, wanted)
        track["cold_detection"][step] = cold
        track["detection"][step] = min(wanted * share, most)
        track["throttled"][step] = total * (1.0 - share)
        if down:
            self._retry(step, attempts, 1.0, _RETRY_AFTER)
            return 0.0
        if share < 1.0:
            self._retry(step, attempts, 1.0 - share, 0.0)
        self.accepted[step] = attempts * share
        return total * share * self.capacity.load.with_face

    def _retry(self, step: int, attempts: Floats, share: float, at_least: float) -> None:
        """Schedule the next attempt of refused frames; the last class has failed."""
        extra = round(at_least / STEP)
        waited = 0
        for number, count in enumerate(attempts):
            if count <= 0:
                waited += RETRY_STEPS[number] + extra if number < len(RETRY_STEPS) else 0
                continue
            refused = count * share
            if number >= len(RETRY_STEPS) or waited > _BUSY_LIMIT / STEP:
                self.track["failed"][step] += refused
                continue
            pause = RETRY_STEPS[number] + extra
            self.due[step + pause][number + 1] += refused
            waited += pause

    def _recognise(self, step: int, messages: float, down: bool) -> None:
        """The batches of a step."""
        capacity, track = self.capacity, self.track
        self.visible[0] += messages
        redelivered = self.returning.pop(step, None)
        if redelivered is not None:
            self.visible = [a + b for a, b in zip(self.visible, redelivered, strict=True)]
            track["redelivered"][step] = sum(redelivered)
            self.hidden_count -= sum(redelivered)
        track["messages"][step] = messages + track["redelivered"][step]
        waiting = sum(self.visible)
        if down:
            self._idle_pollers(drop=True)
            self.recognition_busy = 0.0
            track["backlog"][step], track["hidden"][step] = waiting, self.hidden_count
            return
        account = float(capacity.quota - capacity.reserved)
        size = self._batch(waiting, min(self.pollers, account))
        seconds, track["batch"][step] = self.batch_seconds[size - 1], size
        fed = capacity.pollers.messages_per_second(self.pollers, message_kb(capacity.load))
        wanted = min(self.pollers, min(waiting / STEP, fed) / size * seconds)
        environments = self.environments[1]
        ceiling, track["cold_recognition"][step] = environments.serve(wanted, account)
        usable = min(wanted, ceiling)
        environments.expire(step, wanted)
        # 120,000 messages in flight at most.
        room = max(0.0, limits.MESSAGES_IN_FLIGHT - self.hidden_count - usable * size)
        served = min(waiting, usable * size / seconds * STEP, room + usable * size)
        self._take(step, served, waiting)
        self._throttle(step, max(0.0, wanted - account) * size, waiting - served)
        self.recognition_busy = usable
        track["recognition"][step], track["served"][step] = usable, served
        track["backlog"][step], track["hidden"][step] = sum(self.visible), self.hidden_count
        if waiting - served > 0.5:
            self.pollers = min(
                capacity.pollers.most_batches,
                self.pollers + capacity.pollers.batches_per_second * STEP,
            )
        else:
            self._idle_pollers()

    def _batch(self, waiting: float, executions: float) -> int:
        """The smallest batch with which the executions serve what waits."""
        for size, seconds in enumerate(self.batch_seconds, 1):
            if executions * size / seconds * STEP >= waiting:
                return size
        return len(self.batch_seconds)

    def _idle_pollers(self, *, drop: bool = False) -> None:
        """Scale the pollers back to what is busy, a minute's ramp in a minute."""
        pollers = self.capacity.pollers
        lower = (
            pollers.first_batches
            if drop
            else max(
                pollers.first_batches,
                self.recognition_busy * 1.3 + 3 * math.sqrt(self.recognition_busy),
            )
        )
        self.pollers = max(
            min(lower, pollers.most_batches), self.pollers - pollers.batches_per_second * STEP
        )

    def _take(self, step: int, served: float, waiting: float) -> None:
        """Remove the served messages; those of lost workers return after the timeout."""
        if waiting <= 0 or served <= 0:
            return
        share = min(1.0, served / waiting)
        taken = [count * share for count in self.visible]
        self.visible = [count * (1 - share) for count in self.visible]
        if self.scenario.crashes > 0:
            self._hide(step, [count * self.scenario.crashes for count in taken])

    def _throttle(self, step: int, throttled: float, waiting: float) -> None:
        """Hide the messages of batches that the account had no execution for."""
        hidden = min(throttled, waiting)
        if hidden <= 0 or waiting <= 0:
            return
        share = hidden / waiting
        self._hide(step, [count * share for count in self.visible])
        self.visible = [count * (1 - share) for count in self.visible]

    def _hide(self, step: int, counts: Sequence[float]) -> None:
        """Make messages invisible for the visibility timeout, with one more delivery."""
        back = step + round(self.capacity.settings.visibility_timeout / STEP)
        later = [0.0, *counts[:-1]]
        self.dead += counts[-1]
        self.hidden_count += sum(later)
        earlier = self.returning.get(back)
        self.returning[back] = (
            later if earlier is None else [a + b for a, b in zip(earlier, later, strict=True)]
        )


def _environments(busy: float) -> float:
    """The environments for a mean number of executions at once: some more than the mean."""
    return busy + _SPARE * math.sqrt(busy)


def _overflow(mean: float, servers: float) -> float:
    """The share of Poisson executions that find no environment: E[(N - servers)+] / mean.

    By the normal approximation; exact enough from a few executions on.
    """
    if mean <= 0:
        return 0.0
    if servers <= 0:
        return 1.0
    deviation = math.sqrt(mean)
    z = (servers - mean) / deviation
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    beyond = 0.5 * math.erfc(z / math.sqrt(2))
    return min(1.0, max(0.0, deviation * (density - z * beyond) / mean))


def simulate(capacity: Capacity, scenario: Scenario, *, seed: int = 0) -> Result:
    """Simulate a scenario; the same seed gives the same result."""
    simulation = _Simulation(capacity, scenario, seed)
    simulation.run()
    track = simulation.track
    begin, end = scenario.shown or (0.0, scenario.steps * STEP)
    shown = range(round(begin / STEP), round(end / STEP))
    accepted = simulation.accepted.sum(axis=1)
    without_face = accepted * (1 - capacity.load.with_face)
    crashed = track["served"] * scenario.crashes
    return Result(
        scenario=scenario,
        offered=simulation.arrivals,
        accepted=accepted,
        answered=without_face + track["served"] - crashed,
        failed=track["failed"],
        throttled=track["throttled"],
        backlog=track["backlog"],
        hidden=track["hidden"],
        detection=track["detection"],
        recognition=track["recognition"],
        cold=track["cold_detection"] + track["cold_recognition"],
        dead=simulation.dead,
        latencies=draw_latencies(capacity, simulation.steps, shown, simulation.generator),
    )
