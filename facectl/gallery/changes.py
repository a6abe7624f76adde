"""What a version of the gallery is made of, and how one becomes the next."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_src.gallery.matching import EUCLIDEAN

BEST, CENTROID = "best", "centroid"
BUCKET_BITS = 16
# Euclidean distance of L2-normalised embeddings. FaceNet's authors report 1.242
# for the squared distance on LFW (Schroff et al. 2015, section 5.6), 1.11 here;
# 1.0 keeps strangers out at the price of some missed friends.
_THRESHOLD = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How probes are compared: part of every version.

    matching: `best` compares with every photograph, `centroid` with each person's mean.
    """

    threshold: float = _THRESHOLD
    metric: str = EUCLIDEAN
    matching: str = BEST


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


def bucket_of(name: str) -> int:
    """Which of 65,536 buckets a person belongs to; parts of the published gallery are ranges."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big")


class Change:
    """What one version adds and takes away, inside its transaction."""

    def __init__(self, connection: sqlite3.Connection, number: int, settings: Settings) -> None:
        self.number = number
        self.settings = settings
        self.changed = False
        self._connection = connection

    def add(self, name: str, reference: Reference) -> None:
        """A reference under a name."""
        vector = self._connection.execute(
            "INSERT INTO vectors (embedding, sha256, source, figures) VALUES (?, ?, ?, ?)",
            (
                reference.embedding.astype("<f4").tobytes(),
                reference.sha256,
                reference.source,
                json.dumps(reference.figures),
            ),
        ).lastrowid
        self._enter([(vector, name)])

    def remove(self, name: str) -> int:
        """End every entry of a name; how many there were."""
        return self._end("name = :name", name=name)

    def rename(self, old: str, new: str) -> int:
        """Carry the references of one name over to another, which may have some; how many."""
        vectors = self._connection.execute(
            "SELECT vector FROM entries WHERE name = ? AND died IS NULL ORDER BY id", (old,)
        ).fetchall()
        self.remove(old)
        self._enter([(vector, new) for (vector,) in vectors])
        return len(vectors)

    def configure(self, **changes: Any) -> None:
        """Change settings: threshold, metric, matching."""
        settings = replace(self.settings, **changes)
        self.changed = self.changed or settings != self.settings
        self.settings = settings

    def restore(self, version: int, settings: Settings) -> None:
        """Be what a version was: its entries and settings."""
        then = "born <= :then AND (died IS NULL OR died > :then)"
        now = "died IS NULL"
        pairs = f"SELECT vector, name FROM entries WHERE {then}"  # noqa: S608
        back = self._connection.execute(
            f"{pairs} EXCEPT SELECT vector, name FROM entries WHERE {now}",  # noqa: S608
            {"then": version},
        ).fetchall()
        self._end(f"(vector, name) NOT IN ({pairs})", then=version)
        self._enter(back)
        self.configure(**asdict(settings))

    def _enter(self, pairs: Sequence[tuple[int | None, str]]) -> None:
        self._connection.executemany(
            "INSERT INTO entries (vector, name, bucket, born) VALUES (?, ?, ?, ?)",
            [(vector, name, bucket_of(name), self.number) for vector, name in pairs],
        )
        self.changed = self.changed or bool(pairs)

    def _end(self, which: str, **values: Any) -> int:
        count = self._connection.execute(
            f"UPDATE entries SET died = :now WHERE died IS NULL AND {which}",  # noqa: S608
            {"now": self.number, **values},
        ).rowcount
        self.changed = self.changed or count > 0
        return count
