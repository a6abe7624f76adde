"""Photographs that facectl keeps of people who were named from video, one file for each.

Photographs that `gallery enroll` reads stay where the user has them. A face that was named from
frames has none, so its picture is kept beside the gallery's file: another model can then embed it
again. Only its owner can read it, and it is never sent anywhere. The file exists as long as a
version of the gallery has the reference.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from contextlib import ExitStack, closing
from pathlib import Path

from facectl.errors import GalleryError
from facectl.gallery import forgetting
from facectl.gallery.store import Store
from facectl.paths import atomic_write


def folder(gallery: Path) -> Path:
    """The folder of the photographs that are kept for a gallery's file."""
    return gallery.with_suffix(".photographs")


def keep(gallery: Path, picture: bytes) -> Path:
    """Keep a picture, a JPEG file; returns its path. Raises GalleryError."""
    place = folder(gallery)
    file = place / f"{hashlib.sha256(picture).hexdigest()}.jpg"
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not file.exists():
            with atomic_write(file) as stream:
                stream.write(picture)
    except OSError as error:
        raise GalleryError(f"{file} can't be written: {error.strerror}") from error
    return file


def discard(gallery: Path, photographs: Collection[str]) -> None:
    """Delete the kept photographs with these SHA-256s, without trace; raises GalleryError."""
    for sha256 in photographs:
        _delete(folder(gallery) / f"{sha256}.jpg")


def sweep(asu_id: str, gallery: Path) -> None:
    """Delete the kept photographs that no version of a deployment's galleries has.

    They are those of people who were forgotten, and of a command that was killed before it had
    enrolled them. Raises GalleryError.
    """
    if not any(folder(gallery).glob("*")):
        return
    with ExitStack() as stack:
        stores = [stack.enter_context(closing(Store.at(file))) for file in forgetting.files(asu_id)]
        for store in stores:
            # Another command may have kept photographs that it has not enrolled yet.
            stack.enter_context(store.transaction())
        query = "SELECT DISTINCT sha256 FROM vectors WHERE sha256 IS NOT NULL"
        needed = {str(sha256) for store in stores for (sha256,) in store.select(query)}
        for file in sorted(folder(gallery).glob("*")):
            if file.stem not in needed:
                _delete(file)


def _delete(file: Path) -> None:
    """Overwrite a file with zeros and delete it, if it exists."""
    try:
        with file.open("r+b") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.write(bytes(size))
            stream.flush()
            os.fsync(stream.fileno())
        file.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise GalleryError(
            f"{file} can't be deleted: {error.strerror}", hint=f"rm '{file}'"
        ) from error
