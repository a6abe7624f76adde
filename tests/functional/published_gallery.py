"""A deployment's buckets, a gallery to publish into them, and what the buckets hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_data import DEPLOYMENT, SPACE, made, put
from memory_s3 import MemoryClients, MemoryS3
from moto import mock_aws

from facectl.aws import Clients
from facectl.errors import CloudError
from facectl.gallery import cleanup, publish
from facectl.gallery.changes import Reference
from facectl.gallery.store import Store
from lambda_src.gallery.loading import load
from lambda_src.gallery.matching import Matcher
from lambda_src.gallery.parts import manifest_key

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
    """A deployment with moto's S3, which is slower and closer to AWS's."""
    with mock_aws():
        clients = Clients(DEPLOYMENT)
        clients.s3.create_bucket(Bucket=BUCKET)
        yield clients


@pytest.fixture
def store() -> Store:
    """An empty gallery of this computer."""
    return made()


@pytest.fixture
def published(clients: Clients, store: Store) -> Store:
    """The gallery of this computer after version 1, with Ada, was published."""
    put(store, Ada=1)
    publish.publish(clients, store)
    return store


def other_computer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """The gallery of another computer, with Eve; facectl runs on that computer from now on."""
    monkeypatch.setenv("FACECTL_HOME", str(tmp_path / "another-computer"))
    store = made()
    put(store, Eve=1)
    return store


def at(clients: Any, **changes: Any) -> Any:
    """The same S3 for another deployment."""
    return replace(clients, deployment=replace(clients.deployment, **changes))


def keys(clients: Clients, prefix: str = "gallery/") -> set[str]:
    """The keys of the bucket that start with a prefix."""
    answer = clients.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return {item["Key"] for item in answer.get("Contents", [])}


def everything(clients: Clients) -> bytes:
    """The keys and bodies of all objects in the bucket."""
    return b"".join(
        key.encode() + clients.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        for key in keys(clients)
    )


def served(clients: Clients) -> Matcher:
    """The gallery that a function would load now."""
    there = publish.inspect(clients)
    assert there.manifest is not None
    return load(there.manifest, lambda sha256: publish.fetch_part(clients, there, sha256))[0]


def crowd(store: Store, count: int) -> None:
    """Add a version with this number of people."""
    random = np.random.default_rng(3)
    with store.change("import") as change:
        for index in range(count):
            vector = random.standard_normal(512).astype(np.float32)
            change.add(f"p{index}", Reference(vector / np.linalg.norm(vector)))


def old_layout(clients: Clients) -> None:
    """Move the bucket's objects to where facectl 1 kept them."""
    for key in keys(clients):
        body = clients.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        old = key.replace(FOLDER, "gallery/")
        clients.s3.put_object(Bucket=BUCKET, Key=old, Body=body)
        clients.s3.delete_object(Bucket=BUCKET, Key=key)


def keep_versions(monkeypatch: pytest.MonkeyPatch, count: int, *, slack: int) -> None:
    """Make the cleanup keep this number of versions, and delete recent objects too."""
    monkeypatch.setattr(cleanup, "_KEPT_VERSIONS", count)
    monkeypatch.setattr(cleanup, "_SLACK", slack)
    monkeypatch.setattr(cleanup, "_MARGIN", timedelta(0))


def refused(*_: object) -> bool:
    """Replaces a method of GalleryBucket that then returns false."""
    return False


def cut_off(*_: object) -> None:
    """Replaces a method of GalleryBucket that then fails."""
    raise CloudError("cut off")
