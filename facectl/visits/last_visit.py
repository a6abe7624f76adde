"""The last visit of a source as a sensor has it: who came, also when that is known only later."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

# Amendments that are remembered until the broker has said which visit is the last.
_AMENDED = 1000
_FIELDS = ("visit", "person", "known", "time")


class LastVisit:
    """Follows the events of visits; `value` is the visit that began last, None while unknown.

    Its `person` is None for somebody unknown, and `time` is when its newest event was decided.
    """

    def __init__(self) -> None:
        self.value: dict[str, Any] | None = None
        # Persons of visits that were amended before the last visit was known.
        self._amended: OrderedDict[str, str | None] = OrderedDict()

    def see(self, event: dict[str, Any]) -> bool:
        """Take an event; returns whether it changed the last visit."""
        before = self.value
        if event.get("reason") == "merged":
            if self._is(event["visit"]):
                self._put(event, visit=event.get("into"))
        elif event["event"] == "amend":
            self._amend(event)
        elif event.get("reason") != "lost" and self._is_newest(event["visit"]):
            self._put(event)
        return self.value != before

    def recover(self, payload: bytes) -> bool:
        """Take what an earlier run left at the broker; returns whether it was amended since.

        Ignored once a visit of this run is known, and where it is not a last visit.
        """
        if self.value is not None:
            return False
        try:
            fields = json.loads(payload)
            value = {key: fields[key] for key in _FIELDS}
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        if not isinstance(value["visit"], str):
            return False
        self.value = value
        if value["visit"] in self._amended:
            person = self._amended[value["visit"]]
            self.value = {**value, "person": person, "known": person is not None}
        return self.value != value

    def _amend(self, event: dict[str, Any]) -> None:
        if self.value is None:
            self._amended[event["visit"]] = event["person"]
            if len(self._amended) > _AMENDED:
                self._amended.popitem(last=False)
        elif self._is(event["visit"]):
            self._put(event, time=self.value["time"])
        elif self._is_later(event["visit"]):
            # A receiver of known people gets a stranger's visit when it is named.
            self._put(event)

    def _is(self, visit: str) -> bool:
        return self.value is not None and self.value["visit"] == visit

    def _is_newest(self, visit: str) -> bool:
        """Whether no visit is known that began later; one of another run began earlier."""
        if self.value is None or _run(visit) != _run(self.value["visit"]):
            return True
        return self._is(visit) or self._is_later(visit)

    def _is_later(self, visit: str) -> bool:
        """Whether a visit is of the same run as the last one, and began after it."""
        if self.value is None or _run(visit) != _run(self.value["visit"]):
            return False
        return _beginning(visit) > _beginning(self.value["visit"])

    def _put(self, event: dict[str, Any], **changes: Any) -> None:
        self.value = {**{key: event[key] for key in _FIELDS}, **changes}


def _run(visit: str) -> str:
    return visit.rsplit("-", 2)[0]


def _beginning(visit: str) -> tuple[int, ...]:
    """The first frame of a visit, and its number among those that begin with this frame."""
    return tuple(int(part) for part in visit.rsplit("-", 2)[1:] if part.isdecimal())
