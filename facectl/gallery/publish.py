"""Publishes the gallery to the deployment's bucket; functions always find a complete one.

The rules:

- the state of the bucket is read from the bucket, never from this computer;
- parts and the version's manifest are written and verified before `current.json` names them;
- `current.json` is replaced only if it is unchanged since it was read (`If-Match`): of two
  concurrent publications one fails, and the other's gallery is complete;
- nothing that `current.json` names is ever deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

from facectl import paths
from facectl.aws import Clients, cloud_errors, unless_missing
from facectl.aws_errors import is_missing
from facectl.errors import CloudError, GalleryError
from facectl.gallery import forgetting
from facectl.gallery.bucket import OLD_KEY, GalleryBucket, parts_prefix, versions_prefix
from facectl.gallery.cleanup import delete_rest, keep_last
from facectl.gallery.parts import Packer
from facectl.gallery.store import Store
from lambda_src.gallery.matching import GalleryFormatError
from lambda_src.gallery.parts import Manifest, PartRef, manifest_key, part_key

_TRANSFERS = 8
# Retries after another computer changed the objects during a publication.
_ATTEMPTS = 5

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class PublishedGallery:
    """The published gallery at a key; `problem` says why functions can't use it, None if they can.

    `key`, `data` and `etag` belong to the manifest's object; None if it does not exist.
    """

    manifest: Manifest | None
    problem: str | None = None
    key: str = ""
    data: bytes | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class _Publication:
    """One run of `publish`."""

    bucket: GalleryBucket
    store: Store
    overwrite: bool
    progress: Progress


def publish(
    clients: Clients,
    store: Store,
    *,
    replace: bool = False,
    ahead: bool = False,
    progress: Progress = lambda _bytes: None,
) -> Manifest:
    """Publish the newest version for the functions of its model; returns its manifest.

    Writes missing and damaged parts again. `replace` overwrites a gallery that
    this computer does not know. `ahead`: the functions may still run another
    model, so its gallery stays; otherwise people whom `remove --forget` removed
    are deleted from everything in the bucket. `progress` is called with the
    number of bytes sent. Raises CloudError, and GalleryError if the deployment
    runs a model of another embedding space or has another gallery.
    """
    deployment = clients.deployment
    if deployment.space is not None:
        store.check_space(deployment.space)
    with (
        # One publication at a time: no older version replaces a newer one.
        paths.locked(store.file.with_suffix(".lock")),
        cloud_errors(f"publishing the gallery to {_name(clients)}", deployment),
    ):
        bucket = GalleryBucket(clients)
        requests = forgetting.begin(store, bucket)
        run = _Publication(bucket, store, replace, progress)
        key = manifest_key(store.space)
        old = _read_published(bucket, OLD_KEY, store.space)
        if not replace:
            _check_lineage(store, old)
        manifest = _publish(run, key)
        kept = {key: manifest}
        if old.data is not None and (old.manifest is None or old.problem is None):
            # Functions that facectl 1 deployed read this key until the next deploy.
            kept[OLD_KEY] = _publish(run, OLD_KEY)
        if requests and not ahead:
            delete_rest(bucket, kept)
            forgetting.finish(store, bucket, requests)
    return manifest


def publish_local(clients: Clients, *, ahead: bool = False) -> Manifest | None:
    """Publish the gallery of this computer; returns None if nobody is enrolled.

    `ahead`: see `publish`; then also returns None if there is no bucket yet.
    """
    store = Store.find(clients.deployment.asu_id)
    if store is None:
        return None
    with closing(store):
        try:
            return publish(clients, store, ahead=ahead)
        except CloudError as error:
            if ahead and is_missing(error):
                return None
            raise


def retire_old(clients: Clients) -> None:
    """Delete the gallery of facectl 1, when no function reads it any more; raises CloudError."""
    with cloud_errors(f"cleaning the gallery in {_name(clients)}", clients.deployment):
        bucket = GalleryBucket(clients)
        # Manifest first: it must never name deleted parts.
        if bucket.read(OLD_KEY) is not None:
            bucket.delete([OLD_KEY])
        for prefix in (versions_prefix(OLD_KEY), parts_prefix(OLD_KEY)):
            bucket.delete([item.key for item in bucket.listed(prefix)])


def inspect(clients: Clients) -> PublishedGallery:
    """The published gallery of the deployed model; raises CloudError.

    If there is none, or the model is unknown: the gallery published last, of any model.
    """
    space = clients.deployment.space
    with cloud_errors(f"reading the gallery in {_name(clients)}", clients.deployment):
        bucket = GalleryBucket(clients)
        for key in (manifest_key(space), OLD_KEY) if space is not None else ():
            found = _read_published(bucket, key, space)
            if found.data is not None and (found.manifest is None or found.problem is None):
                return found
        return max(_all(bucket, space), key=_date, default=PublishedGallery(None))


def others(clients: Clients) -> list[Manifest]:
    """The galleries of other models in the bucket, the newest first; raises CloudError."""
    with cloud_errors(f"reading the gallery in {_name(clients)}", clients.deployment):
        found = sorted(_all(GalleryBucket(clients), None), key=_date, reverse=True)
    space = clients.deployment.space
    return [each.manifest for each in found if each.manifest and each.manifest.space != space]


def facts(clients: Clients) -> dict[str, object]:
    """The published gallery and its problem, if any, for `facectl status`."""
    there = inspect(clients)
    if there.manifest is None:
        return {"gallery": there.problem or "nobody is enrolled"}
    text = f"version {there.manifest.version} with {there.manifest.people} people"
    return {"gallery": f"{text}: {there.problem}" if there.problem else text}


def fetch_part(clients: Clients, there: PublishedGallery, sha256: str) -> bytes:
    """The bytes of a published part; raises CloudError."""
    with cloud_errors(f"reading the gallery in {_name(clients)}", clients.deployment):
        found = GalleryBucket(clients).read(part_key(there.key, sha256))
    if found is None:
        raise CloudError(
            f"part {sha256[:12]} of the gallery is missing in {_name(clients)}",
            hint="facectl gallery publish   on the computer that keeps it",
        )
    return found[0]


def _read_published(bucket: GalleryBucket, key: str, space: str | None) -> PublishedGallery:
    """The gallery at a key, and why functions of that space would refuse it."""
    found = bucket.read(key)
    if found is None:
        return PublishedGallery(None, key=key)
    data, etag = found
    try:
        manifest = Manifest.parse(data)
    except GalleryFormatError as error:
        return PublishedGallery(None, f"{key} is refused: {error}", key, data, etag)
    problem = None
    if space is not None and manifest.space != space:
        problem = (
            f"no gallery is published for the model's space {space}: face-recognition answers "
            f"Unknown; {key} is of space {manifest.space}"
        )
    return PublishedGallery(manifest, problem, key, data, etag)


def _all(bucket: GalleryBucket, space: str | None) -> list[PublishedGallery]:
    keys = unless_missing(bucket.manifests) or []
    return [_read_published(bucket, key, space) for key in keys]


def _date(there: PublishedGallery) -> str:
    return "" if there.manifest is None else there.manifest.published


def _name(clients: Clients) -> str:
    deployment = clients.deployment
    return deployment.names.bucket(clients.account, deployment.region)


def _check_lineage(store: Store, there: PublishedGallery) -> None:
    manifest = there.manifest
    if manifest is None or there.problem is not None or manifest.people == 0:
        return
    hint = "facectl gallery import --published   or, to lose it: facectl gallery publish --replace"
    if manifest.lineage != store.lineage:
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


def _publish(run: _Publication, key: str) -> Manifest:
    """Publish the store's newest version at a key; returns its manifest."""
    bucket = run.bucket
    packer = Packer(run.store)
    first = _read_published(bucket, key, run.store.space)
    there = first
    for _ in range(_ATTEMPTS):
        if not (run.overwrite and there.etag == first.etag):
            _check_lineage(run.store, there)
        sent = _upload(run, key, packer)
        manifest = packer.manifest()
        if there.manifest is not None and there.manifest.lineage == manifest.lineage:
            same = replace(manifest, published=there.manifest.published) == there.manifest
            if same and there.data is not None and not sent:
                _keep_version(bucket, key, there.manifest, there.data)
                return there.manifest
            if not (same or run.overwrite) and there.manifest.version == manifest.version:
                raise GalleryError(
                    f"the deployment has another version {manifest.version} of the gallery than "
                    "this computer: it was changed elsewhere",
                    hint="facectl gallery import --published   or, to lose it: "
                    "facectl gallery publish --replace",
                )
        data = manifest.serialise()
        version = _keep_version(bucket, key, manifest, data)
        if bucket.swap(key, data, there.etag):
            _restore_parts(run, key, packer)
            keep_last(bucket, key, data, version)
            return manifest
        there = _read_published(bucket, key, run.store.space)
        if there.data == data:
            # The response to the write was lost, and botocore's retry found the object changed.
            return manifest
    raise CloudError(
        f"{key} in {bucket.name} is changed repeatedly by another computer",
        hint="facectl gallery publish",
    )


