"""The page of a plan in a real browser: what is seen, in light and dark, wide and narrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import cut_off_labels, opened

from facectl.plan.inputs import DayCurve, Load, Settings
from facectl.plan.page import page, write_page
from facectl.plan.planner import Events, make_plan
from facectl.plan.times import DEFAULT
from facectl.prices import load_plan


def plan_of(cameras: int, faces: float = 1.3, **settings: Any) -> Any:
    load = Load(cameras, 2.0, faces, 1.0, DayCurve.parse("day"))
    return make_plan(load, Settings(**settings), DEFAULT, load_plan(), Events(outage=2))


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plan") / "plan.html"
    write_page(plan_of(100_000), file)
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_whole_and_quiet(
    browser: Any, report_file: Path, scheme: str, width: int
) -> None:
    seen = opened(browser, report_file, width, scheme)
    drawn = seen.query_selector_all("svg.chart")
    assert len(drawn) == 6
    for chart in drawn:
        box = chart.bounding_box()
        assert box["width"] > 300
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    assert cut_off_labels(seen) == []
    seen.close()


@pytest.mark.parametrize(
    ("cameras", "faces", "settings"),
    [
        (1, 0.0, {}),
        (1, 1.0, {"architecture": "arm64"}),
        (1000, 1.3, {"concurrency_limit": 20}),
        (50, 1.3, {"pollers": (2, 10)}),
    ],
)
def test_unusual_plans_have_a_page(cameras: int, faces: float, settings: dict[str, Any]) -> None:
    text = page(plan_of(cameras, faces, **settings))
    assert text.count("<svg") == 6
    assert "nan" not in text.lower().replace("finance", "")
    assert "inf " not in text
