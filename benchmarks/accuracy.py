"""Accuracy on the sample faces: identification, verification, size of the gallery, precision.

    make bench-accuracy
    python benchmarks/accuracy.py --models casia-webface-facenet ./my-model

Takes the installed models with learned weights, of one embedding space, and facenet-pytorch with
the same weights where it is installed. Embeddings and searches are kept in build/accuracy, so a
second run takes a minute.
Writes the tables of docs/ACCURACY.md and build/bench-accuracy.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import accuracy_page as page
import numpy as np
from accuracy_faces import Faces, of_facenet_pytorch, of_model
from accuracy_strangers import Strangers, kept_searches
from accuracy_trials import ALL, Draw, draws, pairs, searches
from numpy.typing import NDArray

from facectl.errors import FacectlError, InputError, ModelError
from facectl.gallery import metrics, thresholds
from facectl.gallery.changes import EmbeddingSpace
from facectl.gallery.exchange import read
from facectl.gallery.metrics import Metric, Searches
from facectl.models import store
from lambda_src.gallery.matching import EUCLIDEAN, distances
from lambda_src.vision.store import FACENET, Model, ModelStoreError

Floats = NDArray[np.float32]

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT.parent / "shared" / "samples"
SIZES = (5, 100, 1_000, 10_000, 100_000, 1_000_000)
PHOTOGRAPHS = (1, 2, 5, 10, ALL)
# Searches by generated strangers: two of them are a thousandth.
GENERATED = 2000
REFERENCE = "facenet-pytorch"
_PROBE_SEED = 2


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: a name for the tables, and the sample faces as it embeds them."""

    name: str
    faces: Faces


def main() -> None:
    """Measure and write; a sentence instead of a traceback."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", help="names or folders; default: learned weights")
    parser.add_argument("--samples", type=Path, default=SAMPLES)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="people in the gallery")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "accuracy")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench-accuracy.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "ACCURACY.md")
    arguments = parser.parse_args()
    try:
        run(arguments)
    except FacectlError as error:
        sys.exit(f"{error}\n{error.hint or ''}".rstrip())


def run(arguments: argparse.Namespace) -> None:
    """Measure every model and write the page and the JSON file; raises FacectlError."""
    began = time.perf_counter()
    _check(arguments.samples, arguments.sizes)
    models = chosen(arguments.models)
    subjects = [
        Subject(_title(model), of_model(model, arguments.samples, arguments.cache, tell))
        for model in _told(models)
    ]
    skipped = ""
    try:
        tell(f"Embedding the samples with {REFERENCE}")
        reference = of_facenet_pytorch(models[0], arguments.samples, arguments.cache, tell)
        subjects.append(Subject(REFERENCE, reference))
    except ModelError as error:
        skipped = f"{REFERENCE} was not measured: {error}."
        tell(skipped)
    default = EmbeddingSpace.of(models[0]).default_threshold
    facts = measure(subjects, sorted(arguments.sizes), default.distance, arguments.cache)
    facts |= {
        "weights": models[0].weights,
        "skipped": skipped,
        "default": {"text": str(default), "distance": default.distance},
        "course": course(arguments.samples / "course-gallery.pt"),
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(facts, indent=2))
    page.write(arguments.page, facts)
    tell(f"{arguments.page} and {arguments.json}, {time.perf_counter() - began:.0f} s")


def chosen(names: Sequence[str] | None) -> list[Model]:
    """The models to measure, fp32 first, all of one space; raises InputError, ModelError."""
    if names:
        models = [_model(name) for name in names]
    else:
        models = [m for m in store.installed() if not m.synthetic and m.preprocessing == FACENET]
        if not models:
            raise ModelError(
                "no model with learned weights is installed",
                hint="facectl models build --weights casia-webface",
            )
        # One space at a time, the measured one first.
        models.sort(key=lambda m: (EmbeddingSpace.of(m).default_threshold.weights is None, m.space))
        models = [model for model in models if model.space == models[0].space]
    for model in models:
        if model.synthetic:
            raise InputError(f"{model.path.name} has synthetic weights: it recognises nobody")
        if model.space != models[0].space:
            raise InputError(
                f"{model.path.name} and {models[0].path.name} are of different embedding spaces",
                hint="python benchmarks/accuracy.py --models NAME",
            )
    return sorted(models, key=lambda model: (_precision(model) != "fp32", model.path.name))


def measure(
    subjects: list[Subject], sizes: Sequence[int], threshold: float, cache: Path
) -> dict[str, Any]:
    """Every figure: of the data, the generated strangers, and each subject."""
    first = subjects[0].faces
    strangers = Strangers.like(first.embeddings, first.people)
    generated = strangers.sample(GENERATED, _PROBE_SEED)
    # The labelled faces of each subject first: so are its searches.
    faces = [_in_order(subject.faces) for subject in subjects]
    people = len(set(first.people[first.labelled]))
    found = kept_searches(
        [*faces, generated],
        strangers,
        [size - people for size in sizes],
        cache,
        tell,
    )
    places = list(enumerate(sizes))
    return {
        "data": _data(first),
        "sizes": list(sizes),
        "photographs": list(PHOTOGRAPHS),
        "strangers": _resemblance(first, strangers, generated),
        "subjects": [
            _measured(
                subject,
                generated,
                {size: np.concatenate([found[n][at], found[-1][at]]) for at, size in places},
                threshold,
            )
            | _agreement(first, subject.faces)
            for n, subject in enumerate(subjects)
        ],
    }


def _in_order(faces: Faces) -> Floats:
    return np.concatenate([faces.embeddings[faces.labelled], faces.embeddings[~faces.labelled]])


def course(file: Path) -> dict[str, Any] | None:
    """Impostor distances of the course's gallery, which is of vggface2; None without the file."""
    if not file.is_file():
        return None
    gallery = read(file)
    cosines = np.array(gallery.embeddings @ gallery.embeddings.T)
    apart = distances(cosines[np.triu_indices(len(cosines), 1)], EUCLIDEAN)
    limit = thresholds.GENERAL.distance
    return {
        "people": len(set(gallery.names)),
        "pairs": len(apart),
        "threshold": limit,
        "within": int(np.sum(apart <= limit)),
        "nearest": float(apart.min()),
    }


