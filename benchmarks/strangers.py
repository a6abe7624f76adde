"""How often strangers are named as somebody, before and after they are corrected, ignored or named.

Run with `make bench-strangers`. Each of the people in `people/enrolled` is a stranger in turn: the
others are enrolled, the stranger's photographs there are the faces that were collected, and those
in `people/unseen` are searched. In the videos everybody is a stranger to the people enrolled: the
first half of a video is collected, the second is searched. The unseen photographs of enrolled
people are searched too: they must keep their names. All this with the pictures as they are and
degraded as in benchmarks/visits.py.

corrected   the collected faces that were named as somebody are anchors ("this is not X")
ignored     the groups of the collected faces are anchors, as `facectl strangers ignore` stores them
named       of photographs, the group's best faces are enrolled, as `facectl strangers name` does

The faces are detected, cropped, embedded and matched with the functions' own code. Also prints what
groups collecting makes of all faces, and the CPU time of grouping made-up faces.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from visits_answers import VARIANTS, video

from facectl.gallery.changes import EmbeddingSpace
from facectl.gallery.photographs import photographs
from facectl.gallery.quality import MIN_FACE_PX, MIN_PROBABILITY, MIN_SHARPNESS
from facectl.models import store
from facectl.strangers.grouping import Grouping, neighbour_distance, representatives
from facectl.stream.frames import Pixels, decoded
from facectl.visits.images import sharpness
from lambda_src.contract import UNKNOWN
from lambda_src.gallery.matching import DIMENSIONS, Embeddings, Gallery
from lambda_src.vision.boxes import largest
from lambda_src.vision.crops import crop_face
from lambda_src.vision.detector import Detector
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.store import Model

# As facectl/strangers/actions.py: the faces that are enrolled, and that a person is ignored by.
NAMED, IGNORED = 5, 10
FRAMES_A_SECOND = 8


@dataclass(frozen=True)
class Faces:
    """The faces of pictures: embeddings (N, 512), and qualities 0 to 1, 0 for no good face."""

    embeddings: Embeddings
    quality: NDArray[np.float64]

    @property
    def good(self) -> NDArray[np.intp]:
        """The rows of faces that are collected."""
        return np.flatnonzero(self.quality > 0)

    def groups(self, model: Model) -> list[NDArray[np.intp]]:
        """The rows of each group that collecting makes of the faces."""
        numbers = count(1)
        grouping = Grouping(neighbour_distance(EmbeddingSpace.of(model)), lambda: next(numbers))
        group: dict[int, int] = {}
        for row in self.good:
            group.update(grouping.add([int(row)], self.embeddings[row][None]).groups)
        return [
            np.array([row for row, own in group.items() if own == number])
            for number in sorted(set(group.values()))
        ]

    def best(self, rows: NDArray[np.intp], number: int) -> Embeddings:
        """The faces of a group that naming and ignoring take."""
        chosen = representatives(self.embeddings[rows], list(self.quality[rows]), number)
        return self.embeddings[rows[chosen]]


class Reader:
    """Detects and embeds faces as the functions do."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._detector = Detector(model, threads=1)
        self._embedder = Embedder(model, threads=1)

    def faces(self, pictures: Iterable[Pixels], variant: str, most: int) -> Faces:
        """The `most` largest faces of each BGR picture, degraded."""
        change, _ = VARIANTS[variant]
        embeddings, quality = [np.zeros((0, DIMENSIONS), np.float32)], []
        for picture in pictures:
            changed = picture if change is None else change(picture)
            image = np.ascontiguousarray(changed[:, :, ::-1])
            for face in largest(self._detector.detect(image), most):
                crop = crop_face(image, face, self._model.preprocessing)
                embeddings.append(self._embedder.embed([crop]))
                quality.append(_quality(changed, face))
        return Faces(np.concatenate(embeddings), np.array(quality))


def _quality(picture: Pixels, face: Any) -> float:
    """The quality of a face, 0 for one that is not collected."""
    x0, y0, x1, y1 = face.box
    side = min(x1 - x0, y1 - y0)
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
    sharp = sharpness(grey, face.box) or 0.0
    if side < MIN_FACE_PX or sharp < MIN_SHARPNESS or face.probability < MIN_PROBABILITY:
        return 0.0
    return float(min(1.0, side / 80) * min(1.0, sharp / 100) * face.probability)


