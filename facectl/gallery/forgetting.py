"""Tracks which buckets may still contain people whom `remove --forget` deleted.

The gallery's file counts the forget requests, and stores for each bucket the
count up to which it was cleaned. After a failed publication, or one to another
bucket, the counts differ, and the next publication to the bucket cleans it.
No names are stored.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from facectl.errors import GalleryError
from facectl.gallery.store import Store, path

if TYPE_CHECKING:
    from facectl.gallery.bucket import GalleryBucket

_REQUESTS, _BUCKETS = "forgets", "buckets"

# Number of forget requests by gallery file.
Requests = dict[Path, int]


@dataclass(frozen=True, slots=True)
class PublishedBucket:
    """A bucket to which a gallery was published, and how many forget requests it has finished."""

    target: str
    region: str
    profile: str | None
    finished: int = 0


@dataclass(frozen=True, slots=True)
class Pending:
    """A bucket that may still contain forgotten people, and the date of the forget.

    `bucket` and `place` are None if facectl 1 published the gallery: it stored no bucket.
    """

    bucket: str | None
    place: PublishedBucket | None
    since: str

    @property
    def warning(self) -> str:
        """The warning, with the command that cleans the bucket."""
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
    """Count a forget request, in the transaction that deletes the person."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_REQUESTS,)).fetchone()
    count = 1 + (json.loads(row[0])["count"] if row else 0)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)",
        (_REQUESTS, json.dumps({"count": count, "at": now})),
    )


def begin(store: Store, bucket: GalleryBucket) -> Requests:
    """Store that the gallery is published to a bucket; returns its unfinished forget requests."""
    places = _places(store)
    known = places.get(bucket.name)
    places[bucket.name] = _place(bucket, known.finished if known else 0)
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
    """Store that these forget requests are finished in a bucket."""
    with _galleries(store) as galleries:
        for each in galleries:
            if each.file in requests:
                places = _places(each)
                places[bucket.name] = _place(bucket, requests[each.file])
                _write(each, places)


def bucket_gone(asu_id: str, bucket: str) -> None:
    """Remove a deleted bucket from the galleries' records."""
    for file in files(asu_id):
        with suppress(GalleryError), closing(Store.at(file)) as store:
            places = _places(store)
            if places.pop(bucket, None) is not None:
                _write(store, places)


def pending(store: Store) -> list[Pending]:
    """The known buckets with unfinished forget requests."""
    found: dict[str | None, Pending] = {}
    with _galleries(store) as galleries:
        has_buckets = any(each.get(_BUCKETS) is not None for each in galleries)
        buckets = {name: place for each in galleries for name, place in _places(each).items()}
        for each in galleries:
            count, since = _requested(each)
            places = _places(each)
            if count and not has_buckets:
                found[None] = Pending(None, None, since)
            for name, place in buckets.items():
                if count > (places[name].finished if name in places else 0):
                    found[name] = Pending(name, place, since)
    return list(found.values())


def files(asu_id: str) -> list[Path]:
    """The gallery files of a deployment: the current one, and those of earlier models."""
    file = path(asu_id)
    return [each for each in (file, *sorted(file.parent.glob(f"{asu_id}.*.db"))) if each.exists()]


@contextmanager
def _galleries(store: Store) -> Iterator[list[Store]]:
    with ExitStack() as stack:
        found = [store]
        for file in files(store.file.stem):
            # A damaged file is not the gallery that is published now.
            with suppress(GalleryError):
                if file.resolve() != store.file.resolve():
                    found.append(stack.enter_context(closing(Store.at(file))))
        yield found


def _requested(store: Store) -> tuple[int, str]:
    text = store.get(_REQUESTS)
    if text is None:
        return 0, ""
    fields = json.loads(text)
    return int(fields["count"]), str(fields["at"])


def _place(bucket: GalleryBucket, finished: int) -> PublishedBucket:
    deployment = bucket.deployment
    return PublishedBucket(deployment.target, deployment.region, deployment.profile, finished)


def _places(store: Store) -> dict[str, PublishedBucket]:
    text = store.get(_BUCKETS)
    stored = json.loads(text) if text else {}
    return {name: PublishedBucket(**fields) for name, fields in stored.items()}


def _write(store: Store, places: dict[str, PublishedBucket]) -> None:
    store.put(_BUCKETS, json.dumps({name: asdict(place) for name, place in places.items()}))
