"""Functions can use the gallery after any sequence of changes, publications and failures.

The real store, publisher and function-side loader, over an S3 in memory that
can fail at any call and is written by a second computer. Without variables the
same 60 sequences are tried every time; `HYPOTHESIS_EXAMPLES` says how many new
ones are, and `HYPOTHESIS_SHRINK` makes a failing one as short as can be.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from memory_s3 import Fault, MemoryAws, MemoryClients, MemoryS3, ProcessKilled

from facectl.context import Deployment
from facectl.errors import FacectlError, GalleryError
from facectl.gallery import cleanup, forgetting, people, publish, store
from facectl.gallery.changes import EmbeddingSpace, Reference
from facectl.gallery.store import Store
from lambda_src import log
from lambda_src.gallery.parts import manifest_key
from lambda_src.gallery.source import GallerySource

ID = "alice"
SPACES = ("aaaa/facenet", "bbbb/facenet", "cccc/facenet")
NAMES = ("Ada", "Grace", "Alan", "Eve")
FAULTS = ("kill", "fail", "lost", "again", "slow", "other")

People = dict[str, list[bytes]]


@dataclass
class Place:
    """A deployment: its bucket, the space of its function's model, and what is expected of it."""

    clients: MemoryClients
    function: str
    # By space: what the gallery may be, several where a publication ended in between.
    possible: dict[str, list[People]] = field(default_factory=dict)
    # Spaces whose objects somebody damaged since the last publication.
    damaged: set[str] = field(default_factory=set)
    # Embeddings of people whose forgetting was reported as done here.
    gone: set[bytes] = field(default_factory=set)
    warm: GallerySource | None = None


class InTurn:
    """An executor without threads, so that the n-th call is always the same one."""

    def __init__(self, count: int) -> None:
        pass

    def __enter__(self) -> InTurn:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def map(self, work: Callable[..., Any], *items: Any) -> list[Any]:
        return [work(*each) for each in zip(*items, strict=True)]


