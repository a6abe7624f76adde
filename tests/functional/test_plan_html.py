"""The page of a plan in a real browser: what is seen, in light and dark, wide and narrow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facectl.plan.inputs import DayCurve, Load, Settings
from facectl.plan.page import page, write_page
from facectl.plan.planner import Events, make_plan
from facectl.plan.times import DEFAULT
from facectl.prices import load_plan

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def plan_of(cameras: int, faces: float = 1.3, **settings: Any) -> Any:
    load = Load(cameras, 2.0, faces, 1.0, DayCurve.parse("day"))
    return make_plan(load, Settings(**settings), DEFAULT, load_plan(), Events(outage=2))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plan") / "plan.html"
    write_page(plan_of(100_000), file)
    return file


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_whole_and_quiet(
    browser: Any, report_file: Path, scheme: str, width: int
) -> None:
    opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    told: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: told.append(message.text))
    opened.on("pageerror", lambda error: told.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(report_file.as_uri())

    assert told == []
    assert asked == [report_file.as_uri()]
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    drawn = opened.query_selector_all("svg.chart")
    assert len(drawn) == 6
    for chart in drawn:
        box = chart.bounding_box()
        assert box["width"] > 300
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    outside = opened.evaluate(
        """[...document.querySelectorAll('svg.chart')].flatMap(svg => {
             const frame = svg.getBoundingClientRect();
             return [...svg.querySelectorAll('text')].filter(text => {
               const box = text.getBoundingClientRect();
               return box.left < frame.left - 1 || box.right > frame.right + 1;
             }).map(text => text.textContent);
           })"""
    )
    assert outside == []
    opened.close()


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
