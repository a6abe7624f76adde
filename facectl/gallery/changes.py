"""The data of a gallery's version, and `Change`, which writes the next version."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.errors import GalleryError, InputError
from facectl.gallery import thresholds
from facectl.gallery.thresholds import GENERAL, DefaultThreshold
from lambda_src.contract import ERROR, NO_FACE, UNKNOWN
from lambda_src.gallery.matching import EUCLIDEAN
from lambda_src.vision.store import Model

BEST, CENTROID = "best", "centroid"
BUCKET_BITS = 16
_MAX_NAME = 100
# Invisible characters that emoji and several scripts need.
_JOINERS = {"\u200c", "\u200d"}


@dataclass(frozen=True, slots=True)
class GallerySettings:
    """How probes are compared with the gallery; stored with every version.

    matching: `best` compares with every photograph, `centroid` with each person's mean.
    """

    threshold: float = GENERAL.distance
    metric: str = EUCLIDEAN
    matching: str = BEST


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """The weights and preprocessing of embeddings; only embeddings of one space are compared.

    id: sha256 of the weights, a slash, and the preprocessing. synthetic:
    whether the weights are untrained, so that names mean nothing. model: the
    model's name on this computer, None if it is not known.
    """

    id: str
    synthetic: bool = False
    model: str | None = None

    @classmethod
    def of(cls, model: Model) -> EmbeddingSpace:
        """The space of an installed model."""
        return cls(model.space, model.synthetic, model.space_name)

    @property
    def default_threshold(self) -> DefaultThreshold:
        """The threshold of a gallery of this space that nobody has calibrated."""
        return thresholds.default(self.id, self.model)

    def __str__(self) -> str:
        digest, _, preprocessing = self.id.partition("/")
        return self.model or f"{digest[:12]}/{preprocessing}"


@dataclass(frozen=True, slots=True)
class Reference:
    """One embedding, (512,) float32 of length 1, and its photograph.

    sha256 and source are None for an imported embedding. figures: the
    measurements of the quality checks.
    """

    embedding: NDArray[np.float32]
    sha256: str | None = None
    source: str | None = None
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Version:
    """One version: its action, the number of references added and removed, and its space."""

    number: int
    at: str
    action: str
    settings: GallerySettings
    added: int
    removed: int
    space: EmbeddingSpace


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A reference of the newest version without its embedding; `source` is the file's path."""

    name: str
    sha256: str | None
    source: str | None
    figures: dict[str, float]


def check_name(name: str) -> str:
    """The name in NFC, as it is stored; raises InputError if a response can't contain it."""
    name = unicodedata.normalize("NFC", name).strip()
    visible = "".join(character for character in name if character not in _JOINERS)
    if not visible or len(name) > _MAX_NAME or not visible.isprintable() or "," in name:
        shown = name if len(name) <= _MAX_NAME else f"{name[:40]}… ({len(name)} characters)"
        raise InputError(
            f"{shown!r} can't be a name: 1 to {_MAX_NAME} printable characters without a comma, "
            "which separates the names in a response"
        )
    if name in {UNKNOWN, NO_FACE, ERROR}:
        raise InputError(f"{name!r} can't be a name: it is a response of the pipeline itself")
    return name


