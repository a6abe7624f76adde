"""The messages that SQS has not accepted yet, in a SQLite file in the state folder.

A file is locked while a process uses it; the messages that a killed process left are sent by the
next one. The file is bounded: beyond that the oldest messages are dropped.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from facectl import paths, sqlite
from facectl.errors import FacectlError, InputError

# An hour of two frames per second with a face each are 220 MB.
MOST_BYTES = 500_000_000
# SQS takes ten messages, and 1 MiB, in one batch.
_BATCH_MESSAGES = 10
_BATCH_BYTES = 1_000_000
# Free bytes in the file, and times its messages, above which it is made smaller.
_MOST_FREE = 2_000_000
_FREE_SHARE = 4
# Processes that send for one deployment at once.
_MOST_FILES = 100
_TABLE = """
CREATE TABLE IF NOT EXISTS message (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL UNIQUE,
    faces INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    body TEXT NOT NULL
)
"""


class QueuedMessage(NamedTuple):
    """A message that waits: its place, the frame's request id, its faces, and its body."""

    number: int
    request_id: str
    faces: int
    body: str


class DiskQueue:
    """Messages in their order, each request id once; used by several threads."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, most_bytes: int = MOST_BYTES
    ) -> None:
        self.path = path
        self._connection = connection
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        (self._bytes,) = connection.execute(
            "SELECT coalesce(sum(bytes), 0) FROM message"
        ).fetchone()

    @classmethod
    def open(cls, deployment: str, *, most_bytes: int = MOST_BYTES) -> DiskQueue:
        """The first file of a deployment that no process uses, with what is left in it.

        Raises InputError where the state folder can't be written.
        """
        digest = hashlib.sha256(deployment.encode()).hexdigest()[:12]
        folder = paths.state_dir() / "edge"
        for number in range(_MOST_FILES):
            path = folder / f"{digest}-{number}.db"
            try:
                sqlite.created(path)
                # A killed process loses nothing, a power failure the last messages.
                connection = sqlite.locked(path, synchronous="NORMAL", tables=_TABLE)
            except OSError as error:
                raise InputError(f"{path} can't be written: {error.strerror}") from error
            except sqlite.InUseError:
                continue
            except sqlite3.OperationalError as error:
                raise InputError(f"{path} can't be opened: {error}") from error
            except sqlite3.DatabaseError as error:
                raise InputError(f"{path} is damaged: {error}", hint=f"rm {path}") from error
            return cls(connection, path, most_bytes)
        raise InputError(f"{_MOST_FILES} processes use the folder {folder}")

    def add(self, request_id: str, faces: int, body: str) -> list[str]:
        """Add a message, unless its request id is there; it is on disk afterwards.

        Returns the request ids of the messages that were dropped for it, the oldest first.
        """
        size = len(body.encode())
        with self._statements() as connection:
            done = connection.execute(
                "INSERT OR IGNORE INTO message (request_id, faces, bytes, body) "
                "VALUES (?, ?, ?, ?)",
                (request_id, faces, size, body),
            )
            self._bytes += size * done.rowcount
            dropped = []
            while self._bytes > self._most_bytes:
                number, oldest, freed = connection.execute(
                    "SELECT number, request_id, bytes FROM message ORDER BY number LIMIT 1"
                ).fetchone()
                connection.execute("DELETE FROM message WHERE number = ?", (number,))
                self._bytes -= freed
                dropped.append(oldest)
        return dropped

    def batch(self) -> list[QueuedMessage]:
        """The oldest messages, as many as one call of SQS takes."""
        with self._statements() as connection:
            rows = connection.execute(
                "SELECT number, request_id, faces, body, bytes FROM message "
                "ORDER BY number LIMIT ?",
                (_BATCH_MESSAGES,),
            ).fetchall()
        found: list[QueuedMessage] = []
        size = 0
        for *fields, length in rows:
            size += length
            if found and size > _BATCH_BYTES:
                break
            found.append(QueuedMessage(*fields))
        return found

    def remove(self, messages: Sequence[QueuedMessage]) -> None:
        """Remove messages that SQS has accepted, or never will."""
        with self._statements() as connection:
            for message in messages:
                done = connection.execute("DELETE FROM message WHERE number = ?", (message.number,))
                # It may have been dropped meanwhile.
                self._bytes -= len(message.body.encode()) * done.rowcount
        self._shrink()

    def request_ids(self, prefix: str) -> list[str]:
        """The request ids that begin with this, in the order of their messages."""
        with self._statements() as connection:
            rows = connection.execute(
                "SELECT request_id FROM message WHERE substr(request_id, 1, ?) = ? ORDER BY number",
                (len(prefix), prefix),
            ).fetchall()
        return [request_id for (request_id,) in rows]

    def waiting(self, run: str = "") -> int:
        """The number of messages, of one run or of all."""
        with self._statements() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM message WHERE substr(request_id, 1, ?) = ?", (len(run), run)
            ).fetchone()
        return int(count)

    def close(self) -> None:
        """Close the file; delete it where nothing waits."""
        empty = self.waiting() == 0
        self._connection.close()
        if empty:
            sqlite.removed(self.path)

    def _shrink(self) -> None:
        """Give the disk back what an outage has taken; the crops in it are gone then."""
        with self._lock, self._errors():
            (pages,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            (size,) = self._connection.execute("PRAGMA page_size").fetchone()
            # It copies what is left, so it waits until that is little.
            if pages * size > max(_MOST_FREE, _FREE_SHARE * self._bytes):
                # On a full disk it fails, and is tried again.
                with suppress(sqlite3.OperationalError):
                    self._connection.execute("VACUUM")
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _statements(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread, in one transaction."""
        with self._errors(), self._lock, sqlite.transaction(self._connection):
            yield self._connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise SQLite's errors as FacectlErrors that name the file."""
        try:
            yield
        except sqlite3.Error as error:
            raise FacectlError(f"{self.path} can't be written: {error}") from error
