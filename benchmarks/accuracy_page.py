"""Writes the figures of the accuracy benchmark as tables and charts into docs/ACCURACY.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from facectl import paths
from facectl.errors import InputError
from facectl.reports.charts import Axis, Chart, linear

BEGIN, END = "<!-- bench-accuracy: begin -->", "<!-- bench-accuracy: end -->"
_SIZE_CHART, _CURVE_CHART = "accuracy-size.svg", "accuracy-curve.svg"
# The photographs per person, and the gallery sizes, that precisions are compared at.
_COMPARED = ((1, 5), (1, 10_000), (5, 10_000), (0, 5), (0, 1_000_000))
# Colours that differ in lightness too; lines are named in the order in which they lie.
_STYLE = """
.chart text { fill: #5a6472; font: 12.5px system-ui, sans-serif; }
.chart path, .chart polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.chart .grid { stroke: #dde1e7; stroke-width: 1; } .chart .axis { stroke: #5a6472; }
.chart .a { stroke: #8c2d04; } .chart .b { stroke: #d94801; } .chart .c { stroke: #2f6fc4; }
.chart .d { stroke: #17703c; } .chart .e { stroke: #6a51a3; }
@media (prefers-color-scheme: dark) {
.chart text { fill: #9aa5b4; } .chart .grid { stroke: #323a45; } .chart .axis { stroke: #9aa5b4; }
.chart .a { stroke: #f0984c; } .chart .b { stroke: #f2786f; } .chart .c { stroke: #6aa5f2; }
.chart .d { stroke: #5cc98a; } .chart .e { stroke: #b39ddb; } }
"""
_CLASSES = "abcde"


def write(file: Path, facts: dict[str, Any]) -> None:
    """Replace the marked section of the page, and the charts beside it; raises InputError."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{file} has no section to write: {BEGIN} … {END}")
    section = "\n\n".join(_section(facts))
    for name, chart in charts(facts).items():
        paths.write_text(file.with_name(name), chart)
    paths.write_text(file, f"{before}{BEGIN}\n\n{section}\n\n{END}{after}")


def charts(facts: dict[str, Any]) -> dict[str, str]:
    """The SVG files by name."""
    return {_SIZE_CHART: _size_chart(facts), _CURVE_CHART: _curve_chart(facts)}


def _section(facts: dict[str, Any]) -> list[str]:
    first = facts["subjects"][0]
    return [
        "### The faces",
        _data(facts["data"]),
        "### Verification",
        _verification(facts["subjects"]),
        f"![TAR against FAR]({_CURVE_CHART})",
        f"TAR by FAR, {first['name']}; a FAR below 0.001 has less than {_tail(first)} comparisons.",
        "### Identification",
        (
            f"{first['name']}, {facts['weights']}; rows: people in the gallery, all but five of "
            "them generated; columns: photographs of each of the five. Rank-1:"
        ),
        _grid(facts, lambda cell: _short(cell["rank-1"])),
        "Rank-5 (one of five people always has it):",
        _grid(facts, lambda cell: _short(cell["rank-5"])),
        "FNIR at FPIR 0.01, non-mated searches by real people:",
        _grid(facts, lambda cell: _short(cell["FNIR at FPIR 0.01"])),
        f"FNIR at FPIR 0.001 by real people: {_why(first)}. By generated strangers, at FPIR 0.01:",
        _grid(facts, lambda cell: _short(cell["generated"]["FNIR at FPIR 0.01"])),
        "and at FPIR 0.001:",
        _grid(facts, lambda cell: _short(cell["generated"]["FNIR at FPIR 0.001"])),
        f"![FNIR against the size of the gallery]({_SIZE_CHART})",
        (
            "FNIR at FPIR 0.01, real people; lines from the top: 1, 2, 5, 10 and all photographs "
            "of each person."
        ),
        "### The nearest stranger",
        _nearest(facts),
        "### The default threshold",
        _threshold(facts),
        "### Precisions, and facenet-pytorch",
        _subjects(facts),
        "### How generated strangers resemble real ones",
        _resemblance(facts["strangers"]),
    ]


def _data(data: dict[str, Any]) -> str:
    people = ", ".join(f"{_name(name)} {count}" for name, count in data["people"].items())
    others = data["strangers"]
    crowd = others.get("crowd", 0)
    frames = sum(count for name, count in others.items() if name.startswith("video"))
    rows = [
        ("photographs of people who are enrolled", data["labelled"], people),
        ("left out", data["unused"], "photographs to enroll with no face or several"),
        ("other people, in no gallery", len(others) - 1,
         (f"{frames} frames of {sum(name.startswith('video') for name in others)} videos, "
         f"{sum(name.startswith('six') for name in others)} faces of one picture")),
        ("faces of a crowd", crowd, "of about ten people, blurred, counted as one person"),
    ]  # fmt: skip
    return table(("what", "number", ""), rows)


def _verification(subjects: list[dict[str, Any]]) -> str:
    names = list(subjects[0]["verification"])
    rows = [
        (each["name"], *(_long(each["verification"][name]) for name in names),
         f"{each['genuine']:,} genuine, {each['impostor']:,} impostor")
        for each in subjects
    ]  # fmt: skip
    return table(("", *names, "pairs of photographs"), rows)


def _grid(facts: dict[str, Any], shown: Callable[[dict[str, Any]], str]) -> str:
    cells = _cells(facts["subjects"][0])
    columns = facts["photographs"]
    rows = [
        (f"{size:,}", *(shown(cells[count, size]) for count in columns)) for size in facts["sizes"]
    ]
    return table(("people", *(f"{_photographs(count)}" for count in columns)), rows)


def _nearest(facts: dict[str, Any]) -> str:
    """The smallest distance of a stranger, as distance and cosine."""
    cells = _cells(facts["subjects"][0])
    rows = []
    for size in facts["sizes"]:
        real = [cells[count, size]["nearest"] for count in (1, 0)]
        generated = cells[0, size]["nearest_generated"]
        rows.append((f"{size:,}", *map(_distance, (*real, generated))))
    head = ("people", "real, 1 photograph", "real, all", "generated, all")
    return "The smallest distance of a non-mated search, and its cosine:\n\n" + table(head, rows)


def _threshold(facts: dict[str, Any]) -> str:
    first, limit = facts["subjects"][0], facts["default"]["distance"]
    name = f"{limit:g} (cosine distance {limit**2 / 2:.3f})"
    far, frr = first["threshold"]["far"], first["threshold"]["frr"]
    parts = [
        (f"{name} is the {facts['default']['text']}. Between photographs: FAR {far:.2%}, "
        f"FNMR {frr:.1%}. FNIR and FPIR with it, real people:"),
        _grid(facts, lambda cell: f"{_value(cell['FNIR at the threshold'])} / "
              f"{_value(cell['FPIR at the threshold'])}"),
    ]  # fmt: skip
    course = facts["course"]
    if course is not None:
        parts.append(
            f"vggface2: its {course['threshold']:g} was not measured here, because its weights "
            f"can't be had here. Of the {course['pairs']:,} pairs of the {course['people']} "
            "reference embeddings of the course (vggface2, preprocessing `cse546`, one photograph "
            f"each), {course['within']} are within it; the nearest two people are "
            f"{course['nearest']:.3f} apart. There is no second photograph of anybody, "
            "so nothing is known about FNMR."
        )
    return "\n\n".join(parts)


def _subjects(facts: dict[str, Any]) -> str:
    reference = _cells(facts["subjects"][0])
    places = [place for place in _COMPARED if place in reference]
    rows = []
    for metric in ("rank-1", "FNIR at FPIR 0.01", "FNIR at the threshold"):
        for count, size in places:
            row = [_long(_cells(each)[count, size][metric]) for each in facts["subjects"]]
            rows.append((metric, f"{size:,}", _photographs(count), *row))
    names = [each["name"] for each in facts["subjects"]]
    text = table(("metric", "people", "photographs", *names), rows)
    for each in facts["subjects"][1:]:
        if each["cosine"] is None:
            text += f"\n\n{each['name']} finds other faces than {names[0]}."
        else:
            cosine = each["cosine"]
            text += (
                f"\n\nCosine between the embeddings of the same {facts['data']['faces']} faces by "
                f"{each['name']} and by {names[0]}: at least {cosine['labelled']:.4f} for the "
                f"labelled people, {cosine['others']:.4f} for the others, "
                f"mean {cosine['mean']:.5f}."
            )
    if len(names) > 1:
        text += f"\n\n{_within(facts['subjects'])}"
    return text + (f"\n\n{facts['skipped']}" if facts["skipped"] else "")


def _within(subjects: list[dict[str, Any]]) -> str:
    """How far the figures of the others are from those of the first."""
    first, found = _every(subjects[0]), []
    for each in subjects[1:]:
        pairs = [
            (first[key], value["value"])
            for key, value in _every(each).items()
            if value["value"] is not None and first[key]["low"] is not None
        ]
        inside = sum(metric["low"] <= value <= metric["high"] for metric, value in pairs)
        apart = [abs(metric["value"] - value) for metric, value in pairs]
        found.append(
            f"{inside} of {len(pairs)} figures of {each['name']} lie within the intervals of "
            f"{subjects[0]['name']}; they differ from its figures by {sum(apart) / len(apart):.4f} "
            f"on average, by {max(apart):.3f} at most."
        )
    return "\n\n".join(found)


def _every(subject: dict[str, Any]) -> dict[Any, dict[str, Any]]:
    """Every metric of a subject by where it stands."""
    found: dict[Any, dict[str, Any]] = dict(subject["verification"])
    for place, cell in _cells(subject).items():
        metrics = {name: value for name, value in cell.items() if isinstance(value, dict)}
        generated = metrics.pop("generated")
        found |= {(place, name): value for name, value in metrics.items()}
        found |= {(place, "generated", name): value for name, value in generated.items()}
    return found


def _resemblance(strangers: dict[str, Any]) -> str:
    rows = [
        (name, f"{row['mean']:.3f}", f"{row['deviation']:.3f}", f"{row['p99']:.3f}",
         f"{row['p999']:.3f}", f"{row['most']:.3f}", f"{row['count']:,}")
        for name, row in strangers["rows"].items()
    ]  # fmt: skip
    head = ("cosine between two people", "mean", "standard deviation", "99 %", "99.9 %", "highest",
            "number")  # fmt: skip
    return table(head, rows) + (
        f"\n\n{strangers['rest']:.0%} of the variance of generated embeddings is in a random "
        f"subspace of {strangers['dimensions']} dimensions, the rest in the "
        "directions of the real faces."
    )


def _size_chart(facts: dict[str, Any]) -> str:
    cells, sizes = _cells(facts["subjects"][0]), facts["sizes"]
    name = "FNIR at FPIR 0.01"
    lines = [
        [(math.log10(size), cells[count, size][name]["value"]) for size in sizes
         if cells[count, size][name]["value"] is not None]
        for count in facts["photographs"]
    ]  # fmt: skip
    ticks = [(math.log10(size), _thousands(size)) for size in sizes]
    x = Axis(ticks[0][0], max(ticks[-1][0], ticks[0][0] + 1), ticks, "people in the gallery")
    most = max((y for line in lines for _, y in line), default=1.0)
    chart = Chart(f"{name} by people in the gallery", x, linear(0, most, name))
    for style, line in zip(_CLASSES, lines, strict=False):
        if line:
            chart.line(line, style)
    return _standalone(chart)


def _curve_chart(facts: dict[str, Any]) -> str:
    points = [(math.log10(far), tar) for far, tar in facts["subjects"][0]["curve"] if far <= 0.5]
    ticks = [(float(power), f"{10.0**power:g}") for power in range(-4, 1)]
    x = Axis(-4.0, 0.0, ticks, "FAR")
    chart = Chart("TAR by FAR", x, linear(0, 1, "TAR"))
    chart.line([point for point in points if point[0] >= -4], "c")
    return _standalone(chart)


def _standalone(chart: Chart) -> str:
    """The chart as a file: with a namespace and its colours."""
    head, _, rest = chart.svg().partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{_STYLE}</style>{rest}\n'


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _cells(subject: dict[str, Any]) -> dict[tuple[int, int], dict[str, Any]]:
    return {(cell["photographs"], cell["size"]): cell for cell in subject["grid"]}


def _value(metric: dict[str, Any]) -> str:
    return "-" if metric["value"] is None else f"{metric['value']:.3f}"


def _short(metric: dict[str, Any]) -> str:
    """The value and its interval."""
    if metric["value"] is None:
        return "n too small" if metric["why"].startswith("n too small") else "-"
    if metric["low"] is None:
        return _value(metric)
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def _long(metric: dict[str, Any]) -> str:
    if metric["value"] is None or metric["low"] is None:
        return metric.get("why", _value(metric))
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def _why(subject: dict[str, Any]) -> str:
    return str(subject["grid"][0]["FNIR at FPIR 0.001"].get("why", "see above"))


def _tail(subject: dict[str, Any]) -> int:
    return math.ceil(0.001 * subject["impostor"])


def _distance(distance: float) -> str:
    return f"{distance:.3f} ({1 - distance**2 / 2:.2f})"


def _photographs(count: int) -> str:
    return "all" if count == 0 else str(count)


def _name(folder: str) -> str:
    return folder.replace("_", " ").title()


def _thousands(size: int) -> str:
    if size >= 1_000_000:
        return f"{size // 1_000_000} M"
    return f"{size // 1000} k" if size >= 1000 else str(size)
