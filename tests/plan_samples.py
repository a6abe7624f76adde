"""Loads, times and reports for the tests of `facectl plan`."""

from __future__ import annotations

from typing import Any

from facectl.plan.formulas import Capacity
from facectl.plan.inputs import DayCurve, Load, Settings
from facectl.plan.times import Duration, ServiceTimes

FLAT = DayCurve.parse("flat")

# Round numbers without variation: results can be computed by hand.
ROUND = ServiceTimes(
    detect=Duration(0.08),
    embed=Duration(0.04),
    further_face=0.5,
    detect_overhead=0.02,
    recognise_overhead=0.01,
    post=Duration(0.03),
    poll=Duration(0.02),
    answer=Duration(0.05),
    detect_start=Duration(1.0),
    recognise_start=Duration(2.0),
    source="round numbers",
)
# One vCPU: the times are those of `ROUND`.
ONE_VCPU = Settings(memory=1769, precision="fp32")


def load(cameras: int = 100, fps: float = 1.0, faces: float = 1.0, hours: float = 1.0) -> Load:
    return Load(cameras, fps, faces, hours, FLAT)


def capacity(cameras: int = 100, settings: Settings = ONE_VCPU, **more: Any) -> Capacity:
    return Capacity.of(load(cameras, **more), settings, ROUND)


def bench_report(frames: int = 40, **conditions: str) -> dict[str, Any]:
    """What `facectl bench -c 1 --json` writes, of frames that all take the same time."""
    row = {
        "status": "answered",
        "cold": False,
        "latency_s": 0.2,
        "post_s": 0.07,
        "stages_s": {
            "encode": 0.004,
            "post": 0.005,
            "detect": 0.05,
            "request_queue": 0.003,
            "embed": 0.03,
            "response_queue": 0.05,
            "poll": 0.002,
        },
    }
    # Billed seconds of 60 ms and 42 ms in functions of 1 GB.
    prices = {"lambda_gb_second": {"x86_64": 0.0001}}
    parts = {"face-detection": 0.006, "face-recognition": 0.0042, "queues": 0.1}
    return {
        "format": "facectl-bench/1",
        "conditions": {
            "target": "local cloud, MiniStack 1.5.33",
            "workload": "closed loop, 1 in flight",
            "measured": "2026-11-28T07:46:42+00:00",
            "face-detection": "1024 MB, x86_64, zip",
            "face-recognition": "1024 MB, x86_64, zip",
            **conditions,
        },
        "figures": {"cold_starts_ms": {"face-detection": {"mean": 900.0}}},
        "cost": {"parts_per_1000_frames": parts, "prices": prices},
        "requests": [{**row, "index": number} for number in range(frames)],
    }
