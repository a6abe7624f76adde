"""Publishing galleries of several embedding spaces, and the bucket layout of facectl 1."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gallery_data import DEPLOYMENT, SPACE, made, put, set_aside
from moto import mock_aws
from published_gallery import (
    BUCKET,
    FOLDER,
    KEY,
    at,
    clients,
    everything,
    keys,
    old_layout,
    other_computer,
    published,
    served,
    store,
)

from facectl.aws import Clients
from facectl.errors import CloudError, GalleryError
from facectl.gallery import people, publish
from facectl.gallery.bucket import OLD_KEY, GalleryBucket
from facectl.gallery.store import Store
from lambda_src.gallery.parts import Manifest, manifest_key

__all__ = ["clients", "published", "store"]


def lay(clients: Clients, manifest: Manifest, space: str, day: int) -> Manifest:
    """Put a manifest where the gallery of a space is, published on a day of January."""
    there = replace(manifest, space=space, published=f"2026-01-{day:02d}T00:00:00.000+00:00")
    clients.s3.put_object(Bucket=BUCKET, Key=manifest_key(space), Body=there.serialise())
    return there


def test_a_gallery_of_another_space_is_not_published(clients: Clients) -> None:
    store = Store.for_space("alice", "other/facenet")
    with pytest.raises(GalleryError, match="can't be compared"):
        publish.publish(clients, store)


@pytest.mark.usefixtures("published")
def test_a_published_gallery_of_another_space_is_reported(clients: Clients) -> None:
    other = at(clients, space="other/facenet")
    assert "is of space 0123/facenet" in (publish.inspect(other).problem or "")


@pytest.mark.parametrize("space", ["0000/facenet", "zzzz/facenet"])
def test_a_manifest_of_any_other_space_is_reported(
    clients: Clients, store: Store, space: str
) -> None:
    put(store, Ada=1)
    other = replace(publish.publish(clients, store), space=space)
    clients.s3.put_object(Bucket=BUCKET, Key=KEY, Body=other.serialise())
    assert f"{KEY} is of space {space}" in (publish.inspect(clients).problem or "")


@pytest.mark.usefixtures("published")
def test_publishing_for_a_new_model_keeps_the_gallery_that_functions_still_read(
    clients: Clients,
) -> None:
    set_aside("alice")
    there = at(clients, space="other/facenet")
    assert "no gallery is published" in (publish.inspect(there).problem or "")
    new = Store.for_space("alice", "other/facenet")
    put(new, Ada=1)
    new.close()
    assert publish.publish_local(there, ahead=True) is not None
    assert served(clients).names == ("Ada",)
    assert served(there).names == ("Ada",)
    assert [each.space for each in publish.others(there)] == [SPACE]


def test_a_damaged_manifest_is_reported_although_another_model_has_a_gallery(
    clients: Clients, store: Store
) -> None:
    put(store, Ada=1)
    lay(clients, publish.publish(clients, store), "other/facenet", 1)
    clients.s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"broken")
    found = publish.inspect(clients)
    assert (found.key, found.manifest) == (KEY, None)
    assert found.problem is not None


def test_galleries_of_other_models_are_listed_newest_first(clients: Clients, store: Store) -> None:
    assert publish.others(clients) == []
    put(store, Ada=1)
    manifest = publish.publish(clients, store)
    laid = [
        lay(clients, manifest, space, day)
        for space, day in (("zzzz/facenet", 2), ("0000/facenet", 3), ("mmmm/facenet", 1))
    ]
    clients.s3.put_object(Bucket=BUCKET, Key=manifest_key("broken"), Body=b"broken")
    assert publish.others(clients) == [laid[1], laid[0], laid[2]]
    # Where nothing says which model runs: whatever was published last.
    unknown = at(clients, space=None)
    assert [each.space for each in publish.others(unknown)][1:] == [
        each.space for each in (laid[1], laid[0], laid[2])
    ]
    lay(clients, manifest, SPACE, 1)
    newest = publish.inspect(unknown)
    assert (newest.manifest, newest.problem) == (laid[1], None)
    own = publish.inspect(clients)
    assert (own.key, own.problem) == (KEY, None)


def test_only_a_publication_ahead_of_the_functions_accepts_a_missing_bucket() -> None:
    with mock_aws():
        put(made(), Ada=1)
        assert publish.publish_local(Clients(DEPLOYMENT), ahead=True) is None
        with pytest.raises(CloudError, match="NoSuchBucket"):
            publish.publish_local(Clients(DEPLOYMENT))
        # Read only: nothing is published, and that is no error.
        assert publish.others(Clients(DEPLOYMENT)) == []


def test_the_gallery_of_facectl_1_is_updated_until_it_is_retired(
    clients: Clients, published: Store
) -> None:
    old_layout(clients)
    assert served(clients).names == ("Ada",)
    put(published, Grace=1)
    publish.publish(clients, published)
    for key in (KEY, OLD_KEY):
        data = clients.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        assert Manifest.parse(data).version == 2
    people.forget("alice", "Ada")
    publish.publish(clients, published)
    assert b"Ada" not in everything(clients)
    assert len(keys(clients)) == 6
    publish.retire_old(clients)
    assert all(key.startswith(FOLDER) for key in keys(clients))
    assert served(clients).names == ("Grace",)


@pytest.mark.usefixtures("published")
def test_an_unknown_gallery_of_facectl_1_is_not_overwritten(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old_layout(clients)
    store = other_computer(monkeypatch, tmp_path)
    with pytest.raises(GalleryError, match="does not know"):
        publish.publish(clients, store)


def test_retiring_the_gallery_of_facectl_1_resumes_after_an_interruption(
    clients: Clients, published: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_layout(clients)
    publish.publish(clients, published)
    real, calls = GalleryBucket.delete, []

    def once(bucket: GalleryBucket, names: list[str]) -> None:
        if calls:
            raise CloudError("cut off")
        calls.append(names)
        real(bucket, names)

    with monkeypatch.context() as patch:
        patch.setattr(GalleryBucket, "delete", once)
        with pytest.raises(CloudError, match="cut off"):
            publish.retire_old(clients)
    assert calls == [[OLD_KEY]]
    publish.retire_old(clients)
    assert all(key.startswith(FOLDER) for key in keys(clients))


@pytest.mark.usefixtures("published")
def test_an_unknown_gallery_of_facectl_1_is_refused_before_anything_is_uploaded(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old_layout(clients)
    before = keys(clients)
    store = other_computer(monkeypatch, tmp_path)
    with pytest.raises(GalleryError, match="does not know"):
        publish.publish(clients, store)
    assert keys(clients) == before
    publish.publish(clients, store, replace=True)
    assert served(clients).names == ("Eve",)
    data = clients.s3.get_object(Bucket=BUCKET, Key=OLD_KEY)["Body"].read()
    assert Manifest.parse(data).lineage == store.lineage


def test_a_gallery_of_facectl_1_of_another_space_is_not_overwritten(
    clients: Clients, store: Store
) -> None:
    put(store, Ada=1)
    manifest = publish.publish(clients, store)
    other = replace(manifest, space="other/facenet").serialise()
    for body, is_left in ((other, True), (b"broken", False)):
        clients.s3.put_object(Bucket=BUCKET, Key=OLD_KEY, Body=body)
        publish.publish(clients, store)
        now = clients.s3.get_object(Bucket=BUCKET, Key=OLD_KEY)["Body"].read()
        assert (now == body) is is_left
