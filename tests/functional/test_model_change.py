"""Deploying another model and rolling back, with the gallery."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gallery_data import FakeFaceEncoder, photo, unit
from published_gallery import served
from test_deploy_command import FIRST, built, cloud, facectl

from facectl.aws import Clients
from facectl.deploy import deployer
from facectl.errors import CloudError, GalleryError, ModelError
from facectl.gallery import photographs, publish
from facectl.gallery.changes import EmbeddingSpace
from facectl.gallery.photographs import EncodedPhotograph
from facectl.gallery.rebuild import model_of
from facectl.gallery.store import Store
from facectl.models import store as models
from lambda_src.vision.store import NETWORKS, Model

__all__ = ["built", "cloud"]

OLD, NEW = "abc/facenet", "def/facenet"
# The axis of the embedding that each model makes of a photograph.
SHIFT = {OLD: 0, NEW: 100}


class ModelEncoder(FakeFaceEncoder):
    """Embeds differently for every model."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.shift = SHIFT[model.space]

    def embed(self, photo: Path, *, take_largest: bool = False) -> EncodedPhotograph:
        found = super().embed(photo, take_largest=take_largest)
        axis = int(found.embedding.argmax())
        return EncodedPhotograph(
            found.photo, found.sha256, unit(axis + self.shift), found.faces, found.face_px,
            found.probability, found.sharpness,
        )  # fmt: skip


def install(name: str, space: str, *, synthetic: bool = False) -> None:
    with models.installation(name) as folder:
        for network in NETWORKS:
            (folder / network).write_text(f"{name} {network}")
        facts = {"preprocessing": "facenet", "synthetic": synthetic, "weights": name}
        models.write_manifest(folder, {"space": space, **facts})


