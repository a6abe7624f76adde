"""Small base images: as an OCI layout, as an archive of `docker save`, and in a registry."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from facectl.container_images import media
from facectl.container_images.blobs import BytesBlob, sha256
from facectl.container_images.registries import Registry
from facectl.container_images.uploads import Target, send_image

ENVIRONMENT = ["PATH=/usr/local/bin:/usr/bin", "PYTHON_VERSION=3.12.11", "HOME=/root"]


def tar_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


LAYER = tar_of({"usr/local/bin/python3.12": b"#!python", "etc/os-release": b"Debian"})


def config(architecture: str = "amd64", layer: bytes = LAYER, **more: Any) -> bytes:
    return json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ENVIRONMENT, "Cmd": ["python3"], **more},
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer)]},
            "history": [{"created_by": "base"}],
        }
    ).encode()


def manifest(described: bytes, layer: bytes, layer_type: str = media.LAYER) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media.MANIFEST,
            "config": {
                "mediaType": media.CONFIG, "size": len(described), "digest": sha256(described),
            },
            "layers": [{"mediaType": layer_type, "size": len(layer), "digest": sha256(layer)}],
        }
    ).encode()  # fmt: skip


def write_layout(
    folder: Path, *architectures: str, platform: bool = True, layer_type: str = media.LAYER
) -> Path:
    """An OCI layout of one image per architecture."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    packed = gzip.compress(LAYER, mtime=0)
    entries = []
    for architecture in architectures:
        described = config(architecture)
        made = manifest(described, packed, layer_type)
        for data in (described, made, packed):
            (blobs / sha256(data).partition(":")[2]).write_bytes(data)
        entry: dict[str, Any] = {"mediaType": media.MANIFEST, "digest": sha256(made)}
        if platform:
            entry["platform"] = {"os": "linux", "architecture": architecture}
        entries.append({**entry, "size": len(made)})
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return folder


def write_archive(file: Path, architecture: str = "amd64", **more: bytes) -> Path:
    """An archive as Docker 20 saves it: layers that are not compressed, one of them a link."""
    described = config(architecture)
    entries = [{"Config": "abc.json", "RepoTags": ["base:1"], "Layers": ["1/layer.tar"]}]
    files = {
        "abc.json": described,
        "1/layer.tar": LAYER,
        "manifest.json": json.dumps(entries).encode(),
        **more,
    }
    file.write_bytes(tar_of(files))
    return file


def send_base(registry: Registry, repository: str, tag: str, architecture: str = "amd64") -> bytes:
    """Put the base image of one architecture into a registry; returns its manifest."""
    described, packed = config(architecture), gzip.compress(LAYER, mtime=0)
    made = manifest(described, packed)
    blobs = [BytesBlob(described), BytesBlob(packed)]
    send_image(Target(registry, repository), tag, made, blobs)
    return made
