"""The parts of every report: charts, tables, and pages that escape what they are given."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest
from jinja2 import UndefinedError
from rich.console import Console

from facectl.cli.tables import rich_table
from facectl.reports.charts import Axis, Chart, Span, linear, rows
from facectl.reports.page import render
from facectl.reports.tables import Table, milliseconds

EVIL = '<b>"&\x1b[31m'


@pytest.mark.parametrize(
    ("least", "most", "ticks"),
    [
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (0, 298, ["0", "100", "200", "300"]),
        (0.25, 2.1, ["0", "0.5", "1", "1.5", "2", "2.5"]),
        (0, 1.45, ["0", "0.5", "1", "1.5"]),
        (0, 0, ["0", "5e-10"]),
    ],
)
def test_an_axis_has_round_ticks_and_contains_its_values(
    least: float, most: float, ticks: list[str]
) -> None:
    axis = linear(least, most, "s", lambda value: f"{value:g}")
    assert axis.low <= least
    assert axis.high >= most
    if most > 0:
        assert [label for _, label in axis.ticks] == ticks


def test_an_axis_of_one_value_places_it_at_its_start() -> None:
    assert Axis(3.0, 3.0, [], "").part(3.0) == 0


def test_a_chart_places_its_marks_and_escapes_its_text() -> None:
    chart = Chart(EVIL, linear(0, 10, EVIL), linear(0, 1, EVIL))
    left, bottom = chart.at(0, 0)
    right, top = chart.at(10, 1)
    assert left < right
    assert top < bottom
    chart.bar((0, 5), 1, "bar", EVIL)
    chart.dot((5, 0.5), "warm", EVIL)
    chart.cross((5, 0.5), "lost", EVIL)
    chart.vertical(5, EVIL)
    chart.horizontal(0.5, EVIL)
    chart.line([(0, 0), (10, 1)], "curve")
    drawn = chart.svg()
    assert "<b>" not in drawn
    assert f'points="{left:.1f},{bottom:.1f} {right:.1f},{top:.1f}"' in drawn


def test_a_label_near_the_right_edge_stands_left_of_its_line() -> None:
    def anchor(x: float) -> str:
        chart = Chart("", linear(0, 10, ""), linear(0, 1, ""))
        chart.vertical(x, "mark")
        return re.findall(r'text-anchor="(\w+)">mark<', chart.svg())[0]

    assert (anchor(1), anchor(9)) == ("start", "end")


def test_the_longest_of_the_rows_fills_the_width() -> None:
    drawn = rows("stages", [Span("a", 0, 1, "1 s", "work", (0, 4)), Span("b", 1, 1, "1 s", "way")])
    widths = [float(width) for width in re.findall(r' width="([\d.]+)"', drawn)]
    assert widths == pytest.approx([50.5, 202, 50.5], abs=0.1)
    assert rows("nothing", []).count("<rect") == 0


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "-"), (0.0, "0.0"), (0.00951, "9.5"), (1.2345, "1234")]
)
def test_milliseconds_are_shown_as_precisely_as_they_are_read(
    seconds: float | None, shown: str
) -> None:
    assert milliseconds(seconds) == shown


def shown(table: Table) -> str:
    """The table in a page."""
    return render(
        "bench.html",
        source="",
        facts=[],
        met=True,
        ended=None,
        synthetic=False,
        remarks=[],
        tiles=[],
        figures=[],
        verdict=table,
        tables=[],
        sentences=[],
        small_tables=[],
    )


def printed(table: Table) -> str:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(rich_table(table))
    return console.export_text()


def test_one_table_is_for_the_terminal_and_for_the_page() -> None:
    table = Table("Times", ("", "n", "mean"), [("warm", "7", EVIL), ("sum", "9", "3")], marked={1})
    assert "[31m" in printed(table)
    assert "\x1b" not in printed(table)
    for text in ("Times", "mean", "warm", "7", "sum", "9"):
        assert text in printed(table)
        assert f">{text}<" in shown(table)
    assert '<th scope="col">mean</th>' in shown(table)
    assert '<th scope="row">warm</th>' in shown(table)
    assert shown(table).count('<tr class="marked">') == 1
    assert "&lt;b&gt;&#34;&amp;?[31m" in shown(table)


def test_a_table_without_column_names_has_no_header() -> None:
    table = Table("Facts", ("", ""), [("computer", "fast")], words=True)
    assert "<thead>" not in shown(table)
    assert printed(table).split() == ["computer", "fast"]


def test_a_page_without_its_data_is_an_error_not_a_blank() -> None:
    with pytest.raises(UndefinedError):
        render("calibration.html")


def test_the_templates_engine_is_loaded_for_pages_alone() -> None:
    code = (
        "import sys; import facectl.cli.app, facectl.cli.bench.report, facectl.bench.tables; "
        "print('jinja2' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True
    )
    assert done.stdout.strip() == "False"
