"""The limit of concurrent requests: lower after a 429, higher after successes."""

from __future__ import annotations

import threading

import pytest

from facectl.stream.delivery import ConcurrencyLimiter


def test_the_limit_is_the_maximum_until_the_first_429() -> None:
    limiter = ConcurrencyLimiter(4)
    assert limiter.limit == 4
    with limiter.slot(), limiter.slot(), limiter.slot():
        limiter.throttled()
    assert limiter.limit == 2


def test_the_limit_is_at_least_one() -> None:
    limiter = ConcurrencyLimiter(3)
    for _ in range(5):
        with limiter.slot():
            limiter.throttled()
    assert limiter.limit == 1


@pytest.mark.parametrize(("limit", "requests"), [(1, 5), (2, 8), (3, 12)])
def test_the_limit_grows_while_requests_succeed(limit: int, requests: int) -> None:
    limiter = ConcurrencyLimiter(4)
    with limiter.slot():
        limiter.throttled()
    while limiter.limit < limit:
        limiter.succeeded()
    for _ in range(requests):
        limiter.succeeded()
    assert limiter.limit > limit


def test_the_limit_never_exceeds_the_maximum() -> None:
    limiter = ConcurrencyLimiter(2)
    for _ in range(100):
        limiter.succeeded()
    assert limiter.limit == 2


def test_a_request_above_the_limit_waits_for_a_slot() -> None:
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


def test_a_failed_request_frees_its_slot() -> None:
    limiter = ConcurrencyLimiter(1)
    with pytest.raises(OSError, match="broken"), limiter.slot():
        raise OSError("broken")
    with limiter.slot():
        assert limiter.limit == 1
