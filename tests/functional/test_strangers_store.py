"""The store of strangers: what merges, what is forgotten, and several processes with one file."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import numpy as np
import pytest
from stranger_data import NOW, RUN, Collected, event, person, visit_id

from facectl.errors import FacectlError, InputError
from facectl.gallery import people
from facectl.strangers import additions, amendments, store
from facectl.strangers.store import StrangerStore

pytestmark = pytest.mark.usefixtures("isolated")


def at(*angles: float) -> np.ndarray:
    """Embeddings in one plane; neighbours are at most 43 degrees apart."""
    radians = np.radians(angles)
    vectors = np.zeros((len(angles), 512), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(radians), np.sin(radians)
    return vectors


def everything() -> bytes:
    """The bytes of all files of strangers."""
    return b"".join(file.read_bytes() for file in store.path("alice").parent.iterdir())


@pytest.mark.parametrize("how", ["open", "ignored", "named", "apart"])
def test_collecting_merges_open_groups_only(how: str) -> None:
    collected = Collected()
    collected.visit(visit_id(1), at(0, 1, 2))
    collected.visit(visit_id(2), at(80, 81, 82))
    with collected.store.transaction():
        if how == "apart":
            collected.store.execute("INSERT INTO apart VALUES (1, 2)")
        elif how != "open":
            collected.store.set_state(2, how, "Ada" if how == "named" else None)  # type: ignore[arg-type]
    # A neighbour of all six.
    collected.visit(visit_id(3), at(41))
    merged = how == "open"
    assert [group.id for group in collected.store.groups(every=True)] == (
        ["s-1"] if merged else ["s-1", "s-2"]
    )
    assert len(collected.store.faces("s-1")) == (7 if merged else 4)
    assert len(collected.store.faces("s-2")) == (7 if merged else 3)


def test_what_another_process_forgot_is_no_neighbour_of_new_faces() -> None:
    collected = Collected()
    collected.visit(visit_id(1), person(1, 8)[:5])
    with closing(StrangerStore.open("alice")) as other:
        assert other.forget(["s-1"]) == 5
    collected.visit(visit_id(2), person(1, 8)[5:7])
    assert collected.store.group_of_visit(visit_id(2)) is None
    collected.visit(visit_id(3), person(1, 8)[7:])
    # Ids are not used again: an old one must not mean somebody else.
    assert [(group.id, group.faces) for group in collected.store.groups()] == [("s-2", 3)]


def test_faces_that_are_left_after_forgetting_are_neighbours_still() -> None:
    collected = Collected()
    collected.visit(visit_id(1), person(1, 3)[:1])
    collected.visit(visit_id(2), person(2, 3))
    with closing(StrangerStore.open("alice")) as other:
        assert other.forget(["s-1"]) == 3
    collected.visit(visit_id(3), person(1, 3)[1:])
    assert [(group.id, group.faces) for group in collected.store.groups()] == [("s-2", 3)]


def test_two_processes_group_each_others_faces() -> None:
    first, second = Collected(), Collected()
    faces = person(1, 6)
    for number, embedding in enumerate(faces):
        (first, second)[number % 2].visit(visit_id(number), embedding[None])
    assert [(group.id, group.faces) for group in first.store.groups()] == [("s-1", 6)]
    with first.store.transaction():
        first.store.move([first.store.faces("s-1")[0].id], first.store.new_group())
    second.visit(visit_id(7), person(1, 7)[6:])
    assert {group.id: group.faces for group in second.store.groups()} == {"s-1": 6, "s-2": 1}


def test_groups_are_listed_with_the_one_seen_last_first() -> None:
    collected = Collected()
    for number, days in ((1, 3), (2, 1), (3, 2)):
        collected.visit(visit_id(number), person(number, 3), days_ago=days)
    collected.visit(visit_id(4), person(3, 4)[3:], days_ago=0.5)
    groups = collected.store.groups()
    assert [group.id for group in groups] == ["s-3", "s-2", "s-1"]
    assert (groups[0].first_seen, groups[0].last_seen) == (
        NOW - timedelta(days=2),
        NOW - timedelta(days=0.5),
    )
    assert groups[0].visits == (visit_id(3), visit_id(4))


def test_nothing_of_a_person_of_the_gallery_is_left_after_forgetting() -> None:
    collected = Collected()
    collected.visit(visit_id(1), person(1, 3), "Ada Lovelace")
    collected.visit(visit_id(2), person(2, 3), "Bob")
    with collected.store.transaction():
        amended = event(visit_id(1), "Ada Lovelace", "amend", amendment="a1")
        amendments.amend(collected.store, amended)
    assert b"Ada Lovelace" in everything()
    people.forget("alice", "Ada Lovelace")
    assert amendments.last_event(collected.store, visit_id(1)) is None
    assert amendments.last_event(collected.store, visit_id(2)) is not None
    collected.store.close()
    assert b"Ada Lovelace" not in everything()
    assert b"Bob" in everything()


def test_old_faces_are_deleted_by_any_run_and_no_file_is_made_for_that() -> None:
    collected = Collected()
    # Months ago by the clock of this computer.
    collected.visit(visit_id(1), person(1, 3), days_ago=60)
    store.prune("alice")
    assert collected.store.faces_of_visit(visit_id(1)) == []
    store.prune("bob")
    assert not store.path("bob").exists()


def test_forgetting_a_group_deletes_every_face_of_its_visits() -> None:
    collected = Collected()
    turned_away = person(1, 1, spread=3.0)
    collected.visit(visit_id(1), np.concatenate([person(1, 3), turned_away]))
    collected.visit(visit_id(2), person(2, 3))
    assert collected.store.forget(["s-1"]) == 4
    assert {group.id for group in collected.store.groups(every=True)} == {"s-2"}
    with pytest.raises(InputError, match="no group of strangers is called 's-1'"):
        collected.store.state("s-1")


def test_a_visit_is_of_the_group_that_most_of_its_faces_are_in() -> None:
    collected = Collected()
    collected.visit(visit_id(1), person(1, 3))
    collected.visit(visit_id(2), person(2, 3))
    collected.visit(visit_id(3), np.concatenate([person(1, 4)[3:], person(2, 5)[3:]]))
    assert collected.store.group_of_visit(visit_id(3)) == "s-2"
    assert collected.store.group_of_visit(f"{RUN}-999999-0") is None


def test_the_oldest_faces_are_deleted_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(additions, "MOST_FACES", 10)
    monkeypatch.setattr(additions, "_DELETED", 4)
    collected = Collected()
    # The oldest visits are added last, as a camera with a wrong clock does.
    collected.visit(visit_id(1), person(1, 5), days_ago=1)
    collected.visit(visit_id(2), person(2, 5), days_ago=3)
    assert {group.id: group.faces for group in collected.store.groups()} == {"s-1": 5, "s-2": 5}
    collected.visit(visit_id(3), person(1, 6)[5:])
    assert {group.id: group.faces for group in collected.store.groups()} == {"s-1": 6, "s-2": 1}
    # What is left is the same person as before.
    collected.visit(visit_id(4), person(2, 6)[5:])
    assert collected.store.group_of_visit(visit_id(4)) == "s-2"


@pytest.mark.parametrize("version", [2, 99, -1])
def test_a_file_of_another_version_is_refused_and_left_alone(version: int) -> None:
    collected = Collected()
    collected.visit(visit_id(1), person(1, 3))
    assert collected.store.select("PRAGMA user_version") == [(1,)]
    collected.store.execute(f"PRAGMA user_version = {version}")
    collected.store.close()
    before = everything()
    with pytest.raises(FacectlError, match="is of another version of facectl") as caught:
        StrangerStore.open("alice")
    assert caught.value.hint == f"delete {store.path('alice')}: it holds strangers only"
    assert everything() == before


def test_a_damaged_file_is_said_with_what_to_do() -> None:
    Collected().store.close()
    store.path("alice").write_bytes(b"no database, and longer than a header " * 100)
    with pytest.raises(FacectlError, match="is damaged") as caught:
        StrangerStore.open("alice")
    assert caught.value.hint == f"delete {store.path('alice')}: it holds strangers only"


def test_a_full_disk_is_said_and_leaves_what_was_there() -> None:
    collected = Collected()
    collected.visit(visit_id(1), person(1, 3))
    [(pages,)] = collected.store.select("PRAGMA page_count")
    collected.store.select(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(FacectlError, match=r"no room left on the disk of .*alice\.db"):
        collected.visit(visit_id(2), person(2, 20))
    assert len(collected.store.faces("s-1")) == 3
    with pytest.raises(FacectlError, match="can't be used: no such table") as caught:
        collected.store.select("SELECT * FROM absent")
    assert caught.value.hint is None
