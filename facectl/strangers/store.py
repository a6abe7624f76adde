"""Stores the faces of unknown people of a deployment, in one SQLite file on this computer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from facectl import paths
from facectl.strangers.models import StrangerFace, StrangerGroup


def path(asu_id: str) -> Path:
    """The path of the file of a deployment's strangers."""
    return paths.data_dir() / "strangers" / f"{asu_id}.db"


class StrangerStore:
    """Faces with crops and embeddings, groups and visits; safe to use from several processes."""

    @classmethod
    def open(cls, asu_id: str) -> StrangerStore:
        """The store of a deployment, created (0600) if missing; raises FacectlError."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file."""
        raise NotImplementedError

    def groups(self, *, every: bool = False) -> list[StrangerGroup]:
        """The open groups, the one seen last first; `every`: ignored and named ones too."""
        raise NotImplementedError

    def group(self, group: str) -> StrangerGroup:
        """A group; raises InputError for an unknown one."""
        raise NotImplementedError

    def faces(self, group: str) -> list[StrangerFace]:
        """The faces of a group, the best first."""
        raise NotImplementedError

    def crop(self, face: str) -> bytes:
        """The crop of a face as an image file; raises InputError for an unknown one."""
        raise NotImplementedError

    def prune(self, now: datetime, retention: timedelta) -> int:
        """Delete the faces older than the retention, without trace; returns their number."""
        raise NotImplementedError

    def forget(self, groups: Sequence[str] | None = None) -> int:
        """Delete the faces of groups, or everything, without trace; returns their number."""
        raise NotImplementedError
