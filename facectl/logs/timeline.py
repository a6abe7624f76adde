"""A timeline of events, converted to steps whose gaps are attributed to activities."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    since_ms: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)
    bad: bool = False


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
    parts: dict[str, float] = field(default_factory=dict)
    bad: bool = False


Timeline = list[TimelineEvent]


def steps_of(timeline: Timeline) -> tuple[Step, ...]:
    """The steps of a timeline in the order of time, each with the gap before it."""
    # Sorted, because a client may retry while its first attempt is still in progress.
    ordered = sorted(timeline, key=lambda event: event.at)
    return tuple(
        _step(event, previous)
        for event, previous in zip(ordered, [*ordered[:1], *ordered], strict=False)
    )


def latest_time(timeline: Timeline, default: float) -> float:
    """When the last event happened, `default` for an empty timeline."""
    return max((event.at for event in timeline), default=default)


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
