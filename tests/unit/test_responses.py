"""Collector and tail: responses of this client are deleted, others released, errors retried."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from fake_clock import FakeClock

from facectl.context import Deployment
from facectl.errors import CloudError, NotRunningError
from facectl.retry import Backoff
from facectl.stream.responses import AnswerNotTaken, Collector, Received, ResponseQueue
from facectl.stream.tail import Limits, Tail
from lambda_src.contract import FrameResult, MessageError


class FakeQueue:
    """Returns scripted polls, messages or an error, and records deletions and releases."""

    def __init__(self, *polls: list[Received] | CloudError) -> None:
        self.polls = list(polls)
        self.deleted: list[str] = []
        self.deletions = 0
        self.released: list[str] = []
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
        self.deletions += 1

    def release(self, messages: Sequence[Received]) -> float:
        self.released += [m.message_id for m in messages]
        return 0.125 if messages else 0.0


class RecordingMailbox:
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


def unreachable() -> NotRunningError:
    return NotRunningError("no answer")


def test_own_responses_are_deleted_and_other_messages_released() -> None:
    queue = FakeQueue(
        [message(1), message(2, "other-0"), received(3, "not json"), message(4, "run-1")]
    )
    mailbox = RecordingMailbox()
    collector = Collector(queue, mailbox)
    assert collector.collect() == 4
    assert [a.request_id for a in mailbox.answers] == ["run-0", "run-1"]
    assert queue.deleted == ["m1", "m4"]
    assert queue.released == ["m2", "m3"]
    assert not collector.unclaimed


@pytest.mark.parametrize(
    ("age", "seconds"), [(0, 0), (4.9, 0), (5, 1), (59, 1), (60, 15), (1e6, 20)]
)
def test_only_old_messages_stay_invisible_after_a_release(age: float, seconds: int) -> None:
    assert replace(message(1), age=age).visibility_timeout == seconds


def test_old_messages_of_others_are_unclaimed() -> None:
    collector = Collector(FakeQueue([replace(message(1, "other-0"), age=9.0)]), RecordingMailbox())
    collector.collect()
    assert collector.unclaimed


def test_a_response_that_could_not_be_stored_stays_on_the_queue() -> None:
    queue = FakeQueue([message(1, result="unwritable")])
    with pytest.raises(OSError, match="disk full"):
        Collector(queue, RecordingMailbox()).collect()
    assert queue.deleted == []


def test_a_response_that_was_not_taken_goes_back_to_the_queue() -> None:
    class Refusing(RecordingMailbox):
        def answered(self, answer: FrameResult, at: float) -> None:
            raise AnswerNotTaken

    queue = FakeQueue([message(1)])
    Collector(queue, Refusing()).collect()
    assert (queue.deleted, queue.released) == ([], ["m1"])


class FakeSqs:
    """One poll of SQS, at ten seconds past midnight by its own clock, and the calls."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._messages = list(messages)

    def get_queue_url(self, QueueName: str) -> dict[str, str]:  # noqa: N803 - the name in boto3
        return {"QueueUrl": f"https://sqs/{QueueName}"}

    def receive_message(self, **request: Any) -> dict[str, Any]:
        self.calls.append(("receive", request))
        headers = {"date": "Thu, 01 Jan 2026 00:00:10 GMT"}
        answer: dict[str, Any] = {"ResponseMetadata": {"HTTPHeaders": headers}}
        return {**answer, "Messages": self._messages} if self._messages else answer

    def delete_message_batch(self, **request: Any) -> None:
        self.calls.append(("delete", request))

    def change_message_visibility_batch(self, **request: Any) -> None:
        self.calls.append(("release", request))


# Seconds of the epoch at midnight, UTC.
MIDNIGHT = 1_767_225_600


