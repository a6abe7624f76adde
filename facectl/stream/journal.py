"""A journal of a run on disk, so that a killed run can be resumed.

A journal is one file of JSON lines in the state folder: a head, then a line
when a frame is about to be sent, when the function took it, and when its fate
is known. Each line is one write, so a killed process leaves whole lines; a
full disk, or a computer that loses power, may leave a part of the last one,
which is dropped. Damage before that is an error. A journal is locked while its
run goes on and removed when nothing is left to do.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from facectl import paths
from facectl.errors import FacectlError, InputError
from facectl.stream.in_flight import AcceptedPost, FrameOutcome, InFlightTracker
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions
from lambda_src.contract import FrameResult

# What SQS keeps messages for in this deployment: there are no answers after that.
_WORTHLESS_AFTER = 4 * 86_400
_FINAL = frozenset({"answered", "refused", "accepted"})
# What a damaged line raises when it is read.
_UNREADABLE = (ValueError, KeyError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class RunTask:
    """What a run sends, where and how: only the same task can resume a run.

    `deployment` is the name of the deployment's key.
    """

    deployment: str
    source: tuple[str, ...]
    sampling: Sampling
    request_options: RequestOptions

    @property
    def digest(self) -> str:
        """A name for the task. A file that has changed is another task."""
        files = [_place(text) for text in self.source]
        options = [self.deployment, asdict(self.sampling), asdict(self.request_options)]
        return hashlib.sha256(json.dumps([files, options]).encode()).hexdigest()[:16]


@dataclass(slots=True)
class _Sent:
    """A frame that was sent; `delivery` where it was taken, `final` where its fate is known."""

    name: str
    timestamp: float
    delivery: AcceptedPost | None = None
    final: bool = False


@dataclass(slots=True)
class Journal:
    """The journal of one run; its methods are called with the tracker's lock held."""

    run: str
    _path: Path
    _file: BinaryIO
    _sent: dict[int, _Sent] = field(default_factory=dict)

    @classmethod
    def begin(cls, task: RunTask) -> Journal:
        """A new run. Journals of the same task, and those too old to be of use, are removed."""
        folder = _folder()
        run = uuid.uuid4().hex
        path = folder / f"{task.digest}-{run}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            oldest = time.time() - _WORTHLESS_AFTER
            for old in folder.glob("*.jsonl"):
                if old.name.startswith(task.digest) or old.stat().st_mtime < oldest:
                    _remove_unless_locked(old)
            path.touch(mode=0o600)
            journal = cls(run, path, _locked(path) or _raise_running(task))
        except OSError as error:
            raise InputError(f"{path} can't be written: {error.strerror}") from error
        journal._write({"run": run, "source": task.source})
        return journal

    @classmethod
    def resume(cls, task: RunTask) -> Journal:
        """The latest run of this task that was cut off; raises InputError where there is none."""
        found = sorted(
            _folder().glob(f"{task.digest}-*.jsonl"), key=lambda path: -path.stat().st_mtime
        )
        for path in found:
            stream = _locked(path)
            if stream is not None:
                try:
                    return cls._read(path, stream)
                except InputError:
                    stream.close()
                    raise
        if found:
            _raise_running(task)
        raise InputError(
            f"There is no unfinished run of {' '.join(task.source)} with these options",
            hint="facectl send without --resume begins one",
        )

    @classmethod
    def _read(cls, path: Path, stream: BinaryIO) -> Journal:
        journal = cls("", path, stream)
        number = whole = 0
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    journal._take_in(line)
                except _UNREADABLE as error:
                    if number == 1 or lines.read(1):
                        raise _damaged(path, number, error) from error
                    # The last write was cut off; what is written next must not continue it.
                    stream.truncate(whole)
                    break
                whole += len(line)
        if not number:
            raise _damaged(path, 1, ValueError("it is empty"))
        return journal

    def _take_in(self, line: bytes) -> None:
        """Take one line in; raises one of _UNREADABLE, before anything is changed."""
        fields = _fields(line)
        if not self.run:
            self.run = _text(fields["run"])
            return
        frame = fields["frame"]
        if "status" in fields:
            _outcome(fields)
            self._sent[frame].final = True
        elif "attempts" in fields:
            self._sent[frame].delivery = _delivery(fields)
        else:
            found = _Sent(_text(fields["name"]), float(fields["timestamp"]))
            self._sent.setdefault(int(frame), found)

    def knows(self, index: int, name: str) -> bool:
        """Whether the frame was sent before; raises InputError where it was another frame."""
        before = self._sent.get(index)
        if before is not None and before.name != name:
            raise InputError(
                f"frame {index} was {before.name} when this run began and is {name} now",
                hint="facectl send without --resume begins a new run",
            )
        return before is not None

    def restore(self, tracker: InFlightTracker) -> None:
        """Tell the tracker what the run had come to."""
        with self._path.open("rb") as lines:
            for line in lines:
                fields = _fields(line)
                if "status" in fields:
                    tracker.replay(_outcome(fields))
        for index, sent in self._sent.items():
            if not sent.final:
                tracker.restore(index, sent.name, sent.timestamp, sent.delivery)

    def sent(self, index: int, name: str, timestamp: float) -> None:
        """The frame is about to be sent."""
        self._write({"frame": index, "name": name, "timestamp": timestamp})

    def accepted(self, index: int, delivery: AcceptedPost) -> None:
        """The function took the frame."""
        self._write({"frame": index, **asdict(delivery)})

    def done(self, outcome: FrameOutcome) -> None:
        """The frame's fate; what a later run may still change is not written.

        A late answer is an answer: a run that is resumed does not wait for it again.
        """
        if outcome.status == "late":
            outcome = replace(outcome, status="answered")
        if outcome.status in _FINAL:
            self._write(_line(outcome))

    def close(self, *, finished: bool) -> None:
        """End the journal, and remove it where nothing is left to do."""
        if finished:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _write(self, fields: dict[str, Any]) -> None:
        data = json.dumps(fields).encode() + b"\n"
        try:
            written = self._file.write(data)
        except OSError as error:
            raise FacectlError(f"{self._path} can't be written: {error.strerror}") from error
        if written != len(data):
            raise FacectlError(f"{self._path} can't be written: the disk is full")


