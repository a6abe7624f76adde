"""What every writer has: clients, the account, patience, and the tag."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from facectl.aws import ClientError, Clients, error_code
from facectl.deploy.models import Account
from facectl.deploy.reader import Reader
from facectl.naming import TAG_KEY

T = TypeVar("T")
R = TypeVar("R")

# IAM, Lambda and SQS tell each other of changes within seconds, not at once.
_PATIENCE_SECONDS = 90.0
_PAUSE_SECONDS = 2.0
# Refusals that pass: by code, and by words where the code has other meanings too.
_NOT_YET: dict[str, tuple[str, ...]] = {
    # A role that was made a moment ago can't be taken yet, its policy is not known yet.
    "InvalidParameterValueException": ("cannot be assumed", "does not have permissions to call"),
    # Another change of the same function is under way, or the end of an old mapping.
    "ResourceConflictException": ("in progress", "current state", "Pending", "existing mapping"),
    "ResourceInUseException": ("",),
    # A name can be used again 60 s after its queue was deleted.
    "AWS.SimpleQueueService.QueueDeletedRecently": ("",),
    "QueueDeletedRecently": ("",),
}


@dataclass(frozen=True)
class Context:
    """What writers work with; clock and sleep in seconds."""

    clients: Clients
    account: Account
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    # Told what a long step is at, and what is worth keeping of it.
    tell: Callable[[str], None] = lambda _line: None
    note: Callable[[str], None] = lambda _line: None

    @property
    def reader(self) -> Reader:
        return Reader(self.clients, self.account)

    def retrying(self, call: Callable[[], T]) -> T:
        """Call again, for a minute and a half, while AWS's refusal is one that passes."""
        deadline = self.clock() + _PATIENCE_SECONDS
        while True:
            try:
                return call()
            except ClientError as error:
                if not _passes(error) or self.clock() > deadline:
                    raise
            self.sleep(_PAUSE_SECONDS)


class Writer(ABC, Generic[R]):
    """Creates, changes and deletes resources of one kind; each call may be repeated."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @abstractmethod
    def create(self, wanted: R) -> None:
        """Make a resource that is missing."""

    @abstractmethod
    def update(self, wanted: R, found: R) -> None:
        """Change a resource from what was found to what is wanted."""

    @abstractmethod
    def delete(self, found: R) -> None:
        """Remove a resource; one that is gone already is no error."""


def tags(owner: str | None) -> dict[str, str]:
    """The tag of a resource, for the services that take a mapping."""
    return {} if owner is None else {TAG_KEY: owner}


def _passes(error: ClientError) -> bool:
    text = error.response.get("Error", {}).get("Message", "")
    return any(words in text for words in _NOT_YET.get(error_code(error), ()))
