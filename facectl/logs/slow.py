"""Which requests took longest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from facectl.errors import InputError
from facectl.logs.parse import Line
from facectl.logs.request_events import RequestEvents
from facectl.logs.times import Window
from facectl.logs.trace import trace


def slowest(requests: Mapping[str, Sequence[Line]], most: int, window: Window) -> list[str]:
    """The ids of the answered requests that took longest, slowest first.

    Raises InputError where none was answered.
    """
    totals = {
        request_id: total
        for request_id, lines in requests.items()
        if (total := trace(RequestEvents(request_id, lines, window.end)).total_ms) is not None
    }
    if not totals:
        raise InputError(
            f"No request was answered {window}; {len(requests)} were seen",
            hint="facectl trace --last   or   facectl send FILE",
        )
    return sorted(totals, key=lambda request_id: -totals[request_id])[:most]
