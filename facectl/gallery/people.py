"""Changes of the gallery: remove, forget, rename, merge, configure, roll back; and comparison."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from facectl.errors import GalleryError, InputError
from facectl.gallery import anchors, forgetting, kept
from facectl.gallery.changes import Reference, check_name
from facectl.gallery.store import Store, path
from lambda_src.contract import UNKNOWN
from lambda_src.gallery.matching import COSINE

_LIST = "facectl gallery list"


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two versions; `changed` has the numbers of references before and after."""

    added: dict[str, int]
    removed: dict[str, int]
    changed: dict[str, tuple[int, int]]
    settings: dict[str, tuple[object, object]]

    @property
    def empty(self) -> bool:
        """Whether the versions are equal."""
        return not (self.added or self.removed or self.changed or self.settings)


def remove(store: Store, name: str) -> int:
    """Remove a person in a new version; raises GalleryError for an unknown name."""
    references(store, name)
    with store.change("remove") as change:
        return change.remove(name)


def rename(store: Store, old: str, new: str) -> int:
    """Give a person another name; raises GalleryError if the name is taken."""
    new = check_name(new)
    if store.references(new):
        raise GalleryError(
            f"somebody is called {new!r} already", hint=f"facectl gallery merge '{old}' '{new}'"
        )
    references(store, old)
    with store.change("rename") as change:
        return change.rename(old, new)


def merge(store: Store, source: str, target: str) -> int:
    """Merge the first name into the second; raises GalleryError if one is unknown."""
    if source == target:
        raise InputError("a name can't be merged into itself")
    references(store, target)
    references(store, source)
    with store.change("merge") as change:
        return change.rename(source, target)


def configure(
    store: Store, *, threshold: float | None, metric: str | None, matching: str | None
) -> bool:
    """Change the settings that are not None; returns whether they changed.

    A new metric without a threshold converts the threshold.
    """
    before = store.version
    with store.change("settings") as change:
        now = change.settings
        if metric is not None and metric != now.metric and threshold is None:
            # Of L2-normalised embeddings: d² = 2 (1 - cosine).
            old = now.threshold
            threshold = old**2 / 2 if metric == COSINE else (2 * old) ** 0.5
        given = {"threshold": threshold, "metric": metric, "matching": matching}
        change.configure(**{key: value for key, value in given.items() if value is not None})
    return store.version != before


def rollback(store: Store, version: int) -> int:
    """Make a new version equal to an older one; returns its number."""
    settings, space = store.settings_of(version), store.space_of(version)
    with store.change(f"rollback to {version}") as change:
        change.restore(version, settings, space)
    return store.version


def forget(asu_id: str, name: str) -> int:
    """Delete a person from every version on this computer; returns the number of references.

    Deletes all embeddings that ever had the name, under their other names too, all
    references of the same photographs, also in the gallery files of earlier models, and
    the faces of strangers that were named so, and the photographs that were kept of them. The
    next publication to a bucket cleans the bucket (`forgetting`).
    Raises GalleryError if nobody ever had the name.
    """
    named = "SELECT vector FROM entries WHERE name = :name"
    if name == UNKNOWN:
        return _known(0, name)
    from facectl.strangers.store import StrangerStore

    count = _forget(asu_id, named, name)
    kept.sweep(asu_id, path(asu_id))
    strangers = StrangerStore.find(asu_id)
    if strangers is not None:
        with closing(strangers):
            count += strangers.forget_person(name)
    return _known(count, name)


def forget_anchor(asu_id: str, anchor: str) -> int:
    """Delete the anchors with an id from every version, as `forget`; returns their number."""
    anchored = (
        f"SELECT vector FROM entries WHERE name = '{UNKNOWN}' "  # noqa: S608 - a constant
        "AND vector IN (SELECT id FROM vectors WHERE source = :name)"
    )
    return _forget(asu_id, anchored, anchor)


def unused_photographs(store: Store) -> set[str]:
    """The SHA-256s of photographs from video that only earlier versions have: naming was undone."""
    rows = store.select(
        "SELECT sha256 FROM vectors WHERE sha256 IS NOT NULL "
        "AND (source IS NULL OR substr(source, 1, length(:folder)) = :folder) "
        "EXCEPT SELECT sha256 FROM vectors JOIN entries ON vectors.id = vector "
        "WHERE valid_to IS NULL",
        folder=f"{kept.folder(store.file)}/",
    )
    return {str(sha256) for (sha256,) in rows}


