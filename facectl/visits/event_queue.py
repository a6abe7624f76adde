"""The events that a receiver has not taken yet, in a SQLite file in the state folder.

One file per receiver and run, locked while a process uses it. What an earlier process left
undelivered is taken over by the next one with the same receiver. The ids of delivered
events stay, so that a resumed run does not send them again.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from facectl import paths, sqlite
from facectl.errors import FacectlError, InputError

# Undelivered events of one receiver; beyond that the oldest are dropped.
_MOST = 10_000
# Seconds for which the ids of an interrupted run are kept: as long as it can be resumed.
_RETENTION = 4 * 86_400
_TABLE = """
CREATE TABLE IF NOT EXISTS event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    body TEXT
)
"""


class QueuedEvent(NamedTuple):
    """An event that waits: its id, and its JSON."""

    number: int
    key: str
    body: str


class EventQueue:
    """The events of one run for one receiver, in order; used by two threads.

    `dropped` counts the events that were too many.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, most: int = _MOST) -> None:
        self.dropped = 0
        self.path = path
        self._connection = connection
        self._most = most
        self._lock = threading.Lock()

    @classmethod
    def open(cls, receiver: str, run: str, *, most: int = _MOST) -> EventQueue:
        """The queue of a run; takes over what earlier runs have not delivered to the receiver.

        Raises InputError where the state folder can't be written.
        """
        return cls.of(cls.id_of(receiver), run, most=most)

    @staticmethod
    def id_of(receiver: str) -> str:
        """The id of the queues of a receiver; it has none of the secrets of its address."""
        return hashlib.sha256(receiver.encode()).hexdigest()[:12]

    @classmethod
    def of(cls, digest: str, run: str, *, most: int = _MOST) -> EventQueue:
        """As `open`, for the receiver with this id of its queues."""
        path = paths.state_dir() / "events" / f"{digest}-{run[:12]}.db"
        try:
            sqlite.created(path)
            connection = _connected(path)
        except OSError as error:
            raise InputError(f"{path} can't be written: {error.strerror}") from error
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path} can't be opened: {error}") from error
        queue = cls(connection, path, most)
        for other in sorted(path.parent.glob(f"{digest}-*.db")):
            if other != path:
                queue._take_over(other)
        return queue

    def add(self, key: str, body: str) -> None:
        """Add an event, unless one with its id was added before; it is on disk afterwards."""
        with self._statements() as connection:
            connection.execute("INSERT OR IGNORE INTO event (key, body) VALUES (?, ?)", (key, body))
            over = self._count(connection) - self._most
            if over > 0:
                connection.execute(
                    "UPDATE event SET body = NULL WHERE number IN "
                    "(SELECT number FROM event WHERE body IS NOT NULL ORDER BY number LIMIT ?)",
                    (over,),
                )
                self.dropped += over

    def recover(self, run: str, key: str, body: str) -> None:
        """Add an event of an earlier run unless its process had added it before it was killed.

        Nothing is added where that run had no queue for this receiver, or ended in order.
        """
        digest = self.path.name.partition("-")[0]
        other = self.path.with_name(f"{digest}-{run}.db")
        if other == self.path or not other.exists():
            return
        try:
            with closing(_connected(other)) as connection:
                known = connection.execute("SELECT 1 FROM event WHERE key = ?", (key,)).fetchone()
                if known is None:
                    self.add(key, body)
                    connection.execute("INSERT INTO event (key, body) VALUES (?, NULL)", (key,))
        except sqlite3.DatabaseError:
            return

    def first(self) -> QueuedEvent | None:
        """The oldest undelivered event."""
        with self._statements() as connection:
            row = connection.execute(
                "SELECT number, key, body FROM event WHERE body IS NOT NULL ORDER BY number LIMIT 1"
            ).fetchone()
        return None if row is None else QueuedEvent(*row)

    def done(self, number: int) -> None:
        """Record that an event was delivered, or is never to be."""
        with self._statements() as connection:
            connection.execute("UPDATE event SET body = NULL WHERE number = ?", (number,))

    def waiting(self) -> int:
        """The number of undelivered events."""
        with self._statements() as connection:
            return self._count(connection)

    def close(self, *, finished: bool) -> None:
        """Close the file; delete it where nothing waits and the run can't be resumed."""
        empty = self.waiting() == 0
        self._connection.close()
        if finished and empty:
            sqlite.removed(self.path)

    def _take_over(self, other: Path) -> None:
        """Move the events of a queue that no process uses; a damaged one is left alone."""
        try:
            with closing(_connected(other)) as connection:
                rows = connection.execute(
                    "SELECT key, body FROM event WHERE body IS NOT NULL ORDER BY number"
                ).fetchall()
                for key, body in rows:
                    self.add(key, body)
                connection.execute("UPDATE event SET body = NULL")
        except sqlite3.DatabaseError:
            return
        if time.time() - other.stat().st_mtime > _RETENTION:
            sqlite.removed(other)

    @staticmethod
    def _count(connection: sqlite3.Connection) -> int:
        (count,) = connection.execute(
            "SELECT count(*) FROM event WHERE body IS NOT NULL"
        ).fetchone()
        return int(count)

    @contextmanager
    def _statements(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread; SQLite's errors are raised as FacectlError."""
        try:
            with self._lock:
                yield self._connection
        except sqlite3.Error as error:
            raise FacectlError(f"{self.path} can't be written: {error}") from error


def _connected(path: Path) -> sqlite3.Connection:
    """Open and lock a queue; raises sqlite3.DatabaseError where another process has it."""
    # An event is rare, and is synced when it is added.
    return sqlite.locked(path, synchronous="FULL", tables=_TABLE)
