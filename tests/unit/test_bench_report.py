"""Figures and verdicts from runs against the pipeline in this process."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from bench_fakes import Clip, FakePipeline, Stalls
from bench_samples import answered, lost, report_of, run_with
from rich.console import Console

from facectl.bench import tables
from facectl.bench.compare import compare, load_run, run_of
from facectl.bench.cost import Billed, cost_of
from facectl.bench.page import page
from facectl.bench.recorder import PostTiming
from facectl.bench.report import BenchmarkReport, Figures, Targets, rows, write_csv
from facectl.bench.run import Load, measure
from facectl.bench.tables import confusion, remarks
from facectl.bench.truth import Truth
from facectl.bench.workload import Workload
from facectl.cli.bench import report as bench_report
from facectl.errors import InputError
from facectl.naming import DETECTION_FUNCTION
from facectl.prices import CURRENT
from facectl.stream.outcomes import FrameCounts
from facectl.stream.sender import RequestOptions


def test_cold_starts_are_counted_separately() -> None:
    cold = {"detection_init": 700.0, "recognition_init": 900.0, "detect": 60.0}
    figures = Figures.of(
        run_with([answered(0, 3.0, timings_ms=cold), answered(1, 0.2), answered(2, 0.4)])
    )
    assert (figures.warm.count, figures.warm.mean) == (2, pytest.approx(0.3))
    assert (figures.cold.count, figures.cold.mean) == (1, 3.0)
    assert figures.everything.mean == pytest.approx(1.2)
    assert figures.stages.frames == 2
    assert {name: start.mean for name, start in figures.starts.items()} == {
        "face-detection": 700.0,
        "face-recognition": 900.0,
    }


def test_throughput_differs_from_the_average_of_the_course() -> None:
    figures = Figures.of(run_with([answered(0, 0.5), answered(1, 0.5), answered(2, 2.0)]))
    # From the first POST at 0 to the last answer at 4.
    assert figures.throughput == pytest.approx(3 / 4)
    assert figures.course_average == pytest.approx(4 / 3)


def test_what_a_frame_takes_of_the_client() -> None:
    samples = [answered(0, 0.5), answered(1, 0.5), lost(2)]
    run = run_with(samples, bytes_sent=132_200, client_cpu=0.0345)
    figures = Figures.of(run)
    # The third was never posted.
    assert figures.as_dict()["sent_bytes_per_frame"] == 66_100
    assert figures.as_dict()["client_cpu_ms_per_frame"] == 17.25
    text = printed(report_of(run))
    assert "sent per frame 66.1 kB, CPU of this client per frame 17 ms" in text
    cells = dict(tables.frames(figures).rows)
    assert cells["sent per frame"] == "66.1 kB"
    assert cells["CPU of this client per frame"] == "17 ms"
    # A frame without a face sends nothing with --detect edge, which is a figure.
    assert Figures.of(run_with(samples, bytes_sent=0)).as_dict()["sent_bytes_per_frame"] == 0
    for nothing in (run_with(samples), run_with([], bytes_sent=5, client_cpu=1.0)):
        unknown = Figures.of(nothing)
        assert unknown.as_dict()["sent_bytes_per_frame"] is None
        assert unknown.as_dict()["client_cpu_ms_per_frame"] is None
        assert "sent per frame" not in dict(tables.frames(unknown).rows)


def test_every_status_is_counted_and_duplicates_separately() -> None:
    samples = [answered(0, 0.1), lost(1), lost(2, "refused"), lost(3, "failed"), lost(4, "unsent")]
    figures = Figures.of(run_with(samples))
    assert (figures.sent, figures.answered, figures.without_answer) == (2, 1, 4)
    assert figures.duplicates == 2


@pytest.mark.parametrize(
    ("targets", "met"),
    [
        (Targets(mean=0.31), [True, True]),
        (Targets(mean=0.29), [False, True]),
        (Targets(mean=0.31, p99=0.4), [True, True, True]),
        (Targets(mean=None, p99=0.39), [False, True]),
    ],
)
def test_the_verdict(targets: Targets, met: list[bool]) -> None:
    report = report_of(run_with([answered(0, 0.2), answered(1, 0.4)]), targets=targets)
    assert [check.met for check in report.verdict] == met
    assert report.exit_code == (0 if all(met) else 1)


def test_cold_starts_and_lost_frames_count_in_the_verdict() -> None:
    slow = answered(0, 9.0, timings_ms={"detection_init": 700.0})
    assert report_of(run_with([slow, answered(1, 0.1)])).exit_code == 1
    assert report_of(run_with([answered(0, 0.1), lost(1)])).exit_code == 1
    allowed = Targets(max_unanswered=1)
    assert report_of(run_with([answered(0, 0.1), lost(1)]), targets=allowed).exit_code == 0


def test_a_late_answer_is_reported_and_counts_as_unanswered() -> None:
    report = report_of(run_with([answered(0, 0.1), lost(1)], counts=FrameCounts(late=1)))
    figures = report.as_dict()["figures"]
    assert (figures["answered"], figures["unanswered"], figures["late"]) == (1, 1, 1)
    assert figures["without_answer"] == 1
    assert report.exit_code == 1
    assert "1 unanswered, 0 duplicate, 1 answered late" in printed(report)


def test_a_run_that_ended_early_is_incomplete() -> None:
    report = report_of(run_with([answered(0, 0.1)], ended="nothing answers"))
    assert report.exit_code == 3
    data = report.as_dict()
    assert (data["complete"], data["ended_early"], data["met"]) == (False, "nothing answers", False)
    assert report_of(run_with([], ended="it died")).exit_code == 3


def test_without_a_measurement_no_target_is_met() -> None:
    report = report_of(run_with([lost(0)]), targets=Targets(max_unanswered=9))
    assert [check.met for check in report.verdict] == [False, True]
    assert "nothing measured" in printed(report)
    assert "Verdict" in page(report)


def test_a_client_that_is_too_slow_is_reported() -> None:
    prompt = run_with([answered(n, 0.1) for n in range(10)])
    late = run_with([answered(n, 9.0, post=PostTiming(n * 2.0, n * 2.0, 1)) for n in range(10)])
    assert not Figures.of(prompt).client_too_slow
    figures = Figures.of(late)
    assert figures.client_too_slow
    assert (figures.target_rate, figures.actual_rate) == (pytest.approx(1.0), pytest.approx(0.5))
    told = " ".join(remarks(report_of(late)))
    assert "0.50 frames a second were sent, 1.00 were requested" in told


def test_the_stages_of_a_row_add_up_to_its_latency() -> None:
    for row in rows(run_with([answered(0, 0.3)]), {}):
        assert sum(row["stages_s"].values()) == pytest.approx(row["latency_s"])


def test_the_csv_has_one_row_per_request_and_no_formula(tmp_path: Path) -> None:
    evil = answered(1, 0.2, name="=HYPERLINK(1)", result="@sum")
    report = report_of(run_with([answered(0, 0.3), evil, lost(2)]), labels={"f0": "Ann"})
    write_csv(report, tmp_path / "r.csv")
    table = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert [row["status"] for row in table] == ["answered", "answered", "unanswered"]
    assert (table[0]["label"], table[0]["correct"], table[0]["latency_s"]) == ("Ann", "True", "0.3")
    assert float(table[0]["stage_detect_s"]) == pytest.approx(0.06)
    assert float(table[0]["post_s"]) == pytest.approx(0.05)
    assert (table[1]["name"], table[1]["result"]) == ("'=HYPERLINK(1)", "'@sum")
    with pytest.raises(InputError, match="can't be written"):
        write_csv(report, tmp_path / "r.csv" / "below.csv")


def test_a_run_is_read_from_json_and_compared_with_another(tmp_path: Path) -> None:
    before = report_of(run_with([answered(n, 0.3 + n % 5 / 100) for n in range(60)]))
    file = tmp_path / "before.json"
    file.write_text(json.dumps(before.as_dict()))
    slower = report_of(
        run_with([answered(n, 0.4 + n % 5 / 100) for n in range(60)]),
        conditions={"source": "clip.mp4", "workload": "closed loop", "target": "nowhere"},
    )
    compared = compare(load_run(file), run_of(slower.as_dict(), "this run"))
    mean = compared.rows[0]
    assert (mean.what, mean.noise) == ("mean end to end", False)
    assert mean.change == pytest.approx(0.1)
    assert mean.interval.low < 0.1 < mean.interval.high
    same = {row.what: row.noise for row in compared.rows}
    assert same["mean detect"]
    assert compared.conditions == [("workload", "open loop", "closed loop")]
    report = replace(slower, comparison=compared)
    assert "changed" in printed(report)
    assert report.as_dict()["comparison"]["rows"][0]["within_noise"] is False
    assert "What differs" in page(report)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "other/1"}', '{"format": "facectl-bench/1"}']
)
def test_a_file_that_is_no_earlier_run_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "old.json"
    file.write_text(text)
    with pytest.raises(InputError, match="no report of facectl bench"):
        load_run(file)
    with pytest.raises(InputError, match="can't be read"):
        load_run(tmp_path / "none.json")


def test_a_run_without_an_answer_can_not_be_compared() -> None:
    empty = run_of(report_of(run_with([lost(0)])).as_dict(), "this run")
    full = run_of(report_of(run_with([answered(0, 1)])).as_dict(), "old.json")
    with pytest.raises(InputError, match="this run has no warm frame"):
        compare(full, empty)


def test_the_printed_report() -> None:
    labels = {"f0": "Ann", "f1": "Bob"}
    run = run_with([answered(0, 0.25), answered(1, 0.35)])
    cost = cost_of({DETECTION_FUNCTION: Billed(2, 2.0, 1024, "x86_64")}, [1, 1], 1.0, CURRENT)
    baseline = Figures.of(run_with([answered(0, 0.12), answered(1, 0.12)]))
    report = report_of(
        run, truth=Truth.of(run.samples, labels), labels=labels, cost=cost, baseline=baseline
    )
    text = printed(report)
    assert "2 sent, 2 answered, 0 refused, 0 unanswered, 2 duplicate" in text
    assert "Truth: 1 correct (50.0%), 1 wrong, 0 without a label" in text
    assert "Baseline: 120 ms of the mean are the platform's, 180 ms are the pipeline's" in text
    assert "detect and embed take 100 ms, 1.80 times that" in text
    assert "for 1,000 frames" in text
    assert "prices of 2026" in text
    assert "met    mean end to end: 0.3 of at most 3 s" in text
    assert "wall time ÷ requests" in text


def test_confusions_of_many_names_are_listed_the_wrong_ones_first() -> None:
    names = [f"n{number}" for number in range(9)]
    truth = Truth(90, 3, 0, {**{(name, name): 10 for name in names}, ("n1", "n2"): 3})
    table = confusion(truth, 2)
    assert table.rows == [("n1", "n2", "3"), ("n0", "n0", "10")]
    few = confusion(Truth(9, 1, 0, {("a", "a"): 9, ("b", "a"): 1}), 2)
    assert (few.columns, few.rows) == (("", "a"), [["a", "9"], ["b", "1"]])


def test_the_page_shows_the_warnings_and_no_empty_table() -> None:
    text = page(report_of(run_with([lost(0)], problems=["<the disk> is full"])))
    assert "&lt;the disk&gt; is full." in text
    assert "1 frames failed, the first with: no route." in text
    assert "End to end" not in text


def test_the_page_loads_nothing_and_escapes_its_values() -> None:
    evil = "<script>alert(1)</script>"
    run = run_with([answered(0, 0.25, result=evil, name=evil), lost(1), answered(2, 0.3)])
    text = page(
        report_of(run, conditions={"source": evil}, truth=Truth.of(run.samples, {evil: evil}))
    )
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    for outside in ("http://", "https://", "src=", "@import", "url("):
        assert outside not in text
    assert text.count("<svg") == 5


def test_a_page_of_many_frames_is_small_and_keeps_outliers() -> None:
    samples = [answered(n, 0.2 + n % 7 / 100) for n in range(12_000)]
    samples[5001] = answered(5001, 9.0)
    samples[7001] = lost(7001)
    text = page(report_of(run_with(samples)))
    assert "frame 5001," in text
    assert "frame 7001: unanswered" in text
    assert len(text) < 3_000_000


def test_a_run_against_a_fake_pipeline(tmp_path: Path) -> None:
    pipeline = FakePipeline(lambda n: Stalls(detect=0.02, embed=0.01, cold={0}))
    load = Load(Clip(5), 10, RequestOptions(detail=True), Workload(12, concurrency=3))
    run = measure(pipeline.transport, load)
    report = report_of(run)
    assert report.exit_code == 0
    assert report.figures.cold.count == 1
    assert report.figures.answered == 12
    assert json.loads(json.dumps(report.as_dict()))["figures"]["answered"] == 12
    assert "cold start" in printed(report)


def printed(report: BenchmarkReport) -> str:
    console = Console(width=100, file=io.StringIO(), record=True)
    original, bench_report.out = bench_report.out, console
    try:
        bench_report.print_report(report)
    finally:
        bench_report.out = original
    return console.export_text()
