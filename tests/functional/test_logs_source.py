"""Reading CloudWatch Logs with throttling, pages, repeated and reordered events."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from facectl.aws_errors import is_denied, is_expired
from facectl.context import Deployment
from facectl.errors import CloudError
from facectl.logs import read
from facectl.logs.source import PAGE_SIZE, LogSource, NoLogYetError
from facectl.logs.times import Window
from facectl.naming import FUNCTIONS

WINDOW = Window(0.0, 1000.0)


def error(code: str, status: int = 400) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "no"}}
    answer["ResponseMetadata"] = {"HTTPStatusCode": status}
    return ClientError(answer, "FilterLogEvents")


class FakeCloudWatch:
    """FilterLogEvents that randomly throttles, repeats, reorders and returns empty pages."""

    def __init__(self, events: list[dict[str, Any]], seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.events = events
        self.calls: list[dict[str, Any]] = []
        self.throttled = 0

    def filter_log_events(self, **request: Any) -> dict[str, Any]:
        self.calls.append(request)
        if self.random.random() < 0.3 and self.throttled < 20:
            self.throttled += 1
            raise error("ThrottlingException")
        start = int(request.get("nextToken", "0"))
        size = self.random.choice([0, 1, 3, 7])
        page = list(self.events[start : start + size])
        if start and self.random.random() < 0.5:
            # A page that repeats the last events of the previous one.
            page = [*self.events[max(0, start - 2) : start], *page]
        if self.random.random() < 0.3:
            self.random.shuffle(page)
        answer: dict[str, Any] = {"events": page}
        if start + size < len(self.events):
            answer["nextToken"] = str(start + size) if size else f"{start}" + " " * len(self.calls)
        return answer


def source_of(logs: Any, *, backoff: float = 60, slept: list[float] | None = None) -> LogSource:
    sleeps = [] if slept is None else slept
    clients: Any = SimpleNamespace(logs=logs, deployment=Deployment("alice", "aws"))
    return LogSource(clients, retry_seconds=backoff, clock=lambda: sum(sleeps), sleep=sleeps.append)


def event(number: int, *, at: int | None = None, stream: str = "s") -> dict[str, Any]:
    return {
        "eventId": f"id-{number}",
        "timestamp": number * 10 if at is None else at,
        "message": f"message {number}",
        "logStreamName": stream,
    }


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 30))
def test_every_event_comes_once(seed: int, count: int) -> None:
    service = FakeCloudWatch([event(number) for number in range(count)], seed)
    found = list(source_of(service).events(FUNCTIONS[0], WINDOW))
    assert Counter(one.message for one in found) == Counter(f"message {n}" for n in range(count))


def test_lines_are_sorted_although_events_are_not() -> None:
    service = FakeCloudWatch([event(number) for number in range(30)], seed=3)
    lines = list(read.lines(source_of(service), FUNCTIONS, WINDOW))
    moments = [line.at for line in lines]
    assert len(moments) == 60
    assert moments == sorted(moments)


def test_the_arguments_of_a_request() -> None:
    service = FakeCloudWatch([])
    source = source_of(service)
    list(source.events(FUNCTIONS[1], Window(1.5, 2.0), pattern="{ $.a = 1 }", streams=["x"]))
    assert service.calls[-1] == {
        "logGroupName": "/aws/lambda/face-recognition",
        "startTime": 1500,
        "endTime": 2001,
        "filterPattern": "{ $.a = 1 }",
        "logStreamNames": ["x"],
    }


def test_at_most_a_hundred_streams_per_call() -> None:
    service = FakeCloudWatch([], seed=7)
    list(source_of(service).events(FUNCTIONS[0], WINDOW, streams=[str(n) for n in range(250)]))
    asked = {len(call["logStreamNames"]) for call in service.calls}
    assert asked == {100, 50}


class TruncatingLogs:
    """FilterLogEvents of MiniStack: no ids, no tokens, and a page is truncated at its limit."""

    def __init__(self, timestamps: list[int]) -> None:
        self.timestamps = timestamps

    def filter_log_events(self, **request: Any) -> dict[str, Any]:
        found = [
            {"timestamp": at, "message": f"{at} {number}", "logStreamName": "s"}
            for number, at in enumerate(self.timestamps)
            if at >= request["startTime"]
        ]
        return {"events": found[:PAGE_SIZE], "searchedLogStreams": []}


def test_a_truncated_page_is_continued() -> None:
    timestamps = sorted([number // 3 for number in range(PAGE_SIZE * 2 + 500)])
    found = list(source_of(TruncatingLogs(timestamps)).events(FUNCTIONS[0], WINDOW))
    assert len({one.message for one in found}) == len(found) == len(timestamps)


def failing(failure: ClientError) -> Any:
    def refuse(**_: Any) -> Any:
        raise failure

    return SimpleNamespace(filter_log_events=refuse)


def test_retries_of_throttling_end() -> None:
    slept: list[float] = []
    with pytest.raises(CloudError, match="reading the log of face-detection: ThrottlingException"):
        list(
            source_of(failing(error("ThrottlingException")), slept=slept).events(
                "face-detection", WINDOW
            )
        )
    assert 50 < sum(slept) < 70


@pytest.mark.parametrize(
    ("code", "kind", "hint"),
    [
        ("ResourceNotFoundException", NoLogYetError, "facectl deploy"),
        ("AccessDeniedException", CloudError, "logs:FilterLogEvents on /aws/lambda/face-detection"),
        ("ExpiredTokenException", CloudError, "aws sso login"),
    ],
)
def test_permanent_errors(code: str, kind: type[CloudError], hint: str) -> None:
    with pytest.raises(kind) as caught:
        list(source_of(failing(error(code))).events("face-detection", WINDOW))
    assert hint in str(caught.value.hint)


def test_expired_and_denied_are_different_errors() -> None:
    def raised(code: str) -> CloudError:
        with pytest.raises(CloudError) as caught:
            list(source_of(failing(error(code))).events("face-detection", WINDOW))
        return caught.value

    tests: list[tuple[Callable[[CloudError], bool], bool, bool]] = [
        (is_expired, True, False),
        (is_denied, False, False),
    ]
    for test, expired, missing in tests:
        assert test(raised("ExpiredTokenException")) is expired
        assert test(raised("ResourceNotFoundException")) is missing


class OneMissingLog:
    """One function has a log, the other has never run."""

    def filter_log_events(self, **request: Any) -> dict[str, Any]:
        if request["logGroupName"].endswith("recognition"):
            raise error("ResourceNotFoundException")
        return {"events": [event(1)]}


def test_a_missing_log_is_reported_and_the_other_shown() -> None:
    messages: list[str] = []
    lines = list(read.lines(source_of(OneMissingLog()), FUNCTIONS, WINDOW, tell=messages.append))
    assert len(lines) == 1
    assert messages == [
        "There is no log of face-recognition yet: it is not deployed or has not run"
    ]
    with pytest.raises(NoLogYetError):
        list(read.lines(source_of(OneMissingLog()), FUNCTIONS[1:], WINDOW))
