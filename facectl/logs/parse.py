"""What a log event says: a line of ours, or the platform's word about an invocation.

Lambda's platform speaks text (`REPORT RequestId: …`) or, where a function's
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

# entry: a line of ours. fault: an invocation that did not end by itself.
Kind = Literal["entry", "init", "start", "end", "report", "fault", "text"]
Cause = Literal["timeout", "killed", "error", "init"]

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
# A clock of the function that is further off than this is not believed.
_BELIEVED_SECONDS = 3600.0

_ID = re.compile(r"RequestId: (\S+)")
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_TIMED_OUT = re.compile(r"Task timed out after ([\d.]+) seconds")
_EXITED = re.compile(r"Runtime exited|signal: killed|Runtime\.ExitError|^Worker process died")
_FIGURES = {
    "duration_ms": re.compile(r"(?<!Billed )(?<!Init )(?<!Restore )Duration: ([\d.]+) ms"),
    "billed_ms": re.compile(r"(?<!Restore )Billed Duration: ([\d.]+) ms"),
    "memory_mb": re.compile(r"Memory Size: (\d+) MB"),
    "used_mb": re.compile(r"Max Memory Used: (\d+) MB"),
    "init_ms": re.compile(r"Init Duration: ([\d.]+) ms"),
}
_JSON_FIGURES = {
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
    """An event, understood. `at` is in seconds of the epoch, by the function's own clock
    where the line tells it; `invocation` is Lambda's request id.
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
        """A field that is a number, None where it is not one."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value)


class Parser:
    """Reads the events of several streams as they come; knows which invocation each one serves."""

    def __init__(self) -> None:
        self._serving: dict[tuple[str, str], str] = {}
        self._begun: dict[tuple[str, str], Line] = {}

    def lines(self, events: Iterable[LogEvent]) -> Iterator[Line]:
        """A line for each event; of one stream in its order."""
        for event in events:
            key = (event.function, event.stream)
            line = parse(event)
            if line.invocation is not None:
                self._serving[key] = line.invocation
            elif key in self._serving:
                line = replace(line, invocation=self._serving[key])
            if (start := self._begun.pop(key, None)) is not None:
                # MiniStack stamps all events of an invocation with its end.
                yield replace(start, at=min(start.at, line.at))
            if line.kind == "start":
                self._begun[key] = line
            else:
                yield line
        yield from self._begun.values()
        self._begun.clear()


def parse(event: LogEvent) -> Line:
    """The line that an event is, by itself."""
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
    own = _seconds(fields.get("time"))
    if own is not None and abs(own - at) < _BELIEVED_SECONDS:
        at = own
    level = str(fields.get("level", "INFO")).upper()
    level = {"WARN": "WARNING", "CRITICAL": "ERROR", "FATAL": "ERROR", "TRACE": "DEBUG"}.get(
        level, level
    )
    invocation = fields.get("invocation")
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
        figures = {
            name: float(found[1])
            for name, pattern in _FIGURES.items()
            if (found := pattern.search(message))
        }
        return _report(event, at, invocation, {**figures, **_status(message)})
    if word in {"INIT_START", "INIT_REPORT"}:
        status = _status(message)
        if "status" in status:
            return Line(event, "fault", at, "ERROR", None, {"cause": "init", "text": message})
        return Line(event, "init", at, "DEBUG")
    if cause := _cause(message):
        if invocation is None and (found := _UUID.search(message)):
            invocation = found[0]
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
    if found := _STATUS.search(message):
        status["status"] = found[1]
    if found := _ERROR_TYPE.search(message):
        status["error_type"] = found[1]
    return status


def _platform(event: LogEvent, fields: dict[str, Any], at: float) -> Line:
    record = fields.get("record")
    record = record if isinstance(record, dict) else {}
    at = _seconds(fields.get("time")) or at
    invocation = record.get("requestId")
    what = str(fields["type"]).removeprefix("platform.")
    status = {
        name: str(record[key])
        for name, key in (("status", "status"), ("error_type", "errorType"))
        if record.get(key) is not None
    }
    if what == "report":
        metrics = record.get("metrics")
        metrics = metrics if isinstance(metrics, dict) else {}
        figures = {
            name: float(metrics[key]) for name, key in _JSON_FIGURES.items() if key in metrics
        }
        return _report(event, at, invocation, {**figures, **status})
    failed = status.get("status", "success") != "success"
    if what in {"initReport", "initRuntimeDone"} and failed:
        return Line(event, "fault", at, "ERROR", None, {"cause": "init", "text": event.message})
    if what == "start":
        return Line(event, "start", at, "DEBUG", invocation)
    if what == "runtimeDone" and not failed:
        return Line(event, "end", at, "DEBUG", invocation)
    if what == "runtimeDone":
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
