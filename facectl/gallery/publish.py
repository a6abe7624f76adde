"""The copies of the gallery in the deployment's bucket, the newest of which functions read.

    gallery/current.json               the newest manifest: what functions ask for
    gallery/versions/000007-<sha>.json the manifests of the last versions
    gallery/parts/<sha256>.part        what manifests name, never changed

The parts come first and `current.json` last: whoever reads sees one whole
version or the one before.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from facectl.aws import ClientError, Clients, cloud_errors, error_code
from facectl.errors import GalleryError
from facectl.gallery.parts import Packer
from facectl.gallery.store import Store
from lambda_src.gallery.matching import GalleryFormatError
from lambda_src.gallery.parts import Manifest, PartRef, part_key

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

KEY = "gallery/current.json"
_VERSIONS = "gallery/versions/"
_PARTS = "gallery/parts/"
# Functions may still be downloading an older version's parts.
_KEPT_VERSIONS = 20
# So that not every publication has to look through all of them.
_SLACK = 10
_UPLOADS = 8

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Published:
    """What the bucket holds; `problem` says why functions refuse it, None where they do not."""

    manifest: Manifest | None
    problem: str | None = None


def publish(
    clients: Clients,
    store: Store,
    *,
    replace: bool = False,
    anew: bool = False,
    progress: Progress = lambda _bytes: None,
) -> Manifest:
    """Put the newest version where the deployed function finds it; returns its manifest.

    `replace` overwrites a gallery that this computer does not know, `anew`
    leaves no older version and no other part in the bucket. `progress` is told
    bytes as they are sent. Raises GalleryError where the deployment runs a
    model of another embedding space or has a gallery that is not this one, and
    CloudError.
    """
    deployment = clients.deployment
    if deployment.space is not None:
        store.check_space(deployment.space)
    with _alone(store), cloud_errors(f"publishing the gallery to {_bucket(clients)}", deployment):
        there = inspect(clients)
        if not replace:
            _check_lineage(store, there)
        if not (replace or anew) and _is_current(store, there) and there.manifest is not None:
            return there.manifest
        packer = Packer(store, anew=anew or not _same(store, there.manifest))
        _upload(clients, packer, progress)
        manifest = packer.manifest()
        data = manifest.serialise()
        name = f"{_VERSIONS}{manifest.version:06d}-{hashlib.sha256(data).hexdigest()[:12]}.json"
        _put(clients, name, data)
        _put(clients, KEY, data)
        packer.layout.remember(store)
        _tidy(clients, *((1, 0) if anew else (_KEPT_VERSIONS, _SLACK)))
    return manifest


def publish_local(clients: Clients) -> Manifest | None:
    """Publish the gallery kept on this computer; None where nobody is enrolled."""
    store = Store.find(clients.deployment.asu_id)
    if store is None:
        return None
    try:
        return publish(clients, store)
    finally:
        store.close()


def inspect(clients: Clients) -> Published:
    """What the bucket holds, and whether the deployed functions can use it; raises CloudError."""
    with cloud_errors(f"reading the gallery in {_bucket(clients)}", clients.deployment):
        try:
            answer = clients.s3.get_object(Bucket=_bucket(clients), Key=KEY)
            data = answer["Body"].read()
        except ClientError as error:
            if error_code(error) in ("NoSuchKey", "NoSuchBucket"):
                return Published(None)
            raise
    try:
        manifest = Manifest.parse(data)
    except GalleryFormatError as error:
        return Published(None, f"{KEY} is refused: {error}")
    space = clients.deployment.space
    if space is not None and manifest.space != space:
        return Published(
            manifest, f"{KEY} is refused: it is of space {manifest.space}, the model of {space}"
        )
    return Published(manifest)


def facts(clients: Clients) -> dict[str, object]:
    """What the bucket holds, for a status: the gallery, and the problem with it if there is one."""
    there = inspect(clients)
    if there.manifest is None:
        return {"gallery": there.problem or "nobody is enrolled"}
    text = f"version {there.manifest.version} with {there.manifest.people} people"
    return {"gallery": f"{text}: {there.problem}" if there.problem else text}


def fetch_part(clients: Clients, sha256: str) -> bytes:
    """The bytes of a published part; raises CloudError."""
    with cloud_errors(f"reading the gallery in {_bucket(clients)}", clients.deployment):
        answer = clients.s3.get_object(Bucket=_bucket(clients), Key=part_key(KEY, sha256))
        return answer["Body"].read()


def _bucket(clients: Clients) -> str:
    deployment = clients.deployment
    return deployment.names.bucket(clients.account, deployment.region)


def _same(store: Store, manifest: Manifest | None) -> bool:
    return manifest is not None and manifest.lineage == store.lineage


def _is_current(store: Store, there: Published) -> bool:
    manifest = there.manifest
    return _same(store, manifest) and manifest is not None and manifest.version == store.version


def _check_lineage(store: Store, there: Published) -> None:
    manifest = there.manifest
    if manifest is None or there.problem is not None or manifest.people == 0:
        return
    hint = "facectl gallery import --published   or, to lose it: facectl gallery publish --replace"
    if not _same(store, manifest):
        raise GalleryError(
            f"the deployment has a gallery that this computer does not know: version "
            f"{manifest.version} of {manifest.published} with {manifest.people} people",
            hint=hint,
        )
    if manifest.version > store.version:
        raise GalleryError(
            f"the deployment has version {manifest.version} of the gallery and this computer only "
            f"{store.version}: it was changed elsewhere",
            hint=hint,
        )


def _upload(clients: Clients, packer: Packer, progress: Progress) -> None:
    def send(part: tuple[PartRef, bytes]) -> None:
        ref, data = part
        _put(clients, part_key(KEY, ref.sha256), data)
        progress(len(data))

    with ThreadPoolExecutor(_UPLOADS) as pool:
        # A few at a time: a large gallery's parts do not all fit into memory.
        batch: list[tuple[PartRef, bytes]] = []
        for part in packer.changed():
            batch.append(part)
            if len(batch) == _UPLOADS:
                list(pool.map(send, batch))
                batch.clear()
        list(pool.map(send, batch))


def _put(clients: Clients, key: str, data: bytes) -> None:
    kind = "application/json" if key.endswith(".json") else "application/octet-stream"
    clients.s3.put_object(Bucket=_bucket(clients), Key=key, Body=data, ContentType=kind)


def _tidy(clients: Clients, kept: int, slack: int) -> None:
    """Delete all but the last versions, and the parts that none of these names."""
    manifests = sorted(_keys(clients, _VERSIONS), reverse=True)
    if len(manifests) <= kept + slack and slack > 0:
        return
    needed: set[str] = set()
    for key in manifests[:kept]:
        data = clients.s3.get_object(Bucket=_bucket(clients), Key=key)["Body"].read()
        # A damaged manifest names no parts that anyone could use.
        with suppress(GalleryFormatError):
            needed.update(part_key(KEY, part.sha256) for part in Manifest.parse(data).parts)
    _delete(clients, manifests[kept:])
    _delete(clients, [key for key in _keys(clients, _PARTS) if key not in needed])


def _keys(clients: Clients, prefix: str) -> list[str]:
    pages = clients.s3.get_paginator("list_objects_v2").paginate(
        Bucket=_bucket(clients), Prefix=prefix
    )
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def _delete(clients: Clients, keys: list[str]) -> None:
    for start in range(0, len(keys), 1000):
        batch: list[ObjectIdentifierTypeDef] = [{"Key": key} for key in keys[start : start + 1000]]
        clients.s3.delete_objects(Bucket=_bucket(clients), Delete={"Objects": batch, "Quiet": True})


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """One publication at a time, so that an older version never follows a newer one."""
    with store.file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
