"""Naming, ignoring, correcting, splitting, merging and undoing, with a published gallery."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from gallery_data import DEPLOYMENT, SPACE, made
from moto import mock_aws
from published_gallery import BUCKET, served
from stranger_data import NOW, Collected, event, person, visit_id

from facectl.aws import Clients
from facectl.errors import CloudError, FacectlError, GalleryError, InputError
from facectl.gallery import anchors, people
from facectl.gallery.changes import EmbeddingSpace, Reference
from facectl.gallery.store import Store
from facectl.strangers.actions import ALL, StrangerActions
from facectl.strangers.amendments import Outputs, RunLock, continue_file
from facectl.strangers.grouping import neighbour_distance
from facectl.visits.event_queue import EventQueue
from facectl.visits.file import VisitsFile

pytestmark = pytest.mark.usefixtures("isolated")

KEPT = "They are kept as photographs on this computer."


@pytest.fixture
def clients() -> Iterator[Clients]:
    with mock_aws():
        clients = Clients(DEPLOYMENT)
        clients.s3.create_bucket(Bucket=BUCKET)
        yield clients


@pytest.fixture
def collected() -> Collected:
    """A stranger with two visits, another with one, and two faces of nobody."""
    found = Collected()
    found.visit(visit_id(1), person(1, 8)[:5])
    found.visit(visit_id(2), person(1, 8)[5:])
    found.visit(visit_id(3), person(2, 6))
    found.visit(visit_id(4), person(3, 2))
    return found


@pytest.fixture
def actions() -> StrangerActions:
    return StrangerActions(DEPLOYMENT, space=EmbeddingSpace(SPACE), now=lambda: NOW)


def answers(clients: Clients, faces: np.ndarray) -> set[str]:
    """The names that functions give to faces."""
    return {match.name for match in served(clients).match(faces)}


def enrolled(name: str, faces: np.ndarray) -> None:
    with closing(made()) as store, store.change("enroll") as change:
        for face in faces:
            change.add(name, Reference(face))


def gallery() -> Store:
    return Store.open("alice")


def test_groups_are_listed_with_their_visits(
    collected: Collected, actions: StrangerActions
) -> None:
    first, second = sorted(actions.groups(), key=lambda group: group.id)
    assert (first.id, first.faces, first.visits) == ("s-1", 8, (visit_id(1), visit_id(2)))
    assert (second.id, second.faces, second.visits) == ("s-2", 6, (visit_id(3),))
    assert len(first.best) == 5
    assert set(first.best) <= {face.id for face in actions.faces("s-1")}
    assert actions.crop(first.best[0]).startswith(b"JPEG ")


def test_a_named_group_is_recognized_and_its_visits_are_amended(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    done = actions.name("s-1", "Ada")
    assert done.sentence == f"s-1 is Ada, enrolled from 5 faces. {KEPT}"
    assert (done.gallery_version, done.amended) == (1, 2)
    assert answers(clients, person(1, 30)) == {"Ada"}
    assert answers(clients, person(2, 30)) == {"Unknown"}
    assert [collected.last(visit_id(n)).person for n in (1, 2, 3)] == ["Ada", "Ada", None]
    assert [group.id for group in actions.groups()] == ["s-2"]
    named = {group.id: (group.state, group.name) for group in actions.groups(every=True)}
    assert named == {"s-1": ("named", "Ada"), "s-2": ("open", None)}


def test_a_name_that_exists_gets_the_faces_if_they_are_alike(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    enrolled("Ada", person(1, 40)[30:])
    assert actions.name("s-1", "Ada").gallery_version == 2
    with closing(gallery()) as store:
        assert store.people() == {"Ada": 15}
    with pytest.raises(InputError, match="Ada is in the gallery and does not look like") as caught:
        actions.name("s-2", "Ada")
    assert "--force" in str(caught.value.hint)
    with closing(gallery()) as store:
        assert store.version == 2
    assert actions.name("s-2", "Ada", force=True).gallery_version == 3
    assert answers(clients, person(2, 9)) == {"Ada"}


@pytest.mark.parametrize("matching", ["best", "centroid"])
def test_an_ignored_person_is_unknown_where_a_named_one_is_less_alike(
    clients: Clients, collected: Collected, actions: StrangerActions, matching: str
) -> None:
    # Bob looks a little like the stranger, who is answered as Bob.
    stranger = person(1, 30, spread=0.3)
    bob = person(1, 1, spread=0.0) + 0.8 * person(9, 1, spread=0.0)
    bob /= np.linalg.norm(bob)
    enrolled("Bob", bob)
    enrolled("Eve", person(5, 3))
    with closing(gallery()) as store:
        people.configure(store, threshold=1.0, metric=None, matching=matching)
    actions.correct(visit_id(3), "Zoe")
    assert "Bob" in answers(clients, stranger)
    done = actions.ignore("s-1")
    assert "never named" in done.sentence
    assert done.amended == 0
    assert answers(clients, stranger) == {"Unknown"}
    assert answers(clients, bob) == {"Bob"}
    assert answers(clients, person(5, 3)) == {"Eve"}
    assert [group.id for group in actions.groups()] == []
    # A published gallery has no name for an anchor but the one that means nobody.
    assert set(served(clients).names) == {"Bob", "Eve", "Zoe", "Unknown"}
    with closing(gallery()) as store:
        assert set(store.people()) == {"Bob", "Eve", "Zoe"}
        assert anchors.counts(store) == {"ignored s-1": 8}


def test_naming_an_ignored_group_ends_ignoring_it(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    actions.ignore("s-1")
    actions.name("s-1", "Ada")
    assert answers(clients, person(1, 30)) == {"Ada"}
    with closing(gallery()) as store:
        assert anchors.counts(store) == {}


def test_not_this_person_hides_nobody_else_and_comes_up_for_review(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    stranger = person(4, 3)
    enrolled("Bob", person(4, 1, spread=0.6))
    collected.visit(visit_id(5), stranger, "Bob")
    done = actions.correct(visit_id(5), None)
    assert done.sentence == f"Visit {visit_id(5)} is not Bob's."
    assert answers(clients, stranger) == {"Unknown"}
    assert answers(clients, person(4, 1, spread=0.6)) == {"Bob"}
    amended = collected.last(visit_id(5))
    assert (amended.person, amended.stranger) == (None, "s-3")
    assert len(actions.faces("s-3")) == 3
    # A name takes the anchors of the correction away: they would hide its owner.
    actions.name("s-3", "Zoe")
    assert answers(clients, stranger) == {"Zoe"}
    with closing(gallery()) as store:
        assert anchors.counts(store) == {}


def test_a_visit_that_is_not_its_persons_joins_the_group_that_looks_like_it(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    enrolled("Bob", person(4, 1))
    collected.visit(visit_id(5), person(2, 9)[6:], "Bob")
    done = actions.correct(visit_id(5), None)
    assert done.amended == 1
    assert collected.last(visit_id(5)).stranger == "s-2"
    assert {group.id: group.faces for group in actions.groups()} == {"s-1": 8, "s-2": 9}
    actions.undo()
    assert (collected.last(visit_id(5)).person, collected.last(visit_id(5)).stranger) == (
        "Bob",
        None,
    )
    assert {group.id: group.faces for group in actions.groups()} == {"s-1": 8, "s-2": 6}
    # An ignored group is not listed, so the faces could not be seen there.
    actions.ignore("s-2")
    actions.correct(visit_id(5), None)
    assert collected.last(visit_id(5)).stranger == "s-3"


@pytest.mark.parametrize(("further", "stranger"), [(-1.0, "s-3"), (1.0, "s-4")])
def test_a_group_looks_like_a_visit_within_the_distance_of_neighbours(
    clients: Clients,
    collected: Collected,
    actions: StrangerActions,
    further: float,
    stranger: str,
) -> None:
    def at(degrees: float) -> np.ndarray:
        vector = np.zeros((1, 512), np.float32)
        vector[0, :2] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        return vector

    enrolled("Bob", person(4, 1))
    collected.visit(visit_id(5), np.concatenate([at(0), at(0.1), at(0.2)]))
    # Of embeddings of length 1: the squared distance is 2 (1 - cosine).
    distance = neighbour_distance(EmbeddingSpace(SPACE))
    most = float(np.degrees(np.arccos(1 - distance**2 / 2)))
    collected.visit(visit_id(6), at(0.2 + most + further), "Bob")
    actions.correct(visit_id(6), None)
    assert collected.last(visit_id(6)).stranger == stranger


def test_this_is_somebody_else_adds_the_faces_to_that_person(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    enrolled("Bob", person(4, 1, spread=0.6))
    enrolled("Ada", person(6, 2))
    collected.visit(visit_id(5), person(4, 3), "Bob")
    assert actions.correct(visit_id(5), "Ada").sentence.endswith(f"enrolled from 3 faces. {KEPT}")
    assert answers(clients, person(4, 3)) == {"Ada"}
    assert collected.last(visit_id(5)).person == "Ada"


def test_an_unknown_visit_that_gets_a_name_leaves_its_group(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    actions.correct(visit_id(2), "Ada")
    assert {group.id: group.faces for group in actions.groups()} == {"s-1": 5, "s-2": 6}
    actions.undo()
    assert {group.id: group.faces for group in actions.groups()} == {"s-1": 8, "s-2": 6}


def test_undo_takes_every_action_back_the_last_first(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    enrolled("Bob", person(8, 2))
    before = actions.groups(every=True)
    actions.name("s-1", "Ada")
    actions.ignore("s-2")
    assert actions.undo().sentence.startswith("Undone: s-2 is ignored")
    assert answers(clients, person(1, 9)) == {"Ada"}
    done = actions.undo()
    assert (done.amended, collected.last(visit_id(1)).person) == (2, None)
    assert collected.last(visit_id(1)).stranger == "s-1"
    assert answers(clients, person(1, 9)) == {"Unknown"}
    assert actions.groups(every=True) == before
    actions.split("s-1")
    actions.merge(["s-1", "s-2"])
    actions.undo()
    actions.undo()
    assert actions.groups(every=True) == before
    with pytest.raises(InputError, match="there is nothing to undo"):
        actions.undo()


def test_undo_refuses_to_lose_a_later_change_of_the_gallery(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    actions.name("s-1", "Ada")
    with closing(gallery()) as store:
        people.rename(store, "Ada", "Ada Lovelace")
    with pytest.raises(GalleryError, match="the gallery was changed since") as caught:
        actions.undo()
    assert "facectl gallery rollback 0" in str(caught.value.hint)
    assert {group.state for group in actions.groups(every=True)} == {"named", "open"}


def test_a_group_of_two_people_is_split_and_stays_so(
    collected: Collected, actions: StrangerActions
) -> None:
    actions.merge(["s-1", "s-2"])
    assert [group.faces for group in actions.groups()] == [14]
    assert collected.last(visit_id(3)).stranger == "s-1"
    done = actions.split("s-1")
    assert done.sentence == "6 faces of s-1 are now s-3."
    assert collected.last(visit_id(3)).stranger == "s-3"
    parts = {group.id: set(group.visits) for group in actions.groups()}
    assert parts == {"s-1": {visit_id(1), visit_id(2)}, "s-3": {visit_id(3)}}
    # Faces in the middle do not merge the two again.
    middle = person(1, 8) + person(2, 8)
    collected.visit(visit_id(6), (middle / np.linalg.norm(middle, axis=1)[:, None]))
    assert {"s-1", "s-3"} <= {group.id for group in actions.groups()}


def test_given_faces_are_split_off(collected: Collected, actions: StrangerActions) -> None:
    chosen = [face.id for face in actions.faces("s-1")][:2]
    done = actions.split("s-1", [*chosen, chosen[0]])
    assert done.sentence == "2 faces of s-1 are now s-3."
    assert {face.id for face in actions.faces("s-3")} == set(chosen)
    assert len(actions.faces("s-1")) == 6
    assert actions.split("s-3").sentence == "1 face of s-3 is now s-4."


def test_groups_are_corrected_while_a_visit_is_not_announced_yet(
    collected: Collected, actions: StrangerActions
) -> None:
    with collected.store.transaction() as connection:
        connection.execute("DELETE FROM visits WHERE id = ?", (visit_id(2),))
    assert actions.split("s-1").sentence.endswith("of s-1 are now s-3.")
    assert actions.merge(["s-1", "s-3"]).sentence == "s-3 is now part of s-1."
    assert len(actions.faces("s-1")) == 8


def test_a_merged_group_is_found_by_its_old_id(
    collected: Collected, actions: StrangerActions
) -> None:
    assert actions.merge(["s-2", "s-1"]).sentence == "s-1 is now part of s-2."
    assert len(actions.faces("s-1")) == 14


def test_an_old_id_is_that_of_the_same_person_again_after_undo(
    collected: Collected, actions: StrangerActions
) -> None:
    collected.visit(visit_id(5), person(5, 4))
    assert actions.merge(["s-1", "s-2", "s-3"]).sentence == "s-2, s-3 are now part of s-1."
    actions.undo()
    actions.merge(["s-2", "s-3"])
    actions.merge(["s-1", "s-2"])
    actions.undo()
    assert {face.visit for face in actions.faces("s-3")} == {visit_id(3), visit_id(5)}
    assert {face.visit for face in actions.faces("s-1")} == {visit_id(1), visit_id(2)}
    actions.undo()
    assert {face.visit for face in actions.faces("s-3")} == {visit_id(5)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: a.faces("s-99"), "no group of strangers is called 's-99'"),
        (lambda a: a.name("12", "Ada"), "no group of strangers is called '12'"),
        (lambda a: a.name("s-1", "Unknown"), "'Unknown' can't be a name"),
        (lambda a: a.name("s-1", "a,b"), "can't be a name"),
        (lambda a: a.crop("f-999"), "no face is called 'f-999'"),
        (lambda a: a.crop("s-1"), "no face is called 's-1'"),
        (lambda a: a.split("s-1", ["f-999"]), "'f-999' is not a face of s-1"),
        (lambda a: a.split("s-1", []), "s-1 has 8 faces"),
        (lambda a: a.split("s-1", [f.id for f in a.faces("s-1")]), "s-1 has 8 faces"),
        (lambda a: a.merge(["s-1"]), "give two groups or more"),
        (lambda a: a.merge(["s-1", "s-1"]), "give two groups or more"),
        (lambda a: a.correct("nothing", None), "no visit is called 'nothing'"),
        (lambda a: a.correct(visit_id(1), None), "is of nobody known already"),
        (lambda a: a.forget("s-99"), "no group of strangers is called 's-99'"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    clients: Clients, collected: Collected, actions: StrangerActions, call: object, message: str
) -> None:
    before = actions.groups(every=True)
    with pytest.raises(InputError, match=message):
        call(actions)  # type: ignore[operator]
    assert actions.groups(every=True) == before


def test_actions_without_strangers_say_how_to_keep_some(actions: StrangerActions) -> None:
    with pytest.raises(InputError, match="no strangers are kept on this computer") as caught:
        actions.groups()
    assert "--keep-strangers" in str(caught.value.hint)


def test_faces_of_another_model_are_not_enrolled(clients: Clients, collected: Collected) -> None:
    other = StrangerActions(DEPLOYMENT, space=EmbeddingSpace("ffff/facenet"), now=lambda: NOW)
    with pytest.raises(FacectlError, match="are of another model"):
        other.name("s-1", "Ada")


def test_a_name_that_could_not_be_published_says_so_and_is_kept(
    collected: Collected, actions: StrangerActions
) -> None:
    with mock_aws(), pytest.raises(CloudError, match="stored on this computer, but not") as caught:
        actions.name("s-1", "Ada")
    assert caught.value.hint == "facectl gallery publish"
    with closing(gallery()) as store:
        assert store.people() == {"Ada": 5}


def test_amendments_reach_the_files_and_receivers_of_runs_that_have_ended(
    clients: Clients, actions: StrangerActions, tmp_path: Path
) -> None:
    file = tmp_path / "visits.jsonl"
    queue = EventQueue.id_of("https://example.org/hook")
    collected = Collected(outputs=Outputs("clip.avi", file, (queue,), ("unknown",)))
    collected.visit(visit_id(1), person(1, 5))
    with closing(VisitsFile(file, visit_id(1)[:12])) as visits:
        visits(event(visit_id(1), None, "start"))
        visits(event(visit_id(1), None))
    actions.name("s-1", "Ada")
    actions.undo()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(each["event"], each["person"]) for each in lines] == [
        ("start", None), ("end", None), ("amend", "Ada"), ("amend", None),
    ]  # fmt: skip
    assert len({each["id"] for each in lines}) == 4
    # The receiver wants unknown people only, and got this visit: it learns of the name.
    events = EventQueue.of(queue, "another-run")
    assert events.waiting() == 2
    events.close(finished=True)
    # The file can be continued by another run, which finds no open visit.
    with closing(VisitsFile(file, "another-run")) as visits:
        assert list(visits.lost()) == []


def test_forgetting_a_group_ends_ignoring_it_in_every_version(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    enrolled("Bob", person(8, 2))
    actions.ignore("s-1")
    done = actions.forget("s-1")
    assert done.sentence == "Forgot s-1: 8 faces."
    with closing(gallery()) as store:
        assert anchors.counts(store) == {}
        assert all(not anchors.counts(store, each.number) for each in store.versions())
        assert store.people() == {"Bob": 2}
    assert set(served(clients).names) == {"Bob"}
    with pytest.raises(InputError, match="there is nothing to undo"):
        actions.undo()


def test_forgetting_all_leaves_the_people_of_the_gallery(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    actions.name("s-1", "Ada")
    actions.ignore("s-2")
    assert actions.forget(ALL).sentence == "Forgot all strangers: 16 faces."
    assert actions.groups(every=True) == []
    with closing(gallery()) as store:
        assert store.people() == {"Ada": 5}
        assert anchors.counts(store) == {}


def test_forgetting_a_person_of_the_gallery_forgets_the_strangers_of_this_name(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    actions.name("s-1", "Ada")
    # Five references and eight faces.
    assert people.forget("alice", "Ada") == 13
    assert [group.id for group in actions.groups(every=True)] == ["s-2"]


def test_old_faces_are_deleted_before_groups_are_listed(
    collected: Collected, actions: StrangerActions
) -> None:
    collected.visit(visit_id(5), person(7, 5), days_ago=8)
    later = StrangerActions(DEPLOYMENT, now=lambda: NOW + timedelta(days=6))
    assert {group.faces for group in later.groups()} == {8, 6}
    latest = StrangerActions(DEPLOYMENT, now=lambda: NOW + timedelta(days=7, seconds=1))
    assert latest.groups() == []


def test_a_named_or_ignored_group_says_so(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    actions.name("s-1", "Ada")
    actions.ignore("s-2")
    for act in (actions.ignore, actions.split, lambda group: actions.name(group, "Eve")):
        with pytest.raises(InputError, match="s-1 is named Ada"):
            act("s-1")
    for act in (actions.ignore, actions.split, lambda group: actions.merge([group, "s-1"])):
        with pytest.raises(InputError, match="s-2 is ignored already"):
            act("s-2")


def test_a_refused_action_makes_no_gallery(
    clients: Clients, collected: Collected, actions: StrangerActions
) -> None:
    for call in (
        lambda: actions.name("s-9", "Ada"),
        lambda: actions.ignore("s-9"),
        lambda: actions.correct("nothing", "Ada"),
    ):
        with pytest.raises(InputError):
            call()
    assert Store.find("alice") is None


def test_an_amendment_waits_for_a_file_that_another_process_writes(
    clients: Clients, actions: StrangerActions, tmp_path: Path
) -> None:
    file = tmp_path / "visits.jsonl"
    collected = Collected(outputs=Outputs("clip.avi", file))
    collected.visit(visit_id(1), person(1, 5))
    with closing(VisitsFile(file, "another-run")):
        done = actions.name("s-1", "Ada")
    assert f"The amendment of visit {visit_id(1)} waits" in done.sentence
    assert file.read_text() == ""
    actions.undo()
    people_of = [json.loads(line)["person"] for line in file.read_text().splitlines()]
    assert people_of == ["Ada", None]


@pytest.mark.parametrize("person_", [None, "Eve"])
def test_a_corrected_visit_is_not_a_reference_of_the_wrong_person(
    clients: Clients, collected: Collected, actions: StrangerActions, person_: str | None
) -> None:
    # The whole group was named wrongly, one of its visits is corrected.
    actions.name("s-2", "Ada")
    actions.correct(visit_id(3), person_)
    assert answers(clients, person(2, 6)) == {person_ or "Unknown"}
    with closing(gallery()) as store:
        assert "Ada" not in store.people()
    actions.undo()
    assert answers(clients, person(2, 6)) == {"Ada"}


def test_a_face_that_was_deleted_meanwhile_has_a_sentence(collected: Collected) -> None:
    faces = collected.store.faces("s-1")
    collected.store.drop_visit(visit_id(1))
    with pytest.raises(InputError, match="faces were deleted by another command meanwhile"):
        collected.store.embeddings(faces)


def test_a_run_writes_the_amendments_of_earlier_runs_to_the_file_that_it_has_open(
    clients: Clients, actions: StrangerActions, tmp_path: Path
) -> None:
    """`facectl watch` shows the visits of the day, whose runs have ended."""
    file = tmp_path / "visits.jsonl"
    queue = EventQueue.id_of("https://example.org/hook")
    collected = Collected(outputs=Outputs("clip.avi", file, (queue,)))
    collected.visit(visit_id(1), person(1, 5))
    lock = RunLock("alice", "another-run", file)
    shown: list[str | None] = []
    with closing(VisitsFile(file, None)) as visits:
        done = actions.name("s-1", "Ada")
        assert done.sentence == f"s-1 is Ada, enrolled from 5 faces. {KEPT}"
        for _ in range(2):
            sinks = (visits, lambda event: shown.append(event.person))
            continue_file(collected.store, tmp_path / "other.jsonl", sinks)
            continue_file(collected.store, file, sinks)
    lock.close()
    (line,) = map(json.loads, file.read_text().splitlines())
    assert (line["event"], line["visit"], line["person"]) == ("amend", visit_id(1), "Ada")
    assert shown == ["Ada"]
    events = EventQueue.of(queue, "another-run")
    assert events.waiting() == 1
    events.close(finished=True)
