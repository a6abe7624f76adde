"""A benchmark from beginning to end: empty queues, clocks, the run, the floor, truth and cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Protocol

from facectl.aws import Clients
from facectl.bench import baseline, billing, clocks, conditions
from facectl.bench.clocks import Bounds
from facectl.bench.compare import compare, load_run, run_of
from facectl.bench.cost import cost_of
from facectl.bench.report import BenchmarkReport, Figures, Targets
from facectl.bench.run import Load, Progress, Run, check_empty, empty, measure
from facectl.bench.truth import Truth, check_labels, load_labels
from facectl.errors import CloudError, IncompleteError
from facectl.prices import Prices
from facectl.stream.responses import ResponseQueue
from facectl.stream.session import Transport

# So many frames are looked at to see whether labels name any.
_LOOKED_AT = 1000
# Enough for each no-op function to have started.
_FLOOR_WARMUP = 10


class Watch(Protocol):
    """Who is told what goes on."""

    def tell(self, sentence: str) -> None:
        """Something worth a line."""

    def status(self, doing: str) -> AbstractContextManager[Callable[[str], None]]:
        """Something that takes a while; yields what says more of it."""

    def frames(self, load: Load, doing: str) -> AbstractContextManager[Progress]:
        """Frames are being sent."""


@dataclass(frozen=True, slots=True)
class BenchmarkOptions:
    """What is to be measured, and what the result is held against."""

    load: Load
    source_name: str
    prices: Prices
    targets: Targets = field(default_factory=Targets)
    labels: Path | None = None
    purge: bool = False
    floor: bool = False
    compare: Path | None = None


def benchmark(clients: Clients, settings: BenchmarkOptions, watch: Watch) -> BenchmarkReport:
    """Measure the deployment; raises InputError where it can't be begun, CloudError."""
    transport = pipeline_transport(clients, settings.load)
    earlier = None if settings.compare is None else load_run(settings.compare)
    labels = _labels(settings)
    names = clients.deployment.names
    prepare(clients, (names.request_queue, names.response_queue), watch, purge=settings.purge)
    facts = {
        **conditions.machine(),
        **conditions.deployed(clients),
        **conditions.sent(settings.load, settings.source_name),
    }
    platform, run = _measured(clients, settings, watch, transport)
    report = reported(clients, settings, run, watch, facts=facts, labels=labels)
    report = replace(report, floor=platform)
    if earlier is None or not report.figures.warm.count:
        return report
    return replace(report, comparison=compare(earlier, run_of(report.as_dict(), "this run")))


def _measured(
    clients: Clients, settings: BenchmarkOptions, watch: Watch, transport: Callable[[], Transport]
) -> tuple[Figures | None, Run]:
    """The floor, if it is wanted, and the pipeline, one right after the other."""
    platform: Figures | None = None
    run: Run | None = None
    try:
        with ExitStack() as stack:
            if settings.floor:
                platform = _floor(clients, settings.load, watch, stack)
            bounds = compared(clients, ResponseQueue(clients), watch)
            with watch.frames(settings.load, "pipeline") as progress:
                run = measure(transport, settings.load, bounds=bounds, progress=progress)
    except CloudError as error:
        # A target that died takes its floor with it, not what was measured until then.
        if run is None:
            raise
        watch.tell(
            f"The floor's functions could not be removed: {error}. facectl bench --floor takes "
            "them over, and removes them at its end"
        )
    return platform, run


def _floor(clients: Clients, load: Load, watch: Watch, stack: ExitStack) -> Figures:
    """The platform alone under the same load, warm; its functions stand as long as the stack."""
    with watch.status("Deploying no-op functions beside the pipeline"):
        standing = stack.enter_context(baseline.standing(clients))
    warmup = max(load.workload.warmup, _FLOOR_WARMUP)
    warmed = replace(load, workload=replace(load.workload, warmup=warmup))
    bounds = compared(clients, standing.queue(), watch)
    with watch.frames(warmed, "platform alone") as progress:
        run = measure(
            lambda: standing.transport(load.workload.threads),
            warmed,
            bounds=bounds,
            progress=progress,
        )
    if run.ended is not None:
        raise IncompleteError(f"The floor's measurement ended early: {run.ended}")
    return Figures.of(run)


def pipeline_transport(clients: Clients, load: Load) -> Callable[[], Transport]:
    """What makes the ends of the deployment's own pipeline, one session each."""
    return lambda: Transport.of(clients, connections=load.workload.threads)


def prepare(clients: Clients, queues: tuple[str, ...], watch: Watch, *, purge: bool) -> None:
    """See that the queues are empty, or make them so."""
    if purge:
        with watch.status("Emptying the queues") as tell:
            empty(clients, queues, tell=tell)
    check_empty(clients, queues)


def compared(clients: Clients, queue: ResponseQueue, watch: Watch) -> Bounds:
    """What is known of SQS's clock before the first frame."""
    with watch.status("Comparing clocks"):
        return clocks.from_messages(clients, queue)


def reported(
    clients: Clients,
    settings: BenchmarkOptions,
    run: Run,
    watch: Watch,
    *,
    facts: Mapping[str, object],
    labels: Mapping[str, str],
) -> BenchmarkReport:
    """The report of a run, with what the functions were billed for it."""
    figures = Figures.of(run)
    with watch.status("Reading what was billed") as tell:
        billed, missing = billing.of_run(clients, run, tell=tell)
    faces = [sample.faces for sample in run.samples if sample.faces is not None]
    workload = settings.load.workload
    rate = settings.load.source_rate if workload.realtime else workload.asked_rate or 1.0
    return BenchmarkReport(
        run=run,
        figures=figures,
        targets=settings.targets,
        conditions=facts,
        synthetic=clients.deployment.synthetic,
        truth=Truth.of(run.samples, labels) if labels else None,
        labels=labels,
        cost=cost_of(billed, faces, rate, settings.prices),
        cost_missing=missing,
    )


def _labels(settings: BenchmarkOptions) -> dict[str, str]:
    if settings.labels is None:
        return {}
    labels = load_labels(settings.labels)
    # A camera's frames can't be known before they are there.
    if not settings.load.source.live:
        names = (frame.name for frame in islice(settings.load.source, _LOOKED_AT))
        check_labels(labels, names, settings.labels)
    return labels
