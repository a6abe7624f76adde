"""Percentiles and summaries of samples, such as latencies and durations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


def percentile(ordered: Sequence[float], rank: float) -> float:
    """The smallest sample that at least `rank` per cent of the samples do not exceed.

    `ordered` ascending. The nearest-rank definition: the result is always one of the
    samples. Raises ValueError without samples or for a rank outside 0 to 100.
    """
    if not ordered:
        raise ValueError("a percentile needs at least one sample")
    if not 0 <= rank <= 100:
        raise ValueError(f"a percentile is between 0 and 100, not {rank}")
    # 99.9 % of 1000 is 999.0000000000001 in floating point, and must not be rounded up.
    position = math.ceil(len(ordered) * rank / 100 - 1e-9)
    return ordered[max(0, position - 1)]


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of samples, in their unit; all None if there are none."""

    count: int
    mean: float | None = None
    least: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    most: float | None = None

    @classmethod
    def of(cls, samples: Sequence[float]) -> Summary:
        """Summarise samples in any order."""
        if not samples:
            return cls(0)
        ordered = sorted(samples)
        return cls(
            count=len(ordered),
            mean=math.fsum(ordered) / len(ordered),
            least=ordered[0],
            p50=percentile(ordered, 50),
            p90=percentile(ordered, 90),
            p95=percentile(ordered, 95),
            p99=percentile(ordered, 99),
            most=ordered[-1],
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON, rounded to six digits."""
        return {
            name: value if not isinstance(value, float) else round(value, 6)
            for name, value in asdict(self).items()
        }


@dataclass(slots=True)
class RunningSummary:
    """Count, mean and extremes of samples that are not kept."""

    count: int = 0
    total: float = 0.0
    least: float = float("inf")
    most: float = 0.0

    def add(self, sample: float) -> None:
        """Add a sample, which must not be negative."""
        self.count += 1
        self.total += sample
        self.least = min(self.least, sample)
        self.most = max(self.most, sample)

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None

    def as_dict(self) -> dict[str, float]:
        """For JSON, rounded to four digits; empty without samples."""
        if not self.count:
            return {}
        return {
            "mean": round(self.total / self.count, 4),
            "min": round(self.least, 4),
            "max": round(self.most, 4),
        }
