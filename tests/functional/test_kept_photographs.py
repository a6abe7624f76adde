"""People who were named from video keep photographs: for another model, and until forgotten."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from gallery_data import DEPLOYMENT, SPACE, FakeFaceEncoder, unit
from moto import mock_aws
from published_gallery import BUCKET
from stranger_data import NOW, Collected, crop_of, person, visit_id

from facectl import paths
from facectl.aws import Clients
from facectl.errors import GalleryError
from facectl.gallery import kept, people, rebuild
from facectl.gallery.changes import Change, EmbeddingSpace, Reference
from facectl.gallery.photographs import EncodedPhotograph
from facectl.gallery.store import Store, path
from facectl.strangers.actions import ALL, StrangerActions
from facectl.strangers.store import StrangerStore

pytestmark = pytest.mark.usefixtures("isolated", "bucket")

OTHER = EmbeddingSpace("4567/facenet", model="other-facenet")
FACES = person(1, 8)


@pytest.fixture
def bucket(isolated: Path) -> Iterator[None]:
    with mock_aws():
        Clients(DEPLOYMENT).s3.create_bucket(Bucket=BUCKET)
        yield


@pytest.fixture
def actions() -> StrangerActions:
    """Those of two strangers: s-1 with eight faces, s-2 with three."""
    found = Collected()
    found.visit(visit_id(1), FACES)
    found.visit(visit_id(2), person(2, 3))
    found.store.close()
    return StrangerActions(DEPLOYMENT, space=EmbeddingSpace(SPACE), now=lambda: NOW)


def photographs() -> list[Path]:
    return sorted(kept.folder(path("alice")).glob("*"))


def everything() -> bytes:
    """The bytes of every file below the home folder."""
    home = paths.data_dir().parent
    return b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())


def left_of(faces: np.ndarray) -> int:
    """How many pieces of 32 bytes of faces and their pictures are in any file."""
    found = everything()
    pieces = [piece for each in faces for piece in (each.tobytes(), crop_of(each))]
    return sum(
        piece[start : start + 32] in found
        for piece in pieces
        for start in range(0, len(piece) - 32, 32)
    )


class OtherEncoder(FakeFaceEncoder):
    """Another model, which reads pictures of faces."""

    def __init__(self) -> None:
        super().__init__()
        self.largest: list[bool] = []

    def embed(self, photo: Path, *, take_largest: bool = False) -> EncodedPhotograph:
        self.largest.append(take_largest)
        digest = hashlib.sha256(photo.read_bytes()).hexdigest()
        return EncodedPhotograph(photo, digest, unit(7), 1, 100.0, 0.99, 200.0)


def test_pictures_are_kept_where_only_the_owner_can_read_them(actions: StrangerActions) -> None:
    before = os.umask(0)
    try:
        actions.name("s-1", "Ada")
    finally:
        os.umask(before)
    files = photographs()
    assert len(files) == 5
    assert {file.read_bytes() for file in files} <= {crop_of(face) for face in FACES}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700
    with closing(Store.open("alice")) as store:
        assert {Path(str(each.source)) for each in store.references("Ada")} == set(files)
    # Nothing of a picture is published.
    clients = Clients(DEPLOYMENT)
    for each in clients.s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
        body = clients.s3.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read()
        assert not any(crop_of(face)[5:37] in body for face in FACES)


@pytest.mark.parametrize("moved", [False, True])
def test_another_model_embeds_them_again(actions: StrangerActions, moved: bool) -> None:
    """Also after the kept faces of strangers were deleted, and after FACECTL_HOME was moved."""
    actions.name("s-1", "Ada")
    with closing(StrangerStore.open("alice")) as strangers:
        strangers.forget()
    with closing(Store.open("alice")) as store:
        if moved:
            with store.transaction() as connection:
                connection.execute("UPDATE vectors SET source = '/gone' || source")
        work = rebuild.plan(store, OTHER)
        assert (work.lost, work.dropped, work.photographs) == ([], [], 5)
        encoder = OtherEncoder()
        work.embed(lambda: encoder)
        work.commit()
        assert store.space == OTHER.id
        assert store.people() == {"Ada": 5}
        # The picture of a face can have a part of another one.
        assert encoder.largest == [True] * 5


def test_a_person_of_an_earlier_facectl_is_lost_with_the_reason(actions: StrangerActions) -> None:
    actions.name("s-1", "Ada")
    with closing(Store.open("alice")) as store:
        with store.transaction() as connection:
            connection.execute("UPDATE vectors SET source = NULL")
        work = rebuild.plan(store, OTHER)
        assert {(lost.kind, lost.message) for lost in work.lost} == {
            ("stranger", "an earlier facectl named it from a video, without a photograph")
        }
        assert work.dropped == ["Ada"]


def test_forgetting_a_person_leaves_no_byte_in_any_file(actions: StrangerActions) -> None:
    actions.name("s-1", "Ada")
    actions.name("s-2", "Grace")
    assert left_of(FACES) > 0
    people.forget("alice", "Ada")
    assert left_of(FACES) == 0
    assert len(photographs()) == 3
    with closing(Store.open("alice")) as store:
        assert store.people() == {"Grace": 3}


def test_removing_a_person_keeps_them_for_a_rollback(actions: StrangerActions) -> None:
    actions.name("s-1", "Ada")
    with closing(Store.open("alice")) as store:
        people.remove(store, "Ada")
        assert len(photographs()) == 5
        people.rollback(store, 1)
        assert rebuild.plan(store, OTHER).lost == []


@pytest.mark.parametrize("what", ["s-1", ALL])
def test_a_naming_that_was_undone_can_be_forgotten(actions: StrangerActions, what: str) -> None:
    actions.name("s-1", "Ada")
    actions.undo()
    assert photographs() == []
    assert actions.forget(what).gallery_version is not None
    assert left_of(FACES) == 0


def test_forgetting_strangers_leaves_those_who_are_enrolled(actions: StrangerActions) -> None:
    actions.name("s-1", "Ada")
    actions.name("s-2", "Grace")
    actions.undo()
    actions.forget(ALL)
    assert len(photographs()) == 5
    assert left_of(person(2, 3)) == 0
    with closing(Store.open("alice")) as store:
        assert store.people() == {"Ada": 5}


def test_a_corrected_visit_keeps_its_pictures_too(actions: StrangerActions) -> None:
    done = actions.correct(visit_id(2), "Grace")
    assert done.sentence.endswith("They are kept as photographs on this computer.")
    assert {file.read_bytes() for file in photographs()} == {crop_of(f) for f in person(2, 3)}


def test_pictures_of_a_command_that_was_killed_are_deleted_by_the_next(
    actions: StrangerActions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Change, name: str, reference: Reference) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Change, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            actions.name("s-1", "Ada")
    assert len(photographs()) == 1
    actions.name("s-2", "Grace")
    assert {file.read_bytes() for file in photographs()} == {crop_of(f) for f in person(2, 3)}


def test_a_folder_that_cannot_be_written_changes_nothing(actions: StrangerActions) -> None:
    folder = kept.folder(path("alice"))
    folder.parent.mkdir(parents=True)
    folder.write_text("no folder")
    with pytest.raises(GalleryError, match=r"photographs/[0-9a-f]{64}\.jpg can't be written"):
        actions.name("s-1", "Ada")
    with closing(Store.open("alice")) as store:
        assert store.people() == {}
    assert {group.state for group in actions.groups(every=True)} == {"open"}
