"""The results of a run: every outcome in a file, statistics and the first rows in memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facectl.errors import FacectlError, InputError
from facectl.stream.outcomes import FrameOutcome
from facectl.summary import RunningSummary
from lambda_src.contract import FrameResult

# The number of frames without a response that are listed individually.
MOST_NAMED = 1000


class ResultsFile:
    """Writes one JSON line for each frame as soon as it has an outcome.

    An existing file is replaced. A frame that is answered after its deadline has
    two lines: `unanswered` or `failed`, then `late` with the response. Each line is
    one write call, so a crash leaves complete lines; only a full disk can leave an
    incomplete last line, without a newline.
    """

    def __init__(self, path: Path, *, synthetic: bool) -> None:
        self._path = path
        self._synthetic = synthetic
        try:
            # Unbuffered: each write below is one system call.
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise InputError(f"{path} can't be written: {error.strerror}") from error

    def __call__(self, outcome: FrameOutcome) -> None:
        """Write the line of a frame."""
        self._write(as_dict(outcome, synthetic=self._synthetic))

    def of_camera(self, name: str) -> Callable[[FrameOutcome], None]:
        """Return a function that writes the lines of one camera, with its name in each."""
        return lambda outcome: self._write(
            {"camera": name, **as_dict(outcome, synthetic=self._synthetic)}
        )

    def earlier(self, answer: FrameResult) -> None:
        """Write the line of a frame of an earlier process, of which only the answer is known."""
        mark = {"synthetic": True} if self._synthetic else {}
        fields = json.loads(answer.serialise())
        self._write({"status": "answered", "earlier": True, **fields, **mark})

    def _write(self, fields: dict[str, Any]) -> None:
        data = json.dumps(fields).encode() + b"\n"
        try:
            written = self._file.write(data)
        except OSError as error:
            raise self._failure(error.strerror) from error
        if written != len(data):
            raise self._failure("the disk is full")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _failure(self, reason: str | None) -> FacectlError:
        return FacectlError(f"{self._path} can't be written any more: {reason}")


def as_dict(outcome: FrameOutcome, *, synthetic: bool) -> dict[str, Any]:
    """The outcome for JSON; times in seconds except `timings_ms`."""
    fields: dict[str, Any] = {
        "frame": outcome.index,
        "name": outcome.name,
        "request_id": outcome.request_id,
        "timestamp": round(outcome.timestamp, 4),
        "status": outcome.status,
        "result": outcome.answer.result if outcome.answer is not None else None,
    }
    if outcome.latency is not None:
        fields["latency"] = round(outcome.latency, 4)
    if outcome.delivery is not None:
        fields["post"] = round(outcome.delivery.seconds, 4)
        fields["attempts"] = outcome.delivery.attempts
    if outcome.answer is not None:
        answer = json.loads(outcome.answer.serialise())
        fields.update({k: answer[k] for k in ("faces", "timings_ms") if k in answer})
    if outcome.error is not None:
        fields["error"] = outcome.error
    if synthetic:
        fields["synthetic"] = True
    return fields


@dataclass(slots=True)
class RunStats:
    """Statistics of a run, its first `rows` frames, and the frames without a response."""

    rows: int
    statuses: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    # Seconds from due to answered.
    latency: RunningSummary = field(default_factory=RunningSummary)
    first: list[FrameOutcome] = field(default_factory=list)
    # At most MOST_NAMED of them; `statuses` counts them all.
    lost: list[FrameOutcome] = field(default_factory=list)

    def __call__(self, outcome: FrameOutcome) -> None:
        """Add one outcome."""
        self.statuses[outcome.status] += 1
        if outcome.answer is not None:
            # A name counts once for each frame.
            self.names.update(set(outcome.answer.result.split(",")))
        if outcome.latency is not None:
            self.latency.add(outcome.latency)
        if outcome.index < self.rows:
            self.first.append(outcome)
        if outcome.status not in {"answered", "accepted"} and len(self.lost) < MOST_NAMED:
            self.lost.append(outcome)

    def by_frames(self) -> dict[str, int]:
        """The number of frames for each name, most frequent first."""
        return dict(sorted(self.names.items(), key=lambda item: (-item[1], item[0])))


def ranges(indices: list[int]) -> str:
    """Frame numbers as ranges: `3, 17-25`."""
    parts: list[list[int]] = []
    for index in sorted(indices):
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
