"""Statistics of REPORT lines: exact results for known numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from facectl import prices
from facectl.logs.events import LogEvent
from facectl.logs.parse import Line, Parser
from facectl.logs.report import invocations, suggested_memory, summarise
from facectl.summary import Summary

FUNCTION = "face-detection"


def lines(*messages: str) -> list[Line]:
    events = [LogEvent(FUNCTION, "s", n, message) for n, message in enumerate(messages)]
    return list(Parser().lines(events))


def report(name: str, duration: float, *, used: int = 300, more: str = "") -> str:
    return (
        f"REPORT RequestId: {name}\tDuration: {duration:.2f} ms\tBilled Duration: {duration:.0f} ms"
        f"\tMemory Size: 1024 MB\tMax Memory Used: {used} MB{more}"
    )


def entry(name: str, **fields: Any) -> str:
    return json.dumps({"stage": "x", "invocation": name, **fields})


def test_warm_cold_failed_and_timed_out_invocations_are_separate() -> None:
    ended = invocations(
        lines(
            report("a", 100),
            report("b", 300),
            report("c", 900, more="\tInit Duration: 800.00 ms"),
            report("d", 2000, more="\tStatus: timeout"),
            "START RequestId: e Version: 1",
            "Worker process died",
            report("e", 50),
            "START RequestId: unfinished Version: 1",
        )
    )
    result = summarise(FUNCTION, ended, "x86_64")
    assert (result.invocations, result.errors, result.timeouts, result.cold_starts) == (5, 1, 1, 1)
    assert result.duration_ms == Summary.of([100.0, 300.0])
    assert result.as_dict()["duration_ms"] == {
        "count": 2,
        "mean": 200.0,
        "p50": 100.0,
        "p90": 300.0,
        "p99": 300.0,
        "most": 300.0,
    }
    assert result.cold_duration_ms.p50 == 900.0
    assert result.init_ms.mean == 800.0
    assert result.billed_seconds == pytest.approx(3.35)
    gb_seconds = 3.35 * 1024 / 1024
    expected = gb_seconds * prices.LAMBDA_GB_SECOND["x86_64"] + 5 * prices.LAMBDA_REQUEST
    assert result.cost == pytest.approx(expected)


def test_arm_is_cheaper() -> None:
    ended = invocations(lines(report("a", 1000)))
    assert summarise("f", ended, "arm64").cost < summarise("f", ended, "x86_64").cost


def test_cold_starts_and_memory_come_from_the_function_if_the_platform_reports_none() -> None:
    ended = invocations(
        lines(
            entry("a", cold_start=True, init_ms=540.5, memory_mb=98.8),
            report("a", 569, used=0),
            entry("b", cold_start=False, memory_mb=300.2),
            report("b", 20, used=0),
        )
    )
    result = summarise(FUNCTION, ended, "x86_64")
    assert (result.cold_starts, result.init_ms.most, result.used_mb) == (1, 540.5, 301)


def test_a_report_without_invocations() -> None:
    result = summarise(FUNCTION, [], "x86_64")
    assert (result.invocations, result.duration_ms, result.suggested_mb) == (
        0,
        Summary(0),
        None,
    )
    assert result.cost == 0


@pytest.mark.parametrize(
    ("used", "configured", "expected"),
    [
        (300, 3008, 1769),
        (300, 1769, None),
        (300, 1024, None),
        (1000, 1024, 1280),
        (2800, 3008, 3520),
        (1700, 3008, 2176),
        (100, 128, 512),
        (None, 3008, None),
    ],
)
def test_the_suggested_memory(used: float | None, configured: float, expected: int | None) -> None:
    assert suggested_memory(used, configured) == expected
