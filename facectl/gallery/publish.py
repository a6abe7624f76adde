"""The gallery in the deployment's bucket: written so that functions always find a whole one.

The rules, in the order in which they hold:

- what is in the bucket is asked there, never remembered here;
- parts and the version's manifest are written, and verified, before `current.json` names them;
- `current.json` is written only in the place of the one that was looked at (`If-Match`), so of
  two computers that publish at once one fails, and the other's gallery is whole;
- nothing that `current.json` names is ever deleted.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from facectl.aws import Clients, cloud_errors, is_missing, unless_missing
from facectl.errors import CloudError, GalleryError
from facectl.gallery import forgetting
from facectl.gallery.bucket import OLD_KEY, GalleryBucket, parts_prefix, versions_prefix
from facectl.gallery.cleanup import delete_rest, keep_last
from facectl.gallery.parts import Packer
from facectl.gallery.store import Store
from lambda_src.gallery.matching import GalleryFormatError
from lambda_src.gallery.parts import Manifest, PartRef, manifest_key, part_key

_TRANSFERS = 8
# How often it begins again where another computer changes what it looked at.
_ATTEMPTS = 5

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Published:
    """What is published for a model: `problem` says why functions can't use it, None if they can.

    `key` is the manifest's, `data` and `etag` those of the object, None where there is none.
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
    """Put the newest version where functions of its model find it; returns its manifest.

    Whatever is missing or damaged in the bucket is written again. `replace`
    overwrites a gallery that this computer does not know. `ahead`: the functions
    may still run another model, whose gallery must stay. Otherwise people whom
    `remove --forget` removed are deleted from all that was ever published.
    `progress` is told bytes as they are sent. Raises GalleryError where the
    deployment runs a model of another embedding space or has a gallery that is
    not this one, and CloudError.
    """
    deployment = clients.deployment
    if deployment.space is not None:
        store.check_space(deployment.space)
    with _alone(store), cloud_errors(f"publishing the gallery to {_name(clients)}", deployment):
        bucket = GalleryBucket(clients)
        requests = forgetting.begin(store, bucket)
        run = _Publication(bucket, store, replace, progress)
        key = manifest_key(store.space)
        old = _look(bucket, OLD_KEY, store.space)
        if not replace:
            _check_lineage(store, old)
        manifest = _publish(run, key)
        kept = {key: manifest}
        if old.data is not None and (old.manifest is None or old.problem is None):
            # Functions that facectl 1 deployed read it until they are deployed again.
            kept[OLD_KEY] = _publish(run, OLD_KEY)
        if requests and not ahead:
            delete_rest(bucket, kept)
            forgetting.finish(store, bucket, requests)
    return manifest


def publish_local(clients: Clients, *, ahead: bool = False) -> Manifest | None:
    """Publish the gallery kept on this computer; None where nobody is enrolled.

    `ahead` of the functions: see `publish`; None too where there is no bucket yet.
    """
    store = Store.find(clients.deployment.asu_id)
    if store is None:
        return None
    try:
        return publish(clients, store, ahead=ahead)
    except CloudError as error:
        if ahead and is_missing(error):
            return None
        raise
    finally:
        store.close()


def retire_old(clients: Clients) -> None:
    """Delete the gallery of facectl 1, once no function reads it any more; raises CloudError."""
    with cloud_errors(f"tidying the gallery in {_name(clients)}", clients.deployment):
        bucket = GalleryBucket(clients)
        # The manifest first: it must never name what is gone.
        if bucket.read(OLD_KEY) is not None:
            bucket.delete([OLD_KEY])
        for prefix in (versions_prefix(OLD_KEY), parts_prefix(OLD_KEY)):
            bucket.delete([item.key for item in bucket.listed(prefix)])


def inspect(clients: Clients) -> Published:
    """What is published for the deployed model; raises CloudError.

    Where there is nothing, or nothing says which model that is: the gallery
    that was published last, of whatever model.
    """
    space = clients.deployment.space
    with cloud_errors(f"reading the gallery in {_name(clients)}", clients.deployment):
        bucket = GalleryBucket(clients)
        for key in (manifest_key(space), OLD_KEY) if space is not None else ():
            found = _look(bucket, key, space)
            if found.data is not None and (found.manifest is None or found.problem is None):
                return found
        return max(_all(bucket, space), key=_date, default=Published(None))


def others(clients: Clients) -> list[Manifest]:
    """The galleries of other models in the bucket, the newest first; raises CloudError."""
    with cloud_errors(f"reading the gallery in {_name(clients)}", clients.deployment):
        found = sorted(_all(GalleryBucket(clients), None), key=_date, reverse=True)
    space = clients.deployment.space
    return [each.manifest for each in found if each.manifest and each.manifest.space != space]


