"""Every frame gets exactly one outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from facectl.errors import FacectlError
from facectl.stream.frames import Frame
from facectl.stream.in_flight import InFlightTracker
from facectl.stream.outcomes import AcceptedPost, FrameOutcome, Status
from lambda_src.contract import FrameResult


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Record:
    """A record with a fixed run id, which remembers what was recorded."""

    run = "run"

    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []

    def sent(self, index: int, name: str, timestamp: float) -> None:
        self.lines.append(("sent", index))

    def accepted(self, index: int, delivery: AcceptedPost) -> None:
        self.lines.append(("accepted", index))

    def done(self, outcome: FrameOutcome) -> None:
        self.lines.append((outcome.status, outcome.index))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracker(clock: Clock) -> InFlightTracker:
    return InFlightTracker(record=Record(), window=3, timeout=60, clock=clock)


@pytest.fixture
def outcomes(tracker: InFlightTracker) -> list[FrameOutcome]:
    found: list[FrameOutcome] = []
    tracker.listen(found.append)
    return found


def sent_earlier(index: int, delivery: AcceptedPost | None = None) -> FrameOutcome:
    """A frame that an earlier process of the run sent, without a final outcome."""
    status: Status = "unsent" if delivery is None else "in-flight"
    request_id = f"run-{index:06d}"
    return FrameOutcome(index, f"f{index}", request_id, index / 10, status, delivery=delivery)


def opened(tracker: InFlightTracker, index: int, due: float | None = None) -> str:
    request_id = tracker.open(Frame(index, f"f{index}", index / 10), due, stop=lambda: False)
    assert request_id is not None
    return request_id


def answer(request_id: str) -> FrameResult:
    return FrameResult(request_id, "Eileen")


DELIVERY = AcceptedPost(1, 1, 0.02)


def test_latency_counts_from_when_the_frame_was_due(
    tracker: InFlightTracker, outcomes: list[FrameOutcome], clock: Clock
) -> None:
    late = opened(tracker, 0, due=98.0)
    prompt = opened(tracker, 1)
    for request_id in (late, prompt):
        tracker.accepted(request_id, DELIVERY)
    tracker.answered(answer(prompt), 100.5)
    tracker.answered(answer(late), 101.0)
    assert [(o.index, o.status, o.latency) for o in outcomes] == [
        (1, "answered", 0.5),
        (0, "answered", 3.0),
    ]
    assert outcomes[0].delivery == DELIVERY
    assert tracker.settle(0)


def test_an_answer_may_come_before_its_post_returns(
    tracker: InFlightTracker, outcomes: list[FrameOutcome]
) -> None:
    request_id = opened(tracker, 0)
    tracker.answered(answer(request_id), 100.1)
    tracker.accepted(request_id, DELIVERY)
    assert [o.status for o in outcomes] == ["answered"]
    assert (tracker.counts.accepted, tracker.counts.answered, tracker.counts.waiting) == (1, 1, 0)


def test_a_second_answer_is_only_counted(
    tracker: InFlightTracker, outcomes: list[FrameOutcome]
) -> None:
    request_id = opened(tracker, 0)
    for _ in range(3):
        tracker.answered(answer(request_id), 100.1)
    assert len(outcomes) == 1
    assert tracker.counts.duplicates == 2


def test_an_answer_still_counts_after_every_attempt_failed(
    tracker: InFlightTracker, outcomes: list[FrameOutcome]
) -> None:
    request_id = opened(tracker, 0)
    tracker.undelivered(request_id, "the connection broke")
    tracker.answered(answer(request_id), 100.1)
    tracker.close(interrupted=False)
    assert [(o.status, o.error) for o in outcomes] == [("answered", None)]


def test_closing_gives_every_pending_frame_an_outcome(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), clock=clock)
    found: list[FrameOutcome] = []
    tracker.listen(found.append)
    ids = [opened(tracker, n) for n in range(4)]
    tracker.accepted(ids[0], DELIVERY)
    tracker.refused(ids[1], "400: no")
    tracker.undelivered(ids[2], "503: no")
    tracker.close(interrupted=False)
    assert {o.index: (o.status, o.error) for o in found} == {
        0: ("unanswered", None),
        1: ("refused", "400: no"),
        2: ("failed", "503: no"),
        3: ("unsent", None),
    }


def test_an_accepted_frame_is_in_flight_when_the_run_is_interrupted(
    tracker: InFlightTracker, outcomes: list[FrameOutcome]
) -> None:
    tracker.accepted(opened(tracker, 0), DELIVERY)
    tracker.close(interrupted=True)
    assert [o.status for o in outcomes] == ["in-flight"]


def test_without_wait_accepted_is_the_outcome() -> None:
    tracker = InFlightTracker(wait=False)
    found: list[FrameOutcome] = []
    tracker.listen(found.append)
    tracker.accepted(opened(tracker, 0), DELIVERY)
    tracker.undelivered(opened(tracker, 1), "503: no")
    assert [o.status for o in found] == ["accepted", "failed"]
    assert tracker.settle(0)


def test_at_most_a_window_of_frames_is_in_flight(tracker: InFlightTracker) -> None:
    ids = [opened(tracker, n) for n in range(3)]
    assert tracker.full
    assert tracker.open(Frame(3, "f3", 0.0), None, stop=lambda: True) is None
    got: list[str] = []
    waiting = threading.Thread(target=lambda: got.append(opened(tracker, 3)))
    waiting.start()
    tracker.answered(answer(ids[1]), 100.1)
    waiting.join(5)
    assert got == ["run-000003"]


def test_an_answer_that_a_listener_rejects_is_not_counted(tracker: InFlightTracker) -> None:
    request_id = opened(tracker, 0)

    def broken(_: FrameOutcome) -> None:
        raise OSError("disk full")

    tracker.listen(broken)
    with pytest.raises(OSError, match="disk full"):
        tracker.answered(answer(request_id), 100.1)
    assert tracker.counts.answered == 0


def test_two_runs_do_not_own_each_others_answers() -> None:
    first, second = InFlightTracker(), InFlightTracker()
    request_id = opened(first, 0)
    assert first.owns(request_id)
    assert not second.owns(request_id)


def test_a_resent_frame_counts_once_in_any_order_of_events(clock: Clock) -> None:
    for resent in (False, True):
        for answered_first in (False, True):
            tracker = InFlightTracker(record=Record(), clock=clock)
            found: list[FrameOutcome] = []
            tracker.listen(found.append)
            tracker.restore(sent_earlier(0))
            assert tracker.unconfirmed(0) == {0}
            request_id = "run-000000"
            if resent:
                assert opened(tracker, 0) == request_id
                if not answered_first:
                    tracker.accepted(request_id, DELIVERY)
            tracker.answered(answer(request_id), 101.0)
            if resent and answered_first:
                tracker.accepted(request_id, DELIVERY)
            counts = tracker.counts
            assert (counts.opened, counts.accepted, counts.answered, counts.waiting) == (1, 1, 1, 0)
            # When its wait began is not known.
            assert [(o.status, o.latency) for o in found] == [("answered", None)]


def test_restored_outcomes_are_passed_on_once(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), clock=clock)
    found: list[FrameOutcome] = []
    tracker.listen(found.append)
    tracker.restore(FrameOutcome(0, "f0", "run-000000", 0.0, "answered", answer("run-000000"), 0.5))
    tracker.restore(FrameOutcome(1, "f1", "run-000001", 0.0, "refused", error="400: no"))
    tracker.restore(FrameOutcome(3, "f3", "run-000003", 0.0, "accepted"))
    tracker.restore(sent_earlier(2, DELIVERY))
    tracker.answered(answer("run-000000"), 101.0)
    tracker.answered(answer("run-000002"), 101.0)
    counts = tracker.counts
    assert (counts.opened, counts.accepted, counts.answered, counts.refused) == (4, 3, 2, 1)
    assert (counts.duplicates, counts.earlier, counts.waiting) == (1, 3, 0)
    assert [o.index for o in found] == [0, 1, 3, 2]


def statuses(outcomes: list[FrameOutcome]) -> list[tuple[int, str]]:
    return [(outcome.index, outcome.status) for outcome in outcomes]


def test_a_frame_whose_deadline_passes_is_unanswered_and_leaves_the_window(
    tracker: InFlightTracker, outcomes: list[FrameOutcome], clock: Clock
) -> None:
    for index in range(3):
        tracker.accepted(opened(tracker, index), DELIVERY)
        clock.now += 1
    assert tracker.full
    clock.now = 160.0
    tracker.expire()
    assert outcomes == []
    clock.now = 160.5
    assert opened(tracker, 3) == "run-000003"
    assert statuses(outcomes) == [(0, "unanswered")]
    assert outcomes[0].latency is None
    assert tracker.counts.waiting == 2
    assert tracker.full


def test_a_window_of_one_continues_after_an_unanswered_frame(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), window=1, timeout=5, clock=clock)
    found: list[FrameOutcome] = []
    tracker.listen(found.append)
    for index in range(20):
        request_id = opened(tracker, index)
        tracker.accepted(request_id, DELIVERY)
        if index % 4:
            tracker.answered(answer(request_id), clock.now)
        else:
            clock.now += 5.1
    assert [o.status for o in found] == ["unanswered", *["answered"] * 3] * 5
    assert not tracker.hopeless


def test_a_late_answer_is_counted_and_passed_on_once(clock: Clock) -> None:
    record = Record()
    tracker = InFlightTracker(record=record, timeout=60, clock=clock)
    found: list[FrameOutcome] = []
    late: list[FrameOutcome] = []
    tracker.listen(found.append, late=late.append)
    request_id = opened(tracker, 0)
    tracker.accepted(request_id, DELIVERY)
    clock.now = 161.0
    # Decided by when it arrived, not by when somebody looked.
    tracker.answered(answer(request_id), 161.0)
    assert tracker.owns(request_id)
    tracker.answered(answer(request_id), 161.5)
    assert statuses(found) == [(0, "unanswered")]
    assert [(o.status, o.answer, o.latency) for o in late] == [("late", answer(request_id), 61.0)]
    assert record.lines == [("sent", 0), ("accepted", 0), ("unanswered", 0), ("late", 0)]
    counts = tracker.counts
    assert (counts.late, counts.duplicates, counts.answered, counts.accepted) == (1, 1, 0, 1)
    tracker.close(interrupted=False)
    assert len(found) == 1


def test_an_answer_at_the_deadline_is_in_time(
    tracker: InFlightTracker, outcomes: list[FrameOutcome], clock: Clock
) -> None:
    request_id = opened(tracker, 0)
    tracker.accepted(request_id, DELIVERY)
    tracker.answered(answer(request_id), 160.0)
    assert [(o.status, o.latency) for o in outcomes] == [("answered", 60.0)]


def test_a_frame_behind_a_long_queue_gets_more_time(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), timeout=60, clock=clock)
    found: list[FrameOutcome] = []
    tracker.listen(found.append)
    ids = [opened(tracker, index) for index in range(10)]
    for request_id in ids:
        tracker.accepted(request_id, DELIVERY)
    for request_id in ids:
        clock.now += 50
        tracker.answered(answer(request_id), clock.now)
    assert {o.status for o in found} == {"answered"}


def test_answers_to_later_frames_give_an_overtaken_frame_no_more_time(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), timeout=60, clock=clock)
    found: list[FrameOutcome] = []
    tracker.listen(found.append)
    tracker.accepted(opened(tracker, 0), DELIVERY)
    for index in range(1, 8):
        request_id = opened(tracker, index)
        tracker.accepted(request_id, DELIVERY)
        clock.now += 10
        tracker.answered(answer(request_id), clock.now)
    # The answer at 161 decides it.
    assert statuses(found)[5:] == [(6, "answered"), (0, "unanswered"), (7, "answered")]


def test_a_late_answer_gives_later_frames_more_time(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), timeout=60, clock=clock)
    found: list[FrameOutcome] = []
    tracker.listen(found.append)
    first, second = (opened(tracker, index) for index in range(2))
    tracker.accepted(first, DELIVERY)
    clock.now += 5
    tracker.accepted(second, DELIVERY)
    clock.now = 162.0
    tracker.answered(answer(first), 162.0)
    clock.now = 220.0
    tracker.answered(answer(second), 220.0)
    assert statuses(found) == [(0, "unanswered"), (1, "answered")]


def test_a_failed_frame_leaves_the_window_before_its_outcome(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), window=2, timeout=60, clock=clock)
    found: list[FrameOutcome] = []
    tracker.listen(found.append)
    for index in range(2):
        tracker.undelivered(opened(tracker, index), "503: busy")
        assert not tracker.full
        clock.now += 1
    assert found == []
    assert tracker.expecting(0)
    assert tracker.settle(0)
    # Of failed frames too no more are held than the window has.
    tracker.undelivered(opened(tracker, 2), "503: busy")
    assert [(o.index, o.status, o.error) for o in found] == [(0, "failed", "503: busy")]
    tracker.answered(answer("run-000001"), clock.now)
    clock.now = 163.0
    tracker.expire()
    assert statuses(found)[1:] == [(1, "answered"), (2, "failed")]
    assert not tracker.expecting(0)
    tracker.answered(answer("run-000002"), clock.now)
    counts = tracker.counts
    # An answer proves that the frame was taken after all.
    assert (counts.late, counts.answered, counts.accepted) == (1, 1, 2)


@pytest.mark.parametrize("verdict", ["refused", "undelivered"])
def test_an_answered_frame_was_accepted_whatever_its_post_reported(
    tracker: InFlightTracker, outcomes: list[FrameOutcome], verdict: str
) -> None:
    request_id = opened(tracker, 0)
    tracker.answered(answer(request_id), 100.1)
    getattr(tracker, verdict)(request_id, "the connection broke")
    assert [o.status for o in outcomes] == ["answered"]
    assert (tracker.counts.accepted, tracker.counts.answered) == (1, 1)


def test_late_answers_are_recognized_for_the_latest_frames_only(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), window=20_000, clock=clock)
    late: list[int] = []
    tracker.listen(lambda _: None, late=lambda outcome: late.append(outcome.index))
    ids = [opened(tracker, index) for index in range(10_001)]
    for request_id in ids:
        tracker.accepted(request_id, DELIVERY)
    clock.now += 61
    for request_id in ids:
        tracker.answered(answer(request_id), clock.now)
    assert late == list(range(1, 10_001))
    assert (tracker.counts.late, tracker.counts.duplicates) == (10_000, 1)


def test_the_default_window_is_1000_and_the_timeout_60_s(clock: Clock) -> None:
    tracker = InFlightTracker(clock=clock)
    for index in range(1000):
        tracker.accepted(opened(tracker, index), DELIVERY)
    assert tracker.open(Frame(1000, "f", 0.0), None, stop=lambda: True) is None
    clock.now = 160.0
    assert not tracker.settle(0)
    clock.now = 160.1
    assert tracker.settle(0)


def lose(tracker: InFlightTracker, clock: Clock, first: int, count: int) -> None:
    """Let frames pass their deadlines, a second apart, 60.5 s after they were accepted."""
    for index in range(first, first + count):
        tracker.accepted(opened(tracker, index), DELIVERY)
        clock.now += 1
    clock.now += 60.5 - count
    for _ in range(count):
        tracker.expire()
        clock.now += 1
    clock.now -= 1


def test_a_run_is_hopeless_after_eight_in_a_row_and_another_timeout(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), timeout=60, clock=clock)
    lose(tracker, clock, 0, 7)
    clock.now += 500
    assert not tracker.hopeless, "seven"

    tracker = InFlightTracker(record=Record(), timeout=60, clock=clock)
    clock.now = 100.0
    lose(tracker, clock, 0, 8)
    # The first of them was given up at 160.5.
    clock.now = 220.5
    assert not tracker.hopeless
    clock.now = 220.6
    assert tracker.hopeless


@pytest.mark.parametrize("late", [True, False])
def test_any_answer_restarts_the_hopeless_count(clock: Clock, late: bool) -> None:
    tracker = InFlightTracker(record=Record(), timeout=60, clock=clock)
    lose(tracker, clock, 0, 8)
    if not late:
        tracker.accepted(opened(tracker, 100), DELIVERY)
    clock.now += 59
    tracker.answered(answer("run-000003" if late else "run-000100"), clock.now)
    clock.now += 500
    assert not tracker.hopeless
    lose(tracker, clock, 10, 7)
    clock.now += 500
    assert not tracker.hopeless, "seven since then"
    lose(tracker, clock, 20, 1)
    clock.now += 500
    assert tracker.hopeless


def test_duplicates_are_expected_while_they_are_drained(
    tracker: InFlightTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, float | None, bool]] = []
    wait_for = tracker._changed.wait_for

    def waiting(predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        monkeypatch.setattr(tracker._changed, "wait_for", wait_for)
        seen.append((predicate(), timeout, tracker.expecting(0)))
        return False

    monkeypatch.setattr(tracker._changed, "wait_for", waiting)
    tracker.drain_duplicates(2.5)
    assert seen == [(False, 2.5, True)]
    assert not tracker.expecting(0)


def test_closing_calls_every_listener_and_raises_the_first_error(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), clock=clock)
    found: list[FrameOutcome] = []
    attempts: list[int] = []

    def full(outcome: FrameOutcome) -> None:
        attempts.append(outcome.index)
        raise FacectlError(f"disk full at {outcome.index}")

    tracker.listen(full)
    tracker.listen(found.append)
    for index in range(3):
        tracker.accepted(opened(tracker, index), DELIVERY)
    with pytest.raises(FacectlError, match="disk full at 0"):
        tracker.close(interrupted=False)
    assert attempts == [0, 1, 2]
    assert statuses(found) == [(0, "unanswered"), (1, "unanswered"), (2, "unanswered")]
    assert tracker.counts.waiting == 0


def test_each_listener_gets_one_outcome_even_if_another_failed_in_between(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), clock=clock)
    first: list[FrameOutcome] = []
    last: list[FrameOutcome] = []
    broken = [True]

    def sometimes(_: FrameOutcome) -> None:
        if broken[0]:
            raise OSError("disk full")

    for listener in (first.append, sometimes, last.append):
        tracker.listen(listener)
    request_id = opened(tracker, 0)
    tracker.accepted(request_id, DELIVERY)
    with pytest.raises(OSError, match="disk full"):
        tracker.answered(answer(request_id), 100.1)
    assert tracker.counts.waiting == 1
    broken[0] = False
    tracker.close(interrupted=False)
    assert (len(first), len(last)) == (1, 1)


def test_after_closing_nothing_counts_and_nothing_is_owned(
    tracker: InFlightTracker, outcomes: list[FrameOutcome]
) -> None:
    ids = [opened(tracker, index) for index in range(3)]
    tracker.close(interrupted=True)
    tracker.accepted(ids[0], DELIVERY)
    tracker.refused(ids[1], "400")
    tracker.undelivered(ids[2], "503")
    assert statuses(outcomes) == [(0, "unsent"), (1, "unsent"), (2, "unsent")]
    assert (tracker.counts.accepted, tracker.counts.refused) == (0, 0)
    assert not tracker.owns(ids[0])
    assert tracker.open(Frame(9, "f9", 0.0), None, stop=lambda: False) is None


def test_unconfirmed_frames_are_not_in_the_window(clock: Clock) -> None:
    """A resumed run with more of them than the window would wait for ever."""
    tracker = InFlightTracker(record=Record(), window=2, clock=clock)
    for index in range(5):
        tracker.restore(sent_earlier(index))
    assert tracker.unconfirmed(0) == set(range(5))
    assert tracker.expecting(0)
    for index in (5, 0):
        tracker.accepted(opened(tracker, index), DELIVERY)
    assert tracker.full
    assert tracker.unconfirmed(0) == {1, 2, 3, 4}
    tracker.answered(answer("run-000004"), 100.0)
    assert (tracker.counts.opened, tracker.counts.accepted) == (6, 3)


def test_a_full_window_checks_stop_ten_times_a_second(
    tracker: InFlightTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        opened(tracker, index)
    waits: list[float | None] = []
    monkeypatch.setattr(tracker._changed, "wait", waits.append)
    stop = iter([False, False, True])
    assert tracker.open(Frame(3, "f3", 0.0), None, stop=lambda: next(stop)) is None
    assert waits == [0.1, 0.1]


def test_restored_outcomes_count_by_their_status(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), clock=clock)
    tracker.restore(FrameOutcome(0, "f0", "run-000000", 0.0, "accepted"))
    assert (tracker.counts.accepted, tracker.counts.answered, tracker.counts.refused) == (1, 0, 0)
    tracker.restore(FrameOutcome(1, "f1", "run-000001", 0.0, "refused", error="400: no"))
    assert (tracker.counts.accepted, tracker.counts.answered, tracker.counts.refused) == (1, 0, 1)
    tracker.restore(FrameOutcome(2, "f2", "run-000002", 0.0, "answered", answer("run-000002"), 0.5))
    assert (tracker.counts.accepted, tracker.counts.answered, tracker.counts.refused) == (2, 1, 1)
    assert (tracker.counts.opened, tracker.counts.earlier) == (3, 3)


def test_a_run_stays_hopeless_however_many_are_lost(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), timeout=60, clock=clock)
    lose(tracker, clock, 0, 20)
    # The first of twenty was given up at 160.5.
    clock.now = 220.5
    assert not tracker.hopeless
    clock.now = 220.6
    assert tracker.hopeless


def test_restored_frames_have_no_latency(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), timeout=60, clock=clock)
    found: list[FrameOutcome] = []
    late: list[FrameOutcome] = []
    tracker.listen(found.append, late=late.append)
    for index in range(2):
        tracker.restore(sent_earlier(index, DELIVERY))
    assert (tracker.counts.opened, tracker.counts.accepted, tracker.counts.waiting) == (2, 2, 2)
    tracker.answered(answer("run-000000"), 130.0)
    clock.now = 191.0
    tracker.answered(answer("run-000001"), 191.0)
    assert [(o.status, o.latency, o.timestamp) for o in (*found, *late)] == [
        ("answered", None, 0.0),
        ("unanswered", None, 0.1),
        ("late", None, 0.1),
    ]


def test_a_late_answer_to_a_failed_frame_moves_no_deadline(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), timeout=60, clock=clock)
    found: list[FrameOutcome] = []
    tracker.listen(found.append)
    tracker.undelivered(opened(tracker, 0), "503: busy")
    clock.now = 130.0
    tracker.accepted(opened(tracker, 1), DELIVERY)
    clock.now = 161.0
    tracker.answered(answer("run-000000"), 161.0)
    assert (tracker.counts.accepted, tracker.counts.late) == (2, 1)
    clock.now = 190.5
    tracker.expire()
    assert statuses(found) == [(0, "failed"), (1, "unanswered")]


def test_a_run_that_does_not_wait_holds_no_frame_that_failed(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), wait=False, clock=clock)
    found: list[FrameOutcome] = []
    tracker.listen(found.append)
    tracker.undelivered(opened(tracker, 0), "503: busy")
    tracker.refused(opened(tracker, 1), "400: no")
    tracker.accepted(opened(tracker, 2), DELIVERY)
    assert statuses(found) == [(0, "failed"), (1, "refused"), (2, "accepted")]
    assert not tracker.expecting(0)
    tracker.close(interrupted=False)
    assert len(found) == 3


def test_pending_frames_have_no_dict(tracker: InFlightTracker) -> None:
    opened(tracker, 0)
    assert not hasattr(tracker._pending["run-000000"], "__dict__")


def test_unconfirmed_frames_are_waited_for(clock: Clock) -> None:
    tracker = InFlightTracker(record=Record(), clock=clock)
    tracker.restore(sent_earlier(0))
    answering = threading.Timer(0.05, lambda: tracker.answered(answer("run-000000"), 100.1))
    answering.start()
    # Far longer than the answer takes on any machine; it ends the wait.
    assert tracker.unconfirmed(600) == frozenset()
    answering.join()
