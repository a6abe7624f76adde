"""Publishing the gallery while another computer publishes to the same bucket."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gallery_data import made, put
from published_gallery import (
    BUCKET,
    FOLDER,
    KEY,
    clients,
    crowd,
    moto,
    other_computer,
    published,
    served,
    store,
)

from facectl.aws import Clients
from facectl.errors import CloudError, GalleryError
from facectl.gallery import exchange, publish
from facectl.gallery.bucket import GalleryBucket
from facectl.gallery.store import Store

__all__ = ["clients", "moto", "published", "store"]


@pytest.mark.usefixtures("published")
def test_an_unknown_gallery_is_not_overwritten(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = other_computer(monkeypatch, tmp_path)
    with pytest.raises(GalleryError, match=r"does not know: version 1 .* with 1 people") as caught:
        publish.publish(clients, store)
    assert "import --published" in (caught.value.hint or "")
    foreign, lineage, version = exchange.read_published(clients)
    store.adopt(lineage, version)
    assert exchange.add(store, foreign) == 1
    publish.publish(clients, store)
    assert sorted(served(clients).names) == ["Ada", "Eve"]
    monkeypatch.undo()


def test_a_newer_version_of_another_computer_is_not_overwritten(
    clients: Clients, store: Store
) -> None:
    put(store, Ada=1)
    manifest = publish.publish(clients, store)
    newer = replace(manifest, version=9)
    clients.s3.put_object(Bucket=BUCKET, Key=KEY, Body=newer.serialise())
    put(store, Eve=1)
    with pytest.raises(GalleryError, match="changed elsewhere"):
        publish.publish(clients, store)
    assert publish.publish(clients, store, replace=True).version == 2


@pytest.mark.parametrize("overwrite", [False, True])
def test_one_of_two_concurrent_publications_is_refused(
    moto: Clients, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, overwrite: bool
) -> None:
    put(store, Ada=1)
    publish.publish(moto, store)
    put(store, Grace=1)
    real = GalleryBucket.swap

    def swap(bucket: GalleryBucket, key: str, data: bytes, etag: str | None) -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(GalleryBucket, "swap", real)
            patch.setenv("FACECTL_HOME", str(tmp_path / "another-computer"))
            second = made()
            put(second, Eve=1)
            publish.publish(moto, second, replace=True)
            second.close()
        return real(bucket, key, data, etag)

    with monkeypatch.context() as patch:
        patch.setattr(GalleryBucket, "swap", swap)
        with pytest.raises(GalleryError, match="does not know: version 1"):
            publish.publish(moto, store, replace=overwrite)
    assert served(moto).names == ("Eve",)


def test_a_retry_after_a_lost_response_is_no_conflict(
    clients: Clients, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, Ada=1)
    real = GalleryBucket.swap

    def twice(bucket: GalleryBucket, key: str, data: bytes, etag: str | None) -> bool:
        real(bucket, key, data, etag)
        return real(bucket, key, data, etag)

    monkeypatch.setattr(GalleryBucket, "swap", twice)
    assert publish.publish(clients, store).version == 1
    assert served(clients).names == ("Ada",)


def test_another_gallery_with_the_same_version_number_is_refused(
    clients: Clients, published: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copied = tmp_path / "another-computer"
    shutil.copytree(tmp_path / "facectl-home", copied)
    put(published, Grace=1)
    publish.publish(clients, published)
    monkeypatch.setenv("FACECTL_HOME", str(copied))
    other = made()
    put(other, Eve=1)
    with pytest.raises(GalleryError, match=r"another version 2 .* changed elsewhere"):
        publish.publish(clients, other)
    assert sorted(served(clients).names) == ["Ada", "Grace"]


def test_a_part_that_another_computer_deletes_is_uploaded_again(
    clients: Clients, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = GalleryBucket.swap

    def swap(bucket: GalleryBucket, key: str, data: bytes, etag: str | None) -> bool:
        bucket.delete([item.key for item in bucket.listed(f"{FOLDER}parts/")])
        return real(bucket, key, data, etag)

    monkeypatch.setattr(GalleryBucket, "swap", swap)
    put(store, Ada=1)
    publish.publish(clients, store)
    assert served(clients).names == ("Ada",)


def test_only_the_deleted_part_is_uploaded_again(
    clients: Clients, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(store, 4000)
    real = GalleryBucket.swap

    def swap(bucket: GalleryBucket, key: str, data: bytes, etag: str | None) -> bool:
        bucket.delete([bucket.listed(f"{FOLDER}parts/")[0].key])
        return real(bucket, key, data, etag)

    monkeypatch.setattr(GalleryBucket, "swap", swap)
    sent: list[int] = []
    publish.publish(clients, store, progress=sent.append)
    assert len(sent) == 8 + 1
    assert len(served(clients).names) == 4000


def test_deleted_parts_are_uploaded_again_five_times(
    clients: Clients, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, Ada=1)
    real = GalleryBucket.listed
    sent: list[int] = []

    def listed(bucket: GalleryBucket, prefix: str) -> list[Any]:
        return [] if prefix == f"{FOLDER}parts/" else real(bucket, prefix)

    monkeypatch.setattr(GalleryBucket, "listed", listed)
    with pytest.raises(CloudError, match="deleted repeatedly"):
        publish.publish(clients, store, progress=sent.append)
    # Once before it was named, and five times after that.
    assert len(sent) == 6


def test_publish_is_retried_five_times_if_the_manifest_keeps_changing(
    clients: Clients, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str | None] = []

    def swap(_: GalleryBucket, key: str, data: bytes, etag: str | None) -> bool:
        calls.append(etag)
        return False

    monkeypatch.setattr(GalleryBucket, "swap", swap)
    put(store, Ada=1)
    with pytest.raises(CloudError, match="changed repeatedly by another computer") as caught:
        publish.publish(clients, store)
    assert calls == [None] * 5
    assert caught.value.hint == "facectl gallery publish"


@pytest.mark.parametrize("lineage", ["00000000", "zzzzzzzz"])
def test_only_an_empty_gallery_of_another_computer_is_overwritten(
    clients: Clients, store: Store, lineage: str
) -> None:
    put(store, Ada=1)
    manifest = publish.publish(clients, store)
    foreign = replace(manifest, lineage=lineage)
    clients.s3.put_object(Bucket=BUCKET, Key=KEY, Body=foreign.serialise())
    with pytest.raises(GalleryError, match="does not know"):
        publish.publish(clients, store)
    assert publish.inspect(clients).manifest == foreign
    empty = replace(foreign, people=0, parts=())
    clients.s3.put_object(Bucket=BUCKET, Key=KEY, Body=empty.serialise())
    assert publish.publish(clients, store).lineage == store.lineage
    assert served(clients).names == ("Ada",)
