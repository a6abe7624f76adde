"""int8 models: quantisation, calibration folders, two models of one embedding space."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from small_model import SPACE, install
from typer.testing import CliRunner

from facectl.cli.app import app
from facectl.context import Deployment
from facectl.errors import InputError, ModelError
from facectl.gallery import photographs
from facectl.gallery.photographs import PhotographError
from facectl.models import builder, portrait, quantise, store
from lambda_src.vision.embedder import Embedder, EmbedderMismatchError
from lambda_src.vision.store import EMBEDDER, EMBEDDER_WEIGHTS, Model


def crops(count: int, seed: int = 3) -> NDArray[np.uint8]:
    return portrait.variants("facenet", count, seed)


def calibration(measured: NDArray[np.uint8]) -> quantise.Calibration:
    return quantise.Calibration(measured, crops(8, 4), "test crops")


def test_quantise_keeps_the_embeddings_and_shrinks_the_file() -> None:
    model = install("small-facenet")
    before = Embedder(model, threads=1).embed(list(crops(6)))
    size = (model.path / EMBEDDER_WEIGHTS).stat().st_size
    cosine = quantise.quantise(model.path, calibration(crops(12)))
    after = Embedder(model, threads=1).embed(list(crops(6)))
    assert cosine >= quantise.MIN_COSINE
    assert (before * after).sum(axis=1).min() >= quantise.MIN_COSINE
    assert np.linalg.norm(after, axis=1) == pytest.approx(1, abs=1e-5)
    assert (model.path / EMBEDDER_WEIGHTS).stat().st_size < size / 2
    assert [path for path in model.path.iterdir() if path.is_dir()] == []


def test_weights_use_seven_bits() -> None:
    """With eight, pairs of products overflow on CPUs without VNNI."""
    model = install("small-facenet")
    quantise.quantise(model.path, calibration(crops(12)))
    graph = onnx.load(model.path / EMBEDDER).graph
    weights = [onnx.numpy_helper.to_array(each) for each in graph.initializer]
    kernels = [each for each in weights if each.dtype == np.int8 and each.ndim == 4]
    assert len(kernels) == 2
    assert max(int(np.abs(kernel.astype(int)).max()) for kernel in kernels) <= 64


def test_quantise_refuses_embeddings_that_differ() -> None:
    model = install("small-facenet")
    dark = crops(8) // 100
    with pytest.raises(ModelError, match=r"differs from fp32: cosine .* \(minimum 0\.995\)") as e:
        quantise.quantise(model.path, calibration(dark))
    assert e.value.hint is not None
    assert "--precision fp32" in e.value.hint


class Encoder:
    """Finds the portrait's face in every file but those called `nobody`."""

    read: int = 0

    def __init__(self, model: Model) -> None:
        Encoder.read = 0

    def face(self, photo: Path, preprocessing: str) -> NDArray[np.uint8]:
        Encoder.read += 1
        if photo.stem.startswith("nobody"):
            raise PhotographError("no_face", "no face was found", 0)
        return crops(1, Encoder.read)[0]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setattr(photographs, "PhotographEncoder", Encoder)
    return install("small-facenet")


def photos(folder: Path, count: int, name: str = "face") -> Path:
    for index in range(count):
        (folder / f"{name}{index:05d}.jpg").touch()
    return folder


def test_a_calibration_folder(model: Model, tmp_path: Path) -> None:
    found = quantise.from_folder(photos(photos(tmp_path, 30), 30, "nobody"), model)
    assert found.source == f"24 faces of 60 photographs in {tmp_path}"
    assert len(found.measured) == 24
    # Six of its own faces, and variants of the portrait.
    assert len(found.compared) == 22


