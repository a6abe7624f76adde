"""Finds in the logs why messages became dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from facectl.errors import InputError
from facectl.logs import read, search
from facectl.logs.dead_letters import DeadLetter
from facectl.logs.parse import Line
from facectl.logs.request_events import THROTTLED, failure_reason
from facectl.logs.source import LogSource, NoLogYetError
from facectl.logs.times import Window
from facectl.naming import RECOGNITION_FUNCTION

UNKNOWN = "the logs contain no reason"
LOST = "a worker received it and was lost"


@dataclass(frozen=True, slots=True)
class Failure:
    """When a message failed (None if unknown), why, and after how many deliveries."""

    dead_letter: DeadLetter
    failed_at: float | None
    reason: str
    deliveries: int
    error_sent: bool

    def as_dict(self) -> dict[str, Any]:
        message = self.dead_letter.message
        return {
            "message_id": self.dead_letter.message_id,
            "request_id": self.dead_letter.request_id,
            "sent_at": self.dead_letter.sent_at,
            "died_at": self.failed_at,
            "deliveries": self.deliveries,
            "why": self.reason,
            "answered_error": self.error_sent,
            "bytes": len(self.dead_letter.body.encode()),
            "faces": None if message is None else len(message.faces),
            "filename": None if message is None else message.filename,
        }


def failures(source: LogSource, dead_letters: Sequence[DeadLetter], now: float) -> list[Failure]:
    """Why each message became a dead letter, by face-recognition's log; raises CloudError."""
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
        platform = search.platform_lines(source, lines, now)
        unlogged = ids - {str(line.fields.get("message_id")) for line in lines}
        unmatched = (
            read.unmatched_failures(source, RECOGNITION_FUNCTION, window) if unlogged else []
        )
    except NoLogYetError:
        return [
            Failure(dead_letter, None, UNKNOWN, 0, error_sent=False) for dead_letter in dead_letters
        ]
    return [_failure(dead_letter, lines, platform, unmatched) for dead_letter in dead_letters]


def _failure(
    dead_letter: DeadLetter,
    lines: Sequence[Line],
    platform: Sequence[Line],
    unmatched: Sequence[Line],
) -> Failure:
    own = [line for line in lines if line.fields.get("message_id") == dead_letter.message_id]
    invocations = {line.invocation for line in own}
    errors = [line for line in own if line.level == "ERROR"]
    faults = [line for line in platform if line.kind == "fault" and line.invocation in invocations]
    numbers = [int(line.number("receives") or 0) for line in own]
    last = max([*errors, *faults], key=lambda line: line.at, default=None)
    if last is None and not own and unmatched:
        last = unmatched[-1]
    return Failure(
        dead_letter,
        None if last is None else last.at,
        (LOST if own else THROTTLED) if last is None else failure_reason(last),
        max(numbers, default=0),
        any(line.fields.get("answered") is True for line in errors),
    )


def find(dead_letters: Sequence[DeadLetter], identifier: str) -> list[DeadLetter]:
    """The dead letters with this message or request id.

    Raises InputError if there are none; it lists the ids with this prefix.
    """
    matches = [dead_letter for dead_letter in dead_letters if dead_letter.has_id(identifier)]
    if matches:
        return matches
    similar = [
        dead_letter
        for dead_letter in dead_letters
        if dead_letter.message_id.startswith(identifier)
        or str(dead_letter.request_id).startswith(identifier)
    ]
    if not similar:
        raise InputError(
            f"No message {identifier!r} in the dead-letter queue, which has {len(dead_letters)}",
            hint="facectl dlq list",
        )
    ids = "\n  ".join(dead_letter.request_id or dead_letter.message_id for dead_letter in similar)
    raise InputError(
        f"No message {identifier!r}. These ids begin with it:\n  {ids}",
        hint=f"facectl dlq show {similar[0].message_id}",
    )
