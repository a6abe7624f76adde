"""The HTML report of an enrollment: what was enrolled, what was doubtful, who looks like whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facectl.gallery.changes import Reference
from facectl.gallery.enrollment import EnrollmentOutcome, EnrollmentTask, relative
from facectl.gallery.photographs import PhotographError, decoded
from facectl.gallery.quality import QualityFinding
from facectl.gallery.reports import Picture, heading
from facectl.gallery.store import Store
from facectl.reports.page import render
from facectl.reports.pictures import thumbnail
from facectl.reports.tables import Table
from lambda_src.gallery.matching import distances

# Pictures are most of the page's size: 3 kB each of the small ones, 8 kB of the others.
MAX_ENROLLED, MAX_DOUBTFUL, MAX_PAIRS, MAX_ROWS = 600, 60, 24, 200
_SMALL = 96


@dataclass(frozen=True, slots=True)
class Likeness:
    """A person's photograph that is nearest to another person's, and the two compared."""

    name: str
    photo: Path | None
    other: str
    other_photo: Path | None
    cosine: float
    distance: float


@dataclass(frozen=True, slots=True)
class Run:
    """What was to be enrolled and what came of it; `folder`: paths are shown relative to it."""

    tasks: Sequence[EnrollmentTask]
    outcome: EnrollmentOutcome
    folder: Path | None = None


def likenesses(store: Store, people: Sequence[str]) -> list[Likeness]:
    """The nearest other person of each of these people, the most alike first."""
    names, embeddings = store.rows()
    # The rows are sorted by name, and within a name as `references` are.
    first = {name: row for row, name in reversed(list(enumerate(names)))}
    references = cache(store.references)
    found = []
    for person in people:
        own = references(person)
        others = np.fromiter((name != person for name in names), bool, len(names))
        if not own or not others.any():
            continue
        cosines = np.stack([each.embedding for each in own]) @ embeddings.T
        cosines[:, ~others] = -np.inf
        mine, row = np.unravel_index(int(np.argmax(cosines)), cosines.shape)
        cosine, other = cosines[mine, row], names[row]
        theirs = references(other)[int(row) - first[other]]
        distance = float(distances(np.array([cosine], np.float32), store.settings.metric)[0])
        found.append(
            Likeness(person, _source(own[mine]), other, _source(theirs), float(cosine), distance)
        )
    return sorted(found, key=lambda each: -each.cosine)


def page(store: Store, run: Run, face: Picture, now: datetime) -> str:
    """The report; `face` gives the crop of a photograph's face, None where there is none."""
    names = sorted({task.name for task in run.tasks})
    alike = likenesses(store, names)
    outcome = run.outcome
    return render(
        "enrollment.html",
        **heading(store, now),
        tiles=[
            ("enrolled now", sum(outcome.enrolled.values())),
            ("enrolled already", outcome.unchanged),
            ("not enrolled", len(outcome.refused)),
            ("enrolled, but doubtful", len(outcome.doubtful)),
        ],
        figures=[],
        doubtful=list(_doubtful(store, run, face)),
        more_doubtful=max(0, len(outcome.refused | outcome.doubtful) - MAX_DOUBTFUL),
        pairs=[_pair(each, run.folder, face) for each in _once(alike)[:MAX_PAIRS]],
        alike=_table(alike, store.settings.threshold),
        threshold=store.settings.threshold,
        people_enrolled=list(_enrolled(run, names, face)),
        more_enrolled=max(0, len(run.tasks) - len(outcome.refused) - MAX_ENROLLED),
    )