def pictures_in(folder: Path) -> list[Pixels]:
    """The photographs of a folder."""
    return [decoded(file.read_bytes(), file.name) for file in photographs(folder)]


def frames_of(file: Path) -> list[Pixels]:
    """Some frames a second of a video."""
    clip = video(file)
    step = max(1, round(clip.rate / FRAMES_A_SECOND))
    return [frame for index, frame in enumerate(clip.frames()) if index % step == 0]


def names(gallery: dict[str, Embeddings], probes: Embeddings, threshold: float) -> list[str]:
    """The functions' answers for probes; the gallery's name `Unknown` is an ignored person's."""
    rows = [name for name, embeddings in gallery.items() for _ in embeddings]
    matcher = Gallery("", threshold, tuple(rows), np.concatenate([*gallery.values()]))
    return [match.name for match in matcher.match(probes)]


@dataclass(frozen=True)
class Stranger:
    """A stranger's collected and searched faces; `name` if it is one person."""

    collected: Faces
    searched: Faces
    name: str | None = None


def measured(
    stranger: Stranger,
    enrolled: dict[str, Faces],
    held: dict[str, Faces],
    model: Model,
    threshold: float,
) -> Counter[str]:
    """How the searched faces of a stranger and of the enrolled people are answered."""
    people = {each: faces.embeddings for each, faces in enrolled.items()}
    collected = stranger.collected
    answered = names(people, collected.embeddings, threshold)
    wrong = [row for row in collected.good if answered[row] != UNKNOWN]
    groups = collected.groups(model)
    none = np.zeros((0, DIMENSIONS), np.float32)
    ignored = np.concatenate([none, *(collected.best(rows, IGNORED) for rows in groups)])
    galleries = {
        "before": people,
        "corrected": {**people, UNKNOWN: collected.embeddings[wrong]},
        "ignored": {**people, UNKNOWN: np.concatenate([ignored, collected.embeddings[wrong]])},
    }
    if stranger.name is not None:
        best = [collected.best(rows, NAMED) for rows in groups]
        galleries["named"] = {**people, stranger.name: np.concatenate([none, *best])}
    found: Counter[str] = Counter()
    for state, gallery in galleries.items():
        answers = Counter(names(gallery, stranger.searched.embeddings, threshold))
        found[f"{state}: faces"] = answers.total()
        found[f"{state}: right"] = answers.pop(stranger.name or "", 0)
        found[f"{state}: wrong"] = answers.total() - answers[UNKNOWN]
        for each in people:
            given = Counter(names(gallery, held[each].embeddings, threshold))
            found[f"{state}: known"] += given.total()
            found[f"{state}: known right"] += given[each]
    return found


def cases(
    reader: Reader, samples: Path, variant: str
) -> Iterator[tuple[str, Stranger, dict[str, Faces], dict[str, Faces]]]:
    """Yield strangers with the people enrolled beside them and those people's unseen faces."""
    folders = {
        kind: {
            folder.name: reader.faces(pictures_in(folder), shown, 1)
            for folder in sorted((samples / "people" / kind).iterdir())
            if folder.is_dir()
        }
        # People are enrolled with good photographs.
        for kind, shown in (("enrolled", "as it is"), ("unseen", variant))
    }
    enrolled, held = folders["enrolled"], folders["unseen"]
    for name in enrolled:
        others = {each: faces for each, faces in enrolled.items() if each != name}
        yield "photographs", Stranger(enrolled[name], held[name], name), others, held
    for file in (*sorted((samples / "videos").glob("*.mp4")), *sorted(samples.glob("*.mp4"))):
        frames = frames_of(file)
        half = len(frames) // 2
        parts = [reader.faces(part, variant, 10) for part in (frames[:half], frames[half:])]
        yield "videos", Stranger(parts[0], parts[1]), enrolled, held


