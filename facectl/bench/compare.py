"""Comparison of two runs: what changed, with a confidence interval of each change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facectl.bench.stages import STAGES, WORDS
from facectl.bench.statistics import (
    Interval,
    Statistic,
    bootstrap_difference,
    means,
    percentiles,
)
from facectl.errors import InputError

# Version of the JSON of a run.
FORMAT = "facectl-bench/1"
# Conditions that differ between any two runs.
_ALWAYS_DIFFERENT = {"measured", "load average before"}


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """A run read from its JSON: end-to-end latencies and stages of warm frames, in seconds."""

    name: str
    conditions: Mapping[str, Any]
    latencies: Sequence[float]
    stages: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both runs, in seconds; `interval`: 95 % confidence interval of the change."""

    what: str
    before: float
    after: float
    interval: Interval

    @property
    def change(self) -> float:
        return self.after - self.before

    @property
    def ratio(self) -> float | None:
        """The change divided by the earlier value; None if that is 0."""
        return self.change / self.before if self.before else None

    @property
    def noise(self) -> bool:
        """Whether the interval of the change contains zero."""
        return self.interval.contains_zero

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "change": self.change, "within_noise": self.noise}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The compared figures, and the conditions that differ as (name, before, after)."""

    earlier: str
    rows: Sequence[Row]
    conditions: Sequence[tuple[str, str, str]]

    def as_dict(self) -> dict[str, Any]:
        return {
            "with": self.earlier,
            "rows": [row.as_dict() for row in self.rows],
            "conditions": [
                {"what": what, "before": before, "after": after}
                for what, before, after in self.conditions
            ],
        }


def load_run(file: Path) -> ComparedRun:
    """A run from a file that `facectl bench --json` wrote; raises InputError."""
    try:
        return run_of(json.loads(file.read_text(encoding="utf-8")), str(file))
    except OSError as error:
        raise InputError(f"{file} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file} is no report of facectl bench: {error}",
            hint="facectl bench --json > earlier.json",
        ) from error


def run_of(data: Mapping[str, Any], name: str) -> ComparedRun:
    """A run from its JSON; raises ValueError, KeyError or TypeError for other data."""
    if data["format"] != FORMAT:
        raise ValueError(f"its format is {data['format']!r}, this version reads {FORMAT!r}")
    warm = [row for row in data["requests"] if row["latency_s"] is not None and not row["cold"]]
    return ComparedRun(
        name=name,
        conditions=data["conditions"],
        latencies=[float(row["latency_s"]) for row in warm],
        stages={
            stage: [float(row["stages_s"][stage]) for row in warm if stage in row["stages_s"]]
            for stage in STAGES
        },
    )


def compare(before: ComparedRun, after: ComparedRun) -> Comparison:
    """Compare the warm frames of both runs; raises InputError if one has none."""
    for run in (before, after):
        if not run.latencies:
            raise InputError(f"{run.name} has no warm frame that was answered: nothing to compare")
    rows = [_row("mean end to end", before.latencies, after.latencies, means)]
    rows += [
        _row(f"p{rank} end to end", before.latencies, after.latencies, percentiles(rank))
        for rank in (50, 90, 99)
    ]
    rows += [
        _row(f"mean {WORDS[stage]}", before.stages[stage], after.stages[stage], means)
        for stage in STAGES
        if before.stages[stage] and after.stages[stage]
    ]
    return Comparison(before.name, rows, _differences(before, after))


def _row(what: str, before: Sequence[float], after: Sequence[float], statistic: Statistic) -> Row:
    first, second = (float(statistic(np.asarray([each]))[0]) for each in (before, after))
    return Row(what, first, second, bootstrap_difference(before, after, statistic))


def _differences(before: ComparedRun, after: ComparedRun) -> list[tuple[str, str, str]]:
    """Conditions that differ between the runs, as (name, before, after)."""
    names = dict.fromkeys([*before.conditions, *after.conditions])
    return [
        (name, str(before.conditions.get(name)), str(after.conditions.get(name)))
        for name in names
        if name not in _ALWAYS_DIFFERENT
        and before.conditions.get(name) != after.conditions.get(name)
    ]
