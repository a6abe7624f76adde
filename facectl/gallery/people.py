"""Changes to people: remove, forget, rename, merge; and what tells two versions apart."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from facectl.errors import GalleryError, InputError
from facectl.gallery import forgetting
from facectl.gallery.changes import check_name
from facectl.gallery.store import Store
from lambda_src.gallery.matching import COSINE

_LIST = "facectl gallery list"


@dataclass(frozen=True, slots=True)
class Difference:
    """What one version has and the other has not; `changed` counts references before and after."""

    added: dict[str, int]
    removed: dict[str, int]
    changed: dict[str, tuple[int, int]]
    settings: dict[str, tuple[object, object]]

    @property
    def empty(self) -> bool:
        """Whether the two are the same."""
        return not (self.added or self.removed or self.changed or self.settings)


def remove(store: Store, name: str) -> int:
    """End a person's references in a new version; raises GalleryError for a name nobody has."""
    with store.change("remove") as change:
        return _known(change.remove(name), name)


def rename(store: Store, old: str, new: str) -> int:
    """Give a person another name; raises GalleryError where somebody has it already."""
    new = check_name(new)
    if store.references(new):
        raise GalleryError(
            f"somebody is called {new!r} already", hint=f"facectl gallery merge '{old}' '{new}'"
        )
    with store.change("rename") as change:
        return _known(change.rename(old, new), old)


def merge(store: Store, source: str, target: str) -> int:
    """Make two names one person's, under the second; raises GalleryError where one is unknown."""
    if source == target:
        raise InputError("a name can't be merged into itself")
    _known(len(store.references(target)), target)
    with store.change("merge") as change:
        return _known(change.rename(source, target), source)


def configure(
    store: Store, *, threshold: float | None, metric: str | None, matching: str | None
) -> bool:
    """Change what is not None; a new metric alone converts the threshold. Whether it changed."""
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
    """Make a new version that is what an older one was; its number."""
    settings, space = store.settings_of(version), store.space_of(version)
    with store.change(f"rollback to {version}") as change:
        change.restore(version, settings, space)
    return store.version


def forget(asu_id: str, name: str) -> int:
    """Delete every trace of a person on this computer, from every version; how many references.

    Whatever ever carried the name goes, under its other names too, and so does
    every copy of these photographs. Galleries that were set aside are searched
    as well. What was published is cleaned by the next publication to each bucket
    (`forgetting`). Raises GalleryError where nobody ever had the name.
    """
    count = 0
    for file in forgetting.files(asu_id):
        store = Store.at(file)
        try:
            count += _forget(store, name)
        finally:
            store.close()
    return _known(count, name)


def compare(store: Store, first: int, second: int) -> Difference:
    """What tells the second version from the first; raises GalleryError for an unknown one."""
    old_settings, new_settings = store.settings_of(first), store.settings_of(second)
    old, new = store.people(first), store.people(second)
    changed = store.changed_people(first, second)
    spaces = store.space_of(first), store.space_of(second)
    models = {} if spaces[0].id == spaces[1].id else {"model": (str(spaces[0]), str(spaces[1]))}
    keys = ("threshold", "metric", "matching")
    return Difference(
        added={name: count for name, count in new.items() if name not in old},
        removed={name: count for name, count in old.items() if name not in new},
        changed={
            name: (old[name], new[name]) for name in sorted(changed) if name in old and name in new
        },
        settings={
            **models,
            **{
                key: (getattr(old_settings, key), getattr(new_settings, key))
                for key in keys
                if getattr(old_settings, key) != getattr(new_settings, key)
            },
        },
    )


def _known(count: int, name: str) -> int:
    if count == 0:
        raise GalleryError(f"nobody is called {name!r}", hint=_LIST)
    return count


def _forget(store: Store, name: str) -> int:
    vectors = (
        "WITH carried AS (SELECT vector FROM entries WHERE name = :name) "
        "SELECT id FROM vectors WHERE id IN carried OR sha256 IN "
        "(SELECT sha256 FROM vectors WHERE id IN carried)"
    )
    count = 0

    def work(connection: sqlite3.Connection) -> None:
        nonlocal count
        found = [(number,) for (number,) in connection.execute(vectors, {"name": name})]
        count = len(found)
        if count == 0:
            return
        connection.executemany("DELETE FROM entries WHERE vector = ?", found)
        connection.executemany("DELETE FROM vectors WHERE id = ?", found)
        connection.execute("DELETE FROM entries WHERE name = ?", (name,))
        forgetting.request(connection)
        # What was published still has them: no part of it may be used again.
        connection.execute("DELETE FROM meta WHERE key = 'published'")
        connection.execute(
            "INSERT INTO versions (number, at, action, settings, space) "
            "SELECT number + 1, strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now'), 'forget', settings, "
            "space FROM versions ORDER BY number DESC LIMIT 1"
        )

    store.transact(work)
    if count:
        store.compact()
    return count
