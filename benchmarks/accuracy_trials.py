"""Searches and comparisons of the sample faces, in galleries of every size.

A gallery has the five labelled people, with `photographs` references each, and generated
strangers with one. Each labelled face searches it twice, without being a reference itself:
with its person (mated), and without (non-mated, leave-one-person-out). The faces of the other
people are non-mated searches, too. References are drawn several times, and each draw repeats
every search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from accuracy_faces import Faces
from numpy.typing import NDArray

from facectl.gallery.metrics import Comparisons, Searches
from lambda_src.gallery.matching import EUCLIDEAN, distances

Floats = NDArray[np.float32]
ALL = 0
_DRAWS = 10


@dataclass(frozen=True, slots=True)
class Draw:
    """Cosines with the labelled people, whose references are drawn once.

    labelled: (L, 5), of each labelled face; others: (S, 5), of each other face; own: (L,),
    the column of the face's person.
    """

    labelled: Floats
    others: Floats
    own: NDArray[np.int64]

    @property
    def mate(self) -> Floats:
        """(L,) the cosine with the own person."""
        found: Floats = self.labelled[np.arange(len(self.own)), self.own]
        return found

    @property
    def without(self) -> Floats:
        """(L, 5), with -1 for the own person."""
        found = self.labelled.copy()
        found[np.arange(len(self.own)), self.own] = -1
        return found


def draws(faces: Faces, generated: Floats, photographs: int) -> list[Draw]:
    """The draws of this many references of each person; ALL is one draw of all the others.

    `generated`: embeddings of strangers who search the gallery, after the real ones.
    """
    probes = faces.embeddings[faces.labelled]
    names = faces.people[faces.labelled]
    people, own = np.unique(names, return_inverse=True)
    strangers = np.concatenate([faces.embeddings[~faces.labelled], generated])
    among, from_others = probes @ probes.T, strangers @ probes.T
    np.fill_diagonal(among, -1)
    found = []
    for number in range(1 if photographs == ALL else _DRAWS):
        random = np.random.default_rng(number)
        labelled = np.empty((len(probes), len(people)), np.float32)
        others = np.empty((len(strangers), len(people)), np.float32)
        for column in range(len(people)):
            rows = random.permutation(np.flatnonzero(own == column))
            kept = rows[: photographs or len(rows)]
            labelled[:, column] = among[:, kept].max(axis=1)
            others[:, column] = from_others[:, kept].max(axis=1)
            # A probe that was drawn is replaced by the next one.
            for probe in kept[: len(rows) - len(kept)]:
                instead = np.append(kept[kept != probe], rows[len(kept)])
                labelled[probe, column] = among[probe, instead].max()
        found.append(Draw(labelled, others, own))
    return found


def searches(faces: Faces, drawn: Sequence[Draw], nearest: Floats, *, real: bool) -> Searches:
    """The searches of a gallery with strangers, as distances.

    nearest: (L + S, 5), the cosines of each probe with its nearest strangers in the gallery.
    real: non-mated searches of real people, else of generated ones.
    """
    count = int(faces.labelled.sum())
    numbers = np.unique(faces.people, return_inverse=True)[1]
    own_numbers, other_numbers = numbers[faces.labelled], numbers[~faces.labelled]
    first_generated = len(other_numbers)
    mate, rank, near = [], [], []
    for draw in drawn:
        mine = draw.mate[:, None]
        ranks = 1 + (draw.without > mine).sum(axis=1) + (nearest[:count] > mine).sum(axis=1)
        mate.append(draw.mate)
        rank.append(ranks)
        others = np.maximum(draw.others.max(axis=1), nearest[count:, 0])
        if real:
            left_out = np.maximum(draw.without.max(axis=1), nearest[:count, 0])
            near.append(np.concatenate([left_out, others[:first_generated]]))
        else:
            near.append(others[first_generated:])
    if real:
        strangers = np.concatenate([own_numbers, other_numbers])
    else:
        strangers = numbers.max() + 1 + np.arange(len(near[0]))
    return Searches(
        distances(np.concatenate(mate), EUCLIDEAN).astype(np.float64),
        np.concatenate(rank).astype(np.int64),
        np.tile(own_numbers, len(drawn)),
        distances(np.concatenate(near), EUCLIDEAN).astype(np.float64),
        np.tile(strangers, len(drawn)),
        len(drawn),
    )


def pairs(faces: Faces) -> Comparisons:
    """Every pair of photographs with a labelled person: genuine, and with anybody else."""
    numbers = np.unique(faces.people, return_inverse=True)[1]
    first, second = np.triu_indices(len(numbers), 1)
    apart = distances(
        np.einsum("ij,ij->i", faces.embeddings[first], faces.embeddings[second]), EUCLIDEAN
    ).astype(np.float64)
    labelled = faces.labelled[first] | faces.labelled[second]
    same = numbers[first] == numbers[second]
    genuine, impostor = same & labelled, ~same & labelled
    return Comparisons(
        apart[genuine],
        numbers[first][genuine],
        apart[impostor],
        numbers[first][impostor],
        numbers[second][impostor],
    )