def _doubtful(store: Store, run: Run, face: Picture) -> Iterator[dict[str, Any]]:
    """Each photograph with findings, beside the one that it was compared with."""
    findings: dict[Path, list[QualityFinding]] = {}
    for finding in run.outcome.findings:
        if finding.photo is not None:
            findings.setdefault(finding.photo, []).append(finding)
    # What was not enrolled comes first.
    ordered = sorted(findings, key=lambda photo: photo not in run.outcome.refused)
    for photo in ordered[:MAX_DOUBTFUL]:
        found = findings[photo]
        refused = photo in run.outcome.refused
        # Why a photograph was refused is seen in the whole of it.
        shown = thumbnail(_whole(photo), whole=True) if refused else thumbnail(face(photo))
        yield {
            "name": found[0].name,
            "photo": relative(photo, run.folder),
            "picture": shown,
            "refused": refused,
            "reasons": [_reason(finding) for finding in found],
            "beside": _beside(store, photo, found, run.folder, face),
        }


def _reason(finding: QualityFinding) -> str:
    if finding.kind in {"small_face", "blurred", "low_probability"}:
        return f"{finding.message}, at least {finding.limit:g} would be good"
    return finding.message


def _beside(
    store: Store, photo: Path, found: Sequence[QualityFinding], folder: Path | None, face: Picture
) -> dict[str, Any] | None:
    """The nearest photograph of the person whom a finding compares this one with."""
    compared = {each.kind: each for each in found}
    finding = compared.get("same_face") or compared.get("other_face")
    if finding is None:
        return None
    own = str(photo.absolute())
    sample = next((r for r in store.references(finding.name) if r.source == own), None)
    name = finding.other or finding.name
    others = [each for each in store.references(name) if each.source not in {None, own}]
    if sample is None or not others:
        return None
    nearest = max(others, key=lambda each: float(each.embedding @ sample.embedding))
    source = Path(str(nearest.source))
    return {
        "name": name,
        "photo": _shown(source, folder),
        "picture": thumbnail(face(source)),
        "cosine": float(nearest.embedding @ sample.embedding),
    }


def _once(alike: Sequence[Likeness]) -> list[Likeness]:
    """Without the pairs that are there already the other way round."""
    kept: dict[frozenset[tuple[str, Path | None]], Likeness] = {}
    for each in alike:
        key = frozenset([(each.name, each.photo), (each.other, each.other_photo)])
        kept.setdefault(key, each)
    return list(kept.values())


def _pair(each: Likeness, folder: Path | None, face: Picture) -> dict[str, Any]:
    sides = ((each.name, each.photo), (each.other, each.other_photo))
    return {
        "pictures": [
            (
                name,
                "" if photo is None else _shown(photo, folder),
                thumbnail(None if photo is None else face(photo)),
            )
            for name, photo in sides
        ],
        "cosine": each.cosine,
        "distance": each.distance,
    }


def _table(alike: Sequence[Likeness], threshold: float) -> Table:
    return Table(
        "Nearest other person",
        ("person", "nearest", "cosine", "distance"),
        [
            (each.name, each.other, f"{each.cosine:.3f}", f"{each.distance:.3f}")
            for each in alike[:MAX_ROWS]
        ],
        marked=[row for row, each in enumerate(alike[:MAX_ROWS]) if each.distance <= threshold],
    )


def _enrolled(
    run: Run, names: Sequence[str], face: Picture
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The people with the pictures of their enrolled photographs."""
    doubtful, left = run.outcome.doubtful, MAX_ENROLLED
    for name in names:
        photos = [
            task.photo
            for task in run.tasks
            if task.name == name and task.photo not in run.outcome.refused
        ][:left]
        left -= len(photos)
        if photos:
            yield (
                name,
                [
                    {
                        "photo": relative(photo, run.folder),
                        "picture": thumbnail(face(photo), _SMALL),
                        "doubtful": photo in doubtful,
                    }
                    for photo in photos
                ],
            )


def _whole(photo: Path) -> Image.Image | None:
    try:
        return Image.fromarray(decoded(photo))
    except PhotographError:
        return None


def _source(reference: Reference) -> Path | None:
    return None if reference.source is None else Path(reference.source)


def _shown(photo: Path, folder: Path | None) -> Path:
    """A reference's path, which is absolute, relative to the enrolled folder."""
    return relative(photo, None if folder is None else folder.absolute())