def groups_of(people: dict[str, Faces], model: Model) -> tuple[int, int, int, int]:
    """Groups, groups of more than one person, faces in groups, and good faces."""
    owners = [name for name, faces in people.items() for _ in faces.quality]
    every = Faces(
        np.concatenate([faces.embeddings for faces in people.values()]),
        np.concatenate([faces.quality for faces in people.values()]),
    )
    groups = every.groups(model)
    mixed = sum(len({owners[row] for row in rows}) > 1 for rows in groups)
    return len(groups), mixed, sum(map(len, groups)), len(every.good)


def cpu_of_grouping(faces: int) -> tuple[float, float]:
    """CPU seconds of grouping made-up faces of people with 50 each, and of one face more."""
    random = np.random.default_rng(1)
    means = random.standard_normal((max(1, faces // 50), 512)).astype(np.float32)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    numbers = count(1)
    grouping = Grouping(0.8, lambda: next(numbers))
    started = time.process_time()
    for start in range(0, faces, 256):
        number = min(256, faces - start)
        noise = random.standard_normal((number, 512)).astype(np.float32) * 0.022
        block = means[random.integers(0, len(means), number)] + noise
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        grouping.add(list(range(start, start + number)), block)
    whole = time.process_time() - started
    started = time.process_time()
    for extra in range(20):
        grouping.add([faces + extra], means[:1])
    return whole, (time.process_time() - started) / 20


def main() -> None:
    """Measure, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, default=Path("../shared/samples"))
    parser.add_argument("--json", type=Path, default=Path("build/bench-strangers.json"))
    parser.add_argument("--threshold", type=float, help="default: that of the model's space")
    parser.add_argument("--faces", type=int, default=100_000)
    arguments = parser.parse_args()
    model = store.find()
    if model.synthetic:
        parser.error("the installed model has synthetic weights: its names mean nothing")
    threshold = arguments.threshold
    if threshold is None:
        threshold = EmbeddingSpace.of(model).default_threshold.distance
    reader = Reader(model)
    results: dict[str, dict[str, Counter[str]]] = {}
    owners: dict[str, Faces] = {}
    for variant in VARIANTS:
        if VARIANTS[variant][1] is not None:
            continue
        sums = results.setdefault(variant, {"photographs": Counter(), "videos": Counter()})
        for place, (kind, stranger, enrolled, held) in enumerate(
            cases(reader, arguments.samples, variant)
        ):
            sums[kind] += measured(stranger, enrolled, held, model, threshold)
            if variant == "as it is":
                owners[stranger.name or str(place)] = stranger.collected
        print(f"{variant}: done", file=sys.stderr)
    # The street has several people: its groups are not compared with them.
    owners.pop(list(owners)[-1])
    groups = groups_of(owners, model)
    _print(results, groups)
    cpu = cpu_of_grouping(arguments.faces)
    print(
        f"\n{arguments.faces} faces are grouped in {cpu[0]:.0f} s of CPU time, "
        f"one more in {cpu[1] * 1000:.0f} ms"
    )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "model": model.path.name,
        "threshold": threshold,
        "results": results,
        "groups": groups,
        "cpu": cpu,
    }
    arguments.json.write_text(json.dumps(facts, indent=2))


def _print(results: dict[str, dict[str, Counter[str]]], groups: tuple[int, int, int, int]) -> None:
    print("| pictures | strangers | | faces | named as somebody else | named rightly |", end="")
    print(" enrolled people named rightly |")
    print("|---|---|---|---|---|---|---|")
    for variant, by_kind in results.items():
        for kind, found in by_kind.items():
            for state in ("before", "corrected", "ignored", "named"):
                if not (faces := found[f"{state}: faces"]):
                    continue
                print(
                    f"| {variant} | {kind} | {state} | {faces} "
                    f"| {_share(found[f'{state}: wrong'], faces)} "
                    f"| {_share(found[f'{state}: right'], faces)} "
                    f"| {_share(found[f'{state}: known right'], found[f'{state}: known'])} |"
                )
    number, mixed, inside, faces = groups
    print(f"\n{faces} faces: {inside} in {number} groups, {mixed} of them of two people or more")


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.1%})" if whole else "-"


if __name__ == "__main__":
    main()
