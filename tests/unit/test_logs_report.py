"""What REPORT lines add up to: known numbers, exact results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from facectl import prices
from facectl.logs.events import LogEvent
from facectl.logs.parse import Line, Parser
from facectl.logs.report import Spread, add_up, invocations, suggestion

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


def test_warm_cold_failed_and_timed_out_are_kept_apart() -> None:
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
    found = add_up(FUNCTION, ended, "x86_64")
    assert (found.invocations, found.errors, found.timeouts, found.cold_starts) == (5, 1, 1, 1)
    assert found.duration_ms == Spread(2, 200.0, 100.0, 300.0, 300.0, 300.0)
    assert found.cold_duration_ms.p50 == 900.0
    assert found.init_ms.mean == 800.0
    assert found.billed_seconds == pytest.approx(3.35)
    gb_seconds = 3.35 * 1024 / 1024
    expected = gb_seconds * prices.LAMBDA_GB_SECOND["x86_64"] + 5 * prices.LAMBDA_REQUEST
    assert found.cost == pytest.approx(expected)


def test_arm_is_cheaper() -> None:
    ended = invocations(lines(report("a", 1000)))
    assert add_up("f", ended, "arm64").cost < add_up("f", ended, "x86_64").cost


def test_a_function_tells_its_cold_start_and_memory_where_the_platform_does_not() -> None:
    ended = invocations(
        lines(
            entry("a", cold_start=True, init_ms=540.5, memory_mb=98.8),
            report("a", 569, used=0),
            entry("b", cold_start=False, memory_mb=300.2),
            report("b", 20, used=0),
        )
    )
    found = add_up(FUNCTION, ended, "x86_64")
    assert (found.cold_starts, found.init_ms.most, found.used_mb) == (1, 540.5, 301)


def test_nothing_is_no_division_by_zero() -> None:
    found = add_up(FUNCTION, [], "x86_64")
    assert (found.invocations, found.duration_ms, found.suggested_mb) == (0, Spread(0), None)
    assert found.cost == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Spread(0)),
        ([7.0], Spread(1, 7.0, 7.0, 7.0, 7.0, 7.0)),
        ([float(n) for n in range(1, 101)], Spread(100, 50.5, 50.0, 90.0, 99.0, 100.0)),
    ],
)
def test_percentiles_are_exact(values: list[float], expected: Spread) -> None:
    assert Spread.of(values) == expected


@pytest.mark.parametrize(
    ("used", "given", "expected"),
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
def test_the_memory_to_set_instead(used: float | None, given: float, expected: int | None) -> None:
    assert suggestion(used, given) == expected
