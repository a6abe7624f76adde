"""Evaluates the gallery on labelled photographs, processed as the pipeline processes a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.errors import GalleryError, InputError
from facectl.gallery import metrics
from facectl.gallery.enrollment import EnrollmentTask, FaceEncoder, Progress
from facectl.gallery.metrics import FIXED, Comparisons, Metric, Searches
from facectl.gallery.photographs import PhotographError, digest
from facectl.gallery.statistics import Floats
from facectl.gallery.store import Store
from lambda_src.contract import UNKNOWN
from lambda_src.gallery.matching import Gallery, distances

# People whose distances to each probe are kept for the rates of comparisons.
_MAX_COMPARED = 2000


@dataclass(frozen=True, slots=True)
class Answer:
    """The gallery's answer for one photograph.

    rank: rank of the right person, None for a stranger. own: the distance to the
    right person, None for a stranger. other: the nearest wrong person and the
    distance. others: distances to wrong people, a sample in a large gallery.
    """

    task: EnrollmentTask
    answer: str
    known: bool
    rank: int | None
    own: float | None
    other: tuple[str, float] | None
    others: Floats = field(repr=False)
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

    def searches(self) -> Searches:
        """Mated searches of enrolled people; non-mated ones of all, without the own person."""
        people, mated = self._people(), self.known
        searched = [answer for answer in self.answers if answer.other is not None]
        return Searches(
            np.array([answer.own for answer in mated], np.float64),
            np.array([answer.rank for answer in mated], np.int64),
            np.array([people[answer.task.name] for answer in mated], np.int64),
            np.array([answer.other[1] for answer in searched if answer.other], np.float64),
            np.array([people[answer.task.name] for answer in searched], np.int64),
        )

    def comparisons(self) -> Comparisons:
        """Every photograph's comparisons with its own person and with the others."""
        people, mated = self._people(), self.known
        others = [answer.others for answer in self.answers]
        owners = [people[answer.task.name] for answer in self.answers]
        impostor = np.concatenate([np.zeros(0), *others])
        return Comparisons(
            np.array([answer.own for answer in mated], np.float64),
            np.array([people[answer.task.name] for answer in mated], np.int64),
            impostor,
            np.repeat(np.array(owners, np.int64), [len(each) for each in others]),
            np.full(len(impostor), FIXED),
        )

    def metrics(self) -> list[Metric]:
        """FRTE's metrics, and FNIR and FPIR at the gallery's threshold."""
        searches = self.searches()
        return [
            *metrics.identification(searches),
            *metrics.verification(self.comparisons()),
            metrics.fnir_within(searches, self.threshold),
            metrics.fpir_within(searches, self.threshold),
        ]

    def _people(self) -> dict[str, int]:
        names = sorted({answer.task.name for answer in self.answers})
        return {name: number for number, name in enumerate(names)}

    def facts(self) -> dict[str, Any]:
        """The answers for JSON; a share without photographs is None."""
        known, strangers = self.known, self.strangers
        return {
            "photographs": len(self.answers),
            "known": len(known),
            "strangers": len(strangers),
            "unusable": len(self.unusable),
            "enrolled_themselves": self.enrolled,
            "threshold": self.threshold,
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

    Skips enrolled photographs, because they would match themselves. Raises InputError
    if no photograph is left.
    """
    gallery = store.gallery()
    if not store.people():
        raise GalleryError("nobody is enrolled", hint="facectl gallery enroll NAME IMAGE")
    found = Evaluation(gallery.threshold)
    # The rows of a person are adjacent, because the gallery's names are sorted.
    names, first = np.unique(np.asarray(gallery.names), return_index=True)
    # An ignored person's face decides the answer, but is nobody's.
    person = names != UNKNOWN
    for task in tasks:
        try:
            if store.names_of(digest(task.photo)):
                found.enrolled += 1
            else:
                sample = encoder.embed(task.photo, take_largest=True)
                cosines = np.maximum.reduceat(gallery.embeddings @ sample.embedding, first)
                found.answers.append(
                    _answer(gallery, names[person], cosines[person], task, sample.embedding)
                )
        except PhotographError as error:
            found.unusable[task.photo] = str(error)
        progress()
    if not found.answers:
        raise InputError(_nothing(found), hint="facectl gallery evaluate FOLDER   (FOLDER/NAME/…)")
    return found


def _nothing(found: Evaluation) -> str:
    """Why there is no answer."""
    if not found.unusable:
        reason = f"all {found.enrolled} photographs are enrolled themselves"
        return f"{reason}, and would match themselves" if found.enrolled else "no photographs"
    file, reason = next(iter(found.unusable.items()))
    enrolled = f", {found.enrolled} are enrolled themselves" if found.enrolled else ""
    return f"{len(found.unusable)} photographs can't be used{enrolled}; {file}: {reason}"


def _answer(
    gallery: Gallery,
    names: NDArray[np.str_],
    cosines: NDArray[np.float32],
    task: EnrollmentTask,
    embedding: NDArray[np.float32],
) -> Answer:
    far = distances(cosines, gallery.metric).astype(np.float64)
    mine = np.flatnonzero(names == task.name)
    known = len(mine) > 0
    others = np.delete(np.arange(len(names)), mine)
    nearest = others[np.argmin(far[others])] if len(others) else None
    own = float(far[mine[0]]) if known else None
    step = max(1, -(-len(others) // _MAX_COMPARED))
    return Answer(
        task=task,
        answer=gallery.match(embedding[None])[0].name,
        known=known,
        rank=None if own is None else 1 + int(np.sum(far[others] < own)),
        own=own,
        other=None if nearest is None else (str(names[nearest]), float(far[nearest])),
        others=far[others[::step]],
        embedding=embedding,
    )


def _share(answers: Sequence[Answer], test: Callable[[Answer], bool]) -> float | None:
    return sum(map(test, answers)) / len(answers) if answers else None
