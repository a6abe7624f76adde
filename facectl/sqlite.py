"""SQLite files, which only their owner can read.

`connected` opens the files of galleries and strangers, which several commands use at once;
`locked` those of one process: of a run, of events and of crops that wait to be sent.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

Synchronous = Literal["NORMAL", "FULL"]


class InUseError(sqlite3.OperationalError):
    """Another process has locked the file."""


def connected(
    file: Path,
    prepare: Callable[[sqlite3.Connection], None],
    *,
    timeout: float,
    one_thread: bool = True,
) -> sqlite3.Connection:
    """Open a file of faces, created (0600) if missing, and prepare its tables; closed on an error.

    Deleted content is overwritten with zeros. `timeout`: seconds to wait for the lock while
    another command writes. `one_thread`: no other thread than the one that opened it may use it.
    """
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(
        file, timeout=timeout, isolation_level=None, check_same_thread=one_thread
    )
    try:
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def locked(file: Path | None, *, synchronous: Synchronous, tables: str = "") -> sqlite3.Connection:
    """Open an existing file for this process alone, or a temporary one where it is None.

    Locked until the connection is closed or the process ends; several threads may use it, one at
    a time. Each statement is a transaction in a write-ahead log. `synchronous`: FULL syncs each,
    NORMAL once in about 1000 pages, so that a power failure loses the last ones; a killed process
    loses nothing. `tables` are created if missing. Raises InUseError where another process has
    the file, and sqlite3.DatabaseError.
    """
    connection = sqlite3.connect(
        "" if file is None else f"{file.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        if tables:
            connection.execute(tables)
    except sqlite3.DatabaseError as error:
        connection.close()
        if "locked" in str(error):
            raise InUseError(str(error)) from error
        raise
    return connection


def created(file: Path) -> None:
    """Create an empty file (0600), and its folder (0700), where they are missing; raises OSError.

    An existing file is left as it is.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.touch(mode=0o600)


def removed(file: Path) -> None:
    """Delete a file of `locked`, with its write-ahead log."""
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def state_of(file: Path) -> tuple[int, bytes] | None:
    """A value that every change of a file changes; None for a missing file.

    It reads the file change counter, so that a file can be followed without opening the database.
    Source: SQLite, "Database File Format", section 1.3. Not for files in WAL mode.
    """
    try:
        with file.open("rb") as stream:
            return os.fstat(stream.fileno()).st_ino, stream.read(28)[24:]
    except FileNotFoundError:
        return None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block as one transaction; roll back if it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Run statements inside the transaction; `executescript` would commit it first."""
    for statement in script.split(";"):
        connection.execute(statement)
