"""The cost of a month, its comparisons and changes, and the prices of a plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plan_samples import ONE_VCPU, ROUND, capacity, load

from facectl import prices
from facectl.errors import InputError
from facectl.plan.changes import variants
from facectl.plan.cost import cost_of, machines_for, rekognition, usage_of, usual_batch
from facectl.plan.inputs import Settings
from facectl.prices import Source, load_plan, tiered

OWN = load_plan()


def test_tiers() -> None:
    tiers = [(10, 1.0), (30, 0.5), (None, 0.1)]
    assert tiered(0, tiers) == 0
    assert tiered(10, tiers) == 10
    assert tiered(20, tiers) == 15
    assert tiered(130, tiers) == pytest.approx(10 + 10 + 10)


def test_rekognition_by_its_price_page() -> None:
    assert rekognition(1_000, OWN) == pytest.approx(1.0)
    # 1 million at 0.001, 4 at 0.0008, 5 at 0.0006.
    assert rekognition(10e6, OWN) == pytest.approx(1000 + 3200 + 3000)


def test_the_cost_is_that_of_its_usage() -> None:
    found = capacity(100, hours=10)
    usage, cost = usage_of(found), cost_of(found, OWN)
    frames = 100 * 36_000 * 30
    assert usage.frames == frames
    assert usage.detection_gb_seconds == pytest.approx(frames * 0.1 * 1769 / 1024)
    price = 0.0000166667
    assert cost.parts["face-detection"] == pytest.approx(usage.detection_gb_seconds * price)
    assert cost.parts["Lambda requests"] == pytest.approx(usage.invocations * 0.2 / 1e6)
    assert cost.parts["SQS"] == pytest.approx(usage.sqs_requests * 0.4 / 1e6)
    assert cost.total == pytest.approx(sum(cost.parts.values()))
    assert cost.thousand == pytest.approx(cost.total / frames * 1000)


def test_the_usage_of_a_month_computed_by_hand() -> None:
    usage = usage_of(capacity(100, hours=10))
    frames, seconds = 100 * 36_000 * 30, 36_000 * 30
    # Of frames with one face in the mean, 1 - 1/e have faces: 1.58 of them in each.
    share, faces = 0.632121, 1.581977
    batch_seconds = 0.01 + 0.04 * (1 + (faces - 1) * 0.5)
    messages = frames * share
    # 63 messages a second: 13 executions take each of them alone.
    assert usage.invocations == pytest.approx(frames + messages)
    assert usage.recognition_gb_seconds == pytest.approx(messages * batch_seconds * 1769 / 1024)
    # 88.6 kB are two payloads, sent, received and deleted; answers are received ten at once.
    assert usage.sqs_requests == pytest.approx(messages * (2 + 2 + 1) + frames * (1 + 0.2))
    # 3.9 environments look every five seconds, and one more.
    mean = 100 * share * batch_seconds
    assert usage.s3_gets == pytest.approx((mean / 5 + 1) * seconds)
    assert usage.log_gb == pytest.approx(frames * 3000 * (0.5 + 0.5 * share) / 2**30)
    assert usage.transfer_gb == pytest.approx(frames * 1500 / 2**30)
    assert usage.poller_hours == 0


def test_few_frames_have_few_gallery_checks() -> None:
    usage = usage_of(capacity(1, fps=0.1, hours=1))
    # Each batch has at most one.
    assert usage.s3_gets == pytest.approx(0.1 * 0.632121 * 3600 * 30)


def test_batches_grow_when_executions_are_missing() -> None:
    few = replace(ONE_VCPU, concurrency_limit=10)
    # 25 messages a second of 62 ms are 1.6 executions, and recognition has four.
    assert usual_batch(capacity(40, few, hours=10)) == 1
    # 63 a second: three executions serve 49 alone, and 64 in batches of two, which take 93 ms.
    assert usual_batch(capacity(100, few, hours=10)) == 2
    # 126 a second: 87 in the largest batches, which take 346 ms.
    assert usual_batch(capacity(200, few, hours=10)) == 10


def test_the_tiers_of_the_duration_lower_the_cost_of_much() -> None:
    little, much = (cost_of(capacity(n, hours=24), OWN) for n in (1000, 17_000))
    assert capacity(17_000).deployments == 1
    assert much.parts["face-detection"] < 17 * little.parts["face-detection"] * 0.99


def test_each_of_several_deployments_has_its_own_tiers() -> None:
    found = capacity(100_000, hours=24)
    count = found.deployments
    assert count > 1
    whole, one = cost_of(found, OWN), cost_of(found.one_deployment, OWN)
    assert whole.total == pytest.approx(count * one.total, rel=0.001)


def test_pollers_cost_day_and_night() -> None:
    settings = Settings(memory=1769, pollers=(10, 20))
    cost = cost_of(capacity(100, settings), OWN)
    assert cost.parts["provisioned pollers"] == pytest.approx(10 * 24 * 30 * 0.00925)
    assert "provisioned pollers" not in cost_of(capacity(100), OWN).parts


def test_frames_without_faces_cost_no_recognition() -> None:
    cost = cost_of(capacity(100, faces=0.0), OWN)
    assert cost.parts["face-recognition"] == 0
    assert cost.parts["SQS"] > 0


def test_machines_for_the_same_computing() -> None:
    found = machines_for(capacity(100), OWN)
    assert found is not None
    one_face = ROUND.recognition(1, load().faces_a_message)
    vcpus = 100 * (0.1 + load().with_face * one_face)
    assert found.at_peak == -(-vcpus // (4 * 0.6))
    assert found.cost == pytest.approx(vcpus / 2.4 * 0.1785 * 30)
    # The memory of the functions does not change the computing.
    assert machines_for(capacity(100, Settings(memory=10_240)), OWN) == found
    arm = Settings(memory=1769, architecture="arm64")
    without = replace(OWN, machines={"x86_64": OWN.machines["x86_64"]})
    assert machines_for(capacity(100, arm), without) is None


def changes(settings: Settings) -> dict[str, float]:
    return {each.name: each.cost for each in variants(load(), settings, ROUND, OWN)}


def test_changes_are_computed_by_the_same_formulas() -> None:
    found = changes(ONE_VCPU)
    arm = cost_of(capacity(100, replace(ONE_VCPU, architecture="arm64")), OWN).total
    assert found["--architecture arm64"] == pytest.approx(arm)
    half = cost_of(capacity(100, fps=0.5), OWN).total
    assert found["--fps 0.5"] == pytest.approx(half)


def test_half_of_the_cost_is_found() -> None:
    now = cost_of(capacity(100), OWN).total
    name, cost = list(changes(ONE_VCPU).items())[-1]
    assert "--fps" in name
    assert 0.97 * now / 2 <= cost <= now / 2


def test_changes_that_are_made_already_are_not_offered() -> None:
    best = Settings(memory=1769, architecture="arm64", precision="int8")
    names = [each.name for each in variants(load(), best, ROUND, OWN)]
    assert not any(name.startswith(("--architecture", "--precision")) for name in names)
    # A single change is not offered a second time, with the settings that stay.
    one = [each.name for each in variants(load(), replace(best, architecture="x86_64"), ROUND, OWN)]
    assert "--architecture arm64" in one
    assert "--memory 1769, arm64 and int8" not in one
    two = [
        each.name
        for each in variants(load(), replace(best, architecture="x86_64", memory=3008), ROUND, OWN)
    ]
    assert "--memory 1769, arm64 and int8" in two


def test_detection_at_the_edge_costs_less_and_nothing_without_faces() -> None:
    assert changes(ONE_VCPU)["send --detect edge"] < cost_of(capacity(100), OWN).total
    faceless = {each.name: each for each in variants(load(faces=0.0), ONE_VCPU, ROUND, OWN)}
    assert faceless["send --detect edge"].cost == 0


def written(tmp_path: Path, change: dict[str, Any]) -> Path:
    data = json.loads(Path(prices.__file__).with_name("prices.json").read_text())
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({**data, "plan": {**data["plan"], **change}}))
    return file


def test_every_price_of_a_plan_has_a_source_and_a_date() -> None:
    data = json.loads(Path(prices.__file__).with_name("prices.json").read_text())
    for section in (data["plan"], data["deployment"]):
        assert set(section) - {"sources", "date"} == set(section["sources"])
        assert all(set(each) == {"source", "confirmed"} for each in section["sources"].values())
        assert section["date"] >= "2026"
    # One price, one mark.
    assert data["plan"]["poller_hour"] == data["deployment"]["poller_hour"]
    assert data["plan"]["sources"]["poller_hour"] == data["deployment"]["sources"]["poller_hour"]


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("a page", Source("a page", "yes")),
        ("not confirmed: a page", Source("a page", "no")),
        ({"source": "a page", "confirmed": "partly"}, Source("a page", "partly")),
    ],
)
def test_a_table_of_an_earlier_version_says_it_in_words(
    given: Any, source: Source, tmp_path: Path
) -> None:
    table = load_plan(written(tmp_path, {"sources": {"machines": given}}))
    assert table.sources == {"machines": source}
    assert Source.parse(source.text) == source


@pytest.mark.parametrize(
    "given", [7, {"source": "a page", "confirmed": "perhaps"}, {"confirmed": "yes"}, {"source": 1}]
)
def test_a_source_that_says_something_else_is_refused(given: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no price table"):
        load_plan(written(tmp_path, {"sources": {"machines": given}}))


def test_prices_of_another_region_are_missing() -> None:
    assert load_plan(region="us-east-1") == OWN
    with pytest.raises(InputError, match="prices of us-east-1, none of eu-west-1") as caught:
        load_plan(region="eu-west-1")
    assert caught.value.hint is not None
    assert "--price-file" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"poller_hour": -1}, "poller_hour is -1, not a price"),
        ({"log_gb": []}, "log_gb needs a last tier without a limit"),
        ({"log_gb": [[10, 1.0]]}, "log_gb needs a last tier without a limit"),
        ({"log_gb": [[10, 1.0], [5, 1.0], [None, 1.0]]}, "limits of log_gb are not ascending"),
        ({"log_gb": [[None, "x"]]}, "log_gb is 'x', not a price"),
        ({"lambda_tiers": {}}, "x86_64"),
        ({"machines": {"x86_64": {"type": "c", "vcpus": 0, "hour": 1}}}, "has 0 vCPUs"),
        ({"machines": {"x86_64": {}}}, "no price table"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        load_plan(written(tmp_path, change))
    assert caught.value.hint is not None


def test_a_table_without_the_prices_of_a_plan_still_serves_a_benchmark(tmp_path: Path) -> None:
    data = json.loads(Path(prices.__file__).with_name("prices.json").read_text())
    del data["plan"]
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(data))
    assert prices.load(file) == prices.load()
    with pytest.raises(InputError, match="its section plan is missing"):
        load_plan(file)
