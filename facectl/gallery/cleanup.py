"""What a bucket no longer needs: old versions of a gallery, and all trace of forgotten people."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from facectl.errors import CloudError
from facectl.gallery.bucket import PREFIX, GalleryBucket, parts_prefix, versions_prefix
from lambda_src.gallery.matching import GalleryFormatError
from lambda_src.gallery.parts import Manifest, part_key

# Functions may still be downloading an older version's parts.
_KEPT_VERSIONS = 20
# So that not every publication has to look through all of them.
_SLACK = 10
# Younger parts may be another computer's, which has not named them yet.
_MARGIN = timedelta(hours=1)
_ATTEMPTS = 3


def keep_last(bucket: GalleryBucket, key: str, data: bytes, version: str) -> None:
    """Delete all but the last published versions, and the old parts that none of these names.

    `key` and `data` are those of the newest manifest, `version` its copy's key.
    Numbers say nothing of age: a gallery that replaced another begins at 1.
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
    # Looked at last: another computer's version may need what these do not.
    if _is(bucket, key, data):
        bucket.delete([*old, *parts])


def delete_rest(bucket: GalleryBucket, galleries: Mapping[str, Manifest]) -> None:
    """Leave these galleries, by key, in the bucket and nothing else, replaced versions included.

    Confirmed by listing. Raises CloudError where another computer puts in more
    meanwhile.
    """
    for _ in range(_ATTEMPTS):
        rest = _rest(bucket, galleries)
        if not rest:
            break
        # No manifest may name what is gone, wherever this ends.
        bucket.delete([name for name in rest if name.endswith("/current.json")])
        bucket.delete([name for name in rest if not name.endswith("/current.json")])
    bucket.delete_replaced()
    rest = _rest(bucket, galleries)
    if rest:
        raise CloudError(
            f"{bucket.name} has {len(rest)} object(s) of another publication, which may have "
            "forgotten people in them",
            hint="facectl gallery publish",
        )


def _rest(bucket: GalleryBucket, galleries: Mapping[str, Manifest]) -> list[str]:
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
        needed |= {key, *_named(key, data), *(name for name in versions if _is(bucket, name, data))}
    return [name for name in listed if name not in needed]


def _is(bucket: GalleryBucket, key: str, data: bytes) -> bool:
    found = bucket.read(key)
    return found is not None and found[0] == data


def _named(key: str, data: bytes) -> set[str]:
    """The keys of the parts that a manifest names: none where it is damaged."""
    manifest = _parsed(data)
    return set() if manifest is None else {part_key(key, part.sha256) for part in manifest.parts}


def _parsed(data: bytes) -> Manifest | None:
    with suppress(GalleryFormatError):
        return Manifest.parse(data)
    return None
