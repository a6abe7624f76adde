"""Stores the faces of unknown people of a deployment, in one SQLite file on this computer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from facectl import paths
from facectl.errors import InputError
from facectl.strangers import database
from facectl.strangers.grouping import representatives
from facectl.strangers.models import (
    GroupState,
    State,
    StrangerFace,
    StrangerGroup,
    number_of,
    weight,
)
from lambda_src.gallery.matching import DIMENSIONS, Embeddings

_LIST = "facectl strangers list"
RETENTION = timedelta(days=7)
# The faces that represent a group.
BEST = 5
# The best faces of a group, for each that represents it, from which those are chosen.
_REPRESENTING = 4
_FACE = "id, visit, source, time, box, probability, sharpness, side"


def path(asu_id: str) -> Path:
    """The path of the file of a deployment's strangers."""
    return paths.data_dir() / "strangers" / f"{asu_id}.db"


def prune(asu_id: str) -> None:
    """Delete the faces of a deployment's strangers that are older than their retention."""
    store = StrangerStore.find(asu_id)
    if store is not None:
        with closing(store):
            store.prune(datetime.now(timezone.utc))


class StrangerStore:
    """Faces with crops and embeddings, groups and visits; safe to use from several processes."""

    def __init__(self, file: Path, connection: sqlite3.Connection) -> None:
        self.file = file
        self._connection = connection

    @classmethod
    def open(cls, asu_id: str) -> StrangerStore:
        """The store of a deployment, created (0600) if missing; raises FacectlError."""
        file = path(asu_id)
        return cls(file, database.connect(file))

    @classmethod
    def find(cls, asu_id: str) -> StrangerStore | None:
        """The store of a deployment, None where nothing was collected; raises FacectlError."""
        return cls.open(asu_id) if path(asu_id).exists() else None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def groups(self, *, every: bool = False) -> list[StrangerGroup]:
        """The open groups, the one seen last first; `every`: ignored and named ones too."""
        with self._reading():
            states = self.select(
                "SELECT id, state, name FROM groups WHERE state = 'open' OR :every", every=every
            )
            found = [self._group(GroupState(*row)) for row in states]
        return sorted(found, key=lambda group: group.last_seen, reverse=True)

    def group(self, group: str) -> StrangerGroup:
        """A group; raises InputError for an unknown one."""
        with self._reading():
            return self._group(self.state(group))

    def state(self, group: str) -> GroupState:
        """The number, state and name of a group; raises InputError for an unknown one."""
        rows = self.select(
            "SELECT id, state, name FROM groups WHERE id = :number OR id = "
            "(SELECT target FROM merged WHERE id = :number)",
            number=number_of(group, "s"),
        )
        if not rows:
            raise InputError(f"no group of strangers is called {group!r}", hint=_LIST)
        return GroupState(*rows[0])

    def faces(self, group: str) -> list[StrangerFace]:
        """The faces of a group, the best first."""
        return self._faces(self.state(group).number)

    def faces_of_visit(self, visit: str) -> list[StrangerFace]:
        """The faces of a visit, the best first."""
        rows = self.select(
            f"SELECT {_FACE} FROM faces WHERE visit = :visit ORDER BY quality DESC, id",  # noqa: S608
            visit=visit,
        )
        return _faces_of(rows)

    def face_ids(self) -> list[str]:
        """The ids of all faces."""
        return [f"f-{number}" for (number,) in self.select("SELECT id FROM faces ORDER BY id")]

    def crop(self, face: str) -> bytes:
        """The crop of a face as an image file; raises InputError for an unknown one."""
        rows = self.select("SELECT crop FROM faces WHERE id = :id", id=number_of(face, "f"))
        if not rows:
            raise InputError(f"no face is called {face!r}", hint=_LIST)
        return bytes(rows[0][0])

    def embeddings(self, faces: Sequence[StrangerFace]) -> Embeddings:
        """The embeddings (N, 512) of faces, in their order."""
        numbers = [number_of(each.id, "f") for each in faces]
        rows = self.select(
            "SELECT id, embedding FROM faces WHERE id IN (SELECT value FROM json_each(:ids))",
            ids=json.dumps(numbers),
        )
        found = dict(rows)
        if len(found) < len(set(numbers)):
            raise InputError("faces were deleted by another command meanwhile", hint=_LIST)
        data = b"".join(found[number] for number in numbers)
        return np.frombuffer(data, "<f4").reshape(len(faces), DIMENSIONS)

    def next_change(self, *, deleting: bool = False) -> int:
        """The number of a change, which other processes' groupings follow; in a transaction."""
        number = int(self.get("change") or 0) + 1
        self._put("change", str(number))
        if deleting:
            self._put("deleted", str(number))
        return number

    def new_group(self, state: State = "open", name: str | None = None) -> int:
        """Create a group, in a transaction; returns its number."""
        run = self._connection.execute
        row = run("INSERT INTO groups (state, name) VALUES (?, ?)", (state, name)).lastrowid
        return int(row or 0)

    def end_group(self, group: int, into: int) -> None:
        """Delete a group that became part of another, which its id stands for from now on."""
        run = self._connection.execute
        run("DELETE FROM groups WHERE id = ?", (group,))
        run("UPDATE merged SET target = ? WHERE target = ?", (into, group))
        run("INSERT OR REPLACE INTO merged VALUES (?, ?)", (group, into))

    def can_merge(self, one: int, other: int) -> bool:
        """Whether collecting may merge two groups: both open, and not divided by `split`."""
        rows = self.select(
            "SELECT (SELECT count(*) FROM groups WHERE id IN (:a, :b) AND state = 'open'), "
            "(SELECT count(*) FROM apart WHERE one IN (:a, :b) AND other IN (:a, :b))",
            a=one,
            b=other,
        )
        return bool(rows[0] == (2, 0))

    def move(self, faces: Collection[str], group: int) -> None:
        """Put faces into a group, in a transaction."""
        change = self.next_change()
        for face in faces:
            self._connection.execute(
                "UPDATE faces SET grp = ?, changed = ? WHERE id = ?",
                (group, change, number_of(face, "f")),
            )

    def set_state(self, group: int, state: State, name: str | None = None) -> None:
        """Change the state and name of a group, in a transaction."""
        self._connection.execute(
            "UPDATE groups SET state = ?, name = ? WHERE id = ?", (state, name, group)
        )

    def group_of_visit(self, visit: str) -> str | None:
        """The group that most faces of a visit are in."""
        rows = self.select(
            "SELECT grp FROM faces WHERE visit = :visit AND grp <> 0 "
            "GROUP BY grp ORDER BY count(*) DESC, grp LIMIT 1",
            visit=visit,
        )
        return f"s-{rows[0][0]}" if rows else None

    def visits_of(self, faces: Collection[int]) -> set[str]:
        """The visits of faces."""
        found: set[str] = set()
        for face in faces:
            rows = self.select("SELECT visit FROM faces WHERE id = :face", face=face)
            found.update(str(visit) for (visit,) in rows)
        return found

    def name_visit(self, visit: str, person: str | None) -> None:
        """Take the faces of a visit out of their groups, because it is a person's."""
        changes = self.select(
            "SELECT 1 FROM faces WHERE visit = :visit AND person IS NOT :person "
            "AND grp NOT IN (SELECT id FROM groups WHERE name = :person) LIMIT 1",
            visit=visit,
            person=person,
        )
        if not changes:
            return
        with self.transaction() as connection:
            change = self.next_change()
            connection.execute(
                "UPDATE faces SET person = ?, grp = 0, neighbours = 0, changed = ? "
                "WHERE visit = ? AND person IS NOT ? "
                # Of a group with this name, so that the name can be undone.
                "AND grp NOT IN (SELECT id FROM groups WHERE name = ?)",
                (person, change, visit, person, person),
            )
            self.drop_empty()

    def move_visit(self, visit: str, into: str) -> None:
        """Give the faces of a visit to the one that it is a part of."""
        with self.transaction() as connection:
            connection.execute("UPDATE faces SET visit = ? WHERE visit = ?", (into, visit))

    def drop_visit(self, visit: str) -> None:
        """Delete the faces of a visit."""
        if not self.faces_of_visit(visit):
            return
        with self.transaction():
            self.delete("visit = :visit", visit=visit)

    @property
    def retention(self) -> timedelta:
        """How long faces are kept."""
        return timedelta(days=float(self.get("retention_days") or RETENTION.days))

    @retention.setter
    def retention(self, retention: timedelta) -> None:
        self.put("retention_days", str(retention / timedelta(days=1)))

    def prune(self, now: datetime) -> int:
        """Delete the faces older than the retention, without trace; returns their number."""
        oldest = (now - self.retention).timestamp()
        if not self.select("SELECT 1 FROM faces WHERE time < :oldest LIMIT 1", oldest=oldest):
            return 0
        with self.transaction() as connection:
            connection.execute("DELETE FROM visits WHERE seen < ?", (oldest,))
            return self.delete("time < :oldest", oldest=oldest)

    def forget(self, groups: Sequence[str] | None = None) -> int:
        """Delete the faces of groups, or everything, without trace; returns their number.

        With a face, every face of its visit is deleted: they show the same person.
        """
        with self.transaction() as connection:
            if groups is None:
                count = self.delete("1")
                for table in ("groups", "merged", "apart", "visits", "amendments", "actions"):
                    connection.execute(f"DELETE FROM {table}")  # noqa: S608
            else:
                count = 0
                for group in groups:
                    number = self.state(group).number
                    count += self.delete(
                        "grp = :g OR visit IN (SELECT visit FROM faces WHERE grp = :g)", g=number
                    )
                    connection.execute("DELETE FROM groups WHERE id = ?", (number,))
                    connection.execute(
                        "DELETE FROM apart WHERE one = ? OR other = ?", (number, number)
                    )
                # An undo would restore a group without faces.
                connection.execute("DELETE FROM actions")
        self.compact()
        return count

    def forget_person(self, name: str) -> int:
        """Delete the faces and visits of a name, without trace; returns the number of faces."""
        with self.transaction() as connection:
            count = self.delete(
                "person = :name OR grp IN (SELECT id FROM groups WHERE name = :name)", name=name
            )
            connection.execute("DELETE FROM groups WHERE name = ?", (name,))
            connection.execute("DELETE FROM actions")
            for table in ("visits", "amendments"):
                connection.execute(
                    f"DELETE FROM {table} WHERE event ->> 'person' = ?",  # noqa: S608
                    (name,),
                )
        self.compact()
        return count

    def compact(self) -> None:
        """Rewrite the file, so that it has no deleted content."""
        with database.errors(self.file):
            self._connection.execute("VACUUM")

    def get(self, key: str) -> str | None:
        """A value of the metadata."""
        rows = self.select("SELECT value FROM meta WHERE key = :key", key=key)
        return None if not rows else str(rows[0][0])

    def put(self, key: str, value: str) -> None:
        """Store a value in the metadata."""
        with self.transaction():
            self._put(key, value)

    def select(self, query: str, **values: Any) -> list[Any]:
        """The rows of a SELECT statement; raises FacectlError."""
        with database.errors(self.file):
            return self._connection.execute(query, values).fetchall()

    def execute(self, statement: str, **values: Any) -> sqlite3.Cursor:
        """Run a statement, in a transaction."""
        return self._connection.execute(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction of the yielded connection; roll back if it raises."""
        with database.transaction(self._connection, self.file):
            yield self._connection

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Read one state of the file in the block, whatever other processes write."""
        if self._connection.in_transaction:
            yield
            return
        with database.errors(self.file):
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("COMMIT")

    def _put(self, key: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _faces(self, number: int, most: int = -1) -> list[StrangerFace]:
        rows = self.select(
            f"SELECT {_FACE} FROM faces WHERE grp = :number "  # noqa: S608 - constants only
            "ORDER BY quality DESC, id LIMIT :most",
            number=number,
            most=most,
        )
        return _faces_of(rows)

    def _group(self, state: GroupState) -> StrangerGroup:
        # Not all faces: a list of groups is shown again and again.
        faces = self._faces(state.number, _REPRESENTING * BEST)
        best = [faces[row].id for row in self.best(faces, BEST)]
        visits = self.select(
            "SELECT visit, count(*), min(time), max(time) FROM faces WHERE grp = :number "
            "GROUP BY visit ORDER BY min(time), visit",
            number=state.number,
        )
        # A group whose faces were all deleted is remembered only by its state.
        first = min((time for _, _, time, _ in visits), default=0.0)
        last = max((time for _, _, _, time in visits), default=0.0)
        return StrangerGroup(
            f"s-{state.number}",
            sum(count for _, count, _, _ in visits),
            tuple(str(visit) for visit, _, _, _ in visits),
            datetime.fromtimestamp(first, timezone.utc),
            datetime.fromtimestamp(last, timezone.utc),
            tuple(best),
            state.state,
            state.name,
        )

    def best(self, faces: Sequence[StrangerFace], count: int) -> list[int]:
        """The places of the faces that represent the person, of faces the best first."""
        few = faces[: _REPRESENTING * count]
        quality = [weight(face) for face in few]
        return representatives(self.embeddings(few), quality, count) if few else []

    def delete(self, which: str, **values: Any) -> int:
        """Delete the faces that a condition selects, in a transaction; returns their number."""
        self.next_change(deleting=True)
        # Chosen before any is deleted: SQLite may evaluate a subquery after the first deletions.
        chosen = self.select(f"SELECT id FROM faces WHERE {which}", **values)  # noqa: S608 - constants only
        count = self._connection.execute(
            "DELETE FROM faces WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps([number for (number,) in chosen]),),
        ).rowcount
        self.drop_empty()
        return count

    def drop_empty(self) -> None:
        """Delete the open groups without faces, in a transaction."""
        self._connection.execute(
            "DELETE FROM groups WHERE state = 'open' AND id NOT IN (SELECT grp FROM faces)"
        )


def _faces_of(rows: Sequence[Any]) -> list[StrangerFace]:
    return [
        StrangerFace(
            f"f-{number}", visit, source, datetime.fromtimestamp(time, timezone.utc),
            tuple(json.loads(box)), probability, sharpness, side,
        )
        for number, visit, source, time, box, probability, sharpness, side in rows
    ]  # fmt: skip
