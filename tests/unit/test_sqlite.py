"""SQLite files: those of one process, and what earlier versions wrote."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from facectl import sqlite
from facectl.edge.disk_queue import DiskQueue
from facectl.stream.run_file import RunFile, RunTask
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions
from facectl.visits.event_queue import EventQueue

TABLES = "CREATE TABLE IF NOT EXISTS t (x)"


def test_a_locked_file_is_of_one_process_and_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "a?b#c.db"
    sqlite.created(file)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    with closing(sqlite.locked(file, synchronous="FULL", tables=TABLES)) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(sqlite.InUseError):
            sqlite.locked(file, synchronous="FULL")
        program = (
            "import sys; from pathlib import Path; from facectl import sqlite\n"
            "try: sqlite.locked(Path(sys.argv[1]), synchronous='FULL')\n"
            "except sqlite.InUseError: print('in use')"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, file], capture_output=True, text=True, check=True
        )
        assert done.stdout == "in use\n"
    with closing(sqlite.locked(file, synchronous="NORMAL")) as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [(1,)]
    sqlite.removed(file)
    assert not list(file.parent.iterdir())


def test_a_locked_file_is_not_created_and_a_damaged_one_is_closed(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open") as raised:
        sqlite.locked(tmp_path / "missing.db", synchronous="FULL")
    assert not isinstance(raised.value, sqlite.InUseError)
    assert not list(tmp_path.iterdir())
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"no database, and longer than a header of SQLite " * 100)
    with pytest.raises(sqlite3.DatabaseError):
        sqlite.locked(damaged, synchronous="FULL")


def test_a_temporary_file_is_in_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite.locked(None, synchronous="NORMAL", tables=TABLES)) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        assert not list(tmp_path.iterdir())


def left_open(file: Path, statements: str) -> None:
    """A file as an earlier version left it when it was killed: in a write-ahead log."""
    program = f"""
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA locking_mode = EXCLUSIVE")
connection.execute("PRAGMA journal_mode = WAL")
connection.executescript({statements!r})
os._exit(0)
"""
    file.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-c", program, file], check=True)
    assert file.with_name(f"{file.name}-wal").stat().st_size > 0


def of_disk_queue() -> None:
    empty = DiskQueue.open("a")
    path = empty.path
    empty.close()
    left_open(
        path,
        "CREATE TABLE IF NOT EXISTS message (number INTEGER PRIMARY KEY AUTOINCREMENT, "
        "request_id TEXT NOT NULL UNIQUE, faces INTEGER NOT NULL, bytes INTEGER NOT NULL, "
        "body TEXT NOT NULL);"
        "INSERT INTO message VALUES (7, 'r-000001', 1, 4, 'body')",
    )
    disk = DiskQueue.open("a")
    assert disk.path == path
    assert disk.batch() == [(7, "r-000001", 1, "body")]
    disk.close()


def of_events() -> None:
    queue = EventQueue.open("a", "run")
    queue.close(finished=True)
    left_open(
        queue.path,
        "CREATE TABLE IF NOT EXISTS event (number INTEGER PRIMARY KEY AUTOINCREMENT, "
        "key TEXT NOT NULL UNIQUE, body TEXT);"
        "INSERT INTO event VALUES (7, 'key', 'body')",
    )
    queue = EventQueue.open("a", "run")
    assert queue.first() == (7, "key", "body")
    queue.close(finished=True)


def of_run() -> None:
    task = RunTask("d", ("clip",), Sampling(), RequestOptions())
    run = RunFile.begin(task)
    assert run._path is not None
    path = run._path
    run.remove()
    left_open(
        path,
        "CREATE TABLE run (id TEXT NOT NULL, source TEXT NOT NULL);"
        "CREATE TABLE frame (number INTEGER PRIMARY KEY, name TEXT NOT NULL, "
        "timestamp REAL NOT NULL, faces INTEGER, attempts INTEGER, seconds REAL, status TEXT, "
        "latency REAL, error TEXT, answer TEXT);"
        "CREATE TABLE image (number INTEGER PRIMARY KEY, file BLOB NOT NULL);"
        "INSERT INTO run VALUES ('abc', '[]');"
        "INSERT INTO frame (number, name, timestamp) VALUES (3, '\"f3\"', 0.5)",
    )
    run = RunFile.resume(task)
    assert run.run == "abc"
    assert [(outcome.index, outcome.name) for outcome in run.earlier()] == [(3, "f3")]
    run.remove()


@pytest.mark.parametrize("check", [of_disk_queue, of_events, of_run])
def test_files_that_an_earlier_version_left_are_opened(check: Callable[[], None]) -> None:
    check()
