"""The gallery's SQLite file: its tables, its migration, and its errors as GalleryErrors.

One file per deployment. An entry gives an embedding a name from version
`valid_from` until version `valid_to`, exclusive, so every version can be read and
adding a photograph writes one row. A change is one transaction, so a full disk, a
crash or a concurrent enrollment never leaves half of it. Each version and each
vector belong to one embedding space, a row in `spaces`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facectl import sqlite
from facectl.errors import GalleryError

FORMAT = "facectl-gallery-2"
# All versions of a file had one embedding space; migrated when it is opened.
_FORMAT_1 = "facectl-gallery-1"
# Seconds to wait for the lock while another command writes.
_BUSY_TIMEOUT = 60.0

_SPACES = """
CREATE TABLE spaces (
    id INTEGER PRIMARY KEY, space TEXT NOT NULL UNIQUE, synthetic INTEGER NOT NULL, model TEXT
);
"""
_VALIDITY_INDEXES = """
CREATE INDEX entries_by_valid_from ON entries (valid_from);
CREATE INDEX entries_by_valid_to ON entries (valid_to) WHERE valid_to IS NOT NULL;
"""
_TABLES = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
{_SPACES}
CREATE TABLE versions (
    number INTEGER PRIMARY KEY, at TEXT NOT NULL, action TEXT NOT NULL, settings TEXT NOT NULL,
    space INTEGER NOT NULL
);
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY, embedding BLOB NOT NULL, sha256 TEXT, source TEXT,
    figures TEXT NOT NULL, space INTEGER NOT NULL
);
CREATE INDEX vectors_by_photo ON vectors (sha256);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, vector INTEGER NOT NULL REFERENCES vectors (id),
    name TEXT NOT NULL, bucket INTEGER NOT NULL, valid_from INTEGER NOT NULL, valid_to INTEGER
);
CREATE INDEX entries_by_name ON entries (name);
CREATE INDEX entries_by_vector ON entries (vector);
CREATE INDEX entries_by_bucket ON entries (bucket) WHERE valid_to IS NULL;
{_VALIDITY_INDEXES}
"""

# A constant default is not written to every row, so migrating a large gallery is fast.
_MIGRATION_1 = f"""
{_SPACES}
INSERT INTO spaces SELECT 1, value,
    coalesce((SELECT value = 'True' FROM meta WHERE key = 'synthetic'), 0), NULL
    FROM meta WHERE key = 'space';
ALTER TABLE versions ADD COLUMN space INTEGER NOT NULL DEFAULT 1;
ALTER TABLE vectors ADD COLUMN space INTEGER NOT NULL DEFAULT 1;
ALTER TABLE entries RENAME COLUMN born TO valid_from;
ALTER TABLE entries RENAME COLUMN died TO valid_to;
DROP INDEX entries_by_birth;
DROP INDEX entries_by_death;
{_VALIDITY_INDEXES}
DELETE FROM meta WHERE key IN ('space', 'synthetic');
UPDATE meta SET value = '{FORMAT}' WHERE key = 'format';
"""  # noqa: S608 - constants only


def connect(file: Path) -> sqlite3.Connection:
    """Open a gallery's file, created if missing; raises GalleryError."""
    with errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        return sqlite.connected(
            file, lambda connection: _prepare(connection, file), timeout=_BUSY_TIMEOUT
        )


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    if _is_empty(connection):
        with transaction(connection, file):
            # Another command may have created the tables.
            if _is_empty(connection):
                sqlite.run_script(connection, _TABLES)
                connection.execute("INSERT INTO meta VALUES ('format', ?)", (FORMAT,))
    if _format(connection) == _FORMAT_1:
        with transaction(connection, file):
            if _format(connection) == _FORMAT_1:
                sqlite.run_script(connection, _MIGRATION_1)
    if _format(connection) != FORMAT:
        raise GalleryError(
            f"{file} is a gallery of another format than {FORMAT}",
            hint=f"move {file} away, then: facectl gallery enroll NAME IMAGE",
        )


def _is_empty(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


def _format(connection: sqlite3.Connection) -> str | None:
    found = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    return None if found is None else str(found[0])


@contextmanager
def transaction(connection: sqlite3.Connection, file: Path) -> Iterator[None]:
    """Run the block as one transaction; roll back if it raises."""
    with errors(file), sqlite.transaction(connection):
        yield


@contextmanager
def errors(file: Path) -> Iterator[None]:
    """Raise SQLite's errors as GalleryErrors that name the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "full" in text:
            raise GalleryError(
                f"no room left on the disk of {file}: the gallery is unchanged",
                hint="make room, then run the same command again",
            ) from error
        if "locked" in text:
            raise GalleryError(
                f"another command has been changing {file} for {_BUSY_TIMEOUT:.0f} s",
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
