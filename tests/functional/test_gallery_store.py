"""The gallery on this computer: kept, added to, published, and never mixed with another space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from moto import mock_aws

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.errors import CloudError, GalleryError, InputError
from facectl.gallery import enrol, publish, store
from lambda_src.gallery import Gallery
from lambda_src.vision.store import Model

MODEL = Model(Path("model"), "0123/facenet", "facenet", synthetic=False, weights="vggface2")
DEPLOYMENT = Deployment("alice", "aws", space=MODEL.space)


def unit(index: int) -> np.ndarray:
    vector = np.zeros(512, dtype=np.float32)
    vector[index] = 1
    return vector


def test_before_anyone_is_enrolled_there_is_no_gallery() -> None:
    assert store.load("alice") is None
    assert store.load_for("alice", MODEL).names == ()


def test_what_is_added_is_kept() -> None:
    gallery = enrol.add(store.empty(MODEL), "Ada", [unit(0), unit(1)])
    store.save("alice", enrol.add(gallery, "Grace", [unit(2)]))
    kept = store.load_for("alice", MODEL)
    assert kept.names == ("Ada", "Ada", "Grace")
    assert kept.match(np.stack([unit(1), unit(2)]))[1].name == "Grace"
    assert store.load("bob") is None


def test_removal_takes_every_row_of_the_name() -> None:
    gallery = enrol.add(store.empty(MODEL), "Ada", [unit(0), unit(1)])
    gallery = enrol.remove(enrol.add(gallery, "Grace", [unit(2)]), "Ada")
    assert gallery.names == ("Grace",)
    np.testing.assert_array_equal(gallery.embeddings, [unit(2)])


def test_removing_nobody_says_so() -> None:
    with pytest.raises(GalleryError, match="nobody is called 'Ada'"):
        enrol.remove(store.empty(MODEL), "Ada")


def test_a_damaged_gallery_is_named_and_left_alone() -> None:
    file = store.save("alice", store.empty(MODEL))
    file.write_bytes(b"damaged")
    with pytest.raises(GalleryError, match=r"alice\.npz is damaged"):
        store.load("alice")
    assert file.read_bytes() == b"damaged"


def test_another_space_is_never_added_to() -> None:
    store.save("alice", store.empty(replace(MODEL, space="other/facenet")))
    with pytest.raises(GalleryError, match="can't be compared") as caught:
        store.load_for("alice", MODEL)
    assert "facectl gallery enroll" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "name", ["", "  ", "a,b", "two\nlines", "x" * 101, "Unknown", "No-Face", "Error"]
)
def test_names_that_an_answer_cannot_carry(name: str) -> None:
    with pytest.raises(InputError, match="can't be a name"):
        enrol.check_name(name)


@pytest.mark.parametrize("name", ["Ada", "Grace Hopper", "Zoë 🦉", "a/b"])
def test_names_that_it_can(name: str) -> None:
    assert enrol.check_name(f" {name} ") == name


@pytest.fixture
def clients() -> Iterator[Clients]:
    with mock_aws():
        yield Clients(DEPLOYMENT)


def bucket(clients: Clients) -> str:
    return DEPLOYMENT.names.bucket(clients.account, DEPLOYMENT.region)


def test_the_published_gallery_is_the_kept_one(clients: Clients) -> None:
    clients.s3.create_bucket(Bucket=bucket(clients))
    store.save("alice", enrol.add(store.empty(MODEL), "Ada", [unit(0)]))
    publish.publish_local(clients)
    body = clients.s3.get_object(Bucket=bucket(clients), Key=publish.KEY)["Body"].read()
    assert Gallery.parse(body).names == ("Ada",)


def test_nothing_is_published_where_nobody_is_enrolled(clients: Clients) -> None:
    clients.s3.create_bucket(Bucket=bucket(clients))
    assert publish.publish_local(clients) is None
    assert clients.s3.list_objects_v2(Bucket=bucket(clients))["KeyCount"] == 0


def test_a_foreign_gallery_is_not_published(clients: Clients) -> None:
    foreign = store.empty(replace(MODEL, space="other/facenet"))
    with pytest.raises(GalleryError, match="can't be compared"):
        publish.publish(clients, foreign)


def test_without_the_bucket_the_next_command_is_deploy(clients: Clients) -> None:
    with pytest.raises(CloudError, match="NoSuchBucket") as caught:
        publish.publish(clients, store.empty(MODEL))
    assert caught.value.hint == "facectl deploy"