def sent(name: str, body: str, at: float, **attributes: float) -> dict[str, Any]:
    times = {"SentTimestamp": at, **attributes}
    return {
        "MessageId": f"id-{name}",
        "ReceiptHandle": f"receipt-{name}",
        "Body": body,
        "Attributes": {key: str(round((MIDNIGHT + each) * 1000)) for key, each in times.items()},
    }


def response_queue(sqs: FakeSqs) -> ResponseQueue:
    deployment = Deployment("demo", "aws")
    return ResponseQueue(SimpleNamespace(sqs=sqs, deployment=deployment))  # type: ignore[arg-type]


def test_messages_have_their_times_by_the_clock_of_sqs() -> None:
    body = json.dumps({"request_id": "run-0", "result": "Ann"})
    sqs = FakeSqs(
        sent("a", body, 3.5, ApproximateFirstReceiveTimestamp=8.25),
        sent("b", "no answer", 9.75),
        # The clocks of two computers of SQS.
        sent("c", body, 10.5),
    )
    first, second, third = response_queue(sqs).receive(wait=7)
    assert (first.message_id, first.receipt, first.body) == ("id-a", "receipt-a", body)
    assert first.result is not None
    assert first.result.request_id == "run-0"
    assert (first.sent_at, first.age) == (MIDNIGHT + 3.5, 6.5)
    assert first.first_received_at == MIDNIGHT + 8.25
    assert (second.result, second.age, second.first_received_at) == (None, 0.25, None)
    assert third.age == 0
    [(_, request)] = sqs.calls
    assert (request["MaxNumberOfMessages"], request["WaitTimeSeconds"]) == (10, 7)
    assert response_queue(FakeSqs()).receive() == []


def test_messages_are_deleted_and_released_by_their_receipts() -> None:
    sqs = FakeSqs()
    queue = response_queue(sqs)
    queue.delete([])
    assert queue.release([]) == 0
    assert sqs.calls == []
    fresh, old = message(1), replace(message(2), age=400.0)
    queue.delete([fresh, old])
    # Another client's poll comes before the next one of this client, if there is one to take.
    assert 0.1 <= queue.release([fresh, old]) <= 0.2
    assert queue.release([old]) == 0
    entries = [request["Entries"] for _, request in sqs.calls]
    assert [[each["ReceiptHandle"] for each in some] for some in entries] == [
        ["r1", "r2"],
        ["r1", "r2"],
        ["r2"],
    ]
    assert [each["VisibilityTimeout"] for each in entries[1]] == [0, 20]
    assert len({each["Id"] for each in entries[0]}) == 2


def test_messages_received_after_stop_are_released() -> None:
    queue = FakeQueue([message(1)])
    collector = Collector(queue, RecordingMailbox())
    collector._stopping.set()
    collector.collect()
    assert queue.deleted == []
    assert queue.released == ["m1"]


def test_responses_that_follow_one_another_are_deleted_ten_at_a_time() -> None:
    queue = FakeQueue(*([message(n, f"run-{n}")] for n in range(13)))
    clock = FakeClock()
    collector = Collector(queue, RecordingMailbox(), clock=clock)
    for _ in range(13):
        collector.collect()
        clock.sleep(0.05)
    # The first at once, because nothing came before it.
    assert queue.deleted == [f"m{n}" for n in range(11)]
    assert queue.deletions == 2
    assert queue.waits[:3] == [20, 20, 1]
    clock.sleep(1)
    # No message, so the rest is not kept for longer.
    collector.collect()
    assert queue.deleted == [f"m{n}" for n in range(13)]
    assert queue.deletions == 3


def test_the_last_expected_response_is_deleted_at_once() -> None:
    queue = FakeQueue([message(1)], [message(2, "run-1")])
    mailbox = RecordingMailbox()
    collector = Collector(queue, mailbox, clock=FakeClock())
    collector.collect()
    mailbox.open = False
    collector.collect()
    assert queue.deleted == ["m1", "m2"]