def forget_photographs(asu_id: str, photographs: Collection[str]) -> int:
    """Delete photographs from every version, as `forget`; returns the number of references."""
    chosen = "SELECT id FROM vectors WHERE sha256 IN (SELECT value FROM json_each(:name))"
    count = _forget(asu_id, chosen, json.dumps(sorted(photographs)))
    kept.sweep(asu_id, path(asu_id))
    return count


def compare(store: Store, first: int, second: int) -> Difference:
    """The difference between two versions; raises GalleryError if one is unknown."""
    old_settings, new_settings = store.settings_of(first), store.settings_of(second)
    old, new = store.people(first), store.people(second)
    changed = store.changed_people(first, second)
    spaces = store.space_of(first), store.space_of(second)
    models = {} if spaces[0].id == spaces[1].id else {"model": (str(spaces[0]), str(spaces[1]))}
    keys = ("threshold", "metric", "matching")
    before, after = (sum(anchors.counts(store, version).values()) for version in (first, second))
    ignored = {} if before == after else {"ignored faces": (before, after)}
    return Difference(
        added={name: count for name, count in new.items() if name not in old},
        removed={name: count for name, count in old.items() if name not in new},
        changed={
            name: (old[name], new[name]) for name in sorted(changed) if name in old and name in new
        },
        settings={
            **models,
            **ignored,
            **{
                key: (getattr(old_settings, key), getattr(new_settings, key))
                for key in keys
                if getattr(old_settings, key) != getattr(new_settings, key)
            },
        },
    )


def references(store: Store, name: str) -> list[Reference]:
    """The references of a person, the oldest first; raises GalleryError for an unknown name."""
    found = [] if name == UNKNOWN else store.references(name)
    _known(len(found), name)
    return found


def most_similar(store: Store, name: str) -> list[dict[str, Any]]:
    """The three other people nearest to any photograph of this person, with their distances."""
    gallery = store.gallery()
    nearest: dict[str, float] = {}
    for reference in store.references(name):
        for match in gallery.nearest(reference.embedding, 5):
            if match.name not in {name, UNKNOWN} and match.distance is not None:
                nearest[match.name] = min(match.distance, nearest.get(match.name, match.distance))
    ranked = sorted(nearest.items(), key=lambda item: item[1])[:3]
    return [{"name": other, "distance": round(distance, 4)} for other, distance in ranked]


def _known(count: int, name: str) -> int:
    if count == 0:
        raise GalleryError(f"nobody is called {name!r}", hint=_LIST)
    return count


def _forget(asu_id: str, query: str, name: str) -> int:
    """Delete the vectors that a query selects by `:name`; returns their number."""
    count = 0
    for file in forgetting.files(asu_id):
        with closing(Store.at(file)) as store:
            count += _forget_in(store, query, name)
    return count


def _forget_in(store: Store, query: str, name: str) -> int:
    vectors = (
        f"WITH named AS ({query}) "  # noqa: S608 - constants only
        "SELECT id FROM vectors WHERE id IN named OR sha256 IN "
        "(SELECT sha256 FROM vectors WHERE id IN named)"
    )
    with store.transaction() as connection:
        found = [(number,) for (number,) in connection.execute(vectors, {"name": name})]
        count = len(found)
        if count == 0:
            return 0
        connection.executemany("DELETE FROM entries WHERE vector = ?", found)
        connection.executemany("DELETE FROM vectors WHERE id = ?", found)
        connection.execute("DELETE FROM entries WHERE name = ?", (name,))
        forgetting.request(connection)
        # The published parts contain the person: none of them may be reused.
        connection.execute("DELETE FROM meta WHERE key = 'published'")
        connection.execute(
            "INSERT INTO versions (number, at, action, settings, space) "
            "SELECT number + 1, strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now'), 'forget', settings, "
            "space FROM versions ORDER BY number DESC LIMIT 1"
        )
    store.compact()
    return count
