"""The error classes of facectl; a command ends with the code of its error.

    FacectlError            an error that the user can act on            exit 1
    ├── InputError          a wrong argument, file or folder             exit 2
    ├── IncompleteError     the run ended before its work was done       exit 3
    ├── CloudError          AWS or the local cloud refused or failed     exit 4
    │   ├── NotRunningError nothing answers at the endpoint              exit 4
    │   └── UnansweredError a frame was refused or not answered          exit 1
    ├── ModelError          a model is missing, damaged or foreign       exit 5
    └── GalleryError        a gallery is missing, damaged or foreign     exit 6

Every message says what happened and where; `hint` says what to run next.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of all commands."""

    OK = 0
    FOUND = 1
    INPUT = 2
    INCOMPLETE = 3
    CLOUD = 4
    MODEL = 5
    GALLERY = 6

    @property
    def meaning(self) -> str:
        """The meaning of the code, as in docs/COMMANDS.md."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "success",
    ExitCode.FOUND: "a frame was refused or not answered, a target was missed, or `doctor` or a "
    "`status` command found a problem",
    ExitCode.INPUT: "a wrong argument, file or folder",
    ExitCode.INCOMPLETE: "the run ended before its work was done",
    ExitCode.CLOUD: "AWS or the local cloud refused a request, failed or does not run",
    ExitCode.MODEL: "the model is missing, damaged or of another embedding space",
    ExitCode.GALLERY: "the gallery is missing, damaged or of another embedding space",
}


class FacectlError(Exception):
    """An error whose message says what happened and where; `hint` is the next command to run."""

    exit_code = ExitCode.FOUND

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class InputError(FacectlError):
    """A wrong argument, file or folder."""

    exit_code = ExitCode.INPUT


class IncompleteError(FacectlError):
    """A run that ended before its work was done."""

    exit_code = ExitCode.INCOMPLETE


class CloudError(FacectlError):
    """AWS or the local cloud refused a request or failed."""

    exit_code = ExitCode.CLOUD


class NotRunningError(CloudError):
    """Nothing answers at the endpoint."""


class UnansweredError(CloudError):
    """A pipeline that can be reached refused or did not answer a frame."""

    exit_code = ExitCode.FOUND


class ModelError(FacectlError):
    """A model is missing, damaged or of another embedding space."""

    exit_code = ExitCode.MODEL


class GalleryError(FacectlError):
    """A gallery is missing, damaged or of another embedding space."""

    exit_code = ExitCode.GALLERY
