"""Where facectl keeps things on this computer, and how it writes them.

`FACECTL_HOME` puts everything below one folder; otherwise the platform's own
places for state, cache and data are used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

import platformdirs


def _place(kind: str, default: Path) -> Path:
    home = os.environ.get("FACECTL_HOME")
    return Path(home).expanduser().absolute() / kind if home else default


def state_dir() -> Path:
    """Remembered deployments, the local cloud's process and log."""
    return _place("state", platformdirs.user_state_path("facectl"))


def cache_dir() -> Path:
    """Downloads that can be had again."""
    return _place("cache", platformdirs.user_cache_path("facectl"))


def data_dir() -> Path:
    """Built models and galleries."""
    return _place("data", platformdirs.user_data_path("facectl"))


@contextmanager
def atomic_write(path: Path, *, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces `path` when the block ends well, and else leaves no trace.

    The bytes are on the disk (fsync) before the name points at them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = NamedTemporaryFile(  # noqa: SIM115 - renamed, not deleted, at the end
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
