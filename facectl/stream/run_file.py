"""The file of a run: which frames were sent, accepted and answered.

One SQLite database per run in the state folder; `--resume` continues from it,
and `--annotate` draws from it. Each fact is one transaction in the write-ahead
log: a killed process, a full disk or a power failure loses at most the last
facts, never the earlier ones. The file is locked while a process uses it,
and removed when the run is finished. A run that can't be resumed has a temporary
file if a video is drawn from it.
"""

from __future__ import annotations

import glob
import hashlib
import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from facectl import paths, sqlite
from facectl.errors import FacectlError, InputError
from facectl.stream.frames import Frame
from facectl.stream.outcomes import FINAL, AcceptedPost, FrameOutcome, Status, request_id_of
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions
from lambda_src.contract import FrameResult

# SQS keeps messages for this long in this deployment: there are no answers after that.
_RETENTION = 4 * 86_400
# What a damaged file raises when it is read.
_DAMAGE = (sqlite3.Error, ValueError, TypeError, IndexError, OverflowError, RecursionError)
# A younger file that is empty is being created by another process.
_CREATION = 60.0
_NEW_RUN = "facectl send without --resume begins a new run"
# `name` and `error` are JSON: a file name may have bytes that SQLite's text can't hold.
_TABLES = f"""
CREATE TABLE run (id TEXT NOT NULL, source TEXT NOT NULL);
CREATE TABLE frame (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, timestamp REAL NOT NULL,
    faces INTEGER, attempts INTEGER, seconds REAL,
    status TEXT CHECK (status IN {get_args(Status)}), latency REAL, error TEXT, answer TEXT
);
CREATE TABLE image (number INTEGER PRIMARY KEY, file BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class RunTask:
    """What a run sends, where and how: only the same task can resume a run.

    `deployment` is the name of the deployment's key.
    """

    deployment: str
    source: tuple[str, ...]
    sampling: Sampling
    request_options: RequestOptions
    private_replies: bool = False

    @property
    def digest(self) -> str:
        """A name for the task. A file that has changed is another task."""
        files = [_file_state(text) for text in self.source]
        options = [self.deployment, asdict(self.sampling), asdict(self.request_options)]
        if self.private_replies:
            # Its answers are in another queue.
            options.append("private")
        return hashlib.sha256(json.dumps([files, options]).encode()).hexdigest()[:16]


class RunFile:
    """The frames of one run; used by the sending threads and the collecting thread.

    `path` is None for a temporary file, which SQLite deletes when it is closed
    or the process ends.
    """

    def __init__(self, run: str, connection: sqlite3.Connection, path: Path | None) -> None:
        self.run = run
        self._connection = connection
        self._path = path
        self._lock = threading.Lock()

    @classmethod
    def begin(cls, task: RunTask) -> RunFile:
        """Begin a new run; removes files of the same task, and those too old to be resumed."""
        run = uuid.uuid4().hex
        path = _folder() / f"{task.digest}-{run}.db"
        try:
            _remove_old(task)
            sqlite.created(path)
        except OSError as error:
            raise InputError(f"{path} can't be written: {error.strerror}") from error
        return cls._create(run, task.source, path)

    @classmethod
    def temporary(cls) -> RunFile:
        """A run that can't be resumed."""
        return cls._create(uuid.uuid4().hex, (), None)

    @classmethod
    def _create(cls, run: str, source: tuple[str, ...], path: Path | None) -> RunFile:
        with _errors(path):
            connection = _connect(path)
            connection.executescript(f"BEGIN; {_TABLES}")
            connection.execute("INSERT INTO run VALUES (?, ?)", (run, json.dumps(source)))
            connection.execute("COMMIT")
        return cls(run, connection, path)

    @classmethod
    def resume(cls, task: RunTask) -> RunFile:
        """The latest interrupted run of this task; raises InputError where there is none."""
        found = sorted(_folder().glob(f"{task.digest}-*.db"), key=_modified, reverse=True)
        for path in found:
            # One that is gone belonged to a run that has just finished.
            with suppress(sqlite.InUseError, FileNotFoundError):
                return cls._open(path)
        source = " ".join(task.source)
        if found:
            raise InputError(f"A run of {source} is still in progress")
        for path in _folder().glob(f"{task.digest}-*.jsonl"):
            raise InputError(
                f"{path} is of an earlier version of facectl, which this one can't resume",
                hint=_NEW_RUN,
            )
        raise InputError(
            f"There is no unfinished run of {source} with these options",
            hint="facectl send without --resume begins one",
        )

    @classmethod
    def _open(cls, path: Path) -> RunFile:
        """An interrupted run; raises InputError where its file is damaged, or InUseError."""
        connection = None
        try:
            if path.stat().st_size == 0:
                raise ValueError("it is empty")
            connection = _connect(path)
            opened = cls(_run_id(connection), connection, path)
            # Damage is found before anything is sent.
            for _ in opened.earlier():
                pass
        except sqlite.InUseError:
            raise
        except _DAMAGE as error:
            if connection is not None:
                connection.close()
            raise InputError(f"{path} is damaged: {error}", hint=_NEW_RUN) from error
        return opened

    @property
    def resumable(self) -> bool:
        """Whether a later process can continue the run."""
        return self._path is not None

    def earlier(self) -> Iterator[FrameOutcome]:
        """The frames of an earlier process of this run, in order.

        A frame without a final outcome is `in-flight` if it was accepted, else `unsent`.
        """
        frames = self._connection.execute("SELECT * FROM frame ORDER BY number")
        # A cursor that is left open keeps the file locked.
        with closing(frames):
            for row in frames:
                yield _outcome(self.run, row)

    def knows(self, index: int, name: str) -> bool:
        """Whether the frame was sent before; raises InputError where it was another frame."""
        row = self._row("SELECT name FROM frame WHERE number = ?", index)
        if row is None:
            return False
        before = json.loads(row[0])
        if before != name:
            raise InputError(
                f"frame {index} was {before} when this run began and is {name} now",
                hint=_NEW_RUN,
            )
        return True

    def sent(self, index: int, name: str, timestamp: float) -> None:
        """Record that the frame is about to be sent, perhaps again."""
        self._write(
            "INSERT INTO frame (number, name, timestamp) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (index, json.dumps(name), timestamp),
        )

    def accepted(self, index: int, delivery: AcceptedPost) -> None:
        """Record that the function accepted the frame."""
        self._write(
            "UPDATE frame SET faces = ?, attempts = ?, seconds = ? WHERE number = ?",
            (delivery.faces, delivery.attempts, delivery.seconds, index),
        )

    def done(self, outcome: FrameOutcome) -> None:
        """Record the frame's outcome; a late answer counts as an answer, so it is final."""
        status = "answered" if outcome.status == "late" else outcome.status
        answer = None if outcome.answer is None else outcome.answer.serialise()
        self._write(
            "UPDATE frame SET status = ?, latency = ?, error = ?, answer = ? WHERE number = ?",
            (status, outcome.latency, json.dumps(outcome.error), answer, outcome.index),
        )

    def keep_image(self, index: int, file: bytes) -> None:
        """Keep the image file that was sent for a frame."""
        self._write("INSERT OR REPLACE INTO image VALUES (?, ?)", (index, file))

    def outcome(self, index: int) -> tuple[Status, FrameResult | None] | None:
        """The outcome of a frame; None for one that was never sent."""
        row = self._row("SELECT status, answer FROM frame WHERE number = ?", index)
        if row is None or row[0] is None:
            return None
        return row[0], None if row[1] is None else FrameResult.parse(row[1])

    def accepted_count(self) -> int:
        """The number of frames that a function accepted."""
        row = self._row(
            "SELECT count(*) FROM frame WHERE status NOT IN ('unsent', 'refused', 'failed')"
        )
        return int(row[0])

    def images(self) -> Iterator[Frame]:
        """The kept images in the order of their frames."""
        index = -1
        while True:
            row = self._row(
                "SELECT number, file FROM image WHERE number > ? ORDER BY number LIMIT 1", index
            )
            if row is None:
                return
            index = row[0]
            yield Frame(index, "", 0.0, file=row[1])

    def close(self) -> None:
        """Close the file; a later process can resume the run."""
        self._connection.close()

    def remove(self) -> None:
        """Close and delete the file of a finished run."""
        self._connection.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _row(self, query: str, *values: object) -> Any:
        with self._lock, _errors(self._path):
            return self._connection.execute(query, values).fetchone()

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock, _errors(self._path):
            self._connection.execute(statement, values)


