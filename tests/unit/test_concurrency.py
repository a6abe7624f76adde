"""How many requests are on their way at once."""

from __future__ import annotations

import threading

import pytest

from facectl.stream.delivery import ConcurrencyLimiter


def test_all_may_pass_until_one_was_too_many() -> None:
    limiter = ConcurrencyLimiter(4)
    assert limiter.limit == 4
    with limiter.slot(), limiter.slot(), limiter.slot():
        limiter.throttled()
    assert limiter.limit == 2


def test_one_may_always_pass() -> None:
    limiter = ConcurrencyLimiter(3)
    for _ in range(5):
        with limiter.slot():
            limiter.throttled()
    assert limiter.limit == 1


@pytest.mark.parametrize(("limit", "requests"), [(1, 5), (2, 8), (3, 12)])
def test_more_are_tried_while_all_is_well(limit: int, requests: int) -> None:
    limiter = ConcurrencyLimiter(4)
    with limiter.slot():
        limiter.throttled()
    while limiter.limit < limit:
        limiter.succeeded()
    for _ in range(requests):
        limiter.succeeded()
    assert limiter.limit > limit


def test_never_more_than_were_allowed_at_first() -> None:
    limiter = ConcurrencyLimiter(2)
    for _ in range(100):
        limiter.succeeded()
    assert limiter.limit == 2


def test_who_comes_too_early_waits_for_a_place() -> None:
    limiter = ConcurrencyLimiter(1)
    passed = threading.Event()

    def second() -> None:
        with limiter.slot():
            passed.set()

    with limiter.slot():
        thread = threading.Thread(target=second)
        thread.start()
        assert not passed.wait(0.2)
    assert passed.wait(60)
    thread.join()


def test_a_place_is_given_back_when_the_request_fails() -> None:
    limiter = ConcurrencyLimiter(1)
    with pytest.raises(OSError, match="broken"), limiter.slot():
        raise OSError("broken")
    with limiter.slot():
        assert limiter.limit == 1
