"""Faces in the gallery that are never named: every command of the gallery knows them."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_data import SPACE, FakeFaceEncoder, face, made, photo, put, unit
from published_gallery import BUCKET, KEY, clients, everything, served

from facectl.aws import Clients
from facectl.errors import GalleryError
from facectl.gallery import anchors, evaluate, exchange, parts, people, publish, rebuild
from facectl.gallery.changes import EmbeddingSpace, Reference
from facectl.gallery.enrollment import EnrollmentTask
from facectl.gallery.store import Store
from lambda_src.contract import UNKNOWN
from lambda_src.gallery.quantised import QuantisedGallery

__all__ = ["clients"]

pytestmark = pytest.mark.usefixtures("isolated")


def leaning(axis: int, *leans: float) -> np.ndarray:
    return np.stack([unit(axis, lean) for lean in leans])


def filled() -> Store:
    """Ada at axis 0, an ignored person near her, an ignored person of two faces far away."""
    store = made()
    with store.change("enroll") as change:
        change.add("Ada", Reference(unit(0)))
        change.add("Zoe", Reference(unit(20)))
    with store.change("ignore s-1") as change:
        change.add_anchor("ignored s-1", Reference(unit(0, 0.8)))
    with store.change("ignore s-2") as change:
        change.add_anchor("ignored s-2", Reference(unit(40)))
        change.add_anchor("ignored s-2", Reference(unit(60)))
    return store


def names(store: Store, probes: np.ndarray) -> list[str]:
    return [match.name for match in store.gallery().match(probes)]


PROBES = leaning(0, 0.0, 0.3, 0.6, 1.0)
EXPECTED = ["Ada", "Ada", UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("matching", ["best", "centroid"])
@pytest.mark.parametrize("exact", [True, False])
def test_functions_answer_unknown_next_to_an_anchor(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, matching: str, exact: bool
) -> None:
    if not exact:
        monkeypatch.setattr(parts, "EXACT_ROWS", 1)
    with closing(filled()) as store:
        people.configure(store, threshold=None, metric=None, matching=matching)
        assert names(store, PROBES) == EXPECTED
        manifest = publish.publish(clients, store)
        assert (manifest.people, manifest.rows) == (2, 4 if matching == "centroid" else 5)
    function = served(clients)
    assert isinstance(function, QuantisedGallery) != exact
    assert [match.name for match in function.match(PROBES)] == EXPECTED
    # Each ignored person has a mean of their own: the mean of all would be near nobody.
    far = [match.distance for match in function.match(leaning(40, 0.0))]
    assert far[0] is not None
    assert far[0] < 0.8


def test_the_published_bytes_have_no_name_for_an_anchor(clients: Clients) -> None:
    with closing(filled()) as store:
        publish.publish(clients, store)
    published = everything(clients)
    assert b"s-1" not in published
    assert b"ignored" not in published
    # An earlier version of the functions reads this format, and answers with the row's name.
    manifest = clients.s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
    assert json.loads(manifest)["format"] == 2


def test_a_new_anchor_changes_one_part_and_removing_it_restores_the_answers(
    clients: Clients,
) -> None:
    with closing(filled()) as store:
        publish.publish(clients, store)
        with store.change("undo") as change:
            assert change.remove_anchor("ignored s-1") == 1
        publish.publish(clients, store)
        assert [match.name for match in served(clients).match(PROBES)] == ["Ada"] * 4
        people.rollback(store, 2)
        assert anchors.counts(store) == {"ignored s-1": 1}
        assert names(store, PROBES) == EXPECTED


def test_an_anchor_is_no_person() -> None:
    with closing(filled()) as store:
        assert store.people() == {"Ada": 1, "Zoe": 1}
        assert set(store.rows()[0]) == {"Ada", "Zoe"}
        assert anchors.counts(store) == {"ignored s-1": 1, "ignored s-2": 2}
        assert anchors.counts(store, 1) == {}
        for act in (people.remove, people.references):
            with pytest.raises(GalleryError, match="nobody is called 'Unknown'"):
                act(store, UNKNOWN)
        with pytest.raises(GalleryError, match="nobody is called 'Unknown'"):
            people.rename(store, UNKNOWN, "Eve")
        with pytest.raises(GalleryError, match="nobody is called 'Unknown'"):
            people.merge(store, UNKNOWN, "Ada")
        with pytest.raises(GalleryError, match="nobody is called 'Unknown'"):
            people.forget("alice", UNKNOWN)
        assert [each["name"] for each in people.most_similar(store, "Ada")] == ["Zoe"]


def test_the_difference_of_versions_counts_anchors() -> None:
    with closing(filled()) as store:
        assert people.compare(store, 1, 3).settings == {"ignored faces": (0, 3)}
        assert people.compare(store, 2, 2).empty


def test_export_and_import_keep_anchors_and_an_old_import_keeps_people(tmp_path: Path) -> None:
    file = tmp_path / "gallery.npz"
    with closing(filled()) as store:
        exchange.write(store, file)
    with np.load(file) as arrays:
        header = json.loads(arrays["header"].tobytes())
        # What earlier versions read.
        assert (header["names"], len(arrays["embeddings"])) == (["Ada", "Zoe"], 2)
    with closing(made("other")) as other:
        exchange.add(other, exchange.read(file))
        assert anchors.counts(other) == {"ignored s-1": 1, "ignored s-2": 2}
        assert names(other, PROBES) == EXPECTED
        # Twice is once.
        assert exchange.add(other, exchange.read(file)) == 0


def test_an_imported_published_gallery_keeps_anchors(clients: Clients) -> None:
    with closing(filled()) as store:
        publish.publish(clients, store)
    imported, _, _ = exchange.read_published(clients)
    with closing(made("other")) as other:
        exchange.add(other, imported)
        assert other.people() == {"Ada": 1, "Zoe": 1}
        assert len(anchors.counts(other)) == 3
        assert names(other, PROBES) == EXPECTED


def test_a_file_with_too_few_ids_of_anchors_is_refused(tmp_path: Path) -> None:
    imported = exchange.ImportedGallery(
        ["Ada", UNKNOWN, UNKNOWN], np.stack([face(n) for n in range(3)]), SPACE, False, ("x",)
    )
    with pytest.raises(GalleryError, match="1 ids for the faces named Unknown"):
        exchange._checked(imported, tmp_path)
    # Without ids the name is a person's, which it can't be.
    with pytest.raises(GalleryError, match="can't be a name"):
        exchange._checked(replace(imported, anchors=()), tmp_path)


def test_an_evaluation_answers_as_functions_do_and_compares_people_only(tmp_path: Path) -> None:
    tasks = [
        EnrollmentTask("Ada", photo(tmp_path / f"Ada/{n}.jpg", 0, lean))
        for n, lean in enumerate((0.1, 0.7))
    ]
    with closing(filled()) as store:
        found = evaluate.evaluate(store, tasks, FakeFaceEncoder())
    assert [answer.answer for answer in found.answers] == ["Ada", UNKNOWN]
    assert {answer.other[0] for answer in found.answers if answer.other} == {"Zoe"}
    assert [answer.rank for answer in found.answers] == [1, 1]


def test_a_gallery_of_anchors_only_has_nobody_to_evaluate(tmp_path: Path) -> None:
    with closing(made()) as store:
        with store.change("ignore") as change:
            change.add_anchor("ignored s-1", Reference(unit(0)))
        with pytest.raises(GalleryError, match="nobody is enrolled"):
            evaluate.evaluate(store, [], FakeFaceEncoder())


def test_a_rebuild_says_that_anchors_are_lost(tmp_path: Path) -> None:
    with closing(filled()) as store:
        put(store, Bob=1)
        plan = rebuild.plan(store, EmbeddingSpace("ffff/facenet"))
        lost = {(each.name, each.kind) for each in plan.lost}
        assert (UNKNOWN, "ignored") in lost
        assert UNKNOWN not in plan.dropped
        plan.commit()
        assert anchors.counts(store) == {}
    with closing(made("only")) as store:
        with store.change("ignore") as change:
            change.add_anchor("ignored s-1", Reference(unit(0)))
        assert rebuild.needed(store, "ffff/facenet")


def test_forgetting_an_anchor_leaves_no_byte_of_it(clients: Clients) -> None:
    secret: Any = unit(0, 0.8).astype("<f4").tobytes()
    with closing(filled()) as store:
        publish.publish(clients, store)
        assert secret in store.file.read_bytes()
        assert secret in everything(clients)
        assert people.forget_anchor("alice", "ignored s-1") == 1
        publish.publish(clients, store)
        assert secret not in store.file.read_bytes()
        assert secret not in everything(clients)
        assert anchors.counts(store) == {"ignored s-2": 2}
