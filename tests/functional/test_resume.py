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
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from stream_stub import Pipeline, Reply, answering, result, until
from typer.testing import CliRunner, Result

from facectl.cli.app import app
from facectl.errors import InputError
from facectl.stream.frames import Encoding
from facectl.stream.in_flight import AcceptedPost, FrameOutcome, InFlightTracker
from facectl.stream.journal import Journal, RunTask, open_journal
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions
from lambda_src.contract import FrameResult


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
    until(
        lambda: (
            len(pipeline.requests) >= frames
            and out.exists()
            and len(out.read_bytes().splitlines()) >= answered
        )
    )
    client.send_signal(signal.SIGKILL)
    client.wait()


def journals(isolated: Path) -> list[Path]:
    return sorted((isolated / "state" / "runs").glob("*.jsonl"))


def outcomes(path: Path) -> dict[int, dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({line["frame"] for line in lines}) == len(lines)
    return {line["frame"]: line for line in lines}


def test_a_killed_run_is_gone_on_with(
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


def task(*source: str) -> RunTask:
    return RunTask("a", source, Sampling(), RequestOptions(Encoding()))


def test_other_options_or_another_file_are_another_run(isolated: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"1")
    first = task(str(clip))
    Journal.begin(first).close(finished=False)
    other = RunTask("a", (str(clip),), Sampling(every=2), RequestOptions())
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
    journal.accepted(0, AcceptedPost(1, 1, 0.1))
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
    tracker = InFlightTracker(record=last)
    last.restore(tracker)
    assert tracker.run == journal.run
    assert (tracker.counts.opened, tracker.counts.waiting) == (3, 1)
    assert tracker.unsure(0) == {1, 2}


WHOLE = [
    b'{"run": "abc", "source": ["x"]}',
    b'{"frame": 0, "name": "a", "timestamp": 0.0}',
    b'{"frame": 0, "faces": 1, "attempts": 1, "seconds": 0.1}',
    b'{"frame": 0, "name": "a", "request_id": "abc-000000", "timestamp": 0.0, "status": '  # noqa: ISC004
    b'"answered", "latency": 0.5, "error": null, "answer": "{\\"request_id\\": '
    b'\\"abc-000000\\", \\"result\\": \\"Ann\\"}", "delivery": null}',
    b'{"frame": 1, "name": "b", "timestamp": 1.0}',
]


def written(isolated: Path, lines: list[bytes], end: bytes = b"\n") -> Path:
    """The journal of a run that was cut off, with these lines."""
    Journal.begin(task("x")).close(finished=False)
    [path] = journals(isolated)
    path.write_bytes(b"\n".join(lines) + end)
    return path


def restored(journal: Journal) -> tuple[int, int, int]:
    """Frames that are known, that are finished, and that are waited for."""
    tracker = InFlightTracker(record=journal)
    journal.restore(tracker)
    return tracker.counts.opened, tracker.counts.earlier, tracker.counts.waiting


def test_a_whole_journal_is_read(isolated: Path) -> None:
    written(isolated, WHOLE)
    assert restored(Journal.resume(task("x"))) == (2, 1, 0)


@pytest.mark.parametrize(
    "damage",
    [
        b"\0\0\0\0",
        b"",
        b"[1, 2]",
        b"\xff",
        b"{}",
        b'{"frame": [], "attempts": 1}',
        b'{"frame": 7, "faces": 1, "attempts": 1, "seconds": 0.1}',
        b'{"frame": 0, "faces": 1e999, "attempts": 1, "seconds": 0.1}',
        b'{"frame": 0, "attempts": 1}',
        b'{"frame": 0, "name": 5, "timestamp": 0}',
        b'{"frame": 0, "name": "a", "timestamp": null}',
        b'{"frame": 0, "name": "a", "status": "answered"}',
        WHOLE[3].replace(b'"answered"', b'"eaten"'),
        WHOLE[3].replace(b'\\"result', b'\\"resul'),
        b"[" * 100_000,
    ],
)
def test_a_damaged_line_is_named_with_what_to_do(isolated: Path, damage: bytes) -> None:
    path = written(isolated, [*WHOLE[:3], damage, *WHOLE[3:]])
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(InputError) as found:
            Journal.resume(task("x"))
        assert str(found.value).startswith(f"{path} is damaged in line 4: ")
        assert found.value.hint == "facectl send without --resume begins a new run"
    assert path.read_bytes() == before
    # As the hint says.
    Journal.begin(task("x")).close(finished=True)


@pytest.mark.parametrize("head", [b"", b"{}", b'{"run": 5}', b'{"run": "abc"'])
def test_a_journal_without_its_head_is_damaged(isolated: Path, head: bytes) -> None:
    written(isolated, [head], b"\n" if head else b"")
    with pytest.raises(InputError, match="is damaged in line 1: "):
        Journal.resume(task("x"))


@pytest.mark.parametrize("torn", [WHOLE[4][:20], WHOLE[4], b"\0" * 500, b"\xff\n", b'{"fr\n'])
def test_a_last_line_that_is_torn_is_dropped_and_the_rest_is_kept(
    isolated: Path, torn: bytes
) -> None:
    path = written(isolated, [*WHOLE[:4], torn], b"")
    journal = Journal.resume(task("x"))
    assert restored(journal) == (1, 1, 0)
    assert not journal.knows(1, "b")
    journal.sent(1, "b", 1.0)
    journal.close(finished=False)
    assert path.read_bytes() == b"\n".join(WHOLE) + b"\n"


def test_a_late_answer_is_written_down_as_an_answer(isolated: Path) -> None:
    journal = Journal.begin(task("x"))
    journal.sent(0, "a", 0.0)
    journal.accepted(0, AcceptedPost(1, 1, 0.1))
    late = FrameOutcome(0, "a", "r-0", 0.0, "late", FrameResult("r-0", "Ann"), 75.0)
    journal.done(replace(late, status="unanswered", answer=None, latency=None))
    journal.done(late)
    journal.close(finished=False)
    assert restored(Journal.resume(task("x"))) == (1, 1, 0)


def test_a_folder_that_can_not_be_written_is_named(isolated: Path) -> None:
    isolated.mkdir(parents=True)
    (isolated / "state").write_text("no folder")
    with pytest.raises(InputError, match=r"runs/.*jsonl can't be written: "):
        Journal.begin(task("x"))


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
