"""The HTML report of a benchmark: one file without scripts and external resources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from facectl.bench import charts
from facectl.bench.report import BenchmarkReport, Figures, write_text
from facectl.bench.stages import STAGES, WORDS
from facectl.summary import Summary

_STYLE = "report.css"
_NOTHING = "-"
# The browser refuses external resources.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_SUMMARY = ("n", "mean", "min", "p50", "p90", "p95", "p99", "max")
_MOST_CONFUSIONS = 60


def write_html(report: BenchmarkReport, file: Path) -> None:
    """Write the page; raises InputError if the file can't be written."""
    write_text(file, page(report))


def page(report: BenchmarkReport) -> str:
    """The whole page."""
    style = resources.files("facectl.bench").joinpath(_STYLE).read_text(encoding="utf-8")
    sections = [_head(report), _tiles(report), *_charts(report), *_tables(report)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>facectl bench: {_text(report.conditions.get('source', ''))}</title>"
        f"<style>{style}</style></head><body><main>{''.join(sections)}</main></body></html>\n"
    )


def _head(report: BenchmarkReport) -> str:
    state, word = ("met", "targets met")
    if not report.run.complete:
        state, word = ("missed", "incomplete")
    elif report.exit_code:
        state, word = ("missed", "target missed")
    facts = report.conditions
    told = " · ".join(
        _text(facts[name]) for name in ("source", "workload", "target", "measured") if name in facts
    )
    notes = []
    if not report.run.complete:
        notes.append(
            f"The run ended early: {report.run.ended}. The figures cover the frames until then."
        )
    if report.synthetic:
        notes.append("Synthetic weights: the model is not trained, its names are meaningless.")
    noted = "".join(f'<p class="note">{_text(note)}</p>' for note in notes)
    return (
        f'<header><h1>facectl bench <span class="badge {state}">{word}</span></h1>'
        f"<p>{told}</p>{noted}</header>"
    )


def _tiles(report: BenchmarkReport) -> str:
    figures, cost = report.figures, report.cost
    everything = figures.everything
    tiles = [
        ("mean end to end", f"{_ms(everything.mean)} ms"),
        ("median", f"{_ms(everything.p50)} ms"),
        ("p99", f"{_ms(everything.p99)} ms"),
        ("answered", f"{figures.answered} of {figures.answered + figures.without_answer}"),
        (
            "throughput",
            _NOTHING if figures.throughput is None else f"{figures.throughput:.2f} frames/s",
        ),
        (
            "1,000 frames",
            _NOTHING if cost is None else f"{cost.thousand:.4f} {_text(cost.prices.currency)}",
        ),
    ]
    return (
        '<section class="tiles">'
        + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)
        + "</section>"
    )


def _charts(report: BenchmarkReport) -> list[str]:
    if not report.figures.answered:
        return [_verdict(report)]
    drawn: list[tuple[str, str, Callable[[BenchmarkReport], str]]] = [
        ("Distribution", "frames by time end to end", charts.distribution),
        (
            "Percentiles",
            "latency in ms by percentile",
            charts.percentile_curve,
        ),
        ("Timeline", _key(report), charts.timeline),
        ("Sent and answered", _key_of_flow(report), charts.flow),
    ]
    if report.figures.stages.shares:
        beneath = "; thin: the platform alone" if report.baseline is not None else ""
        drawn.append(
            (
                "Where the time goes",
                f"the mean of {report.figures.stages.frames} warm frames{beneath}",
                charts.waterfall,
            )
        )
    figures = "".join(
        f"<figure><figcaption><h2>{title}</h2><p>{told}</p></figcaption>{draw(report)}</figure>"
        for title, told, draw in drawn
    )
    return [f'<section class="charts">{figures}{_verdict(report)}</section>']


def _key(report: BenchmarkReport) -> str:
    words = ['<span class="key warm">●</span> answered, when it was due']
    if report.figures.cold.count:
        words.append('<span class="key cold">●</span> met a cold start')
    if report.figures.without_answer:
        words.append('<span class="key lost">✕</span> no answer')
    return "ms of each frame: " + ", ".join(words)


def _key_of_flow(report: BenchmarkReport) -> str:
    words = ['<span class="key sent">━</span> sent', '<span class="key warm">━</span> answered']
    if report.figures.cold.count:
        words.append('<span class="key cold">✕</span> cold start')
    return "frames a second: " + ", ".join(words)


def _tables(report: BenchmarkReport) -> list[str]:
    figures = report.figures
    parts = [
        _table("End to end, ms", ("", *_SUMMARY), _end_to_end(figures)),
        _table("Stages of warm frames, ms", ("", *_SUMMARY, "share", "baseline"), _stages(report)),
        _table("Frames", ("", ""), _counts(figures), words=True),
        *_optional_tables(report),
    ]
    clocks = report.run.offset or "the offset to SQS is unknown, so POST includes poll"
    conditions = [*report.conditions.items(), ("clocks", clocks)]
    told = ((name, str(value)) for name, value in conditions if value is not None)
    parts.append(_table("Conditions", ("", ""), told, words=True))
    parts.append(
        "<p class=note>Latency counts from when a frame was due. Percentiles are exact, by nearest "
        "rank. The stages of a frame add up to its latency end to end. The clocks above separate "
        "POST from poll; their sum does not depend on them. The request-queue wait is measured "
        "between the clocks of SQS and of face-recognition.</p>"
    )
    return parts


