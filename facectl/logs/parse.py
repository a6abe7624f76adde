"""Parses log events: the functions' JSON lines and the platform's messages.

Lambda's platform writes text (`REPORT RequestId: …`) or, if a function's
log format is JSON, objects with a `type`. Source: AWS Lambda Developer Guide,
"Working with Lambda function logs" and "Lambda Telemetry API event schema".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from facectl.logs.events import LogEvent

# entry: written by a function. fault: the platform reports that an invocation failed.
Kind = Literal["entry", "init", "start", "end", "report", "fault", "text"]
Cause = Literal["timeout", "killed", "error", "init"]

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
# Timestamps of a function that differ more than this from CloudWatch's are ignored.
_MAX_CLOCK_OFFSET = 3600.0

_ID = re.compile(r"RequestId: (\S+)")
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_TIMED_OUT = re.compile(r"Task timed out after ([\d.]+) seconds")
_EXITED = re.compile(r"Runtime exited|signal: killed|Runtime\.ExitError|^Worker process died")
_TEXT_METRICS = {
    "duration_ms": re.compile(r"(?<!Billed )(?<!Init )(?<!Restore )Duration: ([\d.]+) ms"),
    "billed_ms": re.compile(r"(?<!Restore )Billed Duration: ([\d.]+) ms"),
    "memory_mb": re.compile(r"Memory Size: (\d+) MB"),
    "used_mb": re.compile(r"Max Memory Used: (\d+) MB"),
    "init_ms": re.compile(r"Init Duration: ([\d.]+) ms"),
}
_JSON_METRICS = {
    "duration_ms": "durationMs",
    "billed_ms": "billedDurationMs",
    "memory_mb": "memorySizeMB",
    "used_mb": "maxMemoryUsedMB",
    "init_ms": "initDurationMs",
}
_STATUS = re.compile(r"Status: (\w+)")
_ERROR_TYPE = re.compile(r"Error Type: (\S+)")


@dataclass(frozen=True, slots=True)
class Line:
    """A parsed event. `invocation` is Lambda's request id.

    `at` is in seconds of the epoch, by the function's clock if the line has its time.
    """

    event: LogEvent
    kind: Kind
    at: float
    level: str = "INFO"
    invocation: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def function(self) -> str:
        return self.event.function

    @property
    def stage(self) -> str:
        return str(self.fields.get("stage", "")) if self.kind == "entry" else ""

    @property
    def request_id(self) -> str | None:
        value = self.fields.get("request_id") if self.kind == "entry" else None
        return value if isinstance(value, str) else None

    def number(self, name: str) -> float | None:
        """The value of a numeric field, None if it is missing or not a number."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value)


class Parser:
    """Parses events of several streams and tracks the current invocation of each stream."""

    def __init__(self) -> None:
        self._invocations: dict[tuple[str, str], str] = {}
        self._started: dict[tuple[str, str], Line] = {}

    def lines(self, events: Iterable[LogEvent]) -> Iterator[Line]:
        """A line for each event; the lines of one stream stay in order."""
        for event in events:
            key = (event.function, event.stream)
            line = parse(event)
            if line.invocation is not None:
                self._invocations[key] = line.invocation
            elif key in self._invocations:
                line = replace(line, invocation=self._invocations[key])
            if (start := self._started.pop(key, None)) is not None:
                # MiniStack gives all events of an invocation the time of its end.
                yield replace(start, at=min(start.at, line.at))
            if line.kind == "start":
                self._started[key] = line
            else:
                yield line
        yield from self._started.values()
        self._started.clear()


def parse(event: LogEvent) -> Line:
    """Parse one event, without the context of its stream."""
    at = event.timestamp / 1000
    message = event.message.strip()
    if message.startswith("{"):
        try:
            fields = json.loads(message)
        except (ValueError, RecursionError):
            fields = None
        if isinstance(fields, dict):
            if str(fields.get("type", "")).startswith("platform."):
                return _platform(event, fields, at)
            return _entry(event, fields, at)
    return _text(event, message, at)