def _folder() -> Path:
    return paths.state_dir() / "runs"


def _place(text: str) -> list[Any]:
    path = Path(text)
    if not path.exists():
        return [text]
    found = path.stat()
    size = [found.st_size, found.st_mtime_ns] if path.is_file() else []
    return [str(path.resolve()), *size]


def _locked(path: Path) -> BinaryIO | None:
    """The file, unbuffered and at its end; None where another process holds it."""
    stream = path.open("ab", buffering=0)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return None
    # Whoever held it may have removed it in between.
    return stream if path.exists() else None


def _remove_unless_locked(path: Path) -> None:
    stream = _locked(path)
    if stream is not None:
        path.unlink(missing_ok=True)
        stream.close()


def _raise_running(task: RunTask) -> BinaryIO:
    raise InputError(f"A run of {' '.join(task.source)} is still going on")


def _damaged(path: Path, number: int, error: Exception) -> InputError:
    return InputError(
        f"{path} is damaged in line {number}: {error!r}",
        hint="facectl send without --resume begins a new run",
    )


def _fields(line: bytes) -> dict[str, Any]:
    """The fields of a whole line; raises ValueError."""
    fields = json.loads(line)
    if not isinstance(fields, dict) or not line.endswith(b"\n"):
        raise ValueError("it is no whole JSON object")
    return fields


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no text")
    return value


def _delivery(fields: dict[str, Any]) -> AcceptedPost:
    return AcceptedPost(int(fields["faces"]), int(fields["attempts"]), float(fields["seconds"]))


def _line(outcome: FrameOutcome) -> dict[str, Any]:
    return {
        "frame": outcome.index,
        "name": outcome.name,
        "request_id": outcome.request_id,
        "timestamp": outcome.timestamp,
        "status": outcome.status,
        "latency": outcome.latency,
        "error": outcome.error,
        "answer": None if outcome.answer is None else outcome.answer.serialise(),
        "delivery": None if outcome.delivery is None else asdict(outcome.delivery),
    }


def _outcome(fields: dict[str, Any]) -> FrameOutcome:
    """The outcome that a line holds; raises one of _UNREADABLE."""
    if fields["status"] not in _FINAL:
        raise ValueError(f"{fields['status']!r} is no status")
    answer, delivery, latency = fields["answer"], fields["delivery"], fields["latency"]
    return FrameOutcome(
        index=int(fields["frame"]),
        name=_text(fields["name"]),
        request_id=_text(fields["request_id"]),
        timestamp=float(fields["timestamp"]),
        status=fields["status"],
        latency=None if latency is None else float(latency),
        error=fields["error"],
        answer=None if answer is None else FrameResult.parse(answer),
        delivery=None if delivery is None else _delivery(delivery),
    )


def open_journal(task: RunTask, *, live: bool, resume: bool) -> Journal | None:
    """The journal to write: the one to go on with, or a new one; None for a live source.

    Raises InputError where there is nothing to go on with.
    """
    if not live:
        return Journal.resume(task) if resume else Journal.begin(task)
    if resume:
        raise InputError("A camera or stream can't be resumed: its frames are gone")
    return None