def _verdict(report: BenchmarkReport) -> str:
    rows = (
        (
            check.what,
            "nothing" if check.measured is None else f"{check.measured:.4g} {check.unit}",
            f"{check.target:g} {check.unit}",
            "met" if check.met else "missed",
        )
        for check in report.verdict
    )
    return _table("Verdict", ("", "measured", "at most", ""), rows, words=True)


def _optional_tables(report: BenchmarkReport) -> list[str]:
    parts = []
    if report.comparison is not None:
        rows = (
            (
                row.what,
                _ms(row.before),
                _ms(row.after),
                _ms(row.change) + ("" if row.ratio is None else f" ({row.ratio:+.0%})"),
                f"{_ms(row.interval.low)} to {_ms(row.interval.high)}",
                "within noise" if row.noise else "changed",
            )
            for row in report.comparison.rows
        )
        heads = ("", "before", "now", "change", "95 % interval", "")
        parts.append(_table(f"Against {report.comparison.earlier}", heads, rows))
        if report.comparison.conditions:
            facts = report.comparison.conditions
            parts.append(_table("What differs", ("", "before", "now"), facts, words=True))
    if report.truth is not None:
        truth = report.truth
        found = sorted(truth.confusion.items(), key=lambda item: -item[1])[:_MOST_CONFUSIONS]
        told = f"Truth: {truth.correct} correct, {truth.wrong} wrong, {truth.unlabelled} unlabelled"
        rows_of_names = ((label, result, str(count)) for (label, result), count in found)
        parts.append(_table(told, ("label", "answer", "frames"), rows_of_names))
    if report.cost is not None:
        heads_of_cost = ("", report.cost.prices.currency)
        parts.append(_table("Cost", heads_of_cost, _cost_rows(report), words=True))
    return parts


def _cost_rows(report: BenchmarkReport) -> Iterable[Sequence[str]]:
    cost = report.cost
    if cost is None:
        return
    for name, value in cost.as_dict()["parts_per_1000_frames"].items():
        yield f"1,000 frames: {name}", f"{value:.5f}"
    yield "1,000 frames in all", f"{cost.thousand:.5f}"
    yield f"a camera of {cost.rate:g} frames/s, a month", f"{cost.camera_month:.2f}"
    yield f"prices of {cost.prices.date}, {cost.prices.region}", ""


def _end_to_end(figures: Figures) -> Iterable[Sequence[str]]:
    for name, summary in (
        ("warm", figures.warm),
        ("cold start", figures.cold),
        ("all", figures.everything),
        ("POST alone", figures.post),
    ):
        if summary.count:
            yield name, *_summary(summary)
    for name, summary in figures.starts.items():
        yield f"start of {name}", *_summary(summary, unit=1e-3)


def _stages(report: BenchmarkReport) -> Iterable[Sequence[str]]:
    stages = report.figures.stages
    baseline = None if report.baseline is None else report.baseline.stages.shares
    for stage in STAGES:
        if stage in stages.each:
            own = _NOTHING if baseline is None else _ms(baseline.get(stage, 0.0))
            yield WORDS[stage], *_summary(stages.each[stage]), _ms(stages.shares[stage]), own
    total = _NOTHING if baseline is None else _ms(sum(baseline.values()))
    yield "sum", *[""] * len(_SUMMARY), _ms(sum(stages.shares.values())), total


def _counts(figures: Figures) -> Iterable[Sequence[str]]:
    yield "sent", str(figures.sent)
    for status, count in figures.statuses.items():
        yield status, str(count)
    yield "duplicate answers", str(figures.duplicates)
    yield "posted more than once", str(figures.retried)
    if figures.target_rate is not None and figures.actual_rate is not None:
        yield (
            "frames per second requested, sent",
            f"{figures.target_rate:.2f}, {figures.actual_rate:.2f}",
        )
    if figures.course_average is not None:
        yield "the course's average: wall time ÷ requests", f"{figures.course_average:.3f} s"


def _summary(summary: Summary, *, unit: float = 1.0) -> list[str]:
    values = (
        summary.mean,
        summary.least,
        summary.p50,
        summary.p90,
        summary.p95,
        summary.p99,
        summary.most,
    )
    return [str(summary.count), *(_ms(None if v is None else v * unit) for v in values)]


def _table(
    title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, words: bool = False
) -> str:
    """An HTML table; with `words` its lines wrap, else it scrolls."""
    cells = "".join(f"<th>{_text(each)}</th>" for each in heads)
    head = f"<thead><tr>{cells}</tr></thead>" if any(heads) else ""
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f'<section class="table"><h2>{_text(title)}</h2><div class="scroll">'
        f'<table class="{"words" if words else "figures"}">'
        f"{head}<tbody>{body}</tbody></table></div></section>"
    )


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return _NOTHING
    ms = seconds * 1e3
    return f"{ms:.1f}" if abs(ms) < 10 else f"{ms:.0f}"


def _text(value: object) -> str:
    """Escape a text, and replace unprintable characters: names come from outside."""
    return escape("".join(c if c.isprintable() else "?" for c in str(value)))
