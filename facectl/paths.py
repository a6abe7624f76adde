"""The folders for state, cache and data on this computer, and atomic file writes.

`FACECTL_HOME` puts all of them below one folder; the default are the platform's
folders for state, cache and data.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

import platformdirs

from facectl.errors import InputError


def _place(kind: str, default: Path) -> Path:
    home = os.environ.get("FACECTL_HOME")
    return Path(home).expanduser().absolute() / kind if home else default


def state_dir() -> Path:
    """The folder of deployment records and of the local cloud's process and log."""
    return _place("state", platformdirs.user_state_path("facectl"))


def cache_dir() -> Path:
    """The folder of downloads, which can be repeated."""
    return _place("cache", platformdirs.user_cache_path("facectl"))


def data_dir() -> Path:
    """The folder of built models and galleries."""
    return _place("data", platformdirs.user_data_path("facectl"))


@contextmanager
def atomic_write(path: Path, *, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces `path` if the block succeeds, and is removed if it raises.

    The file is synced to disk (fsync) before it is renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = NamedTemporaryFile(  # noqa: SIM115 - renamed afterwards, not deleted
        dir=path.parent, prefix=f".{path.name}.", delete=False
    )
    try:
        with temporary as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary.name).chmod(mode)
        Path(temporary.name).replace(path)
    except BaseException:
        Path(temporary.name).unlink(missing_ok=True)
        raise


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock `file`, which only this user can read; another process waits for it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_text(file: Path, text: str, *, mode: int = 0o600, hint: str | None = None) -> None:
    """Replace a text file atomically; raises InputError, with `hint`, if it can't be written."""
    try:
        with atomic_write(file, mode=mode) as stream:
            stream.write(text.encode("utf-8"))
    except OSError as error:
        raise InputError(f"{file} can't be written: {error.strerror}", hint=hint) from error
