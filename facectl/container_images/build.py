"""Builds the image of a function: the layers of a base, of packages, of code and of the model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from facectl.container_images import media
from facectl.container_images.bases import BaseImage
from facectl.container_images.blobs import Blob, BytesBlob, sha256
from facectl.container_images.layers import Layer, files_layer
from facectl.container_images.packages import compile_all, compiler, packages_layer

# What the Dockerfiles say with ENV, WORKDIR, USER and ENTRYPOINT; a test compares both.
ENVIRONMENT = {
    "PYTHONPATH": "/var/task:/opt/python",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "HOME": "/tmp",  # noqa: S108 - the folder that a function can write to
}
WORKING_DIRECTORY = "/var/task"
USER = "1000:1000"
ENTRYPOINT = ("/bin/sh", "/opt/facectl/entrypoint.sh")
_EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Parts:
    """The inputs of an image.

    `code` and `model` are files by their absolute path in the image. `requirements` pins
    the packages, `prune` removes what they never load. `handler` is the command.
    """

    code: Mapping[str, Path]
    model: Mapping[str, Path]
    requirements: Path
    prune: Path
    handler: str
    package_index: str | None = None


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """A manifest and the blobs that it names; `added` is the uncompressed size over the base."""

    manifest: bytes
    blobs: tuple[Blob, ...]
    added: int

    @property
    def digest(self) -> str:
        """The digest of the image."""
        return sha256(self.manifest)

    @property
    def size(self) -> int:
        """The compressed size of all layers."""
        return sum(blob.size for blob in self.blobs)


def build(base: BaseImage, architecture: str, parts: Parts) -> BuiltImage:
    """The image of the parts on the base; raises InputError, CloudError.

    Code changes most often, the model rarely, so each has a layer of its own.
    """
    python = base.python
    own = {
        "packages": packages_layer(
            parts.requirements, parts.prune, (architecture, python), parts.package_index
        ),
        "model": files_layer(parts.model),
        "code": _code_layer(parts.code, python),
    }
    layers = [*(layer.compressed() for layer in base.layers), *own.values()]
    config = BytesBlob(_json(_config(base, own, parts.handler)))
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.MANIFEST,
        "config": _descriptor(config, media.CONFIG),
        "layers": [_descriptor(layer.blob, media.LAYER) for layer in layers],
    }
    # An image may have the same layer twice.
    blobs = {blob.digest: blob for blob in (*(layer.blob for layer in layers), config)}
    added = sum(layer.unpacked for layer in own.values())
    return BuiltImage(_json(manifest), tuple(blobs.values()), added)


def _code_layer(code: Mapping[str, Path], python: str) -> Layer:
    interpreter = compiler(python)
    if interpreter is None:
        return files_layer(code)
    with TemporaryDirectory(prefix="facectl-code-") as folder:
        root = Path(folder)
        for name, source in code.items():
            target = root / name.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        compile_all(interpreter, root)
        found = {f"/{path.relative_to(root).as_posix()}": path for path in root.rglob("*.*")}
        return files_layer({name: path for name, path in found.items() if path.is_file()})


def _config(base: BaseImage, own: Mapping[str, Layer], handler: str) -> dict[str, Any]:
    inherited: Mapping[str, Any] = base.config.get("config") or {}
    variables = dict(each.partition("=")[::2] for each in inherited.get("Env") or ())
    variables.update(ENVIRONMENT)
    history = [
        {"created": _EPOCH, "created_by": f"facectl: {name}", "comment": "facectl"} for name in own
    ]
    return {
        **{
            key: base.config[key] for key in ("architecture", "os", "variant") if key in base.config
        },
        "created": _EPOCH,
        "config": {
            **{key: value for key, value in inherited.items() if key != "Volumes"},
            "Env": [f"{name}={value}" for name, value in variables.items()],
            "WorkingDir": WORKING_DIRECTORY,
            "User": USER,
            "Entrypoint": list(ENTRYPOINT),
            "Cmd": [handler],
        },
        "history": [*(base.config.get("history") or ()), *history],
        "rootfs": {
            "type": "layers",
            "diff_ids": [
                *(layer.diff_id for layer in base.layers),
                *(layer.diff_id for layer in own.values()),
            ],
        },
    }


def _descriptor(blob: Blob, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "size": blob.size, "digest": blob.digest}


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
