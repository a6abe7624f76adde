"""What the platform's REPORT lines add up to, by function."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from facectl import prices
from facectl.aws import Clients, cloud_errors, unless_missing
from facectl.errors import CloudError
from facectl.logs import read
from facectl.logs.parse import Line
from facectl.logs.source import LogSource
from facectl.logs.times import Window
from facectl.percentiles import percentile

# Room above the most that was ever used, and the step in which memory is set.
_HEADROOM = 1.25
_STEP_MB = 64
_LEAST_MB = 512
# One vCPU, by AWS's documentation: below it, inference slows down in proportion.
_ONE_VCPU_MB = 1769


@dataclass(frozen=True, slots=True)
class Spread:
    """How values are spread; exact, from all of them. None where there are none."""

    count: int
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    most: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of these values."""
        if not values:
            return cls(0)
        ordered = sorted(values)
        return cls(
            count=len(ordered),
            mean=sum(ordered) / len(ordered),
            p50=percentile(ordered, 50),
            p90=percentile(ordered, 90),
            p99=percentile(ordered, 99),
            most=ordered[-1],
        )


@dataclass(slots=True)
class Invocation:
    """One invocation, from all lines about it. Times in ms, memory in MB."""

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
    """The invocations of one function; durations of warm ones that ended well, cold ones apart."""

    function: str
    invocations: int
    errors: int
    timeouts: int
    cold_starts: int
    duration_ms: Spread
    cold_duration_ms: Spread
    init_ms: Spread
    memory_mb: int | None
    used_mb: int | None
    suggested_mb: int | None
    billed_seconds: float
    cost: float
    price_date: str = field(default=prices.DATE)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def gather(
    clients: Clients,
    functions: Sequence[str],
    window: Window,
    *,
    tell: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], object] = time.sleep,
) -> list[FunctionReport]:
    """The reports of the functions; raises CloudError, NoLogYetError where none has a log."""
    source = LogSource(clients, sleep=sleep)
    by_function: dict[str, list[Line]] = {function: [] for function in functions}
    for line in read.lines(source, functions, window, tell=tell):
        by_function[line.function].append(line)
    return [
        add_up(function, invocations(lines), _architecture(clients, function))
        for function, lines in by_function.items()
    ]


def invocations(lines: Iterable[Line]) -> list[Invocation]:
    """The invocations that the lines tell of and that have ended."""
    found: dict[str, Invocation] = {}
    ended: set[str] = set()
    for line in lines:
        if line.invocation is None:
            continue
        one = found.setdefault(line.invocation, Invocation())
        if line.kind == "report":
            ended.add(line.invocation)
            _reported(one, line)
        elif line.kind == "fault":
            one.failed = True
            one.timeout = one.timeout or line.fields.get("cause") == "timeout"
        elif line.kind == "entry":
            _own_words(one, line)
    return [one for invocation, one in found.items() if invocation in ended]


def _reported(one: Invocation, line: Line) -> None:
    one.duration_ms = line.number("duration_ms")
    one.billed_ms = line.number("billed_ms")
    one.memory_mb = line.number("memory_mb")
    init_ms = line.number("init_ms")
    one.cold = one.cold or init_ms is not None
    one.init_ms = init_ms if init_ms is not None else one.init_ms
    # MiniStack reports the peak of any process that ended, or 0: what the function
    # measured of itself counts where it was logged.
    one.used_mb = one.used_mb or line.number("used_mb") or None
    status = line.fields.get("status", "success")
    one.failed = one.failed or status != "success"
    one.timeout = one.timeout or status == "timeout"


def _own_words(one: Invocation, line: Line) -> None:
    if line.fields.get("cold_start") is True:
        one.cold = True
        one.init_ms = one.init_ms if one.init_ms is not None else line.number("init_ms")
    one.used_mb = line.number("memory_mb") or one.used_mb


def add_up(function: str, ended: Sequence[Invocation], architecture: str) -> FunctionReport:
    """The report of a function's invocations."""
    billed_ms = sum(one.billed_ms or 0.0 for one in ended)
    gb_seconds = sum((one.billed_ms or 0.0) / 1e3 * (one.memory_mb or 0.0) / 1024 for one in ended)
    used = max((one.used_mb for one in ended if one.used_mb is not None), default=None)
    given = next((one.memory_mb for one in reversed(ended) if one.memory_mb is not None), None)
    well = [one for one in ended if not one.failed and one.duration_ms is not None]
    return FunctionReport(
        function=function,
        invocations=len(ended),
        errors=sum(one.failed and not one.timeout for one in ended),
        timeouts=sum(one.timeout for one in ended),
        cold_starts=sum(one.cold for one in ended),
        duration_ms=Spread.of([one.duration_ms or 0.0 for one in well if not one.cold]),
        cold_duration_ms=Spread.of([one.duration_ms or 0.0 for one in well if one.cold]),
        init_ms=Spread.of([one.init_ms for one in ended if one.init_ms is not None]),
        memory_mb=None if given is None else round(given),
        used_mb=None if used is None else math.ceil(used),
        suggested_mb=suggestion(used, given),
        billed_seconds=billed_ms / 1e3,
        cost=gb_seconds * prices.LAMBDA_GB_SECOND[architecture]
        + len(ended) * prices.LAMBDA_REQUEST,
    )


def suggestion(used_mb: float | None, given_mb: float | None) -> int | None:
    """The memory to set instead, None where what is given fits.

    Room for a quarter more than the most that was used. Memory is what
    Lambda gives computing power by, so nothing above one vCPU is called too
    much before it is down to that.
    """
    if used_mb is None or given_mb is None:
        return None
    needed = max(_LEAST_MB, math.ceil(used_mb * _HEADROOM / _STEP_MB) * _STEP_MB)
    if needed > given_mb:
        return needed
    lowest = max(needed, _ONE_VCPU_MB)
    return lowest if lowest < given_mb else None


def _architecture(clients: Clients, function: str) -> str:
    """Whose price is paid; the dearer one where it can't be asked."""
    try:
        with cloud_errors(f"asking about {function}", clients.deployment):
            found = unless_missing(
                clients.functions.get_function_configuration, FunctionName=function
            )
    except CloudError:
        return "x86_64"
    names = found.get("Architectures", ["x86_64"]) if found else ["x86_64"]
    return str(names[0])