class GalleryMachine(RuleBasedStateMachine):
    """One gallery on two computers and in two buckets."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")  # noqa: S108 - the folder made in it is private
        self.home = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.s3 = MemoryS3()
        self.clock = 0.0
        self.seed = 0
        self.spaces = 0
        self.forgotten: set[bytes] = set()
        self.patches = [
            mock.patch.multiple(cleanup, _KEPT_VERSIONS=2, _SLACK=1),
            mock.patch.object(publish, "ThreadPoolExecutor", InTurn),
            mock.patch.object(log, "line"),
            mock.patch.dict(os.environ, {"FACECTL_HOME": str(self.home / "1")}),
        ]
        for each in self.patches:
            each.start()
        self.checked = -1
        # What the second computer published while this one did.
        self.between: list[People] = []
        self.places = []
        for target, account in (("aws", "1" * 12), ("local", "0" * 12)):
            clients = MemoryClients(Deployment(ID, target), self.s3, account)  # type: ignore[arg-type]
            self.s3.buckets[clients.bucket] = {}
            self.places.append(Place(clients, SPACES[0]))
        self.here = self.places[0]

    def teardown(self) -> None:
        for each in self.patches:
            each.stop()
        shutil.rmtree(self.home)

    @initialize()
    def first(self) -> None:
        self.add("Ada")

    # What is done on this computer.

    @rule(name=st.sampled_from(NAMES))
    def enroll(self, name: str) -> None:
        self.add(name)

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self.change(lambda kept: people.remove(kept, name))

    @rule(old=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def rename(self, old: str, new: str) -> None:
        self.change(lambda kept: people.rename(kept, old, new))

    @rule(back=st.integers(0, 5))
    def roll_back(self, back: int) -> None:
        self.change(lambda kept: people.rollback(kept, max(0, kept.version - back)))

    @rule(name=st.sampled_from(NAMES))
    def forget(self, name: str) -> None:
        before = self.vectors()
        try:
            people.forget(ID, name)
        except GalleryError:
            return
        self.forgotten |= before - self.vectors()

    @rule(place=st.integers(0, 1))
    def change_of_bucket(self, place: int) -> None:
        self.here = self.places[place]

    @rule(space=st.sampled_from(SPACES))
    def change_of_model(self, space: str) -> None:
        """Everybody is embedded again by another model, as the next version."""

        def rebuild(kept: Store) -> None:
            names, _ = kept.rows()
            with kept.change("rebuild") as change:
                wanted = EmbeddingSpace(space)
                change.switch_space(wanted, kept.settings_for(wanted))
                for name in names:
                    change.add(name, Reference(self.fresh()))

        self.change(rebuild)

    @rule(space=st.sampled_from(SPACES))
    def another_gallery(self, space: str) -> None:
        """The gallery is set aside, and a new one of another model begins at version 1."""
        _set_aside()
        Store.for_space(ID, space).close()
        self.add("Ada")

    # What is done with the bucket.

    @rule(replace=st.booleans())
    def publish(self, replace: bool) -> None:
        self.attempt(replace=replace)

    @rule(call=st.integers(0, 40), kind=st.sampled_from(FAULTS), replace=st.booleans())
    def publish_with_a_fault(self, call: int, kind: str, replace: bool) -> None:
        with self.fault(call, kind):
            self.attempt(replace=replace)

    @rule(call=st.none() | st.integers(0, 40), kind=st.sampled_from(FAULTS))
    def deploy(self, call: int | None, kind: str) -> None:
        """Publish beside what the function uses, change the function, publish again."""
        with nullcontext() if call is None else self.fault(call, kind):
            if self.attempt(ahead=True):
                self.here.function = self.space()
                self.here.warm = None
                self.attempt()

    @rule(replace=st.booleans())
    def second_computer(self, replace: bool) -> None:
        self.publish_elsewhere(self.here, replace=replace)

    @rule()
    def time_passes(self) -> None:
        self.s3.now = self.s3.now.replace(year=self.s3.now.year + 1)

    @rule(choice=st.integers(0, 1000), how=st.sampled_from(["delete", "cut", "replace"]))
    def damage(self, choice: int, how: str) -> None:
        objects = self.s3.buckets[self.here.clients.bucket]
        if not objects:
            return
        key = sorted(objects)[choice % len(objects)]
        if how == "delete":
            del objects[key]
        else:
            data = objects[key].data
            objects[key] = replace(
                objects[key],
                data=data[: len(data) // 2] if how == "cut" else bytes(len(data)),
                sha256=None,
            )
        self.s3.changes += 1
        self.here.damaged |= {space for space in SPACES if _folder(space) in key}

    @rule()
    def refresh(self) -> None:
        """A function that runs has what is published, or what it had before it was damaged."""
        place = self.here
        self.clock += 10
        if place.warm is None:
            place.warm = self.function(place, place.function)
        place.warm.begin()
        if place.function not in place.damaged:
            found = sorted(place.warm.current().names)
            assert found in [_names(each) for each in place.possible.get(place.function, [{}])]

    # What must hold after every step.

    @invariant()
    def a_cold_function_knows_whoever_was_published(self) -> None:
        if self.checked == self.s3.changes:
            return
        self.checked = self.s3.changes
        for place in self.places:
            for space in SPACES:
                if space not in place.damaged:
                    if not any(
                        key.startswith(_folder(space))
                        for key in self.s3.buckets[place.clients.bucket]
                    ):
                        assert {} in place.possible.get(space, [{}])
                        continue
                    source = self.function(place, space)
                    source.begin()
                    gallery = source.current()
                    possible = place.possible.get(space, [{}])
                    assert sorted(gallery.names) in [_names(each) for each in possible]
                    probes = np.asarray(gallery.embeddings)  # type: ignore[attr-defined]
                    assert [match.name for match in gallery.match(probes)] == list(gallery.names)

    @invariant()
    def the_forgotten_are_nowhere(self) -> None:
        for place in self.places:
            objects = self.s3.buckets[place.clients.bucket]
            data = b"".join(each.data for each in objects.values())
            assert not any(vector in data for vector in place.gone)

    @invariant()
    def the_store_opens(self) -> None:
        if store.path(ID).exists():
            kept = Store.open(ID)
            kept.gallery()
            kept.close()

    # How it is done.

    def add(self, name: str) -> None:
        if not store.path(ID).exists():
            Store.for_space(ID, SPACES[0]).close()
        self.change(lambda kept: _enroll(kept, name, self.fresh()))

    def fresh(self) -> np.ndarray:
        self.seed += 1
        vector = np.random.default_rng(self.seed).standard_normal(512).astype(np.float32)
        return vector / np.linalg.norm(vector)

    def change(self, work: Callable[[Store], object]) -> None:
        kept = Store.open(ID)
        try:
            work(kept)
        except FacectlError:
            pass
        finally:
            kept.close()

    def space(self) -> str:
        kept = Store.open(ID)
        try:
            return kept.space
        finally:
            kept.close()

    def vectors(self) -> set[bytes]:
        """Every embedding on this computer."""
        found: set[bytes] = set()
        for file in sorted(store.path(ID).parent.glob(f"{ID}*.db")):
            kept = Store.at(file)
            for version in kept.versions():
                found |= {vector.tobytes() for vector in kept.rows(version=version.number)[1]}
            kept.close()
        return found

    def attempt(self, *, replace: bool = False, ahead: bool = False) -> bool:
        """Publish, and note what may and must now be in the bucket; whether it succeeded."""
        place = self.here
        self.between.clear()
        kept = Store.open(ID)
        try:
            space, new = kept.space, _content(kept)
            deployment = place.clients.deployment
            place.clients.deployment = _with_space(deployment, space if ahead else place.function)
            before = place.possible.get(space, [{}])
            try:
                publish.publish(place.clients, kept, replace=replace, ahead=ahead)  # type: ignore[arg-type]
            except (FacectlError, ProcessKilled):
                if place.clients.deployment.space == space:
                    place.possible[space] = [*place.possible.get(space, before), new]
                if not self.forgotten <= place.gone:
                    for other in {*place.possible} - {space}:
                        place.possible[other] = [*place.possible[other], {}]
                return False
            # The second computer's gallery may have come after this one, or before it.
            place.possible[space] = [new, *self.between]
            place.damaged.discard(space)
            if not ahead:
                self.done(place, kept, space)
            return True
        finally:
            kept.close()
            self.s3.fault = None

    def done(self, place: Place, kept: Store, space: str) -> None:
        """The publication reported that what was to be forgotten is."""
        assert place.clients.bucket not in [each.bucket for each in forgetting.pending(kept)]
        if not self.forgotten <= place.gone:
            place.gone |= self.forgotten
            place.possible = {space: place.possible[space]}
            place.damaged.clear()

    def publish_elsewhere(self, place: Place, *, replace: bool) -> None:
        """A second computer enrolls somebody of its own and publishes."""
        with mock.patch.dict(os.environ, {"FACECTL_HOME": str(self.home / "2")}):
            space = place.function
            if store.path(ID).exists() and self.space() != space:
                _set_aside()
            kept = Store.for_space(ID, space)
            _enroll(kept, f"x{self.seed}", self.fresh())
            clients = replace_clients(place.clients, space)
            try:
                publish.publish(clients, kept, replace=replace)  # type: ignore[arg-type]
            except FacectlError:
                pass
            else:
                place.possible[space] = [_content(kept)]
                place.damaged.discard(space)
                self.between.append(_content(kept))
            finally:
                kept.close()

    @contextmanager
    def fault(self, call: int, kind: str) -> Any:
        place = self.here

        def act() -> None:
            self.publish_elsewhere(place, replace=True)

        self.s3.fault = Fault(call, kind, act)
        try:
            yield
        finally:
            self.s3.fault = None

    def function(self, place: Place, space: str) -> GallerySource:
        return GallerySource(
            MemoryAws(self.s3),  # type: ignore[arg-type]
            place.clients.bucket,
            space=space,
            refresh=5.0,
            clock=lambda: self.clock,
        )


def replace_clients(clients: MemoryClients, space: str) -> MemoryClients:
    return replace(clients, deployment=_with_space(clients.deployment, space))


def _with_space(deployment: Deployment, space: str) -> Deployment:
    return replace(deployment, space=space)


def _folder(space: str) -> str:
    return manifest_key(space).removesuffix("current.json")


def _set_aside() -> None:
    """Move the gallery away, as facectl 1 did at a change of model."""
    file = store.path(ID)
    count = len(list(file.parent.glob(f"{ID}*.db")))
    file.rename(file.with_name(f"{ID}.aside-{count}.db"))


def _enroll(kept: Store, name: str, vector: np.ndarray) -> None:
    with kept.change("enroll") as change:
        change.add(name, Reference(vector))


def _content(kept: Store) -> People:
    names, embeddings = kept.rows()
    found: People = {}
    for name, vector in zip(names, embeddings, strict=True):
        found.setdefault(name, []).append(vector.tobytes())
    return found


def _names(content: People) -> list[str]:
    return sorted(name for name, vectors in content.items() for _ in vectors)


@pytest.mark.timeout(3600)
def test_gallery_stays_usable_after_any_sequence() -> None:
    run_state_machine_as_test(
        GalleryMachine,
        settings=settings(
            max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "60")),
            derandomize="HYPOTHESIS_EXAMPLES" not in os.environ,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink][: 1 + ("HYPOTHESIS_SHRINK" in os.environ)],
        ),
    )
