"""Costs compared with manual calculations, and custom price tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facectl import prices
from facectl.bench.cost import Billed, cost_of
from facectl.errors import InputError
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from facectl.prices import Prices

ROUND = Prices(
    date="2026-01-01",
    region="nowhere",
    currency="EUR",
    lambda_gb_second={"x86_64": 0.01, "arm64": 0.005},
    lambda_million_requests=1000.0,
    sqs_million_requests=100.0,
    sqs_request_kb=64,
)


def test_a_cost_equals_the_manual_calculation() -> None:
    billed = {
        # 10 frames, 2 GB, 1 s each: 20 GB-s, 0.20 in all, 20 a thousand.
        DETECTION_FUNCTION: Billed(10, 10.0, 2048, "x86_64"),
        # 5 batches, 1 GB, 2 s each, at half the price: 0.05 in all, 5 a thousand.
        RECOGNITION_FUNCTION: Billed(5, 10.0, 1024, "arm64"),
    }
    cost = cost_of(billed, [1] * 10, rate=2.0, prices=ROUND)
    assert cost is not None
    assert cost.functions == pytest.approx({DETECTION_FUNCTION: 20.0, RECOGNITION_FUNCTION: 5.0})
    # 15 invocations for 10 frames, 0.001 each.
    assert cost.requests == pytest.approx(1.5)
    # One face: six calls, 0.0001 each.
    assert cost.queues == pytest.approx(0.6)
    assert cost.thousand == pytest.approx(27.1)
    assert cost.camera_month == pytest.approx(27.1 / 1000 * 2 * 30 * 86_400)


def test_frames_without_a_face_skip_a_queue_and_six_faces_are_more_requests() -> None:
    billed = {DETECTION_FUNCTION: Billed(1, 1.0, 1024, "x86_64")}
    queues = []
    for faces in (0, 1, 6):
        cost = cost_of(billed, [faces], rate=1.0, prices=ROUND)
        assert cost is not None
        queues.append(round(cost.queues * 1e6 / 1000 / 100, 3))
    # Six faces: 336 KB, six requests to send and six to receive, one to delete.
    assert queues == [3, 6, 16]


def test_without_billing_there_is_no_cost() -> None:
    assert cost_of({}, [1], rate=1.0, prices=ROUND) is None


def test_the_packaged_table_has_a_date_and_prices() -> None:
    own = prices.load()
    assert own.date >= "2026"
    assert own.lambda_gb_second["x86_64"] == 0.0000166667
    assert own.lambda_gb_second["arm64"] == 0.0000133334
    assert (own.lambda_million_requests, own.sqs_million_requests) == (0.2, 0.4)


def test_a_custom_table_replaces_the_packaged_one(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    own = json.loads(Path(prices.__file__).with_name("prices.json").read_text())
    file.write_text(json.dumps({**own, "currency": "EUR", "sqs_million_requests": 9}))
    loaded = prices.load(file)
    assert (loaded.currency, loaded.sqs_million_requests) == ("EUR", 9)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"date": None}, "no price table"),
        ({"sqs_million_requests": "cheap"}, "sqs_million_requests is 'cheap'"),
        ({"lambda_gb_second": {"x86_64": -1}}, "lambda_gb_second.x86_64 is -1"),
        ({"lambda_gb_second": {}}, "lambda_gb_second"),
        ({"sqs_request_kb": 0}, "sqs_request_kb is 0"),
    ],
)
def test_an_invalid_table_is_refused(tmp_path: Path, change: dict[str, object], told: str) -> None:
    own = json.loads(Path(prices.__file__).with_name("prices.json").read_text())
    data = {key: value for key, value in {**own, **change}.items() if value is not None}
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(data))
    with pytest.raises(InputError, match=told):
        prices.load(file)


def test_a_missing_table_and_one_that_is_not_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        prices.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("0.2 dollars")
    with pytest.raises(InputError, match="not JSON"):
        prices.load(tmp_path / "text.json")
