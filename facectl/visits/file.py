"""The file of visits: one JSON line per event, appended and synced, and the folder of crops."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from facectl.errors import FacectlError, InputError
from facectl.paths import atomic_write
from facectl.visits.models import VisitEvent

# Every line begins so. Anything else without an end is no event that was cut off.
_BEGINNING = b'{"event": "'


class VisitsFile:
    """Appends events to a JSON Lines file; each is synced to disk (fsync) before the next.

    An incomplete last line, which a power failure can leave, is removed when the file is
    opened. An event whose id is in the file is not written again: a resumed run
    continues the file. One process writes it at a time.

    `run` is the id of the run; None where several write it, each in a thread of its own.
    `each` gets every event that is in the file already, in order.
    Raises InputError for a file that can't be written or has other content.
    """

    def __init__(
        self,
        path: Path,
        run: str | None,
        *,
        each: Callable[[VisitEvent], None] = lambda _: None,
    ) -> None:
        self.path = path
        self._each = each
        self._lock = threading.Lock()
        # The ids of this run's events that an earlier process wrote.
        self._known: set[str] = set()
        self._unended: dict[str, VisitEvent] = {}
        self._newest: dict[str, VisitEvent] = {}
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise InputError(f"{path} can't be written: {error.strerror}") from error
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            self._file.close()
            raise InputError(f"{path} is not a regular file")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read(run)
        except BlockingIOError as error:
            self._file.close()
            raise InputError(
                f"{path} is being written by another process", hint="give --visits another file"
            ) from error
        except OSError as error:
            self._file.close()
            raise InputError(f"{path} can't be read: {error.strerror}") from error
        except InputError:
            self._file.close()
            raise

    def __call__(self, event: VisitEvent) -> None:
        """Append an event; raises FacectlError where the disk is full, and leaves no part of it."""
        if event.key in self._known:
            return
        data = json.dumps(event.as_dict()).encode() + b"\n"
        with self._lock:
            self._append(data)

    def _append(self, data: bytes) -> None:
        try:
            written = self._file.write(data)
            if written != len(data):
                self._file.truncate(self._size)
                raise self._failure("the disk is full")
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failure(error.strerror) from error
        self._size += len(data)

    def lost(self) -> Iterator[VisitEvent]:
        """The ends of the visits that an earlier run began and did not end: it was killed.

        The second call has none.
        """
        unended, self._unended = self._unended, {}
        for event in unended.values():
            yield replace(event, event="end", reason="lost", track=())

    def newest(self) -> list[VisitEvent]:
        """The last event of each earlier run: only it may have reached no receiver, after a kill.

        The second call has none.
        """
        newest, self._newest = self._newest, {}
        return list(newest.values())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, run: str | None) -> None:
        """Read the events, remove an incomplete last line, and go to the end."""
        self._size = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n") and (number > 1 or line.startswith(_BEGINNING)):
                self._file.truncate(self._size)
                break
            event = self._event(line, number)
            self._size += len(line)
            self._each(event)
            if run is not None and event.run == run[:12]:
                self._known.add(event.key)
                continue
            if event.event != "amend":
                self._newest[event.run] = event
            if event.event == "end":
                self._unended.pop(event.visit, None)
            elif event.event != "amend" or event.visit in self._unended:
                self._unended[event.visit] = event
        self._file.seek(self._size)

    def _event(self, line: bytes, number: int) -> VisitEvent:
        try:
            fields: dict[str, Any] = json.loads(line)
            return VisitEvent.parse(fields)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{self.path} has no visits of facectl: line {number} is not an event",
                hint="give --visits another file",
            ) from error

    def _failure(self, reason: str | None) -> FacectlError:
        return FacectlError(f"{self.path} can't be written any more: {reason}")


class CropFolder:
    """Writes the best crop of each visit to `VISIT.jpg`, which only this user can read."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise InputError(f"{folder} can't be created: {error.strerror}") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(f"{folder} is not a writable folder")
        self._folder = folder

    def saved(self, event: VisitEvent) -> VisitEvent:
        """Write the crop of an event; returns the event with the crop's file."""
        if event.best.crop is None:
            return event
        file = self._folder / f"{event.visit}.jpg"
        try:
            with atomic_write(file) as stream:
                stream.write(event.best.crop)
        except OSError as error:
            raise FacectlError(f"{file} can't be written: {error.strerror}") from error
        return replace(event, best=replace(event.best, file=str(file)))
