"""Parses times given as options: `10m`, `2h ago`, `2026-03-01T12:00`."""

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
    """A time window from `start` to `end`, both inclusive, in seconds of the epoch."""

    start: float
    end: float

    def __str__(self) -> str:
        return f"from {local_time(self.start)} until {local_time(self.end)}"


def local_time(at: float) -> str:
    """A time, given in seconds of the epoch, as text in the local time zone."""
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006


def parse_time(text: str, *, now: float, option: str) -> float:
    """Parse a time to seconds of the epoch; without a zone it is local time.

    Raises InputError if the text is not a time.
    """
    cleaned = text.strip()
    if cleaned.lower() == "now":
        return now
    if matched := _AGO.fullmatch(cleaned):
        parts = _PART.findall(matched[1])
        return now - sum(float(amount) * _UNITS[unit.lower()] for amount, unit in parts)
    try:
        # Python 3.10 does not parse the suffix Z.
        return datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", cleaned)).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(
            f"{option} {text!r} is not a time: use 10m, 2h ago, 1d or 2026-03-01T12:00",
            hint=f"facectl logs {option} 10m",
        ) from error


def window(since: str, until: str | None, *, now: float, ahead: bool = False) -> Window:
    """Parse the options of a window; without `until` it ends now.

    `ahead` allows an end in the future. Raises InputError if the window begins in
    the future, ends there without `ahead`, or ends before it begins.
    """
    start = parse_time(since, now=now, option="--since")
    end = now if until is None else parse_time(until, now=now, option="--until")
    if start > now:
        raise InputError(
            f"--since {since!r} is in the future: {local_time(start)}; now it is {local_time(now)}",
            hint="facectl logs --since 10m",
        )
    if end > now and not ahead:
        raise InputError(
            f"--until {until!r} is in the future: {local_time(end)}; now it is {local_time(now)}",
            hint="facectl logs --follow",
        )
    if end < start:
        raise InputError(
            f"--until ({local_time(end)}) is before --since ({local_time(start)})",
            hint="facectl logs --since 10m",
        )
    return Window(start, end)
