"""Formats log lines: as text with coloured columns, raw, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from rich.text import Text

from facectl.console import printable
from facectl.logs.parse import Line
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION

COLOURS = {DETECTION_FUNCTION: "cyan", RECOGNITION_FUNCTION: "magenta"}
_LEVEL_COLOURS = {"DEBUG": "dim", "INFO": "", "WARNING": "yellow", "ERROR": "red"}
# Fields that have a column of their own.
_COLUMN_FIELDS = frozenset({"time", "level", "function", "stage", "request_id", "invocation"})


def line_formatter(*, raw: bool, json: bool) -> Callable[[Line], Text]:
    """The function that formats a line."""
    if json:
        return lambda line: Text(as_json(line))
    if raw:
        return lambda line: Text(line.event.message)
    return readable


def readable(line: Line) -> Text:
    """One row: time, function, request, text."""
    text = Text()
    text.append(f"{clock_time(line.at)}  ", style="dim")
    short = line.function.removeprefix("face-")
    text.append(f"{short:<13}", style=COLOURS.get(line.function, ""))
    if line.request_id is not None:
        text.append(f"{printable(line.request_id)}  ", style="bold")
    text.append(printable(line_text(line)), style=_LEVEL_COLOURS[line.level])
    return text


def clock_time(at: float) -> str:
    """A time, given in seconds of the epoch, as local time of day with milliseconds."""
    local = datetime.fromtimestamp(at)  # noqa: DTZ006 - local time is shown
    return f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"


def line_text(line: Line) -> str:
    """The text of a line, without its time, function and request."""
    if line.kind == "entry":
        return _entry(line)
    if line.kind == "report":
        return _report(line)
    return line.event.message


def as_json(line: Line) -> str:
    """The line as one JSON object."""
    own: dict[str, Any] = {"fields": dict(line.fields)} if line.fields else {}
    return json.dumps(
        {
            "time": datetime.fromtimestamp(line.at, timezone.utc).isoformat(
                timespec="milliseconds"
            ),
            "function": line.function,
            "stream": line.event.stream,
            "kind": line.kind,
            "level": line.level,
            "request_id": line.request_id,
            "invocation": line.invocation,
            **own,
            **({} if line.kind == "entry" else {"message": line.event.message}),
        }
    )


def _entry(line: Line) -> str:
    parts = [line.stage or line.level.lower()]
    for name, value in line.fields.items():
        if name in _COLUMN_FIELDS or value is None or value is False:
            continue
        if name in {"cold_start", "init_ms"} and line.stage != "received":
            continue
        if value is True:
            parts.append(name.replace("_", " "))
        elif name.endswith("_ms") and isinstance(value, (int, float)):
            parts.append(f"{name.removesuffix('_ms')}={value:.0f}ms")
        elif isinstance(value, (dict, list)):
            parts.append(f"{name}={json.dumps(value)}")
        else:
            parts.append(f"{name}={value}")
    return "  ".join(parts)


def _report(line: Line) -> str:
    parts = ["invocation ended"]
    for name, words in (
        ("duration_ms", "after {:.0f} ms"),
        ("billed_ms", "billed {:.0f} ms"),
        ("init_ms", "cold start {:.0f} ms"),
        ("used_mb", "memory {:.0f} MB"),
        ("memory_mb", "of {:.0f} MB"),
    ):
        if (figure := line.number(name)) is not None:
            parts.append(words.format(figure))
    parts += [str(line.fields[name]) for name in ("status", "error_type") if name in line.fields]
    return "  ".join(parts)
