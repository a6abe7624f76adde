"""One JSON line per request and stage on stdout, which Lambda turns into CloudWatch log events.

Every line names its invocation, and on a cold start the duration of the init
phase: `facectl trace` reconstructs the path of a frame from these lines.
A line never contains image bytes or embeddings. The standard library's logging
and Powertools' Logger would add 10 and 34 ms to a cold start for one `print`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

_FUNCTION = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local")
# Set by `facectl deploy --metrics`.
METRICS_VARIABLE = "FACECTL_METRICS"
# An error message may quote invalid input of any length.
_MAX_TEXT = 500
# A process serves one invocation at a time, so its lines need no other thread's context.
_invocation: dict[str, Any] = {}
# The members that make a line a metric too; None without metrics.
_metrics: Callable[[str, Mapping[str, Any], int], dict[str, Any]] | None = None
if os.environ.get(METRICS_VARIABLE) == "1":
    from lambda_src import metrics

    _metrics = metrics.members


def begin(invocation: str | None, *, cold_start: bool, init_ms: float | None) -> None:
    """Set the invocation that the following lines name."""
    _invocation.clear()
    _invocation.update(invocation=invocation, cold_start=cold_start)
    if cold_start and init_ms is not None:
        _invocation["init_ms"] = round(init_ms, 2)


def line(level: str, stage: str, request_id: str | None, **fields: Any) -> None:
    """Write one line; durations are in milliseconds, under names that end in `_ms`."""
    if "message" in fields:
        fields["message"] = str(fields["message"])[:_MAX_TEXT]
    now = datetime.now(timezone.utc)
    embedded = {} if _metrics is None else _metrics(stage, fields, int(now.timestamp() * 1e3))
    sys.stdout.write(
        json.dumps(
            {
                "time": now.isoformat(timespec="milliseconds"),
                "level": level,
                "function": _FUNCTION,
                "stage": stage,
                "request_id": request_id,
                **_invocation,
                **fields,
                **embedded,
            }
        )
        + "\n"
    )
    sys.stdout.flush()


def info(stage: str, request_id: str | None, **fields: Any) -> None:
    """Log a stage that succeeded."""
    line("INFO", stage, request_id, **fields)


def error(stage: str, request_id: str | None, **fields: Any) -> None:
    """Log a stage that failed: `error` names the exception, `message` is its text."""
    line("ERROR", stage, request_id, **fields)
