"""The model of the local cloud: shared cores, limits, polls, lost workers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import simpy

from facectl.bench.workload import Workload
from facectl.plan.cores import Cores, Flag, Gate
from facectl.plan.local import LONG_POLL_TICK, LocalCloud, LocalTimes, Prediction, predict
from facectl.plan.times import Duration

TIMES = LocalTimes(
    encode=Duration(0.004),
    request=0.003,
    detect=Duration(0.05),
    detect_end=0.01,
    dispatch=0.003,
    embed=Duration(0.03),
    further_face=0.75,
    respond=0.002,
    recognise_end=0.004,
    receive=0.002,
    client=0.01,
    platform=0.007,
)
CPU = 0.004 + 0.003 + 0.05 + 0.01 + 0.03 + 0.002 + 0.004 + 2 * 0.002 + 0.01 + 0.007
IDLE = LocalCloud(cores=math.inf, detection_limit=64, recognition_limit=64)


def ends(cores: float, jobs: list[tuple[float, float]]) -> list[float]:
    """When each job ends, of (begin, seconds of work)."""
    environment = simpy.Environment()
    shared = Cores(environment, cores)
    found: list[float] = [0.0] * len(jobs)

    def run(number: int, begin: float, seconds: float) -> object:
        yield environment.timeout(begin)
        yield shared.work(seconds)
        found[number] = environment.now

    for number, job in enumerate(jobs):
        environment.process(run(number, *job))  # type: ignore[arg-type]
    environment.run()
    return found


@pytest.mark.parametrize(
    ("cores", "jobs", "expected"),
    [
        # Enough cores: no job waits.
        (2, [(0, 1), (0, 2)], [1, 2]),
        # One core for two: each half as fast.
        (1, [(0, 1), (0, 1)], [2, 2]),
        # The first is half done when the second comes; both at half speed until it ends.
        (1, [(0, 1), (0.5, 1)], [1.5, 2.0]),
        # Two cores for three.
        (2, [(0, 2), (0, 2), (0, 2)], [3, 3, 3]),
        (math.inf, [(0, 1)] * 9, [1] * 9),
        (1, [(0, 0), (0, 1)], [0, 1]),
        (0.5, [(0, 1)], [2]),
    ],
)
def test_cores_are_shared_equally(
    cores: float, jobs: list[tuple[float, float]], expected: list[float]
) -> None:
    assert ends(cores, jobs) == pytest.approx(expected)


def test_a_gate_admits_in_order_as_its_condition_allows() -> None:
    environment = simpy.Environment()
    gate = Gate(environment, lambda: gate.inside < 1)
    first, second = gate.enter(), gate.enter()
    assert (first.triggered, second.triggered) == (True, False)
    gate.leave()
    assert second.triggered


def test_a_flag_that_is_set_does_not_wait() -> None:
    environment = simpy.Environment()
    flag = Flag(environment)
    flag.set()
    assert flag.wait().triggered
    flag.clear()
    assert not flag.wait().triggered


def latency(found: Prediction, rank: str = "p50") -> float:
    value = getattr(found.latency, rank)
    assert value is not None
    return float(value)


def test_one_frame_takes_the_sum_of_its_stages_and_a_poll() -> None:
    found = predict(TIMES, IDLE, Workload(concurrency=1), frames=1)
    path = 0.004 + 0.003 + 0.05 + 0.003 + 0.03 + 0.002
    # The long poll began with the frame and looks every 100 ms.
    looked = math.ceil(path / LONG_POLL_TICK) * LONG_POLL_TICK
    assert latency(found) == pytest.approx(looked + 0.002)
    assert (found.answered, found.failed, found.retried) == (1, 0, 0)


def test_the_same_seed_gives_the_same_prediction() -> None:
    times = replace(TIMES, detect=Duration(0.05, 0.3))
    one, same, other = (
        predict(times, LocalCloud(), Workload(rate=5, arrivals="poisson"), frames=50, seed=seed)
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_cores_limit_the_throughput() -> None:
    workload = Workload(concurrency=16)
    limits = {"detection_limit": 8, "recognition_limit": 8}
    two = predict(TIMES, LocalCloud(cores=2, **limits), workload, frames=400)
    four = predict(TIMES, LocalCloud(cores=4, **limits), workload, frames=400)
    assert two.throughput is not None
    assert four.throughput is not None
    # All of a frame's work on all cores; batches save a part of the embedding.
    assert 0.9 * 2 / CPU <= two.throughput <= 1.25 * 2 / CPU
    assert four.throughput > 1.5 * two.throughput
    assert latency(two) > latency(predict(TIMES, IDLE, Workload(concurrency=1), frames=50))


def test_beyond_the_detection_limit_the_client_retries() -> None:
    one = LocalCloud(cores=math.inf, detection_limit=1)
    found = predict(TIMES, one, Workload(concurrency=8), frames=200)
    assert found.retried > 0
    assert found.answered == 200
    assert found.throughput is not None
    # One detection at once: each takes its time and its end.
    assert found.throughput <= 1 / (0.05 + 0.01)


def test_an_overload_lets_the_latency_grow() -> None:
    found = predict(TIMES, LocalCloud(), Workload(rate=40), frames=300)
    assert found.throughput is not None
    assert found.throughput < 25
    assert latency(found, "p95") > 3
    assert predict(TIMES, LocalCloud(), Workload(rate=2), frames=40).throughput == pytest.approx(
        2, rel=0.05
    )


def test_a_lost_worker_delays_its_batch_by_the_visibility_timeout() -> None:
    cloud = LocalCloud(cores=math.inf, visibility_timeout=36, lost_worker_at=2.07)
    found = predict(TIMES, cloud, Workload(rate=5), frames=50)
    assert found.answered == 50
    assert latency(found, "most") > 36
    assert latency(found, "p90") < 3
    assert found.seconds > 36


def test_every_core_count_answers_every_frame() -> None:
    for cores in (0.5, 1, 3):
        found = predict(TIMES, LocalCloud(cores=cores), Workload(concurrency=4), frames=60)
        assert found.answered == 60
