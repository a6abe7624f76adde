"""The inputs and the results of a simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.plan.formulas import Capacity
from facectl.plan.inputs import SECONDS_PER_HOUR

Floats = NDArray[np.float64]

# Seconds of a step.
STEP = 1.0
# Seconds after a burst or an outage whose latencies are reported with it.
AFTERWARDS = 300.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens: frames a second in each step, and the faults. Times in seconds.

    `outage`: begin and end of the outage of SQS. `crashes`: the share of batches whose
    worker is lost. `warm`: whether the environments of the first step are running.
    `shown`: latencies are of frames answered between these times; None: of all.
    """

    name: str
    rates: Floats
    outage: tuple[float, float] | None = None
    crashes: float = 0.0
    warm: bool = True
    shown: tuple[float, float] | None = None

    @property
    def steps(self) -> int:
        return len(self.rates)


def day(capacity: Capacity) -> Scenario:
    """The hours in which the cameras send, by the curve of the day, from a cold start."""
    steps = round(capacity.load.hours * SECONDS_PER_HOUR / STEP)
    shares = (np.arange(steps) + 0.5) / steps
    return Scenario("day", capacity.load.mean_rate * capacity.load.curve.at(shares), warm=False)


def burst(capacity: Capacity, factor: float, seconds: float = 60.0) -> Scenario:
    """At the peak of the day, `factor` times the frames for `seconds`."""
    rates = np.full(1800, capacity.load.peak_rate)
    rates[300 : 300 + round(seconds)] *= factor
    return Scenario("burst", rates, shown=(300.0, 300.0 + seconds + AFTERWARDS))


def outage(capacity: Capacity, seconds: float = 600.0) -> Scenario:
    """At the peak of the day, SQS refuses every call for `seconds`."""
    rates = np.full(300 + round(seconds) + 1800, capacity.load.peak_rate)
    end = 300.0 + seconds
    return Scenario("outage", rates, outage=(300.0, end), shown=(300.0, end + AFTERWARDS))


@dataclass(frozen=True, slots=True)
class Result:
    """What a simulation found. The arrays have a value for each step.

    `offered`, `accepted`, `answered`: frames; `failed`: frames that the client gave up
    after a minute of retries; `dead`: messages in the dead-letter queue at the end.
    `backlog`: messages that wait, `hidden` those that a lost or throttled worker holds.
    `detection`, `recognition`: executions at once; `cold`: cold starts of both functions.
    `latencies`: seconds of single frames, ascending.
    """

    scenario: Scenario
    offered: Floats
    accepted: Floats
    answered: Floats
    failed: Floats
    throttled: Floats
    backlog: Floats
    hidden: Floats
    detection: Floats
    recognition: Floats
    cold: Floats
    dead: float
    latencies: Floats = field(repr=False)

    def percentile(self, rank: float) -> float:
        """A percentile of the latency, in seconds; NaN if no frame was answered."""
        if not len(self.latencies):
            return math.nan
        return float(np.percentile(self.latencies, rank, method="inverted_cdf"))

    @property
    def recovery(self) -> float | None:
        """Seconds from the end of the disturbance until no message waits longer than a second.

        None if that does not happen within the simulation; 0 without a disturbance.
        """
        end = self.disturbed_until
        if end is None:
            return 0.0
        steps = np.arange(len(self.backlog)) * STEP
        served = np.maximum(self.answered, 1.0)
        late = (self.backlog + self.hidden > 1.5 * served) | (self.throttled > 0.01 * self.offered)
        late &= steps >= end
        places = np.flatnonzero(late)
        if not len(places):
            return 0.0
        last = float(steps[places[-1]])
        return None if last >= steps[-1] else last - end + STEP

    @property
    def disturbed_until(self) -> float | None:
        """When the outage or the burst ends; None without one."""
        if self.scenario.outage is not None:
            return self.scenario.outage[1]
        rates = self.scenario.rates
        high = np.flatnonzero(rates > rates[0] * 1.01)
        return None if self.scenario.name != "burst" or not len(high) else float(high[-1] + 1)

    def as_dict(self) -> dict[str, Any]:
        """The figures for JSON; without the curves."""
        figures = {f"p{rank:g}_s": self.percentile(rank) for rank in (50, 95, 99)}
        return {
            "frames": round(float(self.offered.sum())),
            "answered": round(float(self.answered.sum())),
            "failed": round(float(self.failed.sum())),
            "dead_letters": round(self.dead),
            "throttled_attempts": round(float(self.throttled.sum())),
            "cold_starts": round(float(self.cold.sum())),
            "most_detection": round(float(self.detection.max())),
            "most_recognition": round(float(self.recognition.max())),
            "most_backlog": round(float(self.backlog.max())),
            "recovery_s": self.recovery,
            **{
                name: None if math.isnan(each) else round(each, 4) for name, each in figures.items()
            },
        }
