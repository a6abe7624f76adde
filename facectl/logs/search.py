"""Finds requests in the logs: by id, by a prefix of an id, the newest, all of a window."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from facectl.errors import InputError
from facectl.logs import read
from facectl.logs.parse import Line
from facectl.logs.source import LogSource
from facectl.logs.times import Window
from facectl.naming import DETECTION_FUNCTION, FUNCTIONS

# Ids of the requests with which `facectl deploy` tests a deployment; they are ignored.
_PROBE = "facectl-probe-"
_MAX_MATCHES = 20
# Seconds back in which the newest request is searched, one after the other.
_NEWEST_RANGES = (600.0, 3600.0, 86_400.0)
# Seconds from the last line of a request to the platform's report of its invocation, at most.
_MAX_REPORT_DELAY = 1200.0
_CLOCK_TOLERANCE = 2.0


def of_request(
    source: LogSource,
    request_id: str,
    window: Window,
    *,
    functions: Sequence[str] = FUNCTIONS,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Line]:
    """All lines of the functions about a request.

    Raises InputError if there are none; it lists the ids with this prefix.
    """
    lines = [
        line
        for line in read.lines(
            source, functions, window, pattern=filter_pattern(request_id), tell=tell
        )
        if line.request_id == request_id
    ]
    if not lines:
        raise _unknown(source, request_id, window, functions)
    return lines


def filter_pattern(request_id: str, *, prefix: bool = False) -> str:
    """The CloudWatch filter pattern for a request; empty if the id has unsafe characters.

    Source: CloudWatch Logs User Guide, "Filter pattern syntax", JSON log events.
    """
    if not re.fullmatch(r"[\w.:/-]+", request_id, re.ASCII):
        return ""
    return f'{{ $.request_id = "{request_id}{"*" if prefix else ""}" }}'


def _unknown(
    source: LogSource, request_id: str, window: Window, functions: Sequence[str]
) -> InputError:
    pattern = filter_pattern(request_id, prefix=True)
    found = (
        line.request_id
        for line in read.lines(source, functions, window, pattern=pattern)
        if line.request_id is not None and line.request_id.startswith(request_id)
    )
    matches = list(dict.fromkeys(found))
    where = f"in the logs of {' and '.join(functions)} {window}"
    if not matches:
        return InputError(
            f"No request {request_id!r} {where}", hint="facectl trace --last   or   --since 7d"
        )
    shown = "\n  ".join(matches[:_MAX_MATCHES])
    more = len(matches) - _MAX_MATCHES
    return InputError(
        f"No request {request_id!r} {where}. These ids begin with it:\n  {shown}"
        + (f"\n  and {more} more" if more > 0 else ""),
        hint=f"facectl trace {matches[0]}",
    )


def newest(source: LogSource, now: float) -> str:
    """The id of the last request; raises InputError if there was none within a day."""
    for seconds in _NEWEST_RANGES:
        window = Window(now - seconds, now)
        received = [
            line
            for line in read.lines(
                source, (DETECTION_FUNCTION,), window, pattern='{ $.stage = "received" }'
            )
            if line.stage == "received" and not str(line.request_id).startswith(_PROBE)
        ]
        if received and received[-1].request_id is not None:
            return received[-1].request_id
    raise InputError(
        f"No request in the log of {DETECTION_FUNCTION} {window}", hint="facectl send FILE"
    )


def by_request(
    source: LogSource, window: Window, tell: Callable[[str], None] = lambda _: None
) -> dict[str, list[Line]]:
    """The lines of every request in a window, by request id."""
    grouped: dict[str, list[Line]] = {}
    for line in read.lines(source, FUNCTIONS, window, pattern='{ $.request_id = "*" }', tell=tell):
        if line.request_id is not None and not line.request_id.startswith(_PROBE):
            grouped.setdefault(line.request_id, []).append(line)
    return grouped


def platform_lines(source: LogSource, lines: Sequence[Line], now: float) -> list[Line]:
    """The platform's faults and reports of the invocations of the lines.

    Reads only the log streams of these invocations, until each has its report.
    """
    result: list[Line] = []
    for function in FUNCTIONS:
        own = [line for line in lines if line.function == function and line.invocation]
        if not own:
            continue
        unfinished = {line.invocation for line in own}
        streams = sorted({line.event.stream for line in own})
        start = min(line.at for line in own) - _CLOCK_TOLERANCE
        end = min(now, max(line.at for line in own) + _MAX_REPORT_DELAY)
        window = Window(start, max(start, end))
        invocations = set(unfinished)
        for line in read.lines_of_streams(source, function, window, streams):
            if line.invocation not in invocations:
                continue
            if line.kind in {"fault", "report"}:
                result.append(line)
            if line.kind == "report":
                unfinished.discard(line.invocation)
            if not unfinished:
                break
    return result
