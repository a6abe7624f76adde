"""The gallery's file on this computer: its tables, and its errors in our words.

One SQLite file per deployment. An entry says that an embedding carried a name
from version `born` until version `died`, so every version can be read, and
adding a photograph writes one row however many there are. A change is one
transaction: a full disk, a crash or a second enrolment leaves it out or in.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facectl.errors import GalleryError

FORMAT = "facectl-gallery-1"
# Seconds that a command waits for another one's change to end.
_PATIENCE = 60.0

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE versions (
    number INTEGER PRIMARY KEY, at TEXT NOT NULL, action TEXT NOT NULL, settings TEXT NOT NULL
);
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY, embedding BLOB NOT NULL, sha256 TEXT, source TEXT, figures TEXT NOT NULL
);
CREATE INDEX vectors_by_photo ON vectors (sha256);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, vector INTEGER NOT NULL REFERENCES vectors (id),
    name TEXT NOT NULL, bucket INTEGER NOT NULL, born INTEGER NOT NULL, died INTEGER
);
CREATE INDEX entries_by_name ON entries (name);
CREATE INDEX entries_by_vector ON entries (vector);
CREATE INDEX entries_by_bucket ON entries (bucket) WHERE died IS NULL;
CREATE INDEX entries_by_birth ON entries (born);
CREATE INDEX entries_by_death ON entries (died) WHERE died IS NOT NULL;
"""


def connect(file: Path) -> sqlite3.Connection:
    """Open a gallery's file, made empty where there is none; raises GalleryError."""
    with errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        # Faces are nobody else's business: the file is private from its first byte.
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None)
        try:
            # What is deleted is overwritten, not only unlinked.
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA synchronous = FULL")
            _prepare(connection, file)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        with transaction(connection, file):
            # Another command may have been first.
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
                connection.execute("INSERT INTO meta VALUES ('format', ?)", (FORMAT,))
    found = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    if found is None or found[0] != FORMAT:
        raise GalleryError(
            f"{file} is a gallery of another format than {FORMAT}",
            hint=f"move {file} away, then: facectl gallery enroll NAME IMAGE",
        )


@contextmanager
def transaction(connection: sqlite3.Connection, file: Path) -> Iterator[None]:
    """All of the block's changes or none of them, and nobody else's in between."""
    with errors(file):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def errors(file: Path) -> Iterator[None]:
    """Turn SQLite's errors into GalleryErrors that name the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "full" in text:
            raise GalleryError(
                f"no room left on the disk of {file}: the gallery is as it was before",
                hint="make room, then run the same command again",
            ) from error
        if "locked" in text:
            raise GalleryError(
                f"another command has been changing {file} for {_PATIENCE:.0f} s",
                hint="wait until it ends, then run the same command again",
            ) from error
        raise GalleryError(f"{file} can't be used: {error}") from error
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.DatabaseError as error:
        raise GalleryError(
            f"{file} is damaged: {error}",
            hint=f"move {file} away, then: facectl gallery enroll NAME IMAGE",
        ) from error
    except OSError as error:
        raise GalleryError(f"{file} can't be used: {error.strerror}") from error
