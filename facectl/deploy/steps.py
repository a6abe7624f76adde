"""The steps of a plan, each for one resource. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from facectl.deploy.resources.base import Resource


@dataclass(frozen=True, slots=True)
class Change:
    """One differing attribute, as text."""

    attribute: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.attribute} {self.before} → {self.after}"


@dataclass(frozen=True, slots=True)
class Create:
    """Create a missing resource."""

    verb: ClassVar[str] = "create"
    resource: Resource


@dataclass(frozen=True, slots=True)
class Update:
    """Update `actual` to `resource`."""

    verb: ClassVar[str] = "update"
    resource: Resource
    actual: Resource
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Replace:
    """Delete and create again a resource that AWS can't update in place."""

    verb: ClassVar[str] = "replace"
    resource: Resource
    actual: Resource
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a resource that is not in the desired state."""

    verb: ClassVar[str] = "delete"
    resource: Resource


Step: TypeAlias = Create | Update | Replace | Delete


def changes(step: Step) -> tuple[Change, ...]:
    """The attribute changes of a step; empty for create and delete."""
    return step.changes if isinstance(step, (Update, Replace)) else ()
