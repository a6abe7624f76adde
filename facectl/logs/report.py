"""Durations, cold starts, failures, memory and cost by function, from REPORT lines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from facectl import prices
from facectl.aws import Clients, cloud_errors, unless_missing
from facectl.errors import CloudError
from facectl.logs import read
from facectl.logs.parse import Line
from facectl.logs.source import LogSource
from facectl.logs.times import Window
from facectl.summary import Summary

# Margin above the peak memory use, and the granularity of the suggestion.
_HEADROOM = 1.25
_STEP_MB = 64
_MIN_MB = 512
# Memory that gives one vCPU (AWS Lambda Developer Guide); less slows inference in proportion.
_ONE_VCPU_MB = 1769
_SUMMARY_KEYS = ("count", "mean", "p50", "p90", "p99", "most")


@dataclass(slots=True)
class Invocation:
    """One invocation, from all its lines. Times in ms, memory in MB."""

    duration_ms: float | None = None
    billed_ms: float | None = None
    init_ms: float | None = None
    memory_mb: float | None = None
    used_mb: float | None = None
    cold: bool = False
    timeout: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class FunctionReport:
    """Statistics of one function; `duration_ms` covers successful warm invocations only."""

    function: str
    invocations: int
    errors: int
    timeouts: int
    cold_starts: int
    duration_ms: Summary
    cold_duration_ms: Summary
    init_ms: Summary
    memory_mb: int | None
    used_mb: int | None
    suggested_mb: int | None
    billed_seconds: float
    cost: float
    price_date: str = prices.DATE

    def as_dict(self) -> dict[str, Any]:
        fields = asdict(self)
        for name in ("duration_ms", "cold_duration_ms", "init_ms"):
            fields[name] = {key: fields[name][key] for key in _SUMMARY_KEYS}
        return fields


def gather(
    clients: Clients,
    functions: Sequence[str],
    window: Window,
    *,
    tell: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], object] = time.sleep,
) -> list[FunctionReport]:
    """The report of each function; raises CloudError, NoLogYetError if none has a log."""
    source = LogSource(clients, sleep=sleep)
    by_function: dict[str, list[Line]] = {function: [] for function in functions}
    for line in read.lines(source, functions, window, tell=tell):
        by_function[line.function].append(line)
    return [
        summarise(function, invocations(lines), _architecture(clients, function))
        for function, lines in by_function.items()
    ]


def invocations(lines: Iterable[Line]) -> list[Invocation]:
    """The finished invocations in the lines."""
    by_id: dict[str, Invocation] = {}
    ended: set[str] = set()
    for line in lines:
        if line.invocation is None:
            continue
        one = by_id.setdefault(line.invocation, Invocation())
        if line.kind == "report":
            ended.add(line.invocation)
            _add_report(one, line)
        elif line.kind == "fault":
            one.failed = True
            one.timeout = one.timeout or line.fields.get("cause") == "timeout"
        elif line.kind == "entry":
            _add_entry(one, line)
    return [one for invocation, one in by_id.items() if invocation in ended]


def _add_report(one: Invocation, line: Line) -> None:
    one.duration_ms = line.number("duration_ms")
    one.billed_ms = line.number("billed_ms")
    one.memory_mb = line.number("memory_mb")
    init_ms = line.number("init_ms")
    one.cold = one.cold or init_ms is not None
    one.init_ms = init_ms if init_ms is not None else one.init_ms
    # MiniStack reports the peak of any ended process, or 0: the value that the function
    # logged for itself has priority.
    one.used_mb = one.used_mb or line.number("used_mb") or None
    status = line.fields.get("status", "success")
    one.failed = one.failed or status != "success"
    one.timeout = one.timeout or status == "timeout"


def _add_entry(one: Invocation, line: Line) -> None:
    if line.fields.get("cold_start") is True:
        one.cold = True
        one.init_ms = one.init_ms if one.init_ms is not None else line.number("init_ms")
    one.used_mb = line.number("memory_mb") or one.used_mb


def summarise(function: str, ended: Sequence[Invocation], architecture: str) -> FunctionReport:
    """The report for a function's finished invocations."""
    billed_ms = sum(one.billed_ms or 0.0 for one in ended)
    gb_seconds = sum((one.billed_ms or 0.0) / 1e3 * (one.memory_mb or 0.0) / 1024 for one in ended)
    used = max((one.used_mb for one in ended if one.used_mb is not None), default=None)
    configured = next((one.memory_mb for one in reversed(ended) if one.memory_mb is not None), None)
    successful = [
        (one.duration_ms, one.cold)
        for one in ended
        if not one.failed and one.duration_ms is not None
    ]
    return FunctionReport(
        function=function,
        invocations=len(ended),
        errors=sum(one.failed and not one.timeout for one in ended),
        timeouts=sum(one.timeout for one in ended),
        cold_starts=sum(one.cold for one in ended),
        duration_ms=Summary.of([ms for ms, cold in successful if not cold]),
        cold_duration_ms=Summary.of([ms for ms, cold in successful if cold]),
        init_ms=Summary.of([one.init_ms for one in ended if one.init_ms is not None]),
        memory_mb=None if configured is None else round(configured),
        used_mb=None if used is None else math.ceil(used),
        suggested_mb=suggested_memory(used, configured),
        billed_seconds=billed_ms / 1e3,
        cost=gb_seconds * prices.LAMBDA_GB_SECOND[architecture]
        + len(ended) * prices.LAMBDA_REQUEST,
    )


def suggested_memory(used_mb: float | None, configured_mb: float | None) -> int | None:
    """The memory size in MB to configure instead, None if the current size fits.

    The suggestion is 25 % above the peak use. Lambda allocates CPU in proportion to
    memory, so less than one vCPU is never suggested to save memory.
    """
    if used_mb is None or configured_mb is None:
        return None
    needed = max(_MIN_MB, math.ceil(used_mb * _HEADROOM / _STEP_MB) * _STEP_MB)
    if needed > configured_mb:
        return needed
    lowest = max(needed, _ONE_VCPU_MB)
    return lowest if lowest < configured_mb else None


def _architecture(clients: Clients, function: str) -> str:
    """The function's architecture; the more expensive one if it can't be read."""
    try:
        with cloud_errors(f"reading the configuration of {function}", clients.deployment):
            configuration = unless_missing(
                clients.functions.get_function_configuration, FunctionName=function
            )
    except CloudError:
        return "x86_64"
    names = configuration.get("Architectures", ["x86_64"]) if configuration else ["x86_64"]
    return str(names[0])
