"""Opens what a run writes about visits, and connects it to the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import product
from pathlib import Path

from facectl.console import printable
from facectl.context import Deployment
from facectl.stream.session import RunReport, Session
from facectl.stream.sources import Source
from facectl.visits.delivery import Delivery, Receiver, VisitFilter
from facectl.visits.event_queue import EventQueue
from facectl.visits.file import CropFolder, VisitsFile
from facectl.visits.models import Reason, VisitEvent
from facectl.visits.order import FrameOrder
from facectl.visits.receivers import opened
from facectl.visits.recorder import VisitRecorder
from facectl.visits.tracker import VisitOptions, VisitTracker

# Seconds that the frames of a camera wait for an earlier one. Those of a file wait until it is
# answered or its deadline has passed, so that the same file gives the same visits.
_HOLD = 2.0
# Outcomes that wait for a frame which waits on disk: a day of two per second.
_MOST_WAITING = 200_000
# Seconds that the end of a run waits for receivers; what is left stays for the next run.
_LAST_WAIT = 10.0
_LAST_WAIT_INTERRUPTED = 3.0


@dataclass(frozen=True, slots=True)
class VisitOutputs:
    """What a run does with visits: events to `file` and to `receivers`, best crops to `crops`.

    `receivers` are the addresses of `--on-visit`, `only` and `ignored` which visits they get
    (see `VisitFilter`), `secret` the file with the secret of webhooks. `strangers`: how long
    faces of unknown people are kept, None: not at all. `shared_file` is one that several
    runs write, which is open already. `complete`: every frame of a camera is waited for
    too, because it may be on disk until the cloud is back.
    """

    file: Path | None
    options: VisitOptions = field(default_factory=VisitOptions)
    crops: Path | None = None
    receivers: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    secret: Path | None = None
    strangers: timedelta | None = None
    shared_file: VisitsFile | None = None
    complete: bool = False


@dataclass(frozen=True, slots=True)
class VisitListener:
    """What else learns of visits: `event` gets each event, `current` the open visits by frame."""

    event: Callable[[VisitEvent], None]
    current: Callable[[list[VisitEvent]], None]


class VisitCounts:
    """The visits of a run by person."""

    def __init__(self) -> None:
        self._open: dict[str, str | None] = {}
        self._ended: Counter[str | None] = Counter()

    def __call__(self, event: VisitEvent) -> None:
        """Count an event; the visits of earlier runs and parts of others are left out."""
        if event.event != "end":
            if event.event != "amend" or event.visit in self._open:
                self._open[event.visit] = event.person
            return
        self._open.pop(event.visit, None)
        self._ended[event.person] += event.reason not in {"merged", "lost"}

    def text(self) -> str:
        """The counts as text: `3 visits: Ann 2, unknown 1`."""
        counts = +(self._ended + Counter(self._open.values()))
        total = counts.total()
        if not total:
            return "no visits"
        known = sorted((name, count) for name, count in counts.items() if name is not None)
        each = [f"{printable(name)} {count}" for name, count in known]
        if counts[None]:
            each.append(f"unknown {counts[None]}")
        return f"{total} visit{'s' if total > 1 else ''}: {', '.join(each)}"


class Recording:
    """The visits of one run while it runs."""

    def __init__(
        self, recorder: VisitRecorder, deliveries: Sequence[Delivery], counts: VisitCounts
    ) -> None:
        self._counts = counts
        self._recorder = recorder
        self._deliveries = list(deliveries)

    def finish(self, report: RunReport) -> None:
        """End the open visits after the run; raises FacectlError where they can't be written."""
        early = report.interrupted or report.failure is not None
        self.close(
            "interrupted" if early else "finished",
            finished=report.finished or not report.resumable,
            wait=_LAST_WAIT_INTERRUPTED if report.interrupted else _LAST_WAIT,
        )

    def summary(self) -> str:
        """How many visits there were, and how many answers came too late to be a part of one."""
        late = self._recorder.dropped
        text = self._counts.text()
        return f"{text}; {late} answers came too late to count" if late else text

    def close(self, reason: Reason, *, finished: bool, wait: float) -> None:
        """End the open visits, then deliver what is left; does nothing the second time."""
        try:
            self._recorder.close(reason)
        finally:
            while self._deliveries:
                self._deliveries.pop().close(finished=finished, wait=wait)


