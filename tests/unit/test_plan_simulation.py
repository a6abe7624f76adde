"""The simulation in steps: queues, cold starts, throttling, retries, faults, and conservation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from plan_samples import ONE_VCPU, ROUND, capacity

from facectl.bench.workload import Workload
from facectl.plan.formulas import Capacity, Pollers
from facectl.plan.inputs import Settings
from facectl.plan.local import LocalCloud, LocalTimes, predict
from facectl.plan.scenarios import Result, Scenario, burst, day, outage
from facectl.plan.simulation import RETRY_STEPS, simulate
from facectl.plan.times import Duration


def steady(rate: float, seconds: int = 300, **more: object) -> Scenario:
    return Scenario("day", np.full(seconds, float(rate)), **more)  # type: ignore[arg-type]


def with_limits(executions: int, recognition: int, **more: float) -> Capacity:
    """100 frames a second, with these numbers of executions for the functions."""
    return replace(
        capacity(100, **more),  # type: ignore[arg-type]
        quota=executions + recognition,
        reserved=executions,
        pollers=Pollers(max_concurrency=recognition),
    )


def outcome(result: Result) -> float:
    """Frames that have ended, or that wait in the request queue."""
    waiting = result.backlog[-1] + result.hidden[-1]
    return float(result.answered.sum() + result.failed.sum() + result.dead + waiting)


def test_a_quiet_hour_has_the_sum_of_the_service_times() -> None:
    result = simulate(capacity(100), steady(100))
    # post + detect + poll + one or two faces + answer.
    assert result.percentile(0) == pytest.approx(0.03 + 0.08 + 0.05, abs=1e-6)
    share = 1 - math.exp(-1)
    embed = 0.04 * (1 + (1 / share - 1) * 0.5)
    assert result.percentile(60) == pytest.approx(0.03 + 0.08 + 0.02 + embed + 0.05, abs=0.01)
    assert result.failed.sum() == 0
    assert result.backlog.max() < 1
    assert result.recovery == 0


@pytest.mark.parametrize("rate", [0.05, 0.5, 3.0])
def test_few_frames_do_not_wait_for_each_other(rate: float) -> None:
    result = simulate(capacity(100), steady(rate, 3600))
    assert result.percentile(99) < 0.3


def test_a_function_takes_ten_requests_a_second_per_execution() -> None:
    fast = replace(ROUND, detect=Duration(0.01), detect_overhead=0.0)
    found = Capacity.of(replace(capacity(100).load, cameras=10_000), ONE_VCPU, fast)
    assert found.detection_most == 1000 > found.detection_peak
    limited = replace(found, reserved=200)
    result = simulate(limited, steady(10_000, 120))
    assert result.accepted[60:].mean() == pytest.approx(2000, rel=0.01)
    assert simulate(found, steady(10_000, 120)).throttled.sum() == 0


def test_executions_follow_littles_law() -> None:
    found = capacity(100)
    result = simulate(found, steady(100))
    assert result.detection[10:].mean() == pytest.approx(found.detection, rel=0.03)
    assert result.recognition[10:].mean() == pytest.approx(found.recognition, rel=0.03)


def test_the_same_seed_gives_the_same_result() -> None:
    one, same, other = (simulate(capacity(50), steady(50), seed=seed) for seed in (1, 1, 2))
    assert one.as_dict() == same.as_dict()
    assert np.array_equal(one.latencies, same.latencies)
    assert not np.array_equal(one.offered, other.offered)


@pytest.mark.parametrize("crashes", [0.0, 0.3])
@pytest.mark.parametrize("limits", [(1000, 100), (8, 100), (1000, 2), (4, 2)])
def test_no_frame_is_lost_or_invented(limits: tuple[int, int], crashes: float) -> None:
    found = with_limits(*limits)
    rates = np.concatenate([np.full(60, 100.0), np.full(30, 400.0), np.zeros(2500)])
    for disturbed in (None, (20.0, 80.0)):
        scenario = Scenario("day", rates, outage=disturbed, crashes=crashes)
        result = simulate(found, scenario)
        assert outcome(result) == pytest.approx(result.offered.sum(), rel=1e-6)
        assert (result.backlog >= -1e-6).all()
        assert result.detection.max() <= limits[0] + 1e-6
        assert result.recognition.max() <= limits[1] + 1e-6


def test_a_cold_start_delays_the_first_frames_only() -> None:
    cold = simulate(capacity(100), steady(100, 60, warm=False))
    warm = simulate(capacity(100), steady(100, 60))
    assert cold.cold.sum() >= 15
    assert cold.percentile(99.9) > 1.0 > warm.percentile(99.9)
    assert cold.percentile(50) == pytest.approx(warm.percentile(50), rel=0.2)


def test_environments_that_ten_minutes_did_not_need_are_ended() -> None:
    rates = np.concatenate([np.full(60, 400.0), np.full(1200, 4.0), np.full(60, 400.0)])
    result = simulate(capacity(400), Scenario("day", rates))
    assert result.cold[1260:].sum() > 30
    soon = simulate(capacity(400), Scenario("day", np.delete(rates, slice(120, 1200))))
    assert soon.cold[180:].sum() < 10


def test_new_environments_are_limited_to_a_hundred_a_second() -> None:
    found = replace(capacity(10_000), quota=20_000, reserved=15_000)
    result = simulate(found, steady(10_000, 30, warm=False))
    assert result.cold.max() <= 200 + 1e-6
    # 1,000 executions take ten seconds to start; until then frames are throttled.
    assert result.detection[4] <= 510
    assert result.throttled[:5].sum() > 0
    assert result.throttled[25:].sum() == 0


def test_throttled_frames_are_retried_and_fail_after_a_minute() -> None:
    # 5 executions of 0.1 s serve 50 of 100 frames a second.
    result = simulate(with_limits(5, 100), steady(100, 600))
    assert result.accepted[100:].mean() == pytest.approx(50, rel=0.05)
    assert result.failed[:40].sum() == 0
    assert result.failed[200:].mean() == pytest.approx(50, rel=0.1)
    assert sum(RETRY_STEPS) > 60 >= sum(RETRY_STEPS[:-1])
    assert 30 < result.percentile(99) < 75


def test_a_backlog_is_served_at_the_rate_of_the_pollers() -> None:
    found = with_limits(1000, 10)
    share = found.load.with_face
    most = 10 * 10 / ROUND.recognition(10, found.load.faces_a_message)
    rates = np.concatenate([np.full(60, 2.0 * most / share), np.zeros(300)])
    result = simulate(found, Scenario("burst", rates))
    backlog = float(result.backlog[59])
    assert backlog == pytest.approx(60 * most, rel=0.15)
    served = result.answered[60:].cumsum()
    seconds = int(np.searchsorted(served, served[-1] * 0.999))
    assert seconds == pytest.approx(backlog / most, abs=6)


def test_the_mapping_runs_three_hundred_more_batches_a_minute() -> None:
    found = replace(capacity(20_000), pollers=Pollers(max_concurrency=1000))
    rates = np.concatenate([np.zeros(5), np.full(60, 20_000.0)])
    result = simulate(found, Scenario("day", rates))
    growth = np.diff(result.recognition[8:60])
    assert growth.max() <= 5 + 1e-6
    assert result.recognition[50] == pytest.approx(5 + 45 * 5, abs=15)


def test_provisioned_pollers_carry_a_megabyte_a_second_each() -> None:
    found = replace(capacity(1000), pollers=Pollers(None, 2, 2))
    result = simulate(found, steady(1000, 120))
    kilobytes = 56 * found.load.faces_a_message
    without_face = result.accepted * (1 - found.load.with_face)
    with_face = (result.answered - without_face)[60:].mean()
    assert with_face * kilobytes / 1024 == pytest.approx(2, rel=0.05)


def test_messages_of_lost_workers_return_after_the_visibility_timeout() -> None:
    found = with_limits(1000, 100)
    result = simulate(found, steady(100, 1000, crashes=0.1))
    # A tenth of the 63 % with a face, of which those of the first 640 s have returned.
    assert result.percentile(93) < 1
    assert result.percentile(98) > found.settings.visibility_timeout
    # Five deliveries: one in 100,000 is a dead letter, and none within five timeouts.
    assert result.dead == 0
    later = simulate(found, steady(100, 2500, crashes=0.5))
    assert later.dead > 0


def test_an_outage_fails_frames_older_than_a_minute_and_then_recovers() -> None:
    found = capacity(100)
    result = simulate(found, outage(found, 600))
    rate = found.load.peak_rate
    assert result.answered[310:895].sum() == 0
    assert result.failed.sum() == pytest.approx(540 * rate, rel=0.05)
    assert result.recovery is not None
    assert 0 < result.recovery < 300
    assert result.answered[-300:].mean() == pytest.approx(rate, rel=0.05)


def test_recovery_is_none_while_the_backlog_grows() -> None:
    result = simulate(with_limits(1000, 2), burst(capacity(100), 3))
    assert result.recovery is None


def test_a_day_follows_its_curve() -> None:
    found = capacity(100)
    result = simulate(found, day(found))
    assert len(result.offered) == 3600
    assert result.offered.mean() == pytest.approx(100, rel=0.02)
    assert result.disturbed_until is None


def test_without_frames_there_is_no_latency() -> None:
    result = simulate(capacity(100), steady(0.0))
    assert len(result.latencies) == 0
    assert math.isnan(result.percentile(50))
    assert result.as_dict()["p50_s"] is None


def test_the_time_of_a_simulation_does_not_depend_on_the_cameras() -> None:
    # Steps, not frames: the arrays have a value for each second.
    small, large = (simulate(capacity(n).one_deployment, steady(n)) for n in (10, 1_000_000))
    assert len(small.offered) == len(large.offered)
    assert len(small.latencies) == len(large.latencies)


def test_it_agrees_with_the_simulation_of_every_frame() -> None:
    """A burst into two batches at once, in steps and frame by frame."""
    found = replace(
        capacity(10, Settings(memory=1769, precision="fp32", concurrency_limit=1000), faces=5.0),
        quota=1000,
        reserved=900,
        pollers=Pollers(max_concurrency=2),
    )
    message, one = found.load.faces_a_message, ROUND.embed.mean
    first = one * ROUND.embedding_factor(message)
    times = LocalTimes(
        encode=Duration(0.0),
        request=0.03,
        detect=Duration(0.08),
        detect_end=0.0,
        dispatch=0.02,
        embed=Duration(first + 0.01),
        further_face=message * 0.5 * one / (first + 0.01),
        respond=0.0,
        recognise_end=0.0,
        receive=0.0,
        client=0.0,
        platform=0.0,
    )
    cloud = LocalCloud(cores=math.inf, detection_limit=900, recognition_limit=2)
    # 30 frames a second; two batches of ten serve about 19.
    frames = predict(times, cloud, Workload(rate=30, arrivals="poisson"), frames=1800, seed=1)
    rates = np.concatenate([np.full(60, 30.0), np.zeros(120)])
    steps = simulate(found, Scenario("day", rates))
    assert frames.answered == 1800
    for rank, value in ((50, frames.latency.p50), (95, frames.latency.p95)):
        assert value is not None
        # The client of frame-by-frame has 64 threads and polls every 100 ms.
        assert steps.percentile(rank) == pytest.approx(value, rel=0.15)


def test_one_vcpu_has_the_round_times() -> None:
    assert ROUND.with_settings(ONE_VCPU) == ROUND
