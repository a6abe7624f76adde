"""What naming, ignoring and correcting change in the gallery: references, and anchors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.errors import CloudError, GalleryError, InputError
from facectl.gallery import anchors, kept, people
from facectl.gallery.changes import Change, EmbeddingSpace, Reference
from facectl.gallery.publish import publish
from facectl.gallery.store import Store as Gallery
from facectl.strangers.grouping import neighbour_distance
from facectl.strangers.models import StrangerFace
from facectl.strangers.store import StrangerStore
from lambda_src.gallery.matching import Embeddings, distances

IGNORED = "ignored "
_NOT = "not "


@dataclass(frozen=True, slots=True)
class References:
    """Faces that are going to be references: their embeddings (N, 512), what is stored of them, and
    their pictures.
    """

    embeddings: Embeddings
    items: tuple[Reference, ...]
    crops: tuple[bytes, ...]


def references(store: StrangerStore, faces: Sequence[StrangerFace]) -> References:
    """The references of faces, in their order."""
    embeddings = store.embeddings(faces)
    crops = tuple(store.crop(face.id) for face in faces)
    items = tuple(
        Reference(
            embedding,
            hashlib.sha256(crop).hexdigest(),
            None,
            {
                "faces": 1,
                "face_px": round(face.side, 1),
                "probability": round(face.probability, 4),
                "sharpness": round(face.sharpness, 1),
            },
        )
        for face, embedding, crop in zip(faces, embeddings, crops, strict=True)
    )
    return References(embeddings, items, crops)


def digests(store: StrangerStore, faces: Iterable[str]) -> set[str]:
    """The SHA-256s of the pictures of faces, which they have as photographs too."""
    return {hashlib.sha256(store.crop(face)).hexdigest() for face in faces}


def ignored_anchor(group: str) -> str:
    """The id of the anchors of an ignored group."""
    return f"{IGNORED}{group}"


def corrected_anchor(visit: str) -> str:
    """The id of the anchors of a visit that is not the person of its name."""
    return f"{_NOT}{visit}"


class GalleryEdit:
    """Changes a deployment's gallery; `before` and `version` are its versions."""

    def __init__(self, deployment: Deployment, gallery: Gallery) -> None:
        self.before = gallery.version
        self._deployment = deployment
        self._gallery = gallery
        self._taken_back: list[tuple[str, str]] = []

    @property
    def version(self) -> int:
        """The newest version."""
        return self._gallery.version

    def check_alike(self, name: str, new: References) -> None:
        """Raise InputError if a person of this name exists and does not look like the faces."""
        known = self._gallery.references(name)
        if not known:
            return
        settings = self._gallery.settings
        cosines = new.embeddings @ np.stack([each.embedding for each in known]).T
        # The median, because of many pairs a few are within the threshold by chance.
        distance = float(np.median(distances(cosines.max(axis=1), settings.metric)))
        if distance > settings.threshold:
            raise InputError(
                f"{name} is in the gallery and does not look like these faces (distance "
                f"{distance:.2f}, threshold {settings.threshold:.2f})",
                hint="give another name   or, if it is the same person: add --force",
            )

    def enroll(self, action: str, name: str, new: References, freed: Sequence[str]) -> None:
        """Add faces to a person, and remove the anchors that would hide the person.

        Their pictures are kept as photographs, for a later model. `freed`: ids of anchors. Those of
        corrections that look like the faces are removed too.
        """
        space = self._gallery.space_of(self._gallery.version)
        near = self._near(new.embeddings, neighbour_distance(space))
        kept.sweep(self._deployment.asu_id, self._gallery.file)
        with self._gallery.change(action) as change:
            self._remove(change)
            for anchor in {*freed, *near}:
                change.remove_anchor(anchor)
            for reference, crop in zip(new.items, new.crops, strict=True):
                if name not in self._gallery.names_of(str(reference.sha256)):
                    # Before the reference is committed: what is left of a kill is swept.
                    photograph = kept.keep(self._gallery.file, crop)
                    change.add(name, replace(reference, source=str(photograph)))

    def take_back(self, name: str, faces: References) -> None:
        """Prepare to remove faces from a person with the next change: they are not that person's.

        A face that is a reference and an anchor would be as near to both.
        """
        self._taken_back = [(name, str(each.sha256)) for each in faces.items]

    def anchor(self, action: str, anchor: str, new: References) -> None:
        """Add faces that are never named, instead of those with this id."""
        with self._gallery.change(action) as change:
            self._remove(change)
            change.remove_anchor(anchor)
            for reference in new.items:
                change.add_anchor(anchor, reference)

    def restore(self, version: int, after: int) -> None:
        """Restore a version, as a new one; raises GalleryError unless `after` is the newest."""
        if self.version != after:
            raise GalleryError(
                f"the gallery was changed since, it has version {self.version} now",
                hint=f"facectl gallery diff {version}   then: facectl gallery rollback {version}",
            )
        before = self._photographs()
        people.rollback(self._gallery, version)
        kept.discard(self._gallery.file, before - self._photographs())

    def publish(self, done: str) -> int:
        """Publish the newest version; returns its number. `done`: what is stored here already."""
        try:
            return publish(Clients(self._deployment), self._gallery).version
        except CloudError as error:
            raise CloudError(
                f"{done} This is stored on this computer, but not published: {error}",
                hint="facectl gallery publish",
            ) from error

    def _photographs(self) -> set[str]:
        return {each.sha256 for each in self._gallery.enrolled() if each.sha256 is not None}

    def _remove(self, change: Change) -> None:
        for name, sha256 in self._taken_back:
            change.remove_photograph(name, sha256)

    def _near(self, embeddings: Embeddings, distance: float) -> set[str]:
        """The ids of corrections within a Euclidean distance of embeddings."""
        ids, known = anchors.rows(self._gallery)
        if not ids:
            return set()
        alike = (known @ embeddings.T).max(axis=1) >= 1 - distance**2 / 2
        return {
            anchor
            for anchor, is_alike in zip(ids, alike, strict=True)
            if is_alike and anchor.startswith(_NOT)
        }