@contextmanager
def _errors(path: Path | None) -> Iterator[None]:
    """Raise SQLite's errors as a FacectlError that names the file."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if path is not None:
            raise FacectlError(f"{path} can't be written: {error}") from error
        raise FacectlError(
            f"The frames of the video can't be stored: {error}",
            hint="TMPDIR=/another/disk facectl send, or without --annotate",
        ) from error


def _folder() -> Path:
    return paths.state_dir() / "runs"


def _file_state(text: str) -> list[Any]:
    path = Path(text)
    if not path.exists():
        return [text]
    found = path.stat()
    size = [found.st_size, found.st_mtime_ns] if path.is_file() else []
    return [str(path.resolve()), *size]


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _modified(path: Path) -> float:
    """When the file was last written to."""
    parts = (path, _log(path))
    return max((part.stat().st_mtime for part in parts if part.exists()), default=0.0)


def _connect(path: Path | None) -> sqlite3.Connection:
    """Open and lock an existing file; raises InUseError or sqlite3.DatabaseError."""
    # Synced about once in 300 frames: every fact would cost milliseconds.
    connection = sqlite.locked(path, synchronous="NORMAL")
    connection.row_factory = sqlite3.Row
    return connection


def _remove_old(task: RunTask) -> None:
    """Remove the files of the task and those too old to be resumed, unless they are in use."""
    now = time.time()
    for path in (*_folder().glob("*.db"), *_folder().glob("*.jsonl")):
        age = now - _modified(path)
        if age < _RETENTION and not path.name.startswith(task.digest):
            continue
        if age < _CREATION and path.exists() and path.stat().st_size == 0:
            continue
        try:
            _connect(path).close()
        except sqlite.InUseError:
            continue
        except sqlite3.DatabaseError:
            # Damaged, or of an earlier version.
            pass
        sqlite.removed(path)


def _run_id(connection: sqlite3.Connection) -> str:
    """The id of the run; raises ValueError where a table is damaged."""
    (problem,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if problem != "ok":
        raise ValueError(problem.splitlines()[-1])
    row = connection.execute("SELECT id FROM run").fetchone()
    return _text(None if row is None else row[0])


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not text")
    return value


def _outcome(run: str, row: sqlite3.Row) -> FrameOutcome:
    """The outcome that a row holds; raises ValueError or TypeError where it is damaged."""
    delivery = None
    if row["attempts"] is not None:
        delivery = AcceptedPost(int(row["faces"]), int(row["attempts"]), float(row["seconds"]))
    status: Status = row["status"]
    final = status in FINAL
    if not final:
        status = "unsent" if delivery is None else "in-flight"
    answer = row["answer"]
    return FrameOutcome(
        index=row["number"],
        name=_text(json.loads(row["name"])),
        request_id=request_id_of(run, row["number"]),
        timestamp=float(row["timestamp"]),
        status=status,
        answer=None if answer is None else FrameResult.parse(answer),
        latency=None if row["latency"] is None else float(row["latency"]),
        delivery=delivery,
        error=json.loads(row["error"]) if final else None,
    )


def is_resumable(run: str) -> bool:
    """Whether the run with this id, or another process that still is that run, has a file."""
    return any(_folder().glob(f"*-{glob.escape(run)}.db"))


def open_run_file(task: RunTask, *, live: bool, resume: bool) -> RunFile | None:
    """The file of a new run or of the one to resume; None for a live source.

    Raises InputError where there is nothing to resume.
    """
    if not live:
        return RunFile.resume(task) if resume else RunFile.begin(task)
    if resume:
        raise InputError("A camera or stream can't be resumed: its frames are gone")
    return None
