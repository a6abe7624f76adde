"""`facectl send` against a scripted function and real queues."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import pytest
from stream_stub import (
    Emulator,
    Pipeline,
    Reply,
    answering,
    lines,
    noisy_clip,
    number,
    result,
    run,
    until,
)

from facectl import records
from facectl.context import Deployment
from facectl.errors import (
    CloudError,
    FacectlError,
    IncompleteError,
    InputError,
    NotRunningError,
)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return noisy_clip(tmp_path / "clip.avi", 64, 48)


def test_every_frame_is_answered_printed_written_and_drawn(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    pipeline.script = lambda request, _: Reply(
        results=[result(request, "Unknown" if number(request) % 2 else "Ann")]
    )
    video, out = tmp_path / "seen.mp4", tmp_path / "r.jsonl"
    done = run("send", clip, "--out", out, "--annotate", video, "--rows", 3)

    assert done.exit_code == 0, done.output
    assert [line.split()[1:4:2] for line in done.stdout.splitlines()[3:6]] == [
        ["clip-000000.jpg", "Ann"],
        ["clip-000001.jpg", "Unknown"],
        ["clip-000002.jpg", "Ann"],
    ]
    assert "and 17 more frames: --rows shows more, --out writes all\n" in done.stdout
    assert "Seen (number of frames): Ann (10), Unknown (10)\n" in done.stdout
    assert "\n20 sent, 20 answered, " in done.stdout
    assert done.stderr == f"Deployment: ASU ID {pipeline.deployment.key}\n"
    assert sorted(line["frame"] for line in lines(out)) == list(range(20))
    assert {line["status"] for line in lines(out)} == {"answered"}
    assert all(line["faces"][0]["box"] == [10, 10, 60, 60] for line in lines(out))
    assert cv2.VideoCapture(str(video), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FRAME_COUNT) == 20
    assert pipeline.left() == []


def test_the_options_are_in_the_requests(pipeline: Pipeline, clip: Path) -> None:
    run("send", clip, "--every", 5, "--max-frames", 3, "--max-side", 32, "--max-faces", 7,
        "--min-face-size", 40)  # fmt: skip
    assert sorted(r["filename"] for r in pipeline.requests) == [
        "clip-000000.jpg", "clip-000005.jpg", "clip-000010.jpg",
    ]  # fmt: skip
    assert {(r["max_faces"], r["min_face_size"]) for r in pipeline.requests} == {(7, 40)}
    assert not any("detail" in r for r in pipeline.requests)


def test_json_has_the_statistics_and_the_frames(pipeline: Pipeline, clip: Path) -> None:
    done = run("send", clip, "--max-frames", 2, "--json", "--detail")
    report = json.loads(done.stdout)
    assert (report["sent"], report["answered"], report["names"]) == (2, 2, {"Eileen": 2})
    assert [f["result"] for f in report["frames"]] == ["Eileen", "Eileen"]
    assert report["frames"][0]["timings_ms"] == {"detect": 5.0}
    assert report["lost"] == []


def test_another_clients_messages_stay_and_duplicates_count_once(
    pipeline: Pipeline, clip: Path
) -> None:
    others = [json.dumps({"request_id": f"other-{n}", "result": "Bob"}) for n in range(25)]
    others += ["not json", '{"hello": "world"}']
    for body in others:
        pipeline.put(body)
    pipeline.script = lambda request, _: Reply(results=[result(request), result(request)])
    done = run("send", clip)
    assert done.exit_code == 0, done.output
    assert "20 sent, 20 answered, " in done.stdout
    assert "Bob" not in done.stdout
    assert "contains answers of other runs that no client receives; they slow" in done.stderr
    left = pipeline.left()
    assert sorted(body for body in left if body in others) == sorted(others)
    # A duplicate that arrived after the last answer may be left; no frame's only answer is.
    assert len(left) - len(others) <= 20


def test_no_poll_is_open_after_a_run(pipeline: Pipeline, clip: Path) -> None:
    before = threading.enumerate()
    run("send", clip)
    for thread in threading.enumerate():
        if thread not in before and thread.name == "facectl-collect":
            # A poll that is left open would keep it for 20 s.
            thread.join(15)
            assert not thread.is_alive()
    pipeline.put("for someone else")
    received = pipeline.sqs.receive_message(QueueUrl=pipeline.responses, WaitTimeSeconds=0)
    assert [m["Body"] for m in received.get("Messages", [])] == ["for someone else"]


def test_two_clients_on_one_queue_receive_their_own_responses(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    results: dict[str, list[str]] = {}

    def client(name: str) -> None:
        out = tmp_path / f"{name}.jsonl"
        process = command("send", clip, "--out", out)
        process.communicate(timeout=120)
        assert process.returncode == 0
        results[name] = [line["request_id"] for line in lines(out)]

    threads = [threading.Thread(target=client, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(set(ids)) for ids in results.values()] == [20, 20]
    assert not set(results["one"]) & set(results["two"])
    assert pipeline.left() == []


def test_a_refused_frame_is_named_and_sets_the_exit_code(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    error = b'{"request_id": "x", "error": {"code": "bad_image", "message": "no image"}}'

    def script(request: dict[str, Any], _: int) -> Reply:
        return Reply(400, error) if number(request) in {3, 4, 9} else answering(request, 0)

    pipeline.script = script
    out = tmp_path / "r.jsonl"
    done = run("send", clip, "--out", out)
    assert done.exit_code == 1
    assert "17 sent, 17 answered" in done.stdout
    assert "3 refused: frames 3-4, 9\n" in done.stderr
    assert "frame 9 (clip-000009.jpg): 400: no image\n" in done.stderr
    assert {x["frame"]: x["error"] for x in lines(out) if x["status"] == "refused"} == (
        dict.fromkeys((3, 4, 9), "400: no image")
    )
    assert len(pipeline.requests) == 20


def test_an_unanswered_frame_is_named_and_sets_the_exit_code(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    pipeline.script = lambda request, _: (
        Reply() if number(request) in {5, 6} else answering(request, 0)
    )
    out = tmp_path / "r.jsonl"
    done = run("send", clip, "--timeout", 5, "--out", out)
    assert done.exit_code == 1
    assert "20 sent, 18 answered" in done.stdout
    assert "2 unanswered: frames 5-6\n" in done.stderr
    # In the order in which they were accepted, which the threads that send them decide.
    unanswered = [x["frame"] for x in lines(out) if x["status"] == "unanswered"]
    assert sorted(unanswered) == [5, 6]


def test_server_errors_lose_no_frame(pipeline: Pipeline, clip: Path) -> None:
    failures = iter([Reply(429), Reply(503), Reply(hang_up=True), Reply(500)] * 2)
    pipeline.script = lambda request, _: next(failures, None) or answering(request, 0)
    done = run("send", clip, "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (report["sent"], report["answered"], report["failed"]) == (20, 20, 0)
    assert len(pipeline.requests) == 28


def test_a_frame_whose_connection_broke_after_it_was_accepted_is_answered_once(
    pipeline: Pipeline, clip: Path
) -> None:
    seen: set[str] = set()

    def script(request: dict[str, Any], _: int) -> Reply:
        again = request["request_id"] in seen
        seen.add(request["request_id"])
        return Reply(results=[result(request)], hang_up=not again)

    pipeline.script = script
    done = run("send", clip, "--max-frames", 4, "--json")
    report = json.loads(done.stdout)
    assert (report["answered"], report["failed"]) == (4, 0)
    assert len(pipeline.requests) == 8


def test_no_wait_leaves_the_responses_for_tail(pipeline: Pipeline, clip: Path) -> None:
    done = run("send", clip, "--no-wait")
    assert done.exit_code == 0, done.output
    assert "\n20 sent, " in done.stdout
    assert "answered" not in done.stdout
    tail = run("tail", "--max", 20, "--timeout", 10)
    assert tail.exit_code == 0
    assert len(tail.stdout.splitlines()) == 20
    assert pipeline.left() == []


def test_realtime_sends_at_the_frame_rate(pipeline: Pipeline, clip: Path) -> None:
    began = time.perf_counter()
    report = json.loads(run("send", clip, "--realtime", "--max-frames", 11, "--json").stdout)
    assert report["answered"] == 11
    assert 1.0 <= report["seconds"] <= time.perf_counter() - began


def test_synthetic_weights_are_reported_with_every_name(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    records.remember(
        Deployment(**{**_fields(pipeline.deployment), "synthetic": True})  # type: ignore[arg-type]
    )
    out = tmp_path / "r.jsonl"
    done = run("send", clip, "--max-frames", 1, "--out", out, "--no-wait")
    assert "Synthetic weights: the names mean nothing" in done.stdout
    assert "so its names mean nothing" in " ".join(done.stderr.split())
    tail = run("tail", "--max", 1)
    assert "so its names mean nothing" in " ".join(tail.stderr.split())
    assert lines(out)[0]["synthetic"] is True
    run("send", clip, "--max-frames", 1, "--no-wait")
    assert json.loads(run("tail", "--max", 1, "--json").stdout)["synthetic"] is True


def _fields(deployment: Deployment) -> dict[str, object]:
    return {name: getattr(deployment, name) for name in Deployment.__dataclass_fields__}


def test_the_readable_frames_of_a_truncated_video_are_sent(pipeline: Pipeline, clip: Path) -> None:
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    done = run("send", clip)
    assert done.exit_code == 1
    assert f"{clip} is cut off or damaged: " in done.stderr
    assert "of the 20 frames that it announces could be read" in done.stderr
    assert 0 < len(pipeline.requests) < 20


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (["nowhere.mp4"], InputError, "No such file or folder: nowhere.mp4"),
        ([__file__], InputError, "is not a readable video or image"),
        (["{clip}", "--annotate", "a.txt"], InputError, "a.txt is not a video file name"),
        (["{clip}", "--annotate", "a.mp4", "--no-wait"], InputError, "--annotate draws"),
        (["{clip}", "--out", "/nowhere/r.jsonl"], InputError, "/nowhere/r.jsonl can't be written"),
        (["{clip}", "--fps", "2", "--every", "2"], InputError, "--every and --fps"),
        (
            ["{clip}", "--asu-id", "other", "--target", "local"],
            NotRunningError,
            "endpoint of the local cloud is unknown",
        ),
        (["{clip}", "--endpoint-url", "http://127.0.0.1:1"], NotRunningError, "does not answer"),
    ],
)
def test_bad_input_sends_nothing(
    pipeline: Pipeline, clip: Path, arguments: list[str], error: type[Exception], says: str
) -> None:
    done = run("send", *[a.format(clip=clip) for a in arguments])
    assert isinstance(done.exception, error)
    assert says in str(done.exception)
    assert pipeline.requests == []


def test_without_a_deployment_the_next_command_is_named(clip: Path) -> None:
    done = run("send", clip)
    assert isinstance(done.exception, InputError)
    assert "facectl demo" in (done.exception.hint or "")


def test_a_full_disk_ends_the_run_and_names_the_file(pipeline: Pipeline, clip: Path) -> None:
    done = run("send", clip, "--out", "/dev/full")
    assert isinstance(done.exception, IncompleteError | CloudError | Exception)
    assert "/dev/full can't be written any more" in str(done.exception)
    assert len(pipeline.left()) > 0


def test_the_report_is_printed_although_the_video_cannot_be_written(
    pipeline: Pipeline, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise FacectlError("the disk is full")

    monkeypatch.setattr("facectl.stream.annotate.draw_all", full)
    done = run("send", clip, "--annotate", tmp_path / "seen.mp4")
    assert "20 sent, 20 answered" in done.stdout
    assert isinstance(done.exception, IncompleteError)
    assert "the disk is full" in str(done.exception)


@pytest.fixture
def mortal(isolated: object, clip: Path) -> Iterator[tuple[Emulator, Pipeline]]:
    """An emulator that only one test uses, because it is killed."""
    emulator = Emulator()
    pipeline = Pipeline(answering, emulator.url)
    yield emulator, pipeline
    emulator.stop()


def test_responses_are_kept_when_the_emulator_is_killed(
    mortal: tuple[Emulator, Pipeline], clip: Path, isolated: Path, tmp_path: Path
) -> None:
    emulator, pipeline = mortal
    # The last ten are taken and never answered.
    pipeline.script = lambda request, count: answering(request, 0) if count < 10 else Reply()
    out = tmp_path / "r.jsonl"

    def die() -> None:
        until(lambda: arrived(isolated) == (20, 10))
        emulator.stop()
        pipeline.shut()

    threading.Thread(target=die).start()
    done = run("send", clip, "--out", out, "--timeout", 60)
    assert isinstance(done.exception, IncompleteError)
    assert "the local cloud does not answer" in str(done.exception)
    assert "The run ended early: 20 frames sent, 10 answered, 10 unanswered (frames " in str(
        done.exception
    )
    assert done.exception.hint == "facectl local up"
    written = lines(out)
    assert sorted(x["frame"] for x in written) == list(range(20))
    assert sum(x["status"] == "answered" for x in written) == 10
    assert sum(x["status"] == "unanswered" for x in written) == 10


def arrived(isolated: Path) -> tuple[int, int]:
    """The numbers of accepted and of answered frames in the client's run file."""
    found = list((isolated / "state" / "runs").glob("*.db"))
    if not found:
        return 0, 0
    # The client has locked the file, so a copy is read.
    copy = isolated / "copy.db"
    try:
        for suffix in ("", "-wal"):
            shutil.copy(f"{found[0]}{suffix}", f"{copy}{suffix}")
        with closing(sqlite3.connect(copy)) as connection:
            return connection.execute(
                "SELECT count(coalesce(status, attempts)), count(status) FROM frame"
            ).fetchone()
    except (FileNotFoundError, sqlite3.DatabaseError):
        # The client has not created the tables.
        return 0, 0


