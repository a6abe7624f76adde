"""The gallery on this computer: versions, failed changes, deletion and old file formats."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from gallery_data import SPACE, made, put, unit

from facectl.errors import GalleryError, InputError
from facectl.gallery import database, people, store
from facectl.gallery.changes import EmbeddingSpace, Reference, check_name
from facectl.gallery.statistics import centroids
from facectl.gallery.store import Store


def test_there_is_no_gallery_before_anyone_is_enrolled() -> None:
    assert Store.find("alice") is None
    with pytest.raises(GalleryError, match="nobody is enrolled"):
        Store.open("alice")


def test_references_are_stored_for_one_deployment() -> None:
    put(made(), Ada=2, Grace=1)
    kept = Store.open("alice")
    assert kept.people() == {"Ada": 2, "Grace": 1}
    assert kept.gallery().match(kept.references("Grace")[0].embedding[None])[0].name == "Grace"
    assert kept.references("Ada")[0].source == "/photos/Ada0.jpg"
    assert Store.find("bob") is None


def test_only_the_owner_can_read_the_file() -> None:
    assert stat.S_IMODE(made().file.stat().st_mode) == 0o600


def test_every_version_can_be_read() -> None:
    kept = made()
    put(kept, Ada=1)
    put(kept, Grace=2)
    people.remove(kept, "Ada")
    assert [kept.people(version) for version in range(4)] == [
        {}, {"Ada": 1}, {"Ada": 1, "Grace": 2}, {"Grace": 2},
    ]  # fmt: skip
    assert [(v.number, v.action, v.added, v.removed) for v in kept.versions()] == [
        (3, "remove", 0, 1), (2, "enroll", 2, 0), (1, "enroll", 1, 0), (0, "made", 0, 0),
    ]  # fmt: skip


def test_an_empty_change_makes_no_version() -> None:
    kept = made()
    with kept.change("nothing"):
        pass
    assert kept.version == 0


def test_a_failed_change_leaves_the_gallery_unchanged() -> None:
    kept = made()
    put(kept, Ada=1)

    def interrupted() -> None:
        with kept.change("enroll") as change:
            change.add("Grace", Reference(unit(3)))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        interrupted()
    assert kept.people() == {"Ada": 1}
    assert kept.version == 1


def test_a_full_disk_leaves_the_gallery_unchanged() -> None:
    kept = made()
    put(kept, Ada=1)
    pages = kept._connection.execute("PRAGMA page_count").fetchone()[0]
    kept._connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    with pytest.raises(GalleryError, match="no room left") as caught:
        put(kept, Grace=100)
    assert "make room" in (caught.value.hint or "")
    assert Store.open("alice").people() == {"Ada": 1}


def _enroll_many(home: str, name: str) -> None:
    os.environ["FACECTL_HOME"] = home
    kept = made()
    for index in range(20):
        with kept.change("enroll") as change:
            change.add(f"{name}{index}", Reference(unit(index)))


def test_two_concurrent_enrollments_are_both_stored(isolated: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_enroll_many, args=(str(isolated), name)) for name in ("a", "b")
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    kept = Store.open("alice")
    assert len(kept.people()) == 40
    assert kept.version == 40


def test_a_damaged_gallery_is_reported_and_not_changed() -> None:
    kept = made()
    kept.close()
    kept.file.write_bytes(b"damaged" * 1000)
    with pytest.raises(GalleryError, match=r"alice\.db is damaged"):
        Store.open("alice")
    assert kept.file.read_bytes() == b"damaged" * 1000


def test_embeddings_of_another_space_are_refused() -> None:
    put(made(), Ada=1)
    with pytest.raises(GalleryError, match="can't be compared") as caught:
        Store.for_space("alice", "other/facenet")
    assert "facectl gallery rebuild" in (caught.value.hint or "")
    assert "facectl deploy --model" in (caught.value.hint or "")


def test_an_empty_gallery_is_switched_to_another_space() -> None:
    kept = made()
    put(kept, Ada=1)
    people.remove(kept, "Ada")
    other = Store.for_space("alice", "other/facenet", synthetic=True, model="other-facenet")
    assert (other.space, other.synthetic, other.lineage) == ("other/facenet", True, kept.lineage)
    assert [(v.number, v.space.id) for v in other.versions()] == [
        (3, "other/facenet"), (2, SPACE), (1, SPACE), (0, SPACE),
    ]  # fmt: skip
    put(other, Grace=1)
    assert other.gallery().space == "other/facenet"
    assert other.gallery(1).space == SPACE


def test_a_change_of_space_by_another_command_stops_an_enrollment() -> None:
    """Otherwise embeddings of two models would be mixed."""
    enrolling = made()
    put(enrolling, Ada=1)
    with Store.open("alice").change("rebuild") as change:
        change.switch_space(EmbeddingSpace("other/facenet"), enrolling.settings)
        change.add("Ada", Reference(unit(4)))
    with pytest.raises(GalleryError, match="another command has rebuilt the gallery"):
        put(enrolling, Grace=1)
    assert enrolling.people() == {"Ada": 1}


def test_rename_and_merge() -> None:
    kept = made()
    put(kept, Ada=2, Grace=1)
    people.rename(kept, "Ada", "Ada Lovelace")
    assert kept.people() == {"Ada Lovelace": 2, "Grace": 1}
    with pytest.raises(GalleryError, match="called 'Grace' already"):
        people.rename(kept, "Ada Lovelace", "Grace")
    people.merge(kept, "Grace", "Ada Lovelace")
    assert kept.people() == {"Ada Lovelace": 3}


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: people.remove(kept, "Eve"),
        lambda kept: people.rename(kept, "Eve", "Mallory"),
        lambda kept: people.merge(kept, "Eve", "Ada"),
        lambda kept: people.merge(kept, "Ada", "Eve"),
    ],
)
def test_an_unknown_name_is_an_error(change: object) -> None:
    kept = made()
    put(kept, Ada=1)
    with pytest.raises(GalleryError, match="nobody is called 'Eve'"):
        change(kept)  # type: ignore[operator]
    assert kept.people() == {"Ada": 1}
    assert kept.version == 1


def test_rollback_restores_people_names_and_settings() -> None:
    kept = made()
    put(kept, Ada=2, Grace=1)
    with kept.change("settings") as change:
        change.configure(threshold=0.7)
    people.rename(kept, "Ada", "Countess")
    put(kept, Ada=1)
    assert people.rollback(kept, 1) == 5
    assert kept.people() == {"Ada": 2, "Grace": 1}
    assert kept.settings.threshold == 1.0
    assert kept.people(4) == {"Ada": 1, "Countess": 2, "Grace": 1}
    with pytest.raises(GalleryError, match="no version 99"):
        people.rollback(kept, 99)


def test_the_differences_between_two_versions() -> None:
    kept = made()
    put(kept, Ada=1, Grace=1, Alan=1)
    people.remove(kept, "Grace")
    put(kept, Ada=1, Barbara=2)
    with kept.change("settings") as change:
        change.configure(threshold=0.7)
    found = people.compare(kept, 1, 4)
    assert (found.added, found.removed, found.changed) == (
        {"Barbara": 2}, {"Grace": 1}, {"Ada": (1, 2)},
    )  # fmt: skip
    assert found.settings == {"threshold": (1.0, 0.7)}
    assert people.compare(kept, 2, 2).empty


def test_forget_deletes_the_person_from_every_version() -> None:
    kept = made()
    put(kept, Ada=2, Grace=1)
    photo = kept.references("Ada")[0]
    people.rename(kept, "Ada", "Countess of Lovelace")
    with kept.change("enroll") as change:
        # The same photograph, enrolled again under a third name.
        change.add("Augusta", photo)
    kept.close()
    # As facectl 1 kept galleries of other models.
    aside = kept.file.rename(kept.file.with_name("alice.0123.db"))
    kept = made()
    put(kept, Ada=1, Alan=1)
    assert people.forget("alice", "Ada") == 4
    for file in (aside, kept.file):
        data = file.read_bytes()
        for trace in (b"Ada", b"Lovelace", b"Augusta", photo.embedding.tobytes()):
            assert trace not in data
        assert str(photo.sha256).encode() not in data
        assert not file.with_name(file.name + "-journal").exists()
    assert kept.people() == {"Alan": 1}
    assert all("Ada" not in kept.people(version) for version in range(kept.version + 1))
    assert kept.versions()[0].action == "forget"
    with pytest.raises(GalleryError, match="nobody is called 'Ada'"):
        people.forget("alice", "Ada")


def test_a_long_enrollment_extends_its_version_while_that_is_the_newest() -> None:
    kept = made()
    put(kept, Ada=1)
    with kept.change("enroll", extend=1) as change:
        change.add("Grace", Reference(unit(9)))
    assert kept.version == 1
    put(kept, Alan=1)
    with kept.change("enroll", extend=1) as change:
        change.add("Eve", Reference(unit(9)))
    assert kept.version == 3
    assert kept.claim() == 3
    with kept.change("enroll", extend=3) as change:
        change.add("Mallory", Reference(unit(9)))
    assert kept.version == 4


def test_a_centroid_is_the_mean_of_length_one() -> None:
    rows = np.stack([unit(0), unit(1), unit(5), unit(7), -unit(7)])
    names, means = centroids(["Ada", "Ada", "Bob", "Eve", "Eve"], rows)
    assert names == ["Ada", "Bob", "Eve"]
    np.testing.assert_allclose(means[0], (unit(0) + unit(1)) / np.sqrt(2), atol=1e-6)
    np.testing.assert_allclose(means[1:], [unit(5), unit(7)], atol=1e-6)
    assert centroids([], np.zeros((0, 512), np.float32))[0] == []


def test_a_database_of_another_program_is_refused() -> None:
    file = store.path("alice")
    file.parent.mkdir(parents=True)
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE birds (name TEXT)")
    with pytest.raises(GalleryError):
        Store.open("alice")


@pytest.mark.parametrize(
    "name",
    ["", "  ", "a,b", "two\nlines", "x" * 300, "x" * 101, "Unknown", "No-Face", "Error", "\u200d",
     "\u202eevil", "a\x00b"],
)  # fmt: skip
def test_names_that_a_response_cannot_contain_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="can't be a name"):
        check_name(name)


@pytest.mark.parametrize(
    "name", ["Ada", "Grace Hopper", "Zoë 🦉", "a/b", "👩‍🚀", "../../etc", "x" * 100]
)
def test_names_that_a_response_can_contain(name: str) -> None:
    assert check_name(f" {name} ") == name


def test_names_are_normalized_to_nfc() -> None:
    assert check_name("Zoe\u0308") == check_name("Zo\u00eb")


def test_the_space_is_stored() -> None:
    assert made().space == SPACE


@pytest.fixture
def old_file(isolated: Path) -> Path:
    """A gallery as facectl stored it when all versions were of one space: format 1."""
    file = store.path("alice")
    file.parent.mkdir(parents=True)
    script = Path(__file__).with_name("golden") / "gallery-1.sql"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(script.read_text())
    return file


def check_migrated(kept: Store) -> None:
    assert kept.lineage == "d4f30bb997b34922a1c45f3a0d6f1848"
    assert (kept.version, kept.space, kept.synthetic) == (6, SPACE, True)
    assert [kept.people(version) for version in range(7)] == [
        {}, {"Ada": 2, "Grace": 1}, {"Ada": 2, "Grace": 1}, {"Countess": 2, "Grace": 1},
        {"Countess": 2}, {"Ada": 2, "Grace": 1}, {"Ada": 2, "Alan": 1, "Grace": 1},
    ]  # fmt: skip
    assert [(v.action, v.settings.threshold, v.space) for v in kept.versions()] == [
        (action, threshold, EmbeddingSpace(SPACE, synthetic=True))
        for action, threshold in (
            ("enroll", 1.0), ("rollback to 1", 1.0), ("remove", 0.7), ("rename", 0.7),
            ("settings", 0.7), ("enroll", 1.0), ("made", 1.0),
        )
    ]  # fmt: skip
    [reference] = kept.references("Alan")
    assert kept.gallery().match(reference.embedding[None])[0].name == "Alan"
    assert reference.source == "/photos/Alan0.jpg"


def test_a_file_of_format_1_is_migrated_when_it_is_opened(old_file: Path) -> None:
    kept = Store.open("alice")
    check_migrated(kept)
    assert kept.get("format") == "facectl-gallery-2"
    kept.close()
    # A second open does not migrate again.
    kept = Store.for_space("alice", SPACE, synthetic=True, model="tiny")
    check_migrated_model(kept)
    put(kept, Eve=1)
    assert kept.people()["Eve"] == 1
    people.rollback(kept, 3)
    assert kept.people() == {"Countess": 2, "Grace": 1}
    assert people.forget("alice", "Countess") == 2


def test_a_migrated_file_has_the_columns_and_indexes_of_a_new_one(old_file: Path) -> None:
    Store.open("alice").close()
    made("bob").close()
    schemas = []
    for file in (old_file, store.path("bob")):
        with closing(sqlite3.connect(file)) as connection:
            columns = connection.execute(
                "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c "
                "WHERE m.type = 'table' ORDER BY m.name, c.name"
            ).fetchall()
            indexes = connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"
            ).fetchall()
        # RENAME COLUMN quotes the new name.
        schemas.append((columns, [(name, sql and sql.replace('"', "")) for name, sql in indexes]))
    assert schemas[0] == schemas[1]


def check_migrated_model(kept: Store) -> None:
    """The model's name is stored by the first command that knows it."""
    assert {version.space.model for version in kept.versions()} == {"tiny"}


