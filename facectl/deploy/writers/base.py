"""The base class of writers, with their clients, retries and owner tag."""

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

# IAM, Lambda and SQS are eventually consistent: a change becomes visible after seconds.
_RETRY_SECONDS = 90.0
_RETRY_INTERVAL = 2.0
# Transient errors: error code, and parts of the message if the code has other meanings too.
_TRANSIENT: dict[str, tuple[str, ...]] = {
    # A new role, or its policy, is not visible to Lambda yet.
    "InvalidParameterValueException": ("cannot be assumed", "does not have permissions to call"),
    # Another update of the function, or the deletion of an old mapping, is in progress.
    "ResourceConflictException": ("in progress", "current state", "Pending", "existing mapping"),
    "ResourceInUseException": ("",),
    # SQS allows a name again 60 s after its queue was deleted.
    "AWS.SimpleQueueService.QueueDeletedRecently": ("",),
    "QueueDeletedRecently": ("",),
}


@dataclass(frozen=True)
class Context:
    """The dependencies of writers; clock and sleep in seconds."""

    clients: Clients
    account: Account
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    # `tell` receives transient progress, `note` lines to keep.
    tell: Callable[[str], None] = lambda _line: None
    note: Callable[[str], None] = lambda _line: None

    @property
    def reader(self) -> Reader:
        return Reader(self.clients, self.account)

    def retry(self, call: Callable[[], T]) -> T:
        """Return `call()`; repeat it for up to 90 s while it raises a transient error."""
        deadline = self.clock() + _RETRY_SECONDS
        while True:
            try:
                return call()
            except ClientError as error:
                if not _is_transient(error) or self.clock() > deadline:
                    raise
            self.sleep(_RETRY_INTERVAL)


class Writer(ABC, Generic[R]):
    """Creates, updates and deletes resources of one kind; every call is idempotent."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @abstractmethod
    def create(self, desired: R) -> None:
        """Create a missing resource."""

    @abstractmethod
    def update(self, desired: R, actual: R) -> None:
        """Change a resource from `actual` to `desired`."""

    @abstractmethod
    def delete(self, actual: R) -> None:
        """Delete a resource; a missing resource is not an error."""


def tags(owner: str | None) -> dict[str, str]:
    """The owner tag as a mapping; empty without an owner."""
    return {} if owner is None else {TAG_KEY: owner}


def _is_transient(error: ClientError) -> bool:
    text = error.response.get("Error", {}).get("Message", "")
    return any(words in text for words in _TRANSIENT.get(error_code(error), ()))
