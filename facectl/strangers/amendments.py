"""Amendments of visits that are written already: stored, and passed on by whoever has the outputs.

A running command passes the amendments of its own visits on, within a second. Those of other runs
are appended to the visits file, by the running command if it writes this file, and put into the
queues of the receivers, which the next command with the receiver delivers.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from facectl.errors import FacectlError, InputError
from facectl.strangers import store as stores
from facectl.visits.delivery import VisitFilter
from facectl.visits.event_queue import EventQueue
from facectl.visits.file import VisitsFile
from facectl.visits.models import VisitEvent

if TYPE_CHECKING:
    from facectl.strangers.store import StrangerStore


# Bytes of a path, of which Linux allows 4,096.
_LONGEST_PATH = 8192


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the events of a run go: its source, visits file, and the queues of its receivers.

    only, ignored: which visits the receivers get, as in `VisitFilter`.
    """

    source: str
    file: Path | None = None
    queues: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


class RunLock:
    """Held while a run can pass amendments on itself, and those of the visits in its `file`.

    Raises InputError if another process holds it.
    """

    def __init__(self, asu_id: str, run: str, file: Path | None = None) -> None:
        self._file = _lock_file(asu_id, run)
        self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise InputError(f"run {run} is continued by another process already") from error
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, os.fsencode(_text(file) or ""))

    def close(self) -> None:
        """Release and remove it."""
        self._file.unlink(missing_ok=True)
        os.close(self._descriptor)


def remember(store: StrangerStore, event: VisitEvent, outputs: Outputs, now: datetime) -> None:
    """Store the newest event of a visit, and where the events of the visit went."""
    receivers = json.dumps(
        {"queues": outputs.queues, "only": outputs.only, "ignored": outputs.ignored}
    )
    with store.transaction():
        store.execute(
            "INSERT OR REPLACE INTO visits VALUES (:visit, :seen, :event, :file, :receivers)",
            visit=event.visit,
            seen=now.timestamp(),
            event=json.dumps(_stored(event)),
            file=_text(outputs.file),
            receivers=receivers,
        )


def last_event(store: StrangerStore, visit: str) -> VisitEvent | None:
    """The newest event of a visit; None for an unknown one."""
    rows = store.select("SELECT event FROM visits WHERE id = :visit", visit=visit)
    return VisitEvent.parse(json.loads(rows[0][0])) if rows else None


def amend(store: StrangerStore, event: VisitEvent) -> None:
    """Store an amendment, in a transaction; it is the newest event of its visit from now on."""
    before = last_event(store, event.visit)
    store.execute(
        "INSERT INTO amendments (visit, event, before) VALUES (:visit, :event, :before)",
        visit=event.visit,
        event=json.dumps(_stored(event)),
        before=None if before is None else before.person,
    )
    store.execute(
        "UPDATE visits SET event = :event WHERE id = :visit",
        visit=event.visit,
        event=json.dumps(_stored(event)),
    )


def taken(store: StrangerStore, run: str) -> list[VisitEvent]:
    """Take the waiting amendments of a run's visits, the oldest first."""
    if not _waiting(store, run):
        return []
    with store.transaction():
        rows = _waiting(store, run)
        for number, _, _ in rows:
            _done(store, number)
    return [event for _, event, _ in rows]


def continue_file(
    store: StrangerStore, file: Path, sinks: Sequence[Callable[[VisitEvent], object]]
) -> None:
    """Write the waiting amendments of ended runs whose visits are in a file that this run writes.

    One of `sinks` appends to the file. Nobody else can while this run has the file open.
    """
    if not store.select("SELECT 1 FROM amendments LIMIT 1"):
        return
    for run in _ended_runs(store):
        # One transaction: another source of this process looks for them too.
        with store.transaction():
            for number, event, before in _waiting(store, run):
                if _file_of(store, event.visit) == _text(file):
                    for sink in sinks:
                        sink(event)
                    _queue_up(store, run, event, before)
                    _done(store, number)


