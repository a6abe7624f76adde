"""What a run file keeps, and what becomes of it when it is damaged, locked, or old."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from facectl.errors import FacectlError, InputError
from facectl.stream.frames import Encoding
from facectl.stream.in_flight import InFlightTracker
from facectl.stream.outcomes import AcceptedPost, FrameOutcome
from facectl.stream.run_file import RunFile, RunTask, open_run_file
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions
from lambda_src.contract import FrameResult, NamedFace

NEW_RUN = "facectl send without --resume begins a new run"
FACE = NamedFace((1, 2, 3, 4), 0.99, "Ann", 0.5)
ANSWER = FrameResult("r-0", "Ann", (FACE,), {"detect": 1.0})
ANSWERED = FrameOutcome(0, "a", "r-0", 0.0, "answered", ANSWER, 0.5)


def task(*source: str) -> RunTask:
    return RunTask("a", source or ("x",), Sampling(), RequestOptions(Encoding()))


def run_files(isolated: Path) -> list[Path]:
    return sorted((isolated / "state" / "runs").glob("*.db"))


def record(run_file: RunFile) -> Iterator[None]:
    """Record an answered frame, an accepted one and a sent one; yield after each fact."""
    yield
    run_file.sent(0, "a", 0.0)
    yield
    run_file.accepted(0, AcceptedPost(1, 1, 0.1))
    yield
    run_file.sent(1, "b", 0.5)
    yield
    run_file.done(ANSWERED)
    yield
    run_file.accepted(1, AcceptedPost(2, 3, 0.2))
    yield
    run_file.sent(2, "c", 1.0)
    yield


def written(isolated: Path) -> Path:
    """The file of an interrupted run."""
    run_file = RunFile.begin(task())
    for _ in record(run_file):
        pass
    run_file.close()
    [path] = run_files(isolated)
    return path


def restored() -> tuple[int, int, int]:
    """The numbers of known, finished and waiting frames after a resume."""
    run_file = RunFile.resume(task())
    tracker = InFlightTracker(record=run_file)
    for outcome in run_file.earlier():
        tracker.restore(outcome)
    run_file.close()
    return tracker.counts.opened, tracker.counts.earlier, tracker.counts.waiting


def test_a_resumed_run_has_what_was_recorded() -> None:
    first = RunFile.begin(task())
    for _ in record(first):
        pass
    first.close()
    again = RunFile.resume(task())
    assert again.run == first.run
    answered, accepted, sent = again.earlier()
    assert answered == replace(
        ANSWERED, request_id=f"{first.run}-000000", delivery=AcceptedPost(1, 1, 0.1)
    )
    assert (accepted.index, accepted.name, accepted.timestamp) == (1, "b", 0.5)
    assert (accepted.status, accepted.delivery) == ("in-flight", AcceptedPost(2, 3, 0.2))
    assert (sent.status, sent.delivery, sent.request_id) == ("unsent", None, f"{first.run}-000002")
    assert [again.knows(n, name) for n, name in enumerate("abcd")] == [True, True, True, False]
    tracker = InFlightTracker(record=again)
    for outcome in again.earlier():
        tracker.restore(outcome)
    assert tracker.run == first.run
    assert tracker.unconfirmed(0) == {2}
    again.sent(3, "d", 2.0)
    again.close()
    assert restored() == (4, 1, 1)


@pytest.mark.parametrize("status", ["unanswered", "in-flight", "failed", "unsent"])
def test_an_outcome_that_a_later_process_may_change_is_not_final(status: str) -> None:
    run_file = RunFile.begin(task())
    run_file.sent(0, "a", 0.0)
    run_file.done(replace(ANSWERED, status=status, answer=None, error="503"))  # type: ignore[arg-type]
    run_file.close()
    again = RunFile.resume(task())
    [outcome] = again.earlier()
    assert (outcome.status, outcome.error) == ("unsent", None)
    # It is sent again, and refused.
    again.sent(0, "a", 0.0)
    again.done(replace(ANSWERED, status="refused", answer=None, error="400: no"))
    again.close()
    [outcome] = RunFile.resume(task()).earlier()
    assert (outcome.status, outcome.error) == ("refused", "400: no")


def test_a_late_answer_is_recorded_as_an_answer() -> None:
    run_file = RunFile.begin(task())
    run_file.sent(0, "a", 0.0)
    run_file.accepted(0, AcceptedPost(1, 1, 0.1))
    run_file.done(replace(ANSWERED, status="unanswered", answer=None, latency=None))
    assert run_file.outcome(0) == ("unanswered", None)
    run_file.done(replace(ANSWERED, status="late", latency=75.0))
    assert run_file.outcome(0) == ("answered", ANSWER)
    assert run_file.accepted_count() == 1
    run_file.close()
    assert restored() == (1, 1, 0)


def test_names_and_errors_may_hold_any_bytes() -> None:
    """A file name that is not UTF-8 has surrogates, which SQLite's text can't hold."""
    run_file = RunFile.begin(task())
    run_file.sent(0, "\udcff.png", 0.0)
    run_file.done(replace(ANSWERED, status="refused", answer=None, error="\udcff.png: no \ud800"))
    run_file.close()
    again = RunFile.resume(task())
    assert again.knows(0, "\udcff.png")
    [outcome] = again.earlier()
    assert (outcome.name, outcome.error) == ("\udcff.png", "\udcff.png: no \ud800")


def test_other_options_or_another_file_are_another_run(isolated: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"1")
    first = task(str(clip))
    RunFile.begin(first).close()
    other = RunTask("a", (str(clip),), Sampling(every=2), RequestOptions())
    with pytest.raises(InputError):
        RunFile.resume(other)
    RunFile.resume(first).close()
    clip.write_bytes(b"22")
    with pytest.raises(InputError):
        RunFile.resume(first)
    assert len(run_files(isolated)) == 1


def test_a_run_file_is_locked_while_its_run_goes_on(isolated: Path) -> None:
    running = RunFile.begin(task())
    with pytest.raises(InputError, match="A run of x is still in progress"):
        RunFile.resume(task())
    # A second run of the same frames leaves the first one's file alone.
    second = RunFile.begin(task())
    assert len(run_files(isolated)) == 2
    running.sent(0, "a", 0.0)
    running.close()
    second.remove()
    assert restored() == (1, 0, 0)
    RunFile.begin(task()).close()
    assert len(run_files(isolated)) == 1


def test_the_latest_of_several_interrupted_runs_is_resumed() -> None:
    runs = [RunFile.begin(task()) for _ in range(3)]
    for run_file in runs:
        run_file.close()
    path = runs[1]._path
    assert path is not None
    os.utime(path, (0, time.time() + 60))
    again = RunFile.resume(task())
    assert again.run == runs[1].run
    # While it goes on, the others can be resumed.
    assert RunFile.resume(task()).run != again.run


def test_old_files_are_removed(isolated: Path) -> None:
    path = written(isolated)
    of_an_earlier_version = path.with_suffix(".jsonl")
    of_an_earlier_version.touch()
    recent = path.with_name("0-0.jsonl")
    recent.touch()
    for file in (path, of_an_earlier_version):
        os.utime(file, (0, time.time() - 5 * 86_400))
    RunFile.begin(task("y")).remove()
    assert list(path.parent.iterdir()) == [recent]


def test_a_journal_of_an_earlier_version_is_refused(isolated: Path) -> None:
    path = written(isolated)
    journal = path.with_suffix(".jsonl")
    path.unlink()
    journal.write_text('{"run": "abc", "source": ["x"]}\n')
    with pytest.raises(InputError) as found:
        RunFile.resume(task())
    assert str(found.value) == (
        f"{journal} is of an earlier version of facectl, which this one can't resume"
    )
    assert found.value.hint == NEW_RUN
    # As the hint says.
    RunFile.begin(task()).remove()
    assert list(journal.parent.iterdir()) == []


def test_a_folder_that_can_not_be_written_is_named(isolated: Path) -> None:
    isolated.mkdir(parents=True)
    (isolated / "state").write_text("no folder")
    with pytest.raises(InputError, match=r"runs/.*db can't be written: "):
        RunFile.begin(task())


def test_a_frame_of_another_name_is_another_source(isolated: Path) -> None:
    written(isolated)
    with pytest.raises(InputError, match="frame 0 was a when this run began and is b now"):
        RunFile.resume(task()).knows(0, "b")


def test_a_camera_can_not_be_resumed() -> None:
    assert open_run_file(task("0"), live=True, resume=False) is None
    with pytest.raises(InputError, match="frames are gone"):
        open_run_file(task("0"), live=True, resume=True)


def test_a_full_disk_is_an_error_that_names_the_file(isolated: Path) -> None:
    run_file = RunFile.begin(task())
    run_file._connection.execute("PRAGMA max_page_count = 6")
    [path] = run_files(isolated)
    sent: list[int] = []

    def fill() -> None:
        for index in range(10_000):
            run_file.sent(index, f"frame-{index}", 0.0)
            sent.append(index)

    with pytest.raises(FacectlError) as found:
        fill()
    assert str(found.value) == f"{path} can't be written: database or disk is full"
    run_file.close()
    assert sent
    assert restored() == (len(sent), 0, 0)


# Damage.


def assert_damaged(path: Path) -> None:
    """A resume names the file and the next command, and leaves the file as it is."""
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(InputError) as found:
            RunFile.resume(task())
        assert str(found.value).startswith(f"{path} is damaged: ")
        assert found.value.hint == NEW_RUN
    assert path.read_bytes() == before


def resumed_unless_damaged(path: Path) -> RunFile | None:
    """The run, or None where a resume names the file and the next command."""
    try:
        return RunFile.resume(task())
    except InputError as error:
        told = str(error), error.hint
    assert told[0].startswith(f"{path} is damaged: ")
    assert told[1] == NEW_RUN
    return None


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE frame SET status = 'eaten' WHERE number = 0",
        'UPDATE frame SET answer = \'{"request_id": "r-0"}\' WHERE number = 0',
        "UPDATE frame SET answer = '[1, 2]' WHERE number = 0",
        "UPDATE frame SET answer = replace(hex(zeroblob(50000)), '0', '[') WHERE number = 0",
        "UPDATE frame SET error = NULL WHERE number = 0",
        "UPDATE frame SET latency = 'long' WHERE number = 0",
        "UPDATE frame SET name = '5'",
        "UPDATE frame SET name = 'not JSON'",
        "UPDATE frame SET name = CAST(x'22ff22' AS TEXT)",
        "UPDATE frame SET timestamp = 'noon'",
        "UPDATE frame SET faces = NULL WHERE number = 1",
        "UPDATE frame SET faces = 9e999",
        "UPDATE frame SET seconds = 'many'",
        "ALTER TABLE frame RENAME COLUMN latency TO lag",
        "DROP TABLE frame",
        "DROP TABLE run",
        "DELETE FROM run",
        "UPDATE run SET id = ''",
        "UPDATE run SET id = x'00'",
    ],
)
def test_damaged_content_is_an_error_that_says_what_to_do(isolated: Path, damage: str) -> None:
    path = written(isolated)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(damage)
    assert_damaged(path)
    # As the hint says.
    RunFile.begin(task()).remove()
    assert run_files(isolated) == []


@pytest.mark.parametrize("damage", [b"\0", b"\xff", b"{}\n"])
@pytest.mark.parametrize("page", range(4))
def test_a_damaged_page_is_an_error_or_does_not_matter(
    isolated: Path, page: int, damage: bytes
) -> None:
    path = written(isolated)
    content = path.read_bytes()
    assert len(content) == 4 * 4096
    begin, end = page * 4096, (page + 1) * 4096
    path.write_bytes(content[:begin] + (damage * 4096)[:4096] + content[end:])
    assert_damaged(path)
    RunFile.begin(task()).remove()


@pytest.mark.parametrize("length", [99, 4096, 8192, 8193, 3 * 4096 - 1, 3 * 4096])
def test_a_truncated_file_is_damaged(isolated: Path, length: int) -> None:
    path = written(isolated)
    os.truncate(path, length)
    assert_damaged(path)


def test_an_empty_file_is_damaged(isolated: Path) -> None:
    path = written(isolated)
    os.truncate(path, 0)
    assert_damaged(path)


def test_a_file_that_another_process_creates_is_left_alone(isolated: Path) -> None:
    """It is locked only when SQLite has written to it."""
    path = written(isolated)
    os.truncate(path, 0)
    RunFile.begin(task()).remove()
    assert run_files(isolated) == [path]
    os.utime(path, (0, time.time() - 61))
    RunFile.begin(task()).remove()
    assert run_files(isolated) == []


def test_a_torn_log_is_read_up_to_the_last_whole_fact(isolated: Path) -> None:
    """The log at every cut, with and without other bytes after it: facts 1 to n, never others."""
    run_file = RunFile.begin(task())
    [path] = run_files(isolated)
    log = path.with_name(path.name + "-wal")
    states = [list(run_file.earlier()) for _ in record(run_file)]
    whole, database = log.read_bytes(), path.read_bytes()
    run_file.close()
    frames = range(32, len(whole) + 1, 24 + 4096)
    cuts = [0, 31, *(cut for end in frames for cut in (end, end + 1, end + 2000))]
    reached = []
    for cut, tail in [(cut, tail) for cut in cuts for tail in (b"", b"\0" * 500, b"\xff" * 5000)]:
        path.write_bytes(database)
        log.write_bytes(whole[:cut] + tail)
        torn = resumed_unless_damaged(path)
        if torn is None:
            # Not even the tables were whole.
            assert not reached
            continue
        found = list(torn.earlier())
        assert found in states
        reached.append(states.index(found))
        # What is recorded next follows the last whole fact.
        torn.sent(9, "z", 9.0)
        torn.close()
        again = RunFile.resume(task())
        assert [o.index for o in again.earlier()] == [*(o.index for o in found), 9]
        again.close()
    assert reached == sorted(reached)
    assert set(reached) == set(range(len(states)))


def test_a_damaged_log_is_read_up_to_the_damage(isolated: Path) -> None:
    run_file = RunFile.begin(task())
    [path] = run_files(isolated)
    log = path.with_name(path.name + "-wal")
    states = [list(run_file.earlier()) for _ in record(run_file)]
    whole, database = log.read_bytes(), path.read_bytes()
    run_file.close()
    for place in range(0, len(whole), 1777):
        path.write_bytes(database)
        log.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        torn = resumed_unless_damaged(path)
        if torn is not None:
            assert list(torn.earlier()) in states
            torn.close()


def test_a_copy_of_a_file_in_use_can_be_resumed(isolated: Path) -> None:
    """The copy is what a process leaves that is killed."""
    run_file = RunFile.begin(task())
    for _ in record(run_file):
        pass
    [path] = run_files(isolated)
    copy = path.with_name(path.name.replace(".db", "0.db"))
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    run_file.remove()
    assert restored() == (3, 1, 1)


# What the video is drawn from.


def test_a_temporary_file_has_outcomes_and_images_in_order(isolated: Path) -> None:
    run_file = RunFile.temporary()
    assert not run_file.resumable
    for index in range(4):
        run_file.sent(index, f"f{index}", 0.0)
    for index, status in ((2, "answered"), (0, "unanswered"), (1, "refused")):
        answer = ANSWER if status == "answered" else None
        run_file.done(replace(ANSWERED, index=index, status=status, answer=answer))  # type: ignore[arg-type]
    for index in (2, 0):
        run_file.keep_image(index, bytes([index]))
    assert run_file.outcome(2) == ("answered", ANSWER)
    assert run_file.outcome(0) == ("unanswered", None)
    assert run_file.outcome(3) is None
    assert run_file.outcome(7) is None
    assert run_file.accepted_count() == 2
    assert [(f.index, f.file) for f in run_file.images()] == [(0, b"\x00"), (2, b"\x02")]
    run_file.remove()
    assert run_files(isolated) == []


def test_a_temporary_file_without_room_is_an_error_that_says_what_to_do() -> None:
    run_file = RunFile.temporary()
    run_file._connection.execute("PRAGMA max_page_count = 5")
    with pytest.raises(FacectlError, match="can't be stored: database or disk is full") as found:
        run_file.keep_image(0, bytes(100_000))
    assert "--annotate" in (found.value.hint or "")
    run_file.close()
