"""Collecting: ours are taken, others' are left, and short failures are ridden out."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from facectl.errors import CloudError, NotRunningError
from facectl.retry import Backoff
from facectl.stream.responses import Collector, Received
from facectl.stream.tail import Limits, Tail
from lambda_src.contract import FrameResult, MessageError


class FakeQueue:
    """Polls as scripted: messages, or an error. What was done with messages is remembered."""

    def __init__(self, *polls: list[Received] | CloudError) -> None:
        self.polls = list(polls)
        self.deleted: list[str] = []
        self.given_back: list[str] = []
        self.waits: list[int] = []

    def receive(self, *, wait: int = 20) -> list[Received]:
        self.waits.append(wait)
        if not self.polls:
            return []
        poll = self.polls.pop(0)
        if isinstance(poll, CloudError):
            raise poll
        return poll

    def delete(self, messages: Sequence[Received]) -> None:
        self.deleted += [m.message_id for m in messages]

    def give_back(self, messages: Sequence[Received]) -> float:
        self.given_back += [m.message_id for m in messages]
        return 0.125 if messages else 0.0


class Inbox:
    def __init__(self) -> None:
        self.answers: list[FrameResult] = []
        self.open = True
        self.asked = threading.Semaphore(0)

    def expecting(self, timeout: float) -> bool:
        self.asked.release()
        return self.open

    def owns(self, request_id: str) -> bool:
        return request_id.startswith("run-")

    def answered(self, answer: FrameResult, at: float) -> None:
        if answer.result == "unwritable":
            raise OSError("disk full")
        self.answers.append(answer)


def message(number: int, request_id: str = "run-0", result: str = "Ann") -> Received:
    body = json.dumps({"request_id": request_id, "result": result})
    return received(number, body)


def received(number: int, body: str) -> Received:
    try:
        parsed = FrameResult.parse(body)
    except MessageError:
        parsed = None
    return Received(f"m{number}", f"r{number}", body, 1000.0, 0.1, parsed)


def gone() -> NotRunningError:
    return NotRunningError("nobody there")


def test_ours_are_taken_and_the_rest_is_given_back() -> None:
    queue = FakeQueue(
        [message(1), message(2, "other-0"), received(3, "not json"), message(4, "run-1")]
    )
    mailbox = Inbox()
    collector = Collector(queue, mailbox)
    assert collector.collect() == 4
    assert [a.request_id for a in mailbox.answers] == ["run-0", "run-1"]
    assert queue.deleted == ["m1", "m4"]
    assert queue.given_back == ["m2", "m3"]
    assert not collector.unclaimed


@pytest.mark.parametrize(("age", "aside"), [(0, 0), (4.9, 0), (5, 1), (59, 1), (60, 15), (1e6, 20)])
def test_only_what_lies_there_for_long_is_put_aside(age: float, aside: int) -> None:
    assert replace(message(1), age=age).aside == aside


def test_messages_that_lie_there_for_long_are_unclaimed() -> None:
    collector = Collector(FakeQueue([replace(message(1, "other-0"), age=9.0)]), Inbox())
    collector.collect()
    assert collector.unclaimed


def test_an_answer_that_could_not_be_kept_stays_on_the_queue() -> None:
    queue = FakeQueue([message(1, result="unwritable")])
    with pytest.raises(OSError, match="disk full"):
        Collector(queue, Inbox()).collect()
    assert queue.deleted == []


def test_after_stopping_nothing_is_taken() -> None:
    queue = FakeQueue([message(1)])
    collector = Collector(queue, Inbox())
    collector._stopping.set()
    collector.collect()
    assert queue.deleted == []
    assert queue.given_back == ["m1"]


def wait_for_end(collector: Collector) -> None:
    collector._thread.join(60)


def test_the_thread_rides_out_short_failures_and_reports_one_that_stays() -> None:
    refused = CloudError("access denied")
    queue = FakeQueue(gone(), [message(1)], gone(), gone(), [message(2, "run-1")], refused)
    mailbox = Inbox()
    collector = Collector(queue, mailbox, backoff=Backoff(sleep=lambda _: None))
    collector.start()
    wait_for_end(collector)
    assert [a.request_id for a in mailbox.answers] == ["run-0", "run-1"]
    assert collector.failure is refused


def test_nothing_is_polled_for_while_no_answer_can_come() -> None:
    queue, mailbox = FakeQueue(), Inbox()
    mailbox.open = False
    collector = Collector(queue, mailbox)
    collector.start()
    for _ in range(3):
        assert mailbox.asked.acquire(timeout=60)
    collector.stop(grace=60)
    assert queue.waits == []


def test_what_was_never_started_can_be_stopped() -> None:
    Collector(FakeQueue(), Inbox()).stop()


class Time:
    """A clock that moves when one sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def ids(tail: Tail, limits: Limits) -> list[str]:
    return [result.request_id for result, _ in tail.results(limits)]


def test_tail_deletes_what_it_gave_and_leaves_what_is_no_result() -> None:
    queue = FakeQueue([message(1), received(2, "{}")], [received(2, "{}"), message(3, "run-1")])
    tail = Tail(queue, keep=False)
    assert ids(tail, Limits(most=2)) == ["run-0", "run-1"]
    assert queue.deleted == ["m1", "m3"]
    assert queue.given_back == ["m2", "m2"]
    assert tail.foreign == 1


def test_tail_gives_no_more_than_asked_and_leaves_the_rest() -> None:
    queue = FakeQueue([message(n, f"run-{n}") for n in range(5)])
    assert ids(Tail(queue, keep=False), Limits(most=2)) == ["run-0", "run-1"]
    assert queue.deleted == ["m0", "m1"]
    assert queue.given_back == ["m2", "m3", "m4"]


def test_tail_drops_duplicates() -> None:
    queue = FakeQueue([message(1), message(2)], [message(3, "run-1")])
    assert ids(Tail(queue, keep=False), Limits(most=2)) == ["run-0", "run-1"]
    assert queue.deleted == ["m1", "m2", "m3"]


def test_tail_with_keep_deletes_nothing_and_repeats_nothing() -> None:
    queue = FakeQueue([message(1)], [message(1), message(2, "run-1")])
    assert ids(Tail(queue, keep=True), Limits(most=2)) == ["run-0", "run-1"]
    assert queue.deleted == []
    assert queue.given_back == ["m1", "m1", "m2"]


def test_tail_stays_away_from_what_it_gave_back() -> None:
    clock = Time()
    queue = FakeQueue([message(1)], [message(2, "run-1")])
    tail = Tail(queue, keep=True, sleep=clock.sleep)
    assert ids(tail, Limits(most=2)) == ["run-0", "run-1"]
    assert clock.slept == [0.125, 0.125]


def test_tail_does_not_delete_what_the_reader_did_not_come_back_from() -> None:
    queue = FakeQueue([message(1), message(2, "run-1")])
    results = Tail(queue, keep=False).results()
    next(results)
    next(results)
    results.close()
    assert queue.deleted == ["m1"]
    assert queue.given_back == ["m2"]


def test_tail_ends_after_quiet_seconds_and_counts_them_anew_after_each_result() -> None:
    clock = Time()
    queue = FakeQueue([], [message(1)], [])
    polled = queue.receive

    def slow(*, wait: int = 20) -> list[Received]:
        clock.now += 3
        return polled(wait=wait)

    queue.receive = slow  # type: ignore[method-assign]
    tail = Tail(queue, keep=False, clock=clock)
    assert ids(tail, Limits(quiet=7)) == ["run-0"]
    assert queue.waits == [7, 4, 7, 4, 1]
    assert ids(tail, Limits(quiet=0)) == []
