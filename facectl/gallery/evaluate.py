"""Evaluates the gallery on labelled photographs, processed as the pipeline processes a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.errors import GalleryError
from facectl.gallery.enrollment import EnrollmentTask, FaceEncoder, Progress
from facectl.gallery.photographs import PhotographError, digest
from facectl.gallery.statistics import Floats
from facectl.gallery.store import Store
from lambda_src.contract import UNKNOWN
from lambda_src.gallery.matching import Gallery, distances

_RANKS = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """The gallery's answer for one photograph.

    rank: rank of the right person among the five nearest, else None. own: the
    distance to the right person, None for a stranger. other: the nearest wrong
    person and the distance.
    """

    task: EnrollmentTask
    answer: str
    known: bool
    rank: int | None
    own: float | None
    other: tuple[str, float] | None
    embedding: NDArray[np.float32] = field(repr=False)


@dataclass(slots=True)
class Evaluation:
    """The answers, and the reason for each photograph without one."""

    threshold: float
    answers: list[Answer] = field(default_factory=list)
    unusable: dict[Path, str] = field(default_factory=dict)
    enrolled: int = 0

    @property
    def known(self) -> list[Answer]:
        """Photographs of people who are enrolled."""
        return [answer for answer in self.answers if answer.known]

    @property
    def strangers(self) -> list[Answer]:
        """Photographs of people who are not enrolled."""
        return [answer for answer in self.answers if not answer.known]

    def facts(self) -> dict[str, Any]:
        """The results for JSON; a rate without photographs is None."""
        known, strangers = self.known, self.strangers
        return {
            "photographs": len(self.answers),
            "known": len(known),
            "strangers": len(strangers),
            "unusable": len(self.unusable),
            "enrolled_themselves": self.enrolled,
            "threshold": self.threshold,
            "rank_1": _share(known, lambda a: a.rank == 1),
            "rank_5": _share(known, lambda a: a.rank is not None),
            "named_rightly": _share(known, lambda a: a.answer == a.task.name),
            "unknown_rate": _share(known, lambda a: a.answer == UNKNOWN),
            "misnamed": _share(known, lambda a: a.answer not in (UNKNOWN, a.task.name)),
            "strangers_named": _share(strangers, lambda a: a.answer != UNKNOWN),
        }

    def confusions(self, count: int) -> list[Answer]:
        """The worst answers: a wrong person nearer than the right one, or a stranger accepted."""
        wrong = [
            answer
            for answer in self.answers
            if answer.other is not None
            and (answer.other[1] <= self.threshold if answer.own is None else answer.rank != 1)
        ]
        return sorted(wrong, key=lambda a: a.other[1] if a.other else np.inf)[:count]

    def roc(self) -> tuple[Floats, Floats]:
        """False and true accept rates by rising threshold.

        True accept: the right person is within the threshold. False accept: another
        person is, as for a stranger with this face.
        """
        own = np.sort([a.own for a in self.known if a.own is not None])
        wrong = np.sort([a.other[1] for a in self.answers if a.other is not None])
        if len(own) == 0 or len(wrong) == 0:
            return np.zeros(0), np.zeros(0)
        thresholds = np.concatenate([[0.0], np.unique(np.concatenate([own, wrong]))])
        false = np.searchsorted(wrong, thresholds, side="right") / len(wrong)
        true = np.searchsorted(own, thresholds, side="right") / len(own)
        return false, true


def evaluate(
    store: Store,
    tasks: Sequence[EnrollmentTask],
    encoder: FaceEncoder,
    progress: Progress = lambda: None,
) -> Evaluation:
    """Match every photograph; raises GalleryError for an empty gallery.

    Skips enrolled photographs, because they would match themselves.
    """
    gallery = store.gallery()
    if not gallery.names:
        raise GalleryError("nobody is enrolled", hint="facectl gallery enroll NAME IMAGE")
    found = Evaluation(gallery.threshold)
    names = np.asarray(gallery.names)
    for task in tasks:
        try:
            if store.names_of(digest(task.photo)):
                found.enrolled += 1
            else:
                sample = encoder.embed(task.photo, take_largest=True)
                found.answers.append(_answer(gallery, names, task, sample.embedding))
        except PhotographError as error:
            found.unusable[task.photo] = str(error)
        progress()
    return found


def _answer(
    gallery: Gallery, names: NDArray[np.str_], task: EnrollmentTask, embedding: NDArray[np.float32]
) -> Answer:
    answer = gallery.match(embedding[None])[0].name
    nearest = gallery.nearest(embedding, _RANKS)
    order = [match.name for match in nearest]
    mine = names == task.name
    far = distances(gallery.embeddings @ embedding, gallery.metric)
    other = next((m for m in nearest if m.name != task.name), None)
    return Answer(
        task=task,
        answer=answer,
        known=bool(mine.any()),
        rank=order.index(task.name) + 1 if task.name in order else None,
        own=float(far[mine].min()) if mine.any() else None,
        other=None if other is None or other.distance is None else (other.name, other.distance),
        embedding=embedding,
    )


def _share(answers: Sequence[Answer], test: Callable[[Answer], bool]) -> float | None:
    return sum(map(test, answers)) / len(answers) if answers else None
