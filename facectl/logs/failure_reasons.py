"""Why messages died: what was logged for their deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from facectl.errors import InputError
from facectl.logs import read, search
from facectl.logs.dead_letters import DeadLetter
from facectl.logs.parse import Line
from facectl.logs.request_events import failure_reason
from facectl.logs.source import LogSource, NoLogYetError
from facectl.logs.times import Window
from facectl.naming import RECOGNITION_FUNCTION

UNKNOWN = "the logs tell no reason"
LOST = "a worker received it and was lost"
THROTTLED = "throttled: no worker ever received it"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message became a dead letter: when it failed (None: unknown), why, its deliveries."""

    dead_letter: DeadLetter
    at: float | None
    why: str
    deliveries: int
    answered: bool

    def as_dict(self) -> dict[str, Any]:
        message = self.dead_letter.message
        return {
            "message_id": self.dead_letter.message_id,
            "request_id": self.dead_letter.request_id,
            "sent_at": self.dead_letter.sent_at,
            "died_at": self.at,
            "deliveries": self.deliveries,
            "why": self.why,
            "answered_error": self.answered,
            "bytes": len(self.dead_letter.body.encode()),
            "faces": None if message is None else len(message.faces),
            "filename": None if message is None else message.filename,
        }


def failures(source: LogSource, dead_letters: Sequence[DeadLetter], now: float) -> list[Failure]:
    """The death of each dead letter, from face-recognition's log; raises CloudError."""
    if not dead_letters:
        return []
    window = Window(min(dead_letter.sent_at for dead_letter in dead_letters) - 1.0, now)
    ids = {dead_letter.message_id for dead_letter in dead_letters}
    try:
        lines = [
            line
            for line in read.lines(
                source, (RECOGNITION_FUNCTION,), window, pattern='{ $.message_id = "*" }'
            )
            if line.kind == "entry" and line.fields.get("message_id") in ids
        ]
        ends = search.ends(source, lines, now)
        untold = ids - {str(line.fields.get("message_id")) for line in lines}
        unmatched = read.unmatched_failures(source, RECOGNITION_FUNCTION, window) if untold else []
    except NoLogYetError:
        return [
            Failure(dead_letter, None, UNKNOWN, 0, answered=False) for dead_letter in dead_letters
        ]
    return [_failure(dead_letter, lines, ends, unmatched) for dead_letter in dead_letters]


def _failure(
    dead_letter: DeadLetter, lines: Sequence[Line], ends: Sequence[Line], unmatched: Sequence[Line]
) -> Failure:
    own = [line for line in lines if line.fields.get("message_id") == dead_letter.message_id]
    invocations = {line.invocation for line in own}
    errors = [line for line in own if line.level == "ERROR"]
    faults = [end for end in ends if end.kind == "fault" and end.invocation in invocations]
    numbers = [int(line.number("receives") or 0) for line in own]
    last = max([*errors, *faults], key=lambda line: line.at, default=None)
    if last is None and not own and unmatched:
        last = unmatched[-1]
    without_error = LOST if own else THROTTLED
    return Failure(
        dead_letter,
        None if last is None else last.at,
        without_error if last is None else failure_reason(last),
        max(numbers, default=0),
        any(line.fields.get("answered") is True for line in errors),
    )


def named(dead_letters: Sequence[DeadLetter], name: str) -> list[DeadLetter]:
    """The dead letters with this message or request id.

    Raises InputError where there is none, with those that begin like it.
    """
    found = [dead_letter for dead_letter in dead_letters if dead_letter.is_named(name)]
    if found:
        return found
    begin = [
        dead_letter
        for dead_letter in dead_letters
        if dead_letter.message_id.startswith(name) or str(dead_letter.request_id).startswith(name)
    ]
    if not begin:
        raise InputError(
            f"No message of {name!r} is in the dead-letter queue ({len(dead_letters)} others are)",
            hint="facectl dlq list",
        )
    ids = "\n  ".join(dead_letter.request_id or dead_letter.message_id for dead_letter in begin)
    raise InputError(
        f"No message is called {name!r}. These begin with it:\n  {ids}",
        hint=f"facectl dlq show {begin[0].message_id}",
    )
