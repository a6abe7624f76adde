"""Made-up samples, runs and reports of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facectl.bench.clocks import Readings
from facectl.bench.recorder import FrameTiming, PostTiming, Stamps
from facectl.bench.report import BenchmarkReport, Figures, Targets
from facectl.bench.run import Run
from facectl.bench.workload import Workload
from facectl.stream.outcomes import FrameCounts

READINGS = Readings(0.0, 0.0)


def answered(index: int, latency: float, **more: Any) -> FrameTiming:
    """Due at `index` seconds, posted when due, in the functions for a tenth of a second."""
    due = float(index)
    fields: dict[str, Any] = {
        "index": index,
        "name": f"f{index}.jpg",
        "request_id": f"r-{index}",
        "status": "answered",
        "due": due,
        "opened": due,
        "result": "Ann",
        "latency": latency,
        "post": PostTiming(due, due + 0.05, 1, 0.05),
        "stamps": Stamps(due + latency - 0.02, due + latency - 0.01),
        "timings_ms": {"detect": 60.0, "request_queue": 5.0, "embed": 40.0},
        "faces": 1,
    }
    return FrameTiming(**{**fields, **more})


def lost(index: int, status: Any = "unanswered") -> FrameTiming:
    return FrameTiming(index, f"f{index}.jpg", f"r-{index}", status, index, index, error="no route")


def run_with(samples: Sequence[FrameTiming], **more: Any) -> Run:
    fields: dict[str, Any] = {
        "samples": samples,
        "workload": Workload(),
        "counts": FrameCounts(duplicates=2),
        "readings": READINGS,
        "began": 0.0,
        "seconds": 10.0,
    }
    return Run(**{**fields, **more})


def report_of(run: Run, **more: Any) -> BenchmarkReport:
    fields: dict[str, Any] = {
        "run": run,
        "figures": Figures.of(run),
        "targets": Targets(),
        "conditions": {"source": "clip.mp4", "workload": "open loop", "target": "nowhere"},
        "synthetic": False,
    }
    return BenchmarkReport(**{**fields, **more})