def facts(clients: Clients) -> dict[str, object]:
    """What the bucket holds, for a status: the gallery, and the problem with it if there is one."""
    there = inspect(clients)
    if there.manifest is None:
        return {"gallery": there.problem or "nobody is enrolled"}
    text = f"version {there.manifest.version} with {there.manifest.people} people"
    return {"gallery": f"{text}: {there.problem}" if there.problem else text}


def fetch_part(clients: Clients, there: Published, sha256: str) -> bytes:
    """The bytes of a published part; raises CloudError."""
    with cloud_errors(f"reading the gallery in {_name(clients)}", clients.deployment):
        found = GalleryBucket(clients).read(part_key(there.key, sha256))
    if found is None:
        raise CloudError(
            f"part {sha256[:12]} of the gallery is missing in {_name(clients)}",
            hint="facectl gallery publish   on the computer that keeps it",
        )
    return found[0]


def _look(bucket: GalleryBucket, key: str, space: str | None) -> Published:
    """What is at a key, and why functions of that space would refuse it."""
    found = bucket.read(key)
    if found is None:
        return Published(None, key=key)
    data, etag = found
    try:
        manifest = Manifest.parse(data)
    except GalleryFormatError as error:
        return Published(None, f"{key} is refused: {error}", key, data, etag)
    problem = None
    if space is not None and manifest.space != space:
        problem = (
            f"no gallery is published for the model's space {space}: face-recognition answers "
            f"Unknown; {key} is of space {manifest.space}"
        )
    return Published(manifest, problem, key, data, etag)


def _all(bucket: GalleryBucket, space: str | None) -> list[Published]:
    keys = unless_missing(bucket.manifests) or []
    return [_look(bucket, key, space) for key in keys]


def _date(there: Published) -> str:
    return "" if there.manifest is None else there.manifest.published


def _name(clients: Clients) -> str:
    deployment = clients.deployment
    return deployment.names.bucket(clients.account, deployment.region)


def _check_lineage(store: Store, there: Published) -> None:
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
    """Make the gallery at a key the store's newest version."""
    bucket = run.bucket
    packer = Packer(run.store)
    first = _look(bucket, key, run.store.space)
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
            _see_through(run, key, packer)
            keep_last(bucket, key, data, version)
            return manifest
        there = _look(bucket, key, run.store.space)
        if there.data == data:
            # The answer to the write was lost, and its retry met its own work.
            return manifest
    raise CloudError(
        f"{key} in {bucket.name} is changed by another computer again and again",
        hint="facectl gallery publish",
    )


def _keep_version(bucket: GalleryBucket, key: str, manifest: Manifest, data: bytes) -> str:
    """See that a version's own manifest is there; its key."""
    digest = hashlib.sha256(data).hexdigest()
    name = f"{versions_prefix(key)}{manifest.version:06d}-{digest[:12]}.json"
    if not bucket.holds(name, digest, len(data)):
        bucket.write(name, data)
    return name


def _see_through(run: _Publication, key: str, packer: Packer) -> None:
    """Send again what another computer deleted before it was named."""
    for _ in range(_ATTEMPTS):
        listed = {item.key: item.size for item in run.bucket.listed(parts_prefix(key))}
        refs = packer.manifest().parts
        gone = [ref for ref in refs if listed.get(part_key(key, ref.sha256)) != ref.bytes]
        if not gone:
            return
        _send(run, key, packer, set(refs) - set(gone))
    raise CloudError(
        f"parts of the gallery in {run.bucket.name} are deleted again and again",
        hint="facectl gallery publish",
    )


def _upload(run: _Publication, key: str, packer: Packer) -> int:
    """Send the parts that the bucket lacks; how many these were."""
    bucket = run.bucket
    listed = {item.key: item.size for item in bucket.listed(parts_prefix(key))}
    asked = [
        ref for ref in packer.unchanged() if listed.get(part_key(key, ref.sha256)) == ref.bytes
    ]
    with ThreadPoolExecutor(_TRANSFERS) as pool:
        good = pool.map(lambda ref: bucket.holds_part(key, ref), asked)
        held = {ref for ref, is_good in zip(asked, good, strict=True) if is_good}
    sent = _send(run, key, packer, held)
    # Before anything names them: the next run then knows these parts without making them.
    packer.layout.remember(run.store)
    return sent


def _send(run: _Publication, key: str, packer: Packer, held: Collection[PartRef]) -> int:
    def send(part: tuple[PartRef, bytes]) -> None:
        ref, data = part
        run.bucket.write(part_key(key, ref.sha256), data)
        run.progress(len(data))

    count = 0
    with ThreadPoolExecutor(_TRANSFERS) as pool:
        # A few at a time: a large gallery's parts do not all fit into memory.
        batch: list[tuple[PartRef, bytes]] = []
        for part in packer.missing(held):
            batch.append(part)
            if len(batch) == _TRANSFERS:
                count += len(list(pool.map(send, batch)))
                batch.clear()
        return count + len(list(pool.map(send, batch)))


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """One publication at a time, so that an older version never follows a newer one."""
    with store.file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
