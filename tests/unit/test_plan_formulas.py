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


def test_requests_and_galleries() -> None:
    found = Capacity.of(replace(load(), frame_kb=90), ONE_VCPU, ROUND)
    assert found.request_bytes == pytest.approx(90 * 1024 * 4 / 3)
    assert found.gallery_checks <= found.recognition_peak / limits.GALLERY_REFRESH
