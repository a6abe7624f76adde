"""`gallery remove --forget`: deletes a person from everything in the buckets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gallery_data import DEPLOYMENT, SPACE, made, put, set_aside
from published_gallery import (
    BUCKET,
    ELSEWHERE,
    at,
    clients,
    cut_off,
    everything,
    keys,
    moto,
    served,
    store,
)

from facectl.aws import Clients
from facectl.errors import CloudError
from facectl.gallery import forgetting, people, publish, serving
from facectl.gallery.bucket import GalleryBucket
from facectl.gallery.store import Store

__all__ = ["clients", "moto", "store"]


def test_a_forgotten_person_is_in_no_published_version(moto: Clients, store: Store) -> None:
    put(store, Ada=2, Grace=1)
    embedding, sha256 = store.references("Ada")[0].embedding, store.references("Ada")[0].sha256
    publish.publish(moto, store)
    put(store, Alan=1)
    publish.publish(moto, store)
    assert b"Ada" in everything(moto)
    people.forget("alice", "Ada")
    publish.publish(moto, store)
    data = everything(moto)
    assert b"Ada" not in data
    assert embedding.tobytes() not in data
    assert str(sha256).encode() not in data
    assert sorted(served(moto).names) == ["Alan", "Grace"]
    assert len(keys(moto)) == 3


def test_the_next_publication_finishes_a_forget_that_was_not_published(
    clients: Clients, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, Ada=1, Grace=1)
    publish.publish(clients, store)
    people.forget("alice", "Ada")
    for name in ("swap", "delete"):
        with monkeypatch.context() as patch:
            patch.setattr(GalleryBucket, name, cut_off)
            with pytest.raises(CloudError, match="cut off"):
                publish.publish(clients, store)
        assert b"Ada" in everything(clients)
        assert [each.bucket for each in forgetting.pending(store)] == [BUCKET]
        assert "facectl gallery publish --target aws" in forgetting.pending(store)[0].warning
    put(store, Alan=1)
    publish.publish(clients, store)
    assert b"Ada" not in everything(clients)
    assert forgetting.pending(store) == []


def test_a_forget_is_pending_in_every_bucket_until_it_is_published_there(
    clients: Clients, store: Store
) -> None:
    other = at(clients, region="eu-west-1")
    put(store, Ada=1, Grace=1)
    publish.publish(clients, store)
    publish.publish(other, store)
    people.forget("alice", "Ada")
    publish.publish(clients, store)
    assert [each.bucket for each in forgetting.pending(store)] == [ELSEWHERE]
    publish.publish(other, store)
    assert forgetting.pending(store) == []


def test_a_forget_deletes_from_galleries_of_other_models_and_from_replaced_objects(
    moto: Clients, store: Store
) -> None:
    moto.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    put(store, Ada=1, Grace=1)
    publish.publish(moto, store)
    set_aside("alice")
    new = Store.for_space("alice", "other/facenet")
    put(new, Alan=1)
    there = Clients(replace(DEPLOYMENT, space="other/facenet"))
    publish.publish(there, new)
    people.forget("alice", "Ada")
    publish.publish(there, new, ahead=True)
    assert served(moto).names != ()
    publish.publish(there, new)
    assert served(there).names == ("Alan",)
    found = moto.s3.list_object_versions(Bucket=BUCKET)
    assert {item["Key"] for item in found["Versions"]} == keys(moto)
    assert len(found["Versions"]) == 3
    assert "DeleteMarkers" not in found


def test_a_forget_without_a_known_bucket_is_pending(store: Store) -> None:
    put(store, Ada=1)
    people.forget("alice", "Ada")
    [pending] = forgetting.pending(store)
    assert pending.bucket is None
    assert pending.warning.endswith("Next: facectl gallery publish")


def test_a_forget_is_not_pending_in_a_deleted_bucket(clients: Clients, store: Store) -> None:
    other = at(clients, region="eu-west-1")
    put(store, Ada=1, Grace=1)
    publish.publish(clients, store)
    publish.publish(other, store)
    people.forget("alice", "Ada")
    publish.publish(clients, store)
    forgetting.bucket_gone("alice", ELSEWHERE)
    assert forgetting.pending(store) == []
    # A bucket of that name is made again: whatever is put there comes from the cleaned store.
    clients.s3.buckets[ELSEWHERE].clear()  # type: ignore[attr-defined]
    publish.publish(other, store)
    assert forgetting.pending(store) == []


def test_a_forget_stays_pending_while_functions_may_run_another_model(
    clients: Clients, store: Store
) -> None:
    put(store, Ada=1, Grace=1)
    publish.publish(clients, store)
    people.forget("alice", "Ada")
    publish.publish(clients, store, ahead=True)
    assert len(forgetting.pending(store)) == 1
    publish.publish(clients, store)
    assert forgetting.pending(store) == []


def test_gallery_status_lists_pending_forgets_and_unused_galleries(clients: Clients) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "_serving", lambda _: (None, None))
        store = made()
        put(store, Ada=1, Grace=1)
        publish.publish(clients, store)
        people.forget("alice", "Ada")
        facts = serving.state(clients)
        assert [each["bucket"] for each in facts["forgetting"]] == [BUCKET]
        assert "may still have people who were forgotten" in facts["problems"][0]
        assert "version 2 is not published" in facts["problems"][1]
        publish.publish(clients, store)
        facts = serving.state(clients)
        assert (facts["problems"], facts["forgetting"], facts["others"]) == ([], [], [])
        other = serving.state(at(clients, space="other/facenet"))
        assert "no gallery is published for the model's space other/facenet" in other["problems"][0]
        assert [each["space"] for each in other["others"]] == [SPACE]
