"""The figures of a run, its targets and verdict, as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facectl import paths
from facectl.bench.compare import FORMAT, Comparison
from facectl.bench.cost import Cost
from facectl.bench.recorder import COLD_KEYS, FrameTiming
from facectl.bench.run import Run
from facectl.bench.stages import STAGES, Breakdown, stages_of
from facectl.bench.truth import Truth, stem
from facectl.errors import IncompleteError
from facectl.naming import FUNCTIONS
from facectl.summary import Summary

# Statuses of frames without an answer.
_WITHOUT_ANSWER = ("unanswered", "in-flight", "refused", "failed", "unsent")
# Sending slower than requested by this factor and these seconds: the client is the bottleneck.
_SLOW_FACTOR = 1.05
_SLACK_SECONDS = 0.25
_CSV_COLUMNS = (
    "index",
    "name",
    "request_id",
    "status",
    "result",
    "label",
    "correct",
    "cold",
    "due_s",
    "sent_s",
    "answered_s",
    "latency_s",
    "post_s",
    "attempts",
    *(f"stage_{stage}_s" for stage in STAGES),
    "error",
)
# Spreadsheets evaluate cells that start like this; names come from outside.
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets of a run: seconds end to end, and the number of frames without an answer."""

    mean: float | None = 3.0
    p99: float | None = None
    max_unanswered: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """One target and its measured value, None if nothing was measured."""

    what: str
    target: float
    measured: float | None
    unit: str

    @property
    def met(self) -> bool:
        return self.measured is not None and self.measured <= self.target

    def as_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "target": self.target,
            "measured": None if self.measured is None else round(self.measured, 6),
            "met": self.met,
        }


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a run. Durations in seconds.

    `late`: unanswered frames whose answer came after their deadline. `retried`:
    frames whose POST needed more than one attempt. `warm`, `cold`: end-to-end latency
    of frames without and with a cold start. `post`: the accepted attempt, as the
    client measures it. `target_rate`, `actual_rate`: frames per second, requested and
    sent. `course_average`: wall time divided by requests, the figure of the CSE 546
    course project's workload generator. `bytes_sent`, `client_cpu`: bytes and CPU seconds of
    this client for each frame that it tried to send, None where they were not measured.
    """

    statuses: Mapping[str, int]
    late: int
    duplicates: int
    retried: int
    everything: Summary
    warm: Summary
    cold: Summary
    post: Summary
    starts: Mapping[str, Summary]
    stages: Breakdown
    cold_stages: Breakdown
    wall: float
    throughput: float | None
    target_rate: float | None
    actual_rate: float | None
    bytes_sent: float | None = None
    client_cpu: float | None = None

    @classmethod
    def of(cls, run: Run) -> Figures:
        """The figures of a run, complete or not."""
        samples = run.samples
        answered = [sample for sample in samples if sample.latency is not None]
        warm = [sample for sample in answered if not sample.cold]
        cold = [sample for sample in answered if sample.cold]
        posts = [sample.post for sample in samples if sample.post is not None]
        first = min((post.began for post in posts), default=0.0)
        last = max((sample.answered or 0.0 for sample in answered), default=first)
        wall = last - first
        sent = [post.sent for post in posts]
        return cls(
            statuses=Counter(sample.status for sample in samples),
            late=run.counts.late,
            duplicates=run.counts.duplicates,
            retried=sum(post.attempts > 1 for post in posts),
            everything=_latency(answered),
            warm=_latency(warm),
            cold=_latency(cold),
            post=Summary.of([post.last for post in posts if post.last is not None]),
            starts=_starts(cold),
            stages=_breakdown(run, warm),
            cold_stages=_breakdown(run, cold),
            wall=wall,
            throughput=len(answered) / wall if wall > 0 else None,
            target_rate=_rate([sample.due for sample in samples if sample.post is not None])
            if run.workload.concurrency is None
            else None,
            actual_rate=_rate(sent),
            bytes_sent=_per_frame(run.bytes_sent, len(posts)),
            client_cpu=_per_frame(run.client_cpu, len(posts)),
        )

    @property
    def answered(self) -> int:
        return self.statuses.get("answered", 0)

    @property
    def sent(self) -> int:
        """Frames that the function accepted."""
        return sum(self.statuses.get(each, 0) for each in ("answered", "unanswered", "in-flight"))

    @property
    def without_answer(self) -> int:
        return sum(self.statuses.get(status, 0) for status in _WITHOUT_ANSWER)

    @property
    def course_average(self) -> float | None:
        """Wall time divided by the accepted frames, in seconds."""
        return self.wall / self.sent if self.sent else None

    @property
    def client_too_slow(self) -> bool:
        """Whether the client sent slower than the schedule."""
        if self.target_rate is None or self.actual_rate is None or self.sent < 2:
            return False
        due, sent = self.sent / self.target_rate, self.sent / self.actual_rate
        return sent > due * _SLOW_FACTOR and sent - due > _SLACK_SECONDS

    def as_dict(self) -> dict[str, Any]:
        return {
            "frames": dict(self.statuses),
            "sent": self.sent,
            "answered": self.answered,
            "refused": self.statuses.get("refused", 0),
            "unanswered": self.statuses.get("unanswered", 0),
            "late": self.late,
            "without_answer": self.without_answer,
            "duplicates": self.duplicates,
            "retried": self.retried,
            "end_to_end_s": {
                "all": self.everything.as_dict(),
                "warm": self.warm.as_dict(),
                "cold": self.cold.as_dict(),
            },
            "post_s": self.post.as_dict(),
            "stages_s": self.stages.as_dict(),
            "cold_stages_s": self.cold_stages.as_dict(),
            "cold_starts_ms": {name: each.as_dict() for name, each in self.starts.items()},
            "wall_s": round(self.wall, 6),
            "throughput_fps": _rounded(self.throughput),
            "asked_fps": _rounded(self.target_rate),
            "reached_fps": _rounded(self.actual_rate),
            "course_average_s": _rounded(self.course_average),
            "sent_bytes_per_frame": None if self.bytes_sent is None else round(self.bytes_sent),
            "client_cpu_ms_per_frame": None
            if self.client_cpu is None
            else round(self.client_cpu * 1e3, 3),
        }


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """A run with its figures, targets and conditions. `baseline`: the platform alone."""

    run: Run
    figures: Figures
    targets: Targets
    conditions: Mapping[str, Any]
    synthetic: bool
    truth: Truth | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    cost: Cost | None = None
    cost_missing: str | None = None
    baseline: Figures | None = None
    comparison: Comparison | None = None

    @property
    def above_baseline(self) -> float | None:
        """Mean end to end of warm frames minus the baseline's, in seconds."""
        if (
            self.baseline is None
            or self.baseline.warm.mean is None
            or self.figures.warm.mean is None
        ):
            return None
        return self.figures.warm.mean - self.baseline.warm.mean

    @property
    def verdict(self) -> list[Check]:
        """A check for each target; mean and p99 include cold starts."""
        everything = self.figures.everything
        checks = []
        if self.targets.mean is not None:
            checks.append(Check("mean end to end", self.targets.mean, everything.mean, "s"))
        if self.targets.p99 is not None:
            checks.append(Check("p99 end to end", self.targets.p99, everything.p99, "s"))
        missing = float(self.figures.without_answer)
        checks.append(
            Check("frames without an answer", float(self.targets.max_unanswered), missing, "")
        )
        return checks

    @property
    def exit_code(self) -> int:
        """0 when the targets are met, 1 when one is missed, 3 when the run ended early."""
        if not self.run.complete:
            return IncompleteError.exit_code
        return 0 if all(check.met for check in self.verdict) else 1

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which `--compare` reads; the baseline has the key of earlier versions."""
        return {
            "format": FORMAT,
            "complete": self.run.complete,
            "ended_early": self.run.ended,
            "synthetic": self.synthetic,
            "conditions": dict(self.conditions),
            "figures": self.figures.as_dict(),
            "clock": None if self.run.offset is None else self.run.offset.as_dict(),
            "truth": None if self.truth is None else self.truth.as_dict(),
            "cost": None if self.cost is None else self.cost.as_dict(),
            "cost_missing": self.cost_missing,
            "floor": None if self.baseline is None else self.baseline.as_dict(),
            "comparison": None if self.comparison is None else self.comparison.as_dict(),
            "verdict": [check.as_dict() for check in self.verdict],
            "met": self.exit_code == 0,
            "problems": list(self.run.problems),
            "requests": rows(self.run, self.labels),
        }


def rows(run: Run, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row for each request, for JSON and CSV; times in seconds since the first was due."""
    start = min((sample.due for sample in run.samples), default=0.0)
    return [_row(sample, run, start, labels) for sample in run.samples]


