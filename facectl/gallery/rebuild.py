"""Re-embeds a gallery for another model from its photographs.

A rebuild plans (which photographs still exist), embeds in memory, and stores one
new version, so an interruption leaves the gallery unchanged. Embeddings that the
model made for any earlier version are reused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facectl.errors import GalleryError, InputError, ModelError
from facectl.gallery import anchors, kept
from facectl.gallery.changes import EmbeddingSpace, Enrolled, GallerySettings, Reference
from facectl.gallery.enrollment import FaceEncoder, Progress, reference_of
from facectl.gallery.photographs import SUFFIXES, PhotographError, digest, photographs
from facectl.gallery.store import Store
from facectl.models.store import find
from facectl.models.weights import RELEASES
from lambda_src.contract import UNKNOWN
from lambda_src.vision.store import Model


@dataclass(frozen=True, slots=True)
class Lost:
    """A reference that can't be embedded again: the name, the photograph, and the reason."""

    name: str
    photo: str | None
    kind: str
    message: str


@dataclass(slots=True)
class _Planned:
    """A reference of the old version, with its known vector, new embedding or loss."""

    old: Enrolled
    photo: Path | None = None
    vector: int | None = None
    new: Reference | None = None
    lost: Lost | None = None

    def lose(self, kind: str, message: str) -> None:
        self.lost = Lost(self.old.name, self.old.source, kind, message)


@dataclass(slots=True)
class Rebuild:
    """The newest version of a gallery, prepared for another model."""

    file: Path
    version: int
    old: EmbeddingSpace
    new: EmbeddingSpace
    settings: tuple[GallerySettings, GallerySettings]
    _references: list[_Planned] = field(repr=False)

    @property
    def summary(self) -> str:
        """One line for the plan of a deploy."""
        known = f", {self.known} embedded earlier" if self.known else ""
        return (
            f"gallery: re-embed {self.photographs} photographs of {self.people} people for model "
            f"{self.new}{known}"
        )

    def facts(self) -> dict[str, Any]:
        """The rebuild for JSON."""
        return {
            "action": "re-embed",
            "kind": "gallery",
            "name": self.file.stem,
            "changes": [{"attribute": "space", "before": self.old.id, "after": self.new.id}],
            "photographs": self.photographs,
            "known": self.known,
            "people": self.people,
            "dropped": self.dropped,
            "lost": [asdict(lost) for lost in self.lost],
        }

    @property
    def thresholds(self) -> tuple[float, float]:
        """The current threshold, and that of the other model."""
        before, after = self.settings
        return before.threshold, after.threshold

    @property
    def photographs(self) -> int:
        """The number of photographs to embed."""
        return sum(1 for each in self._references if each.photo is not None and not each.lost)

    @property
    def known(self) -> int:
        """The number of references that an earlier version has for this model."""
        return sum(1 for each in self._references if each.vector is not None)

    @property
    def people(self) -> int:
        """The number of people in the new version."""
        return len(self._kept_names())

    @property
    def lost(self) -> list[Lost]:
        """The references that can't be embedded, by name and photograph."""
        found = [each.lost for each in self._references if each.lost is not None]
        return sorted(found, key=lambda lost: (lost.name, lost.photo or ""))

    @property
    def dropped(self) -> list[str]:
        """The people without any reference in the new version."""
        kept = self._kept_names()
        return sorted({each.old.name for each in self._references} - kept - {UNKNOWN})

    def embed(self, encoder: Callable[[], FaceEncoder], progress: Progress = lambda: None) -> None:
        """Embed the photographs in memory; those that fail are added to `lost`."""
        model: FaceEncoder | None = None
        for each in self._references:
            if each.photo is None or each.lost is not None or each.new is not None:
                continue
            # Lazy: a rebuild from known embeddings loads no model.
            model = encoder() if model is None else model
            self._embed(each, each.photo, model)
            progress()

    def commit(self) -> int:
        """Store the new version and return its number.

        Raises GalleryError if the gallery has changed since the plan.
        """
        with closing(Store.at(self.file)) as store:
            with store.change("rebuild") as change:
                # A long enrollment extends a version without a new number.
                now = [each.old for each in self._references]
                if store.version != self.version or store.enrolled() != now:
                    raise GalleryError(
                        f"another command changed {self.file} while its photographs were "
                        "embedded: nothing was rebuilt",
                        hint="run the same command again",
                    )
                change.switch_space(self.new, self.settings[1])
                for each in self._references:
                    if each.vector is not None:
                        change.add_known(each.old.name, each.vector)
                    elif each.new is not None:
                        change.add(each.old.name, each.new)
            return store.version

    def _embed(self, each: _Planned, photo: Path, model: FaceEncoder) -> None:
        # More than one face: the photograph was enrolled with --largest. A kept picture shows one
        # person, whose face is the largest.
        is_kept = photo.parent == kept.folder(self.file)
        largest = is_kept or each.old.figures.get("faces", 1) > 1
        try:
            sample = model.embed(photo, take_largest=largest)
        except PhotographError as error:
            each.lose(error.kind, str(error))
            return
        if sample.sha256 != each.old.sha256:
            each.lose("changed", _CHANGED)
            return
        each.new = reference_of(sample)

    def _kept_names(self) -> set[str]:
        return {each.old.name for each in self._references if each.lost is None}