def _keep_version(bucket: GalleryBucket, key: str, manifest: Manifest, data: bytes) -> str:
    """Write the manifest's copy of a version, if missing; returns its key."""
    digest = hashlib.sha256(data).hexdigest()
    name = f"{versions_prefix(key)}{manifest.version:06d}-{digest[:12]}.json"
    if not bucket.holds(name, digest, len(data)):
        bucket.write(name, data)
    return name


def _restore_parts(run: _Publication, key: str, packer: Packer) -> None:
    """Upload again the parts that another computer deleted before the manifest named them."""
    for _ in range(_ATTEMPTS):
        listed = {item.key: item.size for item in run.bucket.listed(parts_prefix(key))}
        refs = packer.manifest().parts
        deleted = [ref for ref in refs if listed.get(part_key(key, ref.sha256)) != ref.bytes]
        if not deleted:
            return
        _send(run, key, packer, set(refs) - set(deleted))
    raise CloudError(
        f"parts of the gallery in {run.bucket.name} are deleted repeatedly by another computer",
        hint="facectl gallery publish",
    )


def _upload(run: _Publication, key: str, packer: Packer) -> int:
    """Upload the parts that the bucket does not have; returns their number."""
    bucket = run.bucket
    listed = {item.key: item.size for item in bucket.listed(parts_prefix(key))}
    candidates = [
        ref for ref in packer.unchanged() if listed.get(part_key(key, ref.sha256)) == ref.bytes
    ]
    with ThreadPoolExecutor(_TRANSFERS) as pool:
        good = pool.map(lambda ref: bucket.holds_part(key, ref), candidates)
        held = {ref for ref, is_good in zip(candidates, good, strict=True) if is_good}
    sent = _send(run, key, packer, held)
    # Stored before the manifest is: after an interruption the next run reuses these parts.
    packer.layout.save(run.store)
    return sent


def _send(run: _Publication, key: str, packer: Packer, held: Collection[PartRef]) -> int:
    def send(part: tuple[PartRef, bytes]) -> None:
        ref, data = part
        run.bucket.write(part_key(key, ref.sha256), data)
        run.progress(len(data))

    count = 0
    with ThreadPoolExecutor(_TRANSFERS) as pool:
        # In batches, because the parts of a large gallery do not fit into memory.
        batch: list[tuple[PartRef, bytes]] = []
        for part in packer.missing(held):
            batch.append(part)
            if len(batch) == _TRANSFERS:
                count += len(list(pool.map(send, batch)))
                batch.clear()
        return count + len(list(pool.map(send, batch)))
