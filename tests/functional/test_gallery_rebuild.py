"""Re-embedding a gallery for another model: what is found, what is lost, and interruptions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gallery_data import SPACE, FakeFaceEncoder, face, made, photo, put, unit

from facectl.errors import GalleryError, InputError
from facectl.gallery import people
from facectl.gallery.changes import Change, EmbeddingSpace, Reference
from facectl.gallery.enrollment import Enrollment, EnrollmentTask
from facectl.gallery.photographs import EncodedPhotograph, PhotographError
from facectl.gallery.rebuild import Rebuild, needed, plan, plan_local
from facectl.gallery.store import Store

OTHER = EmbeddingSpace("4567/facenet", model="other-facenet")


class OtherFaceEncoder(FakeFaceEncoder):
    """Another model: the same photographs, other embeddings."""

    def embed(self, photo: Path, *, take_largest: bool = False) -> EncodedPhotograph:
        sample = super().embed(photo, take_largest=take_largest)
        axis = int(sample.embedding.argmax())
        return EncodedPhotograph(
            sample.photo, sample.sha256, unit(axis + 100), sample.faces, sample.face_px,
            sample.probability, sample.sharpness,
        )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "people"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """Ada with two photographs, Grace with one, enrolled with the old model."""
    store = made()
    tasks = [
        EnrollmentTask("Ada", photo(folder / "Ada" / "1.jpg", 0)),
        EnrollmentTask("Ada", photo(folder / "Ada" / "2.jpg", 0, 0.1)),
        EnrollmentTask("Grace", photo(folder / "Grace" / "1.jpg", 10)),
    ]
    encoder = FakeFaceEncoder()
    Enrollment(store, lambda: encoder).run(tasks)
    yield store
    store.close()


def rebuilt(store: Store, *folders: Path, encoder: FakeFaceEncoder | None = None) -> Rebuild:
    work = plan(store, OTHER, folders=folders)
    seen = encoder or OtherFaceEncoder()
    work.embed(lambda: seen)
    work.commit()
    return work


def losses(work: Rebuild) -> list[tuple[str, str, str]]:
    return [(lost.name, Path(lost.photo or "").name, lost.kind) for lost in work.lost]


def named(store: Store, version: int | None = None) -> dict[str, str]:
    """The name that the gallery gives to a face embedded by the other model."""
    gallery = store.gallery(version)
    return {
        name: gallery.match(unit(axis)[None])[0].name
        for name, axis in (("Ada", 100), ("Grace", 110))
    }


def test_every_photograph_is_embedded_again_as_one_version(store: Store) -> None:
    assert needed(store, OTHER.id)
    work = plan(store, OTHER)
    assert (work.photographs, work.people, work.lost, work.dropped) == (3, 2, [], [])
    assert work.summary == "gallery: re-embed 3 photographs of 2 people for model other-facenet"
    assert store.version == 1
    rebuilt(store)
    assert (store.version, store.space, store.synthetic) == (2, OTHER.id, False)
    assert store.people() == {"Ada": 2, "Grace": 1}
    assert named(store) == {"Ada": "Ada", "Grace": "Grace"}
    assert store.versions()[0].action == "rebuild"
    assert not needed(store, OTHER.id)


def test_the_old_version_keeps_its_model_and_lineage(store: Store) -> None:
    lineage, before = store.lineage, store.references("Grace")[0].embedding
    rebuilt(store)
    assert store.lineage == lineage
    assert store.gallery(1).space == SPACE
    assert store.gallery(1).match(before[None])[0].name == "Grace"
    assert [version.space.id for version in store.versions()] == [OTHER.id, SPACE, SPACE]


def test_rollback_restores_the_embeddings_of_the_old_model(store: Store) -> None:
    before = store.references("Grace")[0].embedding
    rebuilt(store)
    people.remove(store, "Ada")
    assert people.rollback(store, 1) == 4
    assert (store.space, store.people()) == (SPACE, {"Ada": 2, "Grace": 1})
    assert (store.references("Grace")[0].embedding == before).all()
    assert people.rollback(store, 2) == 5
    assert (store.space, named(store)["Ada"]) == (OTHER.id, "Ada")


def test_known_embeddings_of_a_model_are_reused(store: Store, folder: Path) -> None:
    """Even without the photographs: returning to a model loses nobody."""
    rebuilt(store)
    new = photo(folder / "Ada" / "3.jpg", 0, 0.2)
    encoder = OtherFaceEncoder()
    other = Store.for_space("alice", OTHER.id)
    Enrollment(other, lambda: encoder).run([EnrollmentTask("Ada", new)])
    other.close()
    for file in ("Ada/1.jpg", "Ada/2.jpg", "Grace/1.jpg"):
        (folder / file).unlink()
    work = plan(store, EmbeddingSpace(SPACE))
    assert (work.photographs, work.known, work.lost) == (1, 3, [])
    assert work.summary.endswith("re-embed 1 photographs of 2 people for model 0123/facenet, "
                              "3 embedded earlier")  # fmt: skip
    encoder = FakeFaceEncoder()
    work.embed(lambda: encoder)
    work.commit()
    assert encoder.looked == [new]
    assert store.people() == {"Ada": 3, "Grace": 1}
    assert store.space == SPACE


def test_a_rebuild_from_known_embeddings_loads_no_model(store: Store) -> None:
    rebuilt(store)

    def no_model() -> FakeFaceEncoder:
        raise AssertionError

    work = plan(store, EmbeddingSpace(SPACE))
    work.embed(no_model)
    assert work.commit() == 3


def test_only_missing_and_changed_photographs_are_lost(store: Store, folder: Path) -> None:
    (folder / "Ada" / "1.jpg").unlink()
    photo(folder / "Grace" / "1.jpg", 11)
    work = rebuilt(store)
    assert losses(work) == [("Ada", "1.jpg", "gone"), ("Grace", "1.jpg", "changed")]
    assert work.dropped == ["Grace"]
    assert store.people() == {"Ada": 1}
    assert store.people(1) == {"Ada": 2, "Grace": 1}


def test_a_renamed_photograph_is_found_in_its_folder(store: Store, folder: Path) -> None:
    (folder / "Ada" / "1.jpg").rename(folder / "Ada" / "portrait.JPG")
    assert rebuilt(store).lost == []
    assert {Path(str(each.source)).name for each in store.references("Ada")} == {
        "portrait.JPG", "2.jpg",
    }  # fmt: skip


def test_moved_photographs_are_found_below_a_given_folder(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "archive").mkdir()
    folder.rename(tmp_path / "archive" / "2024")
    assert plan(store, OTHER).dropped == ["Ada", "Grace"]
    assert rebuilt(store, tmp_path / "archive").lost == []
    assert named(store) == {"Ada": "Ada", "Grace": "Grace"}
    with pytest.raises(InputError, match="is not a folder"):
        plan(store, OTHER, folders=[tmp_path / "nowhere"])


def test_a_photograph_that_is_deleted_during_the_rebuild_is_lost(
    store: Store, folder: Path
) -> None:
    class Slow(OtherFaceEncoder):
        def embed(self, photo_: Path, *, take_largest: bool = False) -> EncodedPhotograph:
            (folder / "Ada" / "2.jpg").unlink(missing_ok=True)
            photo(folder / "Grace" / "1.jpg", 12)
            try:
                return super().embed(photo_, take_largest=take_largest)
            except OSError as error:
                raise PhotographError("unreadable", "can't be read: gone") from error

    work = rebuilt(store, encoder=Slow())
    assert losses(work) == [("Ada", "2.jpg", "unreadable"), ("Grace", "1.jpg", "changed")]
    assert store.people() == {"Ada": 1}


def test_a_photograph_enrolled_with_largest_is_embedded_with_largest(
    store: Store, folder: Path
) -> None:
    group = photo(folder / "Alan" / "group.jpg", 20, faces=6)
    encoder = FakeFaceEncoder()
    Enrollment(store, lambda: encoder, take_largest=True).run([EnrollmentTask("Alan", group)])
    assert rebuilt(store).lost == []
    assert store.people()["Alan"] == 1


def test_imported_embeddings_are_lost(store: Store) -> None:
    with store.change("import") as change:
        change.add("Eve", Reference(face(5)))
        change.add("Grace", Reference(face(6)))
    work = rebuilt(store)
    assert [(lost.name, lost.photo, lost.kind) for lost in work.lost] == [
        ("Eve", None, "imported"), ("Grace", None, "imported"),
    ]  # fmt: skip
    assert work.dropped == ["Eve"]
    assert "imported as an embedding, without a photograph" in work.lost[0].message
    assert store.people() == {"Ada": 2, "Grace": 1}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_rebuild_leaves_the_gallery_unchanged(
    store: Store, error: type[BaseException]
) -> None:
    class Interrupted(OtherFaceEncoder):
        def embed(self, photo: Path, *, take_largest: bool = False) -> EncodedPhotograph:
            if len(self.looked) == 2:
                raise error
            return super().embed(photo, take_largest=take_largest)

    before = store.file.read_bytes()
    with pytest.raises(error):
        rebuilt(store, encoder=Interrupted())
    assert store.file.read_bytes() == before
    assert rebuilt(store).lost == []


def test_an_error_while_storing_leaves_the_gallery_unchanged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Change.add
    done: list[str] = []

    def fails(self: Change, name: str, reference: Reference) -> None:
        if len(done) == 2:
            raise OSError(28, "No space left on device")
        done.append(name)
        add(self, name, reference)

    with monkeypatch.context() as patch:
        patch.setattr(Change, "add", fails)
        with pytest.raises(GalleryError, match="No space left"):
            rebuilt(store)
    assert (store.version, store.space) == (1, SPACE)
    assert store.people() == {"Ada": 2, "Grace": 1}


def test_a_concurrent_change_by_another_command_is_not_overwritten(
    store: Store, folder: Path
) -> None:
    work = plan(store, OTHER)
    encoder = OtherFaceEncoder()
    work.embed(lambda: encoder)
    # The same version, extended: its number is unchanged.
    with store.change("enroll", extend=1) as change:
        change.add("Alan", Reference(unit(30)))
    assert store.version == 1
    with pytest.raises(GalleryError, match="another command changed") as caught:
        work.commit()
    assert "again" in (caught.value.hint or "")
    assert (store.version, store.space) == (1, SPACE)
    people.remove(store, "Alan")
    work = plan(store, OTHER)
    people.forget("alice", "Grace")
    with pytest.raises(GalleryError, match="another command changed"):
        work.commit()
    assert store.people() == {"Ada": 2}


def test_each_space_keeps_its_own_threshold_and_metric(store: Store) -> None:
    people.configure(store, threshold=0.31, metric="cosine", matching="centroid")
    work = rebuilt(store)
    assert work.thresholds == (0.31, 0.5)
    assert (store.settings.threshold, store.settings.metric) == (0.5, "cosine")
    assert store.settings.matching == "centroid"
    people.configure(store, threshold=0.4, metric="euclidean", matching="best")
    back = plan(store, EmbeddingSpace(SPACE))
    assert back.thresholds == (0.4, 0.31)
    back.commit()
    assert (store.settings.threshold, store.settings.metric) == (0.31, "cosine")
    assert store.settings.matching == "best"


def test_versions_of_two_models_are_compared_by_photographs(store: Store, folder: Path) -> None:
    with store.change("import") as change:
        change.add("Eve", Reference(face(5)))
    (folder / "Ada" / "1.jpg").unlink()
    rebuilt(store)
    found = people.compare(store, 2, 3)
    assert (found.added, found.removed, found.changed) == ({}, {"Eve": 1}, {"Ada": (2, 1)})
    assert found.settings == {"model": ("0123/facenet", "other-facenet")}
    assert people.compare(store, 1, 3).changed == {"Ada": (2, 1)}


def test_a_forgotten_person_is_in_no_version_of_any_model(store: Store) -> None:
    embedding = store.references("Ada")[0].embedding
    rebuilt(store)
    assert people.forget("alice", "Ada") == 4
    data = store.file.read_bytes()
    assert b"Ada" not in data
    assert embedding.tobytes() not in data
    assert unit(100).tobytes() not in data
    assert store.space == OTHER.id
    assert plan(store, EmbeddingSpace(SPACE)).people == 1


def test_no_rebuild_is_planned_if_none_is_needed(store: Store) -> None:
    assert plan_local("nobody", OTHER) is None
    assert plan_local("alice", EmbeddingSpace(SPACE)) is None
    assert plan_local("alice", OTHER) is not None
    for name in ("Ada", "Grace"):
        people.remove(store, name)
    assert plan_local("alice", OTHER) is None


def test_a_large_gallery_is_rebuilt_in_order(store: Store, folder: Path) -> None:
    put(store, **{f"p{index}": 1 for index in range(50)})
    work = rebuilt(store)
    assert len(work.dropped) == 50
    assert work.facts()["dropped"] == sorted(f"p{index}" for index in range(50))
    assert [each.source for each in store.references("Ada")] == [
        str(folder / "Ada" / "1.jpg"), str(folder / "Ada" / "2.jpg"),
    ]  # fmt: skip
