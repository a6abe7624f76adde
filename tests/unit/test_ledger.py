"""Every frame ends in exactly one outcome."""

from __future__ import annotations

import threading

import pytest

from facectl.stream.frames import Frame
from facectl.stream.ledger import Delivery, Ledger, Outcome
from lambda_src.contract import FrameResult


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> Ledger:
    return Ledger(run="run", window=3, clock=clock)


@pytest.fixture
def outcomes(ledger: Ledger) -> list[Outcome]:
    found: list[Outcome] = []
    ledger.listen(found.append)
    return found


def opened(ledger: Ledger, index: int, due: float | None = None) -> str:
    request_id = ledger.open(Frame(index, f"f{index}", index / 10), due, stop=lambda: False)
    assert request_id is not None
    return request_id


def answer(request_id: str) -> FrameResult:
    return FrameResult(request_id, "Eileen")


DELIVERY = Delivery(1, 1, 0.02)


def test_latency_counts_from_when_the_frame_was_due(
    ledger: Ledger, outcomes: list[Outcome], clock: Clock
) -> None:
    late = opened(ledger, 0, due=98.0)
    prompt = opened(ledger, 1)
    for request_id in (late, prompt):
        ledger.accepted(request_id, DELIVERY)
    ledger.answered(answer(prompt), 100.5)
    ledger.answered(answer(late), 101.0)
    assert [(o.index, o.status, o.latency) for o in outcomes] == [
        (1, "answered", 0.5),
        (0, "answered", 3.0),
    ]
    assert outcomes[0].delivery == DELIVERY
    assert ledger.settle(0)


def test_an_answer_may_come_before_its_post_returns(
    ledger: Ledger, outcomes: list[Outcome]
) -> None:
    request_id = opened(ledger, 0)
    ledger.answered(answer(request_id), 100.1)
    ledger.accepted(request_id, DELIVERY)
    assert [o.status for o in outcomes] == ["answered"]
    assert (ledger.counts.accepted, ledger.counts.answered, ledger.counts.waiting) == (1, 1, 0)


def test_a_second_answer_is_only_counted(ledger: Ledger, outcomes: list[Outcome]) -> None:
    request_id = opened(ledger, 0)
    for _ in range(3):
        ledger.answered(answer(request_id), 100.1)
    assert len(outcomes) == 1
    assert ledger.counts.duplicates == 2


def test_an_answer_still_counts_after_every_attempt_failed(
    ledger: Ledger, outcomes: list[Outcome]
) -> None:
    request_id = opened(ledger, 0)
    ledger.undelivered(request_id, "the connection broke")
    ledger.answered(answer(request_id), 100.1)
    ledger.close(interrupted=False)
    assert [(o.status, o.error) for o in outcomes] == [("answered", None)]


def test_closing_decides_the_fate_of_the_rest(clock: Clock) -> None:
    ledger = Ledger(run="run", clock=clock)
    found: list[Outcome] = []
    ledger.listen(found.append)
    ids = [opened(ledger, n) for n in range(4)]
    ledger.accepted(ids[0], DELIVERY)
    ledger.refused(ids[1], "400: no")
    ledger.undelivered(ids[2], "503: no")
    ledger.close(interrupted=False)
    assert {o.index: (o.status, o.error) for o in found} == {
        0: ("unanswered", None),
        1: ("refused", "400: no"),
        2: ("failed", "503: no"),
        3: ("unsent", None),
    }


def test_what_was_accepted_when_the_reader_stopped_is_in_flight(
    ledger: Ledger, outcomes: list[Outcome]
) -> None:
    ledger.accepted(opened(ledger, 0), DELIVERY)
    ledger.close(interrupted=True)
    assert [o.status for o in outcomes] == ["in-flight"]


def test_without_waiting_acceptance_is_the_end() -> None:
    ledger = Ledger(wait=False)
    found: list[Outcome] = []
    ledger.listen(found.append)
    ledger.accepted(opened(ledger, 0), DELIVERY)
    ledger.undelivered(opened(ledger, 1), "503: no")
    assert [o.status for o in found] == ["accepted", "failed"]
    assert ledger.settle(0)


def test_no_more_than_the_window_is_on_its_way(ledger: Ledger) -> None:
    ids = [opened(ledger, n) for n in range(3)]
    assert ledger.full
    assert ledger.open(Frame(3, "f3", 0.0), None, stop=lambda: True) is None
    got: list[str] = []
    waiting = threading.Thread(target=lambda: got.append(opened(ledger, 3)))
    waiting.start()
    ledger.answered(answer(ids[1]), 100.1)
    waiting.join(5)
    assert got == ["run-000003"]


def test_what_a_listener_could_not_take_has_not_arrived(ledger: Ledger) -> None:
    request_id = opened(ledger, 0)

    def broken(_: Outcome) -> None:
        raise OSError("disk full")

    ledger.listen(broken)
    with pytest.raises(OSError, match="disk full"):
        ledger.answered(answer(request_id), 100.1)
    assert ledger.counts.answered == 0


def test_two_runs_do_not_own_each_others_answers() -> None:
    first, second = Ledger(), Ledger()
    request_id = opened(first, 0)
    assert first.owns(request_id)
    assert not second.owns(request_id)


def test_a_frame_sent_again_counts_once_whichever_comes_first(clock: Clock) -> None:
    for resent in (False, True):
        for answered_first in (False, True):
            ledger = Ledger(run="run", clock=clock)
            found: list[Outcome] = []
            ledger.listen(found.append)
            ledger.restore(0, "f0", 0.0, None)
            assert ledger.unsure(0) == {0}
            request_id = "run-000000"
            if resent:
                assert opened(ledger, 0) == request_id
                if not answered_first:
                    ledger.accepted(request_id, DELIVERY)
            ledger.answered(answer(request_id), 101.0)
            if resent and answered_first:
                ledger.accepted(request_id, DELIVERY)
            counts = ledger.counts
            assert (counts.opened, counts.accepted, counts.answered, counts.waiting) == (1, 1, 1, 0)
            # Since when it was waited for, nobody knows.
            assert [(o.status, o.latency) for o in found] == [("answered", None)]


def test_what_an_earlier_process_came_to_is_told_once(clock: Clock) -> None:
    ledger = Ledger(run="run", clock=clock)
    found: list[Outcome] = []
    ledger.listen(found.append)
    ledger.replay(Outcome(0, "f0", "run-000000", 0.0, "answered", answer("run-000000"), 0.5))
    ledger.replay(Outcome(1, "f1", "run-000001", 0.0, "refused", error="400: no"))
    ledger.restore(2, "f2", 0.0, DELIVERY)
    ledger.answered(answer("run-000000"), 101.0)
    ledger.answered(answer("run-000002"), 101.0)
    counts = ledger.counts
    assert (counts.opened, counts.accepted, counts.answered, counts.refused) == (3, 2, 2, 1)
    assert (counts.duplicates, counts.earlier, counts.waiting) == (1, 2, 0)
    assert [o.index for o in found] == [0, 1, 2]
