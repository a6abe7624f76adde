"""The formulas of a plan, on numbers that can be computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from plan_samples import ONE_VCPU, ROUND, capacity, load

from facectl.plan import formulas, limits
from facectl.plan.formulas import Capacity, Pollers
from facectl.plan.inputs import Settings


def test_littles_law() -> None:
    assert formulas.executions(100, 0.1) == pytest.approx(10)


def test_the_peak_is_exceeded_once_in_a_thousand_moments() -> None:
    drawn = np.random.default_rng(0).poisson(400, 1_000_000)
    assert (drawn > formulas.peak_executions(400)).mean() == pytest.approx(0.001, abs=0.0006)


def test_times_to_scale() -> None:
    # 1,000 environments every 10 seconds; 5 batches, then 300 more a minute.
    assert formulas.environments_seconds(1000) == pytest.approx(10)
    assert formulas.mapping_seconds(305) == pytest.approx(60)
    assert formulas.mapping_seconds(3) == 0
    assert formulas.poller_seconds(1020, 2) == pytest.approx(60)


def test_pollers_ramp_and_throughput() -> None:
    mapping, provisioned = Pollers(max_concurrency=400), Pollers(None, 2, 50)
    assert (mapping.first_batches, mapping.most_batches) == (5, 400)
    assert (provisioned.first_batches, provisioned.most_batches) == (20, 500)
    assert mapping.flag == "--max-concurrency 400"
    assert provisioned.flag == "--pollers 2:50"
    assert mapping.messages_per_second(5, 100) == math.inf
    # Two pollers carry 2 MB a second: 20 messages of 102.4 kB.
    assert provisioned.messages_per_second(20, 102.4) == pytest.approx(20)
    assert provisioned.messages_per_second(20, 0) == math.inf
    assert mapping.batches_per_second == pytest.approx(5)
    assert provisioned.batches_per_second == pytest.approx(1000 / 60)


def test_batches_grow_only_when_executions_are_missing() -> None:
    one_face = replace(load(), faces=1e-9)
    seconds = [ROUND.recognition(n, one_face.faces_a_message) for n in range(1, 11)]
    assert formulas.batch_of(10, 1.0, ROUND, one_face, 10) == 1
    # One execution serves 1 / 0.05 = 20 messages a second singly, and more in batches.
    assert seconds[0] == pytest.approx(0.05)
    assert formulas.batch_of(25, 1.0, ROUND, one_face, 10) == 2
    assert formulas.batch_of(1000, 1.0, ROUND, one_face, 10) == 10


def test_the_capacity_of_a_load() -> None:
    found = capacity(100)
    # 100 frames a second of 80 + 20 ms.
    assert found.detection == pytest.approx(10)
    assert found.detection_peak == math.ceil(10 + 3.09 * math.sqrt(10))
    share = 1 - math.exp(-1)
    seconds = 0.01 + 0.04 * (1 + (1 / share - 1) * 0.5)
    assert found.recognition == pytest.approx(100 * share * seconds)
    assert found.quota == limits.DEFAULT_CONCURRENCY
    # AWS keeps 100 executions unreserved.
    assert found.reserved == found.quota - 100
    assert not found.needs_reservation
    assert found.deployments == 1
    assert found.one_deployment is found


def test_a_large_load_needs_several_deployments_within_the_limits() -> None:
    found = capacity(100_000)
    assert found.deployments > 1
    one = found.one_deployment
    assert one.deployments == 1
    assert one.load.cameras * found.deployments >= 100_000
    assert one.pollers.most_batches <= limits.MOST_MAX_CONCURRENCY
    assert one.messages_in_flight <= limits.MESSAGES_IN_FLIGHT


def test_an_account_with_too_few_executions_gives_each_function_its_share() -> None:
    found = capacity(1000, Settings(memory=1769, concurrency_limit=50))
    assert found.quota == 50
    assert 0 < found.reserved < 50
    assert found.pollers.most_batches <= 50 - found.reserved


def test_chosen_pollers_replace_the_mapping() -> None:
    settings = Settings(memory=1769, pollers=(2, 20))
    assert capacity(100, settings).pollers == Pollers(None, 2, 20)


@pytest.mark.parametrize(
    ("cameras", "peaks", "quota", "reserved", "fed", "reserve"),
    [
        # Means of 10 and 3.9: AWS keeps 100 executions unreserved, and 13 batches are enough.
        (100, (20, 10), 1000, 900, 13, False),
        # Of 200 and 78: the peaks are 44 and 28 more, recognition keeps a quarter more: 133.
        (2000, (244, 106), 1000, 867, 133, False),
        # Of 500 and 195; a quarter more than 570 + 238 is 1,010, so the quota is 1,500.
        (5000, (570, 238), 1500, 1202, 298, True),
    ],
)
def test_quotas_and_reservations_are_those_of_the_peaks(
    cameras: int, peaks: tuple[int, int], quota: int, reserved: int, fed: int, reserve: bool
) -> None:
    found = capacity(cameras)
    assert (found.detection_peak, found.recognition_peak) == peaks
    assert found.detection_most == peaks[0]
    assert (found.quota, found.reserved) == (quota, reserved)
    assert found.pollers == Pollers(max_concurrency=fed)
    assert found.needs_reservation == reserve


def test_short_detections_need_executions_for_their_requests() -> None:
    # 1,000 requests of 20 ms: 34 executions at the peak, which take 340 requests a second.
    times = replace(ROUND, detect=replace(ROUND.detect, mean=0.0))
    found = Capacity.of(load(1000), ONE_VCPU, times)
    assert (found.detection_peak, found.detection_most) == (34, 100)


@pytest.mark.parametrize(
    ("limit", "reserved"),
    # The peaks are 131 and 59: with fewer than 200 executions each function gets its share.
    # With 200, recognition would keep 100, and 131 + 100 are too many; with 231 they are not.
    [(50, 34), (199, 137), (200, 138), (230, 159), (231, 131), (500, 400)],
)
def test_a_low_quota_is_shared(limit: int, reserved: int) -> None:
    found = capacity(1000, Settings(memory=1769, precision="fp32", concurrency_limit=limit))
    assert (found.detection_peak, found.recognition_peak) == (131, 59)
    assert (found.quota, found.reserved) == (limit, reserved)


def test_a_function_without_a_load_keeps_one_execution() -> None:
    few = Settings(memory=1769, precision="fp32", concurrency_limit=10)
    # Peaks of 2 and 1; without faces recognition has no peak.
    assert capacity(1, few).reserved == 7
    assert capacity(1, few, faces=0.0).reserved == 9
    assert capacity(1, faces=0.0).deployments == 1
    # SQS allows no fewer than two executions of a mapping.
    assert capacity(1, fps=0.1).pollers == Pollers(max_concurrency=2)


def test_the_start_takes_as_long_as_the_slowest_part() -> None:
    # 106 batches at once: 5, and 5 more a second; pollers: 20, and 1,000 more a minute.
    assert capacity(2000).start_seconds == pytest.approx(101 / 5)
    fast = Settings(memory=1769, precision="fp32", pollers=(2, 20))
    assert capacity(2000, fast).start_seconds == pytest.approx(86 / 1000 * 60)
    # 244 environments, 100 a second.
    ready = Settings(memory=1769, precision="fp32", pollers=(20, 20))
    assert capacity(2000, ready).start_seconds == pytest.approx(2.44)


def test_pollers_carry_the_executions_and_the_megabytes() -> None:
    # 13.25 pollers for the batches; 2,000 faces of 56 kB are 109.4 MB, a quarter more is 136.7.
    assert capacity(2000).provisioned_pollers == 137
    assert formulas.pollers_needed(101, 3) == 11
    assert formulas.pollers_needed(99, 10.1) == 11


def test_one_of_two_deployments_has_half_of_the_cameras() -> None:
    # 1,071 batches at the peak, a quarter more is beyond the 1,000 of one mapping.
    found = capacity(25_000)
    assert (found.recognition_peak, found.deployments) == (1071, 2)
    assert found.one_deployment.load.cameras == 12_500
    assert capacity(25_001).one_deployment.load.cameras == 12_501


def test_seconds_of_a_frame_and_checks_of_the_gallery() -> None:
    found = capacity(2000)
    assert found.frame_seconds == pytest.approx(0.1 + 0.0616, abs=0.0001)
    assert found.messages_in_flight == pytest.approx(77.9, abs=0.1)
    # 106 environments, each every five seconds; a single camera has fewer batches than that.
    assert found.gallery_checks == pytest.approx(106 / 5)
    assert capacity(1, fps=0.1).gallery_checks == pytest.approx(0.1 * (1 - math.exp(-1)))


def test_requests_and_galleries() -> None:
    found = Capacity.of(replace(load(), frame_kb=90), ONE_VCPU, ROUND)
    assert found.request_bytes == pytest.approx(90 * 1024 * 4 / 3)
    assert found.gallery_checks <= found.recognition_peak / limits.GALLERY_REFRESH
