"""Measures the stages of one request, and the age and memory of the process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Stopwatch:
    """Durations of named stages in milliseconds, in the order in which they ran."""

    def __init__(self, durations_ms: dict[str, float] | None = None) -> None:
        self.durations_ms: dict[str, float] = dict(durations_ms or {})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block; a stage that runs twice adds up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = (time.perf_counter() - start) * 1e3
            self.durations_ms[name] = self.durations_ms.get(name, 0.0) + elapsed


def process_age_ms() -> float | None:
    """Milliseconds since this process started, the interpreter's start included; to 10 ms.

    None if the system does not provide it. Source: proc(5), field 22 of /proc/self/stat.
    """
    try:
        after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    return round((time.clock_gettime(time.CLOCK_BOOTTIME) - started) * 1e3, 1)


def peak_memory_mb() -> float | None:
    """The peak memory of this process in MB; None if the system does not provide it.

    getrusage would include the parent's peak, which exec inherits. Source: proc(5), VmHWM.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return round(int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) / 1024, 1)
    except (OSError, ValueError, IndexError):
        return None