@contextmanager
def recorded(
    outputs: VisitOutputs,
    session: Session,
    source: Source,
    *,
    deployment: Deployment,
    report: Callable[[str], None],
    listener: VisitListener | None = None,
) -> Iterator[Recording]:
    """Follow the faces of a run that is about to start; the block runs it.

    `report` gets sentences about receivers, `listener` the events after the file has them.
    Open visits end as interrupted if the block does not finish the recording. Raises InputError
    for a file, folder or receiver that can't be used.
    """
    run = session.tracker.run
    counts = VisitCounts()
    crops = None if outputs.crops is None else CropFolder(outputs.crops)
    with ExitStack() as stack:
        sinks: list[Callable[[VisitEvent], None]] = [counts]
        lost: Iterable[VisitEvent] = ()
        newest: Sequence[VisitEvent] = ()
        file = outputs.shared_file
        if outputs.file is not None:
            file = stack.enter_context(closing(VisitsFile(outputs.file, run)))
        if file is not None:
            sinks.append(file)
            lost, newest = file.lost(), file.newest()
        if listener is not None:
            sinks.append(listener.event)
        past = tuple(sinks[1:])
        open_receiver = partial(
            opened, source=source.name, secret_file=outputs.secret, deployment=deployment
        )
        deliveries = _opened_deliveries(outputs, open_receiver, run, report)
        for event, delivery in product(newest, deliveries):
            delivery.recover(event)
        recorder = VisitRecorder(
            VisitTracker(run, source.name, outputs.options),
            _frame_order(outputs, source),
            [*sinks, *deliveries],
            crops=crops,
            synthetic=deployment.synthetic,
        )
        if listener is not None:
            recorder.observe(listener.current)
        if outputs.strangers is not None:
            from facectl.strangers.amendments import Outputs
            from facectl.strangers.collector import CollectorOptions, collecting

            where = Outputs(
                source.name,
                None if file is None else file.path,
                tuple(each.queue for each in deliveries),
                outputs.only,
                outputs.ignored,
            )
            collected = CollectorOptions(where, outputs.strangers, past)
            stack.enter_context(collecting(deployment, run, collected, recorder, report))
        recording = Recording(recorder, deliveries, counts)
        recorder.start(lost)
        session.tracker.listen(recorder, late=recorder)
        session.listen_to_images(recorder.images.keep)
        try:
            yield recording
        finally:
            recording.close("interrupted", finished=False, wait=_LAST_WAIT_INTERRUPTED)


def _frame_order(outputs: VisitOutputs, source: Source) -> FrameOrder:
    if outputs.complete:
        return FrameOrder(hold=None, most=_MOST_WAITING)
    return FrameOrder(hold=_HOLD if source.live else None)


def _opened_deliveries(
    outputs: VisitOutputs,
    open_receiver: Callable[[str], Receiver],
    run: str,
    report: Callable[[str], None],
) -> list[Delivery]:
    """The deliveries to all receivers, started; none where one of them can't be used."""
    only = (outputs.only, outputs.ignored)
    with ExitStack() as opening:
        found = []
        for address in dict.fromkeys(outputs.receivers):
            receiver = open_receiver(address)
            opening.callback(receiver.close)
            queue = EventQueue.open(receiver.key, run)
            opening.callback(queue.close, finished=False)
            found.append(Delivery(queue, receiver, VisitFilter(*only), report=report))
        opening.pop_all()
    for delivery in found:
        delivery.start()
    return found
