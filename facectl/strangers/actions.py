"""The actions on strangers and visits; each publishes the gallery if it changes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone

from facectl.context import Deployment
from facectl.errors import FacectlError, InputError
from facectl.gallery.changes import EmbeddingSpace, check_name
from facectl.models.store import deployed
from facectl.strangers import amendments
from facectl.strangers.grouping import CORE, halves, neighbour_distance
from facectl.strangers.history import History
from facectl.strangers.models import Done, StrangerFace, StrangerGroup, number_of
from facectl.strangers.references import (
    GalleryEdit,
    References,
    corrected_anchor,
    digests,
    forget_in_gallery,
    ignored_anchor,
    opened,
    publish_forgotten,
    references,
)
from facectl.strangers.store import BEST, StrangerStore
from facectl.visits.models import VisitEvent

# The argument of `forget` for everything that is kept.
ALL = "all"
# The faces that an ignored person is recognized by.
_ANCHORS = 10
_LIST = "facectl strangers list"
_KEPT = "They are kept as photographs on this computer."


class StrangerActions:
    """The groups of a deployment's strangers, and what can be done with them.

    Used by one thread at a time; opens its files for each call. A changed gallery is published
    before the call returns, and running functions use it within seconds. Every method raises
    InputError for an unknown group, face or visit, and FacectlError where nothing was changed or
    publishing failed; the message says which.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        space: EmbeddingSpace | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._deployment = deployment
        self._given_space = space
        self._now = now

    def groups(self, *, every: bool = False) -> list[StrangerGroup]:
        """The open groups, the one seen last first; `every`: ignored and named ones too."""
        with self._store() as store:
            return store.groups(every=every)

    def ungrouped(self) -> int:
        """The number of kept faces of unknown people that are in no group: too few look alike."""
        with self._store() as store:
            rows = store.select("SELECT count(*) FROM faces WHERE person IS NULL AND grp = 0")
            return int(rows[0][0])

    def faces(self, group: str) -> list[StrangerFace]:
        """The faces of a group, the best first."""
        with self._store() as store:
            return store.faces(group)

    def crop(self, face: str) -> bytes:
        """The crop of a face as a JPEG file; raises InputError for an unknown one."""
        with self._store() as store:
            return store.crop(face)

    def name(self, group: str, name: str, *, force: bool = False) -> Done:
        """Enroll the best faces of a group as `name`, and amend its visits.

        A name that exists gets them as further photographs. If they are not alike, raises
        InputError, unless `force`.
        """
        name = check_name(name)
        with self._store() as store:
            found = store.group(group)
            if found.state == "named":
                raise InputError(
                    f"{group} is named {found.name}",
                    hint=f"facectl gallery rename {found.name!r} NAME   or   "
                    "facectl strangers undo",
                )
            new = self._best(store, store.faces(group), BEST, group)
            with opened(self._deployment, self._space(store)) as gallery:
                edit = GalleryEdit(self._deployment, gallery)
                if not force:
                    edit.check_alike(name, new)
                freed = [ignored_anchor(found.id), *map(corrected_anchor, found.visits)]
                edit.enroll(f"name {found.id}", name, new, freed)
                sentence = f"{found.id} is {name}, enrolled from {_count(len(new.items), 'face')}."
                number = number_of(found.id, "s")
                with store.transaction():
                    history = History.begin(store, sentence, edit, [number])
                    store.set_state(number, "named", name)
                    events = self._amend(store, history, found.visits, name)
                return self._finish(store, f"{sentence} {_KEPT}", events, edit)

    def ignore(self, group: str) -> Done:
        """Store the best faces of a group as anchors: answers to this person stay `Unknown`."""
        with self._store() as store:
            number = _open_group(store, group)
            new = self._best(store, store.faces(group), _ANCHORS, group)
            with opened(self._deployment, self._space(store)) as gallery:
                edit = GalleryEdit(self._deployment, gallery)
                edit.anchor(f"ignore s-{number}", ignored_anchor(f"s-{number}"), new)
                sentence = f"{group} is ignored: this person is never named, and not listed again."
                with store.transaction():
                    History.begin(store, sentence, edit, [number])
                    store.set_state(number, "ignored")
                return self._finish(store, sentence, 0, edit)

    def split(self, group: str, faces: Sequence[str] | None = None) -> Done:
        """Move these faces of a group to a new one; by default, the half that is least alike."""
        with self._store() as store:
            number = _open_group(store, group)
            known = store.faces(group)
            moved = self._half(store, known) if faces is None else list(dict.fromkeys(faces))
            own = {face.id for face in known}
            for face in moved:
                if face not in own:
                    raise InputError(f"{face!r} is not a face of {group}", hint=f"{_LIST} --json")
            if not moved or len(moved) == len(own):
                raise InputError(
                    f"{group} has {_count(len(own), 'face')}: a group has at least one after it "
                    "was split"
                )
            with store.transaction():
                history = History.begin(store, "", None, [number])
                new = store.new_group()
                store.move(moved, new)
                store.execute("INSERT INTO apart VALUES (:a, :b)", a=number, b=new)
                verb = "is" if len(moved) == 1 else "are"
                sentence = f"{_count(len(moved), 'face')} of {group} {verb} now s-{new}."
                history.describe(sentence)
                visits = {face.visit for face in known}
                events = self._regroup(store, history, visits)
            return self._finish(store, sentence, events)

    def merge(self, groups: Sequence[str]) -> Done:
        """Merge groups into the first of them."""
        with self._store() as store:
            numbers = list(dict.fromkeys(_open_group(store, group) for group in groups))
            if len(numbers) < 2:
                raise InputError("give two groups or more to merge", hint=_LIST)
            visits = {face.visit for group in groups for face in store.faces(group)}
            target, *sources = numbers
            parts = ", ".join(f"s-{each}" for each in sources)
            sentence = f"{parts} {'is' if len(sources) == 1 else 'are'} now part of s-{target}."
            with store.transaction():
                history = History.begin(store, sentence, None, numbers)
                for source in sources:
                    store.move([face.id for face in store.faces(f"s-{source}")], target)
                    store.end_group(source, target)
                events = self._regroup(store, history, visits)
            return self._finish(store, sentence, events)

    def forget(self, group: str) -> Done:
        """Delete the faces of a group, or of all groups (`ALL`), and what ignoring has stored.

        What a naming that was undone has left in earlier versions of the gallery is deleted too.
        """
        with self._store() as store:
            if group == ALL:
                whose, name, faces = "all strangers", None, store.face_ids()
                anchors = None
            else:
                state, visits = store.state(group), store.group(group).visits
                whose, name = group, state.name
                faces = [face.id for visit in visits for face in store.faces_of_visit(visit)]
                anchors = {ignored_anchor(f"s-{state.number}"), *map(corrected_anchor, visits)}
            changed = forget_in_gallery(
                self._deployment,
                lambda anchor: anchors is None or anchor in anchors,
                lambda: digests(store, faces),
            )
            count = store.forget(None if group == ALL else [group])
        sentence = f"Forgot {whose}: {_count(count, 'face')}."
        version = publish_forgotten(self._deployment, sentence) if changed else None
        if name is not None:
            sentence += f" Still in the gallery: facectl gallery remove --forget {name!r}"
        return Done(sentence, version)

    def correct(self, visit: str, person: str | None) -> Done:
        """State whose visit it is: a name, or None for "not the person of the visit".

        None stores its faces as anchors, a name adds them to that person; the visit is amended.
        The faces of a visit are kept only with `--keep-strangers`.
        """
        person = None if person is None else check_name(person)
        with self._store() as store:
            event, faces = _known_visit(store, visit)
            if person == event.person:
                whose = "nobody known" if person is None else person
                raise InputError(f"visit {visit} is of {whose} already: nothing to correct")
            new = self._best(store, faces, BEST, visit)
            with opened(self._deployment, self._space(store)) as gallery:
                edit = GalleryEdit(self._deployment, gallery)
                anchor = corrected_anchor(visit)
                if event.person is not None:
                    edit.take_back(event.person, references(store, faces))
                if person is None:
                    edit.anchor(f"not {event.person}", anchor, new)
                    sentence = f"Visit {visit} is not {event.person}'s."
                else:
                    edit.enroll(f"visit of {person}", person, new, [anchor])
                    faces_of = _count(len(new.items), "face")
                    sentence = f"Visit {visit} is {person}'s, enrolled from {faces_of}."
                with store.transaction():
                    history = History.begin(store, sentence, edit, [], [visit])
                    self._move_visit(store, faces, visit, person)
                    events = self._amend(store, history, [visit], person)
                said = sentence if person is None else f"{sentence} {_KEPT}"
                return self._finish(store, said, events, edit)

    def undo(self) -> Done:
        """Undo the last action that was not undone; `forget` can't be undone."""
        with self._store() as store:
            history = History.last(store)
            if history is None:
                raise InputError("there is nothing to undo", hint=_LIST)
            edit = None
            sentence = f"Undone: {history.sentence}"
            if history.before is None or history.after is None:
                with store.transaction():
                    events = history.restore(None, self._now())
                return self._finish(store, sentence, events)
            with opened(self._deployment, self._space(store)) as gallery:
                edit = GalleryEdit(self._deployment, gallery)
                edit.restore(history.before, history.after)
                with store.transaction():
                    events = history.restore(edit.version, self._now())
                return self._finish(store, sentence, events, edit)

    def _store(self) -> closing[StrangerStore]:
        """Open the store, and delete what is older than its retention."""
        store = StrangerStore.find(self._deployment.asu_id)
        if store is None:
            raise InputError(
                "no strangers are kept on this computer",
                hint="facectl send SOURCE --visits FILE --keep-strangers",
            )
        store.prune(self._now())
        return closing(store)

    def _space(self, store: StrangerStore) -> EmbeddingSpace:
        """The deployed model's space; raises FacectlError if the faces are of another one."""
        space = self._given_space or EmbeddingSpace.of(deployed(self._deployment))
        if store.get("space") != space.id:
            raise FacectlError(
                f"the faces of strangers are of another model than {space}",
                hint="facectl strangers forget all   or send with --keep-strangers again",
            )
        return space

    def _best(
        self, store: StrangerStore, faces: Sequence[StrangerFace], count: int, whose: str
    ) -> References:
        if not faces:
            raise InputError(
                f"no face of {whose} is kept any more", hint="facectl strangers list --all"
            )
        chosen = [faces[place] for place in store.best(faces, count)]
        return references(store, chosen)

    def _half(self, store: StrangerStore, faces: Sequence[StrangerFace]) -> list[str]:
        if len(faces) < 2:
            return []
        second = halves(store.embeddings(faces))
        # The larger half keeps the group's id.
        smaller = second if second.sum() * 2 <= len(faces) else ~second
        return [face.id for face, moved in zip(faces, smaller, strict=True) if moved]

    def _move_visit(
        self, store: StrangerStore, faces: Sequence[StrangerFace], visit: str, person: str | None
    ) -> None:
        """Put the faces of a corrected visit where they belong: with a person, or in a group."""
        change = store.next_change()
        store.execute(
            "UPDATE faces SET person = :person, grp = 0, neighbours = :core, changed = :change "
            "WHERE visit = :visit",
            person=person,
            core=CORE,
            change=change,
            visit=visit,
        )
        if person is None:
            store.move([face.id for face in faces], self._home(store, faces))
        store.drop_empty()

    def _home(self, store: StrangerStore, faces: Sequence[StrangerFace]) -> int:
        """The open group that looks like these faces, or a new one."""
        space = self._space(store)
        least = 1 - neighbour_distance(space) ** 2 / 2
        embeddings = store.embeddings(faces)
        nearest, home = least, None
        for group in store.groups():
            best = [face for face in store.faces(group.id) if face.id in group.best]
            cosine = float((store.embeddings(best) @ embeddings.T).max()) if best else -1.0
            if cosine >= nearest:
                nearest, home = cosine, number_of(group.id, "s")
        return store.new_group() if home is None else home

    def _amend(
        self, store: StrangerStore, history: History, visits: Sequence[str], person: str | None
    ) -> int:
        """Amend the person of visits; returns how many."""
        count = 0
        for visit in visits:
            event = amendments.last_event(store, visit)
            stranger = store.group_of_visit(visit) if person is None else None
            if event is not None and (event.person, event.stranger) != (person, stranger):
                history.amend(replace(event, person=person, stranger=stranger), self._now())
                count += 1
        return count

    def _regroup(self, store: StrangerStore, history: History, visits: set[str]) -> int:
        """Amend the group of unknown visits; returns how many have another one."""
        unknown = [
            visit
            for visit in sorted(visits)
            if (event := amendments.last_event(store, visit)) is not None and event.person is None
        ]
        return self._amend(store, history, unknown, None)

    def _finish(
        self, store: StrangerStore, sentence: str, amended: int, edit: GalleryEdit | None = None
    ) -> Done:
        """Publish the gallery and pass the amendments on."""
        version = None if edit is None else edit.publish(sentence)
        problems = amendments.deliver(store)
        return Done(" ".join([sentence, *problems]), version, amended)


def _known_visit(store: StrangerStore, visit: str) -> tuple[VisitEvent, list[StrangerFace]]:
    event = amendments.last_event(store, visit)
    if event is None:
        raise InputError(
            f"no visit is called {visit!r}: only visits of send --keep-strangers can be corrected"
        )
    return event, store.faces_of_visit(visit)


def _open_group(store: StrangerStore, group: str) -> int:
    """The number of an open group; raises InputError for any other."""
    state = store.state(group)
    if state.state != "open":
        what = f"named {state.name}" if state.name else f"{state.state} already"
        raise InputError(f"{group} is {what}", hint="facectl strangers undo")
    return state.number


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
