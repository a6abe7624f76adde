"""Measures latency and cost with several memory sizes of the functions.

Only the memory of both functions changes. It is restored afterwards, also after
an error or a signal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from facectl.aws import Clients, cloud_errors
from facectl.bench.baseline import signals_ignored, termination_as_interrupt
from facectl.bench.benchmark import BenchmarkOptions, Watch, benchmark
from facectl.bench.report import BenchmarkReport
from facectl.deploy.access import read_account
from facectl.deploy.executor import apply_step
from facectl.deploy.models import Account
from facectl.deploy.resources import Alias, Context, Function
from facectl.deploy.steps import Change, Update
from facectl.errors import InputError
from facectl.naming import FUNCTIONS

# In MB: the maximum by AWS's quotas; the models do not fit into less than the minimum.
_MOST = 10_240
_LEAST = 512


def sizes_of(text: str) -> tuple[int, ...]:
    """Parse sizes like `1024,1769,3008`, in MB; raises InputError."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--memory {text!r} is not a list of sizes",
            hint="facectl bench sweep --memory 1024,1769,3008",
        ) from error
    if wrong := [size for size in sizes if not _LEAST <= size <= _MOST]:
        raise InputError(
            f"--memory {wrong[0]}: functions have {_LEAST} to {_MOST} MB",
            hint="facectl bench sweep --memory 1024,1769,3008",
        )
    return tuple(dict.fromkeys(sizes))


@dataclass(frozen=True, slots=True)
class Swept:
    """The report of one memory size, in MB."""

    memory: int
    report: BenchmarkReport

    def as_dict(self) -> dict[str, Any]:
        return {"memory_mb": self.memory, **self.report.as_dict()}


def sweep(
    clients: Clients,
    sizes: Sequence[int],
    options: BenchmarkOptions,
    watch: Watch,
    *,
    measure: Callable[[Clients, BenchmarkOptions, Watch], BenchmarkReport] = benchmark,
) -> list[Swept]:
    """Measure with each size; ends early, with the results so far, when a run does.

    Raises InputError if the pipeline is not deployed, CloudError.
    """
    results: list[Swept] = []
    with _resizing(clients) as resize:
        for memory in sizes:
            with watch.status(f"Setting the memory of both functions to {memory} MB"):
                resize(memory)
            report = measure(clients, options, watch)
            results.append(Swept(memory, report))
            if not report.run.complete:
                break
    return results


@contextmanager
def _resizing(clients: Clients) -> Iterator[Callable[[int], None]]:
    """Yield a function that sets the memory of both functions; restore it after the block."""
    account = read_account(clients)
    before = _functions(clients, account)
    with termination_as_interrupt():
        try:
            yield lambda memory: _resize(
                clients, account, [replace(function, memory=memory) for function in before]
            )
        finally:
            with signals_ignored():
                _resize(clients, account, before)


def _functions(clients: Clients, account: Account) -> list[Function]:
    context = Context(clients, account)
    found = []
    for name in FUNCTIONS:
        with cloud_errors(f"reading {name}", clients.deployment):
            function = Function.find(context, name)
        if function is None:
            raise InputError(f"{name} is not deployed", hint="facectl deploy")
        with cloud_errors(f"reading the aliases of {name}", clients.deployment):
            if Alias.find(context, name) is not None:
                raise InputError(
                    f"{name} has provisioned or warm environments, whose version keeps its memory",
                    hint="facectl deploy --reset, then facectl bench sweep",
                )
        found.append(function)
    return found


def _resize(clients: Clients, account: Account, wanted: Sequence[Function]) -> None:
    context = Context(clients, account)
    for function, found in zip(wanted, _functions(clients, account), strict=True):
        if function.memory != found.memory:
            change = Change("memory", str(found.memory), str(function.memory))
            # Start from the current function: other changes made meanwhile are kept.
            step = Update(replace(found, memory=function.memory), found, (change,))
            apply_step(step, context)
