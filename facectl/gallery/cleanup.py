"""Deletes old versions of a gallery and all data of forgotten people from a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from facectl.errors import CloudError
from facectl.gallery.bucket import PREFIX, GalleryBucket, parts_prefix, versions_prefix
from lambda_src.gallery.matching import GalleryFormatError
from lambda_src.gallery.parts import Manifest, part_key

# Functions may still download the parts of an older version.
_KEPT_VERSIONS = 20
# Not every publication reads all kept manifests.
_SLACK = 10
# A younger part may belong to another computer's publication that has no manifest yet.
_MARGIN = timedelta(hours=1)
_ATTEMPTS = 3


def keep_last(bucket: GalleryBucket, key: str, data: bytes, version: str) -> None:
    """Delete all but the last published versions, and the old parts that none of them names.

    `key` and `data` belong to the newest manifest; `version` is the key of its copy.
    Age is the modification time: a gallery that replaced another starts at version 1.
    """
    versions = sorted(
        bucket.listed(versions_prefix(key)), key=lambda item: (item.modified, item.key)
    )
    if len(versions) <= _KEPT_VERSIONS + _SLACK:
        return
    old = [item.key for item in versions[:-_KEPT_VERSIONS] if item.key != version]
    kept = [item.key for item in versions if item.key not in set(old)]
    needed = _named(key, data)
    for name in kept:
        found = bucket.read(name)
        needed |= set() if found is None else _named(key, found[0])
    limit = versions[-1].modified - _MARGIN
    parts = [
        item.key
        for item in bucket.listed(parts_prefix(key))
        if item.key not in needed and item.modified <= limit
    ]
    # Last check: a version of another computer may need parts that these versions do not.
    if _has_bytes(bucket, key, data):
        bucket.delete([*old, *parts])


def delete_rest(bucket: GalleryBucket, galleries: Mapping[str, Manifest]) -> None:
    """Delete all gallery objects except those of these galleries, noncurrent versions too.

    Lists the bucket to confirm. Raises CloudError if another computer adds objects
    during the deletion.
    """
    for _ in range(_ATTEMPTS):
        rest = _unneeded(bucket, galleries)
        if not rest:
            break
        # Manifests first: after an interruption no manifest names a deleted part.
        bucket.delete([name for name in rest if name.endswith("/current.json")])
        bucket.delete([name for name in rest if not name.endswith("/current.json")])
    bucket.delete_replaced()
    rest = _unneeded(bucket, galleries)
    if rest:
        raise CloudError(
            f"{bucket.name} has {len(rest)} object(s) of another publication, which may contain "
            "forgotten people",
            hint="facectl gallery publish",
        )


def _unneeded(bucket: GalleryBucket, galleries: Mapping[str, Manifest]) -> list[str]:
    """The keys that no gallery needs; raises CloudError if a manifest has changed."""
    listed = [item.key for item in bucket.listed(PREFIX)]
    needed: set[str] = set()
    for key, manifest in galleries.items():
        found = bucket.read(key)
        if found is None or _parsed(found[0]) != manifest:
            raise CloudError(
                f"another computer has changed {key} in {bucket.name}",
                hint="facectl gallery publish",
            )
        data = found[0]
        versions = [name for name in listed if name.startswith(versions_prefix(key))]
        needed |= {
            key,
            *_named(key, data),
            *(name for name in versions if _has_bytes(bucket, name, data)),
        }
    return [name for name in listed if name not in needed]


def _has_bytes(bucket: GalleryBucket, key: str, data: bytes) -> bool:
    """Whether an object exists and has exactly these bytes."""
    found = bucket.read(key)
    return found is not None and found[0] == data


def _named(key: str, data: bytes) -> set[str]:
    """The keys of the parts that a manifest names; empty if it is damaged."""
    manifest = _parsed(data)
    return set() if manifest is None else {part_key(key, part.sha256) for part in manifest.parts}


def _parsed(data: bytes) -> Manifest | None:
    with suppress(GalleryFormatError):
        return Manifest.parse(data)
    return None
