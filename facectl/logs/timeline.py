"""The timeline of a request, as steps whose gaps are attributed to activities."""

from __future__ import annotations

from dataclasses import dataclass

# Smaller unexplained gaps come from rounding and clock differences; they are not attributed.
_NOTICED_MS = 2.0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a request. `since_ms` is the gap since the previous step.

    `spent` attributes that gap to activities, in ms.
    """

    at: float
    function: str | None
    event: str
    text: str
    since_ms: float
    spent: dict[str, float]
    bad: bool


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """A step whose gap is not computed yet.

    `parts` (ms) explain the time before it; what they leave is attributed to `rest`.
    """

    at: float
    function: str | None
    event: str
    text: str
    rest: str
    parts: dict[str, float]
    bad: bool = False


class Timeline:
    """The events of a request, in any order."""

    def __init__(self) -> None:
        self._events: list[TimelineEvent] = []

    def add(
        self,
        at: float,
        function: str | None,
        event: str,
        text: str,
        rest: str,
        parts: dict[str, float] | None = None,
    ) -> None:
        """Add an event; the arguments are the fields of `TimelineEvent`."""
        self._events.append(TimelineEvent(at, function, event, text, rest, parts or {}))

    def add_failure(
        self, at: float, function: str | None, event: str, text: str, rest: str
    ) -> None:
        """Add an event that reports a failure."""
        self._events.append(TimelineEvent(at, function, event, text, rest, {}, bad=True))

    def steps(self) -> tuple[Step, ...]:
        """The steps in the order of time, each with the gap before it."""
        # Sorted, because a client may retry while its first attempt is still in progress.
        ordered = sorted(self._events, key=lambda event: event.at)
        return tuple(
            _step(event, previous)
            for event, previous in zip(ordered, [*ordered[:1], *ordered], strict=False)
        )

    def latest(self, default: float) -> float:
        """When the last event happened, `default` for an empty timeline."""
        return max((event.at for event in self._events), default=default)


def _step(event: TimelineEvent, previous: TimelineEvent) -> Step:
    since = (event.at - previous.at) * 1e3
    spent: dict[str, float] = {}
    left = since
    for activity, ms in event.parts.items():
        spent[activity] = round(min(ms, left), 2)
        left -= spent[activity]
    if left >= (_NOTICED_MS if event.parts else 0.01):
        spent[event.rest] = round(left, 2)
    return Step(
        event.at, event.function, event.event, event.text, round(since, 2), spent, event.bad
    )
