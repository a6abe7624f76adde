"""The figures of the strip: frames a second, latency, stages, and the cost of a month."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from facectl.bench.cost import EXCLUDED, Billed, cost_of
from facectl.bench.stages import PARTS, WORDS
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from facectl.plan.inputs import Settings
from facectl.plan.times import DEFAULT
from facectl.prices import CURRENT
from facectl.stream.outcomes import FrameOutcome
from facectl.summary import percentile

# Seconds over which the rate, and over which latency and stages are taken.
_RATE_WINDOW = 10.0
_WINDOW = 60.0
_MOST = 4000
# What is left of the latency after the stages that were measured.
REST = "network and queues"


@dataclass(frozen=True, slots=True)
class FunctionSize:
    """What a function is charged by: memory in MB, and architecture."""

    memory: int = Settings().memory
    architecture: str = Settings().architecture


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answered frame: the clock's reading, its latency, and seconds by stage."""

    at: float
    latency: float
    stages: Mapping[str, float]
    faces: int


@dataclass(slots=True)
class Figures:
    """The figures of one source; a listener for its outcomes, read by another thread."""

    clock: Callable[[], float] = time.perf_counter
    began: float = field(init=False)
    _answers: deque[_Answer] = field(default_factory=lambda: deque(maxlen=_MOST))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def __call__(self, outcome: FrameOutcome) -> None:
        """Add an outcome; only answers count."""
        if outcome.answer is None or outcome.latency is None:
            return
        stages = _stages(outcome)
        faces = outcome.answer.faces or ()
        with self._lock:
            self._answers.append(_Answer(self.clock(), outcome.latency, stages, len(faces)))

    def recent(self) -> list[_Answer]:
        """The answers of the last minute."""
        since = self.clock() - _WINDOW
        with self._lock:
            return [answer for answer in self._answers if answer.at >= since]

    def rate(self) -> float:
        """Answered frames a second, over the last ten seconds."""
        now = self.clock()
        seconds = min(_RATE_WINDOW, max(1.0, now - self.began))
        with self._lock:
            return sum(answer.at >= now - seconds for answer in self._answers) / seconds

    def mean_rate(self) -> float:
        """Answered frames a second while frames were answered, of those that are remembered."""
        with self._lock:
            answers = list(self._answers)
        if len(answers) < 2:
            return 0.0
        return (len(answers) - 1) / max(1e-3, answers[-1].at - answers[0].at)


def _stages(outcome: FrameOutcome) -> dict[str, float]:
    """Seconds by stage; they add up to the latency."""
    found = {WORDS["wait"]: max(0.0, outcome.opened - outcome.due)}
    timings = (outcome.answer.timings_ms if outcome.answer is not None else None) or {}
    for stage, parts in PARTS.items():
        measured = [timings[part] for part in parts if part in timings]
        if measured:
            found[WORDS[stage]] = sum(measured) / 1e3
    found[REST] = max(0.0, (outcome.latency or 0.0) - sum(found.values()))
    return found


def latency(answers: list[_Answer]) -> dict[str, float]:
    """The median and 99th percentile of the latency in seconds; empty without answers."""
    if not answers:
        return {}
    ordered = sorted(answer.latency for answer in answers)
    return {"p50": percentile(ordered, 50), "p99": percentile(ordered, 99)}


def stages(answers: list[_Answer]) -> list[dict[str, Any]]:
    """Mean seconds by stage over all answers, in the order of the pipeline."""
    names = [WORDS["wait"], *(WORDS[stage] for stage in PARTS), REST]
    return [
        {"name": name, "seconds": sum(a.stages.get(name, 0.0) for a in answers) / len(answers)}
        for name in names
        if answers
    ]


def month(
    answers: list[_Answer], rate: float, sizes: Mapping[str, FunctionSize], *, local: bool
) -> dict[str, Any] | None:
    """What frames at this rate cost on AWS in 30 days, day and night; None without answers.

    Billed durations are the stages that the functions measured, and what facectl measured
    of the rest of an invocation. `local`: on the local cloud frames share the cores, so
    the fastest tenth stands for a function with cores of its own.
    """
    if not answers:
        return None
    with_face = [answer for answer in answers if answer.faces]
    prices = CURRENT
    billed = {}
    for name, stage, invoked, overhead in (
        (DETECTION_FUNCTION, "detect", answers, DEFAULT.detect_overhead),
        (RECOGNITION_FUNCTION, "embed", with_face, DEFAULT.recognise_overhead),
    ):
        times = sorted(answer.stages.get(WORDS[stage], 0.0) for answer in invoked) or [0.0]
        seconds = percentile(times, 10) if local else sum(times) / len(times)
        size = sizes.get(name, FunctionSize())
        total = len(invoked) * (seconds + overhead)
        billed[name] = Billed(len(invoked), total, size.memory, size.architecture)
    cost = cost_of(billed, [answer.faces for answer in answers], rate, prices)
    if cost is None:
        return None
    basis = "the fastest tenth of the times measured here" if local else "the times measured"
    return {
        "month": cost.camera_month,
        "thousand": cost.thousand,
        "rate": rate,
        "basis": basis,
        "currency": prices.currency,
        "prices": prices.date,
        "region": prices.region,
        "excluded": EXCLUDED,
    }
