"""What each change of the settings or the load saves, computed by the same formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from facectl.plan.cost import MonthCost, cost_of
from facectl.plan.formulas import Capacity
from facectl.plan.inputs import Load, Settings
from facectl.plan.times import ServiceTimes
from facectl.prices import PlanPrices

# In MB; 1,769 is one vCPU. Less than that leaves computing slower than it is cheap.
_SIZES = (1024, 1536, 1769, 2304, 3008, 3538)
# The cost is nearly proportional to the frames: a few rounds find half of it.
_ROUNDS = 8
_EDGE = "send --detect edge"


@dataclass(frozen=True, slots=True)
class Variant:
    """A change with its cost of a month and its time of one frame in both functions."""

    name: str
    cost: float
    seconds: float
    note: str = ""


def variants(
    load: Load, settings: Settings, times: ServiceTimes, prices: PlanPrices
) -> list[Variant]:
    """The changes that could lower the cost, then those of a deploy together."""

    def of(name: str, changed: Settings, note: str = "", less: Load = load) -> Variant:
        capacity = Capacity.of(less, changed, times)
        return Variant(name, cost_of(capacity, prices).total, capacity.frame_seconds, note)

    found: list[Variant] = []
    cheapest = min(_SIZES, key=lambda size: of("", replace(settings, memory=size)).cost)
    if cheapest != settings.memory:
        found.append(of(f"--memory {cheapest}", replace(settings, memory=cheapest)))
    if settings.architecture == "x86_64":
        note = "if it is as fast, which was not measured"
        found.append(of("--architecture arm64", replace(settings, architecture="arm64"), note))
    if settings.precision == "fp32":
        note = "with the time of the embedder in benchmarks/README.md"
        found.append(of("--precision int8", replace(settings, precision="int8"), note))
    changes = len(found)
    half = replace(load, fps=load.fps / 2)
    found.append(of(f"--fps {load.fps / 2:g}", settings, "", half))
    edge = edge_detection(load, settings, times, prices)
    found.append(edge)
    together = replace(settings, memory=cheapest, architecture="arm64", precision="int8")
    if changes > 1:
        found.append(of(_options(together), together))
    found.append(_half(of, load, together, of("", settings).cost))
    return found


def _options(settings: Settings) -> str:
    return f"--memory {settings.memory}, {settings.architecture} and {settings.precision}"


def _half(
    of: Callable[[str, Settings, str, Load], Variant], load: Load, settings: Settings, cost: float
) -> Variant:
    """The settings with the highest frame rate at which they cost half."""
    fps = load.fps
    for _ in range(_ROUNDS):
        variant = of(f"{_options(settings)}, --fps {fps:.3g}", settings, "", replace(load, fps=fps))
        if variant.cost <= cost / 2:
            break
        fps = max(0.001, float(f"{fps * cost / 2 / variant.cost * 0.995:.3g}"))
    return variant


def edge_detection(
    load: Load, settings: Settings, times: ServiceTimes, prices: PlanPrices
) -> Variant:
    """Detection on the camera's computer: only frames with a face, and no face-detection."""
    if load.with_face == 0:
        return Variant(_EDGE, 0.0, 0.0)
    capacity = Capacity.of(load, settings, times)
    cost: MonthCost = cost_of(capacity, prices)
    share = load.with_face
    parts = dict(cost.parts)
    parts["face-detection"] = 0.0
    # An invocation of face-detection for each frame; the answers of the frames with a face remain.
    parts["Lambda requests"] -= load.frames_a_month * prices.prices.lambda_million_requests / 1e6
    for name in ("CloudWatch Logs", "data transfer out"):
        parts[name] *= share / 2 if name == "CloudWatch Logs" else share
    seconds = capacity.times.recognition(1, load.faces_a_message)
    return Variant(_EDGE, sum(parts.values()), seconds, "without the cameras' computers")
