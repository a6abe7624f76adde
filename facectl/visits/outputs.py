"""Opens what a run writes about visits, and connects it to the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from facectl.stream.session import RunReport, Session
from facectl.stream.sources import Source
from facectl.visits.file import CropFolder, VisitsFile
from facectl.visits.models import VisitEvent
from facectl.visits.order import FrameOrder
from facectl.visits.recorder import VisitRecorder
from facectl.visits.tracker import VisitOptions, VisitTracker

# Seconds that the frames of a camera wait for an earlier one. Those of a file wait until it is
# answered or its deadline has passed, so that the same file gives the same visits.
_HOLD = 2.0


@dataclass(frozen=True, slots=True)
class VisitOutputs:
    """What a run writes about visits: the events to `file`, the best crops to `crops`."""

    file: Path
    options: VisitOptions = field(default_factory=VisitOptions)
    crops: Path | None = None


class VisitCounts:
    """The visits of a run by person."""

    def __init__(self) -> None:
        self._people: dict[str, str | None] = {}

    def __call__(self, event: VisitEvent) -> None:
        """Count an event; the visits of earlier runs and parts of others are left out."""
        if event.reason == "merged":
            self._people.pop(event.visit, None)
        elif event.reason != "lost":
            self._people[event.visit] = event.person

    def text(self) -> str:
        """The counts as text: `3 visits: Ann 2, unknown 1`."""
        counts = Counter("unknown" if name is None else name for name in self._people.values())
        total = sum(counts.values())
        if not total:
            return "no visits"
        each = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        return f"{total} visit{'s' if total > 1 else ''}: {each}"


class Recording:
    """The visits of one run while it runs."""

    def __init__(self, recorder: VisitRecorder, counts: VisitCounts) -> None:
        self._recorder = recorder
        self.counts = counts

    def finish(self, report: RunReport) -> None:
        """End the open visits after the run; raises FacectlError where they can't be written."""
        early = report.interrupted or report.failure is not None
        self._recorder.close("interrupted" if early else "finished")


@contextmanager
def recorded(
    outputs: VisitOutputs, session: Session, source: Source, *, synthetic: bool
) -> Iterator[Recording]:
    """Follow the faces of a run that is about to start; the block runs it.

    Open visits end as interrupted if the block does not finish the recording. Raises
    InputError for a file or folder that can't be written.
    """
    run = session.tracker.run
    counts = VisitCounts()
    crops = None if outputs.crops is None else CropFolder(outputs.crops)
    with closing(VisitsFile(outputs.file, run)) as file:
        recorder = VisitRecorder(
            VisitTracker(run, source.name, outputs.options),
            FrameOrder(hold=_HOLD if source.live else None),
            [file, counts],
            crops=crops,
            synthetic=synthetic,
        )
        recorder.start(file.lost())
        session.tracker.listen(recorder, late=recorder)
        session.listen_to_images(recorder.images.keep)
        try:
            yield Recording(recorder, counts)
        finally:
            recorder.close("interrupted")
