"""Base images: from a registry, an OCI layout (folder or tar), or an archive of `docker save`."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, cast

from facectl.container_images import media
from facectl.container_images.blobs import BLOCK, Blob, FileBlob, opened, sha256
from facectl.container_images.layers import Layer, cached
from facectl.container_images.logins import Logins, docker_login
from facectl.container_images.references import Reference
from facectl.container_images.registries import Registry, RegistryBlob, parsed
from facectl.errors import InputError

_LARGEST_DOCUMENT = 4 << 20
_PYTHON_VERSION = re.compile(r"(3\.\d+)(?:\.|$)")
_PYTHON = re.compile(r"(?:\./)?(?:usr/local|usr|opt/[^/]+|var/lang)/bin/python(3\.\d+)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BaseLayer:
    """A layer of a base image; a layer that is not `gzipped` is compressed before it is sent."""

    blob: Blob
    diff_id: str
    gzipped: bool = True

    def compressed(self) -> Layer:
        """The compressed layer; its unpacked size is 0 where the base image does not say it."""
        if self.gzipped:
            return Layer(self.blob, self.diff_id, 0)

        def write(stream: IO[bytes]) -> None:
            with self.blob.read() as pieces:
                for piece in pieces:
                    stream.write(piece)

        layer = cached(f"base\0{self.diff_id}", write)
        if layer.diff_id != self.diff_id:
            raise InputError(
                "A layer of the base image has another content than its configuration says: "
                "it is damaged",
                hint="get the base image again",
            )
        return layer


@dataclass(frozen=True, slots=True)
class BaseImage:
    """An image for one architecture.

    `digest` identifies it: of the index or manifest in a registry or OCI layout, of the
    configuration in an archive of `docker save`. `python` is its minor version, as `3.12`.
    """

    name: str
    digest: str
    config: Mapping[str, Any] = field(repr=False)
    layers: tuple[BaseLayer, ...]

    @property
    def python(self) -> str:
        """The minor version of its Python; raises InputError if it has none."""
        for variable in self.config.get("config", {}).get("Env") or ():
            name, _, value = variable.partition("=")
            found = _PYTHON_VERSION.match(value)
            if name == "PYTHON_VERSION" and found:
                return found.group(1)
        for layer in reversed(self.layers):
            for name in _names(layer):
                if found := _PYTHON.fullmatch(name):
                    return found.group(1)
        raise InputError(
            f"The base image {self.name} has no Python 3", hint="--base-image, of a Python image"
        )


class Source(Protocol):
    """Where the parts of an image are read from."""

    def manifest(self, digest: str) -> tuple[bytes, str]:
        """A manifest or an index and its media type."""

    def document(self, digest: str) -> bytes:
        """A small blob."""

    def blob(self, digest: str, size: int) -> Blob:
        """A layer."""


def is_file(name: str) -> bool:
    """Whether a base image is a file or a folder on this computer, and not in a registry."""
    return name.endswith((".tar", ".tar.gz", ".tgz")) or name.startswith(("/", ".", "~"))


def open_base(
    name: str, architecture: str, pinned: str = "", logins: Logins = docker_login
) -> BaseImage:
    """The base image `name` for `amd64` or `arm64`; raises InputError, CloudError.

    `pinned`: the digest to read from the registry instead of the reference's tag. `logins`: who
    to be for a registry that asks.
    """
    if is_file(name):
        return _open_file(Path(name).expanduser(), architecture)
    reference = Reference.parse(name)
    source = _RegistrySource(Registry.of(reference, logins), reference.repository)
    version = pinned or reference.version
    data, media_type = source.registry.manifest(reference.repository, version)
    return _select(source, name, (data, media_type, sha256(data)), architecture)


@dataclass(frozen=True, slots=True)
class _RegistrySource:
    registry: Registry
    repository: str

    def manifest(self, digest: str) -> tuple[bytes, str]:
        return self.registry.manifest(self.repository, digest)

    def document(self, digest: str) -> bytes:
        return self.registry.document(self.repository, digest)

    def blob(self, digest: str, size: int) -> Blob:
        return RegistryBlob(self.registry, self.repository, digest, size)


@dataclass(frozen=True, slots=True)
class _LayoutSource:
    """An OCI Image Layout: `path` is its folder, or a tar archive of it."""

    path: Path
    archived: bool

    def manifest(self, digest: str) -> tuple[bytes, str]:
        data = self.document(digest)
        return data, str(parsed(data, digest).get("mediaType", media.OCI_MANIFEST))

    def document(self, digest: str) -> bytes:
        data = self.read(_blob_name(digest))
        if sha256(data) != digest:
            raise InputError(f"{self.path} is damaged: {digest[:19]} has another content")
        return data

    def blob(self, digest: str, size: int) -> Blob:
        name = _blob_name(digest)
        if self.archived:
            return FileBlob(self.path, digest, size, name)
        return FileBlob(self.path / name, digest, size)

    def read(self, name: str) -> bytes:
        """A small file of the layout; raises InputError."""
        return _document(self.path, name) if self.archived else _document(self.path / name)


def _blob_name(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise InputError(f"{digest!r} is not a sha256 digest: the image is damaged")
    return f"blobs/sha256/{digest.partition(':')[2]}"


def _document(path: Path, member: str = "") -> bytes:
    with opened(path, member) as stream:
        data = stream.read(_LARGEST_DOCUMENT + 1)
    if len(data) > _LARGEST_DOCUMENT:
        raise InputError(f"{member or path} is too large for a description of an image")
    return data


def _open_file(path: Path, architecture: str) -> BaseImage:
    if not path.exists():
        raise InputError(
            f"There is no base image {path}", hint=f"docker save --output {path} IMAGE"
        )
    if path.is_dir():
        return _open_layout(_LayoutSource(path, False), path, architecture)
    names = _members(path)
    if "index.json" in names and "oci-layout" in names:
        return _open_layout(_LayoutSource(path, True), path, architecture)
    if "manifest.json" in names:
        return _open_docker_archive(path, architecture)
    raise InputError(
        f"{path} is neither an OCI layout nor an archive of `docker save`",
        hint=f"docker save --output {path} IMAGE",
    )


def _members(path: Path) -> frozenset[str]:
    try:
        with tarfile.open(path) as archive:
            return frozenset(archive.getnames())
    except (tarfile.TarError, EOFError) as error:
        raise InputError(
            f"The archive {path} is damaged: {error}", hint="docker save it again"
        ) from error
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}") from error


def _open_layout(source: _LayoutSource, path: Path, architecture: str) -> BaseImage:
    data = source.read("index.json")
    return _select(source, str(path), (data, next(iter(media.INDEXES)), sha256(data)), architecture)


def _open_docker_archive(path: Path, architecture: str) -> BaseImage:
    """The image in an archive of `docker save`, whose layers are usually not compressed."""
    try:
        entries = json.loads(_document(path, "manifest.json"))
        (entry,) = entries
        config_name, layers = str(entry["Config"]), [str(name) for name in entry["Layers"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not hold one image", hint="docker save IMAGE") from error
    data = _document(path, config_name)
    config = parsed(data, config_name)
    _check_architecture(config, str(path), architecture)
    with tarfile.open(path) as archive:
        blobs = [_archived_layer(archive, path, name) for name in layers]
    return BaseImage(str(path), sha256(data), config, _paired(blobs, config, str(path)))


def _archived_layer(archive: tarfile.TarFile, path: Path, name: str) -> tuple[Blob, bool]:
    try:
        # Layers with the same content are links to one file.
        stream = archive.extractfile(name)
    except KeyError as error:
        raise InputError(f"The archive {path} has no {name}: it is damaged") from error
    if stream is None:
        raise InputError(f"{name} in {path} is not a file")
    with stream:
        gzipped = stream.read(2) == b"\x1f\x8b"
        size = stream.seek(0, 2)
        digest = _digest_of(stream) if gzipped else ""
    return FileBlob(path, digest, size, name), gzipped


def _digest_of(stream: IO[bytes]) -> str:
    stream.seek(0)
    found = hashlib.sha256()
    for block in iter(lambda: stream.read(BLOCK), b""):
        found.update(block)
    return f"sha256:{found.hexdigest()}"


def _select(
    source: Source, name: str, document: tuple[bytes, str, str], architecture: str
) -> BaseImage:
    """The image for the architecture in a manifest, or in an index of manifests."""
    data, media_type, digest = document
    manifest = parsed(data, name)
    if media_type in media.INDEXES or "manifests" in manifest:
        chosen = _platform(manifest.get("manifests"), name, architecture)
        inner, inner_type = source.manifest(chosen)
        return _select(source, name, (inner, inner_type, digest), architecture)
    try:
        config = parsed(source.document(str(manifest["config"]["digest"])), name)
        described = [
            (str(each["digest"]), int(each["size"]), str(each["mediaType"]))
            for each in manifest["layers"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The manifest of {name} is damaged: {error}") from error
    _check_architecture(config, name, architecture)
    for _, _, kind in described:
        if kind not in media.GZIPPED | media.PLAIN:
            raise InputError(
                f"A layer of {name} is {kind}, which AWS Lambda does not take",
                hint="choose a base image whose layers are compressed with gzip",
            )
    blobs = [(source.blob(digest, size), kind in media.GZIPPED) for digest, size, kind in described]
    return BaseImage(name, digest, config, _paired(blobs, config, name))


def _platform(entries: Any, name: str, architecture: str) -> str:
    """The digest of the manifest for linux and the architecture; raises InputError."""
    found = entries if isinstance(entries, list) else []
    wanted = ("linux", architecture)
    platforms = []
    for entry in found:
        platform = entry.get("platform") or {}
        offered = (platform.get("os"), platform.get("architecture"))
        if offered == wanted or (not platform and len(found) == 1):
            return str(entry.get("digest"))
        platforms.append("/".join(str(part) for part in offered))
    raise InputError(
        f"The base image {name} is not for linux/{architecture}, "
        f"but for {', '.join(platforms) or 'nothing'}",
        hint="--architecture, or another --base-image",
    )


def _check_architecture(config: Mapping[str, Any], name: str, architecture: str) -> None:
    found = config.get("architecture")
    if config.get("os", "linux") != "linux" or found != architecture:
        raise InputError(
            f"The base image {name} is for {config.get('os')}/{found}, "
            f"the functions are for linux/{architecture}",
            hint="--architecture, or another --base-image",
        )


def _paired(
    blobs: list[tuple[Blob, bool]], config: Mapping[str, Any], name: str
) -> tuple[BaseLayer, ...]:
    diff_ids = config.get("rootfs", {}).get("diff_ids", [])
    if len(diff_ids) != len(blobs):
        raise InputError(
            f"The base image {name} is damaged: {len(blobs)} layers, "
            f"its configuration has {len(diff_ids)}"
        )
    return tuple(
        BaseLayer(blob, str(diff_id), gzipped)
        for (blob, gzipped), diff_id in zip(blobs, diff_ids, strict=True)
    )


def _names(layer: BaseLayer) -> Iterator[str]:
    """The names of the files in a layer; reads no more of it than the caller needs."""
    with layer.blob.read() as pieces:
        stream = cast("IO[bytes]", _Stream(pieces))
        try:
            with tarfile.open(fileobj=stream, mode="r|*") as archive:
                for member in archive:
                    yield member.name
        except (tarfile.TarError, EOFError) as error:
            raise InputError(f"A layer of the base image is damaged: {error}") from error


class _Stream:
    """Reads pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def read(self, count: int) -> bytes:
        """At most `count` bytes; none at the end."""
        if not self._held:
            self._held = next(self._pieces, b"")
        found, self._held = self._held[:count], self._held[count:]
        return found
