"""Parsing of option times, of log events, and of line filters."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from facectl.errors import InputError
from facectl.logs import times
from facectl.logs.events import LogEvent, functions_named
from facectl.logs.parse import Line, Parser, parse
from facectl.logs.read import LineFilter, in_order
from facectl.logs.search import filter_pattern

NOW = 1_800_000_000.0
ID = "8f507cfc-1111-4a5e-9c5e-0123456789ab"


def event(message: str, *, at: float = NOW, stream: str = "s") -> LogEvent:
    return LogEvent("face-detection", stream, int(at * 1000), message)


def entry(stage: str, at: float = NOW, **fields: Any) -> str:
    time = datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")
    return json.dumps({"time": time, "level": "INFO", "stage": stage, **fields})


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("now", 0),
        ("90s", 90),
        ("10m", 600),
        ("2h ago", 7200),
        ("1h30m", 5400),
        ("1.5 h", 5400),
        ("1d", 86_400),
        ("1w ago", 604_800),
    ],
)
def test_durations_count_back_from_now(text: str, ago: float) -> None:
    assert times.parse_time(text, now=NOW, option="--since") == NOW - ago


@pytest.mark.parametrize(
    "text", ["2027-01-15T08:00:00Z", "2027-01-15T08:00:00+00:00", "2027-01-15T09:00+01:00"]
)
def test_iso_times(text: str) -> None:
    assert times.parse_time(text, now=NOW, option="--since") == NOW


def test_an_iso_time_without_zone_is_local() -> None:
    local = datetime.fromtimestamp(NOW).isoformat()  # noqa: DTZ006
    assert times.parse_time(local, now=NOW, option="--since") == NOW


@pytest.mark.parametrize("text", ["", "yesterday-ish", "10", "10 parsecs", "2027-13-01"])
def test_a_text_that_is_not_a_time(text: str) -> None:
    with pytest.raises(InputError, match=r"--since .* is not a time"):
        times.parse_time(text, now=NOW, option="--since")


def test_a_window_is_in_the_past() -> None:
    assert times.window("10m", None, now=NOW) == times.Window(NOW - 600, NOW)
    with pytest.raises(InputError, match=r"--since .* is in the future"):
        times.window("2030-01-01", None, now=NOW)
    with pytest.raises(InputError, match=r"--until .* is in the future"):
        times.window("10m", "2030-01-01", now=NOW)
    assert times.window("10m", "2030-01-01", now=NOW, ahead=True).end > NOW
    with pytest.raises(InputError, match="before --since"):
        times.window("10m", "1h", now=NOW)


def test_functions_have_short_names() -> None:
    assert functions_named("recognition") == functions_named("face-recognition")
    assert functions_named(None) == ("face-detection", "face-recognition")
    with pytest.raises(InputError, match="there are face-detection and face-recognition"):
        functions_named("detector")


def test_a_line_of_a_function() -> None:
    line = parse(event(entry("received", NOW - 1, request_id="r", invocation=ID), at=NOW))
    assert (line.kind, line.stage, line.request_id, line.invocation) == (
        "entry",
        "received",
        "r",
        ID,
    )
    assert line.at == NOW - 1


def test_a_timestamp_that_is_days_off_is_ignored() -> None:
    assert parse(event(entry("received", NOW - 90_000))).at == NOW


REPORT = (
    f"REPORT RequestId: {ID}\tDuration: 163.80 ms\tBilled Duration: 394 ms\t"
    "Memory Size: 3008 MB\tMax Memory Used: 301 MB\tInit Duration: 230.03 ms\t"
)


@pytest.mark.parametrize(
    ("message", "kind", "level"),
    [
        (f"START RequestId: {ID} Version: $LATEST", "start", "DEBUG"),
        (f"END RequestId: {ID}", "end", "DEBUG"),
        (REPORT, "report", "INFO"),
        (REPORT + "Status: timeout", "report", "ERROR"),
        (f"2027-01-15T08:00:03.006Z {ID} Task timed out after 3.01 seconds", "fault", "ERROR"),
        (
            f"RequestId: {ID} Error: Runtime exited with error: signal: killed\nRuntime.ExitError",
            "fault",
            "ERROR",
        ),
    ],
)
def test_lambdas_text_lines(message: str, kind: str, level: str) -> None:
    line = parse(event(message))
    assert (line.kind, line.level, line.invocation) == (kind, level, ID)


def test_the_metrics_of_a_report() -> None:
    assert parse(event(REPORT)).fields == {
        "duration_ms": 163.8,
        "billed_ms": 394.0,
        "memory_mb": 3008.0,
        "used_mb": 301.0,
        "init_ms": 230.03,
    }
    failed = parse(event(REPORT + "Status: error\tError Type: Runtime.ExitError"))
    assert failed.fields["status"] == "error"
    assert failed.fields["error_type"] == "Runtime.ExitError"


def test_a_report_in_json() -> None:
    record = {
        "requestId": ID,
        "status": "timeout",
        "metrics": {
            "durationMs": 3000.0,
            "billedDurationMs": 3000,
            "memorySizeMB": 1769,
            "maxMemoryUsedMB": 250,
            "initDurationMs": 812.5,
        },
    }
    message = {"time": "2027-01-15T08:00:00.500Z", "type": "platform.report", "record": record}
    line = parse(event(json.dumps(message)))
    assert (line.kind, line.level, line.invocation, line.at) == ("report", "ERROR", ID, NOW + 0.5)
    assert line.number("init_ms") == 812.5
    assert line.fields["status"] == "timeout"


@pytest.mark.parametrize(
    ("kind", "record", "expected"),
    [
        ("start", {"requestId": ID}, ("start", None)),
        ("runtimeDone", {"requestId": ID, "status": "success"}, ("end", None)),
        ("runtimeDone", {"requestId": ID, "status": "timeout"}, ("fault", "timeout")),
        ("runtimeDone", {"requestId": ID, "status": "failure"}, ("fault", "killed")),
        ("initReport", {"status": "timeout"}, ("fault", "init")),
        ("initStart", {}, ("init", None)),
    ],
)
def test_platform_lines_in_json(kind: str, record: Any, expected: tuple[str, str | None]) -> None:
    line = parse(event(json.dumps({"type": f"platform.{kind}", "record": record})))
    assert (line.kind, line.fields.get("cause")) == expected


@pytest.mark.parametrize("message", ["{not json", "[]", "{}", "null", "Traceback …", ""])
def test_any_other_text_is_a_line(message: str) -> None:
    assert parse(event(message)).event.message == message


def test_lines_of_ministack_belong_to_the_current_invocation() -> None:
    lines = list(
        Parser().lines(
            [
                event(f"START RequestId: {ID} Version: $LATEST", at=NOW),
                event(entry("received", NOW - 2), at=NOW),
                event("Worker process died", at=NOW),
                event(f"END RequestId: {ID}", at=NOW),
            ]
        )
    )
    assert [line.kind for line in lines] == ["start", "entry", "fault", "end"]
    assert {line.invocation for line in lines} == {ID}
    assert lines[2].fields["cause"] == "killed"
    # It started at the time of its first line, not at the time that MiniStack gave to all.
    assert lines[0].at == NOW - 2


def test_invocations_are_tracked_by_stream() -> None:
    other = ID.replace("8", "9")
    lines = list(
        Parser().lines(
            [
                event(f"START RequestId: {ID} Version: 1", stream="a"),
                event(f"START RequestId: {other} Version: 1", stream="b"),
                event("Task timed out after 2.00 seconds", stream="a"),
                event("Task timed out after 2.00 seconds", stream="b"),
            ]
        )
    )
    assert [line.invocation for line in lines if line.kind == "fault"] == [ID, other]


def lines_at(*moments: float) -> list[Line]:
    return [parse(event(entry("x", at), at=NOW)) for at in moments]


def test_lines_are_sorted_by_time_in_a_limited_buffer() -> None:
    late = lines_at(NOW, NOW - 3, NOW - 1, NOW - 2)
    assert [line.at for line in in_order(late)] == [NOW - 3, NOW - 2, NOW - 1, NOW]
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield lines_at(NOW + taken)[0]

    next(in_order(endless(), buffer=10))
    assert taken == 11


def test_a_filter_selects_by_level_request_and_text() -> None:
    error = parse(event(json.dumps({"level": "ERROR", "request_id": "r", "message": "a b"})))
    info = parse(event(json.dumps({"level": "INFO", "request_id": "q"})))
    assert [LineFilter.of("warn", None, None)(line) for line in (error, info)] == [True, False]
    assert [LineFilter.of("debug", "q", None)(line) for line in (error, info)] == [False, True]
    assert [LineFilter.of("debug", None, "a +b")(line) for line in (error, info)] == [True, False]
    with pytest.raises(InputError, match="debug, info, warning, error"):
        LineFilter.of("loud", None, None)
    with pytest.raises(InputError, match="not a regular expression"):
        LineFilter.of("info", None, "(")


def test_a_filter_pattern_needs_an_id_without_special_characters() -> None:
    assert filter_pattern("a-1.jpg") == '{ $.request_id = "a-1.jpg" }'
    assert filter_pattern("a", prefix=True) == '{ $.request_id = "a*" }'
    assert filter_pattern('a" || $.x = "b') == ""
    assert filter_pattern("größe") == ""
