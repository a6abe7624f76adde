"""The errors that facectl raises on purpose.

    FacectlError            anything the reader can do something about   exit 1
    ├── InputError          a wrong argument, file or folder             exit 2
    ├── IncompleteError     the run ended before its work was done       exit 3
    ├── CloudError          AWS, or the local cloud, did not do it       exit 4
    │   └── NotRunningError nothing answers at the endpoint              exit 4
    ├── ModelError          a model is missing, damaged or foreign       exit 5
    └── GalleryError        a gallery is missing, damaged or foreign     exit 6

Every message says what happened and where; `hint` says what to run next.
"""

from __future__ import annotations


class FacectlError(Exception):
    """What went wrong, where, and (in `hint`) the next command to run."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class InputError(FacectlError):
    """A wrong argument, file or folder."""

    exit_code = 2


class IncompleteError(FacectlError):
    """A run that ended before its work was done."""

    exit_code = 3


class CloudError(FacectlError):
    """AWS, or the local cloud, refused or failed."""

    exit_code = 4


class NotRunningError(CloudError):
    """Nothing answers at the endpoint."""


class ModelError(FacectlError):
    """A model is missing, damaged or of another embedding space."""

    exit_code = 5


class GalleryError(FacectlError):
    """A gallery is missing, damaged or of another embedding space."""

    exit_code = 6
