"""Reads the visits of the day from a visits file, so that the page has them after a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from facectl.console import printable
from facectl.errors import FacectlError
from facectl.strangers.store import StrangerStore
from facectl.visits.models import VisitEvent


@dataclass(frozen=True, slots=True)
class PastVisit:
    """A visit of an earlier run: its newest event, and when the seconds of its run began."""

    event: VisitEvent
    epoch: float

    @property
    def seen(self) -> float:
        """When the person was last seen, in seconds since 1970."""
        return self.epoch + self.event.last


class DayHistory:
    """Collects the visits of one day: `history(event)` takes each event of a file, in order.

    `sources` are the names of the sources whose visits are wanted, `midnight` is when the day
    began, in seconds since 1970. An event has no time of the day at which a face was seen. It is
    computed from when events were decided, which is soon after the newest frame of their visit.
    """

    def __init__(self, sources: Mapping[str, object], midnight: float) -> None:
        self._sources = sources
        self._midnight = midnight
        begin = datetime.fromtimestamp(midnight, timezone.utc)
        # Times of events sort as text.
        self._first = begin.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._events: dict[str, VisitEvent] = {}
        self._epochs: dict[str, float] = {}

    def __call__(self, event: VisitEvent) -> None:
        """Take an event; those that were decided before the day are left out."""
        if event.time < self._first or printable(event.source) not in self._sources:
            return
        if event.reason == "merged":
            self._events.pop(event.visit, None)
            return
        try:
            decided = datetime.fromisoformat(event.time.replace("Z", "+00:00")).timestamp()
        except ValueError:
            return
        epoch = decided - event.last
        self._epochs[event.run] = min(epoch, self._epochs.get(event.run, epoch))
        # The newest last, as the visits of this run.
        self._events.pop(event.visit, None)
        self._events[event.visit] = event

    def visits(self) -> list[PastVisit]:
        """The visits in which somebody was seen on that day, the newest event last."""
        found = [PastVisit(each, self._epochs[each.run]) for each in self._events.values()]
        return [each for each in found if each.seen >= self._midnight]


def midnight(now: float) -> float:
    """When the day of a time began where this computer is, in seconds since 1970."""
    day = datetime.fromtimestamp(now).astimezone()
    return day.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def crop_finder(
    folder: Path | None, asu_id: str, *, strangers: bool
) -> Callable[[str], bytes | None]:
    """A function that finds the picture of a past visit: in `folder`, or among kept faces.

    Nothing but `VISIT.jpg` of the folder is read, whatever path a visits file names.
    """

    def find(visit: str) -> bytes | None:
        if folder is not None and Path(visit).name == visit:
            try:
                return (folder / f"{visit}.jpg").read_bytes()
            except OSError:
                pass
        return _kept_face(asu_id, visit) if strangers else None

    return find


def _kept_face(asu_id: str, visit: str) -> bytes | None:
    """The best kept face of a visit; None without one."""
    try:
        store = StrangerStore.find(asu_id)
        if store is None:
            return None
        with closing(store):
            faces = store.faces_of_visit(visit)
            return store.crop(faces[0].id) if faces else None
    except FacectlError:
        # Deleted meanwhile, or a file that `facectl strangers` has to complain about.
        return None