def test_a_missing_calibration_folder(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        quantise.from_folder(tmp_path / "missing", model)


def test_a_calibration_folder_without_photographs(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no photographs found"):
        quantise.from_folder(tmp_path, model)


def test_a_calibration_folder_without_faces(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 faces found in 50 photographs"):
        quantise.from_folder(photos(tmp_path, 50, "nobody"), model)


def test_a_calibration_folder_with_one_face(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 face found in 31 photographs,") as error:
        quantise.from_folder(photos(photos(tmp_path, 1), 30, "nobody"), model)
    assert error.value.hint is not None
    assert "leave --calibration out" in error.value.hint


def test_of_ten_thousand_photographs_a_bounded_number_is_used(model: Model, tmp_path: Path) -> None:
    found = quantise.from_folder(photos(tmp_path, 10_000), model)
    assert found.source == f"64 faces of 10000 photographs in {tmp_path}"
    assert Encoder.read == 80


def test_of_ten_thousand_photographs_without_faces_few_are_read(
    model: Model, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="0 faces found in 400 of 10000 photographs"):
        quantise.from_folder(photos(tmp_path, 10_000, "nobody"), model)


def refused(*arguments: str) -> str:
    found = CliRunner().invoke(app, ["models", "build", *arguments]).exception
    assert isinstance(found, InputError)
    assert found.hint is not None
    return str(found)


def test_synthetic_weights_are_not_quantised(tmp_path: Path) -> None:
    text = "Synthetic weights can't be quantised"
    assert text in refused("--weights", "synthetic", "--precision", "int8")
    assert text in refused("--weights", "synthetic", "--calibration", str(tmp_path))


def test_an_unknown_precision() -> None:
    assert "Unknown precision 'int4': fp32 or int8" in refused("--precision", "int4")


def test_calibration_is_for_int8(tmp_path: Path) -> None:
    text = refused("--precision", "fp32", "--calibration", str(tmp_path))
    assert "--calibration is for int8" in text


def test_too_few_photographs_are_refused_before_weights_are_read(tmp_path: Path) -> None:
    """Weights that don't exist would be named otherwise."""
    text = refused("--calibration", str(photos(tmp_path, 19)), "--weights", "missing.pt")
    assert "19 photographs found, and the faces of at least 20 are needed" in text


def test_the_default_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[dict[str, Any]] = []
    monkeypatch.setattr(builder, "build", lambda *_, **options: built.append(options))
    int8 = install("vggface2-facenet-int8", precision="int8")
    install("vggface2-facenet")
    fp32 = install("synthetic-facenet", space="def/facenet", synthetic=True)
    assert builder.ensure("vggface2") == int8
    assert builder.ensure("synthetic") == fp32
    assert built == []


@pytest.fixture
def both() -> tuple[Model, Model]:
    """Two models of one space; fp32 is the one built last."""
    int8 = install("vggface2-facenet-int8", precision="int8")
    return install("vggface2-facenet", precision="fp32"), int8


def test_find_with_two_models_of_a_space(both: tuple[Model, Model]) -> None:
    fp32, int8 = both
    assert store.find("vggface2-facenet-int8") == int8
    assert store.find("vggface2-facenet") == fp32
    assert store.find(SPACE, "int8") == int8
    assert store.find(SPACE, "fp32") == fp32
    assert store.find(SPACE) == fp32
    assert install("vggface2-facenet-int8", precision="int8") == store.find(SPACE)


def test_a_name_without_its_precision_finds_the_only_model() -> None:
    int8 = install("vggface2-facenet-int8", precision="int8")
    assert store.find("vggface2-facenet") == int8
    assert store.find(SPACE, "fp32") == int8


def test_a_deployment_keeps_its_precision(both: tuple[Model, Model]) -> None:
    fp32, int8 = both
    before = Deployment("42", "local", space=SPACE)
    assert store.deployed(Deployment("42", "local", space=SPACE, precision="int8")) == int8
    # Recorded by an earlier version, which had fp32 only.
    assert store.deployed(before) == fp32
    assert store.deployed(Deployment("42", "local")) == store.find()


def test_list_shows_the_precision(both: tuple[Model, Model]) -> None:
    found = json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).stdout)
    assert [(each["name"], each["precision"]) for each in found] == [
        ("vggface2-facenet", "fp32"),
        ("vggface2-facenet-int8", "int8"),
    ]
    assert len({each["space"] for each in found}) == 1
    assert "int8" in CliRunner().invoke(app, ["models", "list"]).stdout


def test_an_embedder_that_computes_something_else_is_found() -> None:
    Embedder(install("small-facenet"), threads=1).verify()
    other = Embedder(install("small-facenet", seed=2), threads=1)
    with pytest.raises(EmbedderMismatchError, match="gives other embeddings on this CPU"):
        other.verify()


@pytest.mark.parametrize("changed", [{"face": "?"}, {"face": "AAAA"}, {"embedding": ""}])
def test_a_damaged_reference(changed: dict[str, str]) -> None:
    reference = install("small-facenet").reference
    assert reference is not None
    model = install("small-facenet", reference={**asdict(reference), **changed})
    with pytest.raises(EmbedderMismatchError, match="the manifest's reference is damaged"):
        Embedder(model, threads=1).verify()


@pytest.mark.parametrize("reference", [{}, "text", 3, {"face": "AAAA"}])
def test_a_reference_of_another_form(reference: object) -> None:
    with pytest.raises(ModelError, match="is damaged"):
        install("small-facenet", reference=reference)


@pytest.mark.parametrize("precision", ["int4", None, 8])
def test_a_manifest_with_an_unknown_precision(precision: object) -> None:
    with pytest.raises(ModelError, match="is not fp32 or int8"):
        install("small-facenet", precision=precision)


def test_models_of_earlier_versions_have_no_reference() -> None:
    Embedder(install("small-facenet", seed=2, reference=None), threads=1).verify()


def recognition(model: Model) -> subprocess.CompletedProcess[str]:
    """The init phase of face-recognition with this model."""
    return subprocess.run(
        [sys.executable, "-c", "import lambda_src.recognition"],
        env={
            **os.environ,
            "FACECTL_MODEL_DIR": str(model.path),
            "FACECTL_GALLERY_BUCKET": "gallery",
            # Nothing listens there: the gallery is loaded when a batch comes.
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def init_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (found,) = (
        line for line in map(json.loads, done.stdout.splitlines()) if line["stage"] == "init"
    )
    return dict(found)


def test_recognition_starts_with_the_model_that_was_built() -> None:
    done = recognition(install("small-facenet"))
    assert done.returncode == 0, done.stderr
    line = init_line(done)
    assert line["level"] == "INFO"
    assert line["precision"] == "fp32"
    assert isinstance(line["cpu"], list)


def test_recognition_refuses_to_serve_other_embeddings() -> None:
    """The invocation fails, so SQS delivers its messages again."""
    done = recognition(install("small-facenet", seed=2))
    assert done.returncode != 0
    line = init_line(done)
    assert (line["level"], line["error"]) == ("ERROR", "EmbedderMismatchError")
    assert "gives other embeddings on this CPU than when it was built" in line["message"]
