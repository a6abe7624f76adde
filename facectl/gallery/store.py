"""Stores the gallery of a deployment on this computer, with all its versions."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from facectl import paths
from facectl.errors import GalleryError
from facectl.gallery import anchors, database
from facectl.gallery.changes import (
    BUCKET_BITS,
    Change,
    EmbeddingSpace,
    Enrolled,
    GallerySettings,
    Reference,
    Version,
    space_row,
)
from lambda_src.contract import UNKNOWN
from lambda_src.gallery.matching import DIMENSIONS, EUCLIDEAN, Embeddings, Gallery

_ENROLL = "facectl gallery enroll NAME IMAGE"
# Whether an entry is valid at version :v.
_VALID = "valid_from <= :v AND (valid_to IS NULL OR valid_to > :v)"
# Whether it is a person's; `facectl.gallery.anchors` has the others.
_PERSON = f"{_VALID} AND name <> '{UNKNOWN}'"


def path(asu_id: str) -> Path:
    """The path of a deployment's gallery file."""
    return paths.data_dir() / "galleries" / f"{asu_id}.db"


class Store:
    """One gallery; safe to use from several processes at once."""

    def __init__(self, file: Path, connection: sqlite3.Connection) -> None:
        self.file = file
        self._connection = connection
        # The space of added embeddings, even if another command rebuilds the gallery.
        self._required_space: str | None = None

    @classmethod
    def find(cls, asu_id: str) -> Store | None:
        """The gallery of a deployment, None before anyone is enrolled; raises GalleryError."""
        file = path(asu_id)
        return cls.at(file) if file.exists() else None

    @classmethod
    def at(cls, file: Path) -> Store:
        """The gallery in a file that exists; raises GalleryError for anything else."""
        store = cls(file, database.connect(file))
        if store.get("lineage") is None:
            store.close()
            raise GalleryError(f"{file} is an empty gallery: nobody is enrolled", hint=_ENROLL)
        return store

    @classmethod
    def open(cls, asu_id: str) -> Store:
        """The gallery of a deployment; raises GalleryError if there is none."""
        store = cls.find(asu_id)
        if store is None:
            raise GalleryError("nobody is enrolled", hint=_ENROLL)
        return store

    @classmethod
    def for_space(
        cls, asu_id: str, space: str, *, synthetic: bool = False, model: str | None = None
    ) -> Store:
        """The gallery to add embeddings of a space to, created if missing.

        Switches an empty gallery to this space; raises GalleryError if a gallery
        of another space has people. Adding raises GalleryError after another
        command has rebuilt the gallery for another space.
        """
        file = path(asu_id)
        store = cls(file, database.connect(file))
        wanted = EmbeddingSpace(space, synthetic, model)
        try:
            store._create(wanted)
            with store.change("rebuild") as change:
                if store.space != space and not store.people():
                    change.switch_space(wanted, store.settings_for(wanted))
            store.check_space(space)
        except BaseException:
            store.close()
            raise
        store._required_space = space
        return store

    def _create(self, space: EmbeddingSpace) -> None:
        threshold = space.default_threshold.of(EUCLIDEAN)
        settings = json.dumps(asdict(GallerySettings(threshold)))
        run = self._connection.execute
        with self.transaction():
            run("INSERT OR IGNORE INTO meta VALUES ('lineage', ?)", (uuid.uuid4().hex,))
            first = (_now(), settings, space_row(self._connection, space))
            run("INSERT OR IGNORE INTO versions VALUES (0, ?, 'made', ?, ?)", first)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def lineage(self) -> str:
        """The permanent id of this gallery."""
        return str(self.get("lineage"))

    @property
    def space(self) -> str:
        """The embedding space of every reference of the newest version."""
        return self.space_of(self.version).id

    @property
    def synthetic(self) -> bool:
        """Whether the newest version's weights are untrained, so that names mean nothing."""
        return self.space_of(self.version).synthetic

    def space_of(self, version: int) -> EmbeddingSpace:
        """The embedding space of a version; raises GalleryError for an unknown version."""
        rows = self.select(
            "SELECT spaces.space, synthetic, model FROM versions "
            "JOIN spaces ON spaces.id = versions.space WHERE number = :v",
            v=version,
        )
        if not rows:
            raise _unknown(version)
        return _space(*rows[0])

    @property
    def version(self) -> int:
        """The number of the newest version."""
        return int(self._one("SELECT coalesce(max(number), 0) FROM versions"))

    @property
    def settings(self) -> GallerySettings:
        """The settings of the newest version."""
        return self.settings_of(self.version)

    def settings_of(self, version: int) -> GallerySettings:
        """The settings of a version; raises GalleryError for an unknown version."""
        text = self._one("SELECT settings FROM versions WHERE number = :v", v=version)
        if text is None:
            raise _unknown(version)
        return GallerySettings(**json.loads(str(text)))

    def settings_for(self, space: EmbeddingSpace) -> GallerySettings:
        """The newest settings, with the last threshold and metric of a space, if it had any."""
        now = self.settings
        text = self._one(
            "SELECT settings FROM versions JOIN spaces ON spaces.id = versions.space "
            "WHERE spaces.space = :space ORDER BY number DESC LIMIT 1",
            space=space.id,
        )
        if text is None:
            return replace(now, threshold=space.default_threshold.of(now.metric))
        then = GallerySettings(**json.loads(str(text)))
        return replace(now, threshold=then.threshold, metric=then.metric)

    def check_space(self, space: str) -> None:
        """Raise GalleryError unless the newest version is of `space`."""
        if self.space != space:
            raise GalleryError(
                f"the gallery {self.file} is of embedding space {self.space}, the model of "
                f"{space}: their embeddings can't be compared",
                hint=(
                    "facectl gallery rebuild   embeds its photographs for the deployed model;   "
                    "facectl deploy --model NAME   deploys another one and does it too"
                ),
            )

    def people(self, version: int | None = None) -> dict[str, int]:
        """The number of references by name, sorted by name, without anchors."""
        rows = self.select(
            f"SELECT name, count(*) FROM entries WHERE {_PERSON} GROUP BY name ORDER BY name",  # noqa: S608
            v=self._version(version),
        )
        return {str(name): int(count) for name, count in rows}

    def references(self, name: str) -> list[Reference]:
        """The references of a name in the newest version, the oldest first."""
        rows = self.select(
            "SELECT embedding, sha256, source, figures FROM entries JOIN vectors "
            "ON vectors.id = vector WHERE name = :name AND valid_to IS NULL ORDER BY entries.id",
            name=name,
        )
        return [
            Reference(np.frombuffer(blob, "<f4"), sha256, source, json.loads(figures))
            for blob, sha256, source, figures in rows
        ]

    def enrolled(self) -> list[Enrolled]:
        """Every reference of the newest version, the oldest first."""
        rows = self.select(
            "SELECT name, sha256, source, figures FROM entries JOIN vectors "
            "ON vectors.id = vector WHERE valid_to IS NULL ORDER BY entries.id"
        )
        return [
            Enrolled(str(name), sha256, source, json.loads(figures))
            for name, sha256, source, figures in rows
        ]

    def vector_of(self, sha256: str, space: str) -> int | None:
        """The vector of a photograph in a space, from any version; None if there is none."""
        found = self._one(
            "SELECT max(vectors.id) FROM vectors JOIN spaces ON spaces.id = vectors.space "
            "WHERE sha256 = :sha256 AND spaces.space = :space",
            sha256=sha256,
            space=space,
        )
        return None if found is None else int(found)

    def names_of(self, sha256: str) -> list[str]:
        """The names under which a photograph is enrolled."""
        rows = self.select(
            "SELECT DISTINCT name FROM vectors JOIN entries ON vectors.id = vector "
            "WHERE sha256 = :sha256 AND valid_to IS NULL ORDER BY name",
            sha256=sha256,
        )
        return [str(name) for (name,) in rows]

    def rows(
        self, low: int = 0, high: int = 1 << BUCKET_BITS, *, version: int | None = None
    ) -> tuple[list[str], Embeddings]:
        """Names and embeddings (N, 512) of people in the buckets low to high, sorted by name."""
        rows = self.select(
            "SELECT name, embedding FROM entries JOIN vectors ON vectors.id = vector "  # noqa: S608
            f"WHERE bucket >= :low AND bucket < :high AND {_PERSON} ORDER BY name, entries.id",
            low=low,
            high=high,
            v=self._version(version),
        )
        names = [str(name) for name, _ in rows]
        data = b"".join(blob for _, blob in rows)
        return names, np.frombuffer(data, "<f4").reshape(len(names), DIMENSIONS)

    def gallery(self, version: int | None = None) -> Gallery:
        """A version to match probes with; one row per person if matching is by centroid."""
        number = self._version(version)
        settings, space = self.settings_of(number), self.space_of(number)
        names, embeddings = anchors.matched(self, settings.matching, version=number)
        return Gallery(
            space.id, settings.threshold, tuple(names), embeddings, space.synthetic,
            settings.metric,
        )  # fmt: skip

    def versions(self) -> list[Version]:
        """Every version, the newest first."""
        rows = self.select(
            "SELECT number, at, action, settings, "
            "(SELECT count(*) FROM entries WHERE valid_from = number), "
            "(SELECT count(*) FROM entries WHERE valid_to = number), "
            "spaces.space, synthetic, model FROM versions "
            "JOIN spaces ON spaces.id = versions.space ORDER BY number DESC"
        )
        return [
            Version(
                number, at, action, GallerySettings(**json.loads(settings)), added, removed,
                _space(*space),
            )
            for number, at, action, settings, added, removed, *space in rows
        ]  # fmt: skip

    def touched_since(self, version: int) -> set[int]:
        """The buckets with references added or removed after a version."""
        rows = self.select(
            "SELECT bucket FROM entries WHERE valid_from > :v UNION "
            "SELECT bucket FROM entries WHERE valid_to > :v",
            v=version,
        )
        return {int(bucket) for (bucket,) in rows}

    def changed_people(self, first: int, second: int) -> set[str]:
        """The names whose references differ between two versions.

        References of two spaces are equal if their photographs are.
        """
        what = "vector"
        if self.space_of(first).id != self.space_of(second).id:
            what = "coalesce((SELECT sha256 FROM vectors WHERE id = vector), vector)"
        one, two = (
            f"SELECT name, {what} FROM entries "  # noqa: S608 - constants only
            f"WHERE valid_from <= :{v} AND (valid_to IS NULL OR valid_to > :{v})"
            for v in ("a", "b")
        )
        rows = self.select(
            f"SELECT name FROM ({one} EXCEPT {two}) "  # noqa: S608 - constants only
            f"UNION SELECT name FROM ({two} EXCEPT {one})",
            a=first,
            b=second,
        )
        return {str(name) for (name,) in rows}

    def get(self, key: str) -> str | None:
        """A value of the gallery's metadata."""
        found = self._one("SELECT value FROM meta WHERE key = :key", key=key)
        return None if found is None else str(found)

    def put(self, key: str, value: str) -> None:
        """Store a value in the gallery's metadata."""
        with self.transaction():
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def adopt(self, lineage: str, version: int) -> None:
        """Continue a published gallery: take its lineage and its next version number."""
        with self.transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO meta VALUES ('lineage', ?)", (lineage,)
            )
            # Not its own number, because the content here differs from the published version.
            number = max(version, self.version) + 1
            self._insert_version(number, "adopt", self.settings, self.space_of(self.version))

    def claim(self) -> int:
        """Freeze the newest version for publication; returns its number."""
        with self.transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO meta SELECT 'claimed', max(number) FROM versions"
            )
            return int(str(self.get("claimed")))

    @contextmanager
    def change(self, action: str, *, extend: int | None = None) -> Iterator[Change]:
        """Make a new version if the block succeeds and changes anything.

        `extend` adds to that version instead, if it is the newest and unpublished:
        a long enrollment saves in steps.
        """
        with self.transaction():
            head = self.version
            claimed = int(self.get("claimed") or 0)
            number = head if extend == head and claimed < head else head + 1
            change = Change(
                self._connection,
                number,
                self.settings,
                self.space_of(head),
                required_space=self._required_space,
            )
            yield change
            if change.changed:
                self._insert_version(number, action, change.settings, change.space)

    def _insert_version(
        self, number: int, action: str, settings: GallerySettings, space: EmbeddingSpace
    ) -> None:
        row = space_row(self._connection, space)
        self._connection.execute(
            "INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?)",
            (number, _now(), action, json.dumps(asdict(settings)), row),
        )

    def compact(self) -> None:
        """Rewrite the file, so that it has no deleted content."""
        with database.errors(self.file):
            self._connection.execute("VACUUM")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction of the yielded connection; roll back if it raises."""
        with database.transaction(self._connection, self.file):
            yield self._connection

    def _version(self, version: int | None) -> int:
        return self.version if version is None else version

    def select(self, query: str, **values: Any) -> list[Any]:
        """The rows of a SELECT statement; raises GalleryError."""
        with database.errors(self.file):
            return self._connection.execute(query, values).fetchall()

    def _one(self, query: str, **values: Any) -> Any:
        rows = self.select(query, **values)
        return rows[0][0] if rows else None


def _space(space: str, synthetic: int, model: str | None) -> EmbeddingSpace:
    return EmbeddingSpace(space, bool(synthetic), model)


def _unknown(version: int) -> GalleryError:
    text = f"there is no version {version} of the gallery"
    return GalleryError(text, hint="facectl gallery history")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
