"""`facectl send` with several sources against a scripted function and real queues."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from stream_stub import Pipeline, Reply, answering, lines, noisy_clip, result, run, until

from facectl.errors import IncompleteError, InputError


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    return [noisy_clip(tmp_path / f"{name}.avi", 64, 48) for name in ("door", "yard", "hall")]


def by_camera(pipeline: Pipeline) -> None:
    """Have the function answer each frame with the name of its video."""
    pipeline.script = lambda request, _: Reply(
        results=[result(request, request["filename"].partition("-")[0])]
    )


def test_each_camera_has_its_figures_and_the_answers_to_its_frames(
    pipeline: Pipeline, clips: list[Path], tmp_path: Path
) -> None:
    by_camera(pipeline)
    out = tmp_path / "r.jsonl"
    done = run("send", *clips, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["sent"], report["answered"], report["interrupted"]) == (60, 60, False)
    assert list(report["cameras"]) == [str(clip) for clip in clips]
    for clip in clips:
        camera = report["cameras"][str(clip)]
        assert (camera["sent"], camera["names"]) == (20, {clip.stem: 20})
        assert len(camera["frames"]) == 20
    written = [(line["camera"], line["result"], line["frame"]) for line in lines(out)]
    assert sorted(written) == sorted((str(c), c.stem, n) for c in clips for n in range(20))
    assert pipeline.left() == []


def test_the_table_has_a_row_for_each_camera(
    pipeline: Pipeline, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_camera(pipeline)
    # Long paths would be wrapped.
    monkeypatch.chdir(clips[0].parent)
    done = run("send", clips[0].name, clips[1].name, "--max-frames", 3)
    assert done.exit_code == 0, done.output
    rows = [[cell.strip() for cell in line.split("│")] for line in done.stdout.splitlines()]
    assert [[row[1], *row[2:5], row[7]] for row in rows if len(row) > 7] == [
        [clips[0].name, "3", "3", "0", "door (3)"],
        [clips[1].name, "3", "3", "0", "yard (3)"],
    ]
    assert "2 cameras, 6 sent, 6 answered, " in done.stdout


def test_a_file_of_cameras_gives_each_its_rate_size_and_name(
    pipeline: Pipeline, clips: list[Path], tmp_path: Path
) -> None:
    by_camera(pipeline)
    path = tmp_path / "cameras.yaml"
    path.write_text(
        "cameras:\n"
        "  - {name: Door, source: door.avi, fps: 5}\n"
        "  - {name: Yard, source: yard.avi, max_frames: 4, max_side: 32}\n"
        "  - {source: hall.avi}\n"
    )
    done = run("send", "--cameras", path, "--every", 2, "--json")
    assert done.exit_code == 0, done.output
    cameras = json.loads(done.stdout)["cameras"]
    assert {name: camera["sent"] for name, camera in cameras.items()} == {
        "Door": 10,
        "Yard": 4,
        str(tmp_path / "hall.avi"): 10,
    }
    sizes = {}
    for request in pipeline.requests:
        file = np.frombuffer(base64.b64decode(request["content"]), np.uint8)
        sizes[request["filename"].partition("-")[0]] = cv2.imdecode(file, cv2.IMREAD_COLOR).shape
    assert sizes == {"door": (48, 64, 3), "yard": (24, 32, 3), "hall": (48, 64, 3)}


def test_one_dead_camera_leaves_the_others_and_shows_in_the_exit_code(
    pipeline: Pipeline, clips: list[Path]
) -> None:
    by_camera(pipeline)
    # Nothing listens at port 9; the user's password is not printed.
    dead = "rtsp://me:secret@127.0.0.1:9/stream"
    done = run("send", clips[0], dead, clips[1], "--json")
    report = json.loads(done.stdout)
    assert isinstance(done.exception, IncompleteError)
    assert str(done.exception) == (
        "1 of 3 cameras ended early. rtsp://127.0.0.1:9/stream can't be opened"
    )
    assert "can't be opened" in report["cameras"]["rtsp://127.0.0.1:9/stream"]["error"]
    assert report["answered"] == 40
    assert "secret" not in done.output + str(done.exception)


def test_a_camera_whose_frames_are_refused_does_not_end_the_others(
    pipeline: Pipeline, clips: list[Path]
) -> None:
    refusal = b'{"error": {"code": "bad", "message": "no image"}}'
    pipeline.script = lambda request, n: (
        Reply(400, refusal) if request["filename"].startswith("door") else answering(request, n)
    )
    done = run("send", *clips[:2])
    assert done.exit_code == 1
    assert f"{clips[0]}: 20 refused: frames 0-19" in done.stderr
    assert "2 cameras, 20 sent, 20 answered, " in done.stdout


def test_each_camera_has_its_video_and_the_visits_name_theirs(
    pipeline: Pipeline, clips: list[Path], tmp_path: Path
) -> None:
    by_camera(pipeline)
    path = tmp_path / "cameras.yaml"
    path.write_text(
        "cameras: [{name: Front door, source: door.avi}, {name: Yard, source: yard.avi}]"
    )
    visits, received = tmp_path / "visits.jsonl", tmp_path / "received"
    program = tmp_path / "receive"
    program.write_text(f"#!/bin/sh\ncat >> {received}\necho >> {received}\n")
    program.chmod(0o755)
    done = run(
        "send", "--cameras", path, "--annotate", tmp_path / "seen.mp4", "--visits", visits,
        "--on-visit", f"command:{program}",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    for name in ("seen-Front-door.mp4", "seen-Yard.mp4"):
        video = cv2.VideoCapture(str(tmp_path / name), cv2.CAP_FFMPEG)
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 20
    assert not (tmp_path / "seen.mp4").exists()
    events = sorted((e["source"], e["event"], e["person"]) for e in lines(visits))
    assert events == [
        ("Front door", "end", "door"),
        ("Front door", "start", "door"),
        ("Yard", "end", "yard"),
        ("Yard", "start", "yard"),
    ]
    sent = [json.loads(line) for line in received.read_text().splitlines() if line]
    assert sorted((e["source"], e["event"], e["person"]) for e in sent) == events
    assert "Front door: 1 visit: door 1\n" in done.stderr
    assert "Yard: 1 visit: yard 1\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cameras", "cameras.yaml", "door.avi"], "give no others beside it"),
        (["--cameras", "absent.yaml"], "absent.yaml can't be read"),
        (["door.avi", "yard.avi", "--resume"], "continues the run of one source"),
        (["door.avi", "absent.avi"], "No such file or folder: absent.avi"),
        (["door.avi", "cut.avi"], "cut.avi is not a readable video"),
        (["door.avi", "door.avi"], "2 cameras are named door.avi"),
        (["a/x-1.avi", "a-x-1.avi", "--annotate", "s.mp4"], "s-a-x-1.avi.mp4 for two cameras"),
        ([], "No source of frames"),
    ],
)
def test_what_cannot_be_is_an_error_before_anything_is_sent(
    pipeline: Pipeline,
    clips: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cut.avi").write_bytes(b"\x00\x01" * 100)
    Path("a").mkdir()
    Path("a/x-1.avi").write_bytes(clips[0].read_bytes())
    Path("a-x-1.avi").write_bytes(clips[0].read_bytes())
    done = run("send", *arguments)
    assert isinstance(done.exception, InputError), done.output
    assert message in str(done.exception)
    assert pipeline.requests == []


def test_ctrl_c_ends_all_cameras_and_each_can_be_resumed_alone(
    pipeline: Pipeline, clips: list[Path]
) -> None:
    held = [True]

    def script(request: dict[str, object], n: int) -> Reply:
        while held[0] and str(request["filename"]) >= "yard-000005":
            time.sleep(0.02)
        return answering(request, n)  # type: ignore[arg-type]

    pipeline.script = script
    command = [Path(sys.executable).with_name("facectl"), "send", *clips[:2], "-c", "2", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: any(r["filename"] == "yard-000005.jpg" for r in pipeline.requests))
    os.kill(process.pid, signal.SIGINT)
    try:
        stdout, stderr = process.communicate(timeout=60)
    finally:
        held[0] = False
    report = json.loads(stdout)
    assert process.returncode == 3, stderr
    assert report["interrupted"]
    assert f"facectl send of {clips[1]} alone with the same options and --resume" in stderr
    done = run("send", clips[1], "-c", 2, "--resume", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["answered"] == 20