def opened(deployment: Deployment, space: EmbeddingSpace) -> closing[Gallery]:
    """Open the gallery to change, created if missing; the context closes it."""
    return closing(
        Gallery.for_space(deployment.asu_id, space.id, synthetic=space.synthetic, model=space.model)
    )


def forget_in_gallery(
    deployment: Deployment, wanted: Callable[[str], bool], photographs: Callable[[], set[str]]
) -> bool:
    """Delete anchors from every version; returns whether there were any.

    Faces whose naming was undone are deleted too, if `photographs`, which is called only where
    there are such faces, has their SHA-256s.
    """
    gallery = Gallery.find(deployment.asu_id)
    if gallery is None:
        return False
    with closing(gallery):
        ids = [anchor for anchor in _ever(gallery) if wanted(anchor)]
        unused = people.unused_photographs(gallery)
    for anchor in ids:
        people.forget_anchor(deployment.asu_id, anchor)
    chosen = unused & photographs() if unused else set()
    if chosen:
        people.forget_photographs(deployment.asu_id, chosen)
    return bool(ids or chosen)


def publish_forgotten(deployment: Deployment, done: str) -> int:
    """Publish after `forget_in_gallery`; returns the version. `done`: what is stored already."""
    with closing(Gallery.open(deployment.asu_id)) as gallery:
        return GalleryEdit(deployment, gallery).publish(done)


def _ever(gallery: Gallery) -> list[str]:
    """The ids of the anchors of all versions."""
    rows = gallery.select(
        "SELECT DISTINCT source FROM vectors WHERE source LIKE 'ignored %' OR source LIKE 'not %'"
    )
    return [str(anchor) for (anchor,) in rows]
