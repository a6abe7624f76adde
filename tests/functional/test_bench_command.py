"""`facectl bench` against a scripted function and real queues."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from stream_stub import Emulator, Pipeline, Reply, answering, result, until
from typer.testing import CliRunner, Result

from facectl.cli.app import app
from facectl.errors import IncompleteError, InputError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "120"})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four images with names."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(4):
        cv2.imwrite(str(folder / f"test_{n:02d}.jpg"), np.full((48, 64, 3), n * 60, np.uint8))
    return folder


def test_the_readmes_command_measures_frames(pipeline: Pipeline, photos: Path) -> None:
    done = run("bench", photos, "-n", 9, "-c", 2)
    assert done.exit_code == 0, done.output
    assert "9 sent, 9 answered, 0 refused, 0 unanswered, 0 duplicate" in done.stdout
    assert "met    mean end to end" in done.stdout
    assert "closed loop, 2 in flight" in done.stdout
    assert all(request["detail"] for request in pipeline.requests)
    assert pipeline.left() == []
    assert run("bench", "run", photos, "-n", 1).exit_code == 0


def test_json_has_figures_conditions_and_every_request(pipeline: Pipeline, photos: Path) -> None:
    done = run("bench", photos, "-n", 6, "--rate", 20, "--json")
    data = json.loads(done.stdout)
    figures = data["figures"]
    assert (figures["sent"], figures["answered"], figures["duplicates"]) == (6, 6, 0)
    assert figures["end_to_end_s"]["all"]["count"] == 6
    assert figures["asked_fps"] == pytest.approx(20, rel=0.01)
    assert data["conditions"]["source"].endswith("photos")
    assert data["conditions"]["facectl"]
    # It is one clock, and SQS's stamps are whole milliseconds.
    assert abs(data["clock"]["client_minus_sqs_ms"]) <= data["clock"]["uncertainty_ms"] + 1
    assert [row["index"] for row in data["requests"]] == list(range(6))
    assert data["met"] is True


def test_files_are_written(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    table, page, old = tmp_path / "r.csv", tmp_path / "r.html", tmp_path / "old.json"
    old.write_text(run("bench", photos, "-n", 4, "-c", 1, "--json").stdout)
    done = run("bench", photos, "-n", 4, "-c", 1, "--csv", table, "--html", page, "--compare", old)
    assert done.exit_code == 0, done.output
    assert len(list(csv.DictReader(table.open()))) == 4
    assert page.read_text().startswith("<!doctype html>")
    assert "95 % interval" in done.stdout


def test_results_are_compared_with_labels(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("Image,Results\ntest_00,Eileen\ntest_01,Eileen\ntest_02,Paul\n")
    truth = json.loads(run("bench", photos, "-n", 4, "-c", 1, "--labels", labels, "--json").stdout)
    assert truth["truth"]["correct"] == 2
    assert truth["truth"]["wrong"] == 1
    assert truth["truth"]["unlabelled"] == 1
    assert {"label": "Paul", "result": "Eileen", "frames": 1} in truth["truth"]["confusion"]


def test_labels_without_a_frame_are_reported_before_anything_is_sent(
    pipeline: Pipeline, photos: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("Image,Results\nother,Eileen\n")
    done = run("bench", photos, "-n", 4, "--labels", labels)
    assert isinstance(done.exception, InputError)
    assert "names no frame of the source" in str(done.exception)
    assert pipeline.requests == []


def test_queues_that_are_not_empty_are_refused_and_can_be_emptied(
    pipeline: Pipeline, photos: Path
) -> None:
    pipeline.put('{"request_id": "old", "result": "Ann"}')
    done = run("bench", photos, "-n", 2, "-c", 1)
    assert isinstance(done.exception, InputError)
    assert "1 visible, 0 in flight" in str(done.exception)
    assert done.exception.hint is not None
    assert "--purge" in done.exception.hint
    assert pipeline.requests == []
    purged = run("bench", photos, "-n", 2, "-c", 1, "--purge")
    assert purged.exit_code == 0, purged.output
    assert "2 sent, 2 answered" in purged.stdout


def test_a_benchmark_without_frames_is_refused(pipeline: Pipeline, photos: Path) -> None:
    done = run("bench", photos, "-n", 0)
    assert done.exit_code == 2
    assert "--frames" in done.output


def test_a_rate_beyond_the_client_is_reported_with_the_rate_reached(
    pipeline: Pipeline, photos: Path
) -> None:
    def slow(request: dict[str, Any], _: int) -> Reply:
        time.sleep(0.5)
        return Reply(results=[result(request)])

    pipeline.script = slow
    # 64 threads that each wait half a second send 128 a second at most.
    done = run("bench", photos, "-n", 400, "--rate", 2000)
    assert "could not keep up" in done.stderr, done.output
    assert "were requested" in done.stderr


def test_a_missed_target_sets_the_exit_code(pipeline: Pipeline, photos: Path) -> None:
    done = run("bench", photos, "-n", 3, "-c", 1, "--target-mean", 0.00001)
    assert done.exit_code == 1
    assert "missed mean end to end" in done.stdout


def test_duplicate_and_missing_answers_are_counted(pipeline: Pipeline, photos: Path) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        return Reply(results=[] if number == 1 else [result(request)] * (2 if number == 0 else 1))

    pipeline.script = script
    done = run("bench", photos, "-n", 4, "--rate", 10, "--timeout", 5, "--json")
    assert done.exit_code == 1
    figures = json.loads(done.stdout)["figures"]
    assert (figures["answered"], figures["unanswered"], figures["duplicates"]) == (3, 1, 1)


def test_an_unreachable_function_leaves_an_incomplete_report(
    pipeline: Pipeline, photos: Path
) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        return answering(request, number) if number < 5 else Reply(status=403)

    pipeline.script = script
    done = run("bench", photos, "-n", 50, "-c", 1)
    assert isinstance(done.exception, IncompleteError)
    assert done.exception.exit_code == 3
    assert "refuses all frames" in str(done.exception)
    assert "INCOMPLETE" in done.stdout
    assert "5 sent, 5 answered" in done.stdout


def test_an_unreachable_cloud_leaves_an_incomplete_report(isolated: object, photos: Path) -> None:
    emulator = Emulator()
    try:
        pipeline = Pipeline(answering, emulator.url)

        def script(request: dict[str, Any], number: int) -> Reply:
            if number < 3:
                return answering(request, number)
            emulator.stop()
            return Reply(hang_up=True)

        pipeline.script = script
        done = run("bench", photos, "-n", 20, "-c", 1, "--json")
        pipeline.shut()
    finally:
        emulator.stop()
    assert isinstance(done.exception, IncompleteError)
    data = json.loads(done.stdout)
    assert data["complete"] is False
    assert data["figures"]["answered"] == 3
    assert "does not answer" in data["ended_early"]
    assert data["cost"] is None


def test_ctrl_c_leaves_an_incomplete_report(pipeline: Pipeline, photos: Path) -> None:
    process = subprocess.Popen(
        [Path(sys.executable).with_name("facectl"), "bench", str(photos), "--rate", "5", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: len(pipeline.requests) >= 8 and pipeline.total() == 0)
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=120)
    assert process.returncode == 3, told
    assert "stopped by Ctrl-C" in told
    data = json.loads(out)
    assert data["complete"] is False
    assert data["figures"]["answered"] >= 3


def test_custom_prices(pipeline: Pipeline, photos: Path, tmp_path: Path) -> None:
    broken = tmp_path / "prices.json"
    broken.write_text("{}")
    done = run("bench", photos, "-n", 1, "--price-file", broken)
    assert isinstance(done.exception, InputError)
    assert "no price table" in str(done.exception)
    assert pipeline.requests == []


def test_a_sweep_of_invalid_or_undeployed_memory_sizes_is_refused(
    pipeline: Pipeline, photos: Path
) -> None:
    for sizes, told in (("big", "not a list of sizes"), ("64", "512 to 10240 MB")):
        done = run("bench", "sweep", photos, "--memory", sizes)
        assert isinstance(done.exception, InputError)
        assert told in str(done.exception)
    done = run("bench", "sweep", photos)
    assert isinstance(done.exception, InputError)
    assert "is not deployed" in str(done.exception)


@pytest.mark.parametrize("flag", ["--baseline", "--floor"])
def test_a_baseline_needs_a_pipeline(pipeline: Pipeline, photos: Path, flag: str) -> None:
    done = run("bench", photos, flag)
    assert isinstance(done.exception, InputError)
    assert "no shape" in str(done.exception)
