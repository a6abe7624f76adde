"""Enrolls photographs: checks and embeds them, and stores a new version of the gallery."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from facectl.errors import IncompleteError, InputError
from facectl.gallery.changes import Reference, check_name
from facectl.gallery.photographs import (
    EncodedPhotograph,
    PhotographEncoder,
    PhotographError,
    digest,
    photographs,
)
from facectl.gallery.quality import Neighbours, QualityFinding, of_photograph
from facectl.gallery.store import Store
from lambda_src.vision.store import Model

# Seconds of work that an interruption can lose.
_SAVE_EVERY = 5.0

Progress = Callable[[], None]


class FaceEncoder(Protocol):
    """Finds and embeds the face of a photograph."""

    def embed(self, photo: Path, *, take_largest: bool = False) -> EncodedPhotograph: ...


@dataclass(frozen=True, slots=True)
class EnrollmentTask:
    """A photograph to enroll under a name."""

    name: str
    photo: Path


@dataclass(slots=True)
class EnrollmentOutcome:
    """The result of an enrollment: photographs enrolled by name, and all findings."""

    enrolled: dict[str, int] = field(default_factory=dict)
    unchanged: int = 0
    findings: list[QualityFinding] = field(default_factory=list)

    @property
    def doubtful(self) -> set[Path]:
        """The photographs that were enrolled in spite of a finding."""
        return {f.photo for f in self.findings if f.photo is not None} - self.refused

    @property
    def refused(self) -> set[Path]:
        """The photographs that were not enrolled."""
        return {f.photo for f in self.findings if f.refused and f.photo is not None}


def tasks_for(name: str, images: Sequence[Path]) -> list[EnrollmentTask]:
    """The tasks for one person; a folder stands for all photographs below it."""
    name = check_name(name)
    files: list[Path] = []
    for image in images:
        if image.is_dir():
            files += photographs(image)
        else:
            files.append(image)
    if not files:
        raise InputError(f"no photographs of {name}: the folder contains no JPEG, PNG or WebP file")
    return [EnrollmentTask(name, file) for file in files]


def tasks_below(folder: Path) -> tuple[list[EnrollmentTask], list[QualityFinding]]:
    """The tasks for a tree `folder/NAME/…`, and findings for files that belong to nobody."""
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder, and no photographs were given",
            hint="facectl gallery enroll NAME IMAGE   or   facectl gallery enroll FOLDER",
        )
    tasks: list[EnrollmentTask] = []
    findings = [
        QualityFinding("no_name", "", file, "it is not in a folder of a person", refused=True)
        for file in photographs(folder)
        if file.parent == folder
    ]
    for person in sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != "."):
        files = photographs(person)
        try:
            name = check_name(person.name)
        except InputError as error:
            findings += [
                QualityFinding("bad_name", person.name, file, str(error), refused=True)
                for file in files
            ]
            continue
        if not files:
            findings.append(
                QualityFinding("no_photographs", name, None, f"{person} has no photographs")
            )
        tasks += [EnrollmentTask(name, file) for file in files]
    if not tasks and not findings:
        raise InputError(
            f"{folder} contains no people: no folder with JPEG, PNG or WebP files in it",
            hint="put photographs into FOLDER/NAME/, or: facectl gallery enroll NAME IMAGE",
        )
    return tasks, findings


class Enrollment:
    """Checks and embeds photographs, and saves them every few seconds."""

    def __init__(
        self,
        store: Store,
        encoder: Callable[[], FaceEncoder],
        *,
        take_largest: bool = False,
        strict: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outcome = EnrollmentOutcome()
        self._store = store
        self._create_encoder = encoder
        self._encoder: FaceEncoder | None = None
        self._neighbours: Neighbours | None = None
        self._take_largest = take_largest
        self._strict = strict
        self._clock = clock
        self._version: int | None = None
        self._pending: list[tuple[str, EncodedPhotograph]] = []

    def run(
        self, tasks: Sequence[EnrollmentTask], progress: Progress = lambda: None
    ) -> EnrollmentOutcome:
        """Enroll the photographs that pass; an interrupted run keeps what it has enrolled."""
        saved = self._clock()
        try:
            for task in tasks:
                self._enroll(task)
                progress()
                if self._clock() - saved >= _SAVE_EVERY:
                    self._save()
                    saved = self._clock()
        finally:
            self._save()
        return self.outcome

    def _enroll(self, task: EnrollmentTask) -> None:
        try:
            sha256 = digest(task.photo)
            others = set(self._store.names_of(sha256)) | {
                name for name, sample in self._pending if sample.sha256 == sha256
            }
            if task.name in others:
                self.outcome.unchanged += 1
                return
            sample = self._encode(task.photo)
        except PhotographError as error:
            self.outcome.findings.append(
                QualityFinding(
                    error.kind, task.name, task.photo, str(error), error.figure, refused=True
                )
            )
            return
        findings = self._check(task.name, sample, others)
        if self._strict and findings:
            findings = [replace(finding, refused=True) for finding in findings]
        self.outcome.findings += findings
        if any(finding.refused for finding in findings):
            return
        self._pending.append((task.name, sample))
        if self._neighbours is not None:
            self._neighbours.add(task.name, sample.embedding)

    def _encode(self, photo: Path) -> EncodedPhotograph:
        if self._encoder is None:
            # Lazy: a run over unchanged files loads no model.
            self._encoder = self._create_encoder()
        return self._encoder.embed(photo, take_largest=self._take_largest)

    def _check(
        self, name: str, sample: EncodedPhotograph, others: set[str]
    ) -> list[QualityFinding]:
        if self._neighbours is None:
            settings = self._store.settings
            names, embeddings = self._store.rows()
            self._neighbours = Neighbours(names, embeddings, settings.threshold, settings.metric)
            for pending, known in self._pending:
                self._neighbours.add(pending, known.embedding)
        found = of_photograph(name, sample)
        if others:
            as_whom = ", ".join(sorted(others))
            found.append(
                QualityFinding(
                    "same_photograph", name, sample.photo,
                    f"the same photograph is enrolled as {as_whom}", refused=True, other=as_whom,
                )
            )  # fmt: skip
        return found + self._neighbours.check(name, sample)

    def _save(self) -> None:
        if not self._pending:
            return
        with self._store.change("enroll", extend=self._version) as change:
            for name, sample in self._pending:
                change.add(name, reference_of(sample))
            self._version = change.number
        for name, _ in self._pending:
            self.outcome.enrolled[name] = self.outcome.enrolled.get(name, 0) + 1
        self._pending.clear()


def store_for(asu_id: str, model: Model) -> Store:
    """Open the gallery to enroll into with a model, created if missing; raises GalleryError."""
    return Store.for_space(asu_id, model.space, synthetic=model.synthetic, model=model.space_name)


def ensure(asu_id: str, model: Model, tasks: Sequence[EnrollmentTask]) -> None:
    """Enroll photographs unless they are enrolled; raises an error if one is refused."""
    with closing(store_for(asu_id, model)) as store:
        enrollment = Enrollment(store, lambda: PhotographEncoder(model))
        check(enrollment.run(tasks), strict=False)


def relative(photo: Path, folder: Path | None) -> Path:
    """The path of a photograph below the enrolled folder; of any other photograph as it is."""
    return photo.relative_to(folder) if folder and photo.is_relative_to(folder) else photo


def counted(photographs: int) -> str:
    """A number of photographs in words."""
    return f"{photographs} photograph{'' if photographs == 1 else 's'}"


def check(outcome: EnrollmentOutcome, *, strict: bool, folder: Path | None = None) -> None:
    """Raise IncompleteError or InputError if photographs were refused.

    `folder`: the paths in the message are relative to it.
    """
    refused = [finding for finding in outcome.findings if finding.refused]
    if not refused:
        return
    first = refused[0]
    where = f"{relative(first.photo, folder)}: " if first.photo else ""
    photos = len(outcome.refused)
    text = f"{where}{first.message}"
    if outcome.enrolled or outcome.unchanged:
        were = "was" if photos == 1 else "were"
        raise IncompleteError(
            f"{counted(photos)} {were} not enrolled, the first of them {text}",
            hint=_hint(first.kind, strict=strict),
        )
    raise InputError(f"{text}: nobody was enrolled", hint=_hint(first.kind, strict=strict))


def _hint(kind: str, *, strict: bool) -> str:
    hints = {
        "unreadable": "enroll from a JPEG, PNG or WebP file",
        "no_face": "use a photograph in which the face is upright and at least 20 pixels wide",
        "several_faces": "crop the photograph to one face, or take the largest: add --largest",
        "same_photograph": "facectl gallery merge FROM INTO   or   facectl gallery remove NAME",
        "bad_name": "rename the folder",
        "no_name": "put photographs into FOLDER/NAME/",
    }
    return hints.get(kind, "use a better photograph, or enroll without --strict" if strict else "")


def reference_of(sample: EncodedPhotograph) -> Reference:
    """The reference that is stored for a photograph."""
    source = str(sample.photo.absolute())
    return Reference(sample.embedding, sample.sha256, source, sample.figures)
