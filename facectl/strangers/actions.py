"""The actions on strangers and visits; each publishes the gallery if it changes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from facectl.context import Deployment
from facectl.strangers.models import Done, StrangerFace, StrangerGroup

# The argument of `forget` for everything that is kept.
ALL = "all"


class StrangerActions:
    """The groups of a deployment's strangers, and what can be done with them.

    Used by one thread at a time; opens its files for each call. A changed gallery is published
    before the call returns, and running functions use it within seconds. Every method raises
    InputError for an unknown group, face or visit, and FacectlError where nothing was changed or
    publishing failed; the message says which.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def groups(self, *, every: bool = False) -> list[StrangerGroup]:
        """The open groups, the one seen last first; `every`: ignored and named ones too."""
        raise NotImplementedError

    def faces(self, group: str) -> list[StrangerFace]:
        """The faces of a group, the best first."""
        raise NotImplementedError

    def crop(self, face: str) -> bytes:
        """The crop of a face as a PNG or JPEG file; raises InputError for an unknown one."""
        raise NotImplementedError

    def name(self, group: str, name: str, *, force: bool = False) -> Done:
        """Enroll the best faces of a group as `name`, and amend its visits.

        A name that exists gets them as further photographs. If they are not alike, raises
        InputError, unless `force`.
        """
        raise NotImplementedError

    def ignore(self, group: str) -> Done:
        """Store the best faces of a group as anchors: answers to this person stay `Unknown`."""
        raise NotImplementedError

    def split(self, group: str, faces: Sequence[str] | None = None) -> Done:
        """Move these faces of a group to a new one; by default, the half that is least alike."""
        raise NotImplementedError

    def merge(self, groups: Sequence[str]) -> Done:
        """Merge groups into the first of them."""
        raise NotImplementedError

    def forget(self, group: str) -> Done:
        """Delete the faces of a group, or of all groups (`ALL`), and what ignoring has stored."""
        raise NotImplementedError

    def correct(self, visit: str, person: str | None) -> Done:
        """State whose visit it is: a name, or None for "not the person of the visit".

        None stores its faces as anchors, a name adds them to that person; the visit is amended.
        The faces of a visit are kept only with `--keep-strangers`.
        """
        raise NotImplementedError

    def undo(self) -> Done:
        """Undo the last action that was not undone; `forget` can't be undone."""
        raise NotImplementedError


def publisher(deployment: Deployment) -> Callable[[], int]:
    """A function that publishes the newest version of the gallery and returns its number."""
    raise NotImplementedError
