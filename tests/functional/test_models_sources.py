"""Which weights are used without --weights, and where those of casia-webface come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from facectl.errors import ModelError
from facectl.models import (
    archive,
    builder,
    canonical,
    sources,
    spaces,
    store,
    synthetic,
    tensorflow_graph,
    wheels,
)
from facectl.models.archive import State
from facectl.models.sources import BuildProgress
from facectl.models.synthetic import Synthetic
from facectl.models.weights import RELEASES, Release, UnavailableError, fetch
from lambda_src.vision.store import Model


@pytest.fixture(scope="module")
def state() -> State:
    return {name: np.full(shape, 0.01, "f4") for name, shape in canonical.expected().items()}


class World:
    """What can be downloaded, what was asked for and what was said."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.asked: list[str] = []
        self.said: list[str] = []

    def ask(self, name: str, reason: str) -> None:
        self.asked.append(name)
        if name not in self.there:
            raise UnavailableError(f"{name} could not be downloaded", reason=reason)

    def progress(self) -> BuildProgress:
        return BuildProgress(say=self.said.append)


@pytest.fixture
def world(state: State, monkeypatch: pytest.MonkeyPatch) -> World:
    found = World()

    def release(wanted: Release, **_: object) -> Path:
        found.ask(wanted.name, "no route")
        return wanted.file

    def member(*_: object, **__: object) -> bytes:
        found.ask("graph", "no index")
        return b""

    monkeypatch.setattr(sources, "fetch", release)
    monkeypatch.setattr(wheels, "member", member)
    monkeypatch.setattr(wheels, "at_hand", lambda _: "cached" in found.there)
    monkeypatch.setattr(archive, "read_state", lambda _: state)
    monkeypatch.setattr(tensorflow_graph, "inception_resnet", lambda _: state)
    monkeypatch.setattr(synthetic, "make", lambda _: Synthetic(state, "synthetic"))
    monkeypatch.setattr(spaces, "identity", lambda _: "identity")
    return found


def test_vggface2_is_first(world: World) -> None:
    world.there = {"vggface2", "casia-webface", "graph"}
    source = sources.first_available("facenet", world.progress())
    assert source.name == "vggface2"
    # By which the galleries that were published before know it.
    assert source.identity == RELEASES["vggface2"].sha256
    assert world.asked == ["vggface2"]
    assert world.said == []


def test_casia_webface_of_the_package_index_is_second(world: World) -> None:
    """The release of casia-webface is on the server that did not answer, so it is not asked."""
    world.there = {"casia-webface", "graph"}
    source = sources.first_available("facenet", world.progress())
    assert (source.name, source.synthetic) == ("casia-webface", False)
    assert world.asked == ["vggface2", "graph"]
    assert world.said == ["Using casia-webface: vggface2 can't be downloaded (no route)"]


def test_synthetic_weights_are_last(world: World) -> None:
    source = sources.first_available("facenet", world.progress())
    assert (source.name, source.identity, source.synthetic) == ("synthetic", "synthetic", True)
    (said,) = world.said
    assert said == (
        "Using synthetic weights: vggface2 can't be downloaded (no route), nor can "
        "casia-webface from the package index (no index)"
    )


def test_a_damaged_download_is_no_reason_for_other_weights(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object, **__: object) -> Path:
        raise ModelError("it was not the published vggface2")

    monkeypatch.setattr(sources, "fetch", damaged)
    with pytest.raises(ModelError, match="not the published"):
        sources.first_available("facenet", world.progress())


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ({"casia-webface", "graph"}, ["casia-webface"]),
        ({"graph"}, ["casia-webface", "graph"]),
        ({"casia-webface", "graph", "cached"}, ["graph"]),
    ],
    ids=["release", "index", "cached"],
)
def test_where_casia_webface_comes_from(world: World, there: set[str], asked: list[str]) -> None:
    world.there = there
    assert sources.read("casia-webface", progress=world.progress()).name == "casia-webface"
    assert world.asked == asked
    assert len(world.said) == len(asked) - 1


def test_casia_webface_without_network(world: World) -> None:
    with pytest.raises(UnavailableError, match="graph could not be downloaded"):
        sources.read("casia-webface")


def test_a_copy_of_the_published_file_has_its_space(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "resnet.pt"
    file.write_bytes(b"weights")
    digest = "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b"
    monkeypatch.setattr(sources, "file_digest", lambda _: digest)
    assert sources.read(str(file)).identity == digest


@pytest.mark.parametrize(
    ("installed", "asked_for", "found"),
    [
        (["casia-webface", "synthetic"], None, "casia-webface-facenet"),
        (["casia-webface", "vggface2"], None, "vggface2-facenet"),
        (["synthetic"], None, "built None"),
        (["casia-webface", "vggface2"], "casia-webface", "casia-webface-facenet"),
        (["casia-webface"], "vggface2", "built vggface2"),
        (["own-1"], "own-1", "built own-1"),
    ],
)
def test_an_installed_model_is_not_built_again(
    installed: list[str], asked_for: str | None, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --weights, one of trained weights; a file of the user may have changed."""
    models = [
        Model(Path(f"{name}-facenet"), f"{name}/facenet", "facenet", name == "synthetic", name)
        for name in installed
    ]
    monkeypatch.setattr(store, "installed", lambda: models)
    monkeypatch.setattr(
        builder,
        "build",
        lambda weights, *_, **__: Model(Path(f"built {weights}"), "new", "facenet", False, "new"),
    )
    assert str(builder.ensure(asked_for, precision="fp32").path) == found


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout])
def test_a_server_that_can_not_be_reached_is_tried_once(
    error: Callable[[str], Exception],
) -> None:
    asked = []

    def unreachable(request: httpx.Request) -> httpx.Response:
        asked.append(request.extensions["timeout"]["connect"])
        raise error("no route")

    with pytest.raises(UnavailableError) as caught:
        fetch(
            RELEASES["vggface2"],
            transport=httpx.MockTransport(unreachable),
            sleep=lambda _: pytest.fail("it waited"),
        )
    assert caught.value.reason == "no route"
    assert asked == [5]
