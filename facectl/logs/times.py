"""Points in time as people type them: `10m`, `2h ago`, `2026-03-01T12:00`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from facectl.errors import InputError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"((?:\d+(?:\.\d+)?\s*[smhdw]\s*)+)(?:ago)?", re.IGNORECASE)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to `end`, both included, in seconds of the epoch."""

    start: float
    end: float

    def __str__(self) -> str:
        return f"from {shown(self.start)} until {shown(self.end)}"


def shown(at: float) -> str:
    """A point in time on the reader's own clock."""
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006


def point(text: str, *, now: float, option: str) -> float:
    """What the text means, in seconds of the epoch; a time without zone is the reader's.

    Raises InputError where it means nothing.
    """
    cleaned = text.strip()
    if cleaned.lower() == "now":
        return now
    if matched := _AGO.fullmatch(cleaned):
        parts = _PART.findall(matched[1])
        return now - sum(float(amount) * _UNITS[unit.lower()] for amount, unit in parts)
    try:
        # Python 3.10 does not know the Z.
        return datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", cleaned)).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(
            f"{option} {text!r} is no time: 10m, 2h ago, 1d, or 2026-03-01T12:00",
            hint=f"facectl logs {option} 10m",
        ) from error


def window(since: str, until: str | None, *, now: float, ahead: bool = False) -> Window:
    """The window between two texts; without `until` it ends now.

    `ahead`: whether it may end in the future. Raises InputError where it
    begins in the future, or ends there or before its beginning.
    """
    start = point(since, now=now, option="--since")
    end = now if until is None else point(until, now=now, option="--until")
    if start > now:
        raise InputError(
            f"--since {since!r} is in the future: {shown(start)}, and now it is {shown(now)}",
            hint="facectl logs --since 10m",
        )
    if end > now and not ahead:
        raise InputError(
            f"--until {until!r} is in the future: {shown(end)}, and now it is {shown(now)}",
            hint="facectl logs --follow",
        )
    if end < start:
        raise InputError(
            f"--until ({shown(end)}) is before --since ({shown(start)})",
            hint="facectl logs --since 10m",
        )
    return Window(start, end)
