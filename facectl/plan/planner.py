"""One plan: capacity, cost, changes and simulations of a load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from facectl.errors import InputError
from facectl.plan.changes import Variant, variants
from facectl.plan.cost import Machines, MonthCost, cost_of, machines_for, rekognition
from facectl.plan.formulas import Capacity
from facectl.plan.inputs import Load, Settings
from facectl.plan.scenarios import Result, burst, day, outage
from facectl.plan.simulation import simulate
from facectl.plan.times import ServiceTimes
from facectl.prices import PlanPrices

# Version of the JSON of a plan.
FORMAT = "facectl-plan/1"


@dataclass(frozen=True, slots=True)
class Events:
    """The disturbances that are simulated, and the seed.

    `burst`: times the frames of the peak, for a minute; `outage`: minutes without SQS;
    `crashes`: the share of batches whose worker is lost, in every scenario.
    """

    burst: float = 3.0
    outage: float = 10.0
    crashes: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for option, value, least, most, meaning in (
            ("--burst", self.burst, 1.0, 100.0, "times the frames of the peak"),
            ("--outage", self.outage, 0.1, 240.0, "minutes without SQS"),
            ("--crashes", self.crashes, 0.0, 1.0, "of the batches, as a share"),
        ):
            if not least <= value <= most:
                raise InputError(
                    f"{option} {value:g}: a plan takes {least:g} to {most:g} {meaning}",
                    hint="facectl plan --cameras 1000 --fps 2 --burst 3 --outage 10",
                )


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan for a load.

    `capacity`: of the whole load; `one`: of each of its deployments, which is
    simulated. `rekognition`: the cost of one SearchFacesByImage per frame.
    """

    capacity: Capacity
    one: Capacity
    cost: MonthCost
    rekognition: float
    machines: Machines | None
    variants: Sequence[Variant]
    results: Mapping[str, Result]
    events: Events
    prices: PlanPrices = field(repr=False)

    @property
    def load(self) -> Load:
        return self.capacity.load

    @property
    def halving(self) -> Variant | None:
        """The change that costs most, of those with at most half of the cost."""
        enough = [each for each in self.variants if each.cost <= self.cost.total / 2 + 0.01]
        return max(enough, key=lambda each: each.cost, default=None)

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before believing the figures, a sentence each."""
        lines = list(self.capacity.times.warnings)
        count = self.capacity.deployments
        if count > 1:
            lines.append(
                f"{count} deployments, each in its own account or region: one request queue feeds "
                "at most 1,000 batches at once. The simulation is of one of them, with "
                f"{self.one.load.cameras:,} cameras"
            )
        needed = self.one.detection_most + self.one.recognition_peak
        if needed > self.one.quota:
            lines.append(
                f"{self.one.quota:,} concurrent executions are fewer than the "
                f"{needed:,} that the peak needs: frames are throttled"
            )
        if self.one.request_bytes > 6 * 1024 * 1024:
            lines.append(
                f"A frame of {self.load.frame_kb:,.0f} kB is larger than a Function URL takes: "
                "facectl send --max-side 1920 sends smaller ones"
            )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        capacity, one = self.capacity, self.one
        return {
            "format": FORMAT,
            "load": {**asdict(self.load), "curve": asdict(self.load.curve)},
            "settings": asdict(capacity.settings),
            "service_times": {
                "source": capacity.times.source,
                "detection_s": round(capacity.times.detection, 6),
                "recognition_of_one_frame_s": round(
                    capacity.times.recognition(1, self.load.faces_a_message), 6
                ),
            },
            "deployments": capacity.deployments,
            "of_each_deployment": {
                "cameras": one.load.cameras,
                "peak_frames_per_second": round(one.load.peak_rate, 3),
                "detection_executions": {"mean": one.detection, "peak": one.detection_peak},
                "recognition_executions": {"mean": one.recognition, "peak": one.recognition_peak},
                "concurrency_quota": one.quota,
                "reserved_for_detection": one.reserved,
                "pollers": one.pollers.flag,
                "messages_in_flight": round(one.messages_in_flight),
                "gallery_checks_per_second": round(one.gallery_checks, 2),
                "seconds_to_scale": round(one.start_seconds, 1),
            },
            "month": {
                "currency": self.cost.currency,
                "frames": round(self.cost.usage.frames),
                "parts": {name: round(cost, 2) for name, cost in self.cost.parts.items()},
                "total": round(self.cost.total, 2),
                "per_1000_frames": round(self.cost.thousand, 6),
                "rekognition": round(self.rekognition, 2),
                "machines": None if self.machines is None else asdict(self.machines),
                "prices_of": self.prices.prices.date,
                "region": self.prices.prices.region,
                "sources": {name: each.text for name, each in self.prices.sources.items()},
                "confirmed": {name: each.confirmed for name, each in self.prices.sources.items()},
            },
            "changes": [asdict(each) for each in self.variants],
            "simulations": {name: result.as_dict() for name, result in self.results.items()},
            "events": asdict(self.events),
            "warnings": self.warnings,
        }


def make_plan(
    load: Load, settings: Settings, times: ServiceTimes, prices: PlanPrices, events: Events
) -> Plan:
    """The plan for a load; the same inputs and seed give the same plan."""
    capacity = Capacity.of(load, settings, times)
    one = capacity.one_deployment
    scenarios = [day(one), burst(one, events.burst), outage(one, events.outage * 60)]
    results = {
        each.name: simulate(one, replace(each, crashes=events.crashes), seed=events.seed)
        for each in scenarios
    }
    return Plan(
        capacity=capacity,
        one=one,
        cost=cost_of(capacity, prices),
        rekognition=rekognition(load.frames_a_month, prices),
        machines=machines_for(capacity, prices),
        variants=variants(load, settings, times, prices),
        results=results,
        events=events,
        prices=prices,
    )
