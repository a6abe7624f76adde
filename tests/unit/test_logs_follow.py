"""Following yields every event once despite errors, delays and disorder; time is simulated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl.errors import CloudError
from facectl.logs.events import LogEvent
from facectl.logs.follow import Follower, LogConnections
from facectl.logs.source import NoLogYetError
from facectl.logs.times import Window
from facectl.naming import FUNCTIONS

START = 1_000_000.0


class SimulatedClock:
    """A clock that only sleeping advances."""

    def __init__(self) -> None:
        self.now = START
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        # A sleep of 0 also takes time; otherwise a loop without a sleep would never end.
        self.now += max(seconds, 0.001)


def cloud_error(code: str, status: int = 400) -> CloudError:
    error = CloudError(f"reading the log: {code}")
    error.__cause__ = ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "FilterLogEvents"
    )
    return error


@dataclass
class FakeLogs:
    """Events that become readable at a time, and the failures of the reads in their order."""

    clock: SimulatedClock
    visible: list[tuple[float, LogEvent]] = field(default_factory=list)
    failures: list[Exception | None] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    shuffled: bool = False

    def log(self, message: str, *, at: float, seen_at: float, function: str = FUNCTIONS[0]) -> None:
        event = LogEvent(function, f"stream-{message[:1]}", int(at * 1000), message)
        self.visible.append((seen_at, event))

    def events(self, function: str, window: Window) -> Iterator[LogEvent]:
        if function == FUNCTIONS[0]:
            self.reads.append(self.clock.now)
        failure = self.failures.pop(0) if self.failures else None
        found = [
            event
            for seen_at, event in self.visible
            if event.function == function
            and seen_at <= self.clock.now
            and window.start * 1000 <= event.timestamp <= window.end * 1000
        ]
        if self.shuffled:
            found.reverse()
        if failure is not None:
            # Half a page is returned before the failure.
            yield from found[: len(found) // 2]
            raise failure
        yield from found


class FakeLiveTail:
    """A Live Tail session that delivers the given events."""

    def __init__(self) -> None:
        self.alive = True
        self.closed = False
        self.pushed: list[LogEvent] = []

    def arrived(self) -> Iterator[LogEvent]:
        while self.pushed:
            yield self.pushed.pop(0)

    def close(self) -> None:
        self.closed = True


def follow(
    service: FakeLogs,
    *,
    seconds: float = 60,
    live: Callable[[], FakeLiveTail] | None = None,
    messages: list[str] | None = None,
) -> list[LogEvent]:
    follower = Follower(
        LogConnections(lambda: service, live),
        FUNCTIONS,
        tell=[].append if messages is None else messages.append,
        clock=service.clock,
        sleep=service.clock.sleep,
    )
    batches = follower.batches(START, START + seconds)
    return [event for batch in batches for event in batch]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.floats(0, 30),
            st.floats(0, 20),
            st.sampled_from(FUNCTIONS),
        ),
        max_size=40,
    ),
    st.lists(st.sampled_from(["ok", "throttled", "broken", "expired"]), max_size=20),
    st.booleans(),
)
def test_every_event_comes_once_despite_delays_repeats_and_disorder(
    events: list[tuple[str, float, float, str]], outcomes: list[str], shuffled: bool
) -> None:
    service = FakeLogs(SimulatedClock(), shuffled=shuffled)
    for message, after, delay, function in events:
        at = START + after
        service.log(message, at=at, seen_at=at + delay, function=function)
    errors = {
        "ok": None,
        "throttled": cloud_error("ThrottlingException"),
        "broken": cloud_error("InternalFailure", 500),
        "expired": cloud_error("ExpiredTokenException"),
    }
    service.failures = [errors[outcome] for outcome in outcomes]
    shown = follow(service, seconds=200)
    assert Counter(shown) == Counter(event for _, event in service.visible)


def test_equal_lines_of_the_same_millisecond_are_both_shown() -> None:
    service = FakeLogs(SimulatedClock())
    service.log("same", at=START + 1, seen_at=START + 2)
    service.log("same", at=START + 1, seen_at=START + 4)
    assert len(follow(service)) == 2


def test_an_event_is_shown_within_three_seconds() -> None:
    service = FakeLogs(SimulatedClock())
    # Long after the last event: the polling interval is at its maximum.
    service.log("late", at=START + 100.01, seen_at=START + 100.01)
    follower = Follower(
        LogConnections(lambda: service), FUNCTIONS, clock=service.clock, sleep=service.clock.sleep
    )
    next(follower.batches(START))
    assert service.clock.now - (START + 100.01) < 3


def test_logs_without_new_events_are_polled_less_often() -> None:
    service = FakeLogs(SimulatedClock())
    follow(service, seconds=120)
    gaps = [b - a for a, b in zip(service.reads, service.reads[1:], strict=False)]
    assert gaps[0] < 1
    assert 1.5 < gaps[-2] < 3
    assert len(gaps) < 80


def test_a_problem_and_its_end_are_reported_once() -> None:
    service = FakeLogs(SimulatedClock())
    service.log("a", at=START + 1, seen_at=START + 1)
    service.failures = [cloud_error("ThrottlingException")] * 6
    messages: list[str] = []
    assert len(follow(service, messages=messages)) == 1
    assert messages == [
        "reading the log: ThrottlingException; retrying",
        "reading the log: ThrottlingException; retrying",
        "The log of face-detection can be read again.",
        "The log of face-recognition can be read again.",
    ]


def test_expired_credentials_are_read_again() -> None:
    made: list[FakeLogs] = []
    service = FakeLogs(SimulatedClock())
    service.failures = [cloud_error("ExpiredTokenException")]
    service.log("a", at=START + 1, seen_at=START + 1)
    messages: list[str] = []

    def source() -> FakeLogs:
        made.append(service)
        return service

    follower = Follower(
        LogConnections(source),
        FUNCTIONS,
        tell=messages.append,
        clock=service.clock,
        sleep=service.clock.sleep,
    )
    [batch] = list(follower.batches(START, START + 30))
    assert len(made) == 2
    assert [event.message for event in batch] == ["a"]
    assert messages[0].startswith("The credentials have expired; retrying with a new session")


def test_a_missing_log_is_waited_for() -> None:
    service = FakeLogs(SimulatedClock())
    service.failures = [NoLogYetError("not there")] * 2
    service.log("a", at=START + 5, seen_at=START + 5)
    messages: list[str] = []
    assert len(follow(service, messages=messages)) == 1
    assert "face-detection has no log yet: waiting for it" in messages


def test_a_permanent_error_ends_following() -> None:
    service = FakeLogs(SimulatedClock())
    service.failures = [cloud_error("AccessDeniedException")]
    with pytest.raises(CloudError, match="AccessDenied"):
        follow(service)


def test_polls_become_rare_while_live_tail_delivers() -> None:
    service, session = FakeLogs(SimulatedClock()), FakeLiveTail()
    pushed = LogEvent(FUNCTIONS[0], "s", int(START * 1000) + 5, "pushed")
    session.pushed = [pushed]
    service.visible = [(START + 8, pushed)]
    service.log("skipped", at=START + 40, seen_at=START + 41)
    shown = follow(service, seconds=62, live=lambda: session)
    assert [event.message for event in shown] == ["pushed", "skipped"]
    assert session.closed
    # Every fifteen seconds while the session delivers, until it skips an event.
    assert len([at for at in service.reads if at < START + 40]) <= 4


def test_polls_stay_frequent_if_live_tail_delivers_nothing() -> None:
    service = FakeLogs(SimulatedClock())
    service.log("a", at=START + 50, seen_at=START + 50)
    follower = Follower(
        LogConnections(lambda: service, FakeLiveTail),
        FUNCTIONS,
        clock=service.clock,
        sleep=service.clock.sleep,
    )
    next(follower.batches(START))
    assert service.clock.now - (START + 50) < 3


def test_an_ended_session_is_reopened_if_it_delivered_events() -> None:
    service = FakeLogs(SimulatedClock())
    opened: list[FakeLiveTail] = []

    def live() -> FakeLiveTail:
        session = FakeLiveTail()
        if not opened:
            session.pushed = [LogEvent(FUNCTIONS[0], "s", int(START * 1000), "x")]
        session.alive = False
        opened.append(session)
        return session

    follow(service, live=live)
    assert len(opened) == 2


def test_polling_works_without_live_tail() -> None:
    def refused() -> FakeLiveTail:
        raise CloudError("not offered")

    service = FakeLogs(SimulatedClock())
    service.log("a", at=START + 1, seen_at=START + 1)
    assert len(follow(service, live=refused)) == 1
