"""Layers with the same bytes for the same files, whoever writes them, when and where.

Entries are sorted by name; times, owners and modes are fixed, and so is gzip's header. zlib
of another version may compress the same layer to other bytes: the sha256 of the
uncompressed layer (`diff_id`) is the same everywhere, its digest is the same with the same zlib.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from facectl import paths
from facectl.container_images.blobs import Blob, FileBlob, file_digest
from facectl.errors import InputError

_FILE_MODE, _FOLDER_MODE = 0o644, 0o755
_LEVEL = 6
# Of both functions: packages, code and model, of this version and the one before.
_KEPT = 16
# A layer that was used since is perhaps being sent, by this deploy or by another one.
_IN_USE_SECONDS = 6 * 3600.0
# A change of how layers are written.
_FORMAT = "1"


@dataclass(frozen=True, slots=True)
class Layer:
    """A compressed layer; `diff_id` is the digest, `unpacked` the size of the uncompressed tar."""

    blob: Blob
    diff_id: str
    unpacked: int


def files_layer(files: Mapping[str, Path]) -> Layer:
    """The layer of files, by their absolute path in the image; raises InputError."""
    digest = hashlib.sha256()
    for name, source in sorted(files.items()):
        digest.update(f"{name}\0{file_digest(source)}\0".encode())
    return cached(digest.hexdigest(), lambda stream: write_tar(stream, files))


def cached(key: str, write: Callable[[IO[bytes]], None]) -> Layer:
    """The layer of a key: the one in the cache, or what `write` writes; raises InputError."""
    folder = paths.cache_dir() / "layers"
    name = hashlib.sha256(f"{_FORMAT}\0{key}".encode()).hexdigest()
    packed, facts = folder / f"{name}.tar.gz", folder / f"{name}.json"
    try:
        found = _read(packed, facts)
        if found is None:
            found = _write(packed, facts, write)
            _remove_old(folder)
    except OSError as error:
        raise InputError(
            f"A layer can't be written to {folder}: {error.strerror or error}",
            hint="make room, or set FACECTL_HOME",
        ) from error
    return found


def write_tar(stream: IO[bytes], files: Mapping[str, Path]) -> None:
    """Write files, by their absolute path in the image, and their folders as a tar archive."""
    folders = {
        str(parent)
        for name in files
        for parent in PurePosixPath(name.lstrip("/")).parents
        if parent.name
    }
    entries = {**dict.fromkeys(folders), **{name.lstrip("/"): path for name, path in files.items()}}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(entries):
            source = entries[name]
            # Time 0 and root: TarInfo's defaults.
            info = tarfile.TarInfo(name)
            if source is None:
                info.type, info.mode = tarfile.DIRTYPE, _FOLDER_MODE
                archive.addfile(info)
                continue
            info.size, info.mode = source.stat().st_size, _FILE_MODE
            with source.open("rb") as content:
                archive.addfile(info, content)


class _Digesting:
    """A file that passes bytes on, and digests and counts them."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.count = 0

    def write(self, data: bytes) -> int:
        """Pass the bytes on."""
        self._digest.update(data)
        self._stream.write(data)
        self.count += len(data)
        return len(data)

    def tell(self) -> int:
        """The number of bytes so far."""
        return self.count

    def flush(self) -> None:
        """Nothing: the file is flushed when it is complete."""

    @property
    def digest(self) -> str:
        """The digest of the bytes so far."""
        return f"sha256:{self._digest.hexdigest()}"


def _write(packed: Path, facts: Path, write: Callable[[IO[bytes]], None]) -> Layer:
    with paths.atomic_write(packed) as stream:
        outer = _Digesting(stream)
        # Without a name and a time in its header.
        with gzip.GzipFile(
            filename="", mode="wb", compresslevel=_LEVEL, fileobj=cast("IO[bytes]", outer), mtime=0
        ) as compressed:
            inner = _Digesting(cast("IO[bytes]", compressed))
            write(cast("IO[bytes]", inner))
    blob = FileBlob(packed, outer.digest, outer.count)
    found = Layer(blob, inner.digest, inner.count)
    data = {"digest": blob.digest, "size": blob.size, "diff_id": inner.digest}
    with paths.atomic_write(facts) as stream:
        stream.write(json.dumps({**data, "unpacked": inner.count}).encode())
    return found


def _read(packed: Path, facts: Path) -> Layer | None:
    """The layer in the cache; None if it is not there, or damaged."""
    try:
        data = json.loads(facts.read_bytes())
        blob = FileBlob(packed, str(data["digest"]), int(data["size"]))
        found = Layer(blob, str(data["diff_id"]), int(data["unpacked"]))
        if file_digest(packed) != blob.digest:
            return None
        packed.touch()
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return found


def _remove_old(folder: Path) -> None:
    """Delete all layers but the newest, and those of the last hours: a base may have more."""
    used = {packed: _used(packed) for packed in folder.glob("*.tar.gz")}
    found = sorted(used, key=lambda packed: used[packed], reverse=True)
    for packed in found[_KEPT:]:
        if used[packed] > time.time() - _IN_USE_SECONDS:
            continue
        packed.unlink(missing_ok=True)
        packed.with_suffix("").with_suffix(".json").unlink(missing_ok=True)


def _used(packed: Path) -> float:
    """When a layer was last used; 0 if another process has deleted it."""
    try:
        return packed.stat().st_mtime
    except FileNotFoundError:
        return 0.0