_CHANGED = "the file is no longer the photograph that was enrolled"


def plan(
    store: Store,
    space: EmbeddingSpace,
    *,
    folders: Sequence[Path] = (),
    progress: Progress = lambda: None,
) -> Rebuild:
    """Plan a rebuild of the newest version for another space, without writing.

    Looks for each photograph by its sha256: at its path, then in the same folder, then
    below `folders` and among the kept photographs. Raises InputError for a missing folder.
    """
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder", hint="facectl gallery rebuild --help")
    version = store.version
    finder = _Finder((*folders, kept.folder(store.file)))
    references = []
    for old in store.enrolled():
        references.append(planned := _Planned(old))
        _locate(store, space, planned, finder)
        progress()
    settings = store.settings, store.settings_for(space)
    return Rebuild(store.file, version, store.space_of(version), space, settings, references)


def needed(store: Store, space: str) -> bool:
    """Whether the newest version has references of another space."""
    return store.space != space and bool(store.people() or anchors.counts(store))


def _locate(store: Store, space: EmbeddingSpace, planned: _Planned, finder: _Finder) -> None:
    old = planned.old
    if old.name == UNKNOWN:
        planned.lose("ignored", "a face that is never named has no photograph: ignore it again")
        return
    if old.sha256 is None:
        planned.lose("imported", "it was imported as an embedding, without a photograph")
        return
    if old.source is None:
        planned.vector = store.vector_of(old.sha256, space.id)
        if planned.vector is None:
            planned.lose(
                "stranger", "an earlier facectl named it from a video, without a photograph"
            )
        return
    planned.vector = store.vector_of(old.sha256, space.id)
    if planned.vector is not None:
        return
    planned.photo = finder.find(Path(old.source), old.sha256)
    if planned.photo is None:
        exists = Path(old.source).exists()
        planned.lose(*(("changed", _CHANGED) if exists else ("gone", "the file is gone")))


class _Finder:
    """Finds photographs by their digests; reads each folder at most once."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._beside: dict[Path, dict[str, Path]] = {}
        self._below: dict[str, Path] | None = None

    def find(self, source: Path, sha256: str) -> Path | None:
        if _digest(source) == sha256:
            return source
        folder = source.parent
        if folder not in self._beside:
            self._beside[folder] = _digests(_images(folder))
        if sha256 in self._beside[folder]:
            return self._beside[folder][sha256]
        if self._below is None:
            self._below = _digests(file for folder in self._folders for file in photographs(folder))
        return self._below.get(sha256)


def _images(folder: Path) -> list[Path]:
    """The image files directly in a folder."""
    try:
        return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    except OSError:
        return []


def _digests(files: Iterable[Path]) -> dict[str, Path]:
    return {found: file for file in files if (found := _digest(file)) is not None}


def _digest(file: Path) -> str | None:
    try:
        return digest(file)
    except PhotographError:
        return None


def plan_local(asu_id: str, space: EmbeddingSpace) -> Rebuild | None:
    """Plan the rebuild of a deployment's gallery for a model; None if it needs none."""
    store = Store.find(asu_id)
    if store is None:
        return None
    with closing(store):
        return plan(store, space) if needed(store, space.id) else None


def model_of(space: EmbeddingSpace, version: int, precision: str | None = None) -> Model:
    """The installed model of a version's embedding space, of this precision if there is one.

    Raises ModelError.
    """
    try:
        return find(space.id, precision)
    except ModelError as error:
        raise ModelError(
            f"version {version} of the gallery is of model {space}, embedding space {space.id}: "
            f"{error}",
            hint=build_command(space),
        ) from error


def build_command(space: EmbeddingSpace) -> str:
    """The command that builds the model of a space, as far as it is known."""
    from facectl.models.spaces import RECORDED

    digest, _, preprocessing = space.id.partition("/")
    weights = (space.model or "").removesuffix(f"-{preprocessing}")
    identities = {name: str(release.sha256) for name, release in RELEASES.items()} | RECORDED
    weights = next((name for name, known in identities.items() if known == digest), weights)
    if space.synthetic:
        weights = "synthetic"
    note = ""
    if weights not in (*RELEASES, "synthetic"):
        # Earlier versions named a space by the sha256 of the weights file.
        weights = "FILE"
        note = f"   with the weights {digest}; then: facectl gallery rebuild --model NAME"
    return f"facectl models build --weights {weights} --preprocessing {preprocessing}{note}"
