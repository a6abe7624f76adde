"""Adds faces to the store, and brings groupings in memory up to date with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from facectl.strangers.grouping import Grouped, Grouping
from facectl.strangers.models import NewFace, weight
from facectl.strangers.store import StrangerStore
from lambda_src.gallery.matching import DIMENSIONS

# The faces that are kept; beyond that some of the oldest are deleted at once, because every
# grouping is read again afterwards.
MOST_FACES = 100_000
_DELETED = 5000


def add(
    store: StrangerStore, faces: Sequence[NewFace], grouping: Grouping, now: datetime
) -> Grouped:
    """Store faces and group those of unknown people; returns what changed in the groups.

    `grouping` is brought up to date first, and has the new faces afterwards.
    """
    with store.transaction() as connection:
        load(store, grouping)
        change = store.next_change()
        added = [_insert(store, each, now, change) for each in faces]
        unknown = [place for place, each in enumerate(faces) if each.person is None]
        changed = grouping.add(
            [added[place] for place in unknown],
            np.stack([faces[place].embedding for place in unknown])
            if unknown
            else np.zeros((0, DIMENSIONS), np.float32),
        )
        for face, count in changed.counts.items():
            connection.execute(
                "UPDATE faces SET neighbours = ?, changed = ? WHERE id = ?",
                (count, change, face),
            )
        for face, group in changed.groups.items():
            connection.execute(
                "UPDATE faces SET grp = ?, changed = ? WHERE id = ?", (group, change, face)
            )
        for source, target in changed.merged.items():
            store.end_group(source, target)
        _keep_most(store)
    return changed


def load(store: StrangerStore, grouping: Grouping) -> None:
    """Bring a grouping up to date with what this and other processes have stored."""
    deleted = int(store.get("deleted") or 0)
    if grouping.seen < deleted:
        grouping.clear()
        grouping.seen = 0
    rows = store.select(
        "SELECT id, embedding, grp, neighbours FROM faces "
        "WHERE changed > :seen AND person IS NULL ORDER BY id",
        seen=grouping.seen,
    )
    named = store.select(
        "SELECT id FROM faces WHERE changed > :seen AND person IS NOT NULL", seen=grouping.seen
    )
    grouping.discard([face for (face,) in named])
    data = b"".join(blob for _, blob, _, _ in rows)
    vectors = np.frombuffer(data, "<f4").reshape(len(rows), DIMENSIONS)
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    grouping.load(columns[0], vectors, columns[2], columns[3])
    grouping.seen = int(store.get("change") or 0)


def _insert(store: StrangerStore, new: NewFace, now: datetime, change: int) -> int:
    face = new.face
    row = store.execute(
        "INSERT INTO faces (visit, source, time, box, probability, sharpness, side, quality, "
        "embedding, crop, person, changed) VALUES (:visit, :source, :time, :box, :probability, "
        ":sharpness, :side, :quality, :embedding, :crop, :person, :change)",
        visit=face.visit, source=face.source, time=now.timestamp(), box=json.dumps(face.box),
        probability=face.probability, sharpness=face.sharpness, side=face.side,
        quality=weight(face), embedding=new.embedding.astype("<f4").tobytes(), crop=new.crop,
        person=new.person, change=change,
    ).lastrowid  # fmt: skip
    return int(row or 0)


def _keep_most(store: StrangerStore) -> None:
    if store.select("SELECT count(*) FROM faces")[0][0] > MOST_FACES:
        store.delete("id IN (SELECT id FROM faces ORDER BY time LIMIT :count)", count=_DELETED)