def bucket_of(name: str) -> int:
    """The hash bucket of a name, below 65,536; each published part is a range of buckets."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big")


class Change:
    """Adds and removes references for one version, inside its transaction.

    `required_space`: the space of which references can be added; None for that of the version.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        number: int,
        settings: GallerySettings,
        space: EmbeddingSpace,
        *,
        required_space: str | None = None,
    ) -> None:
        self.number = number
        self.settings = settings
        self.space = space
        self.changed = False
        self._connection = connection
        self._required_space = required_space
        self._rows: dict[EmbeddingSpace, int] = {}

    def add(self, name: str, reference: Reference) -> None:
        """Add a reference under a name; raises GalleryError after a change of space."""
        self._enter([(self._insert(reference), name)])

    def add_anchor(self, anchor: str, reference: Reference) -> None:
        """Add a face that is never named (`facectl.gallery.anchors`), under its anchor's id."""
        vector = self._insert(replace(reference, source=anchor))
        self._connection.execute(
            "INSERT INTO entries (vector, name, bucket, valid_from) VALUES (?, ?, ?, ?)",
            (vector, UNKNOWN, bucket_of(anchor), self.number),
        )
        self.changed = True

    def remove_anchor(self, anchor: str) -> int:
        """End the entries of an anchor's id; returns their number."""
        return self._end(
            "name = :unknown AND vector IN (SELECT id FROM vectors WHERE source = :anchor)",
            unknown=UNKNOWN,
            anchor=anchor,
        )

    def _insert(self, reference: Reference) -> int | None:
        if self._required_space not in (None, self.space.id):
            raise GalleryError(
                f"another command has rebuilt the gallery for {self.space}: embeddings of the "
                "previous model can't be added",
                hint="run the same command again",
            )
        return self._connection.execute(
            "INSERT INTO vectors (embedding, sha256, source, figures, space) "
            "VALUES (?, ?, ?, ?, ?)",
            (
                reference.embedding.astype("<f4").tobytes(),
                reference.sha256,
                reference.source,
                json.dumps(reference.figures),
                self._space_row(),
            ),
        ).lastrowid

    def add_known(self, name: str, vector: int) -> None:
        """Add a vector of an earlier version under a name."""
        self._enter([(vector, name)])

    def switch_space(self, space: EmbeddingSpace, settings: GallerySettings) -> None:
        """End every entry and switch to another space, which later additions belong to."""
        self._end("1")
        self._required_space = None
        self.changed = self.changed or space.id != self.space.id
        self.space = space
        self.configure(**asdict(settings))

    def remove(self, name: str) -> int:
        """End every entry of a name; returns their number."""
        return self._end("name = :name", name=name)

    def remove_photograph(self, name: str, sha256: str) -> int:
        """End the entries of a name that are of this photograph; returns their number."""
        return self._end(
            "name = :name AND vector IN (SELECT id FROM vectors WHERE sha256 = :sha256)",
            name=name,
            sha256=sha256,
        )

    def rename(self, old: str, new: str) -> int:
        """Move the references of one name to another, which may exist; returns their number."""
        vectors = self._connection.execute(
            "SELECT vector FROM entries WHERE name = ? AND valid_to IS NULL ORDER BY id", (old,)
        ).fetchall()
        self.remove(old)
        self._enter([(vector, new) for (vector,) in vectors])
        return len(vectors)

    def configure(self, **changes: Any) -> None:
        """Change settings: threshold, metric, matching."""
        settings = replace(self.settings, **changes)
        self.changed = self.changed or settings != self.settings
        self.settings = settings

    def restore(self, version: int, settings: GallerySettings, space: EmbeddingSpace) -> None:
        """Restore the entries, settings and space of a version."""
        then = "valid_from <= :then AND (valid_to IS NULL OR valid_to > :then)"
        now = "valid_to IS NULL"
        pairs = f"SELECT vector, name FROM entries WHERE {then}"  # noqa: S608
        back = self._connection.execute(
            f"{pairs} EXCEPT SELECT vector, name FROM entries WHERE {now}",  # noqa: S608
            {"then": version},
        ).fetchall()
        self._end(f"(vector, name) NOT IN ({pairs})", then=version)
        self._enter(back)
        self.changed = self.changed or space.id != self.space.id
        self.space = space
        self.configure(**asdict(settings))

    def _enter(self, pairs: Iterable[tuple[int | None, str]]) -> None:
        rows = [(vector, name, bucket_of(name), self.number) for vector, name in pairs]
        self._connection.executemany(
            "INSERT INTO entries (vector, name, bucket, valid_from) VALUES (?, ?, ?, ?)", rows
        )
        self.changed = self.changed or bool(rows)

    def _end(self, which: str, **values: Any) -> int:
        count = self._connection.execute(
            f"UPDATE entries SET valid_to = :now WHERE valid_to IS NULL AND {which}",  # noqa: S608
            {"now": self.number, **values},
        ).rowcount
        self.changed = self.changed or count > 0
        return count

    def _space_row(self) -> int:
        if self.space not in self._rows:
            self._rows[self.space] = space_row(self._connection, self.space)
        return self._rows[self.space]


def space_row(connection: sqlite3.Connection, space: EmbeddingSpace) -> int:
    """The row of a space, created if missing; stores the newest name of its model."""
    connection.execute(
        "INSERT INTO spaces (space, synthetic, model) VALUES (?, ?, ?) "
        "ON CONFLICT (space) DO UPDATE SET model = coalesce(excluded.model, model)",
        (space.id, space.synthetic, space.model),
    )
    row = connection.execute("SELECT id FROM spaces WHERE space = ?", (space.id,)).fetchone()
    return int(row[0])
