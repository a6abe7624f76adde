"""The deadlines of frames in flight.

The pipeline processes frames approximately in the order in which it accepted them.
A frame that waits in a long queue is not lost, so a response to a frame accepted
before it restarts its timeout; a response to a frame accepted after it does not.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class _Entry:
    """A frame in the order of acceptance.

    Its timeout counts from `since`, its own or a later one of an entry before it, which
    is passed on when that entry is removed.
    """

    key: str
    since: float
    preceding: _Entry | None = None
    following: _Entry | None = None


class Deadlines:
    """The deadlines of waiting frames, `timeout` seconds after the last response before them.

    Every operation takes constant time; memory is proportional to the waiting frames.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._entries: dict[str, _Entry] = {}
        self._first: _Entry | None = None
        self._last: _Entry | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, key: str, at: float) -> None:
        """Start the timeout of a frame; frames are added in the order of acceptance."""
        entry = _Entry(key, at, preceding=self._last)
        self._entries[key] = entry
        if self._last is None:
            self._first = entry
        else:
            self._last.following = entry
        self._last = entry

    def answered(self, key: str, at: float) -> None:
        """Remove an answered frame and restart the timeouts after it; no-op if unknown."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.since = max(entry.since, at)
            self.remove(key)

    def restart_all(self, at: float) -> None:
        """Restart all timeouts: a frame older than every waiting one was answered."""
        if self._first is not None:
            self._first.since = max(self._first.since, at)

    def remove(self, key: str) -> None:
        """Remove a frame without restarting the timeouts after it; no-op if unknown."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        before, after = entry.preceding, entry.following
        if before is None:
            self._first = after
        else:
            before.following = after
        if after is None:
            self._last = before
        else:
            after.preceding = before
            # A restart that is stored in this entry also applies to those after it.
            after.since = max(after.since, entry.since)

    def passed(self, now: float) -> str | None:
        """The first accepted frame if its timeout has passed, else None."""
        if self._first is None or now - self._first.since <= self._timeout:
            return None
        return self._first.key
