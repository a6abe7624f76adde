"""The results file and the statistics of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facectl.errors import FacectlError, InputError
from facectl.stream.outcomes import AcceptedPost, FrameOutcome
from facectl.stream.results import MOST_NAMED, ResultsFile, RunStats, ranges
from lambda_src.contract import FrameResult, NamedFace

FACE = NamedFace((1, 2, 3, 4), 0.99, "Ann", 0.5)


def outcome(index: int, result: str | None = "Ann", **changes: object) -> FrameOutcome:
    fields: dict[str, object] = {
        "index": index,
        "name": f"f{index}.jpg",
        "request_id": f"run-{index}",
        "timestamp": index / 25,
        "status": "answered" if result else "unanswered",
        "answer": FrameResult(f"run-{index}", result, (FACE,), {"detect": 1.0}) if result else None,
        "latency": 0.25 if result else None,
        "delivery": AcceptedPost(1, 2, 0.0312),
    }
    return FrameOutcome(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_line_is_on_disk_before_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    results = ResultsFile(path, synthetic=False)
    results(outcome(0))
    results(outcome(1, None, error="gone"))
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    assert first == {
        "frame": 0,
        "name": "f0.jpg",
        "request_id": "run-0",
        "timestamp": 0.0,
        "status": "answered",
        "result": "Ann",
        "latency": 0.25,
        "post": 0.0312,
        "attempts": 2,
        "faces": [FACE.as_dict()],
        "timings_ms": {"detect": 1.0},
    }
    assert (second["status"], second["result"], second["error"]) == ("unanswered", None, "gone")
    results.close()


def test_synthetic_names_are_marked_in_every_line(tmp_path: Path) -> None:
    results = ResultsFile(tmp_path / "r.jsonl", synthetic=True)
    results(outcome(0))
    assert json.loads((tmp_path / "r.jsonl").read_text())["synthetic"] is True


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/r\.jsonl can't be written"):
        ResultsFile(tmp_path / "nowhere" / "r.jsonl", synthetic=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_an_error_that_names_the_file() -> None:
    results = ResultsFile(Path("/dev/full"), synthetic=False)
    with pytest.raises(FacectlError, match="/dev/full can't be written any more: No space left"):
        results(outcome(0))


def test_run_stats_keep_figures_and_only_the_first_rows() -> None:
    stats = RunStats(rows=2)
    for index in (3, 1, 0, 2):
        stats(outcome(index, "Ann,Bob,Ann", latency=0.1 * (index + 1)))
    stats(outcome(4, None))
    assert sorted(o.index for o in stats.first) == [0, 1]
    assert stats.names == {"Ann": 4, "Bob": 4}
    assert stats.statuses == {"answered": 4, "unanswered": 1}
    assert stats.latency.as_dict() == {"mean": 0.25, "min": 0.1, "max": 0.4}
    assert [o.index for o in stats.lost] == [4]


def test_all_lost_frames_are_counted_and_the_first_ones_listed() -> None:
    stats = RunStats(rows=0)
    for index in range(MOST_NAMED + 5):
        stats(outcome(index, None))
    assert len(stats.lost) == MOST_NAMED
    assert stats.statuses["unanswered"] == MOST_NAMED + 5


def test_a_late_answer_has_a_second_line_with_it(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    results = ResultsFile(path, synthetic=False)
    results(outcome(0, None))
    results(outcome(0, status="late", latency=75.0))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(x["frame"], x["status"], x["result"]) for x in lines] == [
        (0, "unanswered", None),
        (0, "late", "Ann"),
    ]
    assert lines[1]["latency"] == 75.0


@pytest.mark.parametrize(
    ("indices", "text"), [([], ""), ([3], "3"), ([5, 3, 4, 9], "3-5, 9"), ([1, 3], "1, 3")]
)
def test_ranges(indices: list[int], text: str) -> None:
    assert ranges(indices) == text
