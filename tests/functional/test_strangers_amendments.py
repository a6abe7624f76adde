"""Amendments of visits: who passes them on, to which receivers, and that it happens once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stranger_data import NOW, Collected, event, person, visit_id

from facectl.errors import InputError
from facectl.strangers import amendments
from facectl.strangers.amendments import Outputs, RunLock
from facectl.strangers.store import path
from facectl.visits.event_queue import EventQueue

pytestmark = pytest.mark.usefixtures("isolated")


def amended(collected: Collected, visit: str, name: str | None, number: int = 1) -> None:
    """Amend a visit, as an action does."""
    with collected.store.transaction():
        found = event(visit, name, "amend", amendment=f"a{number}")
        amendments.amend(collected.store, found)


@pytest.mark.parametrize(
    ("only", "ignored", "waiting"),
    [
        ((), (), 1),
        # It was told of Ada, and learns that it was somebody else.
        (("Ada",), (), 1),
        (("Bob",), (), 1),
        (("known",), (), 1),
        (("Eve",), (), 0),
        (("unknown",), (), 0),
        ((), ("Ada", "Bob"), 0),
        ((), ("Bob",), 1),
    ],
)
def test_a_receiver_of_the_old_or_the_new_name_gets_the_amendment(
    only: tuple[str, ...], ignored: tuple[str, ...], waiting: int
) -> None:
    queue = EventQueue.id_of("https://example.org/hook")
    outputs = Outputs("clip.avi", None, (queue,), only, ignored)
    collected = Collected(outputs=outputs)
    collected.visit(visit_id(1), person(1, 3), "Ada")
    amended(collected, visit_id(1), "Bob")
    assert amendments.deliver(collected.store) == []
    events = EventQueue.of(queue, "next")
    assert events.waiting() == waiting
    first = events.first()
    events.close(finished=False)
    assert (first is not None) == bool(waiting)
    if first is not None:
        assert (json.loads(first.body)["person"], first.key) == ("Bob", f"{visit_id(1)}/amend/a1")


def test_a_run_takes_its_amendments_once_and_in_order() -> None:
    collected = Collected()
    for number, name in ((1, "Ada"), (2, "Bob")):
        amended(collected, visit_id(7), name, number)
    amended(collected, "ffffffffffff-000000-0", "Eve")
    taken = amendments.taken(collected.store, visit_id(7)[:12])
    assert [each.person for each in taken] == ["Ada", "Bob"]
    assert amendments.taken(collected.store, visit_id(7)[:12]) == []
    assert [each.person for each in amendments.taken(collected.store, "ffffffffffff")] == ["Eve"]


def test_a_run_that_is_in_progress_holds_up_no_other(tmp_path: Path) -> None:
    runs = ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")
    files = {run: tmp_path / f"{run}.jsonl" for run in runs}
    store = Collected().store
    for run, file in files.items():
        file.touch()
        ended = event(f"{run}-000000-0", None)
        amendments.remember(store, ended, Outputs("clip.avi", file), NOW)
        with store.transaction():
            amendments.amend(store, event(ended.visit, "Ada", "amend", amendment="a1"))
    lock = RunLock("alice", runs[1])
    assert amendments.deliver(store) == []
    assert [file.read_text().count("Ada") for file in files.values()] == [1, 0, 1]
    lock.close()
    assert amendments.deliver(store) == []
    assert [file.read_text().count("Ada") for file in files.values()] == [1, 1, 1]


def test_what_cannot_be_written_holds_up_nothing_else(tmp_path: Path) -> None:
    collected = Collected(outputs=Outputs("clip.avi", tmp_path / "damaged.jsonl"))
    (tmp_path / "damaged.jsonl").write_text("no visits\n")
    collected.visit(visit_id(1), person(1, 3))
    good = Outputs("clip.avi", tmp_path / "visits.jsonl")
    (tmp_path / "visits.jsonl").touch()
    amendments.remember(collected.store, event(visit_id(2), None), good, NOW)
    # A file that was deleted meanwhile is not made again, and is no problem.
    gone = Outputs("clip.avi", tmp_path / "gone.jsonl")
    amendments.remember(collected.store, event(visit_id(3), None), gone, NOW)
    for number in (1, 2, 3):
        amended(collected, visit_id(number), "Ada")
    [problem] = amendments.deliver(collected.store)
    assert problem.startswith(f"The amendment of visit {visit_id(1)} waits: ")
    assert "line 1 is not an event" in problem
    assert (tmp_path / "visits.jsonl").read_text().count("Ada") == 1
    assert not (tmp_path / "gone.jsonl").exists()
    # It is tried again, and the others are not written twice.
    (tmp_path / "damaged.jsonl").write_text("")
    assert amendments.deliver(collected.store) == []
    for name in ("damaged", "visits"):
        assert (tmp_path / f"{name}.jsonl").read_text().count("Ada") == 1


def test_the_lock_of_a_run_is_released_even_if_its_file_is_gone() -> None:
    Collected()
    lock = RunLock("alice", "aaaaaaaaaaaa")
    with pytest.raises(InputError, match="run aaaaaaaaaaaa is continued by another process"):
        RunLock("alice", "aaaaaaaaaaaa")
    path("alice").with_name("alice-aaaaaaaaaaaa.lock").unlink()
    lock.close()
    RunLock("alice", "aaaaaaaaaaaa").close()
