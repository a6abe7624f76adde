"""Finds requests in the logs: by id, by the beginning of an id, the newest, the slowest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from facectl.errors import InputError
from facectl.logs import read
from facectl.logs.events import FUNCTIONS
from facectl.logs.parse import Line
from facectl.logs.source import LogSource
from facectl.logs.times import Window
from facectl.naming import DETECTION_FUNCTION

# Frames of `facectl deploy` itself: not what anyone waits for.
_PROBE = "facectl-probe-"
_MOST_MATCHES = 20
# How far back the newest request is looked for, a step at a time.
_LOOKS_BACK = (600.0, 3600.0, 86_400.0)
# How long the platform's last word about an invocation may come after the first of ours.
_ENDS_WITHIN = 1200.0
_SLACK = 2.0


def of_request(
    source: LogSource,
    request_id: str,
    window: Window,
    *,
    functions: Sequence[str] = FUNCTIONS,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Line]:
    """Every line of ours about a request.

    Raises InputError where there is none, with the ids that begin like it.
    """
    found = [
        line
        for line in read.lines(
            source, functions, window, pattern=filter_pattern(request_id), tell=tell
        )
        if line.request_id == request_id
    ]
    if not found:
        raise _unknown(source, request_id, window, functions)
    return found


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
    matches = ids(read.lines(source, functions, window, pattern=pattern), beginning=request_id)
    where = f"in the logs of {' and '.join(functions)} {window}"
    if not matches:
        return InputError(
            f"No request {request_id!r} {where}", hint="facectl trace --last   or   --since 7d"
        )
    shown = "\n  ".join(matches[:_MOST_MATCHES])
    more = len(matches) - _MOST_MATCHES
    return InputError(
        f"No request is called {request_id!r} {where}. These begin with it:\n  {shown}"
        + (f"\n  and {more} more" if more > 0 else ""),
        hint=f"facectl trace {matches[0]}",
    )


def ids(lines: Iterable[Line], *, beginning: str = "") -> list[str]:
    """The request ids of the lines, each once, in their order."""
    return list(
        dict.fromkeys(
            line.request_id
            for line in lines
            if line.request_id is not None and line.request_id.startswith(beginning)
        )
    )


def newest(source: LogSource, now: float) -> str:
    """The request that was received last; raises InputError where there was none in a day."""
    for seconds in _LOOKS_BACK:
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
    """The lines of every request of a window."""
    grouped: dict[str, list[Line]] = {}
    for line in read.lines(source, FUNCTIONS, window, pattern='{ $.request_id = "*" }', tell=tell):
        if line.request_id is not None and not line.request_id.startswith(_PROBE):
            grouped.setdefault(line.request_id, []).append(line)
    return grouped


def ends(source: LogSource, lines: Sequence[Line], now: float) -> list[Line]:
    """What the platform said about the invocations of the lines: faults and reports.

    Only the streams of these invocations are read, until each of them has ended.
    """
    said: list[Line] = []
    for function in FUNCTIONS:
        own = [line for line in lines if line.function == function and line.invocation]
        if not own:
            continue
        open_ = {line.invocation for line in own}
        streams = sorted({line.event.stream for line in own})
        start = min(line.at for line in own) - _SLACK
        end = min(now, max(line.at for line in own) + _ENDS_WITHIN)
        window = Window(start, max(start, end))
        wanted = set(open_)
        for line in read.lines_of_streams(source, function, window, streams):
            if line.invocation not in wanted:
                continue
            if line.kind in {"fault", "report"}:
                said.append(line)
            if line.kind == "report":
                open_.discard(line.invocation)
            if not open_:
                break
    return said