@pytest.fixture
def people(cloud: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two people enrolled with the model `tiny`, which is deployed; `other` is installed too."""
    for module in (photographs, deployer):
        monkeypatch.setattr(module, "PhotographEncoder", ModelEncoder)
    folder = tmp_path / "people"
    photo(folder / "Ada" / "1.jpg", 0)
    photo(folder / "Ada" / "2.jpg", 0, 0.1)
    photo(folder / "Grace" / "1.jpg", 10)
    done(*FIRST)
    done("gallery", "enroll", str(folder))
    install("other", NEW)
    return folder


def done(*arguments: str, text: str | None = None) -> Any:
    result = facectl(*arguments, text=text)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def state() -> tuple[int, str, dict[str, int]]:
    store = Store.open("42")
    try:
        return store.version, store.space, store.people()
    finally:
        store.close()


def published() -> tuple[int, str]:
    """Version and space of the gallery that functions of the deployed model find."""
    deployment = json.loads(facectl("context", "--json").stdout)
    clients = Clients(deployer.Deployment(asu_id="42", target="aws", space=deployment["space"]))
    found = publish.inspect(clients)
    assert found.problem is None
    assert found.manifest is not None
    return found.manifest.version, found.manifest.space


def test_the_plan_shows_the_rebuild_of_the_gallery(people: Path) -> None:
    planned = done("deploy", "--model", "other", "--dry-run")
    lines = planned.stdout.splitlines()
    assert lines[0] == "  gallery: re-embed 3 photographs of 2 people for model other"
    assert lines[-1] == f"{len(lines) - 1} steps"
    facts = json.loads(done("deploy", "--model", "other", "--dry-run", "--json").stdout)
    assert facts[0] == {
        "action": "re-embed",
        "kind": "gallery",
        "name": "42",
        "changes": [{"attribute": "space", "before": OLD, "after": NEW}],
        "photographs": 3,
        "known": 0,
        "people": 2,
        "dropped": [],
        "lost": [],
    }
    assert state() == (1, OLD, {"Ada": 2, "Grace": 1})
    assert published() == (1, OLD)


def test_a_deploy_of_another_model_rebuilds_the_gallery(people: Path) -> None:
    deployed = done("deploy", "--model", "other")
    assert "gallery: re-embed 3 photographs of 2 people for model other" in deployed.stderr
    assert state() == (2, NEW, {"Ada": 2, "Grace": 1})
    assert published() == (2, NEW)
    assert done("deploy", "--model", "other").stdout.startswith("Nothing to change")
    history = json.loads(done("gallery", "history", "--json").stdout)
    assert [(v["number"], v["space"]["model"]) for v in history] == [
        (2, "other"), (1, "tiny"), (0, "tiny"),
    ]  # fmt: skip
    table = done("gallery", "history").stdout.splitlines()
    assert table[0].split()[-1] == "Model"
    assert [line.split()[-1] for line in table[1:]] == ["other", "tiny", "tiny"]


def test_the_new_gallery_is_published_before_the_functions_change(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real_publish, real_step = publish.publish, deployer.apply_step

    def publishing(*arguments: Any, **options: Any) -> Any:
        manifest = real_publish(*arguments, **options)
        order.append(f"publish {manifest.space}")
        return manifest

    def stepping(step: Any, context: Any) -> None:
        order.append(f"{step.verb} {step.resource.kind}")
        real_step(step, context)

    monkeypatch.setattr(publish, "publish", publishing)
    monkeypatch.setattr(deployer, "apply_step", stepping)
    done("deploy", "--model", "other")
    assert order.index(f"publish {NEW}") < order.index("update function")


def named(space: str, axis: int) -> str:
    """The answer of a cold function with the model of a space to the face of this axis."""
    clients = Clients(deployer.Deployment(asu_id="42", target="aws", space=space))
    gallery = served(clients)
    assert gallery.space == space
    return gallery.match(unit(axis + SHIFT[space])[None])[0].name


def test_functions_of_both_models_recognize_everybody_during_a_deploy(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = deployer.apply_step
    changed: list[str] = []

    def stepping(step: Any, context: Any) -> None:
        # Before, between and after the changes of the two functions.
        assert (named(OLD, 0), named(OLD, 10)) == ("Ada", "Grace")
        if step.resource.kind == "function":
            changed.append(step.resource.name)
            assert (named(NEW, 0), named(NEW, 10)) == ("Ada", "Grace")
        real(step, context)

    monkeypatch.setattr(deployer, "apply_step", stepping)
    done("deploy", "--model", "other")
    assert changed == ["face-detection", "face-recognition"]
    assert named(NEW, 0) == "Ada"
    changed.clear()
    done("gallery", "enroll", "Eve", str(photo(people / "eve.jpg", 40)))
    assert named(NEW, 40) == "Eve"
    monkeypatch.setattr(deployer, "apply_step", real)
    done("gallery", "rollback", "1", "--yes")
    assert (named(OLD, 0), named(OLD, 10), named(OLD, 40)) == ("Ada", "Grace", "Unknown")


def test_a_failed_deploy_keeps_the_gallery_and_is_finished_by_the_next(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise CloudError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(deployer, "apply_step", fails)
        assert isinstance(facectl("deploy", "--model", "other").exception, CloudError)
    assert state()[:2] == (1, OLD)
    with monkeypatch.context() as patch:
        patch.setattr(publish, "publish", fails)
        assert isinstance(facectl("deploy", "--model", "other").exception, CloudError)
    done("deploy", "--model", "other")
    assert state() == (2, NEW, {"Ada": 2, "Grace": 1})
    assert published() == (2, NEW)


def test_a_model_without_the_option_model_needs_confirmation(people: Path) -> None:
    """`deploy` uses the model that was built last, which the user may not expect."""
    refused = facectl("deploy", text="n\n")
    assert isinstance(refused.exception, GalleryError)
    assert "was not requested" in str(refused.exception)
    assert "--model other" in (refused.exception.hint or "")
    assert state()[:2] == (1, OLD)
    assert isinstance(facectl("deploy").exception, GalleryError)
    done("deploy", text="y\n")
    assert state()[:2] == (2, NEW)


def test_dropping_people_without_a_photograph_needs_confirmation(people: Path) -> None:
    (people / "Grace" / "1.jpg").unlink()
    (people / "Ada" / "2.jpg").unlink()
    refused = facectl("deploy", "--model", "other", text="n\n")
    assert isinstance(refused.exception, GalleryError)
    assert "Grace have no photograph left" in str(refused.exception)
    assert "--photographs FOLDER" in (refused.exception.hint or "")
    assert state() == (1, OLD, {"Ada": 2, "Grace": 1})
    table = [line for line in refused.stderr.splitlines() if "the file is gone" in line]
    assert [line.split()[0] for line in table] == ["Ada", "Grace"]
    assert ".jpg" in table[0]
    done("deploy", "--model", "other", "--yes")
    assert state() == (2, NEW, {"Ada": 1})
    # The old version still has them.
    done("gallery", "rollback", "1", "--yes")
    assert state() == (3, OLD, {"Ada": 2, "Grace": 1})


def test_the_error_says_that_people_were_imported(people: Path, tmp_path: Path) -> None:
    done("gallery", "export", str(tmp_path / "old.npz"))
    for name in ("Ada", "Grace"):
        done("gallery", "remove", name, "--forget")
    done("gallery", "import", str(tmp_path / "old.npz"))
    refused = facectl("gallery", "rebuild", "--model", "other", text="n\n")
    assert isinstance(refused.exception, GalleryError)
    assert "all 2 people were imported as embeddings, without photographs" in str(refused.exception)
    # The two photographs of Ada have the same embedding, which is imported once.
    assert state()[1:] == (OLD, {"Ada": 1, "Grace": 1})


def test_rollback_deploys_the_model_of_the_version(people: Path) -> None:
    done("deploy", "--model", "other")
    refused = facectl("gallery", "rollback", "1", text="n\n")
    assert isinstance(refused.exception, GalleryError)
    assert "version 1 is of model tiny" in str(refused.exception)
    assert refused.exception.hint == "facectl gallery rollback 1 --yes"
    assert state()[:2] == (2, NEW)
    back = done("gallery", "rollback", "1", "--yes")
    assert "Version 3 is a copy of version 1." in back.stdout
    assert state() == (3, OLD, {"Ada": 2, "Grace": 1})
    assert published() == (3, OLD)
    assert json.loads(facectl("context", "--json").stdout)["space"] == OLD
    assert json.loads(facectl("status", "--json").stdout)["drift"] is False
    done("gallery", "rollback", "2", "--yes")
    assert published() == (4, NEW)


def test_rollback_to_a_model_that_is_not_installed_is_an_error(people: Path) -> None:
    done("deploy", "--model", "other")
    for file in (models.folder() / "tiny").iterdir():
        file.unlink()
    (models.folder() / "tiny").rmdir()
    refused = facectl("gallery", "rollback", "1", "--yes")
    assert isinstance(refused.exception, ModelError)
    assert "version 1 of the gallery is of model tiny, embedding space abc/facenet" in str(
        refused.exception
    )
    assert (refused.exception.hint or "").startswith(
        "facectl models build --weights FILE --preprocessing facenet"
    )
    assert state()[:2] == (2, NEW)


@pytest.mark.parametrize(
    ("name", "space", "synthetic", "weights"),
    [
        ("synthetic-cse546", "1/cse546", True, "--weights synthetic --preprocessing cse546"),
        ("casia-webface-facenet", "2/facenet", False, "--weights casia-webface"),
        (
            None,
            "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b/facenet",
            False,
            "--weights vggface2 --preprocessing facenet",
        ),
        (
            None,
            "c32b9570a4ae392b04701e57c37fe4da93c7ce46e85b3da03979c8992dea334c/cse546",
            False,
            "--weights casia-webface --preprocessing cse546",
        ),
        # A file's sha256, by which earlier versions named its space.
        ("resnetV1-1-cse546", "1/cse546", False, "facectl gallery rebuild --model NAME"),
    ],
)
def test_the_hint_is_the_command_that_builds_the_model_of_a_version(
    name: str | None, space: str, synthetic: bool, weights: str
) -> None:
    with pytest.raises(ModelError, match="version 7") as caught:
        model_of(EmbeddingSpace(space, synthetic, name), 7)
    assert weights in (caught.value.hint or "")


def test_a_failed_rollback_prints_the_command_that_finishes_it(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("deploy", "--model", "other")

    def fails(*_: Any, **__: Any) -> None:
        raise CloudError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(deployer, "apply_step", fails)
        refused = facectl("gallery", "rollback", "1", "--yes")
    assert isinstance(refused.exception, CloudError)
    assert "facectl deploy --model tiny" in " ".join(refused.stderr.split())
    done("deploy", "--model", "tiny")
    assert published() == (3, OLD)


def test_rebuild_alone_publishes_ahead_of_the_functions(people: Path) -> None:
    rebuilt = done("gallery", "rebuild", "--model", "other")
    assert "The gallery is of model other now." in rebuilt.stdout
    assert "facectl deploy --model other" in " ".join(rebuilt.stderr.split())
    assert state() == (2, NEW, {"Ada": 2, "Grace": 1})
    refused = facectl("gallery", "enroll", "Eve", str(photo(people / "eve.jpg", 40)))
    assert isinstance(refused.exception, GalleryError)
    assert "facectl deploy --model" in (refused.exception.hint or "")
    done("deploy", "--model", "other")
    assert published() == (2, NEW)
    done("gallery", "enroll", "Eve", str(people / "eve.jpg"))
    assert state()[2]["Eve"] == 1


def test_rebuild_finds_moved_photographs(people: Path, tmp_path: Path) -> None:
    people.rename(tmp_path / "elsewhere")
    planned = done("gallery", "rebuild", "--model", "other", "--dry-run")
    assert "re-embed 0 photographs of 0 people" in planned.stdout
    assert planned.stderr.count("the file is gone") == 3
    facts = json.loads(
        done(
            "gallery", "rebuild", "--model", "other", "--photographs", str(tmp_path / "elsewhere"),
            "--json",
        ).stdout
    )  # fmt: skip
    assert (facts["rebuilt"], facts["lost"], facts["version"]) == (3, [], 2)
    assert facts["space"] == NEW


def test_rebuild_for_the_gallerys_own_model_does_nothing(people: Path) -> None:
    assert "of model tiny already" in done("gallery", "rebuild").stdout
    assert json.loads(done("gallery", "rebuild", "--json").stdout)["rebuilt"] == 0
    assert state()[0] == 1


def test_the_change_of_threshold_is_printed(people: Path) -> None:
    done("gallery", "settings", "--threshold", "0.7")
    told = " ".join(done("deploy", "--model", "other").stderr.split())
    assert "The threshold was picked for tiny: 0.7 becomes 1." in told
    assert "facectl gallery calibrate" in told


def test_a_synthetic_gallery_is_rebuilt_for_a_trained_model(people: Path) -> None:
    """First the demo, then trained weights."""
    install("synthetic-facenet", NEW, synthetic=True)
    done("deploy", "--model", "synthetic-facenet", "--yes")
    assert json.loads(done("gallery", "list", "--json").stdout)["synthetic"] is True
    assert "(synthetic)" in done("gallery", "history").stdout
    done("deploy", "--model", "tiny")
    listed = json.loads(done("gallery", "list", "--json").stdout)
    assert (listed["synthetic"], listed["space"]) == (False, OLD)
