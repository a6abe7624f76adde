"""`facectl send --visits` against a scripted function and real queues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from stream_stub import Pipeline, Reply, lines, noisy_clip, number, run, until


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return noisy_clip(tmp_path / "clip.avi", 320, 240)


def two_people(request: dict[str, Any], _: int = 0) -> Reply:
    """Ann on the left, from frame 5 on a stranger on the right."""
    index = number(request)
    faces = [("Ann", 10 + index)] + ([("Unknown", 200)] if index >= 5 else [])
    answer = {
        "request_id": request["request_id"],
        "result": ",".join(name for name, _ in faces),
        "faces": [
            {"box": [x, 50, x + 90, 140], "probability": 0.99, "name": name, "distance": 0.7}
            for name, x in faces
        ],
        "timings_ms": {"detect": 5.0},
    }
    return Reply(results=[json.dumps(answer)])


def test_visits_are_written_with_their_crops(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    pipeline.script = two_people
    path, crops = tmp_path / "visits.jsonl", tmp_path / "crops"
    done = run("send", clip, "--visits", path, "--keep-crops", crops)
    assert done.exit_code == 0, done.output
    assert "Visits: detail and up to 10 faces are requested for each frame" in done.output
    assert "2 visits: Ann 1, unknown 1" in done.output
    assert all(request["detail"] and request["max_faces"] == 10 for request in pipeline.requests)
    events = lines(path)
    assert [(e["event"], e["person"]) for e in events] == [
        ("start", "Ann"),
        ("start", None),
        ("end", "Ann"),
        ("end", None),
    ]
    ann = events[2]
    assert (ann["source"], ann["frames"], ann["reason"]) == (str(clip), 20, "finished")
    assert (ann["first"], ann["last"]) == (0.0, 1.9)
    assert ann["track"][0] == [0.0, 10, 50, 100, 140]
    # Every event names an existing crop, and each visit has one.
    files = {Path(event["best"]["file"]) for event in events}
    assert files == set(crops.iterdir())
    assert len(files) == 2
    assert all(cv2.imread(str(file)) is not None for file in files)


def test_more_faces_are_asked_for_where_they_are_given(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    pipeline.script = two_people
    run("send", clip, "--visits", tmp_path / "v.jsonl", "--max-faces", 3)
    assert {request["max_faces"] for request in pipeline.requests} == {3}


def test_an_interrupted_run_ends_its_visits_and_a_resumed_one_continues_the_file(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    # Ann is there in every frame. The function hangs from frame 12 on.
    held: list[bool] = [True]

    def script(request: dict[str, Any], _: int) -> Reply:
        if number(request) >= 12 and held[0]:
            return Reply(status=503, headers={"Retry-After": "1"})
        return two_people(request)

    pipeline.script = script
    path = tmp_path / "visits.jsonl"
    command = [
        Path(sys.executable).with_name("facectl"),
        "send", clip, "--visits", path, "-c", "2", "--asu-id", pipeline.deployment.asu_id,
        "--target", "local",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=dict(os.environ), text=True
    )

    def two_began() -> bool:
        return path.exists() and path.read_text().count('"start"') == 2

    until(lambda: two_began() or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 3, errors
    before = lines(path)
    assert [e["event"] for e in before] == ["start", "start", "end", "end"]
    assert {e["reason"] for e in before if e["event"] == "end"} == {"interrupted"}

    held[0] = False
    done = run("send", clip, "--visits", path, "-c", "2", "--resume")
    assert done.exit_code == 0, done.output
    after = lines(path)
    assert after[: len(before)] == before
    # Nothing starts twice; the visits end with all of their frames.
    assert [(e["event"], e["person"], e["reason"]) for e in after[len(before) :]] == [
        ("end", "Ann", "finished"),
        ("end", None, "finished"),
    ]
    assert after[-2]["visit"] == before[0]["visit"]
    assert after[-2]["frames"] == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--keep-crops", "crops"], "--keep-crops keeps crops of visits"),
        (["--visits", "v.jsonl", "--no-wait"], "--no-wait does not wait for any"),
        (["--visits", "missing/v.jsonl"], "can't be written: No such file or directory"),
        (["--visits", "/dev/zero"], "/dev/zero is not a regular file"),
        (["--visits", "notes.txt"], "notes.txt has no visits of facectl"),
        (["--visits", "v.jsonl", "--keep-crops", "notes.txt"], "notes.txt can't be created"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_sent(
    pipeline: Pipeline,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("to do\n")
    done = run("send", clip, *options)
    assert done.exit_code != 0
    output = done.output + str(done.exception)
    assert message in output
    assert pipeline.requests == []
