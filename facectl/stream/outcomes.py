"""The outcomes of frames, and their counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from lambda_src.contract import FrameResult

# answered     the one answer came
# unanswered   accepted, no answer by its deadline
# late         unanswered or failed, and its answer came after that; never a first outcome
# in-flight    accepted, no answer yet when the run was stopped
# accepted     accepted, and no answer was waited for
# refused      the function will never accept it (4xx)
# failed       every attempt to send it failed
# unsent       the run was stopped before it was accepted
Status = Literal[
    "answered", "unanswered", "late", "in-flight", "accepted", "refused", "failed", "unsent"
]

# Outcomes that no later process of the run can change.
FINAL: frozenset[Status] = frozenset({"answered", "refused", "accepted"})


@dataclass(frozen=True, slots=True)
class AcceptedPost:
    """A POST that was answered 200: faces found, attempts needed, seconds of the last attempt.

    Where faces are detected on this computer: `answer` of a frame that needs no cloud,
    `queued` for one whose acceptance is reported later.
    """

    faces: int
    attempts: int
    seconds: float
    answer: FrameResult | None = None
    queued: bool = False


@dataclass(frozen=True, slots=True)
class FrameOutcome:
    """The outcome of one frame.

    `latency` is in seconds from the moment the frame was due to the moment its
    answer arrived here; `timestamp` in seconds of the source. `due` and `opened`
    are the clock's readings when the frame should have been, and was, opened.
    """

    index: int
    name: str
    request_id: str
    timestamp: float
    status: Status
    answer: FrameResult | None = None
    latency: float | None = None
    delivery: AcceptedPost | None = None
    error: str | None = None
    due: float = 0.0
    opened: float = 0.0


def request_id_of(run: str, index: int) -> str:
    """The request id of a frame; `run` is unique, so two runs can't mix their answers."""
    return f"{run}-{index:06d}"


@dataclass(slots=True)
class FrameCounts:
    """How many frames so far; `waiting` were accepted and have no answer yet.

    `late`: answered after their deadline. `earlier`: finished before this
    process resumed the run.
    """

    opened: int = 0
    accepted: int = 0
    answered: int = 0
    refused: int = 0
    waiting: int = 0
    late: int = 0
    duplicates: int = 0
    earlier: int = 0


class RunRecord(Protocol):
    """Records the frames of a run."""

    run: str

    def sent(self, index: int, name: str, timestamp: float) -> None:
        """Record that the frame is about to be sent."""

    def accepted(self, index: int, delivery: AcceptedPost) -> None:
        """Record that the function accepted the frame."""

    def done(self, outcome: FrameOutcome) -> None:
        """Record the frame's outcome."""