def _measured(
    subject: Subject, generated: Floats, nearest: dict[int, Floats], threshold: float
) -> dict[str, Any]:
    tell(f"Measuring {subject.name}")
    compared = pairs(subject.faces)
    grid = []
    for photographs in PHOTOGRAPHS:
        drawn = draws(subject.faces, generated, photographs)
        for size, found in nearest.items():
            figures = _identification(subject.faces, drawn, found, threshold)
            grid.append({"size": size, "photographs": photographs, **figures})
        tell(f"  {'all' if photographs == ALL else photographs} photographs of each person")
    impostor, genuine = np.sort(compared.impostor), np.sort(compared.genuine)
    # The first n impostors are within the threshold that the next one bounds.
    at = np.unique(np.geomspace(1, len(impostor) - 1, 60).astype(int))
    return {
        "name": subject.name,
        "verification": _facts(metrics.verification(compared)),
        "genuine": len(genuine),
        "impostor": len(impostor),
        "threshold": {
            "distance": threshold,
            "far": float(np.mean(impostor <= threshold)),
            "frr": float(np.mean(genuine > threshold)),
        },
        "curve": [[float(n / len(impostor)), float(np.mean(genuine < impostor[n]))] for n in at],
        "grid": grid,
    }


def _identification(
    faces: Faces, drawn: list[Draw], nearest: Floats, threshold: float
) -> dict[str, Any]:
    real = searches(faces, drawn, nearest, real=True)
    invented = searches(faces, drawn, nearest, real=False)
    found = [
        *metrics.identification(real),
        metrics.fnir_within(real, threshold),
        metrics.fpir_within(real, threshold),
    ]
    return {
        **_facts(found),
        "generated": _facts([metrics.fnir(invented, fpir) for fpir in metrics.FPIRS]),
        "nearest": _nearest(real),
        "nearest_generated": float(invented.nearest.min()),
    }


