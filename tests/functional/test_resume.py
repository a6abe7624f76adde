"""`facectl send --resume`: killed clients, and what their successors make of the journal."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from stream_stub import Pipeline, Reply, answering, result
from typer.testing import CliRunner, Result

from facectl.cli.app import app
from facectl.errors import InputError
from facectl.stream.frames import Encoding
from facectl.stream.journal import Journal, Task, open_journal
from facectl.stream.ledger import Delivery, Ledger
from facectl.stream.selection import Selection
from facectl.stream.sender import Asking


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty images."""
    found = tmp_path / "frames"
    found.mkdir()
    for number in range(30):
        cv2.imwrite(str(found / f"{number:02}.png"), np.full((32, 32, 3), number, np.uint8))
    return found


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


def killed_after(
    pipeline: Pipeline, frames: int, folder: Path, out: Path, *, answered: int
) -> None:
    """A client that is killed when so many frames have arrived, and so many answers."""
    client = subprocess.Popen(
        [Path(sys.executable).with_name("facectl"), "send", folder, "--out", out],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (
        len(pipeline.requests) < frames
        or not out.exists()
        or len(out.read_bytes().splitlines()) < answered
    ):
        time.sleep(0.002)
    client.send_signal(signal.SIGKILL)
    client.wait()
    assert len(pipeline.requests) >= frames


def journals(isolated: Path) -> list[Path]:
    return sorted((isolated / "state" / "runs").glob("*.jsonl"))


def outcomes(path: Path) -> dict[int, dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({line["frame"] for line in lines}) == len(lines)
    return {line["frame"]: line for line in lines}


def named(request: dict[str, Any], _: int) -> Reply:
    time.sleep(0.1)
    return Reply(results=[result(request, f"person {request['filename']}")])


def test_a_killed_run_is_gone_on_with(
    pipeline: Pipeline, folder: Path, isolated: Path, tmp_path: Path
) -> None:
    pipeline.script = named
    out = tmp_path / "r.jsonl"
    killed_after(pipeline, 12, folder, out, answered=5)
    [journal] = journals(isolated)
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
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
    assert journals(isolated) == []


def test_a_frame_that_never_arrived_is_sent_again(
    pipeline: Pipeline, folder: Path, tmp_path: Path
) -> None:
    gone = threading.Event()

    def swallowed(request: dict[str, Any], number: int) -> Reply:
        if number >= 10 and not gone.is_set():
            gone.wait(20)
            return Reply(hang_up=True)
        return answering(request, number)

    pipeline.script = swallowed
    out = tmp_path / "r.jsonl"
    killed_after(pipeline, 14, folder, out, answered=10)
    swallowed_ids = {r["request_id"] for r in pipeline.requests[10:]}
    gone.set()
    done = run("send", folder, "--out", out, "--resume")
    assert done.exit_code == 0, done.output
    assert "30 sent, 30 answered, 10 of them before it was taken up again" in done.stdout
    assert sorted(outcomes(out)) == list(range(30))
    counted = Counter(r["request_id"] for r in pipeline.requests)
    assert {request_id for request_id, times in counted.items() if times > 1} == swallowed_ids


def test_a_run_that_ended_well_leaves_nothing_to_go_on_with(
    pipeline: Pipeline, folder: Path, isolated: Path
) -> None:
    assert run("send", folder).exit_code == 0
    assert journals(isolated) == []
    done = run("send", folder, "--resume")
    assert isinstance(done.exception, InputError)
    assert "There is no unfinished run of" in str(done.exception)


def test_unanswered_frames_are_waited_for_again(pipeline: Pipeline, folder: Path) -> None:
    late: list[str] = []

    def silent(request: dict[str, Any], number: int) -> Reply:
        if request["filename"] == "07.png":
            late.append(result(request))
            return Reply()
        return answering(request, number)

    pipeline.script = silent
    done = run("send", folder, "--timeout", 1)
    assert done.exit_code == 1
    assert "The same command with --resume goes on with this run" in done.stderr
    pipeline.put(late[0])
    done = run("send", folder, "--timeout", 5, "--resume")
    assert done.exit_code == 0, done.output
    assert len(pipeline.requests) == 30


def task(*source: str) -> Task:
    return Task("a", source, Selection(), Asking(Encoding()))


def test_other_options_or_another_file_are_another_run(isolated: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"1")
    first = task(str(clip))
    Journal.begin(first).close(finished=False)
    other = Task("a", (str(clip),), Selection(every=2), Asking())
    with pytest.raises(InputError):
        Journal.resume(other)
    Journal.resume(first).close(finished=False)
    clip.write_bytes(b"22")
    with pytest.raises(InputError):
        Journal.resume(first)
    assert len(journals(isolated)) == 1


def test_a_run_that_goes_on_is_nobody_elses(isolated: Path) -> None:
    running = Journal.begin(task("x"))
    with pytest.raises(InputError, match="still going on"):
        Journal.resume(task("x"))
    # A second run of the same frames leaves the first one's journal alone.
    second = Journal.begin(task("x"))
    assert len(journals(isolated)) == 2
    running.close(finished=False)
    second.close(finished=True)
    Journal.begin(task("x")).close(finished=False)
    assert len(journals(isolated)) == 1


def test_a_line_that_was_cut_off_is_no_line(isolated: Path) -> None:
    journal = Journal.begin(task("x"))
    journal.sent(0, "a", 0.0)
    journal.accepted(0, Delivery(1, 1, 0.1))
    journal.sent(1, "b", 1.0)
    journal.close(finished=False)
    [path] = journals(isolated)
    with path.open("ab") as stream:
        stream.write(b'{"frame": 1, "faces": 1, "att')
    again = Journal.resume(task("x"))
    again.sent(2, "c", 2.0)
    again.close(finished=False)
    last = Journal.resume(task("x"))
    assert [last.knows(n, name) for n, name in enumerate("abcd")] == [True, True, True, False]
    ledger = Ledger(record=last)
    last.restore(ledger)
    assert ledger.run == journal.run
    assert (ledger.counts.opened, ledger.counts.waiting) == (3, 1)
    assert ledger.unsure(0) == {1, 2}


def test_a_frame_of_another_name_is_another_source() -> None:
    journal = Journal.begin(task("x"))
    journal.sent(0, "a", 0.0)
    journal.close(finished=False)
    with pytest.raises(InputError, match="frame 0 was a when this run began and is b now"):
        Journal.resume(task("x")).knows(0, "b")


def test_a_camera_cannot_be_gone_on_with() -> None:
    assert open_journal(task("0"), live=True, resume=False) is None
    with pytest.raises(InputError, match="frames are gone"):
        open_journal(task("0"), live=True, resume=True)


def test_old_journals_are_removed(isolated: Path) -> None:
    Journal.begin(task("x")).close(finished=False)
    [path] = journals(isolated)
    os.utime(path, (0, time.time() - 5 * 86_400))
    Journal.begin(task("y")).close(finished=True)
    assert journals(isolated) == []
