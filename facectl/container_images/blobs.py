"""Blobs: bytes with a digest, which can be read from any offset."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from facectl.errors import InputError
from lambda_src.vision import store

BLOCK = 1 << 20
# The bytes of a blob, in pieces of any length.
Pieces = Iterator[bytes]


class Blob(Protocol):
    """Bytes with their size and their digest, `sha256:` and 64 hexadecimal digits."""

    @property
    def digest(self) -> str:
        """The digest of the bytes."""

    @property
    def size(self) -> int:
        """The number of bytes."""

    def read(self, offset: int = 0) -> AbstractContextManager[Pieces]:
        """The bytes from an offset on; raises FacectlError."""


@dataclass(frozen=True, slots=True)
class BytesBlob:
    """A blob in memory."""

    data: bytes

    @property
    def digest(self) -> str:
        """The digest of the bytes."""
        return sha256(self.data)

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.data)

    @contextmanager
    def read(self, offset: int = 0) -> Iterator[Pieces]:
        """The bytes from an offset on."""
        yield iter((self.data[offset:],))


@dataclass(frozen=True, slots=True)
class FileBlob:
    """A file, or with `member` a file in an uncompressed or compressed tar archive."""

    path: Path
    digest: str
    size: int
    member: str = ""

    @contextmanager
    def read(self, offset: int = 0) -> Iterator[Pieces]:
        """The bytes from an offset on; raises InputError if the file can't be read."""
        with opened(self.path, self.member) as stream:
            stream.seek(offset)
            yield iter(lambda: stream.read(BLOCK), b"")


@contextmanager
def opened(path: Path, member: str = "") -> Iterator[IO[bytes]]:
    """A file, or a member of the tar archive `path`, for reading; raises InputError."""
    try:
        if not member:
            with path.open("rb") as stream:
                yield stream
            return
        with tarfile.open(path) as archive:
            found = archive.extractfile(member)
            if found is None:
                raise InputError(f"{member} in {path} is not a file")
            with found:
                yield found
    except KeyError as error:
        raise InputError(f"The archive {path} has no {member}") from error
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"The archive {path} is damaged: {error}") from error
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}") from error


def sha256(data: bytes) -> str:
    """The digest of bytes, as registries write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def file_digest(path: Path) -> str:
    """The digest of a file, as registries write it."""
    return f"sha256:{store.file_digest(path)}"
