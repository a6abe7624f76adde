"""Retries: the delays between attempts, and the limits that end them."""

from __future__ import annotations

import math

import pytest
from fake_clock import FakeClock

from facectl.errors import CloudError, NotRunningError
from facectl.retry import Backoff, exponential, jittered


def unreachable() -> NotRunningError:
    return NotRunningError("no answer")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_delays_grow_up_to_the_longest_until_the_limit_is_reached(clock: FakeClock) -> None:
    backoff = Backoff(limit=10, clock=clock, sleep=clock.sleep)
    error = unreachable()
    failures = 0
    while clock.now <= 10:
        backoff.wait_or_raise(error)
        failures += 1
    with pytest.raises(NotRunningError) as raised:
        backoff.wait_or_raise(error)
    assert raised.value is error
    assert len(clock.slept) == failures
    assert clock.slept[:5] == pytest.approx([0.2, 0.4, 0.8, 1.6, 2.0])
    assert clock.now <= 12


def test_without_time_there_is_one_retry(clock: FakeClock) -> None:
    backoff = Backoff(limit=0, clock=clock, sleep=clock.sleep)
    backoff.wait_or_raise(unreachable())
    with pytest.raises(NotRunningError):
        backoff.wait_or_raise(unreachable())
    assert clock.slept == [0.2]


def test_a_success_resets_delay_and_limit(clock: FakeClock) -> None:
    backoff = Backoff(limit=10, clock=clock, sleep=clock.sleep)
    for _ in range(50):
        backoff.wait_or_raise(unreachable())
        backoff.reset()
    assert set(clock.slept) == {0.2}


def test_a_permanent_error_is_raised_at_once(clock: FakeClock) -> None:
    backoff = Backoff(clock=clock, sleep=clock.sleep)
    with pytest.raises(CloudError, match="access denied"), backoff.attempt():
        raise CloudError("access denied")
    assert clock.slept == []


def test_the_number_of_attempts_is_limited(clock: FakeClock) -> None:
    backoff = Backoff(attempts=3, limit=math.inf, clock=clock, sleep=clock.sleep)
    calls = 0

    def fail() -> None:
        nonlocal calls
        calls += 1
        raise unreachable()

    with pytest.raises(NotRunningError):
        backoff.call(fail)
    assert calls == 3
    assert clock.slept == [0.2, 0.4]


def test_a_call_returns_the_first_result(clock: FakeClock) -> None:
    outcomes: list[Exception | int] = [unreachable(), unreachable(), 7]

    def attempt() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    backoff = Backoff(clock=clock, sleep=clock.sleep)
    assert backoff.call(attempt) == 7
    backoff.wait_or_raise(unreachable())
    assert clock.slept == [0.2, 0.4, 0.2]


def test_a_block_that_failed_is_left_after_the_delay(clock: FakeClock) -> None:
    backoff = Backoff(clock=clock, sleep=clock.sleep)
    with backoff.attempt():
        raise unreachable()
    with pytest.raises(ValueError, match="a defect"), backoff.attempt():
        raise ValueError("a defect")
    assert clock.slept == [0.2]


def test_the_delay_comes_on_top_of_what_the_server_asks_for(clock: FakeClock) -> None:
    Backoff(clock=clock, sleep=clock.sleep).wait_or_raise(unreachable(), at_least=3)
    assert clock.slept == [3.2]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_sleep_that_was_interrupted_is_reported(stopped: bool) -> None:
    assert Backoff(sleep=lambda _: stopped).wait_or_raise(unreachable()) is stopped


def test_the_first_delays_can_be_equal() -> None:
    delay = exponential(0.5, 8.0, steady=3)
    assert [delay(failures) for failures in range(1, 9)] == [0.5, 0.5, 0.5, 1, 2, 4, 8, 8]


def test_jitter_is_full() -> None:
    delay = jittered(exponential(0.25, 8.0), lambda: 0.5)
    assert [delay(failures) for failures in (1, 2, 3, 9)] == [0.125, 0.25, 0.5, 4.0]
    assert jittered(exponential(0.25, 8.0), lambda: 0.0)(3) == 0