def _nearest(found: Searches) -> float:
    """The smallest distance of a stranger."""
    return float(found.nearest.min())


def _facts(found: Sequence[Metric]) -> dict[str, Any]:
    return {metric.name: metric.facts() for metric in found}


def _data(faces: Faces) -> dict[str, Any]:
    return {
        "faces": len(faces.people),
        "images": int(faces.images),
        "unused": int(faces.unused),
        "labelled": int(faces.labelled.sum()),
        "people": {
            str(name): int(np.sum(faces.people == name))
            for name in np.unique(faces.people[faces.labelled])
        },
        "strangers": {
            str(name): int(np.sum(faces.people == name))
            for name in np.unique(faces.people[~faces.labelled])
        },
    }


def _resemblance(faces: Faces, strangers: Strangers, generated: Floats) -> dict[str, Any]:
    """Cosines of the labelled faces with real and generated strangers, and between generated."""
    own = {str(name): faces.embeddings[faces.people == name] for name in np.unique(faces.people)}
    labelled = {str(name) for name in faces.people[faces.labelled]}
    half = len(generated) // 2
    pairs = {
        "labelled, other people": [
            own[one] @ own[two].T for one in labelled for two in own if one != two
        ],
        "labelled, generated": [own[one] @ generated.T for one in labelled],
        "other people, each other": [
            own[one] @ own[two].T for one in own for two in own
            if one < two and not {one, two} & labelled
        ],
        "other people, generated": [own[one] @ generated.T for one in own.keys() - labelled],
        "generated, generated": [generated[:half] @ generated[half:].T],
    }  # fmt: skip
    return {
        "rest": strangers.rest,
        "dimensions": strangers.dimensions,
        "rows": {name: _cosines(blocks) for name, blocks in pairs.items()},
    }


def _cosines(blocks: list[Floats]) -> dict[str, Any]:
    """What is shown of the cosines between two people; the blocks of each pair count alike."""
    mean = float(np.mean([block.mean() for block in blocks]))
    every = np.concatenate([block.ravel() for block in blocks])
    return {
        "mean": mean,
        "deviation": float(np.mean([((block - mean) ** 2).mean() for block in blocks]) ** 0.5),
        "p99": float(np.percentile(every, 99)),
        "p999": float(np.percentile(every, 99.9)),
        "most": float(every.max()),
        "count": len(every),
    }


def _agreement(first: Faces, faces: Faces) -> dict[str, Any]:
    """Cosines between the embeddings of the same faces by the first subject and by another."""
    if first is faces or first.people.tolist() != faces.people.tolist():
        return {"cosine": None}
    cosines = np.einsum("ij,ij->i", first.embeddings, faces.embeddings)
    return {
        "cosine": {
            "labelled": float(cosines[first.labelled].min()),
            "others": float(cosines[~first.labelled].min()),
            "mean": float(cosines.mean()),
        }
    }


def _told(models: Sequence[Model]) -> Sequence[Model]:
    tell("Embedding the samples with " + ", ".join(model.path.name for model in models))
    return models


def _model(name: str) -> Model:
    if not Path(name).is_dir():
        return store.find(name)
    try:
        return Model.open(Path(name))
    except ModelStoreError as error:
        raise ModelError(str(error), hint="facectl models list") from error


def _title(model: Model) -> str:
    return f"facectl, {_precision(model)}"


def _precision(model: Model) -> str:
    return str(getattr(model, "precision", "int8" if "int8" in model.path.name else "fp32"))


def _check(samples: Path, sizes: Sequence[int]) -> None:
    people = samples / "people" / "enrolled"
    if not people.is_dir() or not any(people.iterdir()):
        raise InputError(f"{samples} has no photographs in people/enrolled/NAME/")
    if not sizes or min(sizes) < 5:
        raise InputError("--sizes: a gallery has at least the five labelled people")


def tell(text: str) -> None:
    """Print progress on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
