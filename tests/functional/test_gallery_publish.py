"""Publication: only what changed travels, foreign galleries are safe, the forgotten are gone."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_data import DEPLOYMENT, SPACE, made, put, set_aside, unit
from memory_s3 import MemoryClients, MemoryS3
from moto import mock_aws

from facectl.aws import Clients
from facectl.errors import CloudError, GalleryError
from facectl.gallery import cleanup, exchange, forgetting, parts, people, publish, serving
from facectl.gallery.bucket import OLD_KEY, GalleryBucket
from facectl.gallery.changes import Reference
from facectl.gallery.store import Store
from lambda_src.gallery.loading import load
from lambda_src.gallery.matching import Matcher
from lambda_src.gallery.parts import Manifest, manifest_key

ACCOUNT = "123456789012"
BUCKET = f"facectl-alice-{ACCOUNT}-us-east-1"
ELSEWHERE = f"facectl-alice-{ACCOUNT}-eu-west-1"
KEY = manifest_key(SPACE)
FOLDER = KEY.removesuffix("current.json")


@pytest.fixture
def clients() -> Any:
    """A deployment whose S3 is in memory, with buckets in two regions."""
    return MemoryClients(DEPLOYMENT, MemoryS3({BUCKET: {}, ELSEWHERE: {}}), ACCOUNT)


@pytest.fixture
def moto() -> Iterator[Clients]:
    """The same with moto's S3, which is slower and more like AWS's."""
    with mock_aws():
        clients = Clients(DEPLOYMENT)
        clients.s3.create_bucket(Bucket=BUCKET)
        yield clients


def at(clients: Any, **changes: Any) -> Any:
    """The same S3 for another deployment."""
    return replace(clients, deployment=replace(clients.deployment, **changes))


def keys(clients: Clients, prefix: str = "gallery/") -> set[str]:
    answer = clients.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return {item["Key"] for item in answer.get("Contents", [])}


def everything(clients: Clients) -> bytes:
    return b"".join(
        key.encode() + clients.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        for key in keys(clients)
    )


def served(clients: Clients) -> Matcher:
    """What a function would have now."""
    there = publish.inspect(clients)
    assert there.manifest is not None
    return load(there.manifest, lambda sha256: publish.fetch_part(clients, there, sha256))[0]


def test_the_published_gallery_is_the_kept_one(moto: Clients) -> None:
    put(made(), Ada=2, Grace=1)
    assert publish.publish_local(moto) is not None
    gallery = served(moto)
    assert sorted(gallery.names) == ["Ada", "Ada", "Grace"]
    assert (gallery.space, gallery.threshold) == (SPACE, 1.0)
    assert any(key.startswith(f"{FOLDER}versions/000001-") for key in keys(moto))


def test_nothing_is_published_where_nobody_is_enrolled(clients: Clients) -> None:
    assert publish.publish_local(clients) is None
    assert keys(clients) == set()


def test_the_last_person_removed_leaves_an_empty_gallery(clients: Clients) -> None:
    store = made()
    put(store, Ada=1)
    publish.publish(clients, store)
    people.remove(store, "Ada")
    publish.publish(clients, store)
    assert len(served(clients).names) == 0


def test_centroids_are_published_as_one_row_per_person(clients: Clients) -> None:
    store = made()
    put(store, Ada=3, Grace=1)
    with store.change("settings") as change:
        change.configure(matching="centroid")
    publish.publish(clients, store)
    assert sorted(served(clients).names) == ["Ada", "Grace"]


def crowd(store: Store, count: int) -> None:
    random = np.random.default_rng(3)
    with store.change("import") as change:
        for index in range(count):
            vector = random.standard_normal(512).astype(np.float32)
            change.add(f"p{index}", Reference(vector / np.linalg.norm(vector)))


def test_one_more_photograph_sends_one_part_of_many(clients: Clients) -> None:
    store = made()
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
    packer = parts.Packer(store, anew=True)
    assert len(list(packer.missing(()))) == 8
    assert manifest is not None
    assert packer.manifest().parts == manifest.parts


def test_a_large_gallery_is_published_quantised(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "EXACT_ROWS", 100)
    store = made()
    crowd(store, 200)
    publish.publish(clients, store)
    gallery = served(clients)
    names, embeddings = store.rows()
    assert [match.name for match in gallery.match(embeddings)] == names


def test_the_same_version_is_not_published_twice(clients: Clients) -> None:
    store = made()
    put(store, Ada=1)
    first = publish.publish(clients, store)
    assert publish.publish(clients, store) == first
    assert len(keys(clients, f"{FOLDER}versions/")) == 1


def test_an_emptied_bucket_gets_everything_again(clients: Clients) -> None:
    store = made()
    put(store, Ada=1)
    publish.publish(clients, store)
    for key in keys(clients):
        clients.s3.delete_object(Bucket=BUCKET, Key=key)
    publish.publish(clients, store)
    assert served(clients).names == ("Ada",)


def test_old_versions_go_and_their_parts_with_them(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "_KEPT_VERSIONS", 2)
    monkeypatch.setattr(cleanup, "_SLACK", 1)
    monkeypatch.setattr(cleanup, "_MARGIN", timedelta(0))
    store = made()
    for index in range(4):
        put(store, **{f"p{index}": 1})
        publish.publish(clients, store)
    assert len(keys(clients, f"{FOLDER}versions/")) == 2
    assert len(keys(clients, f"{FOLDER}parts/")) == 2
    assert len(served(clients).names) == 4


def test_the_forgotten_are_in_no_published_version(moto: Clients) -> None:
    store = made()
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


def test_a_foreign_space_is_not_published(clients: Clients) -> None:
    store = Store.for_space("alice", "other/facenet")
    with pytest.raises(GalleryError, match="can't be compared"):
        publish.publish(clients, store)


def test_a_gallery_that_this_computer_does_not_know_is_not_overwritten(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    put(made(), Ada=1)
    publish.publish_local(clients)
    monkeypatch.setenv("FACECTL_HOME", f"{tmp_path}/another-computer")
    store = made()
    put(store, Eve=1)
    with pytest.raises(GalleryError, match=r"does not know: version 1 .* with 1 people") as caught:
        publish.publish(clients, store)
    assert "import --published" in (caught.value.hint or "")
    foreign, lineage, version = exchange.read_published(clients)
    store.adopt(lineage, version)
    assert exchange.add(store, foreign) == 1
    publish.publish(clients, store)
    assert sorted(served(clients).names) == ["Ada", "Eve"]
    monkeypatch.undo()


def test_a_newer_version_from_elsewhere_is_not_overwritten(clients: Clients) -> None:
    store = made()
    put(store, Ada=1)
    manifest = publish.publish(clients, store)
    newer = replace(manifest, version=9)
    clients.s3.put_object(Bucket=BUCKET, Key=KEY, Body=newer.serialise())
    put(store, Eve=1)
    with pytest.raises(GalleryError, match="changed elsewhere"):
        publish.publish(clients, store)
    assert publish.publish(clients, store, replace=True).version == 2


@pytest.mark.parametrize("body", [b"broken", b"{}", b""])
def test_a_broken_object_is_seen_and_overwritten(clients: Clients, body: bytes) -> None:
    clients.s3.put_object(Bucket=BUCKET, Key=KEY, Body=body)
    assert "is refused" in (publish.inspect(clients).problem or "")
    put(made(), Ada=1)
    publish.publish_local(clients)
    assert publish.inspect(clients).problem is None


def test_a_published_gallery_of_another_space_is_seen(clients: Clients) -> None:
    put(made(), Ada=1)
    publish.publish_local(clients)
    other = at(clients, space="other/facenet")
    assert "is of space 0123/facenet" in (publish.inspect(other).problem or "")


def test_without_the_bucket_the_next_command_is_deploy() -> None:
    with mock_aws():
        with pytest.raises(CloudError, match="NoSuchBucket") as caught:
            publish.publish(Clients(DEPLOYMENT), made())
        assert caught.value.hint == "facectl deploy"


def test_the_manifest_is_last(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = GalleryBucket._put

    def put_(self: GalleryBucket, key: str, data: bytes, **condition: str) -> None:
        order.append(key)
        if key.startswith(f"{FOLDER}versions/"):
            raise CloudError("cut off")
        real(self, key, data, **condition)

    store = made()
    put(store, Ada=1)
    publish.publish(clients, store)
    put(store, Grace=1)
    with monkeypatch.context() as patch:
        patch.setattr(GalleryBucket, "_put", put_)
        with pytest.raises(CloudError, match="cut off"):
            publish.publish(clients, store)
    assert order[0].startswith(f"{FOLDER}parts/")
    assert served(clients).names == ("Ada",)
    publish.publish(clients, store)
    assert sorted(served(clients).names) == ["Ada", "Grace"]
    assert isinstance(publish.inspect(clients).manifest, Manifest)


def objects(clients: Clients) -> list[str]:
    return sorted(keys(clients))


def test_manifests_of_an_earlier_gallery_do_not_outlive_a_new_one_that_begins_at_one(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "_KEPT_VERSIONS", 3)
    monkeypatch.setattr(cleanup, "_SLACK", 1)
    monkeypatch.setattr(cleanup, "_MARGIN", timedelta(0))
    store = made()
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


def test_one_gallery_is_whole_in_each_of_two_buckets(clients: Clients) -> None:
    other = at(clients, region="eu-west-1")
    store = made()
    crowd(store, 600)
    publish.publish(clients, store)
    publish.publish(other, store)
    put(store, Ada=1)
    publish.publish(clients, store)
    publish.publish(other, store)
    for each in (clients, other):
        assert len(served(each).names) == 601


@pytest.mark.parametrize("how", ["delete", "damage"])
def test_publish_repairs_whatever_it_finds(moto: Clients, how: str) -> None:
    store = made()
    put(store, Ada=1)
    publish.publish(moto, store)
    for key in objects(moto):
        if how == "delete":
            moto.s3.delete_object(Bucket=BUCKET, Key=key)
        else:
            moto.s3.put_object(Bucket=BUCKET, Key=key, Body=b"broken")
        publish.publish(moto, store)
        assert served(moto).names == ("Ada",)
        manifest = moto.s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
        digest = hashlib.sha256(manifest).hexdigest()[:12]
        assert f"{FOLDER}versions/000001-{digest}.json" in keys(moto)


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_computers_that_publish_at_once_one_is_told(
    moto: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, overwrite: bool
) -> None:
    store = made()
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


def test_an_answer_that_was_lost_and_repeated_is_no_conflict(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made()
    put(store, Ada=1)
    real = GalleryBucket.swap

    def twice(bucket: GalleryBucket, key: str, data: bytes, etag: str | None) -> bool:
        real(bucket, key, data, etag)
        return real(bucket, key, data, etag)

    monkeypatch.setattr(GalleryBucket, "swap", twice)
    assert publish.publish(clients, store).version == 1
    assert served(clients).names == ("Ada",)


def test_two_computers_with_the_same_version_of_one_gallery_are_told_apart(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = made()
    put(store, Ada=1)
    publish.publish(clients, store)
    copied = tmp_path / "another-computer"
    shutil.copytree(tmp_path / "facectl-home", copied)
    put(store, Grace=1)
    publish.publish(clients, store)
    monkeypatch.setenv("FACECTL_HOME", str(copied))
    other = made()
    put(other, Eve=1)
    with pytest.raises(GalleryError, match=r"another version 2 .* changed elsewhere"):
        publish.publish(clients, other)
    assert sorted(served(clients).names) == ["Ada", "Grace"]


def test_what_was_published_is_never_extended(clients: Clients) -> None:
    store = made()
    put(store, Ada=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GalleryBucket, "swap", refused)
        with pytest.raises(CloudError, match="repeatedly"):
            publish.publish(clients, store)
    with store.change("enroll", extend=1) as change:
        change.add("Grace", Reference(unit(7)))
    assert store.version == 2


def refused(*_: object) -> bool:
    return False


def test_a_forget_that_could_not_be_published_is_finished_by_the_next_publication(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made()
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
        assert "facectl gallery publish --target aws" in forgetting.pending(store)[0].line
    put(store, Alan=1)
    publish.publish(clients, store)
    assert b"Ada" not in everything(clients)
    assert forgetting.pending(store) == []


def cut_off(*_: object) -> None:
    raise CloudError("cut off")


def test_a_forget_is_pending_in_every_bucket_until_it_is_published_there(clients: Clients) -> None:
    other = at(clients, region="eu-west-1")
    store = made()
    put(store, Ada=1, Grace=1)
    publish.publish(clients, store)
    publish.publish(other, store)
    people.forget("alice", "Ada")
    publish.publish(clients, store)
    assert [each.bucket for each in forgetting.pending(store)] == [ELSEWHERE]
    publish.publish(other, store)
    assert forgetting.pending(store) == []


def test_a_forget_reaches_galleries_of_other_models_and_replaced_objects(moto: Clients) -> None:
    moto.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    store = made()
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


def test_a_change_of_model_leaves_the_gallery_that_functions_still_read(clients: Clients) -> None:
    put(made(), Ada=1)
    publish.publish_local(clients)
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


def old_layout(clients: Clients) -> None:
    """Make the bucket what facectl 1 left."""
    for key in keys(clients):
        body = clients.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        old = key.replace(FOLDER, "gallery/")
        clients.s3.put_object(Bucket=BUCKET, Key=old, Body=body)
        clients.s3.delete_object(Bucket=BUCKET, Key=key)


def test_the_gallery_of_facectl_1_is_kept_up_to_date_until_functions_are_deployed_again(
    clients: Clients,
) -> None:
    store = made()
    put(store, Ada=1)
    publish.publish(clients, store)
    old_layout(clients)
    assert served(clients).names == ("Ada",)
    put(store, Grace=1)
    publish.publish(clients, store)
    for key in (KEY, OLD_KEY):
        data = clients.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        assert Manifest.parse(data).version == 2
    people.forget("alice", "Ada")
    publish.publish(clients, store)
    assert b"Ada" not in everything(clients)
    assert len(keys(clients)) == 6
    publish.retire_old(clients)
    assert all(key.startswith(FOLDER) for key in keys(clients))
    assert served(clients).names == ("Grace",)


def test_a_gallery_of_facectl_1_that_this_computer_does_not_know_is_not_overwritten(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(made(), Ada=1)
    publish.publish_local(clients)
    old_layout(clients)
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "another-computer"))
    store = made()
    put(store, Eve=1)
    with pytest.raises(GalleryError, match="does not know"):
        publish.publish(clients, store)


def test_an_object_that_is_not_what_was_written_is_not_pointed_at(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made()
    put(store, Ada=1)
    monkeypatch.setattr(GalleryBucket, "holds", refused)
    with pytest.raises(CloudError, match="is not what was written to it"):
        publish.publish(clients, store)
    assert KEY not in keys(clients)


def test_young_parts_without_a_manifest_are_left_to_whoever_is_sending_them(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "_KEPT_VERSIONS", 1)
    monkeypatch.setattr(cleanup, "_SLACK", 0)
    stray = f"{FOLDER}parts/{'0' * 64}.part"
    clients.s3.put_object(Bucket=BUCKET, Key=stray, Body=b"x")
    store = made()
    for margin, is_left in ((timedelta(hours=1), True), (timedelta(0), False)):
        monkeypatch.setattr(cleanup, "_MARGIN", margin)
        for _ in range(2):
            put(store, Ada=1)
            publish.publish(clients, store)
        assert (stray in keys(clients)) == is_left


def test_retiring_the_old_gallery_can_be_interrupted(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made()
    put(store, Ada=1)
    publish.publish(clients, store)
    old_layout(clients)
    publish.publish(clients, store)
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


def test_a_damaged_gallery_that_was_set_aside_is_in_nobodys_way(clients: Clients) -> None:
    store = made()
    put(store, Ada=1)
    store.file.with_name("alice.0123.db").write_bytes(b"no database at all" * 100)
    publish.publish(clients, store)
    assert served(clients).names == ("Ada",)


def test_gallery_status_names_what_is_pending_and_what_nobody_reads(clients: Clients) -> None:
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


def test_a_forget_in_a_gallery_of_facectl_1_is_pending_although_its_bucket_is_unknown() -> None:
    store = made()
    put(store, Ada=1)
    people.forget("alice", "Ada")
    [pending] = forgetting.pending(store)
    assert pending.bucket is None
    assert pending.line.endswith("Next: facectl gallery publish")


def test_a_bucket_that_was_deleted_has_nothing_left_to_forget(clients: Clients) -> None:
    other = at(clients, region="eu-west-1")
    store = made()
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


def test_a_repaired_part_comes_with_another_manifest_for_functions_that_refused_it(
    clients: Clients,
) -> None:
    store = made()
    put(store, Ada=1)
    publish.publish(clients, store)
    before = publish.inspect(clients).etag
    publish.publish(clients, store)
    assert publish.inspect(clients).etag == before
    [part] = keys(clients, f"{FOLDER}parts/")
    clients.s3.put_object(Bucket=BUCKET, Key=part, Body=b"broken")
    publish.publish(clients, store)
    assert publish.inspect(clients).etag != before


def test_parts_are_there_before_a_manifest_names_them_in_another_bucket_too(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made()
    put(store, Ada=1)
    publish.publish(clients, store)
    other = at(clients, region="eu-west-1")
    monkeypatch.setattr(GalleryBucket, "swap", cut_off)
    with pytest.raises(CloudError, match="cut off"):
        publish.publish(other, store)
    listed = other.s3.list_objects_v2(Bucket=ELSEWHERE, Prefix=FOLDER)["Contents"]
    assert [item["Key"].endswith(".part") for item in listed] == [True, False]


def test_a_part_that_another_computer_deleted_meanwhile_is_sent_again(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = GalleryBucket.swap

    def swap(bucket: GalleryBucket, key: str, data: bytes, etag: str | None) -> bool:
        bucket.delete([item.key for item in bucket.listed(f"{FOLDER}parts/")])
        return real(bucket, key, data, etag)

    monkeypatch.setattr(GalleryBucket, "swap", swap)
    store = made()
    put(store, Ada=1)
    publish.publish(clients, store)
    assert served(clients).names == ("Ada",)


def lay(clients: Clients, manifest: Manifest, space: str, day: int) -> Manifest:
    """Put a manifest where the gallery of a space is, published on a day of January."""
    there = replace(manifest, space=space, published=f"2026-01-{day:02d}T00:00:00.000+00:00")
    clients.s3.put_object(Bucket=BUCKET, Key=manifest_key(space), Body=there.serialise())
    return there


def test_galleries_of_other_models_are_told_the_newest_first(clients: Clients) -> None:
    assert publish.others(clients) == []
    store = made()
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


def test_what_the_bucket_holds_is_told_in_a_line(clients: Clients) -> None:
    assert publish.facts(clients) == {"gallery": "nobody is enrolled"}
    assert publish.inspect(clients) == publish.PublishedGallery(None)
    clients.s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"broken")
    assert str(publish.facts(clients)["gallery"]).startswith(f"{KEY} is refused: ")
    store = made()
    put(store, Ada=1)
    put(store, Grace=2)
    publish.publish(clients, store)
    assert publish.facts(clients) == {"gallery": "version 2 with 2 people"}
    other = publish.facts(at(clients, space="other/facenet"))["gallery"]
    assert str(other).startswith(
        "version 2 with 2 people: no gallery is published for the model's space other/facenet"
    )


def test_a_part_that_is_missing_is_named(clients: Clients) -> None:
    store = made()
    put(store, Ada=1)
    publish.publish(clients, store)
    there = publish.inspect(clients)
    with pytest.raises(CloudError, match=f"part 0123456789ab of .* missing in {BUCKET}") as caught:
        publish.fetch_part(clients, there, "0123456789abcdef" * 4)
    assert caught.value.hint == "facectl gallery publish   on the computer that keeps it"


def test_what_is_known_of_a_publication_never_changes() -> None:
    there = publish.PublishedGallery(None)
    with pytest.raises(FrozenInstanceError):
        there.problem = "none"  # type: ignore[misc]
    assert not hasattr(there, "__dict__")


@pytest.mark.parametrize("space", ["0000/facenet", "zzzz/facenet"])
def test_no_other_space_is_the_models(clients: Clients, space: str) -> None:
    store = made()
    put(store, Ada=1)
    other = replace(publish.publish(clients, store), space=space)
    clients.s3.put_object(Bucket=BUCKET, Key=KEY, Body=other.serialise())
    assert f"{KEY} is of space {space}" in (publish.inspect(clients).problem or "")


@pytest.mark.parametrize("lineage", ["00000000", "zzzzzzzz"])
def test_an_empty_gallery_of_another_computer_is_overwritten_and_one_of_somebody_is_not(
    clients: Clients, lineage: str
) -> None:
    store = made()
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


def test_a_publication_that_others_keep_changing_is_tried_five_times(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str | None] = []

    def swap(_: GalleryBucket, key: str, data: bytes, etag: str | None) -> bool:
        calls.append(etag)
        return False

    monkeypatch.setattr(GalleryBucket, "swap", swap)
    store = made()
    put(store, Ada=1)
    with pytest.raises(CloudError, match="changed repeatedly by another computer") as caught:
        publish.publish(clients, store)
    assert calls == [None] * 5
    assert caught.value.hint == "facectl gallery publish"


def test_parts_that_are_deleted_again_and_again_are_looked_for_five_times(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made()
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


def test_of_several_parts_the_one_that_is_gone_is_sent_again(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made()
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


def test_functions_that_may_still_run_another_model_keep_what_was_forgotten_for_now(
    clients: Clients,
) -> None:
    store = made()
    put(store, Ada=1, Grace=1)
    publish.publish(clients, store)
    people.forget("alice", "Ada")
    publish.publish(clients, store, ahead=True)
    assert len(forgetting.pending(store)) == 1
    publish.publish(clients, store)
    assert forgetting.pending(store) == []


def test_without_a_bucket_only_what_is_ahead_of_the_functions_goes_on() -> None:
    with mock_aws():
        put(made(), Ada=1)
        assert publish.publish_local(Clients(DEPLOYMENT), ahead=True) is None
        with pytest.raises(CloudError, match="NoSuchBucket"):
            publish.publish_local(Clients(DEPLOYMENT))
        # Read only: nothing is published, and that is no error.
        assert publish.others(Clients(DEPLOYMENT)) == []


def test_a_foreign_gallery_of_facectl_1_is_seen_before_anything_is_sent(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(made(), Ada=1)
    publish.publish_local(clients)
    old_layout(clients)
    before = objects(clients)
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "another-computer"))
    store = made()
    put(store, Eve=1)
    with pytest.raises(GalleryError, match="does not know"):
        publish.publish(clients, store)
    assert objects(clients) == before
    publish.publish(clients, store, replace=True)
    assert served(clients).names == ("Eve",)
    data = clients.s3.get_object(Bucket=BUCKET, Key=OLD_KEY)["Body"].read()
    assert Manifest.parse(data).lineage == store.lineage


def test_an_old_gallery_that_functions_refuse_is_left_alone_where_it_is_of_another_space(
    clients: Clients,
) -> None:
    store = made()
    put(store, Ada=1)
    manifest = publish.publish(clients, store)
    other = replace(manifest, space="other/facenet").serialise()
    for body, is_left in ((other, True), (b"broken", False)):
        clients.s3.put_object(Bucket=BUCKET, Key=OLD_KEY, Body=body)
        publish.publish(clients, store)
        now = clients.s3.get_object(Bucket=BUCKET, Key=OLD_KEY)["Body"].read()
        assert (now == body) is is_left
