"""Opening a model folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lambda_src.vision.store import FORMAT, NETWORKS, Model, ModelStoreError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NETWORKS:
        (tmp_path / name).write_bytes(name.encode())
    manifest(tmp_path)
    return tmp_path


def manifest(folder: Path, **changes: Any) -> None:
    files = {
        name: {"bytes": len(name), "sha256": hashlib.sha256(name.encode()).hexdigest()}
        for name in NETWORKS
    }
    facts = {
        "format": FORMAT,
        "space": "ab/facenet",
        "preprocessing": "facenet",
        "synthetic": True,
        "weights": "synthetic",
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(facts | changes))


def test_open(folder: Path) -> None:
    model = Model.open(folder)
    assert (model.space, model.preprocessing, model.weights) == (
        "ab/facenet",
        "facenet",
        "synthetic",
    )
    assert model.synthetic
    model.verify()


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelStoreError, match="contains no model"):
        Model.open(tmp_path / "missing")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"format": "x"}'])
def test_invalid_manifests_are_errors_with_the_command_to_rebuild(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ModelStoreError, match="facectl models build"):
        Model.open(folder)


def test_an_older_format_is_an_error(folder: Path) -> None:
    manifest(folder, format=FORMAT - 1)
    with pytest.raises(
        ModelStoreError, match=f"format {FORMAT - 1}, and this version reads {FORMAT}"
    ):
        Model.open(folder)


@pytest.mark.parametrize("changes", [{"files": {}}, {"files": None}, {"files": {"pnet.onnx": 3}}])
def test_manifests_without_required_fields(folder: Path, changes: dict[str, Any]) -> None:
    manifest(folder, **changes)
    with pytest.raises(ModelStoreError, match="is damaged"):
        Model.open(folder)


def test_a_missing_file(folder: Path) -> None:
    (folder / "onet.onnx").unlink()
    with pytest.raises(ModelStoreError, match=r"onet\.onnx is missing"):
        Model.open(folder)


def test_a_truncated_file(folder: Path) -> None:
    (folder / "embedder.onnx").write_bytes(b"embed")
    with pytest.raises(ModelStoreError, match="5 bytes where the manifest says 13"):
        Model.open(folder)


def test_verify_finds_a_changed_byte(folder: Path) -> None:
    (folder / "rnet.onnx").write_bytes(b"rneT.onnx")
    with pytest.raises(ModelStoreError, match=r"rnet\.onnx is damaged"):
        Model.open(folder).verify()
