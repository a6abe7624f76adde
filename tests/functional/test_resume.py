"""`facectl send --resume` after clients that were killed, or had no room on the disk."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from stream_stub import Pipeline, Reply, answering, result, run, until

from facectl.errors import InputError
from facectl.stream.responses import HIDDEN_SECONDS
from facectl.stream.run_file import RunFile, RunTask
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty images."""
    found = tmp_path / "frames"
    found.mkdir()
    for number in range(30):
        cv2.imwrite(str(found / f"{number:02}.png"), np.full((32, 32, 3), number, np.uint8))
    return found


def killed_after(
    pipeline: Pipeline, frames: int, folder: Path, out: Path, *, answered: int
) -> None:
    """Kill a client when at least `frames` requests and `answered` answers have arrived."""
    client = subprocess.Popen(
        [Path(sys.executable).with_name("facectl"), "send", folder, "--out", out],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(
        lambda: (
            len(pipeline.requests) >= frames
            and out.exists()
            and len(out.read_bytes().splitlines()) >= answered
        )
    )
    client.send_signal(signal.SIGKILL)
    client.wait()


def run_files(isolated: Path) -> list[Path]:
    return sorted((isolated / "state" / "runs").glob("*.db"))


def outcomes(path: Path) -> dict[int, dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({line["frame"] for line in lines}) == len(lines)
    return {line["frame"]: line for line in lines}


def test_a_killed_run_is_resumed(
    pipeline: Pipeline, folder: Path, isolated: Path, tmp_path: Path
) -> None:
    killed = threading.Event()

    def named(request: dict[str, Any], number: int) -> Reply:
        # The client is killed while its last four frames are being taken.
        if number >= 12:
            killed.wait(120)
        return Reply(results=[result(request, f"person {request['filename']}")])

    pipeline.script = named
    out = tmp_path / "r.jsonl"
    killed_after(pipeline, 14, folder, out, answered=5)
    killed.set()
    [run_file] = run_files(isolated)
    assert stat.S_IMODE(run_file.stat().st_mode) == 0o600
    before = len(pipeline.requests)

    done = run("send", folder, "--out", out, "--resume", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["sent"], report["answered"]) == (30, 30)
    assert 0 < report["earlier"] <= before
    found = outcomes(out)
    assert sorted(found) == list(range(30))
    assert {n: f"person {line['name']}" for n, line in found.items()} == {
        n: line["result"] for n, line in found.items()
    }
    # Every answer had come, so no frame went twice.
    assert len({r["request_id"] for r in pipeline.requests}) == 30
    assert max(Counter(r["request_id"] for r in pipeline.requests).values()) == 1
    assert pipeline.left() == []
    assert run_files(isolated) == []


def test_an_unconfirmed_frame_is_sent_again(
    pipeline: Pipeline, folder: Path, tmp_path: Path
) -> None:
    gone = threading.Event()

    def swallowed(request: dict[str, Any], number: int) -> Reply:
        if number >= 10 and not gone.is_set():
            gone.wait(120)
            return Reply(hang_up=True)
        return answering(request, number)

    pipeline.script = swallowed
    out = tmp_path / "r.jsonl"
    killed_after(pipeline, 14, folder, out, answered=10)
    swallowed_ids = {r["request_id"] for r in pipeline.requests[10:]}
    gone.set()
    done = run("send", folder, "--out", out, "--resume")
    assert done.exit_code == 0, done.output
    assert "30 sent, 30 answered, 10 of them before the run was resumed" in done.stdout
    assert sorted(outcomes(out)) == list(range(30))
    counted = Counter(r["request_id"] for r in pipeline.requests)
    assert {request_id for request_id, times in counted.items() if times > 1} == swallowed_ids


def test_a_finished_run_leaves_nothing_to_resume(
    pipeline: Pipeline, folder: Path, isolated: Path
) -> None:
    assert run("send", folder).exit_code == 0
    assert run_files(isolated) == []
    done = run("send", folder, "--resume")
    assert isinstance(done.exception, InputError)
    assert "There is no unfinished run of" in str(done.exception)


def unanswered_seven(pipeline: Pipeline) -> list[str]:
    """Answer every frame but 07.png; returns the list that gets its answer."""
    late: list[str] = []

    def silent(request: dict[str, Any], number: int) -> Reply:
        if request["filename"] == "07.png":
            late.append(result(request))
            return Reply()
        return answering(request, number)

    pipeline.script = silent
    return late


def test_resume_waits_for_unanswered_frames(pipeline: Pipeline, folder: Path) -> None:
    late = unanswered_seven(pipeline)
    done = run("send", folder, "--timeout", 1)
    assert done.exit_code == 1
    assert "The same command with --resume continues this run" in done.stderr
    pipeline.put(late[0])
    done = run("send", folder, "--timeout", 5, "--resume")
    assert done.exit_code == 0, done.output
    assert len(pipeline.requests) == 30


def test_an_answer_that_an_earlier_client_received_and_did_not_delete_is_removed(
    pipeline: Pipeline, folder: Path
) -> None:
    late = unanswered_seven(pipeline)
    assert run("send", folder, "--timeout", 1).exit_code == 1
    [first] = [r for r in pipeline.requests if r["filename"] == "00.png"]
    pipeline.put(result(first))
    # Out of sight as long as a killed client's messages are.
    until(lambda: pipeline.hide_one(seconds=HIDDEN_SECONDS))
    pipeline.put(late[0])
    assert run("send", folder, "--timeout", 5, "--resume").exit_code == 0
    assert pipeline.left() == []


# Records frames until it is killed, or until the file may not grow.
WRITER = """
import resource, sys
from facectl.errors import FacectlError
from facectl.stream.outcomes import AcceptedPost, FrameOutcome
from facectl.stream.run_file import RunFile, RunTask
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions
from lambda_src.contract import FrameResult

run_file = RunFile.begin(RunTask("a", ("x",), Sampling(), RequestOptions()))
if sys.argv[1:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
index = 0
try:
    while True:
        run_file.sent(index, f"f{index}", 0.0)
        run_file.accepted(index, AcceptedPost(1, 1, 0.1))
        answer = FrameResult(f"r-{index}", f"person {index}")
        run_file.done(FrameOutcome(index, f"f{index}", "", 0.0, "answered", answer, 0.5))
        print(index, flush=True)
        index += 1
except FacectlError as error:
    sys.exit(str(error))
"""
TASK = RunTask("a", ("x",), Sampling(), RequestOptions())


def recorded_names() -> list[str]:
    """The results in the run file, in the order of the frames."""
    run_file = RunFile.resume(TASK)
    found = [outcome.answer.result for outcome in run_file.earlier() if outcome.answer is not None]
    run_file.close()
    return found


@pytest.mark.parametrize("lines", [1, 7, 400, 1100])
def test_a_kill_at_any_moment_loses_no_recorded_frame(lines: int) -> None:
    """400 frames and more are beyond the first checkpoint of the log."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(lines):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    last = int([str(lines - 1), *writer.stdout.read().split("\n")[:-1]][-1])
    writer.wait()
    found = recorded_names()
    assert len(found) in {last + 1, last + 2}
    assert found == [f"person {index}" for index in range(len(found))]


@pytest.mark.parametrize("room", [60_000, 100_001, 300_123])
def test_a_full_disk_names_the_file_and_keeps_what_was_recorded(isolated: Path, room: int) -> None:
    writer = subprocess.run(
        [sys.executable, "-c", WRITER, str(room)], capture_output=True, text=True, check=False
    )
    assert writer.returncode == 1
    [path] = run_files(isolated)
    assert writer.stderr.startswith(f"{path} can't be written: ")
    last = int(writer.stdout.split()[-1])
    assert recorded_names() == [f"person {index}" for index in range(last + 1)]
