"""What is left to do of `remove --forget`: the buckets in which forgotten people still may be.

A forget is counted in the gallery's file, in which the person is deleted; each
bucket has the count up to which it was cleaned. A publication that fails, or
one to another bucket, leaves the difference, and the next one there goes on
with it. No name is written down.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from facectl.errors import GalleryError
from facectl.gallery.store import Store, path

if TYPE_CHECKING:
    from facectl.gallery.bucket import GalleryBucket

_REQUESTS, _BUCKETS = "forgets", "buckets"

# How many forgets there were, by the gallery's file.
Requests = dict[Path, int]


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket to which a gallery was published, and how many forgets were finished in it."""

    target: str
    region: str
    profile: str | None
    finished: int = 0


@dataclass(frozen=True, slots=True)
class Pending:
    """A bucket in which forgotten people still may be, and since when.

    Both are None where no bucket was noted, because facectl 1 published the gallery.
    """

    bucket: str | None
    place: Place | None
    since: str

    @property
    def line(self) -> str:
        """What is not finished, and the command that finishes it."""
        place = self.place
        if place is None:
            return (
                f"The deployment may still have people who were forgotten here on {self.since}.  "
                "Next: facectl gallery publish"
            )
        where = f"--target {place.target} --region {place.region}"
        if place.profile is not None:
            where += f" --profile {place.profile}"
        return (
            f"Bucket {self.bucket} may still have people who were forgotten here on {self.since}.  "
            f"Next: facectl gallery publish {where}"
        )


def request(connection: sqlite3.Connection) -> None:
    """Count one more forget, in the transaction that deletes the person."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_REQUESTS,)).fetchone()
    count = 1 + (json.loads(row[0])["count"] if row else 0)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)",
        (_REQUESTS, json.dumps({"count": count, "at": now})),
    )


def begin(store: Store, bucket: GalleryBucket) -> Requests:
    """Note that the gallery goes to a bucket; the forgets that are not finished there."""
    deployment = bucket.deployment
    places = _places(store)
    known = places.get(bucket.name)
    places[bucket.name] = Place(
        deployment.target, deployment.region, deployment.profile, known.finished if known else 0
    )
    _write(store, places)
    requests: Requests = {}
    with _galleries(store) as galleries:
        for each in galleries:
            place = _places(each).get(bucket.name)
            count, _ = _requested(each)
            if count > (place.finished if place else 0):
                requests[each.file] = count
    return requests


def finish(store: Store, bucket: GalleryBucket, requests: Requests) -> None:
    """Note that these forgets are finished in a bucket."""
    deployment = bucket.deployment
    with _galleries(store) as galleries:
        for each in galleries:
            if each.file in requests:
                places = _places(each)
                places[bucket.name] = Place(
                    deployment.target, deployment.region, deployment.profile, requests[each.file]
                )
                _write(each, places)


def bucket_gone(asu_id: str, bucket: str) -> None:
    """Note that a bucket was deleted, and everybody's embeddings with it."""
    for file in files(asu_id):
        with suppress(GalleryError):
            store = Store.at(file)
            try:
                places = _places(store)
                if places.pop(bucket, None) is not None:
                    _write(store, places)
            finally:
                store.close()


def pending(store: Store) -> list[Pending]:
    """The known buckets in which a forget is not finished."""
    found: dict[str | None, Pending] = {}
    with _galleries(store) as galleries:
        noted = any(each.get(_BUCKETS) is not None for each in galleries)
        everywhere = {name: place for each in galleries for name, place in _places(each).items()}
        for each in galleries:
            count, since = _requested(each)
            places = _places(each)
            if count and not noted:
                found[None] = Pending(None, None, since)
            for name, place in everywhere.items():
                if count > (places[name].finished if name in places else 0):
                    found[name] = Pending(name, place, since)
    return list(found.values())


def files(asu_id: str) -> list[Path]:
    """The files of a deployment's gallery: the one in use, and those that were set aside."""
    file = path(asu_id)
    return [each for each in (file, *sorted(file.parent.glob(f"{asu_id}.*.db"))) if each.exists()]


@contextmanager
def _galleries(store: Store) -> Iterator[list[Store]]:
    aside: list[Store] = []
    try:
        for file in files(store.file.stem):
            # A damaged one is none of the gallery's that is published now.
            with suppress(GalleryError):
                if file.resolve() != store.file.resolve():
                    aside.append(Store.at(file))
        yield [store, *aside]
    finally:
        for each in aside:
            each.close()


def _requested(store: Store) -> tuple[int, str]:
    text = store.get(_REQUESTS)
    if text is None:
        return 0, ""
    fields = json.loads(text)
    return int(fields["count"]), str(fields["at"])


def _places(store: Store) -> dict[str, Place]:
    text = store.get(_BUCKETS)
    return {name: Place(**fields) for name, fields in json.loads(text).items()} if text else {}


def _write(store: Store, places: dict[str, Place]) -> None:
    store.put(_BUCKETS, json.dumps({name: asdict(place) for name, place in places.items()}))
