"""SQLite files of faces, which only their owner can read: those of galleries and strangers."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


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
