"""The deadlines of frames in flight.

The pipeline processes frames in about the order in which it accepted them. A
frame that waits behind a long queue is not lost, so each answer to a frame that
was accepted before it restarts its timeout. An answer to a frame that was
accepted after it does not.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class _Entry:
    """A frame in the order of acceptance; `since`: the news of it and of what stood before it."""

    key: str
    since: float
    preceding: _Entry | None = None
    following: _Entry | None = None


class Deadlines:
    """The deadlines of the waiting frames, `timeout` seconds after their last sign of progress.

    Every operation takes constant time, and memory is used for waiting frames only.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._entries: dict[str, _Entry] = {}
        self._first: _Entry | None = None
        self._last: _Entry | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, key: str, at: float) -> None:
        """Wait for a frame from now on; frames are added in the order of acceptance."""
        entry = _Entry(key, at, preceding=self._last)
        self._entries[key] = entry
        if self._last is None:
            self._first = entry
        else:
            self._last.following = entry
        self._last = entry

    def answered(self, key: str, at: float) -> None:
        """Wait for the frame no longer; those accepted after it have more time. Unknown: no-op."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.since = max(entry.since, at)
            self.remove(key)

    def news(self, at: float) -> None:
        """Something older than all that is waited for was answered: all have more time."""
        if self._first is not None:
            self._first.since = max(self._first.since, at)

    def remove(self, key: str) -> None:
        """Wait for the frame no longer, without news of it. Unknown: no-op."""
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
            # What was known at this place holds for everything behind it.
            after.since = max(after.since, entry.since)

    def passed(self, now: float) -> str | None:
        """A frame whose time is over, the one accepted first; None where there is none."""
        if self._first is None or now - self._first.since <= self._timeout:
            return None
        return self._first.key