def test_an_interrupted_migration_leaves_the_file_unchanged(
    old_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = database._MIGRATION_1.split(";")
    before = old_file.read_bytes()
    for count in range(1, len(statements)):
        broken = ";".join([*statements[:count], "SELECT * FROM nowhere"])
        with monkeypatch.context() as patch:
            patch.setattr(database, "_MIGRATION_1", broken)
            with pytest.raises(GalleryError):
                Store.open("alice")
        assert old_file.read_bytes() == before
    check_migrated(Store.open("alice"))


def test_an_empty_file_of_format_1_is_migrated(isolated: Path) -> None:
    file = store.path("alice")
    file.parent.mkdir(parents=True)
    script = Path(__file__).with_name("golden") / "gallery-1.sql"
    schema = [
        statement
        for statement in script.read_text().split(";\n")
        if "INSERT" not in statement or "'format'" in statement
    ]
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(";\n".join(schema))
    with pytest.raises(GalleryError, match="is an empty gallery"):
        Store.open("alice")
    kept = made()
    put(kept, Ada=1)
    assert (kept.space, kept.people()) == (SPACE, {"Ada": 1})


def test_a_file_of_a_newer_format_is_not_changed() -> None:
    kept = made()
    kept.put("format", "facectl-gallery-3")
    kept.close()
    with pytest.raises(GalleryError, match="another format than facectl-gallery-2"):
        Store.open("alice")
