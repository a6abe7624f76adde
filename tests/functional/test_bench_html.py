"""The report in a real browser: what is seen, in light and dark, wide and narrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bench_samples import answered, lost, report_of, run_with
from browser import cut_off_labels, opened

from facectl.bench.page import write_page
from facectl.bench.report import Figures


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cold = {"detection_init": 700.0, "detect": 60.0, "request_queue": 5.0, "embed": 40.0}
    samples = [answered(n, 0.2 + n % 9 / 50) for n in range(60)]
    samples[0] = answered(0, 1.4, timings_ms=cold)
    samples[31] = lost(31)
    baseline = Figures.of(run_with([answered(n, 0.15) for n in range(9)]))
    file = tmp_path_factory.mktemp("report") / "report.html"
    write_page(report_of(run_with(samples), baseline=baseline), file)
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_whole_quiet_and_legible(
    browser: Any, report_file: Path, scheme: str, width: int
) -> None:
    page = opened(browser, report_file, width, scheme)
    charts = page.query_selector_all("svg.chart")
    assert len(charts) == 5
    for chart in charts:
        box = chart.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 100
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    for text in ("text", ".bar", ".curve", ".warm", ".cold", ".work", ".way", ".baseline"):
        assert contrast(page, text) >= (4.5 if text == "text" else 2.0), text
    # In pixels of the screen, whatever the drawing's own units are.
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 10
    page.close()


def test_no_label_of_a_chart_is_cut_off(browser: Any, report_file: Path) -> None:
    for width in (1280, 390):
        page = opened(browser, report_file, width)
        assert cut_off_labels(page) == []
        page.close()


def contrast(page: Any, selector: str) -> float:
    """The contrast of a chart's mark with its card, by WCAG 2's formula."""
    ratio = page.evaluate(
        """selector => {
             const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
             const light = colour => {
               const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(channel);
               return 0.2126 * r + 0.7152 * g + 0.0722 * b;
             };
             const mark = document.querySelector('svg.chart ' + selector);
             const style = getComputedStyle(mark);
             const colour = style.fill === 'none' ? style.stroke : style.fill;
             const card = getComputedStyle(mark.closest('figure')).backgroundColor;
             const [a, b] = [light(colour), light(card)].sort((x, y) => y - x);
             return (a + 0.05) / (b + 0.05);
           }""",
        selector,
    )
    return float(ratio)
