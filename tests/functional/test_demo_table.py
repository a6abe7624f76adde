"""What `facectl demo` prints about the answers to its clip."""

from __future__ import annotations

import pytest

from facectl.cli import demo_steps
from facectl.demo import clip
from facectl.stream.outcomes import FrameCounts, FrameOutcome
from facectl.stream.results import RunStats
from facectl.stream.session import RunReport
from lambda_src.contract import FrameResult


def report(results: list[str], *, synthetic: bool = False) -> RunReport:
    stats = RunStats(rows=200)
    for index, result in enumerate(results):
        answer = FrameResult(f"id-{index}", result)
        stats(FrameOutcome(index, f"{index}.jpg", f"id-{index}", 0.0, "answered", answer, 0.1))
    return RunReport(
        stats=stats, counts=FrameCounts(), seconds=1.0, unclaimed=False, problems=[],
        synthetic=synthetic, interrupted=False, failure=None,
    )  # fmt: skip


def shown(
    capsys: pytest.CaptureFixture[str], results: list[str], *, synthetic: bool = False
) -> tuple[dict[str, str], str, str]:
    """The table's rows by their first column, all of stdout, and stderr."""
    demo_steps.show_seen(report(results, synthetic=synthetic))
    out, err = capsys.readouterr()
    cells = [line.strip().split("  ") for line in out.splitlines()]
    return {row[0]: row[-1].strip() for row in cells if len(row) > 1}, out, err


def test_all_right(capsys: pytest.CaptureFixture[str]) -> None:
    rows, out, err = shown(capsys, clip.expected())
    assert rows == {
        "shown in the clip": "answered so",
        "Eileen Collins": "22",
        "Barack Obama": "32",
        "Grace Hopper, not enrolled": "20",
        "no face": "6",
    }
    assert "All 60 frames were answered rightly.\n" in out
    assert err == ""


def test_wrong_frames_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    results = clip.expected()
    results[0] = results[1] = "Unknown"
    results[40] = "Eileen Collins"
    rows, out, err = shown(capsys, results)
    assert rows["Eileen Collins"] == "20"
    assert rows["Grace Hopper, not enrolled"] == "19"
    assert "All 60" not in out
    assert err == "3 of 60 frames were answered otherwise: 0-1, 40\n"


def test_synthetic_weights_are_not_praised(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, err = shown(capsys, clip.expected(), synthetic=True)
    assert "answered rightly." not in out
    assert "synthetic weights know nobody" in err