def _entry(event: LogEvent, fields: dict[str, Any], at: float) -> Line:
    logged_at = _seconds(fields.get("time"))
    if logged_at is not None and abs(logged_at - at) < _MAX_CLOCK_OFFSET:
        at = logged_at
    level = str(fields.get("level", "INFO")).upper()
    level = {"WARN": "WARNING", "CRITICAL": "ERROR", "FATAL": "ERROR", "TRACE": "DEBUG"}.get(
        level, level
    )
    invocation = fields.get("invocation")
    # The directive of `deploy --metrics` is for CloudWatch; its figures are members of their own.
    fields.pop("_aws", None)
    return Line(
        event,
        "entry",
        at,
        level if level in LEVELS else "INFO",
        invocation if isinstance(invocation, str) else None,
        fields,
    )


def _text(event: LogEvent, message: str, at: float) -> Line:
    invocation = matched[1] if (matched := _ID.search(message)) else None
    word = message.partition(" ")[0]
    if word in {"START", "END"} and invocation:
        return Line(event, "start" if word == "START" else "end", at, "DEBUG", invocation)
    if word == "REPORT" and invocation:
        metrics = {
            name: float(match[1])
            for name, pattern in _TEXT_METRICS.items()
            if (match := pattern.search(message))
        }
        return _report(event, at, invocation, {**metrics, **_status(message)})
    if word in {"INIT_START", "INIT_REPORT"}:
        status = _status(message)
        if "status" in status:
            return Line(event, "fault", at, "ERROR", None, {"cause": "init", "text": message})
        return Line(event, "init", at, "DEBUG")
    if cause := _cause(message):
        if invocation is None and (match := _UUID.search(message)):
            invocation = match[0]
        return Line(event, "fault", at, "ERROR", invocation, {"cause": cause, "text": message})
    return Line(event, "text", at, "INFO", invocation)


def _cause(message: str) -> Cause | None:
    if _TIMED_OUT.search(message):
        return "timeout"
    if _EXITED.search(message):
        return "killed"
    if message.startswith("[ERROR]"):
        return "error"
    return None


def _status(message: str) -> dict[str, str]:
    status: dict[str, str] = {}
    if match := _STATUS.search(message):
        status["status"] = match[1]
    if match := _ERROR_TYPE.search(message):
        status["error_type"] = match[1]
    return status


def _platform(event: LogEvent, fields: dict[str, Any], at: float) -> Line:
    record = fields.get("record")
    record = record if isinstance(record, dict) else {}
    at = _seconds(fields.get("time")) or at
    invocation = record.get("requestId")
    event_type = str(fields["type"]).removeprefix("platform.")
    status = {
        name: str(record[key])
        for name, key in (("status", "status"), ("error_type", "errorType"))
        if record.get(key) is not None
    }
    if event_type == "report":
        values = record.get("metrics")
        values = values if isinstance(values, dict) else {}
        metrics = {name: float(values[key]) for name, key in _JSON_METRICS.items() if key in values}
        return _report(event, at, invocation, {**metrics, **status})
    failed = status.get("status", "success") != "success"
    if event_type in {"initReport", "initRuntimeDone"} and failed:
        return Line(event, "fault", at, "ERROR", None, {"cause": "init", "text": event.message})
    if event_type == "start":
        return Line(event, "start", at, "DEBUG", invocation)
    if event_type == "runtimeDone" and not failed:
        return Line(event, "end", at, "DEBUG", invocation)
    if event_type == "runtimeDone":
        cause = {"timeout": "timeout", "failure": "killed"}.get(status["status"], "error")
        return Line(
            event, "fault", at, "ERROR", invocation, {"cause": cause, "text": event.message}
        )
    return Line(event, "init", at, "DEBUG", invocation)


def _report(event: LogEvent, at: float, invocation: Any, fields: dict[str, Any]) -> Line:
    failed = fields.get("status", "success") != "success"
    return Line(event, "report", at, "ERROR" if failed else "INFO", invocation, fields)


def _seconds(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