def deliver(store: StrangerStore) -> list[str]:
    """Write the waiting amendments of runs that have ended; returns what could not be written.

    What could not be written waits, and is tried again by the next action. A running command
    writes those of its file itself, within a second.
    """
    problems = []
    written_by_runs = _written_files(store.file.stem)
    for run in _ended_runs(store):
        for number, event, before in _waiting(store, run):
            if _file_of(store, event.visit) in written_by_runs:
                continue
            if (problem := _problem(store, run, event, before)) is not None:
                problems.append(f"The amendment of visit {event.visit} waits: {problem}.")
                continue
            with store.transaction():
                _done(store, number)
    return problems


def _ended_runs(store: StrangerStore) -> list[str]:
    """The runs that have ended and whose visits have waiting amendments."""
    rows = store.select("SELECT DISTINCT visit FROM amendments")
    runs = {str(visit).partition("-")[0] for (visit,) in rows}
    return sorted(run for run in runs if _running(_lock_file(store.file.stem, run)) is None)


def _waiting(store: StrangerStore, run: str) -> list[tuple[int, VisitEvent, str | None]]:
    """The waiting amendments of a run's visits: numbers, events, and the person before."""
    rows = store.select(
        "SELECT id, event, before FROM amendments WHERE visit LIKE :run || '-%' ORDER BY id",
        run=run,
    )
    return [(number, VisitEvent.parse(json.loads(text)), before) for number, text, before in rows]


def _done(store: StrangerStore, number: int) -> None:
    store.execute("DELETE FROM amendments WHERE id = :id", id=number)


def _problem(
    store: StrangerStore, run: str, event: VisitEvent, before: str | None
) -> FacectlError | None:
    """Write an amendment; returns the error if it can't be written."""
    try:
        _write(store, run, event, before)
    except FacectlError as error:
        return error
    return None


def _write(store: StrangerStore, run: str, event: VisitEvent, before: str | None) -> None:
    file = _file_of(store, event.visit)
    # A file that was deleted or moved is not made again.
    if file is not None and Path(file).exists():
        with closing(VisitsFile(Path(file), run)) as visits:
            visits(event)
    _queue_up(store, run, event, before)


def _queue_up(store: StrangerStore, run: str, event: VisitEvent, before: str | None) -> None:
    """Put an amendment into the queues of the receivers that wanted the visit."""
    for (receivers,) in store.select("SELECT receivers FROM visits WHERE id = :v", v=event.visit):
        fields = json.loads(receivers)
        wanted = VisitFilter(fields["only"], fields["ignored"])
        # A receiver that got the visit learns that its name was another one.
        if any([wanted.passes(replace(event, person=before)), wanted.passes(event)]):
            for queue in fields["queues"]:
                with _queue(queue, run) as events:
                    events.add(event.key, json.dumps(event.as_dict()))


def _file_of(store: StrangerStore, visit: str) -> str | None:
    """The visits file that a visit was written to."""
    rows = store.select("SELECT file FROM visits WHERE id = :visit", visit=visit)
    return rows[0][0] if rows else None


@contextmanager
def _queue(queue: str, run: str) -> Iterator[EventQueue]:
    """The queue of a run for a receiver; the next run with this receiver delivers it."""
    events = EventQueue.of(queue, run)
    try:
        yield events
    finally:
        events.close(finished=False)


def _running(lock: Path) -> str | None:
    """The visits file of the run that holds a lock, empty without one; None if none holds it."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.fsdecode(os.pread(descriptor, _LONGEST_PATH, 0))
    else:
        # The process was killed.
        lock.unlink(missing_ok=True)
        return None
    finally:
        os.close(descriptor)


def _written_files(asu_id: str) -> set[str]:
    """The visits files that running commands write."""
    locks = stores.path(asu_id).parent.glob(f"{asu_id}-*.lock")
    return {file for lock in locks if (file := _running(lock))}


def _lock_file(asu_id: str, run: str) -> Path:
    return stores.path(asu_id).with_name(f"{asu_id}-{run}.lock")


def _stored(event: VisitEvent) -> dict[str, object]:
    """The event for the store, without the track, which is long."""
    return replace(event, track=()).as_dict()


def _text(file: Path | None) -> str | None:
    """A file as it is stored."""
    return None if file is None else str(file.absolute())
