"""The actions that can be undone: what they changed in the store, and the gallery's versions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from facectl.strangers import amendments
from facectl.visits.models import VisitEvent

if TYPE_CHECKING:
    from facectl.strangers.references import GalleryEdit
    from facectl.strangers.store import StrangerStore


class History:
    """One action. before, after: the gallery's versions, None where it did not change."""

    def __init__(self, store: StrangerStore, number: int) -> None:
        self._store = store
        self._number = number
        ((self.sentence, self.before, self.after, undo),) = store.select(
            "SELECT sentence, before, after, undo FROM actions WHERE id = :id", id=number
        )
        self._undo: dict[str, Any] = json.loads(undo)

    @classmethod
    def begin(
        cls,
        store: StrangerStore,
        sentence: str,
        edit: GalleryEdit | None,
        groups: Sequence[int],
        visits: Sequence[str] = (),
    ) -> History:
        """Store the state of groups and of the faces of visits before an action changes them.

        In a transaction, after the gallery was changed.
        """
        faces: list[list[Any]] = []
        for group in groups:
            query = "SELECT id, grp, person FROM faces WHERE grp = :group"
            faces += map(list, store.select(query, group=group))
        for visit in visits:
            query = "SELECT id, grp, person FROM faces WHERE visit = :visit"
            faces += map(list, store.select(query, visit=visit))
        rows: list[list[Any]] = []
        for group in {*groups, *(group for _, group, _ in faces)}:
            query = "SELECT id, state, name FROM groups WHERE id = :group"
            rows += map(list, store.select(query, group=group))
        # The old ids that stand for these groups: merging makes them stand for another one.
        merged = store.select(
            "SELECT id, target FROM merged WHERE target IN (SELECT value FROM json_each(:groups))",
            groups=json.dumps(list(groups)),
        )
        undo = json.dumps({"faces": faces, "groups": rows, "merged": merged, "visits": []})
        before, after = (None, None) if edit is None else (edit.before, edit.version)
        number = store.execute(
            "INSERT INTO actions (sentence, before, after, undo) "
            "VALUES (:sentence, :before, :after, :undo)",
            sentence=sentence,
            before=before,
            after=after,
            undo=undo,
        ).lastrowid
        return cls(store, int(number or 0))

    @classmethod
    def last(cls, store: StrangerStore) -> History | None:
        """The last action that was not undone."""
        ((number,),) = store.select("SELECT max(id) FROM actions")
        return None if number is None else cls(store, int(number))

    def describe(self, sentence: str) -> None:
        """Change the sentence, in a transaction."""
        self._store.execute(
            "UPDATE actions SET sentence = :sentence WHERE id = :id",
            sentence=sentence,
            id=self._number,
        )

    def amend(self, event: VisitEvent, now: datetime) -> None:
        """Amend a visit by this action, in a transaction."""
        before = amendments.last_event(self._store, event.visit)
        if before is not None:
            self._undo["visits"].append([event.visit, before.person, before.stranger])
            self._store.execute(
                "UPDATE actions SET undo = :undo WHERE id = :id",
                undo=json.dumps(self._undo),
                id=self._number,
            )
        amendments.amend(self._store, _amendment(event, f"a{self._number}", now))

    def restore(self, version: int | None, now: datetime) -> int:
        """Undo the action in the store, in a transaction; returns the number of amended visits.

        `version`: that of the gallery which is equal to `before` again.
        """
        run = self._store.execute
        change = self._store.next_change()
        for face, group, person in self._undo["faces"]:
            run(
                "UPDATE faces SET grp = :g, person = :p, changed = :c WHERE id = :id",
                g=group, p=person, c=change, id=face,
            )  # fmt: skip
        for group, state, name in self._undo["groups"]:
            run("INSERT OR REPLACE INTO groups VALUES (:g, :s, :n)", g=group, s=state, n=name)
            run("DELETE FROM merged WHERE id = :g", g=group)
        # Earlier versions of facectl have not stored them.
        for group, target in self._undo.get("merged", ()):
            run("INSERT OR REPLACE INTO merged VALUES (:g, :t)", g=group, t=target)
        self._store.drop_empty()
        for visit, person, stranger in self._undo["visits"]:
            event = amendments.last_event(self._store, visit)
            if event is not None:
                event = replace(event, person=person, stranger=stranger)
                amendments.amend(self._store, _amendment(event, f"u{self._number}", now))
        run("DELETE FROM actions WHERE id = :id", id=self._number)
        # The action before this one can be undone too.
        run("UPDATE actions SET after = :v WHERE after = :b", v=version, b=self.before)
        return len(self._undo["visits"])


def _amendment(event: VisitEvent, amendment: str, now: datetime) -> VisitEvent:
    time = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return replace(event, event="amend", amendment=amendment, time=time)
