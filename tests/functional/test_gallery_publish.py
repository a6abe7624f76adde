"""Publishing the gallery: parts, manifests, cleanup of old versions, and repair."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError
from datetime import timedelta

import pytest
from gallery_data import DEPLOYMENT, SPACE, made, put, set_aside, unit
from moto import mock_aws
from published_gallery import (
    BUCKET,
    ELSEWHERE,
    FOLDER,
    KEY,
    at,
    clients,
    crowd,
    cut_off,
    keep_versions,
    keys,
    moto,
    published,
    refused,
    served,
    store,
)

from facectl.aws import Clients
from facectl.errors import CloudError
from facectl.gallery import cleanup, parts, people, publish
from facectl.gallery.bucket import GalleryBucket
from facectl.gallery.changes import Reference
from facectl.gallery.store import Store
from lambda_src.gallery.parts import Manifest

__all__ = ["clients", "moto", "published", "store"]


def test_the_published_gallery_equals_the_local_one(moto: Clients) -> None:
    put(made(), Ada=2, Grace=1)
    assert publish.publish_local(moto) is not None
    gallery = served(moto)
    assert sorted(gallery.names) == ["Ada", "Ada", "Grace"]
    assert (gallery.space, gallery.threshold) == (SPACE, 1.0)
    assert any(key.startswith(f"{FOLDER}versions/000001-") for key in keys(moto))


def test_nothing_is_published_if_nobody_is_enrolled(clients: Clients) -> None:
    assert publish.publish_local(clients) is None
    assert keys(clients) == set()


def test_removing_the_last_person_publishes_an_empty_gallery(
    clients: Clients, published: Store
) -> None:
    people.remove(published, "Ada")
    publish.publish(clients, published)
    assert len(served(clients).names) == 0


def test_centroids_are_published_as_one_row_per_person(clients: Clients, store: Store) -> None:
    put(store, Ada=3, Grace=1)
    with store.change("settings") as change:
        change.configure(matching="centroid")
    publish.publish(clients, store)
    assert sorted(served(clients).names) == ["Ada", "Grace"]


def test_one_more_photograph_uploads_one_part(clients: Clients, store: Store) -> None:
    crowd(store, 4000)
    publish.publish(clients, store)
    before = keys(clients, f"{FOLDER}parts/")
    assert len(before) == 8
    put(store, Ada=1)
    sent: list[int] = []
    publish.publish(clients, store, progress=sent.append)
    assert len(sent) == 1
    assert len(keys(clients, f"{FOLDER}parts/") - before) == 1
    assert len(served(clients).names) == 4001
    # And what was published bit by bit is what would be published at once.
    manifest = publish.inspect(clients).manifest
    with store.transaction() as connection:
        connection.execute("DELETE FROM meta WHERE key = 'published'")
    packer = parts.Packer(store)
    assert len(list(packer.missing(()))) == 8
    assert manifest is not None
    assert packer.manifest().parts == manifest.parts


def test_a_large_gallery_is_published_quantised(
    clients: Clients, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "EXACT_ROWS", 100)
    crowd(store, 200)
    publish.publish(clients, store)
    gallery = served(clients)
    names, embeddings = store.rows()
    assert [match.name for match in gallery.match(embeddings)] == names


def test_the_same_version_is_not_published_twice(clients: Clients, store: Store) -> None:
    put(store, Ada=1)
    first = publish.publish(clients, store)
    assert publish.publish(clients, store) == first
    assert len(keys(clients, f"{FOLDER}versions/")) == 1


def test_publish_fills_an_emptied_bucket_again(clients: Clients, published: Store) -> None:
    for key in keys(clients):
        clients.s3.delete_object(Bucket=BUCKET, Key=key)
    publish.publish(clients, published)
    assert served(clients).names == ("Ada",)


def test_old_versions_and_their_parts_are_deleted(
    clients: Clients, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_versions(monkeypatch, 2, slack=1)
    for index in range(4):
        put(store, **{f"p{index}": 1})
        publish.publish(clients, store)
    assert len(keys(clients, f"{FOLDER}versions/")) == 2
    assert len(keys(clients, f"{FOLDER}parts/")) == 2
    assert len(served(clients).names) == 4


def test_cleanup_keeps_the_latest_publications_of_a_new_gallery_that_starts_at_version_1(
    clients: Clients, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_versions(monkeypatch, 3, slack=1)
    for index in range(6):
        put(store, **{f"p{index}": 1})
        publish.publish(clients, store)
    set_aside("alice")
    again = made()
    for name in ("Ada", "Grace", "Alan"):
        put(again, **{name: 1})
        publish.publish(clients, again, replace=True)
        assert name in served(clients).names
    # The last three publications, although earlier ones have higher numbers.
    versions = sorted(keys(clients, f"{FOLDER}versions/"))
    assert [name.rpartition("/")[2][:6] for name in versions] == ["000001", "000002", "000003"]


def test_cleanup_keeps_recent_parts_without_a_manifest(
    clients: Clients, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_versions(monkeypatch, 1, slack=0)
    stray = f"{FOLDER}parts/{'0' * 64}.part"
    clients.s3.put_object(Bucket=BUCKET, Key=stray, Body=b"x")
    for margin, is_left in ((timedelta(hours=1), True), (timedelta(0), False)):
        monkeypatch.setattr(cleanup, "_MARGIN", margin)
        for _ in range(2):
            put(store, Ada=1)
            publish.publish(clients, store)
        assert (stray in keys(clients)) == is_left


@pytest.mark.parametrize("body", [b"broken", b"{}", b""])
def test_a_damaged_manifest_is_reported_and_overwritten(clients: Clients, body: bytes) -> None:
    clients.s3.put_object(Bucket=BUCKET, Key=KEY, Body=body)
    assert "is refused" in (publish.inspect(clients).problem or "")
    put(made(), Ada=1)
    publish.publish_local(clients)
    assert publish.inspect(clients).problem is None


def test_a_missing_bucket_is_an_error_whose_hint_is_deploy() -> None:
    with mock_aws():
        with pytest.raises(CloudError, match="NoSuchBucket") as caught:
            publish.publish(Clients(DEPLOYMENT), made())
        assert caught.value.hint == "facectl deploy"


def test_the_manifest_is_written_last(
    clients: Clients, published: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real = GalleryBucket._put

    def put_(self: GalleryBucket, key: str, data: bytes, **condition: str) -> None:
        order.append(key)
        if key.startswith(f"{FOLDER}versions/"):
            raise CloudError("cut off")
        real(self, key, data, **condition)

    put(published, Grace=1)
    with monkeypatch.context() as patch:
        patch.setattr(GalleryBucket, "_put", put_)
        with pytest.raises(CloudError, match="cut off"):
            publish.publish(clients, published)
    assert order[0].startswith(f"{FOLDER}parts/")
    assert served(clients).names == ("Ada",)
    publish.publish(clients, published)
    assert sorted(served(clients).names) == ["Ada", "Grace"]
    assert isinstance(publish.inspect(clients).manifest, Manifest)


def test_each_of_two_buckets_gets_the_complete_gallery(clients: Clients, store: Store) -> None:
    other = at(clients, region="eu-west-1")
    crowd(store, 600)
    publish.publish(clients, store)
    publish.publish(other, store)
    put(store, Ada=1)
    publish.publish(clients, store)
    publish.publish(other, store)
    for each in (clients, other):
        assert len(served(each).names) == 601


@pytest.mark.parametrize("how", ["delete", "damage"])
def test_publish_repairs_deleted_and_damaged_objects(moto: Clients, store: Store, how: str) -> None:
    put(store, Ada=1)
    publish.publish(moto, store)
    for key in sorted(keys(moto)):
        if how == "delete":
            moto.s3.delete_object(Bucket=BUCKET, Key=key)
        else:
            moto.s3.put_object(Bucket=BUCKET, Key=key, Body=b"broken")
        publish.publish(moto, store)
        assert served(moto).names == ("Ada",)
        manifest = moto.s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
        digest = hashlib.sha256(manifest).hexdigest()[:12]
        assert f"{FOLDER}versions/000001-{digest}.json" in keys(moto)


def test_a_version_that_may_be_published_is_not_extended(clients: Clients, store: Store) -> None:
    put(store, Ada=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GalleryBucket, "swap", refused)
        with pytest.raises(CloudError, match="repeatedly"):
            publish.publish(clients, store)
    with store.change("enroll", extend=1) as change:
        change.add("Grace", Reference(unit(7)))
    assert store.version == 2


def test_the_manifest_is_not_written_if_another_object_fails_its_verification(
    clients: Clients, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, Ada=1)
    monkeypatch.setattr(GalleryBucket, "holds", refused)
    with pytest.raises(CloudError, match="is not what was written to it"):
        publish.publish(clients, store)
    assert KEY not in keys(clients)


def test_a_damaged_file_that_was_set_aside_does_not_prevent_publication(
    clients: Clients, store: Store
) -> None:
    put(store, Ada=1)
    store.file.with_name("alice.0123.db").write_bytes(b"no database at all" * 100)
    publish.publish(clients, store)
    assert served(clients).names == ("Ada",)


def test_repairing_a_part_changes_the_manifest_so_that_functions_load_it_again(
    clients: Clients, published: Store
) -> None:
    before = publish.inspect(clients).etag
    publish.publish(clients, published)
    assert publish.inspect(clients).etag == before
    [part] = keys(clients, f"{FOLDER}parts/")
    clients.s3.put_object(Bucket=BUCKET, Key=part, Body=b"broken")
    publish.publish(clients, published)
    assert publish.inspect(clients).etag != before


def test_parts_are_written_before_the_manifest_in_a_second_bucket_too(
    clients: Clients, published: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = at(clients, region="eu-west-1")
    monkeypatch.setattr(GalleryBucket, "swap", cut_off)
    with pytest.raises(CloudError, match="cut off"):
        publish.publish(other, published)
    listed = other.s3.list_objects_v2(Bucket=ELSEWHERE, Prefix=FOLDER)["Contents"]
    assert [item["Key"].endswith(".part") for item in listed] == [True, False]


def test_the_published_gallery_is_described_in_one_line(clients: Clients, store: Store) -> None:
    assert publish.facts(clients) == {"gallery": "nobody is enrolled"}
    assert publish.inspect(clients) == publish.PublishedGallery(None)
    clients.s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"broken")
    assert str(publish.facts(clients)["gallery"]).startswith(f"{KEY} is refused: ")
    put(store, Ada=1)
    put(store, Grace=2)
    publish.publish(clients, store)
    assert publish.facts(clients) == {"gallery": "version 2 with 2 people"}
    other = publish.facts(at(clients, space="other/facenet"))["gallery"]
    assert str(other).startswith(
        "version 2 with 2 people: no gallery is published for the model's space other/facenet"
    )


def test_an_error_names_the_missing_part(clients: Clients, published: Store) -> None:
    there = publish.inspect(clients)
    with pytest.raises(CloudError, match=f"part 0123456789ab of .* missing in {BUCKET}") as caught:
        publish.fetch_part(clients, there, "0123456789abcdef" * 4)
    assert caught.value.hint == "facectl gallery publish   on the computer that keeps it"


def test_a_published_gallery_is_immutable() -> None:
    there = publish.PublishedGallery(None)
    with pytest.raises(FrozenInstanceError):
        there.problem = "none"  # type: ignore[misc]
    assert not hasattr(there, "__dict__")