def test_responses_taken_before_stop_are_deleted() -> None:
    queue = FakeQueue([message(1)], [message(2, "run-1")])
    collector = Collector(queue, RecordingMailbox(), clock=FakeClock())
    collector.collect()
    collector.collect()
    assert queue.deleted == ["m1"]
    collector.stop()
    assert queue.deleted == ["m1", "m2"]


def wait_for_end(collector: Collector) -> None:
    collector._thread.join(60)


def test_the_thread_retries_transient_errors_and_reports_a_permanent_one() -> None:
    refused = CloudError("access denied")
    queue = FakeQueue(
        unreachable(), [message(1)], unreachable(), unreachable(), [message(2, "run-1")], refused
    )
    mailbox = RecordingMailbox()
    collector = Collector(queue, mailbox, backoff=Backoff(sleep=lambda _: None))
    collector.start()
    wait_for_end(collector)
    assert [a.request_id for a in mailbox.answers] == ["run-0", "run-1"]
    assert collector.failure is refused


def test_there_is_no_poll_while_no_response_is_expected() -> None:
    queue, mailbox = FakeQueue(), RecordingMailbox()
    mailbox.open = False
    collector = Collector(queue, mailbox)
    collector.start()
    for _ in range(3):
        assert mailbox.asked.acquire(timeout=60)
    collector.stop(grace=60)
    assert queue.waits == []


def test_a_collector_that_never_started_can_be_stopped() -> None:
    Collector(FakeQueue(), RecordingMailbox()).stop()


def ids(tail: Tail, limits: Limits) -> list[str]:
    return [result.request_id for result, _ in tail.results(limits)]


def test_tail_deletes_the_results_it_returned_and_releases_other_messages() -> None:
    queue = FakeQueue([message(1), received(2, "{}")], [received(2, "{}"), message(3, "run-1")])
    tail = Tail(queue, keep=False)
    assert ids(tail, Limits(most=2)) == ["run-0", "run-1"]
    assert queue.deleted == ["m1", "m3"]
    assert queue.released == ["m2", "m2"]
    assert tail.foreign == 1


def test_tail_returns_at_most_the_limit_and_releases_the_rest() -> None:
    queue = FakeQueue([message(n, f"run-{n}") for n in range(5)])
    assert ids(Tail(queue, keep=False), Limits(most=2)) == ["run-0", "run-1"]
    assert queue.deleted == ["m0", "m1"]
    assert queue.released == ["m2", "m3", "m4"]


def test_tail_drops_duplicates() -> None:
    queue = FakeQueue([message(1), message(2)], [message(3, "run-1")])
    assert ids(Tail(queue, keep=False), Limits(most=2)) == ["run-0", "run-1"]
    assert queue.deleted == ["m1", "m2", "m3"]


def test_tail_with_keep_deletes_nothing_and_returns_each_result_once() -> None:
    queue = FakeQueue([message(1)], [message(1), message(2, "run-1")])
    assert ids(Tail(queue, keep=True), Limits(most=2)) == ["run-0", "run-1"]
    assert queue.deleted == []
    assert queue.released == ["m1", "m1", "m2"]


def test_tail_waits_after_a_release() -> None:
    clock = FakeClock()
    queue = FakeQueue([message(1)], [message(2, "run-1")])
    tail = Tail(queue, keep=True, sleep=clock.sleep)
    assert ids(tail, Limits(most=2)) == ["run-0", "run-1"]
    assert clock.slept == [0.125, 0.125]


def test_tail_deletes_a_result_only_after_the_caller_has_processed_it() -> None:
    queue = FakeQueue([message(1), message(2, "run-1")])
    results = Tail(queue, keep=False).results()
    next(results)
    next(results)
    results.close()
    assert queue.deleted == ["m1"]
    assert queue.released == ["m2"]


def test_tail_ends_after_quiet_seconds_since_the_last_result() -> None:
    clock = FakeClock()
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
