"""What a version of the gallery is made of, and how one becomes the next."""

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
from lambda_src.contract import ERROR, NO_FACE, UNKNOWN
from lambda_src.gallery.matching import COSINE, EUCLIDEAN
from lambda_src.vision.store import Model

BEST, CENTROID = "best", "centroid"
BUCKET_BITS = 16
# Euclidean distance of L2-normalised embeddings. FaceNet's authors report 1.242
# for the squared distance on LFW (Schroff et al. 2015, section 5.6), 1.11 here;
# 1.0 keeps strangers out at the price of some missed friends.
_THRESHOLD = 1.0
_MAX_NAME = 100
# Invisible, but how emoji and several scripts are joined.
_JOINERS = {"\u200c", "\u200d"}


@dataclass(frozen=True, slots=True)
class GallerySettings:
    """How probes are compared: part of every version.

    matching: `best` compares with every photograph, `centroid` with each person's mean.
    """

    threshold: float = _THRESHOLD
    metric: str = EUCLIDEAN
    matching: str = BEST


def default_threshold(metric: str) -> float:
    """The threshold of a space for which none was picked."""
    # Of L2-normalised embeddings: d² = 2 (1 - cosine).
    return _THRESHOLD**2 / 2 if metric == COSINE else _THRESHOLD


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """What embeddings are of; those of two spaces are never compared.

    id: sha256 of the weights, a slash, and the preprocessing. synthetic:
    whether the weights were never trained, so that names mean nothing. model:
    what the model is called on this computer, None where that is not known.
    """

    id: str
    synthetic: bool = False
    model: str | None = None

    @classmethod
    def of(cls, model: Model) -> EmbeddingSpace:
        """The space of an installed model."""
        return cls(model.space, model.synthetic, model.path.name)

    def __str__(self) -> str:
        digest, _, preprocessing = self.id.partition("/")
        return self.model or f"{digest[:12]}/{preprocessing}"


@dataclass(frozen=True, slots=True)
class Reference:
    """One embedding, (512,) float32 of length 1, and the photograph it is of.

    sha256 and source are None where the photograph was never here. figures: what
    the quality checks measured.
    """

    embedding: NDArray[np.float32]
    sha256: str | None = None
    source: str | None = None
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Version:
    """One change: what was done, how many references came and went, and the model they are of."""

    number: int
    at: str
    action: str
    settings: GallerySettings
    added: int
    removed: int
    space: EmbeddingSpace


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A reference of the newest version without its embedding; `source` is where it was."""

    name: str
    sha256: str | None
    source: str | None
    figures: dict[str, float]


def check_name(name: str) -> str:
    """The name as it is stored; raises InputError for one that an answer could not carry."""
    name = unicodedata.normalize("NFC", name).strip()
    visible = "".join(character for character in name if character not in _JOINERS)
    if not visible or len(name) > _MAX_NAME or not visible.isprintable() or "," in name:
        shown = name if len(name) <= _MAX_NAME else f"{name[:40]}… ({len(name)} characters)"
        raise InputError(
            f"{shown!r} can't be a name: 1 to {_MAX_NAME} printable characters without a comma, "
            "which separates the names in an answer"
        )
    if name in {UNKNOWN, NO_FACE, ERROR}:
        raise InputError(f"{name!r} can't be a name: it is one of the pipeline's own answers")
    return name


def bucket_of(name: str) -> int:
    """Which of 65,536 buckets a person belongs to; parts of the published gallery are ranges."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big")


class Change:
    """What one version adds and takes away, inside its transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        number: int,
        settings: GallerySettings,
        space: EmbeddingSpace,
        *,
        only: str | None = None,
    ) -> None:
        self.number = number
        self.settings = settings
        self.space = space
        self.changed = False
        self._connection = connection
        self._only = only
        self._rows: dict[EmbeddingSpace, int] = {}

    def add(self, name: str, reference: Reference) -> None:
        """A reference under a name; raises GalleryError where the space is not the one meant."""
        if self._only not in (None, self.space.id):
            raise GalleryError(
                f"another command has rebuilt the gallery for {self.space} meanwhile: embeddings "
                "of the model before can't be added",
                hint="run the same command again",
            )
        vector = self._connection.execute(
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
        self._enter([(vector, name)])

    def add_known(self, name: str, vector: int) -> None:
        """A vector of an earlier version under a name."""
        self._enter([(vector, name)])

    def renew(self, space: EmbeddingSpace, settings: GallerySettings) -> None:
        """End every entry and go over to another space; what is added now is of that one."""
        self._end("1")
        self._only = None
        self.changed = self.changed or space.id != self.space.id
        self.space = space
        self.configure(**asdict(settings))

    def remove(self, name: str) -> int:
        """End every entry of a name; how many there were."""
        return self._end("name = :name", name=name)

    def rename(self, old: str, new: str) -> int:
        """Carry the references of one name over to another, which may have some; how many."""
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
        """Be what a version was: its entries, settings and space."""
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
    """The row of a space, made where there is none; keeps the newest name of its model."""
    connection.execute(
        "INSERT INTO spaces (space, synthetic, model) VALUES (?, ?, ?) "
        "ON CONFLICT (space) DO UPDATE SET model = coalesce(excluded.model, model)",
        (space.id, space.synthetic, space.model),
    )
    row = connection.execute("SELECT id FROM spaces WHERE space = ?", (space.id,)).fetchone()
    return int(row[0])