def _row(sample: FrameTiming, run: Run, start: float, labels: Mapping[str, str]) -> dict[str, Any]:
    label = labels.get(stem(sample.name))
    post = sample.post
    stages = stages_of(sample, run.readings, run.offset) or {}
    return {
        "index": sample.index,
        "name": sample.name,
        "request_id": sample.request_id,
        "status": sample.status,
        "result": sample.result,
        "label": label,
        "correct": None if label is None or sample.result is None else label == sample.result,
        "cold": sample.cold,
        "due_s": round(sample.due - start, 6),
        "sent_s": None if post is None else round(post.sent - start, 6),
        "answered_s": None if sample.answered is None else round(sample.answered - start, 6),
        "latency_s": _rounded(sample.latency),
        "post_s": None if post is None else _rounded(post.last),
        "attempts": None if post is None else post.attempts,
        "stages_s": {name: round(seconds, 6) for name, seconds in stages.items()},
        "error": sample.error,
    }


def _breakdown(run: Run, samples: Sequence[FrameTiming]) -> Breakdown:
    found = (stages_of(sample, run.readings, run.offset) for sample in samples)
    return Breakdown.of([stages for stages in found if stages is not None])


def _latency(samples: Sequence[FrameTiming]) -> Summary:
    return Summary.of([sample.latency for sample in samples if sample.latency is not None])


def _starts(cold: Sequence[FrameTiming]) -> dict[str, Summary]:
    """Initialisation time of each function, in ms."""
    found = {
        function: [s.timings_ms[key] for s in cold if s.timings_ms and key in s.timings_ms]
        for function, key in zip(FUNCTIONS, COLD_KEYS, strict=True)
    }
    return {function: Summary.of(ms) for function, ms in found.items() if ms}


def _rate(times: Sequence[float]) -> float | None:
    """Events per second between the first and the last."""
    if len(times) < 2 or max(times) == min(times):
        return None
    return (len(times) - 1) / (max(times) - min(times))


def _per_frame(total: float | None, frames: int) -> float | None:
    return None if total is None or not frames else total / frames


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def write_csv(report: BenchmarkReport, file: Path) -> None:
    """Write one row for each request; raises InputError if the file can't be written."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV_COLUMNS)
    writer.writeheader()
    for row in rows(report.run, report.labels):
        stages = row.pop("stages_s")
        cells = {**row, **{f"stage_{stage}_s": stages.get(stage) for stage in STAGES}}
        writer.writerow({name: _cell(value) for name, value in cells.items()})
    paths.write_text(file, text.getvalue(), mode=0o644)


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA_PREFIXES):
        return f"'{value}"
    return value
