"""The SQLite file of strangers: its tables, and its errors as FacectlErrors.

Only its owner can read it. Deleted content is overwritten with zeros (secure_delete), and the
rollback journal is deleted at the end of each transaction, so that no byte of a forgotten face is
left in a file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facectl import sqlite
from facectl.errors import FacectlError

# Seconds to wait for the lock while another command writes.
_BUSY_TIMEOUT = 60.0
FORMAT = 1
# Where the file can't be opened, no command can delete what is in it.
_DELETE = "delete {}: it holds strangers only"
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL DEFAULT 'open', name TEXT
);
CREATE TABLE faces (
    id INTEGER PRIMARY KEY AUTOINCREMENT, visit TEXT NOT NULL, source TEXT NOT NULL,
    time REAL NOT NULL, box TEXT NOT NULL, probability REAL NOT NULL, sharpness REAL NOT NULL,
    side REAL NOT NULL,
    quality REAL NOT NULL, embedding BLOB NOT NULL, crop BLOB NOT NULL, person TEXT,
    grp INTEGER NOT NULL DEFAULT 0, neighbours INTEGER NOT NULL DEFAULT 0,
    changed INTEGER NOT NULL
);
CREATE INDEX faces_by_group ON faces (grp, quality DESC);
CREATE INDEX faces_by_visit ON faces (visit);
CREATE INDEX faces_by_time ON faces (time);
CREATE INDEX faces_by_change ON faces (changed);
CREATE TABLE merged (id INTEGER PRIMARY KEY, target INTEGER NOT NULL);
CREATE TABLE apart (one INTEGER NOT NULL, other INTEGER NOT NULL, PRIMARY KEY (one, other));
CREATE TABLE visits (
    id TEXT PRIMARY KEY, seen REAL NOT NULL, event TEXT NOT NULL, file TEXT, receivers TEXT NOT NULL
);
CREATE TABLE amendments (id INTEGER PRIMARY KEY AUTOINCREMENT, visit TEXT NOT NULL,
    event TEXT NOT NULL, before TEXT);
CREATE TABLE actions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sentence TEXT NOT NULL, before INTEGER, after INTEGER,
    undo TEXT NOT NULL
)
"""


def connect(file: Path) -> sqlite3.Connection:
    """Open the file, created (0600) if missing; raises FacectlError."""
    with errors(file):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The connection of a collector is opened in one thread and used in another.
        return sqlite.connected(
            file,
            lambda connection: _prepare(connection, file),
            timeout=_BUSY_TIMEOUT,
            one_thread=False,
        )


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    if _format(connection) == 0:
        with transaction(connection, file):
            # Another command may have created the tables.
            if _format(connection) == 0:
                sqlite.run_script(connection, _TABLES)
                connection.execute(f"PRAGMA user_version = {FORMAT}")
    if _format(connection) != FORMAT:
        raise FacectlError(f"{file} is of another version of facectl", hint=_DELETE.format(file))


def _format(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def transaction(connection: sqlite3.Connection, file: Path) -> Iterator[None]:
    """Run the block as one transaction; roll back if it raises."""
    with errors(file), sqlite.transaction(connection):
        yield


@contextmanager
def errors(file: Path) -> Iterator[None]:
    """Raise SQLite's errors as FacectlErrors that name the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise FacectlError(
                f"no room left on the disk of {file}", hint="facectl strangers forget all"
            ) from error
        raise FacectlError(f"{file} can't be used: {error}") from error
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError as error:
        raise FacectlError(f"{file} is damaged: {error}", hint=_DELETE.format(file)) from error
    except OSError as error:
        raise FacectlError(f"{file} can't be used: {error.strerror}") from error
