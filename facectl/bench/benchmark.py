"""One whole benchmark: empty queues, clock offset, baseline, run, accuracy and cost."""

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
from facectl.edge.transport import edge_transport
from facectl.errors import CloudError, IncompleteError
from facectl.prices import Prices
from facectl.stream.reply_queues import ReplyQueue
from facectl.stream.responses import ResponseQueue
from facectl.stream.transport import Transport

# Frames of the source whose names are checked against the labels.
_CHECKED_FRAMES = 1000
# Enough to start each no-op function.
_BASELINE_WARMUP = 10


class Watch(Protocol):
    """Receives the progress of a benchmark."""

    def tell(self, sentence: str) -> None:
        """Report one sentence."""

    def status(self, doing: str) -> AbstractContextManager[Callable[[str], None]]:
        """Report a long operation; yields a function that reports its details."""

    def frames(self, load: Load, doing: str) -> AbstractContextManager[Progress]:
        """Report the frames of a load while they are sent; yields the progress callback."""


@dataclass(frozen=True, slots=True)
class BenchmarkOptions:
    """What is measured, and the targets of the result."""

    load: Load
    source_name: str
    prices: Prices
    targets: Targets = field(default_factory=Targets)
    labels: Path | None = None
    purge: bool = False
    baseline: bool = False
    compare: Path | None = None
    private_replies: bool = False
    edge: bool = False


def benchmark(clients: Clients, options: BenchmarkOptions, watch: Watch) -> BenchmarkReport:
    """Measure the deployment; raises InputError if a precondition fails, CloudError."""
    earlier = None if options.compare is None else load_run(options.compare)
    labels = _labels(options)
    _prepare_queues(clients, watch, purge=options.purge)
    facts = {
        **conditions.machine(),
        **conditions.deployed(clients),
        **conditions.sent(options.load, options.source_name),
        **({"reply": "private"} if options.private_replies else {}),
        **({"detect": "edge"} if options.edge else {}),
    }
    platform_figures, run = _measure(clients, options, watch)
    report = _report(clients, options, run, watch, facts=facts, labels=labels)
    report = replace(report, baseline=platform_figures)
    if earlier is None or not report.figures.warm.count:
        return report
    return replace(report, comparison=compare(earlier, run_of(report.as_dict(), "this run")))


def _measure(
    clients: Clients, options: BenchmarkOptions, watch: Watch
) -> tuple[Figures | None, Run]:
    """Measure the baseline, if requested, then the pipeline."""
    platform_figures: Figures | None = None
    run: Run | None = None
    try:
        with ExitStack() as stack:
            if options.baseline:
                platform_figures = _measure_baseline(clients, options.load, watch, stack)
            bounds = _compare_clocks(clients, ResponseQueue(clients), watch)
            reply = stack.enter_context(ReplyQueue(clients)) if options.private_replies else None
            threads = options.load.workload.threads
            with watch.frames(options.load, "pipeline") as progress:
                run = measure(
                    lambda: _transport(clients, options, threads, reply),
                    options.load,
                    bounds=bounds,
                    progress=progress,
                )
    except CloudError as error:
        # The removal of the baseline failed: keep the figures of the run.
        if run is None:
            raise
        watch.tell(
            f"The functions of the baseline could not be removed: {error}. "
            "The next facectl bench --baseline reuses them and removes them afterwards"
        )
    return platform_figures, run


def _transport(
    clients: Clients, options: BenchmarkOptions, threads: int, reply: ReplyQueue | None
) -> Transport:
    if options.edge:
        return edge_transport(clients, reply=reply).transport
    return Transport.of(clients, connections=threads, reply=reply)


def _measure_baseline(clients: Clients, load: Load, watch: Watch, stack: ExitStack) -> Figures:
    """Figures of the platform alone under the same load, warm.

    The no-op functions are removed when `stack` closes.
    """
    with watch.status("Deploying no-op functions beside the pipeline"):
        deployed = stack.enter_context(baseline.deployed_baseline(clients))
    warmup = max(load.workload.warmup, _BASELINE_WARMUP)
    warmed = replace(load, workload=replace(load.workload, warmup=warmup))
    bounds = _compare_clocks(clients, deployed.queue(), watch)
    with watch.frames(warmed, "platform alone") as progress:
        run = measure(
            lambda: deployed.transport(load.workload.threads),
            warmed,
            bounds=bounds,
            progress=progress,
        )
    if run.ended is not None:
        raise IncompleteError(f"The measurement of the baseline ended early: {run.ended}")
    return Figures.of(run)


def _prepare_queues(clients: Clients, watch: Watch, *, purge: bool) -> None:
    """Check that the queues are empty, or empty them if `purge`; raises InputError."""
    names = clients.deployment.names
    queues = (names.request_queue, names.response_queue)
    if purge:
        with watch.status("Emptying the queues") as tell:
            empty(clients, queues, tell=tell)
    check_empty(clients, queues)


def _compare_clocks(clients: Clients, queue: ResponseQueue, watch: Watch) -> Bounds:
    """Bounds of the clock offset to SQS, before the first frame."""
    with watch.status("Comparing clocks"):
        return clocks.from_messages(clients, queue)


def _report(
    clients: Clients,
    options: BenchmarkOptions,
    run: Run,
    watch: Watch,
    *,
    facts: Mapping[str, object],
    labels: Mapping[str, str],
) -> BenchmarkReport:
    """The report of a run, with the billed duration of the functions."""
    figures = Figures.of(run)
    with watch.status("Reading the billed duration") as tell:
        billed, missing = billing.of_run(clients, run, edge=options.edge, tell=tell)
    faces = [sample.faces for sample in run.samples if sample.faces is not None]
    workload = options.load.workload
    rate = options.load.source_rate if workload.realtime else workload.target_rate or 1.0
    return BenchmarkReport(
        run=run,
        figures=figures,
        targets=options.targets,
        conditions=facts,
        synthetic=clients.deployment.synthetic,
        truth=Truth.of(run.samples, labels) if labels else None,
        labels=labels,
        cost=cost_of(
            billed,
            faces,
            rate,
            options.prices,
            edge_frames=run.counts.accepted if options.edge else None,
        ),
        cost_missing=missing,
    )


def _labels(options: BenchmarkOptions) -> dict[str, str]:
    if options.labels is None:
        return {}
    labels = load_labels(options.labels)
    # The names of a camera's frames are unknown before they are taken.
    if not options.load.source.live:
        names = (frame.name for frame in islice(options.load.source, _CHECKED_FRAMES))
        check_labels(labels, names, options.labels)
    return labels
