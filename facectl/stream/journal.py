"""What a run has sent and what came of it, on disk, so that a killed run can be taken up again.

A journal is one file of JSON lines in the state folder: a head, then a line
when a frame is about to be sent, when the function took it, and when its fate
is known. Each line is one write, so a killed process leaves whole lines; a
computer that loses power may lose the last ones. A journal is locked while its
run goes on and removed when nothing is left to do.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from facectl import paths
from facectl.errors import FacectlError, InputError
from facectl.stream.ledger import Delivery, Ledger, Outcome
from facectl.stream.selection import Selection
from facectl.stream.sender import Asking
from lambda_src.contract import FrameResult, MessageError

# What SQS keeps messages for in this deployment: there are no answers after that.
_WORTHLESS_AFTER = 4 * 86_400
_FINAL = frozenset({"answered", "refused", "accepted"})


@dataclass(frozen=True, slots=True)
class Task:
    """What a run sends, where and how: a run can be gone on with by the same task alone.

    `deployment` is the name of the deployment's key.
    """

    deployment: str
    source: tuple[str, ...]
    selection: Selection
    asking: Asking

    @property
    def digest(self) -> str:
        """A name for the task. A file that has changed is another task."""
        files = [_place(text) for text in self.source]
        options = [self.deployment, asdict(self.selection), asdict(self.asking)]
        return hashlib.sha256(json.dumps([files, options]).encode()).hexdigest()[:16]


@dataclass(slots=True)
class _Sent:
    """A frame that was sent; `delivery` where it was taken, `final` where its fate is known."""

    name: str
    timestamp: float
    delivery: Delivery | None = None
    final: bool = False


@dataclass(slots=True)
class Journal:
    """The journal of one run; its methods are called with the ledger's lock held."""

    run: str
    _path: Path
    _file: BinaryIO
    _sent: dict[int, _Sent] = field(default_factory=dict)

    @classmethod
    def begin(cls, task: Task) -> Journal:
        """A new run. Journals of the same task, and those too old to be of use, are removed."""
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        oldest = time.time() - _WORTHLESS_AFTER
        for path in folder.glob("*.jsonl"):
            if path.name.startswith(task.digest) or path.stat().st_mtime < oldest:
                _remove_unless_locked(path)
        run = uuid.uuid4().hex
        path = folder / f"{task.digest}-{run}.jsonl"
        path.touch(mode=0o600)
        journal = cls(run, path, _locked(path) or _raise_running(task))
        journal._write({"run": run, "source": task.source})
        return journal

    @classmethod
    def resume(cls, task: Task) -> Journal:
        """The latest run of this task that was cut off; raises InputError where there is none."""
        found = sorted(
            _folder().glob(f"{task.digest}-*.jsonl"), key=lambda path: -path.stat().st_mtime
        )
        for path in found:
            stream = _locked(path)
            if stream is not None:
                return cls._read(path, stream)
        if found:
            _raise_running(task)
        raise InputError(
            f"There is no unfinished run of {' '.join(task.source)} with these options",
            hint="facectl send without --resume begins one",
        )

    @classmethod
    def _read(cls, path: Path, stream: BinaryIO) -> Journal:
        lines = _lines(path)
        head = next(lines, {})
        if not isinstance(head.get("run"), str):
            raise InputError(f"{path} is damaged", hint=f"rm {path}")
        journal = cls(head["run"], path, stream)
        # A last line that was cut off would swallow the next one.
        stream.write(b"\n")
        for line in lines:
            journal._take_in(line)
        return journal

    def _take_in(self, line: dict[str, Any]) -> None:
        frame = line["frame"]
        if "status" in line:
            self._sent[frame].final = True
        elif "attempts" in line:
            self._sent[frame].delivery = Delivery(line["faces"], line["attempts"], line["seconds"])
        else:
            self._sent.setdefault(frame, _Sent(line["name"], line["timestamp"]))

    def knows(self, index: int, name: str) -> bool:
        """Whether the frame was sent before; raises InputError where it was another frame."""
        before = self._sent.get(index)
        if before is not None and before.name != name:
            raise InputError(
                f"frame {index} was {before.name} when this run began and is {name} now",
                hint="facectl send without --resume begins a new run",
            )
        return before is not None

    def restore(self, ledger: Ledger) -> None:
        """Tell the ledger what the run had come to."""
        for line in _lines(self._path):
            if "status" in line:
                ledger.replay(_outcome(line))
        for index, sent in self._sent.items():
            if not sent.final:
                ledger.restore(index, sent.name, sent.timestamp, sent.delivery)

    def sent(self, index: int, name: str, timestamp: float) -> None:
        """The frame is about to be sent."""
        self._write({"frame": index, "name": name, "timestamp": timestamp})

    def accepted(self, index: int, delivery: Delivery) -> None:
        """The function took the frame."""
        self._write({"frame": index, **asdict(delivery)})

    def done(self, outcome: Outcome) -> None:
        """The frame's fate; what a later run may still change is not written."""
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


def _raise_running(task: Task) -> BinaryIO:
    raise InputError(f"A run of {' '.join(task.source)} is still going on")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as stream:
        for line in stream:
            try:
                fields = json.loads(line)
            except ValueError:
                # Cut off by whatever ended the process.
                continue
            if isinstance(fields, dict):
                yield fields


def _line(outcome: Outcome) -> dict[str, Any]:
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


def _outcome(line: dict[str, Any]) -> Outcome:
    try:
        return Outcome(
            index=line["frame"],
            name=line["name"],
            request_id=line["request_id"],
            timestamp=line["timestamp"],
            status=line["status"],
            latency=line["latency"],
            error=line["error"],
            answer=None if line["answer"] is None else FrameResult.parse(line["answer"]),
            delivery=None if line["delivery"] is None else Delivery(**line["delivery"]),
        )
    except (KeyError, TypeError, MessageError) as error:
        raise InputError(f"the journal of this run is damaged: {error}") from error


def open_journal(task: Task, *, live: bool, resume: bool) -> Journal | None:
    """The journal to write: the one to go on with, or a new one; None for a live source.

    Raises InputError where there is nothing to go on with.
    """
    if not live:
        return Journal.resume(task) if resume else Journal.begin(task)
    if resume:
        raise InputError("A camera or stream can't be gone on with: its frames are gone")
    return None
