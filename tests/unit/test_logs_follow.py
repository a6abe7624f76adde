"""Following: every event once, whatever the service does. Time is the test's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl.errors import CloudError
from facectl.logs.events import FUNCTIONS, LogEvent
from facectl.logs.follow import Follower, LogConnections
from facectl.logs.source import NoLogYetError
from facectl.logs.times import Window

START = 1_000_000.0


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = START
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        # Even no sleep takes a moment; without it a loop that forgot to would never end.
        self.now += max(seconds, 0.001)


def refusal(code: str, status: int = 400) -> CloudError:
    error = CloudError(f"reading the log: {code}")
    error.__cause__ = ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "FilterLogEvents"
    )
    return error


@dataclass
class Service:
    """Events that can be read from a moment on; readings that fail, in their order."""

    time: Time
    visible: list[tuple[float, LogEvent]] = field(default_factory=list)
    failures: list[Exception | None] = field(default_factory=list)
    readings: list[float] = field(default_factory=list)
    shuffled: bool = False

    def log(self, message: str, *, at: float, seen_at: float, function: str = FUNCTIONS[0]) -> None:
        event = LogEvent(function, f"stream-{message[:1]}", int(at * 1000), message)
        self.visible.append((seen_at, event))

    def events(self, function: str, window: Window) -> Iterator[LogEvent]:
        if function == FUNCTIONS[0]:
            self.readings.append(self.time.now)
        failure = self.failures.pop(0) if self.failures else None
        found = [
            event
            for seen_at, event in self.visible
            if event.function == function
            and seen_at <= self.time.now
            and window.start * 1000 <= event.timestamp <= window.end * 1000
        ]
        if self.shuffled:
            found.reverse()
        if failure is not None:
            # Half a page came before it failed.
            yield from found[: len(found) // 2]
            raise failure
        yield from found


class Session:
    """A Live Tail that tells what it was given."""

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
    service: Service,
    *,
    seconds: float = 60,
    live: Callable[[], Session] | None = None,
    told: list[str] | None = None,
) -> list[LogEvent]:
    follower = Follower(
        LogConnections(lambda: service, live),
        FUNCTIONS,
        tell=[].append if told is None else told.append,
        clock=service.time,
        sleep=service.time.sleep,
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
def test_every_event_once_though_late_twice_and_out_of_order(
    logged: list[tuple[str, float, float, str]], fates: list[str], shuffled: bool
) -> None:
    service = Service(Time(), shuffled=shuffled)
    for message, after, delay, function in logged:
        at = START + after
        service.log(message, at=at, seen_at=at + delay, function=function)
    errors = {
        "ok": None,
        "throttled": refusal("ThrottlingException"),
        "broken": refusal("InternalFailure", 500),
        "expired": refusal("ExpiredTokenException"),
    }
    service.failures = [errors[fate] for fate in fates]
    shown = follow(service, seconds=200)
    assert Counter(shown) == Counter(event for _, event in service.visible)


def test_equal_lines_of_one_millisecond_are_two() -> None:
    service = Service(Time())
    service.log("same", at=START + 1, seen_at=START + 2)
    service.log("same", at=START + 1, seen_at=START + 4)
    assert len(follow(service)) == 2


def test_an_event_is_shown_within_three_seconds() -> None:
    service = Service(Time())
    # Long after the last one: the pace is at its slowest.
    service.log("late", at=START + 100.01, seen_at=START + 100.01)
    follower = Follower(
        LogConnections(lambda: service), FUNCTIONS, clock=service.time, sleep=service.time.sleep
    )
    next(follower.batches(START))
    assert service.time.now - (START + 100.01) < 3


def test_quiet_logs_are_polled_ever_less() -> None:
    service = Service(Time())
    follow(service, seconds=120)
    gaps = [b - a for a, b in zip(service.readings, service.readings[1:], strict=False)]
    assert gaps[0] < 1
    assert 1.5 < gaps[-2] < 3
    assert len(gaps) < 80


def test_trouble_is_told_once_and_so_is_its_end() -> None:
    service = Service(Time())
    service.log("a", at=START + 1, seen_at=START + 1)
    service.failures = [refusal("ThrottlingException")] * 6
    told: list[str] = []
    assert len(follow(service, told=told)) == 1
    assert told == [
        "reading the log: ThrottlingException; trying again",
        "reading the log: ThrottlingException; trying again",
        "The log of face-detection can be read again.",
        "The log of face-recognition can be read again.",
    ]


def test_new_credentials_are_looked_for() -> None:
    made: list[Service] = []
    service = Service(Time())
    service.failures = [refusal("ExpiredTokenException")]
    service.log("a", at=START + 1, seen_at=START + 1)
    told: list[str] = []

    def source() -> Service:
        made.append(service)
        return service

    follower = Follower(
        LogConnections(source),
        FUNCTIONS,
        tell=told.append,
        clock=service.time,
        sleep=service.time.sleep,
    )
    [batch] = list(follower.batches(START, START + 30))
    assert len(made) == 2
    assert [event.message for event in batch] == ["a"]
    assert told[0].startswith("The credentials have expired; following goes on with new ones")


def test_a_log_that_is_not_there_yet_is_waited_for() -> None:
    service = Service(Time())
    service.failures = [NoLogYetError("not there")] * 2
    service.log("a", at=START + 5, seen_at=START + 5)
    told: list[str] = []
    assert len(follow(service, told=told)) == 1
    assert "face-detection has no log yet: waiting for it" in told


def test_what_does_not_pass_ends_it() -> None:
    service = Service(Time())
    service.failures = [refusal("AccessDeniedException")]
    with pytest.raises(CloudError, match="AccessDenied"):
        follow(service)


def test_live_tail_is_quick_and_polls_beside_it_become_rare() -> None:
    service, session = Service(Time()), Session()
    pushed = LogEvent(FUNCTIONS[0], "s", int(START * 1000) + 5, "pushed")
    session.pushed = [pushed]
    service.visible = [(START + 8, pushed)]
    service.log("left out", at=START + 40, seen_at=START + 41)
    shown = follow(service, seconds=62, live=lambda: session)
    assert [event.message for event in shown] == ["pushed", "left out"]
    assert session.closed
    # Beside a session that delivers: every fifteen seconds, until it left something out.
    assert len([at for at in service.readings if at < START + 40]) <= 4


def test_a_session_that_tells_nothing_is_not_relied_on() -> None:
    service = Service(Time())
    service.log("a", at=START + 50, seen_at=START + 50)
    follower = Follower(
        LogConnections(lambda: service, Session),
        FUNCTIONS,
        clock=service.time,
        sleep=service.time.sleep,
    )
    next(follower.batches(START))
    assert service.time.now - (START + 50) < 3


def test_a_session_that_ends_is_opened_again_if_it_ever_told_anything() -> None:
    service = Service(Time())
    opened: list[Session] = []

    def live() -> Session:
        session = Session()
        if not opened:
            session.pushed = [LogEvent(FUNCTIONS[0], "s", int(START * 1000), "x")]
        session.alive = False
        opened.append(session)
        return session

    follow(service, live=live)
    assert len(opened) == 2


def test_without_live_tail_polling_does() -> None:
    def refused() -> Session:
        raise CloudError("not offered")

    service = Service(Time())
    service.log("a", at=START + 1, seen_at=START + 1)
    assert len(follow(service, live=refused)) == 1
