"""How many requests are on their way at once."""

from __future__ import annotations

import threading

import pytest

from facectl.stream.gate import Gate


def test_all_may_pass_until_one_was_too_many() -> None:
    gate = Gate(4)
    assert gate.limit == 4
    with gate.passing(), gate.passing(), gate.passing():
        gate.was_too_much()
    assert gate.limit == 2


def test_one_may_always_pass() -> None:
    gate = Gate(3)
    for _ in range(5):
        with gate.passing():
            gate.was_too_much()
    assert gate.limit == 1


@pytest.mark.parametrize(("limit", "requests"), [(1, 5), (2, 8), (3, 12)])
def test_more_are_tried_while_all_is_well(limit: int, requests: int) -> None:
    gate = Gate(4)
    with gate.passing():
        gate.was_too_much()
    while gate.limit < limit:
        gate.went_well()
    for _ in range(requests):
        gate.went_well()
    assert gate.limit > limit


def test_never_more_than_were_allowed_at_first() -> None:
    gate = Gate(2)
    for _ in range(100):
        gate.went_well()
    assert gate.limit == 2


def test_who_comes_too_early_waits_for_a_place() -> None:
    gate = Gate(1)
    passed = threading.Event()

    def second() -> None:
        with gate.passing():
            passed.set()

    with gate.passing():
        thread = threading.Thread(target=second)
        thread.start()
        assert not passed.wait(0.2)
    assert passed.wait(60)
    thread.join()


def test_a_place_is_given_back_when_the_request_fails() -> None:
    gate = Gate(1)
    with pytest.raises(OSError, match="broken"), gate.passing():
        raise OSError("broken")
    with gate.passing():
        assert gate.limit == 1
