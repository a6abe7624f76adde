"""One measured run: the load, the check of empty queues, warm-up and samples of every frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from facectl import paths
from facectl.aws import Clients
from facectl.bench import clocks
from facectl.bench.clocks import Bounds, Offset, Readings
from facectl.bench.recorder import FrameTiming, Recorder
from facectl.bench.workload import Repeated, Workload
from facectl.demo import clip
from facectl.errors import InputError
from facectl.queues import count_messages
from facectl.stream.outcomes import FrameCounts
from facectl.stream.purge import Purge
from facectl.stream.results import RunStats
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions
from facectl.stream.session import FrameSource, RunOptions, RunReport, Session
from facectl.stream.sources import open_source
from facectl.stream.transport import Transport

# Large enough that the in-flight window never delays an open loop.
_OPEN_WINDOW = 100_000
Progress = Callable[[FrameCounts], None]


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: a source with its frame rate, the request options and the workload."""

    source: FrameSource
    source_rate: float
    request_options: RequestOptions
    workload: Workload
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """Samples and counts of a run. `ended`: why it ended early, None if it is complete.

    `samples` in the order of the frames, without warm-up; `began` in seconds of the
    epoch. `bytes_sent`: bodies of the requests, or of the messages with crops. `client_cpu`:
    CPU seconds of this process.
    """

    samples: Sequence[FrameTiming]
    workload: Workload
    counts: FrameCounts
    readings: Readings
    began: float
    seconds: float
    offset: Offset | None = None
    ended: str | None = None
    unclaimed: bool = False
    problems: Sequence[str] = field(default_factory=list)
    bytes_sent: int | None = None
    client_cpu: float | None = None

    @property
    def complete(self) -> bool:
        return self.ended is None


def measure(
    transport: Callable[[], Transport],
    load: Load,
    *,
    bounds: Bounds | None = None,
    progress: Progress = lambda _: None,
) -> Run:
    """Send the load and measure it; `transport` creates the transport of one session.

    `bounds` are known bounds of the clock offset. A failing target or Ctrl-C ends the
    run early; a failure during warm-up raises its error.
    """
    if load.workload.warmup:
        _, warm = _session(transport(), replace(load, workload=load.workload.warming()), progress)
        if warm.failure is not None:
            raise warm.failure
        if warm.interrupted:
            raise KeyboardInterrupt
    readings = Readings.now()
    used = transport()
    cpu = time.process_time()
    recorder, report = _session(used, load, progress)
    cpu = time.process_time() - cpu
    samples = recorder.samples()
    found, known = clocks.from_samples(samples, readings), bounds or Bounds()
    ended = "stopped by Ctrl-C" if report.interrupted else None
    if report.failure is not None:
        ended = str(report.failure)
    return Run(
        samples=samples,
        workload=load.workload,
        counts=report.counts,
        readings=readings,
        began=readings.epoch,
        seconds=report.seconds,
        # If the bounds contradict each other, those of the messages are the more exact.
        offset=known.narrowed([found]).offset or known.offset or found.offset,
        ended=ended,
        unclaimed=report.unclaimed,
        problems=report.problems,
        bytes_sent=used.bytes_sent(),
        client_cpu=cpu,
    )


def _session(transport: Transport, load: Load, progress: Progress) -> tuple[Recorder, RunReport]:
    workload = load.workload
    options = RunOptions(
        request_options=load.request_options,
        concurrency=workload.threads,
        schedule=workload.schedule(),
        timeout=load.timeout,
        window=_OPEN_WINDOW if workload.concurrency is None else workload.concurrency,
    )
    recorder = Recorder()
    session = Session(recorder.wrap(transport), options, RunStats(0))
    session.tracker.listen(recorder)
    frames = Repeated(load.source, workload, rate=load.source_rate)
    return recorder, session.run(frames, progress=progress)


def load_of(
    source: Sequence[str] | None,
    workload: Workload,
    request_options: RequestOptions,
    timeout: float,
) -> tuple[Load, str]:
    """The load of a source of `facectl send`, default the demo's clip, and the source's name.

    Raises InputError for a source without frames.
    """
    words = list(source or ())
    side = request_options.encoding.max_side
    frames = open_source(words or [_demo_clip()], Sampling(), max_side=side)
    load = Load(frames, frames.rate, request_options, workload, timeout)
    return load, frames.name if words else "the demo's clip"


def _demo_clip() -> str:
    file = paths.cache_dir() / "bench" / "demo-faces.mp4"
    if not file.exists():
        clip.write(file)
    return str(file)


def check_empty(clients: Clients, queues: Sequence[str]) -> None:
    """Raise InputError if a queue holds messages: they would delay the measured frames."""
    held = {name: count_messages(clients, name) for name in queues}
    if full := {name: counts for name, counts in held.items() if counts.total}:
        raise InputError(
            "The queues are not empty: "
            + "; ".join(f"{name} has {counts}" for name, counts in full.items()),
            hint="facectl bench --purge   or   facectl tail",
        )


def empty(
    clients: Clients,
    queues: Sequence[str],
    *,
    tell: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Empty the queues that hold messages.

    On AWS it waits until the purge can't delete messages sent later. Raises
    CloudError, IncompleteError.
    """
    full = [name for name in queues if count_messages(clients, name).total]
    if not full:
        return
    Purge(clients, tell=tell, sleep=sleep).run(full)