def command(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [Path(sys.executable).with_name("facectl"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )


def test_ctrl_c_stops_and_reports_frames_in_flight(
    pipeline: Pipeline, clip: Path, isolated: Path, tmp_path: Path
) -> None:
    # Ten are answered, the rest are taken and never answered.
    pipeline.script = lambda request, count: answering(request, 0) if count < 10 else Reply()
    out = tmp_path / "r.jsonl"
    sending = command("send", clip, "--out", out)
    until(lambda: arrived(isolated) == (20, 10))
    sending.send_signal(signal.SIGINT)
    stdout, stderr = sending.communicate(timeout=60)
    assert sending.returncode == 3
    assert "20 sent, 10 answered" in stdout
    assert "Stopped. 10 still in flight: frames " in stderr
    assert "facectl tail" in stderr
    assert "Traceback" not in stderr
    assert sum(x["status"] == "in-flight" for x in lines(out)) == 10


def test_ctrl_c_while_sending_starts_no_request(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    stopped = threading.Event()

    def held(request: dict[str, Any], count: int) -> Reply:
        if count >= 4:
            stopped.wait(120)
        return answering(request, 0)

    pipeline.script = held
    out = tmp_path / "r.jsonl"
    sending = command("send", clip, "--out", out, "-c", 2)
    until(lambda: len(pipeline.requests) == 6)
    sending.send_signal(signal.SIGINT)
    _, stderr = sending.communicate(timeout=60)
    stopped.set()
    assert sending.returncode == 3
    assert "Stopped. " in stderr
    assert len(pipeline.requests) == 6
    written = lines(out)
    assert len({x["frame"] for x in written}) == len(written)
    assert {x["status"] for x in written} <= {"answered", "in-flight", "unsent"}
    assert "Traceback" not in stderr
