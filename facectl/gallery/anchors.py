"""Anchors: faces in the gallery that are never named.

An anchor is a reference whose name is `Unknown`, the answer for a face that is not recognized. A
face nearer to an anchor than to any person is therefore answered `Unknown` by every function and
every version of facectl, in float32 and int8, and no person can have this name.

The anchors of one ignored person, or of one correction, share an id, which is stored as the source
of their embeddings. `centroid` matching compares with the mean of each id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facectl.gallery.changes import BUCKET_BITS, CENTROID
from facectl.gallery.statistics import centroids
from lambda_src.contract import UNKNOWN
from lambda_src.gallery.matching import DIMENSIONS, Embeddings

if TYPE_CHECKING:
    from facectl.gallery.store import Store


def counts(store: Store, version: int | None = None) -> dict[str, int]:
    """The number of anchors by id in a version, the newest by default."""
    found: dict[str, int] = {}
    for anchor in rows(store, version=version)[0]:
        found[anchor] = found.get(anchor, 0) + 1
    return found


def rows(
    store: Store, low: int = 0, high: int = 1 << BUCKET_BITS, *, version: int | None = None
) -> tuple[list[str], Embeddings]:
    """Ids and embeddings (N, 512) of the anchors in the buckets low to high, sorted by id."""
    found = store.select(
        "SELECT coalesce(source, ''), embedding FROM entries JOIN vectors ON vectors.id = vector "
        "WHERE name = :unknown AND bucket >= :low AND bucket < :high "
        "AND valid_from <= :v AND (valid_to IS NULL OR valid_to > :v) ORDER BY source, entries.id",
        unknown=UNKNOWN,
        low=low,
        high=high,
        v=store.version if version is None else version,
    )
    data = b"".join(blob for _, blob in found)
    ids = [str(source) for source, _ in found]
    return ids, np.frombuffer(data, "<f4").reshape(len(ids), DIMENSIONS)


def matched(
    store: Store, matching: str, low: int = 0, high: int = 1 << BUCKET_BITS, *, version: int
) -> tuple[list[str], Embeddings]:
    """Names and embeddings (N, 512) that probes are compared with, anchors too, sorted by name.

    One row per person and per anchor's id if matching is by centroid.
    """
    names, embeddings = store.rows(low, high, version=version)
    ids, ignored = rows(store, low, high, version=version)
    if matching == CENTROID:
        names, embeddings = centroids(names, embeddings)
        ids, ignored = centroids(ids, ignored)
    if not ids:
        return names, embeddings
    names = [*names, *(UNKNOWN for _ in ids)]
    order = sorted(range(len(names)), key=names.__getitem__)
    return [names[row] for row in order], np.concatenate([embeddings, ignored])[order]
